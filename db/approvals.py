"""Refunds that need a second person: asked for by one, approved by another, exactly as asked and in time.

requested ─┬─ approved ─► a refund under the key `approval:<id>`
           └─ rejected | withdrawn        Whoever decides too late is refused by the database.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import asyncpg

from db import shapes
from db.database import Connection
from db.records import RefundReason, Transaction


class ApprovalState(StrEnum):
    REQUESTED = "requested"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


class OwnRequest(Exception):
    """Who asked cannot approve or reject, and nobody else can withdraw."""


class TooLate(Exception):
    """The request has expired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """`refund_id` and `refund_status` are of the refund that came of it, if one did."""

    partner_id: UUID
    partner_name: str
    id: UUID
    transaction_id: UUID
    livemode: bool
    amount: Decimal
    currency: str
    reason: RefundReason
    note: str | None
    state: ApprovalState
    requested_by: UUID
    requested_by_name: str
    requested_at: datetime
    expires_at: datetime
    decided_by: UUID | None
    decided_by_name: str | None
    decided_at: datetime | None
    decision_note: str | None
    lapsed: bool
    """Nobody decided in time, or what was approved was not done within a day."""
    refund_id: UUID | None
    refund_status: str | None

    @property
    def key(self) -> str:
        return f"approval:{self.id}"

    @property
    def open(self) -> bool:
        """Somebody may still decide, or do what was decided."""
        undone = self.state is ApprovalState.APPROVED and self.refund_id is None
        return not self.lapsed and (self.state is ApprovalState.REQUESTED or undone)


_APPROVAL = """
SELECT a.partner_id, p.name AS partner_name, a.id, a.transaction_id, a.livemode,
       a.amount, a.currency, a.reason, a.note, a.state,
       a.requested_by, asker.name AS requested_by_name, a.requested_at, a.expires_at,
       a.decided_by, decider.name AS decided_by_name, a.decided_at, a.decision_note,
       CASE a.state WHEN 'requested' THEN a.expires_at <= now()
                    WHEN 'approved' THEN r.id IS NULL AND a.decided_at <= now() - interval '24 hours'
                    ELSE false END AS lapsed,
       r.id AS refund_id, r.status AS refund_status
FROM approvals a
JOIN partners p ON p.id = a.partner_id
JOIN support_users asker ON asker.id = a.requested_by
LEFT JOIN support_users decider ON decider.id = a.decided_by
LEFT JOIN refunds r ON r.partner_id = a.partner_id AND r.livemode = a.livemode
    AND r.idempotency_key = 'approval:' || a.id
"""
_OPEN = """(a.state = 'requested' AND a.expires_at > now()
            OR a.state = 'approved' AND r.id IS NULL AND a.decided_at > now() - interval '24 hours')"""


async def request(
    connection: Connection,
    approval_id: UUID,
    transaction: Transaction,
    *,
    amount: Decimal,
    reason: RefundReason,
    note: str | None,
    requested_by: UUID,
) -> bool:
    """False where this id has asked before. The database dates it."""
    made = await connection.fetchval(
        "INSERT INTO approvals (partner_id, id, transaction_id, livemode, amount, currency, reason, note, requested_by)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING true",
        transaction.partner_id,
        approval_id,
        transaction.id,
        transaction.livemode,
        amount,
        transaction.currency,
        reason.value,
        note,
        requested_by,
    )
    return bool(made)


async def decide(
    connection: Connection, approval: Approval, state: ApprovalState, *, decided_by: UUID, note: str | None
) -> bool:
    """False where somebody has decided already. Raises `OwnRequest` and `TooLate`."""
    try:
        decided = await connection.fetchval(
            "UPDATE approvals SET state = $3, decided_by = $4, decided_at = now(), decision_note = $5"
            " WHERE partner_id = $1 AND id = $2 AND state = 'requested' RETURNING true",
            approval.partner_id,
            approval.id,
            state.value,
            decided_by,
            note,
        )
    except asyncpg.CheckViolationError:
        raise OwnRequest from None
    except asyncpg.RestrictViolationError:
        raise TooLate from None
    return bool(decided)


async def find(connection: Connection, transaction: Transaction, approval_id: UUID) -> Approval | None:
    row = await connection.fetchrow(
        f"{_APPROVAL} WHERE a.partner_id = $1 AND a.id = $2 AND a.transaction_id = $3",
        transaction.partner_id,
        approval_id,
        transaction.id,
    )
    return None if row is None else shapes.read(Approval, row)


async def of_transaction(connection: Connection, partner_id: UUID, transaction_id: UUID) -> list[Approval]:
    """The newest first."""
    rows = await connection.fetch(
        f"{_APPROVAL} WHERE a.partner_id = $1 AND a.transaction_id = $2 ORDER BY a.id DESC LIMIT 100",
        partner_id,
        transaction_id,
    )
    return [shapes.read(Approval, row) for row in rows]


async def page(
    connection: Connection, *, livemode: bool, still_open: bool, before: UUID | None, limit: int
) -> list[Approval]:
    """The newest first; of whoever the connection may see."""
    rows = await connection.fetch(
        f"{_APPROVAL} WHERE a.livemode = $1 AND {_OPEN} = $2 AND ($3::uuid IS NULL OR a.id < $3)"
        " ORDER BY a.id DESC LIMIT $4",
        livemode,
        still_open,
        before,
        limit,
    )
    return [shapes.read(Approval, row) for row in rows]
