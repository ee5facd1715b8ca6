"""What only the support console reads: a payment by its id alone, all that hangs on it, and what waits for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from db import shapes
from db.audit import AuditLog
from db.database import Connection
from db.records import DeliveryState, Dispute, Transaction

_TRANSACTION = shapes.columns(Transaction)
_DISPUTE = shapes.columns(Dispute)
_AUDIT = shapes.columns(AuditLog)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A webhook on its way to one endpoint, and how its last try ended."""

    id: UUID
    event_type: str
    url: str
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    created_at: datetime
    last_status: int | None
    last_error: str | None
    last_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A payment that a person must look at."""

    transaction: Transaction
    partner: str
    since: datetime


async def transaction(connection: Connection, transaction_id: UUID) -> tuple[Transaction, str] | None:
    """With its partner's name; None where the connection may not see it."""
    row = await connection.fetchrow(
        f"SELECT {_of('t', _TRANSACTION)}, p.name AS partner FROM transactions t JOIN partners p ON p.id = t.partner_id"
        " WHERE t.id = $1 AND t.livemode = ANY ('{true,false}') AND t.deleted_at IS NULL",
        transaction_id,
    )
    return None if row is None else (shapes.read(Transaction, row), row["partner"])


async def disputes(connection: Connection, partner_id: UUID, transaction_id: UUID) -> list[Dispute]:
    rows = await connection.fetch(
        f"SELECT {_DISPUTE} FROM disputes WHERE partner_id = $1 AND transaction_id = $2 ORDER BY id DESC",
        partner_id,
        transaction_id,
    )
    return [shapes.read(Dispute, row) for row in rows]


async def deliveries(connection: Connection, partner_id: UUID, transaction_id: UUID) -> list[Sent]:
    """The newest first."""
    rows = await connection.fetch(
        "SELECT d.id, d.event_type, w.url, d.state, d.attempts, d.next_attempt_at, d.delivered_at, d.created_at,"
        "       coalesce(a.status_code, d.last_status) AS last_status, a.error AS last_error, a.started_at AS last_at"
        " FROM webhook_deliveries d JOIN webhook_endpoints w ON w.partner_id = d.partner_id AND w.id = d.endpoint_id"
        " LEFT JOIN LATERAL (SELECT status_code, error, started_at FROM webhook_attempts"
        "     WHERE partner_id = d.partner_id AND delivery_id = d.id ORDER BY number DESC LIMIT 1) a ON true"
        " WHERE d.partner_id = $1 AND d.transaction_id = $2 ORDER BY d.id DESC LIMIT 200",
        partner_id,
        transaction_id,
    )
    return [shapes.read(Sent, row) for row in rows]


async def audit_lines(connection: Connection, partner_id: UUID, resources: Sequence[str]) -> list[AuditLog]:
    """Who did what to a transaction, its refunds, deliveries and notifications, the newest first."""
    rows = await connection.fetch(
        f"SELECT {_AUDIT} FROM audit_logs WHERE resource_type IN ('transaction', 'refund', 'webhook_delivery',"
        " 'notification') AND resource_id = ANY ($2) AND partner_id = $1 ORDER BY id DESC LIMIT 200",
        partner_id,
        resources,
    )
    return [shapes.read(AuditLog, {**row, "ip_address": row["ip_address"] and str(row["ip_address"])}) for row in rows]


async def waiting(connection: Connection, *, livemode: bool, after: UUID | None, limit: int) -> list[Waiting]:
    """The oldest first; of whoever the connection may see."""
    rows = await connection.fetch(
        f"SELECT {_of('t', _TRANSACTION)}, p.name AS partner, coalesce(("
        "     SELECT max(e.created_at) FROM transaction_events e WHERE e.partner_id = t.partner_id"
        "     AND e.transaction_id = t.id AND e.event_type IN ('review_requested', 'compensation_failed')),"
        "     t.updated_at) AS since"
        " FROM transactions t JOIN partners p ON p.id = t.partner_id"
        " WHERE t.needs_review AND t.livemode = $1 AND ($2::uuid IS NULL OR t.id > $2) ORDER BY t.id LIMIT $3",
        livemode,
        after,
        limit,
    )
    return [
        Waiting(transaction=shapes.read(Transaction, row), partner=row["partner"], since=row["since"]) for row in rows
    ]


def _of(table: str, columns: str) -> str:
    return ", ".join(f"{table}.{name}" for name in columns.split(", "))
