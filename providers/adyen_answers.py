"""What Adyen's answers mean: pure readers from JSON to `contract.Outcome`.

No reader raises, whatever the JSON: what cannot be believed is `Unknown`. Adyen does not compare what is sent under a
used key, so each answer must repeat what ours asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self, cast

from providers import adyen_declines, adyen_requests, contract
from providers.contract import DeclineKind, NotSentReason, Operation

Json = Mapping[str, object]
_NOTHING: Json = {}
_SUCCESS = range(200, 300)


@dataclass(frozen=True, slots=True)
class Answer:
    """What Adyen answered; `body` is empty where it was no JSON object."""

    status: int
    headers: Mapping[str, str]
    body: Json

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str], content: bytes) -> Self:
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            body = None
        return cls(status, headers, _object(body))


def read(answer: Answer, prepared: contract.Prepared) -> contract.Outcome:
    """What the answer to sending `prepared` proves."""
    if answer.status not in _SUCCESS:
        return _read_error(answer, prepared)
    if prepared.operation is Operation.CHARGE:
        return _read_payment(answer, prepared, known_id=None)
    return _read_received(answer, prepared)


def read_details(answer: Answer, prepared: contract.Prepared, provider_id: str | None) -> contract.Outcome:
    """What Adyen says of the charge `prepared` once it has seen what the customer came back with."""
    if answer.status in _SUCCESS:
        return _read_payment(answer, prepared, known_id=provider_id)
    reason = _IN_PROGRESS if _is_in_progress(answer) else "return_not_accepted"
    return contract.Unknown(reason=reason, provider_id=provider_id, trace=_trace(answer, prepared))


def read_rule_out(asked: contract.Outcome, charge: contract.Prepared, provider_id: str | None) -> contract.Outcome:
    """What asking for the technical cancel of a charge proves of the charge itself."""
    if isinstance(asked, contract.Pending):
        # The id in the answer is the cancel's; the charge goes by its own, or by the reference it was sent with.
        return contract.Pending(provider_id=provider_id or _sent_reference(charge), trace=asked.trace)
    reason = asked.reason if isinstance(asked, contract.Unknown) else "not_cancelled"
    return contract.Unknown(reason=reason, provider_id=provider_id, trace=asked.trace)


# --- A payment ---


def _read_payment(answer: Answer, prepared: contract.Prepared, *, known_id: str | None) -> contract.Outcome:
    payment, result = answer.body, _text(answer.body, "resultCode")
    provider_id = psp_reference(payment) or known_id
    trace = replace(_trace(answer, prepared), provider_status=result)
    doubt = _doubt(payment, result, prepared, known_id)
    if doubt is not None:
        return contract.Unknown(reason=doubt, provider_id=provider_id, trace=trace)
    match result:
        case "Authorised" if provider_id:
            _, captured = adyen_requests.named_in(_sent_reference(prepared))
            return contract.Approved(provider_id=provider_id, captured=captured, card=_card(payment), trace=trace)
        case "Refused" | "Error" | "Cancelled":
            return _declined(payment, result, prepared, trace)
        case "RedirectShopper" | "IdentifyShopper" | "ChallengeShopper" | "PresentToShopper" | "Pending" | "Received":
            return _read_unfinished(payment, provider_id or _sent_reference(prepared), trace)
        case "PartiallyAuthorised":  # money is held, but not what was asked for: only a person can tell what to do
            return contract.Unknown(reason="partially_authorised", provider_id=provider_id, trace=trace)
        case _:
            reason = "unexpected_status" if result else "unreadable_answer"
            return contract.Unknown(reason=reason, provider_id=provider_id, trace=trace)


_FINAL = frozenset({"Authorised", "Refused", "Error", "Cancelled"})
_NO = frozenset({"Refused", "Error", "Cancelled"})


def _doubt(payment: Json, result: str | None, prepared: contract.Prepared, known_id: str | None) -> str | None:
    """Why this answer is not to be believed, if so. What is final must name our payment."""
    reference = payment.get("merchantReference")
    if reference is None:
        if result in _FINAL and (known_id is None or psp_reference(payment) != known_id):
            return "reference_missing"
    elif reference != _sent_reference(prepared):
        return "reference_mismatch"
    if result in _NO or result == "PartiallyAuthorised" or "amount" not in payment:
        return None
    return _amount_doubt(payment, prepared)


def _amount_doubt(thing: Json, prepared: contract.Prepared) -> str | None:
    shown, sent = _inner(thing, "amount"), _sent(prepared, "amount")
    if isinstance(shown.get("value"), bool) or shown.get("value") != sent.get("value"):
        return "amount_mismatch"
    return None if shown.get("currency") == sent.get("currency") else "currency_mismatch"


def _read_unfinished(payment: Json, provider_id: str, trace: contract.Trace) -> contract.Outcome:
    action = _inner(payment, "action")
    kind, url = _text(action, "type"), _text(action, "url") or ""
    match kind:
        case None | "await":  # nobody but the customer's bank or app is waited for
            if trace.provider_status in ("Pending", "Received") or kind:
                return contract.Pending(provider_id=provider_id, trace=trace)
            return contract.Unknown(reason="unexpected_status", provider_id=provider_id, trace=trace)
        case "redirect" if _text(action, "method") in (None, "GET") and url.startswith(("https://", "http://")):
            return contract.ActionRequired(provider_id=provider_id, url=url, trace=trace)
        case _:  # it needs Adyen's code in the browser, a form or a picture: nobody will show it, so nothing is paid
            return contract.Declined(
                code="authentication_required",
                kind=DeclineKind.AUTHENTICATION,
                may_fail_over=False,
                provider_code=kind,
                message="The customer would have to act in a way that an address cannot express.",
                provider_id=provider_id,
                trace=trace,
            )


def _declined(payment: Json, result: str, prepared: contract.Prepared, trace: contract.Trace) -> contract.Declined:
    raw = _text(payment, "refusalReasonCode")
    advice = _text(payment, "additionalData", "merchantAdviceCode")
    code, kind, may_fail_over = adyen_declines.classify(raw, result=result, advice=advice)
    return contract.Declined(
        code=code,
        kind=kind,
        may_fail_over=may_fail_over,
        provider_code=raw,
        message=_redacted(_text(payment, "refusalReason"), prepared) or "The payment was refused.",
        provider_id=psp_reference(payment),
        card=_card(payment),
        trace=trace,
    )


def _card(payment: Json) -> contract.Card | None:
    brand = _text(payment, "paymentMethod", "brand") or _text(payment, "additionalData", "paymentMethod")
    last4 = _text(payment, "additionalData", "cardSummary")
    return contract.Card(brand=_BRANDS.get(brand or "", brand), last4=last4) if last4 else None


_BRANDS = {"cup": "unionpay", "mc": "mastercard"}


# --- A capture, cancel or refund ---


def _read_received(answer: Answer, prepared: contract.Prepared) -> contract.Outcome:
    """Adyen takes note of nearly everything; whether it comes to pass a webhook tells."""
    received, status = answer.body, _text(answer.body, "status")
    provider_id = psp_reference(received)
    trace = replace(_trace(answer, prepared), provider_status=status)
    if provider_id is None:
        return contract.Unknown(reason="unreadable_answer", trace=trace)
    doubt = _received_doubt(received, prepared)
    if doubt is None and status == "received":
        return contract.Pending(provider_id=provider_id, trace=trace)
    return contract.Unknown(reason=doubt or "unexpected_status", provider_id=provider_id, trace=trace)


def _received_doubt(received: Json, prepared: contract.Prepared) -> str | None:
    sent = _object(json.loads(prepared.body))
    if received.get("reference", prepared.reference) != prepared.reference:
        return "reference_mismatch"
    if received.get("paymentReference") != sent.get("paymentReference"):
        return "reference_mismatch"
    if "paymentReference" not in sent and _text(received, "paymentPspReference") not in prepared.path.split("/"):
        return "reference_mismatch"
    if received.get("merchantAccount") != sent["merchantAccount"]:
        return "merchant_account_mismatch"
    return _amount_doubt(received, prepared) if "amount" in sent else None


# --- Errors ---


def _read_error(answer: Answer, prepared: contract.Prepared) -> contract.Outcome:
    """An error is the last word under its key, unless Adyen calls it transient; what it did before it does not say."""
    code, trace = _text(answer.body, "errorCode"), _trace(answer, prepared)
    if _is_in_progress(answer):
        return contract.Unknown(reason=_IN_PROGRESS, trace=trace)
    not_sent = _not_sent(answer)
    if not_sent is not None:
        return contract.NotSent(reason=not_sent, retry_after_seconds=_retry_after(answer.headers), trace=trace)
    is_invalid = answer.status in _INVALID and (code or _text(answer.body, "title"))
    if is_invalid or code in _CAPABILITY_CODES:
        return _rejected(code, prepared, trace)
    return contract.Unknown(reason=f"http_{answer.status}", trace=trace)


def _not_sent(answer: Answer) -> NotSentReason | None:
    """Why it is certain that nothing was executed, if so. 703: Adyen's memory of keys was down, so it did not begin."""
    is_transient = answer.headers.get("Transient-Error", "").lower() == "true"
    match answer.status:
        case 401 | 403:
            return NotSentReason.CREDENTIALS
        case 429:
            return NotSentReason.THROTTLED
        case status if is_transient or (status == _NO_STORE[0] and _text(answer.body, "errorCode") == _NO_STORE[1]):
            return NotSentReason.UNAVAILABLE
        case _:
            return None


def _rejected(code: str | None, prepared: contract.Prepared, trace: contract.Trace) -> contract.Rejected:
    return contract.Rejected(
        provider_code=code,
        message=trace.message or "Adyen refused the request as invalid.",
        may_fail_over=prepared.operation is Operation.CHARGE and code in _CAPABILITY_CODES,
        trace=trace,
    )


def _is_in_progress(answer: Answer) -> bool:
    return _text(answer.body, "errorCode") == "704"


_IN_PROGRESS = "in_progress"
_INVALID = frozenset({400, 404, 422})
_NO_STORE = (503, "703")
_CAPABILITY_CODES = frozenset({"905"})
"""The account is not configured for this kind of payment; another PSP may be."""


# --- Reading JSON nobody vouches for ---


def _sent(prepared: contract.Prepared, name: str) -> Json:
    return _inner(_object(json.loads(prepared.body)), name)


def _sent_reference(prepared: contract.Prepared) -> str:
    return str(json.loads(prepared.body)["reference"])


def _object(value: object) -> Json:
    return cast(Json, value) if isinstance(value, dict) else _NOTHING


def _inner(thing: Json, *path: str) -> Json:
    for name in path:
        thing = _object(thing.get(name))
    return thing


def _text(thing: Json, *path: str) -> str | None:
    value = _inner(thing, *path[:-1]).get(path[-1])
    return value if isinstance(value, str) and value else None


def psp_reference(thing: Json) -> str | None:
    """It becomes part of later addresses, so nothing but an id will do."""
    given = _text(thing, "pspReference")
    return given if given and re.fullmatch("[A-Z0-9]{16}", given) else None


def _trace(answer: Answer, prepared: contract.Prepared) -> contract.Trace:
    told = (_text(answer.body, name) for name in ("refusalReason", "message", "detail", "title"))
    return contract.Trace(
        http_status=answer.status,
        provider_request_id=psp_reference(answer.body) or _text(answer.body, "requestId"),
        provider_code=_text(answer.body, "refusalReasonCode") or _text(answer.body, "errorCode"),
        message=_redacted(next(filter(None, told), None), prepared),
    )


def _redacted(message: str | None, prepared: contract.Prepared) -> str | None:
    """Adyen repeats what it refuses: token and shopper stay out of what support may see."""
    sent = _object(json.loads(prepared.body))
    for private in (_text(sent, "paymentMethod", "storedPaymentMethodId"), _text(sent, "shopperReference")):
        message = message.replace(private, "…") if message and private else message
    return message


def _retry_after(headers: Mapping[str, str]) -> int | None:
    seconds = headers.get("Retry-After", "")
    return int(seconds) if re.fullmatch("[0-9]{1,5}", seconds) else None
