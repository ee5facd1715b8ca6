"""Stripe's notifications ("events"): is one genuine, and what does it say. Pure; the clock is the caller's.

A payment carries the reference of its charge. So what an event tells of its capture or cancel names the charge's
reference too: the attempt is found by the payment (`provider_transaction_id`) and the operation.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from providers import contract, currency, stripe_answers
from providers.contract import DisputeState, Operation
from providers.stripe_json import NOTHING, Json, as_object, id_of, inner, object_id, text

WINDOW_SECONDS = 300  # Stripe's own libraries look to the past only
HEADER_CHARACTERS_MAX = 2_000  # a signature has 67, and while secrets are rotated there are two
EVENT_ID_CHARACTERS_MAX = 100  # Stripe's have some thirty

UNITS_MAX = 10**15  # Stripe's largest amount has 12 digits


# --- Genuine? ---


def verify(
    headers: Mapping[str, str], body: bytes, *, secrets: Sequence[str], livemode: bool, now: float
) -> contract.Received:
    """Raises `contract.Forged`."""
    signed_at, signatures = _signed(headers.get("stripe-signature", ""))
    if abs(now - int(signed_at)) > WINDOW_SECONDS:
        raise contract.Forged("signed too long ago or in the future")
    signed = f"{signed_at}.".encode() + body
    expected = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest().encode() for secret in secrets]
    # Every pair is compared, so that the time it takes tells nothing of which secret is in use.
    matches = [hmac.compare_digest(one, given) for one in expected for given in signatures]
    if not any(matches):
        raise contract.Forged("no signature fits")
    event = _parsed(body)
    if event is not NOTHING and event.get("livemode") is not livemode:
        raise contract.Forged("an event of the other mode")
    return contract.Received(dedupe_key=event_id(event) or f"sha256:{hashlib.sha256(body).hexdigest()}", body=body)


def _signed(header: str) -> tuple[str, list[bytes]]:
    """The time and the signatures of `t=…,v1=…[,v1=…]`; other schemes than v1 are passed over."""
    if len(header) > HEADER_CHARACTERS_MAX or not re.fullmatch(r"[a-z0-9]+=[^,=]+(,[a-z0-9]+=[^,=]+)*", header):
        raise contract.Forged("no readable signature")
    elements = [element.split("=") for element in header.split(",")]
    times = [value for name, value in elements if name == "t"]
    if len(times) != 1 or not re.fullmatch("[0-9]{1,12}", times[0]):
        raise contract.Forged("no readable time")
    return times[0], [value.encode("utf-8", "replace") for name, value in elements if name == "v1"]


def event_id(event: Json) -> str | None:
    """What makes an event the same at every repeat, and in Stripe's list of its events."""
    given = object_id(event)
    return given if given and len(given) <= EVENT_ID_CHARACTERS_MAX else None


def _parsed(body: bytes) -> Json:
    try:
        return as_object(json.loads(body))
    except (ValueError, RecursionError):
        return NOTHING


# --- What it says ---


@dataclass(frozen=True, slots=True)
class Event:
    type: str
    subject: Json
    spelling: currency.Spelling
    trace: contract.Trace

    @property
    def currency(self) -> str:
        code = text(self.subject, "currency") or ""
        if not re.fullmatch("[A-Za-z]{3}", code):
            raise contract.Unreadable("no currency")
        return code.upper()

    def amount(self, name: str) -> Decimal:
        units = self.subject.get(name)
        if isinstance(units, bool) or not isinstance(units, int) or not 0 <= units < UNITS_MAX:
            raise contract.Unreadable(f"no {name}")
        return self.spelling.from_integer(units, self.currency)


def read(body: bytes, spelling: currency.Spelling) -> contract.Told:
    """Raises `contract.Unreadable`."""
    event = _parsed(body)
    event_type, subject = text(event, "type"), inner(event, "data", "object")
    if text(event, "object") != "event" or event_type is None or not subject:
        raise contract.Unreadable("not an event")
    reader = READERS.get(event_type)
    if reader is None:
        return contract.Irrelevant(reason=_IRRELEVANT.get(event_type, "a type that is not waited for"))
    trace = contract.Trace(provider_request_id=text(event, "request", "id"))
    return reader(Event(event_type, subject, spelling, trace))


def _read_payment(event: Event) -> contract.Told:
    payment, status = event.subject, text(event.subject, "status")
    reference, payment_id = text(payment, "metadata", "gateway_reference"), object_id(payment)
    if payment_id is None:
        raise contract.Unreadable("a payment without an id")
    if reference is None:
        return _NOT_OURS
    operation, amount = _asked(event)
    trace = replace(event.trace, provider_code=text(payment, "cancellation_reason"))
    outcome = stripe_answers.read_unasked(payment, operation, trace)
    if status != _STATUSES[event.type]:
        outcome = contract.Unknown(reason="unexpected_status", provider_id=payment_id, trace=outcome.trace)
    return contract.AttemptTold(
        operation=operation,
        reference=reference,
        provider_transaction_id=payment_id,
        provider_id=payment_id,
        outcome=outcome,
        amount=event.amount(amount),
        currency=event.currency,
        ask=_is_incomplete(outcome, operation),
    )


def _asked(event: Event) -> tuple[Operation, str]:
    """What the payment's new status is the answer to, and which of its amounts that is about."""
    payment = event.subject
    match event.type:
        case "payment_intent.succeeded" if text(payment, "capture_method") == "manual":
            return Operation.CAPTURE, "amount_received"
        case "payment_intent.succeeded":
            return Operation.CHARGE, "amount_received"
        case "payment_intent.amount_capturable_updated":
            return Operation.CHARGE, "amount_capturable"
        case "payment_intent.canceled":  # by us, by somebody at Stripe's dashboard, or by the passing of days
            return Operation.CANCEL, "amount"
        case _:
            return Operation.CHARGE, "amount"


def _is_incomplete(outcome: contract.Outcome, operation: Operation) -> bool:
    """An event names its charge by id only: the card for the receipt must be asked for."""
    match outcome:
        case contract.Approved(card=None):
            return operation is Operation.CHARGE
        case contract.Unknown():
            return True
        case _:
            return False


def _read_refund(event: Event) -> contract.Told:
    refund, payment_id = event.subject, id_of(event.subject, "payment_intent")
    refund_id = object_id(refund)
    if refund_id is None:
        raise contract.Unreadable("a refund without an id")
    if payment_id is None:
        return _NOT_OURS
    outcome = stripe_answers.read_unasked(refund, Operation.REFUND, event.trace)
    return contract.AttemptTold(
        operation=Operation.REFUND,
        reference=text(refund, "metadata", "gateway_reference"),
        provider_transaction_id=payment_id,
        provider_id=refund_id,
        outcome=outcome,
        amount=event.amount("amount"),
        currency=event.currency,
        ask=isinstance(outcome, contract.Unknown),
    )


def _read_dispute(event: Event) -> contract.Told:
    dispute, payment_id = event.subject, id_of(event.subject, "payment_intent")
    dispute_id, status = object_id(dispute), text(dispute, "status")
    if dispute_id is None or status is None:
        raise contract.Unreadable("a dispute without an id or a status")
    if payment_id is None:
        return _NOT_OURS
    return contract.DisputeTold(
        dispute_id=dispute_id,
        provider_transaction_id=payment_id,
        reference=None,
        state=_DISPUTE_STATES.get(status, DisputeState.OPENED),
        reason=text(dispute, "reason"),
        amount=event.amount("amount"),
        currency=event.currency,
        funds_withdrawn=_FUNDS.get(event.type),
    )


_NOT_OURS = contract.Irrelevant(reason="not made through this gateway")

_STATUSES: Mapping[str, str] = {
    "payment_intent.processing": "processing",
    "payment_intent.requires_action": "requires_action",
    "payment_intent.amount_capturable_updated": "requires_capture",
    "payment_intent.succeeded": "succeeded",
    "payment_intent.payment_failed": "requires_payment_method",
    "payment_intent.canceled": "canceled",
}
"""Where each event finds its payment; one that shows it elsewhere is not understood, and Stripe is asked."""

_DISPUTE_STATES: Mapping[str, DisputeState] = {
    "won": DisputeState.WON,
    "warning_closed": DisputeState.WON,  # an inquiry that came to nothing
    "lost": DisputeState.LOST,
    "prevented": DisputeState.LOST,  # the payer got the money back before there was a chargeback
}
"""Every other status is one of waiting: for evidence, for the bank, for an appeal."""

_FUNDS: Mapping[str, bool] = {
    "charge.dispute.funds_withdrawn": True,
    "charge.dispute.funds_reinstated": False,
}

READERS: Mapping[str, Callable[[Event], contract.Told]] = (
    dict.fromkeys(_STATUSES, _read_payment)
    | dict.fromkeys(("refund.created", "refund.updated", "refund.failed", "charge.refund.updated"), _read_refund)
    | dict.fromkeys(("charge.dispute.created", "charge.dispute.updated", "charge.dispute.closed"), _read_dispute)
    | dict.fromkeys(_FUNDS, _read_dispute)
)
"""`charge.refund.updated` is what accounts of API versions before 2024-10-28 send instead of `refund.updated`."""

_IRRELEVANT: Mapping[str, str] = {
    "payment_intent.created": "our request made it",
    "charge.captured": "payment_intent.succeeded says the same",
    "charge.expired": "payment_intent.canceled says the same",
    "charge.failed": "payment_intent.payment_failed says the same",
    "charge.refunded": "the refund's own events say the same",
    "charge.succeeded": "the payment's own events say the same",
}
