"""How the API shows things: amounts, times, and whether money moved."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from db.records import TransactionStatus
from gateway.transactions import representation
from tests.builders import AT, a_transaction


@pytest.mark.parametrize(
    ("amount", "places", "shown"),
    [("19.9900", 2, "19.99"), ("500.0000", 0, "500"), ("1.2340", 3, "1.234"), ("0", 2, "0.00")],
)
def test_amounts_have_the_decimals_of_their_currency(amount: str, places: int, shown: str) -> None:
    assert representation.money(Decimal(amount), places) == shown


def test_times_are_utc_with_microseconds() -> None:
    assert representation.instant(AT) == "2026-11-20T12:00:00.123456Z"
    assert representation.instant(AT.replace(microsecond=0)) == "2026-11-20T12:00:00.000000Z"


@pytest.mark.parametrize(
    ("status", "captured", "pending", "moved"),
    [
        ("pending", 0, 0, "no"),
        ("processing", 0, 0, "unknown"),
        ("requires_action", 0, 0, "unknown"),
        ("authorized", 0, 0, "no"),
        ("authorized", 0, 5, "unknown"),
        ("completed", 5, 0, "yes"),
        ("refunded", 5, 0, "yes"),
        ("failed", 0, 0, "no"),
        ("cancelled", 0, 0, "no"),
    ],
)
def test_money_moved_is_said_only_where_it_is_certain(status: str, captured: int, pending: int, moved: str) -> None:
    transaction = a_transaction(
        status=TransactionStatus(status), amount_captured=Decimal(captured), capture_pending=Decimal(pending)
    )
    assert representation.money_moved(transaction, ()) == moved


def test_what_is_refundable_leaves_out_what_is_reserved() -> None:
    transaction = a_transaction(
        amount_captured=Decimal(10),
        amount_refunded=Decimal(3),
        refund_reserved=Decimal(2),
        status=TransactionStatus.PARTIALLY_REFUNDED,
    )
    assert representation.transaction_body(transaction, (), places=2)["amount_refundable"] == "5.00"


def test_the_same_transaction_is_the_same_text() -> None:
    transaction = a_transaction()
    again = replace(transaction)
    texts = {
        representation.encode(dict(representation.transaction_body(one, (), places=2))) for one in (transaction, again)
    }
    assert len(texts) == 1
