"""What PayPal's refusals mean: ours, what kind of no it is, and whether another PSP may be asked. Pure.

PayPal refuses in two tongues: an *issue* (HTTP 422) and a card processor's *response code* (HTTP 201!).
"""

from __future__ import annotations

from collections.abc import Mapping

from providers.contract import DeclineKind

_SOFT, _HARD, _FIX_DATA = DeclineKind.SOFT, DeclineKind.HARD, DeclineKind.FIX_DATA
_AUTHENTICATION, _RISK = DeclineKind.AUTHENTICATION, DeclineKind.RISK

Meaning = tuple[str, DeclineKind, bool]

_UNLISTED: Meaning = ("unknown", _SOFT, False)

_ADVICE = {"01": _FIX_DATA, "02": _SOFT, "03": _HARD, "21": _HARD}
_ADVISABLE = frozenset({_SOFT, _HARD, _FIX_DATA})
"""Advice sharpens an issuer's no; a missing authentication or a suspicion of fraud stays what it is."""


def of_processor(code: str | None, *, advice: str | None) -> Meaning:
    """`code` is the card processor's `response_code`; `advice` its `payment_advice_code`, which overrides the kind."""
    ours, kind, may_fail_over = PROCESSOR_CODES.get(code or "", _UNLISTED)
    advised = _ADVICE.get(advice or "", kind) if kind in _ADVISABLE else kind
    return ours, advised, may_fail_over and advised in (kind, _SOFT)


ISSUES: Mapping[str, Meaning] = {
    "AGREEMENT_ALREADY_CANCELLED": ("revoked", _HARD, False),
    "BILLING_AGREEMENT_NOT_FOUND": ("revoked", _HARD, False),
    "CARD_BRAND_NOT_SUPPORTED": ("card_not_supported", _FIX_DATA, True),
    "CARD_EXPIRED": ("expired_card", _FIX_DATA, False),
    "CARD_TYPE_NOT_SUPPORTED": ("card_not_supported", _FIX_DATA, True),
    "COMPLIANCE_VIOLATION": ("compliance", _HARD, False),
    "DECLINED_DUE_TO_RELATED_TXN": ("generic_decline", _SOFT, False),
    "DOMESTIC_TRANSACTION_REQUIRED": ("transaction_not_permitted", _SOFT, True),
    "INSTRUMENT_DECLINED": ("generic_decline", _SOFT, False),
    "MAX_NUMBER_OF_PAYMENT_ATTEMPTS_EXCEEDED": ("velocity_exceeded", _HARD, False),
    "ORDER_EXPIRED": ("action_expired", _SOFT, False),
    "PAYEE_BLOCKED_TRANSACTION": ("risk_blocked", _RISK, False),
    "PAYER_ACCOUNT_LOCKED_OR_CLOSED": ("account_closed", _HARD, False),
    "PAYER_ACCOUNT_RESTRICTED": ("restricted_card", _HARD, False),
    "PAYER_CANNOT_PAY": ("do_not_honor", _SOFT, False),
    "PAYMENT_SOURCE_CANNOT_BE_USED": ("card_not_supported", _FIX_DATA, True),
    "PAYMENT_SOURCE_DECLINED_BY_PROCESSOR": ("generic_decline", _SOFT, True),
    "PAYMENT_SOURCE_INFO_CANNOT_BE_VERIFIED": ("invalid_number", _FIX_DATA, False),
    "REFERENCED_CARD_EXPIRED": ("expired_card", _FIX_DATA, False),
    "TOKEN_EXPIRED": ("revoked", _HARD, False),
    "TOKEN_ID_NOT_FOUND": ("revoked", _HARD, False),
    "TRANSACTION_BLOCKED_BY_PAYEE": ("risk_blocked", _RISK, False),
    "TRANSACTION_LIMIT_EXCEEDED": ("limit_exceeded", _SOFT, False),
    "TRANSACTION_REFUSED": ("risk_blocked", _RISK, False),
}

PROCESSOR_CODES: Mapping[str, Meaning] = {
    "00N7": ("invalid_cvc", _FIX_DATA, False),
    "0100": ("do_not_honor", _SOFT, False),
    "0390": ("invalid_number", _HARD, False),
    "0500": ("do_not_honor", _SOFT, True),
    "0960": ("processing_error", _SOFT, True),
    "1330": ("invalid_number", _HARD, False),
    "1352": ("restricted_card", _HARD, False),
    "1382": ("invalid_cvc", _FIX_DATA, False),
    "5100": ("generic_decline", _SOFT, True),
    "5110": ("invalid_cvc", _FIX_DATA, False),
    "5120": ("insufficient_funds", _SOFT, False),
    "5140": ("account_closed", _HARD, False),
    "5150": ("pickup_card", _HARD, False),
    "5170": ("avs_failed", _FIX_DATA, False),
    "5180": ("restricted_card", _HARD, False),
    "5190": ("avs_failed", _FIX_DATA, False),
    "5200": ("duplicate_transaction", _HARD, False),
    "5210": ("transaction_not_permitted", _SOFT, True),
    "5400": ("expired_card", _FIX_DATA, False),
    "5650": ("authentication_required", _AUTHENTICATION, False),
    "5700": ("transaction_not_permitted", _SOFT, True),
    "5710": ("velocity_exceeded", _SOFT, False),
    "5910": ("issuer_unavailable", _SOFT, True),
    "5920": ("issuer_unavailable", _SOFT, False),
    "5930": ("card_not_supported", _FIX_DATA, False),
    "5950": ("account_closed", _HARD, False),
    "6300": ("invalid_number", _HARD, False),
    "7700": ("authentication_failed", _AUTHENTICATION, False),
    "7710": ("authentication_failed", _AUTHENTICATION, False),
    "8000": ("processing_error", _SOFT, True),
    "8110": ("issuer_unavailable", _SOFT, False),
    "8220": ("processing_error", _SOFT, True),
    "9100": ("issuer_unavailable", _SOFT, False),
    "9500": ("suspected_fraud", _HARD, False),
    "9510": ("do_not_honor", _HARD, False),
    "9520": ("lost_card", _HARD, False),
    "PCVV": ("invalid_cvc", _FIX_DATA, False),
    "PP06": ("account_closed", _HARD, False),
    "PPAB": ("restricted_card", _HARD, False),
    "PPAD": ("avs_failed", _FIX_DATA, False),
    "PPAX": ("limit_exceeded", _SOFT, False),
    "PPD3": ("authentication_failed", _AUTHENTICATION, False),
    "PPEL": ("velocity_exceeded", _SOFT, False),
    "PPER": ("processing_error", _SOFT, True),
    "PPNL": ("velocity_exceeded", _SOFT, False),
    "PPNT": ("processing_error", _SOFT, True),
    "PPRN": ("do_not_honor", _HARD, False),
}

UNPROVEN_PROCESSOR_CODES = frozenset({"1000", "PPIF"})
"""A partial approval and an idempotency failure: neither a yes to our amount nor a no."""

CAPABILITY_ISSUES = frozenset(
    {
        "CURRENCY_NOT_SUPPORTED",
        "CURRENCY_NOT_SUPPORTED_FOR_BANK",
        "CURRENCY_NOT_SUPPORTED_FOR_CARD_TYPE",
        "CURRENCY_NOT_SUPPORTED_FOR_COUNTRY",
        "NOT_ENABLED_FOR_CARD_PROCESSING",
        "PAYEE_ACCOUNT_LOCKED_OR_CLOSED",
        "PAYEE_ACCOUNT_NOT_VERIFIED",
        "PAYEE_ACCOUNT_RESTRICTED",
        "PAYEE_NOT_ENABLED_FOR_CARD_PROCESSING",
        "TRANSACTION_RECEIVING_LIMIT_EXCEEDED",
    }
)
"""What this account at PayPal cannot do and another PSP may: nothing was executed."""

CUSTOMER_ISSUES = frozenset({"ORDER_NOT_APPROVED", "PAYER_ACTION_REQUIRED", "REDIRECT_PAYER_FOR_ALTERNATE_FUNDING"})
"""The customer must go to PayPal (again) before the order can be taken."""

SETTLED_ISSUES = frozenset(
    {
        "AUTHORIZATION_ALREADY_CAPTURED",
        "CANNOT_BE_VOIDED",
        "CAPTURE_FULLY_REFUNDED",
        "DUPLICATE_INVOICE_ID",
        "MAX_AUTHORIZATION_COUNT_EXCEEDED",
        "MAX_CAPTURE_COUNT_EXCEEDED",
        "ORDER_ALREADY_AUTHORIZED",
        "ORDER_ALREADY_CAPTURED",
        "ORDER_ALREADY_COMPLETED",
        "ORDER_COMPLETED_OR_VOIDED",
        "ORDER_COMPLETION_IN_PROGRESS",
        "PREVIOUSLY_CAPTURED",
        "REFUND_AMOUNT_EXCEEDED",
    }
)
"""Something was done before, perhaps by us: only the order as it stands tells."""

EXPIRED_ISSUES = frozenset({"AUTHORIZATION_DENIED", "AUTHORIZATION_EXPIRED", "AUTHORIZATION_VOIDED"})

VOIDED_ISSUES = frozenset({"AUTHORIZATION_VOIDED", "PREVIOUSLY_VOIDED"})

REFUND_ISSUES = frozenset(
    {
        "CAPTURE_FULLY_REFUNDED",
        "MAX_NUMBER_OF_REFUNDS_EXCEEDED",
        "PARTIAL_REFUND_NOT_ALLOWED",
        "PENDING_CAPTURE",
        "REFUND_AMOUNT_EXCEEDED",
        "REFUND_AMOUNT_TOO_LOW",
        "REFUND_CAPTURE_CURRENCY_MISMATCH",
        "REFUND_FAILED_INSUFFICIENT_FUNDS",
        "REFUND_IS_RESTRICTED",
        "REFUND_NOT_ALLOWED",
        "REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK",
        "REFUND_TIME_LIMIT_EXCEEDED",
        "TRANSACTION_DISPUTED",
    }
)
"""PayPal's no to giving this amount of this payment back."""
