"""The load: good clients, who repeat what was not answered under the same key and keep all they were told."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

import aiohttp

from tests.house import new_key
from tests.soak.history import Json, Operation, Order, Request, Step, Try

PATIENCE_SECONDS = 20.0
"""How long a shopper goes on asking; what is still open then is left for the drain."""
TIMEOUTS_SECONDS = (10.0, 20.0, 30.0)
"""After which a client gives an answer up: the first two are within a PSP's deadline."""
AT_ONCE = 20
PAUSE_SECONDS_MAX = 5.0
"""Of what Retry-After asks for, at most."""


@dataclass(slots=True, kw_only=True)
class Shop:
    """Where the clients go, and with which keys."""

    session: aiohttp.ClientSession
    servers: Sequence[str]
    api_keys: Sequence[str]
    simulators: dict[str, str]
    chance: Random
    _turn: Iterator[int] = field(default_factory=itertools.count)

    async def carry_out(self, order: Order) -> None:
        """All that the order wants, as far as the answers come in time."""
        await self._misfortune(order)
        charge = self._request(order, Operation.CHARGE, "/v1/transactions", order.charge_body)
        others = [self.send(charge)] if order.twice else []
        told, *_ = await asyncio.gather(self.ask(charge), *others)
        transaction = told.told if told is not None and told.is_success else {}
        captured = order.amount if transaction.get("status") == "completed" else Decimal(0)
        for group in order.follow_ups if transaction.get("status") in ("completed", "authorized") else ():
            captured = await self._follow_up(order, transaction["id"], group, captured)
        if transaction and self.chance.random() < 0.3:
            await self.read(order.partner, f"/v1/transactions/{transaction['id']}")

    async def ask(self, request: Request, *, patience_seconds: float = PATIENCE_SECONDS) -> Try | None:
        """Repeats until there is a lasting answer; None where none came in time."""
        deadline = time.monotonic() + patience_seconds
        while time.monotonic() < deadline:
            told, pause = await self._send(request)
            if told.is_lasting:
                return told
            await asyncio.sleep(pause)
        return None

    async def ask_all(self, requests: Sequence[Request], *, seconds: float) -> None:
        """A few at a time."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def ask(request: Request) -> None:
            async with turns:
                await self.ask(request, patience_seconds=seconds)

        await asyncio.gather(*map(ask, requests))

    async def send(self, request: Request) -> Try:
        """Once."""
        return (await self._send(request))[0]

    async def read(self, partner: int, path: str) -> Try:
        """A GET, once; no part of the history."""
        return (await self._exchange("GET", partner, path, {}))[0]

    async def _send(self, request: Request) -> tuple[Try, float]:
        told, pause = await self._exchange(
            "POST", request.partner, request.path, {"Idempotency-Key": request.key}, request.body
        )
        request.tries.append(told)
        return told, pause

    async def _exchange(
        self, method: str, partner: int, path: str, headers: dict[str, str], body: object = None
    ) -> tuple[Try, float]:
        """What came, and how long to wait before the next try."""
        server = self.servers[next(self._turn) % len(self.servers)]
        timeout = aiohttp.ClientTimeout(total=self.chance.choice(TIMEOUTS_SECONDS))
        headers = headers | {"Authorization": f"Bearer {self.api_keys[partner]}"}
        told = Try(began=time.monotonic())
        pause = self.chance.uniform(0.05, 0.5)
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with self.session.request(
                method, server + path, json=body, headers=headers, timeout=timeout
            ) as answer:
                told.body = await answer.read()
                told.status, told.ended = answer.status, time.monotonic()
                pause += min(float(answer.headers.get("Retry-After", 0)), PAUSE_SECONDS_MAX)
        return told, pause

    async def _follow_up(self, order: Order, transaction_id: str, group: Sequence[Step], captured: Decimal) -> Decimal:
        """One group at the same time; what is captured after it."""
        asked: list[Request] = []
        for step in group:
            of = captured if step.operation is Operation.REFUND else order.amount
            if of:
                amount: Json = (
                    {} if step.operation is Operation.CANCEL else {"amount": str(order.share(of, step.share))}
                )
                path = f"/v1/transactions/{transaction_id}/{PATHS[step.operation]}"
                asked.append(self._request(order, step.operation, path, amount))
        for request, told in zip(asked, await asyncio.gather(*map(self.ask, asked)), strict=True):
            if request.operation is Operation.CAPTURE and told is not None and told.is_success:
                captured = Decimal(request.body["amount"])
        return captured

    def _request(self, order: Order, operation: Operation, path: str, body: Json) -> Request:
        request = Request(operation=operation, partner=order.partner, path=path, body=body, key=new_key())
        order.requests.append(request)
        return request

    async def _misfortune(self, order: Order) -> None:
        if (strikes := order.misfortune) is not None:
            body = {
                "kind": strikes.kind,
                "operation": strikes.operation,
                "reference": order.reference,
                "times": strikes.times,
                "seconds": strikes.seconds,
            }
            async with self.session.post(f"{self.simulators[order.provider]}/_simulator/faults", json=body) as answer:
                assert answer.status == 204, await answer.text()


PATHS = {Operation.CAPTURE: "captures", Operation.CANCEL: "cancel", Operation.REFUND: "refunds"}
