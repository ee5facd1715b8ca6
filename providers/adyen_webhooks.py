"""Adyen's notifications: which are genuine, and what each event says. Pure.

The signature covers eight fields of an item and no time: not its reason, its date nor any `additionalData`, which
therefore decide nothing about money here. A repeat has the same event code, PSP reference and success.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import cast

from providers import adyen_declines, adyen_requests, contract
from providers.contract import AttemptTold, Declined, DeclineKind, DisputeState, DisputeTold, Operation
from providers.currency import ADYEN

Json = Mapping[str, object]

_NAMES = ("pspReference", "originalReference", "merchantAccountCode", "merchantReference")
_LAST_NAMES = ("eventCode", "success")
_REASON_MAX = 100
_NOT_CANCELLED = ("cancel_refused", "Adyen refused the cancellation.")
_VALUE_MAX = 10**18


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What a genuine notification for one account looks like."""

    merchant_account: str
    livemode: bool
    hmac_keys: tuple[bytes, ...] = field(repr=False)
    authorization: bytes | None = field(default=None, repr=False)
    """The whole header, where the account has a user name and password for notifications."""


def verify(headers: Mapping[str, str], body: bytes, watch: Watch) -> list[contract.Received]:
    """Every item, each by its own signature. Raises `contract.Forged` if a single one is not genuine."""
    if watch.authorization is not None:
        shown = headers.get("authorization", "").encode("utf-8", "surrogatepass")
        if not hmac.compare_digest(shown, watch.authorization):
            raise contract.Forged
    told = _parsed(body)
    wrapped = told.get("notificationItems")
    if told.get("live") != str(watch.livemode).lower() or not isinstance(wrapped, list) or not wrapped:
        raise contract.Forged
    return [_verified(_object(_object(each).get("NotificationRequestItem")), watch) for each in wrapped]


def _verified(item: Json, watch: Watch) -> contract.Received:
    text = signed_text(item)
    shown = _object(item.get("additionalData")).get("hmacSignature")
    if text is None or not isinstance(shown, str) or item.get("merchantAccountCode") != watch.merchant_account:
        raise contract.Forged
    signature = shown.encode("utf-8", "surrogatepass")
    # Every key is tried, so that the time taken does not tell which one fits.
    if not sum(hmac.compare_digest(signature, _signature(key, text)) for key in watch.hmac_keys):
        raise contract.Forged
    return contract.Received(
        dedupe_key=f"{item.get('eventCode')}:{item.get('pspReference')}:{item.get('success')}",
        body=json.dumps(item, sort_keys=True, separators=(",", ":")).encode("ascii"),
    )


def signed_text(item: Json) -> bytes | None:
    """What the signature is made of; None where a field is of the wrong kind.

    Fields are joined by colons and not escaped, so only our own reference may hold one: else two items share a text.
    """
    amount = _object(item.get("amount"))
    value = amount.get("value")
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    fields = [item.get(name, "") for name in _NAMES]
    fields += [str(value), amount.get("currency", "")]
    fields += [item.get(name, "") for name in _LAST_NAMES]
    texts = [each for each in fields if isinstance(each, str)]
    if len(texts) != len(fields) or any(":" in each for each in (*texts[:3], *texts[4:])):
        return None
    try:
        return ":".join(texts).encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return None


def _signature(key: bytes, text: bytes) -> bytes:
    return base64.b64encode(hmac.digest(key, text, "sha256"))


def _parsed(body: bytes) -> Json:
    try:
        return _object(json.loads(body))
    except (ValueError, RecursionError):
        raise contract.Forged from None


def _object(value: object) -> Json:
    return cast(Json, value) if isinstance(value, dict) else {}


# --- What an event says ---


@dataclass(frozen=True, slots=True)
class Item:
    """One verified item. Only what is signed, and `reason` for people to read."""

    event: str
    success: bool
    psp_reference: str
    original_reference: str | None
    merchant_reference: str
    amount: Decimal
    currency: str
    reason: str | None


def read(body: bytes) -> contract.Told:
    """Raises `contract.Unreadable`."""
    item = _item(body)
    reader = _READERS.get(item.event)
    return reader(item) if reader else contract.Irrelevant(reason=f"{item.event} is not followed")


def _item(body: bytes) -> Item:
    try:
        given = _object(json.loads(body))
    except (ValueError, RecursionError):
        raise contract.Unreadable("not JSON") from None
    amount = _object(given.get("amount"))
    texts = {name: value for name, value in given.items() if isinstance(value, str) and value}
    value, currency = amount.get("value"), amount.get("currency")
    if missing := {"eventCode", "pspReference", "success"} - texts.keys():
        raise contract.Unreadable(f"without {', '.join(sorted(missing))}")
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _VALUE_MAX:
        raise contract.Unreadable("without an amount")
    if not isinstance(currency, str) or not re.fullmatch("[A-Z]{3}", currency):
        raise contract.Unreadable("without a currency")
    if texts["success"] not in ("true", "false"):
        raise contract.Unreadable("success is neither true nor false")
    return Item(
        event=texts["eventCode"],
        success=texts["success"] == "true",
        psp_reference=texts["pspReference"],
        original_reference=texts.get("originalReference"),
        merchant_reference=texts.get("merchantReference", ""),
        amount=ADYEN.from_integer(value, currency),
        currency=currency,
        reason=texts.get("reason"),
    )


def _authorisation(item: Item) -> contract.Told:
    if item.success:
        _, captured = adyen_requests.named_in(item.merchant_reference)
        outcome: contract.Outcome = contract.Approved(
            provider_id=item.psp_reference, captured=captured, trace=_trace(item)
        )
    else:
        raw, (code, kind, may_fail_over) = adyen_declines.by_reason(item.reason)
        outcome = Declined(
            code=code,
            kind=kind,
            may_fail_over=may_fail_over,
            provider_code=raw,
            message=item.reason or "The payment was refused.",
            provider_id=item.psp_reference,
            trace=_trace(item),
        )
    return _charge_told(item, outcome)


def _expire(item: Item) -> contract.Told:
    """Time has released what was left uncaptured, as a cancel does; it names the payment and no modification."""
    payment = item.original_reference or item.psp_reference
    return AttemptTold(
        operation=Operation.CANCEL,
        reference=None,
        provider_transaction_id=payment,
        provider_id=None,
        outcome=contract.Approved(provider_id=payment, trace=_trace(item)),
    )


def _offer_closed(item: Item) -> contract.Told:
    return _charge_told(item, _refused(item, "shopper_cancelled", "The customer did not finish the payment."))


def _charge_told(item: Item, outcome: contract.Outcome) -> AttemptTold:
    payment = item.original_reference or item.psp_reference
    return AttemptTold(
        operation=Operation.CHARGE,
        reference=_our_reference(item),
        provider_transaction_id=payment,
        provider_id=payment,
        outcome=outcome,
        amount=item.amount,
        currency=item.currency,
    )


def _our_reference(item: Item) -> str | None:
    reference, _ = adyen_requests.named_in(item.merchant_reference)
    return reference or None


def _capture(item: Item) -> contract.Told:
    return _modified(item, Operation.CAPTURE, "capture_refused", "Adyen refused the capture.")


def _capture_failed(item: Item) -> contract.Told:
    outcome = _refused(item, "capture_failed", "The card scheme rejected the capture after Adyen had confirmed it.")
    return _modification_told(item, Operation.CAPTURE, outcome)


def _cancellation(item: Item) -> contract.Told:
    return _modified(item, Operation.CANCEL, *_NOT_CANCELLED)


def _refund(item: Item) -> contract.Told:
    return _modified(item, Operation.REFUND, "refund_refused", "Adyen refused the refund.")


def _refund_failed(item: Item) -> contract.Told:
    """Also what comes back days after Adyen had confirmed it; `success` only says that the event took place."""
    return _modification_told(
        item, Operation.REFUND, _refused(item, "refund_failed", "The money could not be returned.")
    )


def _refund_postponed(item: Item) -> contract.Told:
    pending = contract.Pending(provider_id=item.psp_reference, trace=_trace(item))
    return _modification_told(item, Operation.REFUND, pending)


def _cancel_or_refund(item: Item) -> contract.Told:
    """Never asked for by us, and which of the two it was Adyen does not sign."""
    if not item.success:
        return contract.Irrelevant(reason="a reversal asked for elsewhere was refused")
    raise contract.Unreadable("a reversal asked for elsewhere: cancelled or refunded, which the signature leaves open")


def _modified(item: Item, operation: Operation, code: str, message: str) -> AttemptTold:
    if item.success:
        approved = contract.Approved(provider_id=item.psp_reference, trace=_trace(item))
        return _modification_told(item, operation, approved)
    return _modification_told(item, operation, _refused(item, code, message))


def _modification_told(item: Item, operation: Operation, outcome: contract.Outcome) -> AttemptTold:
    """`merchantReference` is the modification's own, or its payment's: Adyen leaves it open, and we name both.

    A modification's is all that names one whose answer was lost, as Adyen keeps an error under its key.
    """
    of_money = operation is not Operation.CANCEL
    return AttemptTold(
        operation=operation,
        reference=_our_reference(item),
        provider_transaction_id=item.original_reference,
        provider_id=item.psp_reference,
        outcome=outcome,
        amount=item.amount if of_money else None,
        currency=item.currency if of_money else None,
    )


def _refused(item: Item, code: str, message: str) -> Declined:
    return Declined(
        code=code,
        kind=DeclineKind.HARD,
        may_fail_over=False,
        provider_code=None,
        message=message,
        provider_id=item.psp_reference,
        trace=_trace(item),
    )


def _dispute(state: DisputeState, *, funds_withdrawn: bool | None = None) -> Callable[[Item], contract.Told]:
    def told(item: Item) -> contract.Told:
        return DisputeTold(
            dispute_id=item.psp_reference,
            provider_transaction_id=item.original_reference,
            reference=None if item.original_reference else _our_reference(item),
            state=state,
            reason=item.reason[:_REASON_MAX] if item.reason else None,
            amount=item.amount,
            currency=item.currency,
            funds_withdrawn=funds_withdrawn,
        )

    return told


def _irrelevant(reason: str, events: Iterable[str]) -> Mapping[str, Callable[[Item], contract.Told]]:
    return {event: lambda _item: contract.Irrelevant(reason=reason) for event in events}


def _trace(item: Item) -> contract.Trace:
    """The reason is shown to support, and believed by nobody: it is not signed."""
    return contract.Trace(
        provider_request_id=item.psp_reference,
        provider_status=f"{item.event} {str(item.success).lower()}",
        message=item.reason,
    )


_READERS: Mapping[str, Callable[[Item], contract.Told]] = {
    "AUTHORISATION": _authorisation,
    "EXPIRE": _expire,
    "OFFER_CLOSED": _offer_closed,
    "CAPTURE": _capture,
    "CAPTURE_FAILED": _capture_failed,
    "CANCELLATION": _cancellation,
    "TECHNICAL_CANCEL": _cancellation,
    "CANCEL_OR_REFUND": _cancel_or_refund,
    "REFUND": _refund,
    "REFUND_FAILED": _refund_failed,
    "REFUNDED_REVERSED": _refund_failed,
    "POSTPONED_REFUND": _refund_postponed,
    "REQUEST_FOR_INFORMATION": _dispute(DisputeState.OPENED),
    "NOTIFICATION_OF_CHARGEBACK": _dispute(DisputeState.OPENED),
    "CHARGEBACK": _dispute(DisputeState.OPENED, funds_withdrawn=True),
    "CHARGEBACK_REVERSED": _dispute(DisputeState.WON, funds_withdrawn=False),
    "SECOND_CHARGEBACK": _dispute(DisputeState.LOST, funds_withdrawn=True),
    "DISPUTE_DEFENSE_PERIOD_ENDED": _dispute(DisputeState.LOST),
    "PREARBITRATION_LOST": _dispute(DisputeState.LOST),
    "PREARBITRATION_WON": _dispute(DisputeState.WON),
    **_irrelevant("a payout with card data, which we never ask for", ["REFUND_WITH_DATA"]),
    **_irrelevant("of a terminal, which we never use", ["VOID_PENDING_REFUND"]),
    **_irrelevant("for people to read", ["MANUAL_REVIEW_ACCEPT", "MANUAL_REVIEW_REJECT"]),
    **_irrelevant("reports are read by their names", ["REPORT_AVAILABLE"]),
    **_irrelevant("of stored payment methods", ["RECURRING_CONTRACT"]),
    **_irrelevant(
        "of a dispute, and moves nothing", ["INFORMATION_SUPPLIED", "ISSUER_COMMENTS", "NOTIFICATION_OF_FRAUD"]
    ),
}
