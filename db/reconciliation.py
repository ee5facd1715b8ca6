"""What our books hold of an account in a window of time, for the reconciler."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from db.database import Connection


async def booked(
    connection: Connection, account_id: UUID, *, since: datetime, until: datetime
) -> list[tuple[UUID, UUID, UUID]]:
    """(partner, transaction, attempt) of the charges and refunds that succeeded there; as the worker."""
    rows = await connection.fetch(
        "SELECT partner_id, transaction_id, id FROM attempts WHERE account_id = $1 AND created_at >= $2"
        " AND created_at < $3 AND operation IN ('charge', 'refund') AND state = 'succeeded'",
        account_id,
        since,
        until,
    )
    return [(row["partner_id"], row["transaction_id"], row["id"]) for row in rows]
