"""Every error a partner can get: the codes, and the one table from exception to problem (RFC 9457).

Lower layers raise what happened; `TRANSLATIONS` says what that is called here. Only this module writes problem bodies.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from db import database, ids, transactions
from gateway import telemetry
from gateway.api import exchange
from gateway.api.calls import Answer
from gateway.routing import decisions
from gateway.transactions import followups, idempotency, representation
from gateway.transactions.charge import ProviderUnavailable
from gateway.transactions.commands import NotFound
from gateway.transactions.followups import AmountExceeded
from gateway.transactions.states import InvalidState

MoneyMoved = Literal["no", "yes", "unknown"]

RETRY_AFTER_SECONDS = 2
"""After a 503: as long as a request waits for a database connection."""
STOPPED_RETRY_SECONDS = 60
"""After a 503 because refunds are stopped: the watchdog looks again every minute."""


@dataclass(frozen=True, slots=True)
class Code:
    """`safe_to_retry`: the same request under the same Idempotency-Key may be sent again as it is, and may succeed.

    `money_moved` is `unknown` where the key was not looked up: this request may repeat one that moved money.
    """

    status: int
    title: str
    meaning: str
    safe_to_retry: bool = False
    money_moved: MoneyMoved = "no"


CODES: Mapping[str, Code] = {
    "malformed_json": Code(
        400, "The body is not valid JSON", "The body is empty, not UTF-8, not JSON, or names a field twice."
    ),
    "idempotency_key_missing": Code(
        400, "An Idempotency-Key is required", "Send a new Idempotency-Key with every POST; repeat it on a retry."
    ),
    "idempotency_key_invalid": Code(
        400, "The Idempotency-Key cannot be used", "It must be 8 to 255 visible ASCII characters."
    ),
    "key_in_url": Code(
        400, "An API key must not be in a URL", "URLs are written to logs: treat this key as leaked and revoke it."
    ),
    "invalid_host": Code(400, "This server does not go by that name", "The Host header names another server."),
    "unauthenticated": Code(
        401,
        "No valid API key",
        "The key is missing, unknown, expired or revoked. Send Authorization: Bearer sk_…",
        money_moved="unknown",
    ),
    "insufficient_scope": Code(
        403,
        "The key may not do this",
        "The key lacks the scope this route needs; the answer names it as `scope`.",
        money_moved="unknown",
    ),
    "partner_inactive": Code(
        403, "The account is inactive", "The partner was deactivated: contact support.", money_moved="unknown"
    ),
    "not_found": Code(
        404, "Not found", "There is no such thing, or it belongs to another partner or to the other mode (test/live)."
    ),
    "method_not_allowed": Code(405, "Method not allowed", "The Allow header lists what this address takes."),
    "request_timeout": Code(
        408,
        "The body did not arrive in time",
        "A body must arrive within 20 seconds.",
        safe_to_retry=True,
        money_moved="unknown",
    ),
    "idempotency_in_progress": Code(
        409,
        "The first request with this key is still running",
        "Repeat the request after Retry-After seconds.",
        safe_to_retry=True,
    ),
    "invalid_state": Code(
        409, "The current status does not allow this", "The answer carries the current `current_status`."
    ),
    "refund_exceeds_captured": Code(
        409, "More than what is left to refund", "The answer carries the `available` amount and its `currency`."
    ),
    "capture_exceeds_authorized": Code(
        409, "More than what is authorized", "The answer carries the `available` amount and its `currency`."
    ),
    "payload_too_large": Code(413, "The body is too large", "A body may have at most 64 kB."),
    "unsupported_media_type": Code(415, "The body must be JSON", "Send Content-Type: application/json."),
    "invalid_request": Code(422, "The request is invalid", "`errors` names each field and what is wrong with it."),
    "idempotency_key_reused": Code(
        422, "The Idempotency-Key belongs to another request", "Use a new key for a new request."
    ),
    "currency_not_supported": Code(
        422, "The currency is not supported", "GET /v1/currencies lists the currencies that are."
    ),
    "no_eligible_provider": Code(
        422, "No provider can take this payment", "No enabled provider account fits method, currency and tokens."
    ),
    "card_data_refused": Code(
        422,
        "Card data must not be sent to this API",
        "A field holds a card number or a security code. Send a token of a provider instead; nothing was kept.",
    ),
    "rate_limited": Code(
        429,
        "Too many requests",
        "Wait Retry-After seconds; RateLimit tells what is left.",
        safe_to_retry=True,
        money_moved="unknown",
    ),
    "internal_error": Code(
        500,
        "Something went wrong on our side",
        "Repeat the request with the same Idempotency-Key: it never executes twice.",
        safe_to_retry=True,
        money_moved="unknown",
    ),
    "temporarily_unavailable": Code(
        503,
        "Temporarily unavailable",
        "Repeat the request with the same Idempotency-Key after Retry-After seconds.",
        safe_to_retry=True,
    ),
}


class Problem(Exception):
    """An answer that is not the one hoped for. `members` become extra members of the body."""

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        money_moved: MoneyMoved | None = None,
        safe_to_retry: bool | None = None,
        **members: object,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}
        self.money_moved = CODES[code].money_moved if money_moved is None else money_moved
        self.safe_to_retry = CODES[code].safe_to_retry if safe_to_retry is None else safe_to_retry
        self.members = members

    @property
    def status(self) -> int:
        return CODES[self.code].status

    def body(self, request_id: str, *, money: bool) -> dict[str, object]:
        known = CODES[self.code]
        body: dict[str, object] = {
            "type": f"/docs/errors#{self.code}",
            "title": known.title,
            "status": known.status,
            "detail": self.detail or known.meaning,
            "code": self.code,
            "request_id": request_id,
        }
        if self.errors:
            body["errors"] = [{"field": field, "message": message} for field, message in self.errors]
        if money:
            body |= {"money_moved": self.money_moved, "safe_to_retry": self.safe_to_retry}
        return body | self.members


def invalid(field: str, message: str) -> Problem:
    """The common case: one field is wrong."""
    return Problem("invalid_request", errors=[(field, message)])


def unavailable(*, money_moved: MoneyMoved = "no") -> Problem:
    return Problem(
        "temporarily_unavailable", headers={"Retry-After": str(RETRY_AFTER_SECONDS)}, money_moved=money_moved
    )


def _from_http(error: HTTPException) -> Problem:
    """What Starlette's router refuses."""
    by_status = {404: "not_found", 405: "method_not_allowed", 413: "payload_too_large"}
    return Problem(by_status.get(error.status_code, "internal_error"), headers=error.headers)


def _sentence(message: str) -> str:
    return f"{message[:1].upper()}{message[1:]}."


Translation = Callable[[Any], Problem]

TRANSLATIONS: Mapping[type[BaseException], Translation] = {
    Problem: lambda problem: problem,
    NotFound: lambda _: Problem("not_found"),
    InvalidState: lambda error: Problem("invalid_state", _sentence(error.message), current_status=error.status.value),
    AmountExceeded: lambda error: Problem(
        error.code,
        f"{representation.money(error.available, error.places)} {error.currency} is available.",
        available=representation.money(error.available, error.places),
        currency=error.currency,
    ),
    followups.Refused: lambda error: Problem(
        "invalid_state",
        "The payment service provider refused. The transaction stands as it did.",
        current_status=error.snapshot.transaction.status.value,
        provider_code=(error.snapshot.attempt.outcome or {}).get("provider_code"),
    ),
    idempotency.KeyReused: lambda _: Problem("idempotency_key_reused"),
    idempotency.InProgress: lambda error: Problem(
        "idempotency_in_progress",
        headers={"Retry-After": str(error.retry_after_seconds)},
        money_moved="unknown",
    ),
    decisions.NoEligibleProvider: lambda error: Problem(
        "no_eligible_provider",
        accounts=[
            {"id": one.account.name, "provider": one.account.provider, "reason": one.reason} for one in error.exclusions
        ],
    ),
    ProviderUnavailable: lambda error: Problem(
        "temporarily_unavailable",
        "The payment service provider could not be reached. Nothing was sent to it.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        transaction_id=ids.encode("txn", error.snapshot.transaction.id),
    ),
    transactions.RefundsStopped: lambda _: Problem(
        "temporarily_unavailable",
        "Refunds are stopped while a mistake in our books is looked into. Nothing was sent.",
        headers={"Retry-After": str(STOPPED_RETRY_SECONDS)},
    ),
    # This request did nothing; but it may repeat one that did, which only the database could tell.
    database.Unavailable: lambda _: unavailable(money_moved="unknown"),
    database.CommitUncertain: lambda _: unavailable(money_moved="unknown"),
    # The server ends before the request does; what it has begun goes on, or is recovered.
    asyncio.CancelledError: lambda _: unavailable(money_moved="unknown"),
    HTTPException: _from_http,
}
"""One row per exception that may leave an endpoint; a subclass is found through its base."""


@dataclass(frozen=True, slots=True)
class Errors:
    """The layer that turns every exception of the layers below into a problem body."""

    app: ASGIApp
    translations: Mapping[type[BaseException], Translation] = field(default_factory=lambda: TRANSLATIONS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        current = exchange.of(scope)
        try:
            await self.app(scope, receive, send)
        except (Exception, asyncio.CancelledError) as error:
            problem = translated(error, current, self.translations)
            if current.status is not None:
                raise  # part of an answer is out: the server can only cut the connection
            body = problem.body(current.request_id, money=current.money)
            headers = {"Content-Type": "application/problem+json", **problem.headers}
            await exchange.send_answer(send, Answer(status=problem.status, body=body, headers=headers))


def translated(
    error: BaseException,
    current: exchange.Exchange,
    translations: Mapping[type[BaseException], Translation] = TRANSLATIONS,
) -> Problem:
    """What an exception that left an endpoint is called outside; what nobody expected is logged."""
    for kind in type(error).__mro__:
        translation = translations.get(kind)
        if translation is not None:
            problem = translation(error)
            current.code = problem.code
            return problem
    telemetry.log("request failed", level=logging.ERROR, error=error, request_id=current.request_id)
    current.code = "internal_error"
    return Problem("internal_error")
