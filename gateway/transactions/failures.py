"""A refusal in words a partner can act on: our code, the advice, and a sentence fit for the customer's eyes."""

from __future__ import annotations

from collections.abc import Mapping

from db.records import Failure
from providers.contract import RULED_OUT, Declined, DeclineKind, NotSent, Rejected

_ADVICE: Mapping[DeclineKind, str] = {
    DeclineKind.SOFT: "retry_later",
    DeclineKind.HARD: "do_not_retry",
    DeclineKind.FIX_DATA: "try_another_card",
    DeclineKind.AUTHENTICATION: "try_another_card",
    DeclineKind.RISK: "do_not_retry",
}
_OTHER_CARD = frozenset({"insufficient_funds", "limit_exceeded", "velocity_exceeded", "card_not_supported"})
"""Soft by kind, but waiting helps less than another card."""

_MESSAGES: Mapping[str, str] = {
    "insufficient_funds": "The card has insufficient funds.",
    "expired_card": "The card has expired.",
    "invalid_cvc": "The card's security code is incorrect.",
    "invalid_number": "The card number is incorrect.",
    "avs_failed": "The billing address does not match the card's.",
    "authentication_required": "The card's bank asks the customer to authenticate.",
    "authentication_failed": "The customer could not be authenticated.",
    "card_not_supported": "The card does not support this kind of purchase.",
    "currency_not_supported": "The card does not support this currency.",
    "limit_exceeded": "The card's limit is exceeded.",
    "velocity_exceeded": "The card was used too often in a short time.",
    "issuer_unavailable": "The card's bank cannot be reached at the moment.",
    "processing_error": "The payment could not be processed. It may be tried again.",
    "shopper_cancelled": "The customer cancelled the payment.",
}
_DEFAULT = "The payment was declined."
"""Also for lost, stolen and suspected cards: the customer at the till must not learn which."""


ACTION_EXPIRED = Failure(
    error_code="action_expired",
    error_message="The customer did not complete the payment in time. Nothing was charged.",
    advice="retry_later",
)
ABSENT_CODE = "established_absent"
"""The code of a charge of which people established that it was never made."""
_ESTABLISHED: Mapping[str, Failure] = {
    RULED_OUT: Failure(
        error_code="payment_ruled_out",
        error_message="The provider did not tell the outcome, so the payment was cancelled there. Nothing was charged.",
        advice="retry_later",
    ),
    ABSENT_CODE: Failure(
        error_code="payment_not_made",
        error_message="The provider did not tell the outcome. It was established that nothing was charged.",
        advice="retry_later",
    ),
}


def of_charge(outcome: Declined | Rejected | NotSent, method: str) -> Failure:
    match outcome:
        case Declined(code="action_expired"):
            return ACTION_EXPIRED
        case Declined(code=code) if code in _ESTABLISHED:
            return _ESTABLISHED[code]
        case Declined():
            return Failure(
                error_code="card_declined" if method == "card" else "payment_declined",
                error_message=_MESSAGES.get(outcome.code, _DEFAULT),
                decline_code=outcome.code,
                advice="try_another_card" if outcome.code in _OTHER_CARD else _ADVICE[outcome.kind],
                provider_code=outcome.provider_code,
            )
        case Rejected():
            return Failure(
                error_code="provider_rejected",
                error_message="The payment service provider refused the request as invalid.",
                advice="contact_support",
                provider_code=outcome.provider_code,
            )
        case NotSent():
            return Failure(
                error_code="provider_unavailable",
                error_message="The payment service provider could not be reached. Nothing was charged.",
                advice="retry_later",
                provider_code=outcome.trace.provider_code,
            )


def of_refund(outcome: Declined | Rejected) -> Failure:
    return Failure(
        error_code="refund_refused",
        error_message="The payment service provider refused the refund.",
        decline_code=outcome.code if isinstance(outcome, Declined) else None,
        advice="contact_support",
        provider_code=outcome.provider_code,
    )


def expired(outcome: Declined) -> Failure:
    return Failure(
        error_code="authorization_expired",
        error_message="The authorization expired before it was captured. No money was taken.",
        advice="try_another_card",
        provider_code=outcome.provider_code,
    )
