"""Stripe's magic test payment methods: what each one makes the issuer, the customer's bank or a refund do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Decline:
    code: str
    decline_code: str
    param: str | None = None
    advice_code: str | None = None
    message: str = "Your card was declined."


@dataclass(frozen=True, slots=True)
class Contest:
    """The payer's bank contests the payment; an inquiry only asks, and withdraws no money."""

    reason: str
    inquiry: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    brand: str | None = "visa"
    """None: a bank account, whose payments stay in processing until they are settled."""
    last4: str = "4242"
    decline: Decline | None = None
    authenticate: bool = False
    refund_pends: bool = False
    refund_fails: bool = False
    contests: tuple[Contest, ...] = ()


_LATER, _NEVER, _CHECK = "try_again_later", "do_not_try_again", "confirm_card_data"

_GENERIC = Decline("card_declined", "generic_decline", advice_code=_LATER)
_NO_FUNDS = Decline("card_declined", "insufficient_funds", advice_code=_LATER, message="Your card has too few funds.")
_LOST = Decline("card_declined", "lost_card", advice_code=_NEVER)
_STOLEN = Decline("card_declined", "stolen_card", advice_code=_NEVER)
_EXPIRED = Decline("expired_card", "expired_card", "exp_month", _CHECK, "Your card has expired.")
_CVC = Decline("incorrect_cvc", "incorrect_cvc", "cvc", _CHECK, "Your card's security code is incorrect.")
_PROCESSING = Decline("processing_error", "processing_error", advice_code=_LATER, message="An error occurred.")
_FRAUD = Decline("card_declined", "fraudulent")
_VELOCITY = Decline("card_declined", "card_velocity_exceeded")
_BANK_FUNDS = Decline("payment_intent_payment_attempt_failed", "insufficient_funds", message="Too few funds.")

_FRAUDULENT, _NOT_RECEIVED = Contest("fraudulent"), Contest("product_not_received")

BEHAVIOURS: Mapping[str, Behaviour] = {
    "pm_card_visa": Behaviour(),
    "pm_card_visa_debit": Behaviour(last4="5556"),
    "pm_card_mastercard": Behaviour(brand="mastercard", last4="4444"),
    "pm_card_amex": Behaviour(brand="amex", last4="0005"),
    "pm_card_discover": Behaviour(brand="discover", last4="1117"),
    "pm_card_jcb": Behaviour(brand="jcb", last4="0505"),
    "pm_card_unionpay": Behaviour(brand="unionpay", last4="0005"),
    "pm_card_riskLevelElevated": Behaviour(last4="9235"),
    "pm_card_cvcCheckFail": Behaviour(last4="0101"),
    "pm_card_avsFail": Behaviour(last4="0010"),
    "pm_card_pendingRefund": Behaviour(last4="7726", refund_pends=True),
    "pm_card_refundFail": Behaviour(last4="5126", refund_fails=True),
    "pm_card_createDispute": Behaviour(last4="0259", contests=(_FRAUDULENT,)),
    "pm_card_createDisputeProductNotReceived": Behaviour(last4="2685", contests=(_NOT_RECEIVED,)),
    "pm_card_createDisputeInquiry": Behaviour(last4="1976", contests=(Contest("fraudulent", inquiry=True),)),
    "pm_card_createMultipleDisputes": Behaviour(last4="5423", contests=(_FRAUDULENT, _NOT_RECEIVED)),
    "pm_usBankAccount_success": Behaviour(brand=None, last4="6789"),
    "pm_usBankAccount_insufficientFunds": Behaviour(brand=None, last4="2227", decline=_BANK_FUNDS),
    "pm_card_visa_chargeDeclined": Behaviour(last4="0002", decline=_GENERIC),
    "pm_card_chargeDeclined": Behaviour(last4="0002", decline=_GENERIC),
    "pm_card_chargeCustomerFail": Behaviour(last4="0341", decline=_GENERIC),
    "pm_card_visa_chargeDeclinedInsufficientFunds": Behaviour(last4="9995", decline=_NO_FUNDS),
    "pm_card_visa_chargeDeclinedLostCard": Behaviour(last4="9987", decline=_LOST),
    "pm_card_visa_chargeDeclinedStolenCard": Behaviour(last4="9979", decline=_STOLEN),
    "pm_card_chargeDeclinedExpiredCard": Behaviour(last4="0069", decline=_EXPIRED),
    "pm_card_chargeDeclinedIncorrectCvc": Behaviour(last4="0127", decline=_CVC),
    "pm_card_chargeDeclinedProcessingError": Behaviour(last4="0119", decline=_PROCESSING),
    "pm_card_chargeDeclinedFraudulent": Behaviour(last4="0019", decline=_FRAUD),
    "pm_card_radarBlock": Behaviour(last4="0019", decline=_FRAUD),
    "pm_card_riskLevelHighest": Behaviour(last4="4954", decline=_FRAUD),
    "pm_card_visa_chargeDeclinedVelocityLimitExceeded": Behaviour(last4="6975", decline=_VELOCITY),
    "pm_card_threeDSecure2Required": Behaviour(last4="3220", authenticate=True),
    "pm_card_authenticationRequired": Behaviour(last4="3184", authenticate=True),
    "pm_card_authenticationRequiredOnSetup": Behaviour(last4="3155", authenticate=True),
    "pm_card_authenticationRequiredSetupForOffSession": Behaviour(last4="3155", authenticate=True),
    "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds": Behaviour(
        last4="8341", authenticate=True, decline=_NO_FUNDS
    ),
}
