"""What waits to be done, as the console sees it: of one partner, or of all. Sums only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from db import shapes
from db.database import Connection

COUNTED_MAX = 10_000
"""What waits beyond is as many: after an outage there may be millions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """How many wait, `COUNTED_MAX` at most, and since when the oldest has."""

    name: str
    waiting: int
    oldest: datetime | None


_WAITING = {
    "unknown outcomes": "SELECT created_at AS since FROM attempts"
    " WHERE next_check_at IS NOT NULL AND state IN ('unknown', 'resolving')",
    "reviews": "SELECT updated_at AS since FROM transactions WHERE needs_review",
    "approvals": "SELECT requested_at AS since FROM approvals WHERE state = 'requested' AND expires_at > now()",
    "webhooks": "SELECT created_at AS since FROM webhook_deliveries WHERE state = 'pending'",
    "notifications": "SELECT received_at AS since FROM provider_events WHERE state = 'parked'",
    "findings": "SELECT found_at AS since FROM findings WHERE closed_at IS NULL",
}
_QUEUES = " UNION ALL ".join(
    f"SELECT '{name}' AS name, count(*) AS waiting, min(since) AS oldest FROM ({waiting} LIMIT {COUNTED_MAX}) waiting"
    for name, waiting in _WAITING.items()
)


async def all_queues(connection: Connection) -> list[Queue]:
    """In both modes: who is to work on them is the same."""
    await read_indexes(connection)
    return [shapes.read(Queue, row) for row in await connection.fetch(_QUEUES)]


async def read_indexes(connection: Connection) -> None:
    """For the rest of the transaction. Whatever waits has an index of its own, which holds nothing else.

    Beside a policy the planner does not know how few wait, and would read through millions that do not.
    """
    await connection.execute("SET LOCAL enable_seqscan = off")
