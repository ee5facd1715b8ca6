"""Adyen's magic test values: what each one makes the acquirer, the customer's bank or a later modification do.

They are read, in any case and with blanks for underscores, from `additionalData` (the two fields that begin with
`RequestedTest`), from `paymentMethod.holderName` and from `paymentMethod.storedPaymentMethodId`: a stored token can be
named after what it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    brand: str = "visa"
    last4: str = "4242"
    result: str = "Authorised"
    code: str | None = None
    reason: str = ""
    raw: str = ""
    error: str | None = None
    challenge: bool = False
    capture_fails: bool = False
    refund_fails: bool = False
    refund_waits: bool = False
    disputes: tuple[str, ...] = ()
    dispute_reason: str = "10.4"


def behaviour(values: Iterable[str]) -> Behaviour | None:
    """Of the first value that is magic. A colon begins the acquirer's own wording, or a dispute's reason code."""
    for value in values:
        name, _, detail = value.partition(":")
        found = BEHAVIOURS.get(name.strip().upper().replace(" ", "_"))
        if found is not None:
            detail = detail.strip()
            reason = detail if found.disputes and detail else found.dispute_reason
            return replace(found, raw=detail or f"{found.code or '00'} : {found.reason}", dispute_reason=reason)
    return None


def _refused(code: str, reason: str) -> Behaviour:
    return Behaviour(result="Refused", code=code, reason=reason)


BEHAVIOURS: Mapping[str, Behaviour] = {
    "APPROVED": Behaviour(),
    "APPROVED_MC": Behaviour(brand="mc", last4="5454"),
    "APPROVED_AMEX": Behaviour(brand="amex", last4="0002"),
    "UNKNOWN": Behaviour(result="Error", code="0", reason="Unknown"),
    "DECLINED": _refused("2", "Refused"),
    "REFERRAL": _refused("3", "Referral"),
    "ERROR": Behaviour(result="Error", code="4", reason="Acquirer Error"),
    "BLOCK_CARD": _refused("5", "Blocked Card"),
    "CARD_EXPIRED": _refused("6", "Expired Card"),
    "INVALID_AMOUNT": _refused("7", "Invalid Amount"),
    "INVALID_CARD_NUMBER": _refused("8", "Invalid Card Number"),
    "ISSUER_UNAVAILABLE": _refused("9", "Issuer Unavailable"),
    "NOT_SUPPORTED": _refused("10", "Not supported"),
    "NOT_3D_AUTHENTICATED": _refused("11", "3D Not Authenticated"),
    "NOT_ENOUGH_BALANCE": _refused("12", "Not enough balance"),
    "PENDING": Behaviour(result="Received"),
    "ACQUIRER_FRAUD": _refused("14", "Acquirer Fraud"),
    "CANCELLED": _refused("15", "Cancelled"),
    "SHOPPER_CANCELLED": _refused("16", "Shopper Cancelled"),
    "INVALID_PIN": _refused("17", "Invalid Pin"),
    "PIN_TRIES_EXCEEDED": _refused("18", "Pin tries exceeded"),
    "PIN_VALIDATION_NOT_POSSIBLE": _refused("19", "Pin validation not possible"),
    "FRAUD": _refused("20", "FRAUD"),
    "NOT_SUBMITTED": _refused("21", "Not Submitted"),
    "FRAUD_CANCELLED": Behaviour(result="Cancelled", code="22", reason="FRAUD-CANCELLED"),
    "TRANSACTION_NOT_PERMITTED": _refused("23", "Transaction Not Permitted"),
    "CVC_DECLINED": _refused("24", "CVC Declined"),
    "RESTRICTED_CARD": _refused("25", "Restricted Card"),
    "REVOCATION_OF_AUTH": _refused("26", "Revocation Of Auth"),
    "DECLINED_NON_GENERIC": _refused("27", "Declined Non Generic"),
    "WITHDRAWAL_AMOUNT_EXCEEDED": _refused("28", "Withdrawal amount exceeded"),
    "WITHDRAWAL_COUNT_EXCEEDED": _refused("29", "Withdrawal count exceeded"),
    "PARTIALLY_APPROVED": Behaviour(result="PartiallyAuthorised"),
    "ISSUER_SUSPECTED_FRAUD": _refused("31", "Issuer Suspected Fraud"),
    "AVS_DECLINED": _refused("32", "AVS Declined"),
    "PIN_REQUIRED": _refused("33", "Card requires online pin"),
    "MOBILE_PIN_REQUIRED": _refused("36", "Mobile PIN required"),
    "CONTACTLESS_FALLBACK": _refused("37", "Contactless fallback"),
    "AUTHENTICATION_REQUIRED": _refused("38", "Authentication required"),
    "RREQ_NOT_RECEIVED": _refused("39", "RReq not received from DS"),
    "BAN_CURRENT_AID": _refused("40", "Current AID is in Penalty Box."),
    "CVM_REQUIRED": _refused("41", "CVM Required Restart Payment"),
    "THREED_SECURE_ERROR": _refused("42", "3DS Authentication Error"),
    "ONLINE_PIN_REQUIRED": _refused("43", "Online PIN required"),
    "TRY_ANOTHER_INTERFACE": _refused("44", "Try another interface"),
    "CHIP_DOWNGRADE_MODE": _refused("45", "Chip downgrade mode"),
    "ERPS_BLOCK": _refused("46", "Transaction blocked by Adyen to prevent excessive retry fees."),
    "NO_CONNECTION_AVAILABLE": Behaviour(error="NO_CONNECTION_AVAILABLE"),
    "IOEXCEPTION_RECEIVED": Behaviour(error="IOEXCEPTION_RECEIVED"),
    "CAPTURE_FAILED": Behaviour(capture_fails=True),
    "REFUND_FAILED": Behaviour(refund_fails=True),
    "CHARGEBACK": Behaviour(disputes=("NOTIFICATION_OF_CHARGEBACK", "CHARGEBACK")),
    "CHARGEBACK_REVERSED": Behaviour(disputes=("NOTIFICATION_OF_CHARGEBACK", "CHARGEBACK", "CHARGEBACK_REVERSED")),
    "SECOND_CHARGEBACK": Behaviour(
        disputes=("NOTIFICATION_OF_CHARGEBACK", "CHARGEBACK", "CHARGEBACK_REVERSED", "SECOND_CHARGEBACK")
    ),
    # Not Adyen's, but needed to see what Adyen does only with particular cards, accounts or patience.
    "CHALLENGE": Behaviour(last4="1237", challenge=True),
    "CHALLENGE_NOT_ENOUGH_BALANCE": replace(_refused("12", "Not enough balance"), last4="1237", challenge=True),
    "REFUND_WAITS": Behaviour(refund_waits=True),
    "NOT_CONFIGURED": Behaviour(error="NOT_CONFIGURED"),
}
