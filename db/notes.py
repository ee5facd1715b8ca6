"""What people at the support console write beside a payment. Never changed, never shown to the partner."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from db import shapes
from db.database import Connection
from db.records import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    id: UUID
    author: str
    note: str
    created_at: datetime


async def add(connection: Connection, note_id: UUID, transaction: Transaction, *, author_id: UUID, note: str) -> bool:
    """False where it is there already."""
    added = await connection.fetchval(
        "INSERT INTO transaction_notes (partner_id, id, transaction_id, author_id, note) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT DO NOTHING RETURNING true",
        transaction.partner_id,
        note_id,
        transaction.id,
        author_id,
        note,
    )
    return bool(added)


async def of_transaction(connection: Connection, partner_id: UUID, transaction_id: UUID) -> list[Note]:
    """The newest first."""
    rows = await connection.fetch(
        "SELECT n.id, u.name AS author, n.note, n.created_at FROM transaction_notes n"
        " JOIN support_users u ON u.id = n.author_id WHERE n.partner_id = $1 AND n.transaction_id = $2"
        " ORDER BY n.created_at DESC, n.id DESC LIMIT 200",
        partner_id,
        transaction_id,
    )
    return [shapes.read(Note, row) for row in rows]
