"""Disputes; written by `journal_write` only."""

from __future__ import annotations

from uuid import UUID

from db import shapes
from db.database import Connection
from db.records import Dispute

_DISPUTE = shapes.columns(Dispute)


async def find(
    connection: Connection, partner_id: UUID, transaction_id: UUID, provider_dispute_id: str
) -> Dispute | None:
    row = await connection.fetchrow(
        f"SELECT {_DISPUTE} FROM disputes WHERE partner_id = $1 AND transaction_id = $2 AND provider_dispute_id = $3",
        partner_id,
        transaction_id,
        provider_dispute_id,
    )
    return None if row is None else shapes.read(Dispute, row)
