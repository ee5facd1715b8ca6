"""What Adyen's refusal codes mean: ours, what kind of no it is, and whether another PSP may be asked. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from providers.contract import DeclineKind

_SOFT, _HARD, _FIX_DATA = DeclineKind.SOFT, DeclineKind.HARD, DeclineKind.FIX_DATA
_AUTHENTICATION, _RISK = DeclineKind.AUTHENTICATION, DeclineKind.RISK

Meaning = tuple[str, DeclineKind, bool]

_UNLISTED: Meaning = ("unknown", _SOFT, False)

_BY_RESULT: Mapping[str, Meaning] = {
    "Cancelled": ("shopper_cancelled", _HARD, False),
    "Error": ("processing_error", _SOFT, False),
}
"""For a final result that carries no code."""

_ADVICE = {"01": _FIX_DATA, "02": _SOFT, "03": _HARD, "21": _HARD}
"""Mastercard's advice codes, as far as they concern a repeat."""
_ADVISABLE = frozenset({_SOFT, _HARD, _FIX_DATA})
"""Advice sharpens an issuer's no; a missing authentication or a suspicion of fraud stays what it is."""


def classify(code: str | None, *, result: str | None, advice: str | None) -> Meaning:
    """`code` is Adyen's `refusalReasonCode`; `advice` its `merchantAdviceCode`, which overrides the kind."""
    unlisted = _UNLISTED if code else _BY_RESULT.get(result or "", _UNLISTED)
    ours, kind, may_fail_over = DECLINES.get(code or "", unlisted)
    advised = _ADVICE.get((advice or "")[:2], kind) if kind in _ADVISABLE else kind
    return ours, advised, may_fail_over and advised in (kind, _SOFT)


def by_reason(reason: str | None) -> tuple[str | None, Meaning]:
    """A notification tells the reason in words only, and they are not signed: good for advice, not for a failover."""
    code = _CODES_BY_REASON.get((reason or "").casefold())
    ours, kind, _ = DECLINES[code] if code else ("generic_decline", _SOFT, False)
    return code, (ours, kind, False)


DECLINES: Mapping[str, Meaning] = {
    "2": ("generic_decline", _SOFT, True),
    "3": ("do_not_honor", _SOFT, True),
    "4": ("processing_error", _SOFT, True),
    "5": ("restricted_card", _HARD, False),
    "6": ("expired_card", _FIX_DATA, False),
    "7": ("invalid_amount", _FIX_DATA, False),
    "8": ("invalid_number", _FIX_DATA, False),
    "9": ("issuer_unavailable", _SOFT, True),
    "10": ("card_not_supported", _FIX_DATA, True),
    "11": ("authentication_failed", _AUTHENTICATION, False),
    "12": ("insufficient_funds", _SOFT, False),
    "14": ("suspected_fraud", _RISK, False),
    "15": ("shopper_cancelled", _HARD, False),
    "16": ("shopper_cancelled", _HARD, False),
    "17": ("invalid_pin", _FIX_DATA, False),
    "18": ("invalid_pin", _FIX_DATA, False),
    "19": ("invalid_pin", _FIX_DATA, False),
    "20": ("risk_blocked", _RISK, False),
    "21": ("processing_error", _SOFT, True),
    "22": ("risk_blocked", _RISK, False),
    "23": ("transaction_not_permitted", _SOFT, True),
    "24": ("invalid_cvc", _FIX_DATA, False),
    "25": ("restricted_card", _HARD, False),
    "26": ("revoked", _HARD, False),
    "27": ("do_not_honor", _SOFT, True),
    "28": ("limit_exceeded", _SOFT, False),
    "29": ("limit_exceeded", _SOFT, False),
    "31": ("suspected_fraud", _HARD, False),
    "32": ("avs_failed", _FIX_DATA, False),
    "33": ("authentication_required", _AUTHENTICATION, False),
    "34": ("card_not_supported", _FIX_DATA, False),
    "35": ("card_not_supported", _FIX_DATA, False),
    "36": ("authentication_required", _AUTHENTICATION, False),
    "37": ("processing_error", _FIX_DATA, False),
    "38": ("authentication_required", _AUTHENTICATION, False),
    "39": ("authentication_failed", _SOFT, False),
    "40": ("issuer_unavailable", _SOFT, True),
    "41": ("authentication_required", _AUTHENTICATION, False),
    "42": ("authentication_failed", _SOFT, False),
    "46": ("do_not_honor", _HARD, False),
    "50": ("revoked", _HARD, False),
}

_CODES_BY_REASON: Mapping[str, str] = {
    "refused": "2",
    "referral": "3",
    "acquirer error": "4",
    "blocked card": "5",
    "expired card": "6",
    "invalid amount": "7",
    "invalid card number": "8",
    "issuer unavailable": "9",
    "not supported": "10",
    "3d not authenticated": "11",
    "not enough balance": "12",
    "acquirer fraud": "14",
    "cancelled": "15",
    "shopper cancelled": "16",
    "invalid pin": "17",
    "pin tries exceeded": "18",
    "pin validation not possible": "19",
    "fraud": "20",
    "not submitted": "21",
    "fraud-cancelled": "22",
    "transaction not permitted": "23",
    "cvc declined": "24",
    "restricted card": "25",
    "revocation of auth": "26",
    "declined non generic": "27",
    "withdrawal amount exceeded": "28",
    "withdrawal count exceeded": "29",
    "issuer suspected fraud": "31",
    "avs declined": "32",
    "authentication required": "38",
}
