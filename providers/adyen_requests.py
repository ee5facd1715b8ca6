"""What is asked of Adyen: pure builders from our asks to its JSON bodies.

The path of a prepared request is a whole address: it says which endpoint alone may ever be asked again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from providers import contract
from providers.contract import Operation
from providers.currency import ADYEN

NOWHERE = "https://return.invalid/"
"""Adyen demands a return address of every payment; without the partner's no customer is ever sent away."""
METADATA_MAX = 80
HOLD = "-hold"
"""Ends the reference of a charge that is not to be captured at once: a notification of it does not say so otherwise."""

_REFUND_REASONS = {"duplicate": "DUPLICATE", "fraudulent": "FRAUD", "requested_by_customer": "CUSTOMER REQUEST"}

Json = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What the requests of one account have in common."""

    endpoint: str
    merchant_account: str
    shopper_reference: str
    recurring_model: str
    payment_methods: Mapping[str, str]
    """What our redirect methods are called at Adyen."""


def build_charge(ask: contract.Charge, account: Account) -> contract.Prepared:
    body: Json = {
        "merchantAccount": account.merchant_account,
        "reference": ask.reference if ask.capture else f"{ask.reference}{HOLD}",
        "amount": _amount(ask),
        "returnUrl": ask.return_url or NOWHERE,
    }
    # Both ways are said, as the account's own default is not known here.
    body |= {"captureDelayHours": 0} if ask.capture else {"additionalData": {"manualCapture": "true"}}
    body |= _card(ask, account) if ask.method == "card" else _redirect(ask, account)
    if ask.statement_descriptor:
        body["shopperStatement"] = ask.statement_descriptor
    if ask.merchant_reference and len(ask.merchant_reference) <= METADATA_MAX:
        body["metadata"] = {"merchant_reference": ask.merchant_reference}
    return _prepared(Operation.CHARGE, "/payments", body, ask, account)


def build_capture(ask: contract.Capture, account: Account) -> contract.Prepared:
    body: Json = {"merchantAccount": account.merchant_account, "reference": ask.reference, "amount": _amount(ask)}
    return _prepared(Operation.CAPTURE, f"{_payment_path(ask.provider_transaction_id)}/captures", body, ask, account)


def build_cancel(ask: contract.Cancel, account: Account) -> contract.Prepared:
    """By Adyen's id, or by the charge's reference as sent while Adyen has not told its id: its technical cancel."""
    body: Json = {"merchantAccount": account.merchant_account, "reference": ask.reference}
    if is_psp_reference(ask.provider_transaction_id):
        path = f"{_payment_path(ask.provider_transaction_id)}/cancels"
        return _prepared(Operation.CANCEL, path, body, ask, account)
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", ask.provider_transaction_id):
        raise contract.Unsupported("provider_transaction_id", "is neither an Adyen payment nor a charge of ours")
    body["paymentReference"] = ask.provider_transaction_id
    return _prepared(Operation.CANCEL, "/cancels", body, ask, account)


def build_rule_out(charge: contract.Prepared) -> contract.Prepared:
    """The technical cancel of a charge: by its reference as sent, at the endpoint that alone may know it."""
    sent = json.loads(charge.body)
    body: Json = {
        "merchantAccount": sent["merchantAccount"],
        "paymentReference": sent["reference"],
        "reference": charge.reference,
    }
    path = f"{charge.path.rpartition('/')[0]}/cancels"
    return replace(charge, operation=Operation.CANCEL, path=path, body=_text(body))


def build_refund(ask: contract.Refund, account: Account) -> contract.Prepared:
    body: Json = {
        "merchantAccount": account.merchant_account,
        "reference": ask.reference,
        "amount": _amount(ask),
        "merchantRefundReason": _REFUND_REASONS.get(ask.reason, "OTHER"),
    }
    return _prepared(Operation.REFUND, f"{_payment_path(ask.provider_transaction_id)}/refunds", body, ask, account)


def named_in(merchant_reference: str) -> tuple[str, bool]:
    """Our charge's reference, and whether it was to be captured at once."""
    return merchant_reference.removesuffix(HOLD), not merchant_reference.endswith(HOLD)


def is_psp_reference(text: str) -> bool:
    return re.fullmatch("[A-Z0-9]{16}", text) is not None


def _card(ask: contract.Charge, account: Account) -> Json:
    if ask.token is None:
        raise contract.Unsupported("payment_method", "a token for adyen is needed")
    shopper, _, stored = ask.token.rpartition("/")
    shopper = shopper or account.shopper_reference
    if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", stored) or not 3 <= len(shopper) <= 256:  # noqa: PLR2004 - Adyen's limits
        raise contract.Unsupported("payment_method", "a token for adyen is shopperReference/storedPaymentMethodId")
    # Native 3-D Secure needs Adyen's code in the browser; without a way back for the customer none must be tried.
    secure: Json = {"threeDSRequestData": {"nativeThreeDS": "disabled"}}
    return {
        "paymentMethod": {"type": "scheme", "storedPaymentMethodId": stored},
        "shopperReference": shopper,
        "shopperInteraction": "ContAuth",
        "recurringProcessingModel": account.recurring_model,
        "authenticationData": secure if ask.return_url else {"attemptAuthentication": "never"},
    }


def _redirect(ask: contract.Charge, account: Account) -> Json:
    theirs = account.payment_methods.get(ask.method)
    if theirs is None:
        raise contract.Unsupported("payment_method", f"{ask.method} is not available at this provider")
    if ask.token is not None:
        raise contract.Unsupported("payment_method", f"{ask.method} takes no token at this provider")
    if ask.return_url is None:
        raise contract.Unsupported("return_url", f"{ask.method} needs an address for the customer to come back to")
    if not ask.capture:
        raise contract.Unsupported("capture", f"{ask.method} cannot be authorized for a later capture")
    return {"paymentMethod": {"type": theirs}}


def _amount(ask: contract.Charge | contract.Capture | contract.Refund) -> Json:
    return {"currency": ask.currency, "value": ADYEN.to_integer(ask.amount, ask.currency)}


def _payment_path(payment_id: str) -> str:
    if not is_psp_reference(payment_id):  # it becomes part of an address
        raise contract.Unsupported("provider_transaction_id", "is not an Adyen payment")
    return f"/payments/{payment_id}"


def _prepared(operation: Operation, path: str, body: Json, ask: contract.Ask, account: Account) -> contract.Prepared:
    return contract.Prepared(
        operation=operation,
        method="POST",
        path=f"{account.endpoint}{path}",
        body=_text(body),
        reference=ask.reference,
        amount=ask.amount,
        currency=ask.currency,
    )


def _text(body: Json) -> str:
    return json.dumps(body, sort_keys=True, separators=(",", ":"))
