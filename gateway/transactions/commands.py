"""What a caller asks of the gateway, already validated, and who asks. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal
from uuid import UUID

from db.records import CaptureMode, RefundReason, Scope

ALONE = "console:"
"""How the keys begin under which one person at the support console acts."""


class NotFound(Exception):
    """There is no such thing for this partner in this mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, under which idempotency key, and what the audit log keeps of them."""

    scope: Scope
    actor: str
    key: str | None
    """None for what the gateway does by itself: it is asked for once, by one worker."""
    fingerprint: bytes
    request_id: str | None = None
    ip_address: str | None = None
    user_agent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    id: UUID | None = None
    email: str | None = None
    name: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """`amount` in major units of `currency`; `tokens` maps a PSP's name to the token that is valid there only."""

    amount: Decimal
    currency: str
    method: str
    tokens: Mapping[str, str] = field(default_factory=dict)
    stored_payment_method_id: UUID | None = None
    """Where the tokens were stored under an id."""
    brand: str | None = None
    country: str | None = None
    """The issuer's, ISO 3166 alpha-2."""
    provider: str | None = None
    capture: CaptureMode = CaptureMode.AUTOMATIC
    customer: Customer = Customer()
    business_unit: str | None = None
    reference: str | None = None
    description: str | None = None
    statement_descriptor: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    return_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Capture `amount` of an authorization, all of it where None; the rest is released."""

    transaction_id: UUID
    amount: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    transaction_id: UUID
    because: Literal["requested", "expired"] = "requested"
    """`expired`: the customer did not come back in time; the payment then has failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """Give back `amount`, all that is still refundable where None."""

    transaction_id: UUID
    amount: Decimal | None = None
    reason: RefundReason = RefundReason.REQUESTED_BY_CUSTOMER
    note: str | None = None
    alone_up_to: Decimal | None = None
    """How much of one payment may be given back under keys that begin with `ALONE`; None: it is not asked."""
