"""Stripe's lists: its events for what was missed, its payments and refunds for who compares the books. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from providers import contract, currency
from providers.contract import Operation, SeenState
from providers.stripe_answers import Answer
from providers.stripe_events import READERS, event_id
from providers.stripe_json import Json, as_object, id_of, inner, object_id, text

EVENTS, PAYMENTS, REFUNDS = "/v1/events", "/v1/payment_intents", "/v1/refunds"
PAGE_SIZE = 100  # Stripe's largest


def created(since: datetime, until: datetime | None) -> dict[str, Any]:
    """The query for what was created in a window, in Stripe's whole seconds: windows that meet share one."""
    end = {} if until is None else {"lte": int(until.timestamp())}
    return {"created": {"gte": int(since.timestamp())} | end, "limit": PAGE_SIZE}


def events(since: datetime, until: datetime | None) -> dict[str, Any]:
    return created(since, until) | {"types": sorted(READERS)}


def read_page(answer: Answer) -> tuple[list[Json], str | None]:
    """The objects of a page, and the id after which the next one begins. Raises `contract.CannotList`."""
    page = as_object(answer.body)
    found = page.get("data")
    if answer.status != 200 or text(page, "object") != "list" or not isinstance(found, list):  # noqa: PLR2004 - HTTP's OK
        raise contract.CannotList(f"Stripe does not list: HTTP {answer.status}")
    things = [as_object(thing) for thing in found]
    if page.get("has_more") is not True:
        return things, None
    last_id = object_id(things[-1]) if things else None
    if last_id is None:
        raise contract.CannotList("a page without a next one")
    return things, last_id


def read_event(event: Json, *, livemode: bool) -> contract.Received:
    """As its webhook carries it, and under the same key. Raises `contract.CannotList`."""
    key = event_id(event)
    if key is None or event.get("livemode") is not livemode:
        raise contract.CannotList("an event without an id, or of the other mode")
    return contract.Received(dedupe_key=key, body=json.dumps(event, separators=(",", ":")).encode())


def read_payment(payment: Json, spelling: currency.Spelling) -> contract.Seen:
    """Raises `contract.CannotList`."""
    status, payment_id = text(payment, "status"), object_id(payment)
    if payment_id is None or status is None:
        raise contract.CannotList("a payment without an id or a status")
    state = _PAYMENT_STATES.get(status, SeenState.OPEN)
    if status == "requires_payment_method" and payment.get("last_payment_error"):
        state = SeenState.ENDED
    charge = inner(payment, "latest_charge")
    return contract.Seen(
        kind=Operation.CHARGE,
        reference=text(payment, "metadata", "gateway_reference"),
        provider_id=payment_id,
        provider_transaction_id=payment_id,
        state=state,
        amount=_amount(payment, _AMOUNTS.get(state, "amount"), spelling),
        currency=_currency(payment),
        refunded=_amount(charge, "amount_refunded", spelling) if charge else None,
        created_at=_created_at(payment),
    )


def read_refund(refund: Json, spelling: currency.Spelling) -> contract.Seen:
    """Raises `contract.CannotList`."""
    refund_id = object_id(refund)
    if refund_id is None:
        raise contract.CannotList("a refund without an id")
    return contract.Seen(
        kind=Operation.REFUND,
        reference=text(refund, "metadata", "gateway_reference"),
        provider_id=refund_id,
        provider_transaction_id=id_of(refund, "payment_intent"),
        state=_REFUND_STATES.get(text(refund, "status") or "", SeenState.OPEN),
        amount=_amount(refund, "amount", spelling),
        currency=_currency(refund),
        refunded=None,
        created_at=_created_at(refund),
    )


def _amount(thing: Json, name: str, spelling: currency.Spelling) -> Decimal:
    units = thing.get(name)
    if isinstance(units, bool) or not isinstance(units, int) or units < 0:
        raise contract.CannotList(f"a payment or refund without {name}")
    return spelling.from_integer(units, _currency(thing))


def _currency(thing: Json) -> str:
    code = text(thing, "currency")
    if code is None:
        raise contract.CannotList("a payment or refund without a currency")
    return code.upper()


def _created_at(thing: Json) -> datetime:
    seconds = thing.get("created")
    try:
        return datetime.fromtimestamp(seconds, UTC)  # type: ignore[arg-type]  # whatever it is: that is what is tried
    except (OverflowError, OSError, TypeError, ValueError) as error:
        raise contract.CannotList("a payment or refund without a time") from error


_PAYMENT_STATES: Mapping[str, SeenState] = {
    "canceled": SeenState.ENDED,
    "requires_capture": SeenState.AUTHORIZED,
    "succeeded": SeenState.MOVED,
}
_REFUND_STATES: Mapping[str, SeenState] = {
    "canceled": SeenState.ENDED,
    "failed": SeenState.ENDED,
    "succeeded": SeenState.MOVED,
}
"""Every other status is one of waiting."""

_AMOUNTS: Mapping[SeenState, str] = {SeenState.AUTHORIZED: "amount_capturable", SeenState.MOVED: "amount_received"}
