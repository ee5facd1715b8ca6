"""PayPal's magic test values: what each vault id makes the card's processor, the customer or PayPal do.

vault_card_visa …                     approved
vault_CCREJECT-IF …                   declined by the processor, as PayPal's sandbox does for a card of that name
vault_CCREJECT-EC_03 …                the same with a payment advice code
vault_refuse-TRANSACTION_REFUSED …    PayPal refuses with any issue, as its header PayPal-Mock-Response does
vault_3ds, vault_3ds_CCREJECT-IF      the customer must authenticate first
vault_uncaptured                      the order stays CREATED and must be captured by a second call
vault_pendingCapture, vault_pendingRefund, vault_refundFail, vault_dispute
vault_paypal                          a PayPal wallet
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

PROCESSOR_CODES: Mapping[str, str] = {
    "REFUSED": "0500",
    "SF": "9500",
    "EC": "5400",
    "IRC": "5180",
    "IF": "5120",
    "LS": "9520",
    "IA": "1330",
    "BANK_ERROR": "5100",
    "CVV_F": "00N7",
    "SCA": "5650",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    brand: str = "VISA"
    last_digits: str = "4242"
    wallet: bool = False
    processor_code: str | None = None
    advice_code: str | None = None
    issue: str | None = None
    authenticate: bool = False
    waits_for_capture: bool = False
    capture_pends: bool = False
    refund_pends: bool = False
    refund_fails: bool = False
    disputed: bool = False


WALLET = Behaviour(wallet=True)

_LISTED: Mapping[str, Behaviour] = {
    "vault_card_visa": Behaviour(),
    "vault_card_mastercard": Behaviour(brand="MASTERCARD", last_digits="4444"),
    "vault_card_amex": Behaviour(brand="AMEX", last_digits="0005"),
    "vault_3ds": Behaviour(last_digits="3220", authenticate=True),
    "vault_uncaptured": Behaviour(last_digits="1881", waits_for_capture=True),
    "vault_pendingCapture": Behaviour(last_digits="7000", capture_pends=True),
    "vault_pendingRefund": Behaviour(last_digits="7726", refund_pends=True),
    "vault_refundFail": Behaviour(last_digits="5126", refund_fails=True),
    "vault_dispute": Behaviour(last_digits="0259", disputed=True),
    "vault_paypal": WALLET,
}

_REJECT = re.compile(r"vault_(?P<first>3ds_)?CCREJECT-(?P<name>[A-Z_]+?)(_(?P<advice>[0-9]{2}))?")
_REFUSE = re.compile(r"vault_(?P<later>uncaptured_)?refuse-(?P<issue>[A-Z_]+)")


def behaviour_of(vault_id: str) -> Behaviour | None:
    """None for a vault id that PayPal never gave out."""
    reject, refuse = _REJECT.fullmatch(vault_id), _REFUSE.fullmatch(vault_id)
    if refuse:
        return Behaviour(issue=refuse["issue"], waits_for_capture=bool(refuse["later"]))
    if reject and reject["name"] in PROCESSOR_CODES:
        return Behaviour(
            last_digits="0002",
            processor_code=PROCESSOR_CODES[reject["name"]],
            advice_code=reject["advice"],
            authenticate=bool(reject["first"]),
        )
    return _LISTED.get(vault_id)
