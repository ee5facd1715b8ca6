"""PayPal's Transaction Search: what it lists of money received and given back. Pure.

It knows captures and refunds, no orders, and nothing that moved no money. A charge is found by `custom_field`, which
every capture inherits from its order; a refund carries its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from providers import contract
from providers.contract import Operation, SeenState
from providers.paypal_json import Json, as_object, first, inner, items, object_id, text
from providers.paypal_orders import GIVEN_UP
from providers.paypal_outcomes import Answer
from providers.paypal_requests import timestamp

REPORT = "/v1/reporting/transactions"
LISTED_AFTER_SECONDS = 3 * 3600  # "a maximum of three hours for executed transactions to appear"
DAYS_MAX = 31
PAGE_SIZE = 100

RECEIVED, REFUNDED = "T00", "T1107"
"""The event codes of a payment of any kind, and of a refund by the merchant."""


def query(since: datetime, until: datetime, page: int) -> dict[str, str]:
    """Raises `contract.CannotList`."""
    if until - since > timedelta(days=DAYS_MAX):
        raise contract.CannotList(f"PayPal lists {DAYS_MAX} days at most")
    return {
        "start_date": timestamp(since),
        "end_date": timestamp(until),
        "fields": "transaction_info",
        "page_size": str(PAGE_SIZE),
        "page": str(page),
    }


def read_page(answer: Answer, until: datetime) -> tuple[list[contract.Seen], int]:
    """The payments and refunds of a page, and how many pages there are. Raises `contract.CannotList`."""
    page = as_object(answer.body)
    pages = page.get("total_pages")
    if answer.status != 200 or isinstance(pages, bool) or not isinstance(pages, int):  # noqa: PLR2004 - HTTP's OK
        told = text(first(page, "details"), "issue") or text(page, "name") or f"HTTP {answer.status}"
        raise contract.CannotList(f"PayPal does not list: {told}")
    if pages and "transaction_details" not in page:
        raise contract.CannotList("a page without its entries")
    refreshed = _moment(page, "last_refreshed_datetime")
    if refreshed is not None and refreshed < until.replace(microsecond=0):
        raise contract.CannotList(f"PayPal lists what happened until {refreshed.isoformat()} only")
    entries = [inner(detail, "transaction_info") for detail in items(page, "transaction_details")]
    return [seen for entry in entries if (seen := read(entry)) is not None], pages


def read(entry: Json) -> contract.Seen | None:
    """None for what is neither a payment received nor a refund of one (fees, holds). Raises `contract.CannotList`."""
    code = text(entry, "transaction_event_code") or ""
    if not code.startswith((RECEIVED, REFUNDED)):
        return None
    amount, created_at, transaction_id = _amount(entry), _moment(entry, _CREATED), object_id(entry, "transaction_id")
    status = text(entry, "transaction_status") or ""
    if amount is None or created_at is None or transaction_id is None or status not in _STATES:
        raise contract.CannotList("an entry that cannot be read")
    is_refund = code == REFUNDED
    if (amount < 0) is not is_refund:  # a payment of the merchant's own, or a refund to it
        return None
    of_payment = is_refund and text(entry, "paypal_reference_id_type") == "TXN"
    return contract.Seen(
        kind=Operation.REFUND if is_refund else Operation.CHARGE,
        reference=(text(entry, "custom_field") or "").removeprefix(GIVEN_UP) or None,
        provider_id=transaction_id,
        provider_transaction_id=object_id(entry, "paypal_reference_id") if of_payment else None,
        state=_STATES[status],
        amount=abs(amount),
        currency=text(entry, "transaction_amount", "currency_code") or "",
        refunded=abs(amount) if status == _REVERSED and not is_refund else None,
        created_at=created_at,
    )


def _amount(entry: Json) -> Decimal | None:
    value = text(entry, "transaction_amount", "value") or ""
    currency = text(entry, "transaction_amount", "currency_code") or ""
    readable = re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,4})?", value) and re.fullmatch("[A-Z]{3}", currency)
    return Decimal(value) if readable else None


def _moment(thing: Json, name: str) -> datetime | None:
    """PayPal's document wants a colon in the zone, its answers have none (`+0000`): both are read."""
    try:
        moment = datetime.fromisoformat(text(thing, name) or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else None


_CREATED = "transaction_initiation_date"
_REVERSED = "V"
_STATES: Mapping[str, SeenState] = {
    "D": SeenState.ENDED,
    "P": SeenState.OPEN,
    "S": SeenState.MOVED,
    _REVERSED: SeenState.MOVED,
}
