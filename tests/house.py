"""The whole house in one process, for tests that use it from outside: over HTTP, with a key, against simulators."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import httpx
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from db import ids
from db.database import Database, Role
from gateway import listener, partners, runtime, worker
from gateway.app import create_app
from gateway.config import Settings
from gateway.runtime import Runtime
from providers.simulator import CREDENTIALS, SIMULATORS
from providers.simulator.notifier import Notifier
from tests import invariants

Json = dict[str, Any]
WAIT_SECONDS = 20.0
"""Bound on waiting for something that must happen; never a measure of speed."""
TLS = ssl.create_default_context()
"""One for all clients, though nothing here uses it: each httpx client would read every certificate anew."""
ALL_SCOPES = ("transactions:read", "transactions:write", "refunds:write", "webhooks:write", "routing:write")


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_key() -> str:
    return f"test-{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True)
class Partner:
    """A partner as the outside sees it: a client that carries its key."""

    id: UUID
    api_key: str
    client: httpx.AsyncClient

    async def post(
        self, path: str, body: Json | None = None, *, key: str | None = None, **headers: str
    ) -> httpx.Response:
        return await self.client.post(path, json=body or {}, headers={"Idempotency-Key": key or new_key(), **headers})

    async def get(self, path: str, **query: Any) -> httpx.Response:
        return await self.client.get(path, params=query)

    async def charge(self, token: str = "pm_card_visa", *, key: str | None = None, **members: Any) -> httpx.Response:
        body = {
            "amount": "19.99",
            "currency": "USD",
            "payment_method": {"type": "card", "tokens": {"stripe": token}},
        } | members
        return await self.post("/v1/transactions", body, key=key)


class Receiver:
    """A partner's webhook endpoint: answers as told, keeps what it could verify."""

    def __init__(self) -> None:
        self.app = Starlette(routes=[Route("/{rest:path}", self._receive, methods=["POST"])])
        self.secrets: list[str] = []
        self.events: list[Json] = []
        self.ids: list[str] = []
        self.came: list[tuple[dict[str, str], bytes]] = []
        """The same as `ids` names: headers and bytes."""
        self.refused = 0
        self.answers: list[int] = []
        """Statuses of the next answers; 204 after that."""
        self._arrived = asyncio.Condition()

    async def until(self, wanted: Callable[[list[Json]], bool]) -> list[Json]:
        """All verified events, once they are as wanted. Raises `TimeoutError`."""
        async with asyncio.timeout(WAIT_SECONDS), self._arrived:
            await self._arrived.wait_for(lambda: wanted(self.events))
            return list(self.events)

    async def event(self, event_type: str, subject: str | None = None) -> Json:
        def like(event: Json) -> bool:
            return event["type"] == event_type and subject in (None, event["data"].get("id"))

        return next(filter(like, await self.until(lambda events: any(map(like, events)))))

    async def _receive(self, request: Request) -> Response:
        body, headers = await request.body(), dict(request.headers)
        status = self.answers.pop(0) if self.answers else 204
        if not any(_verified(secret, body, headers) for secret in self.secrets):
            self.refused += 1
            return Response(status_code=401)
        async with self._arrived:
            self.ids.append(headers["webhook-id"])
            self.came.append((headers, body))
            if status < 300:
                self.events.append(json.loads(body))
            self._arrived.notify_all()
        return Response(status_code=status)


def _verified(secret: str, body: bytes, headers: dict[str, str]) -> bool:
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


@dataclass(slots=True, kw_only=True)
class House:
    base_url: str
    runtime: Runtime
    background: Runtime
    """The worker's."""
    app: ASGIApp
    """What answers at `base_url`."""
    desk: partners.Desk
    owner: asyncpg.Connection[asyncpg.Record]
    """The database as its owner, past every policy: for looking, not for acting."""
    simulators: Mapping[str, str]
    notifiers: Mapping[str, Notifier]
    """What each simulator has to tell us."""
    receiver: Receiver
    receiver_url: str
    http: httpx.AsyncClient
    """Without a key."""
    stack: AsyncExitStack
    accounts: dict[str, str] = field(default_factory=dict)
    """The platform's account at each simulator, by provider."""
    _count: int = field(default=0)

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, database_url: str, *, working: bool = True, clock: Callable[[], datetime] = utc_now, **settings: Any
    ) -> AsyncIterator[House]:
        """`working`: the worker's loops run; else the test calls its jobs by itself, with `background`.

        `clock`: everybody's but the database's.
        """
        listening = listener.bind("127.0.0.1", 0)
        told = Settings(
            database_url=database_url,
            secret_keys={1: os.urandom(32)},
            port=listening.getsockname()[1],
            webhook_allow_loopback=True,
            **{"lease_seconds": 30, "shutdown_seconds": 5} | settings,
        )
        async with AsyncExitStack() as stack:
            apps = {name: create(clock=lambda: clock().timestamp()) for name, create in SIMULATORS.items()}
            simulators = {name: await _simulated(stack, app) for name, app in apps.items()}
            receiver = Receiver()
            receiver_url = await serve(stack, receiver.app)
            api, background = await _running(stack, told, working=working, clock=clock)
            operators = await Database.open(database_url, Role.OPERATOR)
            stack.push_async_callback(operators.close)
            owner = await asyncpg.connect(database_url)
            stack.push_async_callback(owner.close)
            house = cls(
                base_url=f"http://127.0.0.1:{told.port}",
                runtime=api,
                background=background,
                app=create_app(api),
                desk=partners.Desk(operators, api.vault, "operator:test"),
                owner=owner,
                simulators=simulators,
                notifiers={name: app.state.notifier for name, app in apps.items()},
                receiver=receiver,
                receiver_url=receiver_url,
                http=await stack.enter_async_context(httpx.AsyncClient(timeout=60, verify=TLS)),
                stack=stack,
            )

            async def answer(scope: Scope, receive: Receive, send: Send) -> None:
                await house.app(scope, receive, send)

            await serve(stack, answer, listening)
            for name, url in simulators.items():
                await house.account(name, url)
            await house.desk.add_account(provider="manual", livemode=False, credentials={})
            yield house

    async def account(self, provider: str, url: str, *, partner_id: UUID | None = None) -> str:
        """An account at a simulator, which from now on notifies us about it; its id."""
        made = await self.desk.add_account(
            provider=provider,
            livemode=False,
            credentials=CREDENTIALS[provider],
            base_url=url,
            partner_id=partner_id,
        )
        account_id = ids.encode("pac", made.id)
        address = f"{self.base_url}/webhooks/{provider}/{account_id}"
        answer = await self.http.post(f"{url}/_simulator/webhooks", json={"url": address})
        assert answer.status_code == 204, answer.text
        if partner_id is None:
            self.accounts[provider] = account_id
        return account_id

    async def silence(self, provider: str = "stripe") -> None:
        """The simulator notifies nobody from now on: the test speaks in its place."""
        await self.http.post(f"{self.simulators[provider]}/_simulator/webhooks", json={"url": None})

    async def notify(self, body: bytes, headers: Mapping[str, str], provider: str = "stripe") -> httpx.Response:
        """A notification as a PSP would post it."""
        url = f"{self.base_url}/webhooks/{provider}/{self.accounts[provider]}"
        return await self.http.post(url, content=body, headers={"Content-Type": "application/json", **headers})

    async def partner(
        self, *, rate_limit: int = 100_000, scopes: tuple[str, ...] = ALL_SCOPES, livemode: bool = False
    ) -> Partner:
        self._count += 1
        made = await self.desk.create_partner(
            name=f"Partner {self._count}", email=f"partner{self._count}@test.example", rate_limit_per_minute=rate_limit
        )
        return await self.key_of(made.id, scopes=scopes, livemode=livemode)

    async def key_of(
        self, partner_id: UUID, *, scopes: tuple[str, ...] = ALL_SCOPES, livemode: bool = False
    ) -> Partner:
        """Another key of the same partner."""
        issued = await self.desk.issue_key(partner_id, livemode=livemode, scopes=scopes)
        client = httpx.AsyncClient(
            base_url=self.base_url, headers={"Authorization": f"Bearer {issued.text}"}, timeout=60, verify=TLS
        )
        await self.stack.enter_async_context(client)
        return Partner(partner_id, issued.text, client)

    async def subscribed(self, partner: Partner, event_types: list[str] | None = None, **options: Any) -> Json:
        """The receiver as a webhook endpoint of the partner."""
        body = {"url": f"{self.receiver_url}/hooks", "event_types": event_types or ["*"], **options}
        answer = await partner.post("/v1/webhook-endpoints", body)
        assert answer.status_code == 201, answer.text
        made: Json = answer.json()
        self.receiver.secrets.append(made["secret"])
        return made

    async def fault(self, kind: str, *, provider: str = "stripe", **members: Any) -> None:
        """Order misbehaviour of a simulator."""
        answer = await self.http.post(f"{self.simulators[provider]}/_simulator/faults", json={"kind": kind, **members})
        assert answer.status_code == 204, answer.text

    async def calm(self, provider: str = "stripe") -> None:
        """The simulator forgets what was ordered, and goes on with the calls that it holds."""
        await self.http.delete(f"{self.simulators[provider]}/_simulator/faults")

    async def oracle(self, provider: str = "stripe") -> Json:
        """What money really moved, by our reference and by the merchant's."""
        answer: Json = (await self.http.get(f"{self.simulators[provider]}/_simulator/ledger")).json()
        return answer

    async def breakers_close(self) -> None:
        """As if no PSP had ever failed to answer."""
        for one in (self.runtime, self.background):
            one.switchboard.die()
            one.switchboard.routes.cache_clear()
        await self.owner.execute("DELETE FROM provider_health")

    async def check_invariants(self) -> None:
        await invariants.check(self.owner, {name: await self.oracle(name) for name in self.simulators})

    async def crash(self) -> None:
        """API and worker die where they stand and others take their place: nothing is finished, nothing tidied up."""
        settings, clock = self.runtime.settings, self.runtime.clock
        for dying in (self.runtime, self.background):
            dying.database._pool.terminate()  # first, so that nobody writes another word
            dying.switchboard.die()
            for task in (tasks := list(dying._tasks)):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self.runtime, self.background = await _running(self.stack, settings, working=False, clock=clock)
        self.app = create_app(self.runtime)


async def serve(stack: AsyncExitStack, app: ASGIApp, listening: socket.socket | None = None) -> str:
    """Serve on loopback, on any free port unless one is given, until the stack unwinds."""
    server = listener.server(app, listening or listener.bind("127.0.0.1", 0), shutdown_seconds=5)
    serving = asyncio.create_task(listener.run([server]))

    async def end() -> None:
        server.should_exit = True
        await serving

    stack.push_async_callback(end)
    return f"http://127.0.0.1:{server.port}"


async def _simulated(stack: AsyncExitStack, app: Starlette) -> str:
    stack.push_async_callback(app.state.notifier.aclose)
    return await serve(stack, app)


async def _running(
    stack: AsyncExitStack, settings: Settings, *, working: bool, clock: Callable[[], datetime]
) -> tuple[Runtime, Runtime]:
    """The API's runtime and the worker's, the worker at work where it should be."""
    api = await stack.enter_async_context(runtime.opened(settings, Role.APP))
    background = await stack.enter_async_context(runtime.opened(settings, Role.WORKER))
    for one in (api, background):
        one.clock = one.switchboard.clock = clock
    if not working:
        return api, background
    delivering = await stack.enter_async_context(worker.deliverer(background))
    api.wake_deliverer = background.wake_deliverer = delivering.wake
    api.notified = background.notified
    stop = asyncio.Event()
    rounds = asyncio.create_task(worker.work(background, delivering, stop))

    async def end() -> None:
        stop.set()
        await rounds

    stack.push_async_callback(end)
    return api, background
