"""What a simulated Stripe remembers: payments, charges, refunds and disputes as they stand. No rules."""

from __future__ import annotations

from dataclasses import dataclass, field

from providers.simulator.ledger import References
from providers.simulator.stripe_tokens import Behaviour, Decline
from providers.simulator.stripe_wire import Json

OPEN_DISPUTE_STATUSES = frozenset({"needs_response", "under_review", "warning_needs_response", "warning_under_review"})


@dataclass(slots=True, kw_only=True)
class Charge:
    id: str
    payment_id: str
    amount: int
    currency: str
    behaviour: Behaviour
    created: int
    paid: bool
    captured: bool = False
    amount_captured: int = 0
    amount_refunded: int = 0
    decline: Decline | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    disputes: list[Dispute] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Payment:
    id: str
    created: int
    amount: int
    currency: str
    capture_method: str
    metadata: dict[str, str]
    return_url: str | None
    redirects: bool
    token: str | None
    description: str | None
    statement_descriptor_suffix: str | None
    status: str = "requires_confirmation"
    amount_received: int = 0
    charge: Charge | None = None
    last_error: Json | None = None
    cancelled_at: int | None = None
    cancellation_reason: str | None = None
    expired: bool = False

    @property
    def client_secret(self) -> str:
        return f"{self.id}_secret_simulated"

    @property
    def references(self) -> References:
        return References(self.metadata.get("gateway_reference"), self.metadata.get("merchant_reference"))


@dataclass(slots=True, kw_only=True)
class Refund:
    id: str
    created: int
    charge: Charge
    payment: Payment
    amount: int
    reason: str | None
    metadata: dict[str, str]
    status: str
    failure_reason: str | None = None

    @property
    def references(self) -> References:
        return References(self.metadata.get("gateway_reference"), self.payment.references.merchant)


@dataclass(slots=True, kw_only=True)
class Dispute:
    id: str
    created: int
    charge: Charge
    payment: Payment
    amount: int
    reason: str
    inquiry: bool
    status: str
    evidence: dict[str, str] = field(default_factory=dict)
    submissions: int = 0

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_DISPUTE_STATUSES

    @property
    def references(self) -> References:
        return self.payment.references


Subject = Payment | Charge | Refund | Dispute
