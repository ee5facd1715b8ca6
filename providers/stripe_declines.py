"""What Stripe's refusal codes mean: ours, what kind of no it is, and whether another PSP may be asked. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from providers.contract import DeclineKind

_SOFT, _HARD, _FIX_DATA = DeclineKind.SOFT, DeclineKind.HARD, DeclineKind.FIX_DATA
_AUTHENTICATION, _RISK = DeclineKind.AUTHENTICATION, DeclineKind.RISK

Meaning = tuple[str, DeclineKind, bool]

_UNLISTED: Meaning = ("unknown", _SOFT, False)

_ADVICE = {"do_not_try_again": _HARD, "try_again_later": _SOFT, "confirm_card_data": _FIX_DATA}
_ADVISABLE = frozenset({_SOFT, _HARD, _FIX_DATA})
"""Advice sharpens an issuer's no; a missing authentication or a suspicion of fraud stays what it is."""


def classify(code: str | None, *, advice: str | None) -> Meaning:
    """`code` is Stripe's `decline_code`, else its `code`; `advice` its `advice_code`, which overrides the kind."""
    ours, kind, may_fail_over = DECLINES.get(code or "", _UNLISTED)
    advised = _ADVICE.get(advice or "", kind) if kind in _ADVISABLE else kind
    return ours, advised, may_fail_over and advised in (kind, _SOFT)


DECLINES: Mapping[str, Meaning] = {
    "approve_with_id": ("do_not_honor", _SOFT, True),
    "authentication_not_handled": ("authentication_required", _AUTHENTICATION, False),
    "authentication_required": ("authentication_required", _AUTHENTICATION, False),
    "call_issuer": ("do_not_honor", _SOFT, True),
    "capture_charge_authorization_expired": ("expired_authorization", _HARD, False),
    "card_declined": ("generic_decline", _SOFT, True),
    "card_not_supported": ("card_not_supported", _FIX_DATA, True),
    "card_velocity_exceeded": ("velocity_exceeded", _SOFT, False),
    "currency_not_supported": ("currency_not_supported", _FIX_DATA, True),
    "do_not_honor": ("do_not_honor", _SOFT, True),
    "do_not_try_again": ("do_not_honor", _HARD, False),
    "duplicate_transaction": ("duplicate_transaction", _HARD, False),
    "expired_card": ("expired_card", _FIX_DATA, False),
    "fraudulent": ("suspected_fraud", _RISK, False),
    "generic_decline": ("generic_decline", _SOFT, True),
    "incorrect_address": ("avs_failed", _FIX_DATA, False),
    "incorrect_cvc": ("invalid_cvc", _FIX_DATA, False),
    "incorrect_number": ("invalid_number", _FIX_DATA, False),
    "incorrect_pin": ("invalid_pin", _FIX_DATA, False),
    "incorrect_zip": ("avs_failed", _FIX_DATA, False),
    "insufficient_funds": ("insufficient_funds", _SOFT, False),
    "invalid_account": ("account_closed", _HARD, False),
    "invalid_amount": ("invalid_amount", _FIX_DATA, False),
    "invalid_cvc": ("invalid_cvc", _FIX_DATA, False),
    "invalid_expiry_month": ("expired_card", _FIX_DATA, False),
    "invalid_expiry_year": ("expired_card", _FIX_DATA, False),
    "invalid_number": ("invalid_number", _FIX_DATA, False),
    "issuer_not_available": ("issuer_unavailable", _SOFT, True),
    "lost_card": ("lost_card", _HARD, False),
    "merchant_blacklist": ("risk_blocked", _RISK, False),
    "new_account_information_available": ("account_closed", _HARD, False),
    "no_action_taken": ("do_not_honor", _SOFT, True),
    "not_permitted": ("transaction_not_permitted", _SOFT, True),
    "offline_pin_required": ("invalid_pin", _FIX_DATA, False),
    "online_or_offline_pin_required": ("invalid_pin", _FIX_DATA, False),
    "payment_intent_authentication_failure": ("authentication_failed", _AUTHENTICATION, False),
    "pickup_card": ("pickup_card", _HARD, False),
    "pin_try_exceeded": ("invalid_pin", _FIX_DATA, False),
    "processing_error": ("processing_error", _SOFT, True),
    "reenter_transaction": ("processing_error", _SOFT, True),
    "restricted_card": ("restricted_card", _HARD, False),
    "revocation_of_all_authorizations": ("revoked", _HARD, False),
    "revocation_of_authorization": ("revoked", _HARD, False),
    "security_violation": ("do_not_honor", _HARD, False),
    "service_not_allowed": ("transaction_not_permitted", _SOFT, True),
    "stolen_card": ("stolen_card", _HARD, False),
    "stop_payment_order": ("revoked", _HARD, False),
    "testmode_decline": ("unknown", _FIX_DATA, False),
    "transaction_not_allowed": ("transaction_not_permitted", _SOFT, True),
    "try_again_later": ("do_not_honor", _SOFT, True),
    "withdrawal_count_limit_exceeded": ("limit_exceeded", _SOFT, False),
}
