"""What money really moved at a simulated PSP: the oracle that tests compare the gateway's books with."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

Json = dict[str, object]


class Movement(StrEnum):
    """A sale counts as a charge (the issuer approved) and as a capture (the money was taken).

    A dispute counts when its money is withdrawn, its reversal when it is given back.
    """

    CHARGE = "charges"
    CAPTURE = "captures"
    VOID = "voids"
    REFUND = "refunds"
    REFUND_FAILURE = "refund_failures"
    DISPUTE = "disputes"
    DISPUTE_REVERSAL = "dispute_reversals"


@dataclass(slots=True)
class Account:
    """All movements and calls under one reference; amounts in the PSP's own integer units."""

    currency: str | None = None
    counts: Counter[Movement] = field(default_factory=Counter)
    amounts: Counter[Movement] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> Json:
        moved: Json = {
            movement.value: {"count": self.counts[movement], "amount": self.amounts[movement]} for movement in Movement
        }
        return {"currency": self.currency, "calls": dict(self.calls)} | moved


@dataclass(frozen=True, slots=True)
class References:
    """Under which names a call or movement is booked: the gateway's and the merchant's."""

    gateway: str | None = None
    merchant: str | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """Captures, voids and disputes are booked under their payment's gateway reference, a refund under its own."""

    gateway: dict[str, Account] = field(default_factory=dict)
    merchant: dict[str, Account] = field(default_factory=dict)

    def move(self, movement: Movement, references: References, *, amount: int, currency: str) -> None:
        for account in self._accounts(references):
            account.currency = currency
            account.counts[movement] += 1
            account.amounts[movement] += amount

    def see_call(self, operation: str, references: References) -> None:
        for account in self._accounts(references):
            account.calls[operation] += 1

    def to_json(self) -> Json:
        return {
            "gateway_references": {name: account.to_json() for name, account in self.gateway.items()},
            "merchant_references": {name: account.to_json() for name, account in self.merchant.items()},
        }

    def _accounts(self, references: References) -> list[Account]:
        named = ((self.gateway, references.gateway), (self.merchant, references.merchant))
        return [accounts.setdefault(name, Account()) for accounts, name in named if name]
