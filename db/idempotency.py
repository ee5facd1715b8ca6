"""Idempotency keys: who took one, and the answer it got. Taking one for money is part of `journal_write`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from db import shapes
from db.database import Connection
from db.records import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyKey:
    key: str
    fingerprint: bytes
    transaction_id: UUID | None
    refund_id: UUID | None
    attempt_id: UUID | None
    response_status: int | None
    response_body: str | None
    response_sealed: bytes | None
    lease_left_seconds: float | None
    """For how long somebody still works on its attempt."""


_STORED = tuple(name for name in IdempotencyKey.__slots__ if name != "lease_left_seconds")


async def find(connection: Connection, scope: Scope, key: str) -> IdempotencyKey | None:
    """With the lease of its attempt, read in one statement: an answer that comes meanwhile is seen whole or not."""
    row = await connection.fetchrow(
        f"SELECT {', '.join(f'k.{name}' for name in _STORED)},"
        " greatest(extract(epoch FROM a.lease_until - now())::float8, 0) AS lease_left_seconds"
        " FROM idempotency_keys k LEFT JOIN attempts a ON a.partner_id = k.partner_id AND a.id = k.attempt_id"
        " WHERE k.partner_id = $1 AND k.livemode = $2 AND k.key = $3",
        scope.partner_id,
        scope.livemode,
        key,
    )
    return None if row is None else shapes.read(IdempotencyKey, row)


async def claim(
    connection: Connection,
    scope: Scope,
    key: str,
    *,
    fingerprint: bytes,
    keep: timedelta,
) -> bool:
    """Take a key for work that this same database transaction does whole. Waits for a concurrent taker to commit."""
    taken = await connection.fetchval(
        "INSERT INTO idempotency_keys (partner_id, livemode, key, fingerprint, expires_at)"
        " VALUES ($1, $2, $3, $4, now() + $5) ON CONFLICT DO NOTHING RETURNING true",
        scope.partner_id,
        scope.livemode,
        key,
        fingerprint,
        keep,
    )
    return bool(taken)


async def finish(
    connection: Connection,
    scope: Scope,
    key: str,
    *,
    status: int,
    body: str | None,
    sealed: bytes | None = None,
) -> None:
    await connection.execute(
        "UPDATE idempotency_keys SET response_status = $4, response_body = $5, response_sealed = $6"
        " WHERE partner_id = $1 AND livemode = $2 AND key = $3 AND response_status IS NULL",
        scope.partner_id,
        scope.livemode,
        key,
        status,
        body,
        sealed,
    )


async def forget_expired(connection: Connection, limit: int) -> int:
    """Drop answers kept long enough; as the worker. The key still never charges twice: transactions remember it."""
    dropped = await connection.fetch(
        "DELETE FROM idempotency_keys WHERE (partner_id, livemode, key) IN ("
        " SELECT partner_id, livemode, key FROM idempotency_keys WHERE expires_at < now() LIMIT $1) RETURNING 1",
        limit,
    )
    return len(dropped)
