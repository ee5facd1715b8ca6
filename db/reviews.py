"""What people decide where no PSP tells: asked for by one, approved by another, never changed after that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from db import shapes
from db.database import Connection
from db.records import Transaction


class ReviewVerdict(StrEnum):
    """`succeeded` and `failed` are of an attempt without an outcome; `settled`: the books are right as they are."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewDecision:
    """`version` is the transaction's as the first person saw it: what changed since is to be looked at anew."""

    partner_id: UUID
    id: UUID
    transaction_id: UUID
    attempt_id: UUID | None
    verdict: ReviewVerdict
    provider_id: str | None
    evidence: str
    version: int
    requested_by: str
    requested_at: datetime
    expires_at: datetime
    approved_by: str | None
    approved_at: datetime | None


_DECISION = shapes.columns(ReviewDecision)
_TRANSACTION = shapes.columns(Transaction)


async def waiting(connection: Connection, limit: int) -> list[Transaction]:
    """Transactions that a person must look at, the oldest first, over all partners; as the worker."""
    rows = await connection.fetch(
        f"SELECT {_TRANSACTION} FROM transactions WHERE needs_review ORDER BY created_at, id LIMIT $1", limit
    )
    return [shapes.read(Transaction, row) for row in rows]


async def owner(connection: Connection, transaction_id: UUID) -> UUID | None:
    """The partner of a transaction that waits for a person; as the worker, who sees those of all partners."""
    found: UUID | None = await connection.fetchval(
        "SELECT partner_id FROM transactions WHERE id = $1 AND needs_review", transaction_id
    )
    return found


async def request(
    connection: Connection,
    decision_id: UUID,
    transaction: Transaction,
    *,
    attempt_id: UUID | None,
    verdict: ReviewVerdict,
    provider_id: str | None,
    evidence: str,
    requested_by: str,
) -> ReviewDecision:
    """The first person's half. Times are the database's."""
    row = await connection.fetchrow(
        "INSERT INTO review_decisions (partner_id, id, transaction_id, attempt_id, verdict, provider_id, evidence,"
        f" version, requested_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING {_DECISION}",
        transaction.partner_id,
        decision_id,
        transaction.id,
        attempt_id,
        verdict.value,
        provider_id,
        evidence,
        transaction.version,
        requested_by,
    )
    return shapes.read(ReviewDecision, row)


async def approve(connection: Connection, decision: ReviewDecision, approved_by: str) -> None:
    """The second person's half; the database refuses the same person, a second time, and what has expired."""
    await connection.execute(
        "UPDATE review_decisions SET approved_by = $3, approved_at = now() WHERE partner_id = $1 AND id = $2",
        decision.partner_id,
        decision.id,
        approved_by,
    )


async def of_transaction(connection: Connection, partner_id: UUID, transaction_id: UUID) -> list[ReviewDecision]:
    """The newest first."""
    rows = await connection.fetch(
        f"SELECT {_DECISION} FROM review_decisions WHERE partner_id = $1 AND transaction_id = $2 ORDER BY id DESC",
        partner_id,
        transaction_id,
    )
    return [shapes.read(ReviewDecision, row) for row in rows]
