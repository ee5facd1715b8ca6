"""Misbehaviour on request, the same for every simulated PSP: which call it strikes and what then becomes of the answer.

A PSP's own words (its 429, its 500, where its answer carries an amount) come from its `Dialect`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from providers.simulator.ledger import References

HOLD_SECONDS_MAX = 300.0


class FaultKind(StrEnum):
    LOSE_REQUEST = "lose_request"
    THROTTLE = "throttle"
    ERROR_WITHOUT_ACTING = "error_without_acting"
    ACT_LATE = "act_late"
    ERROR_AFTER_ACTING = "error_after_acting"
    ACT_THEN_LOSE_ANSWER = "act_then_lose_answer"
    TRUNCATE = "truncate"
    ANSWER_LATE = "answer_late"
    SLOW_DRIP = "slow_drip"
    GARBAGE = "garbage"
    WRONG_AMOUNT = "wrong_amount"
    WRONG_CURRENCY = "wrong_currency"
    WEBHOOK_DUPLICATE = "webhook_duplicate"
    WEBHOOK_LATE = "webhook_late"
    WEBHOOK_REORDER = "webhook_reorder"
    WEBHOOK_DROP = "webhook_drop"

    @property
    def is_of_webhooks(self) -> bool:
        """Strikes the posting of notifications (operation "webhook") and nothing else; the others never do."""
        return self.value.startswith("webhook_")


@dataclass(slots=True, kw_only=True)
class Fault:
    """Strikes the next `times` calls of `operation` under `reference` (the gateway's or merchant's); None is any.

    A fault of webhooks may also name the `event`, in the PSP's words.
    """

    kind: FaultKind
    operation: str | None = None
    reference: str | None = None
    event: str | None = None
    times: int = 1
    seconds: float = 1.0

    def strikes(self, operation: str, references: References, event: str | None) -> bool:
        return (
            self.times > 0
            and self.kind.is_of_webhooks == (operation == "webhook")
            and self.operation in (None, operation)
            and self.reference in (None, references.gateway, references.merchant)
            and self.event in (None, event)
        )


@dataclass(slots=True)
class Faults:
    """What is ordered and not yet spent. Oldest first."""

    ordered: list[Fault] = field(default_factory=list)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, operation: str, references: References, *, event: str | None = None) -> Fault | None:
        for fault in self.ordered:
            if fault.strikes(operation, references, event):
                fault.times -= 1
                return fault
        return None

    def clear(self) -> None:
        """Forget every fault and let held calls go on."""
        self.ordered.clear()
        self._released.set()
        self._released = asyncio.Event()

    async def hold(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(min(seconds, HOLD_SECONDS_MAX)):
                await self._released.wait()
        except TimeoutError:
            return


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    def to_response(self) -> Response:
        return Response(self.body, self.status, self.headers)


class Dialect(Protocol):
    """How one PSP says what every PSP can say."""

    def throttled(self) -> Reply: ...

    def failed(self) -> Reply: ...

    def falsified(self, reply: Reply, kind: FaultKind) -> Reply:
        """The same answer with another amount or currency."""
        ...


def before_acting(fault: Fault | None, dialect: Dialect) -> Response | None:
    """The answer of a PSP that does not get as far as looking at the request; None where it does."""
    match fault.kind if fault else None:
        case FaultKind.LOSE_REQUEST:
            return Cut()
        case FaultKind.THROTTLE:
            return dialect.throttled().to_response()
        case FaultKind.ERROR_WITHOUT_ACTING:
            return dialect.failed().to_response()
        case _:
            return None


async def act(fault: Fault | None, faults: Faults, perform: Callable[[], Reply], dialect: Dialect) -> Response:
    """Perform, and let the fault have its way with the answer. What `perform` keeps for replays stays true."""
    if fault and fault.kind is FaultKind.ACT_LATE:
        await faults.hold(fault.seconds)
    reply = perform()
    match fault.kind if fault else None:
        case FaultKind.ACT_THEN_LOSE_ANSWER:
            return Cut()
        case FaultKind.TRUNCATE:
            return Cut(reply)
        case FaultKind.GARBAGE:
            return Response(b"<html><body>Bad gateway", 200, media_type="text/html")
        case (FaultKind.WRONG_AMOUNT | FaultKind.WRONG_CURRENCY) as kind if reply.body:
            return dialect.falsified(reply, kind).to_response()
        case FaultKind.ANSWER_LATE:
            assert fault
            await faults.hold(fault.seconds)
        case FaultKind.SLOW_DRIP:
            assert fault
            return StreamingResponse(_drip(reply.body, faults, fault.seconds), reply.status, reply.headers)
        case _:
            pass
    return reply.to_response()


async def _drip(body: bytes, faults: Faults, seconds: float) -> AsyncIterator[bytes]:
    for position in range(len(body)):
        await faults.hold(seconds / len(body))
        yield body[position : position + 1]


class Cut(Response):
    """The connection breaks: before any byte of an answer, or in the middle of `reply`."""

    def __init__(self, reply: Reply | None = None) -> None:
        super().__init__()
        self._reply = reply

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        if self._reply is not None:
            headers = [(b"content-length", str(len(self._reply.body)).encode())]
            await send({"type": "http.response.start", "status": self._reply.status, "headers": headers})
            half = self._reply.body[: len(self._reply.body) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
        # ASGI knows no way to break a connection; uvicorn's request cycle, whose method `receive` is, holds the socket.
        transport = getattr(getattr(receive, "__self__", None), "transport", None)
        assert transport is not None, "cutting connections needs a uvicorn server"
        transport.close() if self._reply else transport.abort()
        await asyncio.sleep(0.01)  # until the server has noticed, or it would answer 500 for us
