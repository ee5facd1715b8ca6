"""What we send PayPal: pure builders from an ask to a stored request, and the query that finds a lost charge."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from providers import contract, currency
from providers.contract import Operation
from providers.paypal_json import Json, first, text
from providers.paypal_orders import GIVEN_UP

ORDERS = "/v2/checkout/orders"
EVENTS = "/v1/notifications/webhooks-events"
METHODS = frozenset({"card", "e_wallet"})

# Without its order's id a charge is found among PayPal's own events around its sending: clocks differ, and a late one
# still arrives.
LOOK_BACK = timedelta(minutes=5)
LOOK_AHEAD = timedelta(hours=1)
PAGE_SIZE = 100

_TEXT_MAX = 127
_NOTE_MAX = 255
_DESCRIPTOR_MAX = 22
_HEADERS = {"Prefer": "return=representation"}


def build_charge(ask: contract.Charge) -> contract.Prepared:
    """An order that is taken at once where there is a vault token, else one that waits for the customer."""
    if ask.method not in METHODS:
        raise contract.Unsupported("payment_method", f"{ask.method} is not available at this provider")
    unit = {
        "reference_id": "default",
        "custom_id": ask.reference,
        "invoice_id": _invoice_id(ask),
        "amount": _money(ask),
        "description": (ask.description or "")[:_TEXT_MAX],
        "soft_descriptor": (ask.statement_descriptor or "")[:_DESCRIPTOR_MAX],
    }
    body = {
        "intent": "CAPTURE" if ask.capture else "AUTHORIZE",
        "purchase_units": [{name: value for name, value in unit.items() if value}],
        "payment_source": {"card": _card(ask)} if ask.method == "card" else {"paypal": _wallet(ask)},
    }
    return _prepared(ask, Operation.CHARGE, ORDERS, body)


def build_capture(ask: contract.Capture) -> contract.Prepared:
    """`final_capture`, because PayPal would keep the rest of the authorization open."""
    body = {"amount": _money(ask), "final_capture": True, "invoice_id": ask.reference}
    return _prepared(ask, Operation.CAPTURE, _order_path(ask.provider_transaction_id), body)


def build_cancel(ask: contract.Cancel) -> contract.Prepared:
    return _prepared(ask, Operation.CANCEL, _order_path(ask.provider_transaction_id), None)


def build_refund(ask: contract.Refund) -> contract.Prepared:
    body = {"amount": _money(ask), "custom_id": ask.reference, "invoice_id": ask.reference}
    return _prepared(ask, Operation.REFUND, _order_path(ask.provider_transaction_id), body)


def build_mark(order: Json) -> str:
    """The patch that makes an order nobody's. PayPal refuses to take an order against its intent, so it is turned
    around: a call of ours that is still under way finds the other one.
    """
    unit, intent = first(order, "purchase_units"), text(order, "intent")
    path = f"/purchase_units/@reference_id=='{text(unit, 'reference_id') or 'default'}'/custom_id"
    value = f"{GIVEN_UP}{text(unit, 'custom_id') or ''}"[:_TEXT_MAX]
    patches = [
        {"op": "replace", "path": "/intent", "value": "CAPTURE" if intent == "AUTHORIZE" else "AUTHORIZE"},
        {"op": "replace", "path": path, "value": value},
    ]
    return json.dumps(patches, separators=(",", ":"))


def window(sent_at: datetime | None) -> dict[str, str]:
    """The query for the events around `sent_at`."""
    if sent_at is None:
        return {"page_size": str(PAGE_SIZE)}
    return events(sent_at - LOOK_BACK, sent_at + LOOK_AHEAD)


def events(since: datetime, until: datetime | None) -> dict[str, str]:
    """The query for the events of a window."""
    end = {} if until is None else {"end_time": timestamp(until)}
    return {"page_size": str(PAGE_SIZE), "start_time": timestamp(since)} | end


def next_page(href: str | None) -> str | None:
    """A next page's path and query; whatever else an address may say is not followed."""
    parts = urlsplit(href or "")
    return f"{EVENTS}?{parts.query}" if parts.path == EVENTS and parts.query else None


def order_id(given: str | None) -> str | None:
    """It becomes part of a path."""
    return given if given and re.fullmatch("[A-Z0-9]{1,36}", given) else None


def _order_path(given: str) -> str:
    known = order_id(given)
    if known is None:
        raise contract.Unsupported("provider_transaction_id", "is not a PayPal order")
    return f"{ORDERS}/{known}"


def _card(ask: contract.Charge) -> dict[str, object]:
    """With a return URL the customer is there and may be asked to authenticate; without, the merchant charges alone."""
    if ask.token is None:
        raise contract.Unsupported("payment_method", "a token for paypal is needed")
    stored = {"payment_initiator": "MERCHANT", "payment_type": "UNSCHEDULED", "usage": "SUBSEQUENT"}
    if ask.return_url is None:
        return {"vault_id": _vault_id(ask.token), "stored_credential": stored}
    return {
        "vault_id": _vault_id(ask.token),
        "stored_credential": stored | {"payment_initiator": "CUSTOMER", "payment_type": "ONE_TIME"},
        "experience_context": {"return_url": ask.return_url, "cancel_url": ask.return_url},
    }


def _wallet(ask: contract.Charge) -> dict[str, object]:
    if ask.token is not None:
        return {"vault_id": _vault_id(ask.token)}
    if ask.return_url is None:
        raise contract.Unsupported("return_url", "is needed to send the customer to PayPal")
    return {
        "experience_context": {
            "return_url": ask.return_url,
            "cancel_url": ask.return_url,
            "user_action": "PAY_NOW",
            "shipping_preference": "NO_SHIPPING",
        }
    }


def _vault_id(token: str) -> str:
    if not re.fullmatch("[0-9a-zA-Z_-]{1,255}", token):
        raise contract.Unsupported("payment_method", "the token is not a PayPal vault id")
    return token


def _invoice_id(ask: contract.Charge) -> str:
    """Unique per attempt, so that PayPal itself refuses a second one; begins with what the merchant calls it."""
    if not ask.merchant_reference:
        return ask.reference
    return f"{ask.merchant_reference[: _TEXT_MAX - len(ask.reference) - 1]} {ask.reference}"


def _money(ask: contract.Ask) -> dict[str, str]:
    return {"currency_code": ask.currency, "value": currency.PAYPAL.to_text(ask.amount, ask.currency)}


def timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _prepared(
    ask: contract.Ask, operation: Operation, path: str, body: Mapping[str, object] | None
) -> contract.Prepared:
    """A follow-up is addressed to its order; the adapter reads from it which authorization or capture is meant."""
    return contract.Prepared(
        operation=operation,
        method="POST",
        path=path,
        body="" if body is None else json.dumps(body, sort_keys=True, separators=(",", ":")),
        reference=ask.reference,
        amount=ask.amount,
        currency=ask.currency,
        headers=_HEADERS,
    )
