"""What PayPal's notifications say. Pure. Order is not guaranteed, and everything about money is asked for again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from providers import contract, paypal_declines
from providers.contract import DeclineKind, DisputeState, Operation
from providers.paypal_json import Json, as_object, first, inner, link, money, object_id, parsed, text


@dataclass(frozen=True, slots=True)
class Event:
    type: str
    resource: Json

    @property
    def order_id(self) -> str | None:
        return object_id(self.resource, "supplementary_data", "related_ids", "order_id")


def read(body: bytes) -> contract.Told:
    """Raises `contract.Unreadable`."""
    return _read(as_object(parsed(body)))


def dedupe_key(headers: Mapping[str, str], body: bytes) -> str:
    """The event's id is the same at every repeat; the transmission's is not, and stands in for what has none."""
    return _event_id(as_object(parsed(body))) or f"transmission:{headers['paypal-transmission-id'][:100]}"


def listed(event: Json) -> contract.Received:
    """An event of PayPal's list: the same id as in its notification. Raises `contract.CannotList`."""
    event_id = _event_id(event)
    if event_id is None:
        raise contract.CannotList("an event without an id")
    return contract.Received(dedupe_key=event_id, body=json.dumps(event, separators=(",", ":")).encode())


def _event_id(event: Json) -> str | None:
    event_id = text(event, "id")
    return event_id[:200] if event_id else None


def order_of(event: Json, reference: str) -> str | None:
    """The id of the order that this event belongs to, if it is about the charge with our reference."""
    try:
        told = _read(event)
    except contract.Unreadable:
        return None
    if not isinstance(told, contract.AttemptTold) or told.operation is not Operation.CHARGE:
        return None
    return told.provider_transaction_id if told.reference == reference else None


def _read(event: Json) -> contract.Told:
    kind, resource = text(event, "event_type"), inner(event, "resource")
    if kind is None:
        raise contract.Unreadable("not an event")
    reader = READERS.get(kind)
    if reader is None:
        return contract.Irrelevant(reason=_IRRELEVANT.get(kind, f"{kind[:100]} changes nothing here"))
    if not resource:
        raise contract.Unreadable("an event without its resource")
    return reader(Event(kind, resource))


# --- Orders ---


def _read_order(event: Event) -> contract.AttemptTold:
    """Approved: our call is due, which asking makes. Voided or taken back: there is nothing to call for any more."""
    order_id = object_id(event.resource) or object_id(event.resource, "order_id")
    unit = first(event.resource, "purchase_units")
    if order_id is None:
        raise contract.Unreadable("an order without an id")
    approved = event.type == "CHECKOUT.ORDER.APPROVED"
    amount, currency = money(unit) or (None, None)
    return contract.AttemptTold(
        operation=Operation.CHARGE,
        reference=text(unit, "custom_id"),
        provider_transaction_id=order_id,
        provider_id=order_id,
        outcome=contract.Pending(provider_id=order_id) if approved else _refused("cancelled", order_id),
        amount=amount,
        currency=currency,
        ask=True,
    )


# --- Authorizations and captures ---


def _read_authorization(event: Event) -> contract.AttemptTold:
    """Its `custom_id` is the charge's reference, also where a cancel of ours, or its 29th day, ended it."""
    voided = event.type == "PAYMENT.AUTHORIZATION.VOIDED"
    outcome = contract.Approved(provider_id=event.order_id, captured=voided) if event.order_id else _UNNAMED
    operation = Operation.CANCEL if voided else Operation.CHARGE
    return _told(event, operation, text(event.resource, "custom_id"), event.order_id, outcome)


def _read_capture(event: Event) -> contract.AttemptTold:
    """A capture of an authorization carries the capture's reference as its invoice, a sale's only the order's."""
    of_authorization = object_id(event.resource, "supplementary_data", "related_ids", "authorization_id") is not None
    provider_id = object_id(event.resource) if of_authorization else event.order_id
    match event.type.rpartition(".")[2]:
        case _ if provider_id is None:
            outcome: contract.Outcome = _UNNAMED
        case "COMPLETED":
            outcome = contract.Approved(provider_id=provider_id)
        case "PENDING":
            outcome = contract.Pending(provider_id=provider_id)
        case _:
            outcome = _declined(event.resource, provider_id)
    operation = Operation.CAPTURE if of_authorization else Operation.CHARGE
    reference = text(event.resource, "invoice_id" if of_authorization else "custom_id")
    return _told(event, operation, reference, provider_id, outcome)


def _told(
    event: Event, operation: Operation, reference: str | None, provider_id: str | None, outcome: contract.Outcome
) -> contract.AttemptTold:
    if event.order_id is None and reference is None:
        raise contract.Unreadable("neither an order nor a reference")
    amount, currency = _amount(event.resource)
    return contract.AttemptTold(
        operation=operation,
        reference=reference,
        provider_transaction_id=event.order_id,
        provider_id=provider_id,
        outcome=outcome,
        amount=amount,
        currency=currency,
        ask=True,
    )


def _declined(capture: Json, provider_id: str | None) -> contract.Declined:
    response = inner(capture, "processor_response")
    raw = text(response, "response_code")
    code, kind, may_fail_over = paypal_declines.of_processor(raw, advice=text(response, "payment_advice_code"))
    return contract.Declined(
        code=code,
        kind=kind,
        may_fail_over=may_fail_over,
        provider_code=raw or text(capture, "status_details", "reason"),
        message="The payment was declined.",
        provider_id=provider_id,
    )


def _refused(code: str, provider_id: str | None) -> contract.Declined:
    return contract.Declined(
        code=code,
        kind=DeclineKind.HARD,
        may_fail_over=False,
        provider_code=None,
        message="The payment ended at PayPal.",
        provider_id=provider_id,
    )


# --- Refunds: the resource is the refund, whatever the event is called ---


def _read_refund(event: Event) -> contract.AttemptTold:
    refund_id = object_id(event.resource)
    if refund_id is None:
        raise contract.Unreadable("a refund without an id")
    match event.type:
        case "PAYMENT.REFUND.PENDING":
            outcome: contract.Outcome = contract.Pending(provider_id=refund_id)
        case "PAYMENT.REFUND.FAILED":
            outcome = _refused("refund_failed", refund_id)
        case _ if text(event.resource, "status") in (None, "COMPLETED"):
            outcome = contract.Approved(provider_id=refund_id)
        case _:
            outcome = contract.Unknown(reason="unexpected_status", provider_id=refund_id)
    amount, currency = _amount(event.resource)
    return contract.AttemptTold(
        operation=Operation.REFUND,
        reference=text(event.resource, "custom_id"),
        provider_transaction_id=_tail(link(event.resource, "up")),
        provider_id=refund_id,
        outcome=outcome,
        amount=amount,
        currency=currency,
        ask=True,
    )


def _tail(href: str | None) -> str | None:
    return object_id({"id": (href or "").rpartition("/")[2]})


# --- Disputes ---


def _read_dispute(event: Event) -> contract.DisputeTold:
    disputed, told = first(event.resource, "disputed_transactions"), money(event.resource, "dispute_amount")
    dispute_id, capture_id = text(event.resource, "dispute_id"), object_id(disputed, "seller_transaction_id")
    if dispute_id is None or told is None:
        raise contract.Unreadable("a dispute without its id or amount")
    state = DisputeState.OPENED
    if event.type == "CUSTOMER.DISPUTE.RESOLVED":
        outcome = text(event.resource, "dispute_outcome", "outcome_code") or ""
        if outcome not in _DISPUTE_OUTCOMES:
            raise contract.Unreadable("a dispute without a known outcome")
        state = _DISPUTE_OUTCOMES[outcome]
    return contract.DisputeTold(
        dispute_id=dispute_id[:200],
        provider_transaction_id=capture_id,
        reference=text(disputed, "custom"),
        state=state,
        reason=text(event.resource, "reason"),
        amount=told[0],
        currency=told[1],
        funds_withdrawn=True if state is DisputeState.LOST else None,
    )


def _amount(resource: Json) -> tuple[Decimal, str]:
    told = money(resource)
    if told is None:
        raise contract.Unreadable("money without an amount")
    return told


_UNNAMED = contract.Unknown(reason="order_not_named")

_DISPUTE_OUTCOMES: Mapping[str, DisputeState] = {
    "ACCEPTED": DisputeState.LOST,
    "CANCELED_BY_BUYER": DisputeState.WON,
    "DENIED": DisputeState.WON,
    "NONE": DisputeState.WON,
    "RESOLVED_BUYER_FAVOUR": DisputeState.LOST,
    "RESOLVED_SELLER_FAVOUR": DisputeState.WON,
    "RESOLVED_WITH_PAYOUT": DisputeState.WON,  # PayPal paid the payer from its own pocket
}

READERS: Mapping[str, Callable[[Event], contract.Told]] = {
    "CHECKOUT.ORDER.APPROVED": _read_order,
    "CHECKOUT.ORDER.VOIDED": _read_order,
    "CHECKOUT.PAYMENT-APPROVAL.REVERSED": _read_order,
    "PAYMENT.AUTHORIZATION.CREATED": _read_authorization,
    "PAYMENT.AUTHORIZATION.VOIDED": _read_authorization,
    "PAYMENT.CAPTURE.COMPLETED": _read_capture,
    "PAYMENT.CAPTURE.PENDING": _read_capture,
    "PAYMENT.CAPTURE.DECLINED": _read_capture,
    "PAYMENT.CAPTURE.DENIED": _read_capture,
    "PAYMENT.CAPTURE.REFUNDED": _read_refund,
    "PAYMENT.CAPTURE.REVERSED": _read_refund,
    "PAYMENT.REFUND.PENDING": _read_refund,
    "PAYMENT.REFUND.FAILED": _read_refund,
    "CUSTOMER.DISPUTE.CREATED": _read_dispute,
    "CUSTOMER.DISPUTE.UPDATED": _read_dispute,
    "CUSTOMER.DISPUTE.RESOLVED": _read_dispute,
}

_IRRELEVANT: Mapping[str, str] = {
    "CHECKOUT.ORDER.COMPLETED": "its captures and authorizations tell of the money",
}
