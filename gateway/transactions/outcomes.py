"""An outcome as history, metrics and answers name it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from db import shapes
from providers.contract import (
    Absent,
    ActionRequired,
    Approved,
    Declined,
    NotSent,
    Outcome,
    Pending,
    Rejected,
    Unknown,
)


def told(outcome: Outcome) -> dict[str, Any]:
    """An outcome as history keeps it: its kind, its reason and the redacted trace of the exchange."""
    trace = {name: value for name, value in shapes.row(outcome.trace).items() if value is not None}
    facts = {
        name: value
        for name in ("code", "kind", "reason", "provider_code", "provider_id", "retry_after_seconds")
        if (value := getattr(outcome, name, None)) is not None
    }
    return {"outcome": NAMES[type(outcome)]} | facts | trace


NAMES: Mapping[type, str] = {
    Approved: "approved",
    Declined: "declined",
    ActionRequired: "requires_action",
    Pending: "pending",
    NotSent: "not_sent",
    Rejected: "rejected",
    Unknown: "unknown",
    Absent: "absent",
}
