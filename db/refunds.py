"""Refunds."""

from __future__ import annotations

from uuid import UUID

from db import shapes
from db.database import Connection
from db.records import Refund, RefundStatus, Scope

_REFUND = shapes.columns(Refund)


async def get(connection: Connection, scope: Scope, refund_id: UUID) -> Refund | None:
    row = await connection.fetchrow(
        f"SELECT {_REFUND} FROM refunds WHERE partner_id = $1 AND id = $2 AND livemode = $3",
        scope.partner_id,
        refund_id,
        scope.livemode,
    )
    return None if row is None else shapes.read(Refund, row)


async def by_key(connection: Connection, scope: Scope, key: str) -> Refund | None:
    row = await connection.fetchrow(
        f"SELECT {_REFUND} FROM refunds WHERE partner_id = $1 AND livemode = $2 AND idempotency_key = $3",
        scope.partner_id,
        scope.livemode,
        key,
    )
    return None if row is None else shapes.read(Refund, row)


async def of_transaction(connection: Connection, partner_id: UUID, transaction_id: UUID) -> list[Refund]:
    rows = await connection.fetch(
        f"SELECT {_REFUND} FROM refunds WHERE partner_id = $1 AND transaction_id = $2 ORDER BY id DESC",
        partner_id,
        transaction_id,
    )
    return [shapes.read(Refund, row) for row in rows]


async def page(
    connection: Connection,
    scope: Scope,
    *,
    transaction_id: UUID | None = None,
    status: RefundStatus | None = None,
    after: UUID | None = None,
    before: UUID | None,
    limit: int,
) -> list[Refund]:
    """Refunds older than `before` and not than `after`, newest first; of one transaction, or of all."""
    rows = await connection.fetch(
        f"SELECT {_REFUND} FROM refunds WHERE partner_id = $1 AND livemode = $2"
        " AND ($3::uuid IS NULL OR transaction_id = $3) AND ($4::uuid IS NULL OR id < $4)"
        " AND ($6::refund_status IS NULL OR status = $6) AND ($7::uuid IS NULL OR id >= $7) ORDER BY id DESC LIMIT $5",
        scope.partner_id,
        scope.livemode,
        transaction_id,
        before,
        limit,
        status and status.value,
        after,
    )
    return [shapes.read(Refund, row) for row in rows]
