"""What is known of provider accounts, as all processes share it. Pure values; field names are column names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class RoutingLane(StrEnum):
    """Where a set of rules is put to use: `shadow` only tells what it would have done."""

    LIVE = "live"
    SHADOW = "shadow"


class BreakerOverride(StrEnum):
    """An operator's word about an account, until it is taken back."""

    CLOSED = "closed"
    """Use it, whatever happened."""
    OPEN = "open"
    """Do not use it at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How an account does with a payment method, decayed to `as_of`. `retry_at` None: its breaker is closed."""

    account_id: UUID
    method: str
    answers: float = 0.0
    outages: float = 0.0
    streak: int = 0
    as_of: datetime
    opened_at: datetime | None = None
    retry_at: datetime | None = None
    trips: int = 0
    override: BreakerOverride | None = None
    override_reason: str | None = None
    override_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Verdicts on one account's first attempts, decayed to `as_of`. `brand` is empty where it is not known."""

    account_id: UUID
    method: str
    currency: str
    brand: str
    approved: float
    declined: float
    as_of: datetime
