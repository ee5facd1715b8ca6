"""PayPal's Transaction Search: captures and refunds as entries of the account's balance, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from providers.simulator.paypal_bank import TAKEN, Bank, Capture, Refund
from providers.simulator.paypal_wire import Json, Refusal, money, timestamp

PATH = "/v1/reporting/transactions"
DAYS_MAX = 31
PAGE_SIZE, PAGE_SIZE_MAX = 100, 500

PAYMENT, REFUND = "T0006", "T1107"
"""Event codes: a payment through PayPal's checkout, and a refund by the merchant."""


def listed(bank: Bank, query: Mapping[str, str], *, refreshed: float) -> Json:
    """What happened after the list was `refreshed` is not on it yet."""
    since, until = (_moment(query, name) for name in ("start_date", "end_date"))
    if until - since > timedelta(days=DAYS_MAX):
        raise Refusal("INVALID_PARAMETER_VALUE", field="/end_date", value=query["end_date"])
    size, page = (int(query.get(name, default)) for name, default in (("page_size", PAGE_SIZE), ("page", 1)))
    if not 1 <= size <= PAGE_SIZE_MAX or page < 1:
        raise Refusal("INVALID_PARAMETER_VALUE", field="/page_size")
    first, last = since.timestamp(), min(until.timestamp(), refreshed)
    found = [entry for created, entry in sorted(_entries(bank), key=_created) if first <= int(created) <= last]
    return {
        "transaction_details": [{"transaction_info": entry} for entry in found[(page - 1) * size : page * size]],
        "account_number": "SHKPAYPAL2SHP",
        "start_date": query["start_date"],
        "end_date": query["end_date"],
        "last_refreshed_datetime": timestamp(refreshed),
        "page": page,
        "total_items": len(found),
        "total_pages": -(-len(found) // size),
    }


def _entries(bank: Bank) -> Iterator[tuple[float, Json]]:
    """Only what touches the balance: a capture that was declined at once never did."""
    for capture in bank.captures.values():
        if capture.status in _CAPTURE_STATUSES and capture.processor_code is None:
            yield capture.created, _capture(capture)
    for refund in bank.refunds.values():
        yield refund.created, _refund(refund)


def _created(entry: tuple[float, Json]) -> float:
    return entry[0]


def _capture(shown: Capture) -> Json:
    reversed_wholly = shown.status == "REFUNDED"
    return _entry(shown, PAYMENT, shown.amount, "V" if reversed_wholly else _CAPTURE_STATUSES[shown.status])


def _refund(shown: Refund) -> Json:
    entry = _entry(shown, REFUND, -shown.amount, _REFUND_STATUSES[shown.status])
    return entry | {"paypal_reference_id": shown.capture.id, "paypal_reference_id_type": "TXN"}


def _entry(shown: Capture | Refund, code: str, amount: Decimal, status: str) -> Json:
    custom = shown.custom_id if isinstance(shown, Refund) else None
    entry = {
        "transaction_id": shown.id,
        "transaction_event_code": code,
        "transaction_initiation_date": timestamp(shown.created),
        "transaction_updated_date": timestamp(shown.created),
        "transaction_amount": money(amount, shown.order.currency),
        "transaction_status": status,
        "invoice_id": shown.invoice_id,
        "custom_field": custom or shown.order.custom_id,
        "protection_eligibility": "02",
    }
    return {name: value for name, value in entry.items() if value is not None}


def _moment(query: Mapping[str, str], name: str) -> datetime:
    try:
        return datetime.fromisoformat(query[name])
    except (KeyError, ValueError):
        raise Refusal("INVALID_PARAMETER_SYNTAX", field=f"/{name}") from None


_CAPTURE_STATUSES = dict.fromkeys(TAKEN, "S") | {"PENDING": "P", "DECLINED": "D"}
_REFUND_STATUSES = {"COMPLETED": "S", "PENDING": "P", "FAILED": "D"}
