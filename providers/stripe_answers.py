"""What Stripe's answers mean: pure readers from JSON to `contract.Outcome`.

No reader raises, whatever the JSON: what cannot be believed is `Unknown`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from providers import contract, currency, stripe_declines
from providers.contract import DeclineKind, NotSentReason, Operation
from providers.stripe_json import NOTHING, Json, as_object, inner, object_id, text

_SUCCESS = range(200, 300)
_UNEXPECTED = "unexpected_status"


@dataclass(frozen=True, slots=True)
class Answer:
    """What Stripe answered: `body` is the parsed JSON, or None where there was none."""

    status: int
    headers: Mapping[str, str]
    body: object


@dataclass(frozen=True, slots=True)
class MoreAfter:
    """A page without what is looked for, and the id after which the next one begins."""

    last_id: str


def read(answer: Answer, prepared: contract.Prepared, spelling: currency.Spelling) -> contract.Outcome:
    """What the answer to sending `prepared` proves."""
    if answer.status in _SUCCESS:
        return _read_object(as_object(answer.body), prepared, spelling, _trace(answer))
    return _read_error(answer, prepared, spelling)


def read_look_up(
    answer: Answer, prepared: contract.Prepared, spelling: currency.Spelling
) -> contract.Outcome | MoreAfter:
    """What a GET tells of `prepared`. An error here proves nothing about the request that is looked for."""
    trace = _trace(answer)
    if answer.status not in _SUCCESS:
        return contract.Unknown(reason="look_up_failed", trace=trace)
    found = as_object(answer.body)
    if text(found, "object") == "list":
        page, found = found, _find(found, prepared)
        if not found:
            last_id = _last_id(page)
            return MoreAfter(last_id) if last_id else contract.Absent(trace=trace)
    if text(found, "status") in _UNTOUCHED.get(prepared.operation, ()):
        return contract.Absent(trace=trace)
    return _read_object(found, prepared, spelling, trace)


def cancel_path(seen: contract.Outcome) -> str | None:
    """Where the payment that a look-up has shown can be cancelled; None where it cannot, or was not seen clearly."""
    provider_id = getattr(seen, "provider_id", None)
    unclear = isinstance(seen, contract.Unknown) and seen.reason != _UNEXPECTED
    if provider_id is None or unclear or seen.trace.provider_status not in _UNTOUCHED[Operation.CANCEL]:
        return None
    return f"/v1/payment_intents/{provider_id}/cancel"


def read_unasked(thing: Json, operation: Operation, trace: contract.Trace) -> contract.Outcome:
    """What an object proves of an operation when nothing is at hand to compare it with."""
    provider_id, status = object_id(thing), text(thing, "status")
    trace = replace(trace, provider_status=status)
    outcome = _READERS[operation](thing, provider_id, status, trace) if provider_id else None
    return outcome or contract.Unknown(reason=_UNEXPECTED, provider_id=provider_id, trace=trace)


def _find(page: Json, prepared: contract.Prepared) -> Json:
    return next((thing for thing in _things(page) if _is_ours(thing, prepared)), NOTHING)


def _last_id(page: Json) -> str | None:
    things = _things(page)
    return text(things[-1], "id") if things and page.get("has_more") is True else None


def _things(page: Json) -> list[Json]:
    items = page.get("data")
    return [as_object(item) for item in items] if isinstance(items, list) else []


# --- Objects: a payment after charge, capture or cancel; a refund ---


def _read_object(
    thing: Json, prepared: contract.Prepared, spelling: currency.Spelling, trace: contract.Trace
) -> contract.Outcome:
    provider_id, status = object_id(thing), text(thing, "status")
    trace = replace(trace, provider_status=status)
    if provider_id is None:
        return contract.Unknown(reason="unreadable_answer", trace=trace)
    doubt = _doubt(thing, prepared, spelling)
    if doubt is not None:
        return contract.Unknown(reason=doubt, provider_id=provider_id, trace=trace)
    outcome = _READERS[prepared.operation](thing, provider_id, status, trace)
    return outcome or contract.Unknown(reason=_UNEXPECTED, provider_id=provider_id, trace=trace)


def _doubt(thing: Json, prepared: contract.Prepared, spelling: currency.Spelling) -> str | None:
    """Why this object is not to be believed, if so.

    Captures and cancels carry no reference of ours: the payment named in their path is what the answer must be about.
    """
    amount = "amount"
    if prepared.operation in (Operation.CAPTURE, Operation.CANCEL):
        if text(thing, "id") not in prepared.path.split("/"):
            return "reference_mismatch"
        if prepared.operation is Operation.CANCEL or text(thing, "status") != "succeeded":
            return None
        amount = "amount_received"
    elif not _is_ours(thing, prepared):
        return "reference_mismatch"
    units = thing.get(amount)
    if isinstance(units, bool) or units != spelling.to_integer(prepared.amount, prepared.currency):
        return "amount_mismatch"
    return None if text(thing, "currency") == prepared.currency.lower() else "currency_mismatch"


def _is_ours(thing: Json, prepared: contract.Prepared) -> bool:
    return text(thing, "metadata", "gateway_reference") == prepared.reference


def _read_charge(payment: Json, provider_id: str, status: str | None, trace: contract.Trace) -> contract.Outcome | None:
    captured = status == "succeeded"
    settled = payment.get("amount_received" if captured else "amount_capturable") == payment.get("amount")
    match status:
        case "succeeded" | "requires_capture" if settled:
            return contract.Approved(provider_id=provider_id, captured=captured, card=_card(payment), trace=trace)
        case "requires_action":
            return _read_next_action(payment, provider_id, trace)
        case "processing":
            return contract.Pending(provider_id=provider_id, trace=trace)
        case "requires_payment_method" if payment.get("last_payment_error"):
            return _declined(inner(payment, "last_payment_error"), payment, trace)
        case "canceled":
            return _refused("cancelled", "The payment was cancelled at Stripe.", provider_id, trace)
        case _:
            return None


def _read_next_action(payment: Json, provider_id: str, trace: contract.Trace) -> contract.Outcome:
    url = text(payment, "next_action", "redirect_to_url", "url")
    if url is not None:
        return contract.ActionRequired(provider_id=provider_id, url=url, trace=trace)
    # We asked without a return URL: only Stripe's browser code could go on, and the partner does not have it.
    return contract.Declined(
        code="authentication_required",
        kind=DeclineKind.AUTHENTICATION,
        may_fail_over=False,
        provider_code=text(payment, "next_action", "type"),
        message="The customer must authenticate; charge again with a return URL.",
        provider_id=provider_id,
        card=_card(payment),
        trace=trace,
    )


def _read_capture(
    payment: Json, provider_id: str, status: str | None, trace: contract.Trace
) -> contract.Outcome | None:
    match status:
        case "succeeded":
            return contract.Approved(provider_id=provider_id, card=_card(payment), trace=trace)
        case "processing":
            return contract.Pending(provider_id=provider_id, trace=trace)
        case "canceled":
            message = "The authorization has expired or was cancelled."
            return _refused("expired_authorization", message, provider_id, trace)
        case _:
            return None


def _read_cancel(
    _payment: Json, provider_id: str, status: str | None, trace: contract.Trace
) -> contract.Outcome | None:
    match status:
        case "canceled":
            return contract.Approved(provider_id=provider_id, trace=trace)
        case "succeeded":
            return _refused("cancel_refused", "The payment was captured already; refund it.", provider_id, trace)
        case _:
            return None


def _read_refund(refund: Json, provider_id: str, status: str | None, trace: contract.Trace) -> contract.Outcome | None:
    match status:
        case "succeeded":
            return contract.Approved(provider_id=provider_id, trace=trace)
        case "pending" | "requires_action":
            return contract.Pending(provider_id=provider_id, trace=trace)
        case "failed" | "canceled":
            trace = replace(trace, provider_code=text(refund, "failure_reason"))
            return _refused("refund_failed", "Stripe could not return the money.", provider_id, trace)
        case _:
            return None


_Reader = Callable[[Json, str, str | None, contract.Trace], contract.Outcome | None]

_READERS: Mapping[Operation, _Reader] = {
    Operation.CHARGE: _read_charge,
    Operation.CAPTURE: _read_capture,
    Operation.CANCEL: _read_cancel,
    Operation.REFUND: _read_refund,
}
"""None: a status that this operation does not lead to."""

_UNTOUCHED: Mapping[Operation, frozenset[str]] = {
    Operation.CAPTURE: frozenset({"requires_capture"}),
    Operation.CANCEL: frozenset(
        {"requires_payment_method", "requires_confirmation", "requires_action", "requires_capture", "processing"}
    ),
}
"""Statuses of a payment that our capture or cancel has not reached."""


# --- Errors ---


def _read_error(answer: Answer, prepared: contract.Prepared, spelling: currency.Spelling) -> contract.Outcome:
    error = inner(as_object(answer.body), "error")
    kind, trace = text(error, "type"), _trace(answer)
    match answer.status:
        case 401 | 403:
            return contract.NotSent(reason=NotSentReason.CREDENTIALS, trace=trace)
        case 429:
            seconds = _retry_after(answer.headers)
            return contract.NotSent(reason=NotSentReason.THROTTLED, retry_after_seconds=seconds, trace=trace)
        case 400 | 404 if kind == "idempotency_error":
            return contract.Unknown(reason="key_conflict", trace=trace)
        case 400 | 404 if kind == "invalid_request_error":
            return _read_invalid(error, prepared, spelling, trace)
        case 402 if kind == "card_error":
            return _read_card_error(error, prepared, trace)
        case status:
            return contract.Unknown(reason=_UNPROVEN.get(status, f"http_{status}"), trace=trace)


def _read_card_error(error: Json, prepared: contract.Prepared, trace: contract.Trace) -> contract.Outcome:
    payment = inner(error, "payment_intent")
    if prepared.operation is Operation.CHARGE and payment and not _is_ours(payment, prepared):
        return contract.Unknown(reason="reference_mismatch", provider_id=object_id(payment), trace=trace)
    return _declined(error, payment, trace)


def _read_invalid(
    error: Json, prepared: contract.Prepared, spelling: currency.Spelling, trace: contract.Trace
) -> contract.Outcome:
    code = text(error, "code")
    if code in _STATE_CODES:  # the payment is elsewhere already: where it is decides, when Stripe shows it
        return _read_object(inner(error, "payment_intent"), prepared, spelling, trace)
    if prepared.operation is Operation.CAPTURE and code in _EXPIRED_CODES:
        return _refused("expired_authorization", "The authorization has expired.", None, trace)
    if prepared.operation is Operation.REFUND and _is_refund_refusal(code, text(error, "param")):
        return _refused("refund_refused", "Stripe refuses to return this amount of this payment.", None, trace)
    return contract.Rejected(
        provider_code=code,
        message=trace.message or "Stripe refused the request as invalid.",
        may_fail_over=prepared.operation is Operation.CHARGE and code in _CAPABILITY_CODES,
        trace=trace,
    )


def _is_refund_refusal(code: str | None, param: str | None) -> bool:
    """Stripe gives no code when too much is asked back, nor a parameter when nothing was captured."""
    return code in _REFUND_CODES or (code is None and param in (None, "amount"))


_UNPROVEN = {0: "no_answer", 409: "in_progress"}
_STATE_CODES = frozenset({"payment_intent_unexpected_state", "charge_already_captured"})
_EXPIRED_CODES = frozenset({"capture_charge_authorization_expired", "charge_expired_for_capture"})
_REFUND_CODES = frozenset(
    {"charge_already_refunded", "charge_disputed", "charge_not_refundable", "refund_disputed_payment"}
)
_CAPABILITY_CODES = frozenset(
    {
        "amount_too_large",
        "amount_too_small",
        "card_not_supported",
        "currency_not_supported",
        "payment_method_not_available",
    }
)


# --- Declines ---


def _declined(error: Json, payment: Json, trace: contract.Trace) -> contract.Declined:
    raw = text(error, "decline_code") or text(error, "code")
    code, kind, may_fail_over = stripe_declines.classify(raw, advice=text(error, "advice_code"))
    return contract.Declined(
        code=code,
        kind=kind,
        may_fail_over=may_fail_over,
        provider_code=raw,
        message=_redacted(text(error, "message")) or "The card was declined.",
        provider_id=object_id(payment),
        card=_card(payment) or _seen_card(inner(error, "payment_method", "card")),
        trace=replace(trace, provider_code=raw),
    )


def _refused(code: str, message: str, provider_id: str | None, trace: contract.Trace) -> contract.Declined:
    """A refusal for the state of the payment, not for the card: asking again cannot help."""
    return contract.Declined(
        code=code,
        kind=DeclineKind.HARD,
        may_fail_over=False,
        provider_code=trace.provider_code,
        message=message,
        provider_id=provider_id,
        trace=trace,
    )


# --- What support and receipts may see ---


def _card(payment: Json) -> contract.Card | None:
    return _seen_card(inner(payment, "latest_charge", "payment_method_details", "card"))


def _seen_card(card: Json) -> contract.Card | None:
    return contract.Card(brand=text(card, "brand"), last4=text(card, "last4")) if card else None


def _trace(answer: Answer) -> contract.Trace:
    error = inner(as_object(answer.body), "error")
    return contract.Trace(
        http_status=answer.status or None,
        provider_request_id=answer.headers.get("Request-Id"),
        provider_code=text(error, "decline_code") or text(error, "code"),
        message=_redacted(text(error, "message")),
    )


def _redacted(message: str | None) -> str | None:
    """Stripe repeats what it refuses: tokens, customers and keys stay out of what support may see."""
    return _PRIVATE.sub(r"\1_…", message) if message else None


_PRIVATE = re.compile(r"\b(card|cus|pm|rk|sk|src|tok)_[\w*]+")


def _retry_after(headers: Mapping[str, str]) -> int | None:
    seconds = headers.get("Retry-After", "")
    return int(seconds) if re.fullmatch("[0-9]{1,5}", seconds) else None
