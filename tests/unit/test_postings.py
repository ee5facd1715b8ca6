"""Double entry: every movement of money is two lines that sum to zero, and each way back is its opposite."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from uuid import UUID

import pytest

from db import ids
from gateway.transactions import postings
from gateway.transactions.postings import Entry

Posting = Callable[[UUID, Decimal], tuple[Entry, ...]]
ACCOUNT = UUID(int=7)
RECEIVABLE = f"psp_receivable:{ids.encode('pac', ACCOUNT)}"
AMOUNT = Decimal("19.99")


@pytest.mark.parametrize(
    ("posting", "debit", "credit"),
    [
        (postings.captured, RECEIVABLE, "partner_payable"),
        (postings.capture_returned, "partner_payable", RECEIVABLE),
        (postings.refunded, "refunds", RECEIVABLE),
        (postings.refund_returned, RECEIVABLE, "refunds"),
        (postings.charged_back, "chargebacks", RECEIVABLE),
        (postings.late_taken, RECEIVABLE, "suspense"),
        (postings.late_returned, "suspense", RECEIVABLE),
    ],
)
def test_a_movement_debits_one_account_and_credits_another(posting: Posting, debit: str, credit: str) -> None:
    assert posting(ACCOUNT, AMOUNT) == (Entry(debit, AMOUNT), Entry(credit, -AMOUNT))
