"""What Adyen remembers: payments and their modifications. No rules."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from providers.simulator.adyen_values import Behaviour
from providers.simulator.ledger import References

_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


@dataclass(slots=True, kw_only=True)
class Payment:
    """`status`: waiting (for the customer), pending, authorised, captured, refused, cancelled or expired."""

    psp_reference: str
    merchant_account: str
    reference: str
    merchant_reference: str | None
    """The merchant's own, from the metadata: what the oracle may be asked for too."""
    amount: int
    currency: str
    method: str
    is_card: bool
    manual_capture: bool
    return_url: str
    behaviour: Behaviour
    page_id: str
    status: str = "pending"
    result: str = "Received"
    code: str | None = None
    reason: str = ""
    authorised: int = 0
    captured: int = 0
    refunded: int = 0

    @property
    def references(self) -> References:
        return References(first_reference(self.reference), self.merchant_reference)

    @property
    def brand(self) -> str:
        return self.behaviour.brand if self.is_card else self.method


@dataclass(frozen=True, slots=True, kw_only=True)
class Modification:
    """A capture, cancel, refund or reversal that was asked for."""

    psp_reference: str
    payment: Payment
    reference: str
    amount: int

    @property
    def references(self) -> References:
        """A refund is booked under its own name."""
        return References(self.reference or None, self.payment.merchant_reference)


def first_reference(text: str) -> str | None:
    """Adyen lets a payment have several references, joined by hyphens: the oracle books it under the first."""
    return text.partition("-")[0] or None


def new_psp_reference() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(16))
