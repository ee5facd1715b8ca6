"""PayPal, Orders API v2 and Payments API v2; an OAuth token of the account's client as bearer token, JSON bodies.

Its surprise: a payment is an *order*, yet money moves under ids of its authorization, capture and refunds. The gateway
knows the order's id only; a capture, void or refund reads its own target from the order each time it is sent. An order
shows what was done to it, so a follow-up that PayPal executed is found there even after PayPal has forgotten our key.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Self, TypeVar, assert_never
from urllib.parse import urlencode

import httpx

from providers import (
    contract,
    currency,
    http,
    paypal_answers,
    paypal_events,
    paypal_reports,
    paypal_requests,
    paypal_signature,
    ruling_out,
)
from providers.contract import NotSentReason, Operation
from providers.paypal_json import Json, as_object, items, link, object_id
from providers.paypal_orders import is_held, is_untouched, target_of
from providers.paypal_outcomes import Answer, Ready, Settled
from providers.paypal_requests import EVENTS, METHODS, ORDERS
from providers.paypal_session import Session, SignInFailed

TEST_URL = "https://api-m.sandbox.paypal.com"
LIVE_URL = "https://api-m.paypal.com"
REFUNDS = "/v2/payments/refunds"
PAGES_MAX = 20
LIST_PAGES_MAX = 200  # a day of a busy account; who needs more asks for a shorter one
EVENTS_KEPT_SECONDS = 30 * 86_400

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PayPal:
    """One PayPal account."""

    name: ClassVar[str] = "paypal"
    capabilities: ClassVar[contract.Capabilities] = contract.Capabilities(
        methods=METHODS,
        currencies=currency.PAYPAL.only,
        tokenless_methods=frozenset({"e_wallet"}),
        # What orders have; payments have 45 days, and what follows a charge is found in its order without any key.
        key_lifetime_seconds=6 * 3600,
        events_kept_seconds=EVENTS_KEPT_SECONDS,
        payments_listed_after_seconds=paypal_reports.LISTED_AFTER_SECONDS,
    )
    credential_fields: ClassVar[frozenset[str]] = frozenset(
        {"client_id", "client_secret", "webhook_age_seconds_max", "webhook_id", "webhook_verification"}
    )

    session: Session = field(repr=False)
    notary: paypal_signature.Notary = field(repr=False)

    @classmethod
    def open(
        cls, credentials: Mapping[str, object], *, base_url: str | None, livemode: bool, doorway: http.Doorway
    ) -> Self:
        """Raises `contract.BadCredentials`."""
        session = Session(
            doorway,
            base_url or (LIVE_URL if livemode else TEST_URL),
            client_id=_credential(credentials, "client_id"),
            client_secret=_credential(credentials, "client_secret"),
        )
        trust = paypal_signature.Trust(
            webhook_id=_credential(credentials, "webhook_id"),
            livemode=livemode,
            own_origin=base_url if base_url and not livemode else None,
            ask_paypal=_asks_paypal(credentials),
            age_seconds_max=_age_seconds_max(credentials),
        )
        return cls(session=session, notary=paypal_signature.Notary(session, trust))

    def prepare(self, ask: contract.Ask) -> contract.Prepared:
        match ask:
            case contract.Charge():
                return paypal_requests.build_charge(ask)
            case contract.Capture():
                return paypal_requests.build_capture(ask)
            case contract.Cancel():
                return paypal_requests.build_cancel(ask)
            case contract.Refund():
                return paypal_requests.build_refund(ask)
            case _:
                assert_never(ask)

    async def send(self, prepared: contract.Prepared, *, key: str) -> contract.Outcome:
        follows = prepared.operation is not Operation.CHARGE
        return await _in_time(self._follow_up(prepared, key) if follows else self._charge(prepared, key))

    async def look_up(
        self, prepared: contract.Prepared, *, provider_id: str | None, sent_at: datetime | None = None
    ) -> contract.Outcome:
        return _plain(await _in_time(self._find(prepared, provider_id, sent_at)))

    async def proceed(
        self,
        prepared: contract.Prepared,
        *,
        key: str,
        provider_id: str | None,
        returned: Mapping[str, str],
    ) -> contract.Outcome:
        """`returned["token"]` at most says which order to ask for; only one with our reference is taken."""
        order_id = provider_id or paypal_requests.order_id(returned.get("token"))
        return await _in_time(self._carry_on(prepared, order_id, key))

    async def rule_out(
        self, prepared: contract.Prepared, *, key: str, provider_id: str | None, sent_at: datetime | None = None
    ) -> contract.Outcome:
        return await _in_time(self._rule_out(prepared, key, provider_id, sent_at))

    async def missed(self, *, since: datetime, until: datetime | None = None) -> AsyncIterator[contract.Received]:
        async for event in self._events(paypal_requests.events(since, until), LIST_PAGES_MAX):
            yield paypal_events.listed(event)

    async def payments(self, *, since: datetime, until: datetime) -> AsyncIterator[contract.Seen]:
        for page in range(1, LIST_PAGES_MAX + 1):
            query = urlencode(paypal_reports.query(since, until, page))
            answer = await self._get(f"{paypal_reports.REPORT}?{query}")
            if not isinstance(answer, Answer):
                raise contract.CannotList(answer.reason)
            entries, pages = paypal_reports.read_page(answer, until)
            for seen in entries:
                yield seen
            if page >= pages:
                return
        raise contract.CannotList("too many to list")

    async def verify_webhook(self, headers: Mapping[str, str], body: bytes, *, now: float) -> list[contract.Received]:
        await self.notary.verify(headers, body, now=now)
        return [contract.Received(dedupe_key=paypal_events.dedupe_key(headers, body), body=body)]

    def read_webhook(self, body: bytes) -> contract.Told:
        return paypal_events.read(body)

    # --- A charge: create the order; where PayPal leaves it at that, take it ---

    async def _charge(self, prepared: contract.Prepared, key: str) -> contract.Outcome:
        answer = await self._post(prepared.path, prepared.body, prepared.headers, key)
        if not isinstance(answer, Answer):
            return answer
        outcome = paypal_answers.read_charge(answer, prepared)
        return await self._take(prepared, outcome, key) if isinstance(outcome, Ready) else outcome

    async def _carry_on(self, prepared: contract.Prepared, order_id: str | None, key: str) -> contract.Outcome:
        found = await self._find(prepared, order_id, None)
        return await self._take(prepared, found, key) if isinstance(found, Ready) else found

    async def _take(self, prepared: contract.Prepared, ready: Ready, key: str) -> contract.Outcome:
        """Capture or authorize an approved order. Not to reach PayPal proves nothing here: we may have been here."""
        verb = "authorize" if json.loads(prepared.body)["intent"] == "AUTHORIZE" else "capture"
        answer = await self._post(f"{ORDERS}/{ready.order_id}/{verb}", "{}", prepared.headers, f"{key}-{verb}")
        if not isinstance(answer, Answer):
            reason = answer.reason if isinstance(answer, contract.Unknown) else answer.reason.value
            return contract.Unknown(reason=reason, provider_id=ready.order_id, trace=answer.trace)
        outcome = paypal_answers.read_taking(answer, prepared, ready)
        if isinstance(outcome, Settled):
            return await self._settled(prepared, ready.order_id, outcome)
        if isinstance(outcome, Ready):
            return contract.Unknown(reason="unexpected_status", provider_id=ready.order_id, trace=outcome.trace)
        return outcome

    # --- What follows: read the order, then act on its authorization or capture ---

    async def _follow_up(self, prepared: contract.Prepared, key: str) -> contract.Outcome:
        answer = await self._get(prepared.path)
        if not isinstance(answer, Answer):
            return answer
        if answer.status != httpx.codes.OK:
            return paypal_answers.read_missing_order(answer, prepared)
        order = as_object(answer.body)
        seen = paypal_answers.read_look_up(answer, prepared)
        if not isinstance(seen, contract.Absent):
            return _plain(seen)
        target = target_of(order, prepared.operation)
        if target is None:
            return await self._without_target(prepared, order)
        return await self._act(prepared, target, key)

    async def _act(self, prepared: contract.Prepared, target: str, key: str) -> contract.Outcome:
        order_id = prepared.path.rpartition("/")[2]
        acted = await self._post(target, prepared.body, prepared.headers, key)
        if not isinstance(acted, Answer):
            return acted
        outcome = paypal_answers.read_follow_up(acted, prepared, order_id)
        return await self._settled(prepared, order_id, outcome) if isinstance(outcome, Settled) else outcome

    async def _without_target(self, prepared: contract.Prepared, order: Json) -> contract.Outcome:
        """An order that nothing was taken of. Nobody but us could take it, so our mark on it is a cancellation."""
        if prepared.operation is not Operation.CANCEL:
            return contract.Rejected(provider_code=None, message="There is nothing to capture or refund.")
        answer = await self._call("PATCH", prepared.path, paypal_requests.build_mark(order), {})
        if not isinstance(answer, Answer):
            return answer
        return paypal_answers.read_mark(answer, prepared, prepared.path.rpartition("/")[2])

    async def _settled(self, prepared: contract.Prepared, order_id: str, settled: Settled) -> contract.Outcome:
        answer = await self._get(f"{ORDERS}/{order_id}")
        if not isinstance(answer, Answer):
            return contract.Unknown(reason="look_up_failed", provider_id=order_id, trace=answer.trace)
        seen = paypal_answers.read_look_up(answer, prepared)
        return settled.otherwise if isinstance(seen, contract.Absent | Ready) else seen

    # --- The technical cancel: void the authorization, or turn the order away from us; then the order alone tells ---

    async def _rule_out(
        self, prepared: contract.Prepared, key: str, provider_id: str | None, sent_at: datetime | None
    ) -> contract.Outcome:
        answer = await self._shown(prepared, provider_id, sent_at)
        if not isinstance(answer, Answer):
            return answer
        before, order = _plain(paypal_answers.read_look_up(answer, prepared)), as_object(answer.body)
        if isinstance(before, contract.Unknown) and before.reason != "unexpected_status":
            return before
        path = f"{ORDERS}/{object_id(order)}"
        void = target_of(order, Operation.CANCEL) if is_held(order) else None
        if void is not None:
            await self._post(void, "", prepared.headers, key)
        elif is_untouched(order):
            await self._call("PATCH", path, paypal_requests.build_mark(order), {})
        else:
            return ruling_out.settled(before)
        again = await self._get(path)
        if not isinstance(again, Answer):
            return contract.Unknown(reason="look_up_failed", provider_id=object_id(order), trace=again.trace)
        after = paypal_answers.read_look_up(again, prepared)
        if isinstance(after, Ready):
            return contract.Unknown(reason="not_cancelled", provider_id=after.order_id, trace=after.trace)
        return ruling_out.concluded(before=before, after=after)

    # --- Finding out ---

    async def _find(
        self, prepared: contract.Prepared, provider_id: str | None, sent_at: datetime | None
    ) -> contract.Outcome | Ready:
        answer = await self._shown(prepared, provider_id, sent_at)
        if not isinstance(answer, Answer):
            return answer
        if prepared.operation is Operation.REFUND and provider_id:
            return paypal_answers.read_refund_look_up(answer, prepared)
        return paypal_answers.read_look_up(answer, prepared)

    async def _shown(
        self, prepared: contract.Prepared, provider_id: str | None, sent_at: datetime | None
    ) -> Answer | contract.Unknown | contract.Absent:
        """The order, or the refund by its id. A look-up that cannot be made proves nothing about the send."""
        path = prepared.path
        if prepared.operation is Operation.CHARGE:
            order_id = provider_id or await self._order_in_events(prepared, sent_at)
            if not isinstance(order_id, str):
                return order_id or contract.Absent()
            path = f"{ORDERS}/{order_id}"
        elif prepared.operation is Operation.REFUND and provider_id:
            path = f"{REFUNDS}/{provider_id}"
        answer = await self._get(path)
        if not isinstance(answer, Answer):
            return contract.Unknown(reason="look_up_failed", trace=answer.trace)
        return answer

    async def _order_in_events(
        self, prepared: contract.Prepared, sent_at: datetime | None
    ) -> str | contract.Unknown | None:
        """The id of the order that carries our reference, from the events of this account; None: not told yet."""
        try:
            async with aclosing(self._events(paypal_requests.window(sent_at), PAGES_MAX)) as events:
                async for event in events:
                    if order_id := paypal_events.order_of(event, prepared.reference):
                        return order_id
        except contract.CannotList as error:
            return contract.Unknown(reason="look_up_failed", trace=contract.Trace(message=str(error)))
        return None

    async def _events(self, query: Mapping[str, str], pages_max: int) -> AsyncGenerator[Json]:
        """Raises `contract.CannotList`."""
        path: str | None = f"{EVENTS}?{urlencode(query)}"
        for _ in range(pages_max):
            answer = await self._get(path or "")
            if not isinstance(answer, Answer):
                raise contract.CannotList(answer.reason)
            page = as_object(answer.body)
            if answer.status != httpx.codes.OK or "events" not in page:
                raise contract.CannotList(f"PayPal does not list its events: HTTP {answer.status}")
            for event in items(page, "events"):
                yield event
            path = paypal_requests.next_page(link(page, "next"))
            if path is None:
                return
        raise contract.CannotList("too many to list")

    # --- One call ---

    async def _get(self, path: str) -> Answer | contract.NotSent:
        answer = await self._call("GET", path, "", {})
        if isinstance(answer, contract.Unknown):  # reading moves nothing
            return contract.NotSent(reason=NotSentReason.UNAVAILABLE, trace=answer.trace)
        return answer

    async def _post(
        self, path: str, body: str, headers: Mapping[str, str], key: str
    ) -> Answer | contract.NotSent | contract.Unknown:
        return await self._call("POST", path, body, {**headers, "PayPal-Request-Id": key})

    async def _call(
        self, method: str, path: str, body: str, headers: Mapping[str, str]
    ) -> Answer | contract.NotSent | contract.Unknown:
        try:
            return await self.session.call(method, path, body, headers)
        except SignInFailed as error:
            return error.outcome
        except http.Unreachable as error:
            return contract.NotSent(reason=NotSentReason.UNREACHABLE, trace=contract.Trace(message=str(error)))
        except http.NoAnswer as error:
            return contract.Unknown(reason="no_answer", trace=contract.Trace(message=str(error)))


async def _in_time(work: Coroutine[Any, Any, T]) -> T | contract.Unknown:
    """Several calls together take no longer than one may."""
    try:
        async with asyncio.timeout(http.DEADLINE_SECONDS):
            return await work
    except TimeoutError:
        return contract.Unknown(reason="no_answer")


def _plain(seen: contract.Outcome | Ready) -> contract.Outcome:
    """To the gateway an order that only waits for us is under way: `proceed` takes it, nothing else."""
    return contract.Pending(provider_id=seen.order_id, trace=seen.trace) if isinstance(seen, Ready) else seen


# --- Credentials ---


def _credential(credentials: Mapping[str, object], name: str) -> str:
    value = credentials.get(name)
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable() or " " in value:
        raise contract.BadCredentials(name, "must be a non-empty text of visible characters")
    return value


def _asks_paypal(credentials: Mapping[str, object]) -> bool:
    way = credentials.get("webhook_verification", "certificate")
    if way not in ("certificate", "api"):
        raise contract.BadCredentials("webhook_verification", "must be certificate or api")
    return way == "api"


def _age_seconds_max(credentials: Mapping[str, object]) -> float:
    seconds = credentials.get("webhook_age_seconds_max", paypal_signature.AGE_SECONDS_MAX)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
        raise contract.BadCredentials("webhook_age_seconds_max", "must be a positive number of seconds")
    return seconds
