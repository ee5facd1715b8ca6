"""Double entry: which accounts a movement of money touches. Debits are positive, credits negative, sums are zero.

psp_receivable:<account>   what the PSP holds for us        partner_payable   what was taken for the partner
refunds                    what was given back              chargebacks       what disputes took back
suspense                   what a PSP took that nobody asked for any more, until it is given back
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from db import ids


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a posting, in major units."""

    account: str
    amount: Decimal


def captured(account_id: UUID, amount: Decimal) -> tuple[Entry, ...]:
    """The PSP took `amount` from the payer: it owes it to us, we owe it to the partner."""
    return (Entry(receivable(account_id), amount), Entry("partner_payable", -amount))


def capture_returned(account_id: UUID, amount: Decimal) -> tuple[Entry, ...]:
    """A capture failed after it was booked: the opposite of `captured`, as new entries."""
    return (Entry("partner_payable", amount), Entry(receivable(account_id), -amount))


def refunded(account_id: UUID, amount: Decimal) -> tuple[Entry, ...]:
    """The PSP gave `amount` back to the payer out of what it owed us."""
    return (Entry("refunds", amount), Entry(receivable(account_id), -amount))


def refund_returned(account_id: UUID, amount: Decimal) -> tuple[Entry, ...]:
    """A refund failed after it was booked: the opposite of `refunded`, as new entries."""
    return (Entry(receivable(account_id), amount), Entry("refunds", -amount))


def charged_back(account_id: UUID, amount: Decimal) -> tuple[Entry, ...]:
    """The PSP took `amount` back for a dispute; a negative amount is what it gave back when the dispute was won."""
    return (Entry("chargebacks", amount), Entry(receivable(account_id), -amount))


def late_taken(account_id: UUID, amount: Decimal) -> tuple[Entry, ...]:
    """A charge that was over took `amount` after all: it is nobody's until it is given back."""
    return (Entry(receivable(account_id), amount), Entry("suspense", -amount))


def late_returned(account_id: UUID, amount: Decimal) -> tuple[Entry, ...]:
    """What `late_taken` booked went back to the payer."""
    return (Entry("suspense", amount), Entry(receivable(account_id), -amount))


def receivable(account_id: UUID) -> str:
    return f"psp_receivable:{ids.encode('pac', account_id)}"
