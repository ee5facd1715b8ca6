"""Transactions, their attempts and their history. Writing money facts is `journal_write` alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import asyncpg

from db import shapes
from db.database import Connection
from db.records import Attempt, Scope, Transaction, TransactionEvent

_TRANSACTION = shapes.columns(Transaction)
_ATTEMPT = shapes.columns(Attempt)
_EVENT = shapes.columns(TransactionEvent)


class RefundsStopped(Exception):
    """The watchdog has a finding against the partner: no new refund of its until that is closed or lifted."""


async def journal_write(connection: Connection, partner_id: UUID, step: Mapping[str, Any]) -> str:
    """One round trip: 'written', or which guard failed ('claimed', 'version', 'epoch') and nothing was written.

    Raises `RefundsStopped`.
    """
    try:
        result: str = await connection.fetchval("SELECT journal_write($1, $2)", partner_id, step)
    except asyncpg.CheckViolationError as refused:
        if refused.constraint_name == "refunds_stopped":
            raise RefundsStopped from None
        raise
    return result


async def get(connection: Connection, scope: Scope, transaction_id: UUID) -> Transaction | None:
    row = await connection.fetchrow(
        f"SELECT {_TRANSACTION} FROM transactions"
        " WHERE partner_id = $1 AND id = $2 AND livemode = $3 AND deleted_at IS NULL",
        scope.partner_id,
        transaction_id,
        scope.livemode,
    )
    return None if row is None else shapes.read(Transaction, row)


async def lock(connection: Connection, partner_id: UUID, transaction_id: UUID) -> Transaction | None:
    """The transaction as it is now, held until this database transaction ends."""
    row = await connection.fetchrow(
        f"SELECT {_TRANSACTION} FROM transactions WHERE partner_id = $1 AND id = $2 FOR UPDATE",
        partner_id,
        transaction_id,
    )
    return None if row is None else shapes.read(Transaction, row)


async def by_key(connection: Connection, scope: Scope, key: str) -> Transaction | None:
    row = await connection.fetchrow(
        f"SELECT {_TRANSACTION} FROM transactions WHERE partner_id = $1 AND livemode = $2 AND idempotency_key = $3",
        scope.partner_id,
        scope.livemode,
        key,
    )
    return None if row is None else shapes.read(Transaction, row)


async def attempts(connection: Connection, partner_id: UUID, transaction_ids: list[UUID]) -> list[Attempt]:
    """Every attempt of these transactions, in the order they were made."""
    rows = await connection.fetch(
        f"SELECT {_ATTEMPT} FROM attempts WHERE partner_id = $1 AND transaction_id = ANY ($2) ORDER BY number, id",
        partner_id,
        transaction_ids,
    )
    return [shapes.read(Attempt, row) for row in rows]


async def attempt(connection: Connection, partner_id: UUID, attempt_id: UUID) -> Attempt | None:
    row = await connection.fetchrow(
        f"SELECT {_ATTEMPT} FROM attempts WHERE partner_id = $1 AND id = $2", partner_id, attempt_id
    )
    return None if row is None else shapes.read(Attempt, row)


async def take(connection: Connection, partner_id: UUID, attempt_id: UUID, *, lease_seconds: float) -> Attempt | None:
    """Become the one who may conclude this attempt; None where it is over or somebody else holds it.

    Counted among its `checks` only where one was due: who asks out of turn must not make the next ones rarer.
    """
    row = await connection.fetchrow(
        "UPDATE attempts SET epoch = epoch + 1, checks = checks + (next_check_at <= now())::int,"
        " lease_until = now() + make_interval(secs => $3), next_check_at = now() + make_interval(secs => $3)"
        " WHERE partner_id = $1 AND id = $2 AND finished_at IS NULL"
        f" AND (lease_until IS NULL OR lease_until < now()) RETURNING {_ATTEMPT}",
        partner_id,
        attempt_id,
        lease_seconds,
    )
    return None if row is None else shapes.read(Attempt, row)


async def may_resend(connection: Connection, partner_id: UUID, attempt_id: UUID) -> bool:
    """Whether the PSP still knows this attempt's key for sure, by the database's clock."""
    found: bool = await connection.fetchval(
        "SELECT now() < resend_until FROM attempts WHERE partner_id = $1 AND id = $2", partner_id, attempt_id
    )
    return found


async def due_attempts(connection: Connection, limit: int) -> list[tuple[UUID, UUID]]:
    """(partner, attempt) whose outcome should be looked into now, oldest first; as the worker, over all partners."""
    rows = await connection.fetch(
        "SELECT partner_id, id FROM attempts WHERE next_check_at <= now() ORDER BY next_check_at LIMIT $1", limit
    )
    return [(row["partner_id"], row["id"]) for row in rows]


async def abandoned(connection: Connection, seconds: float, limit: int) -> list[tuple[UUID, UUID, bool]]:
    """(partner, transaction, livemode) of charges that have waited for their customer this long; as the worker."""
    rows = await connection.fetch(
        "SELECT a.partner_id, a.transaction_id, t.livemode FROM attempts a"
        " JOIN transactions t ON t.partner_id = a.partner_id AND t.id = a.transaction_id"
        " WHERE a.operation = 'charge' AND a.state = 'waiting' AND a.next_check_at IS NOT NULL"
        " AND a.created_at < now() - make_interval(secs => $1) AND t.status = 'requires_action'"
        " ORDER BY a.created_at LIMIT $2",
        seconds,
        limit,
    )
    return [(row["partner_id"], row["transaction_id"], row["livemode"]) for row in rows]


async def open_attempts(connection: Connection) -> list[tuple[str, str, int, float]]:
    """(provider, state, count, age of the oldest in seconds) of attempts without an outcome, over all partners."""
    rows = await connection.fetch(
        "SELECT provider, state::text, count(*), extract(epoch FROM now() - min(created_at))::float8 AS age"
        " FROM attempts WHERE next_check_at IS NOT NULL GROUP BY provider, state"
    )
    return [(row["provider"], row["state"], row["count"], row["age"]) for row in rows]


async def events(connection: Connection, partner_id: UUID, transaction_id: UUID) -> list[TransactionEvent]:
    rows = await connection.fetch(
        f"SELECT {_EVENT} FROM transaction_events WHERE partner_id = $1 AND transaction_id = $2 ORDER BY sequence",
        partner_id,
        transaction_id,
    )
    return [shapes.read(TransactionEvent, row) for row in rows]


async def reviews_open(connection: Connection) -> int:
    """Transactions that a person must look at, over all partners; as the worker."""
    count: int = await connection.fetchval("SELECT count(*) FROM transactions WHERE needs_review")
    return count


async def owner_of_open(connection: Connection, transaction_id: UUID) -> UUID | None:
    """The partner of a transaction with an open attempt, as the worker: support knows the id only."""
    owner: UUID | None = await connection.fetchval(
        "SELECT partner_id FROM attempts WHERE transaction_id = $1 AND next_check_at IS NOT NULL LIMIT 1",
        transaction_id,
    )
    return owner


async def offline_open(connection: Connection, providers: list[str], limit: int) -> list[Attempt]:
    """Attempts that wait for a person, oldest first, over all partners; as the worker."""
    rows = await connection.fetch(
        f"SELECT {_ATTEMPT} FROM attempts WHERE provider = ANY ($1) AND state = 'waiting' AND finished_at IS NULL"
        " AND next_check_at IS NOT NULL ORDER BY created_at LIMIT $2",
        providers,
        limit,
    )
    return [shapes.read(Attempt, row) for row in rows]
