"""What recovery finds to do, as the worker over all partners: attempts to ask about, and those that take too long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import UUID

from db import shapes
from db.database import Connection

PROBE_SECONDS = 5
"""How often an account that does not answer is asked about one of its attempts, between the attempts' own checks."""

_SILENT = (
    "a.state = 'unknown' AND (coalesce((a.outcome->>'http_status')::integer, 500) >= 500"
    " OR a.outcome->>'http_status' = '429')"
)
"""In SQL what `silent` says in Python."""


def silent(outcome: Mapping[str, Any] | None) -> bool:
    """Whether an unknown outcome is the PSP's silence, and not something it said."""
    status = (outcome or {}).get("http_status")
    return status is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """An attempt to ask its PSP about. `silent`: the last time, no answer came."""

    partner_id: UUID
    transaction_id: UUID
    id: UUID
    account_id: UUID
    silent: bool


async def due(connection: Connection, *, busy: Sequence[UUID], per_account: int) -> list[Due]:
    """What to ask now: of each account that is not `busy` the longest due, and one to see whether a silent PSP is back.

    By account, so that an outage's backlog at one PSP hides nobody else's.
    """
    rows = await connection.fetch(
        f"""
        SELECT found.* FROM provider_accounts p CROSS JOIN LATERAL (
            (SELECT a.partner_id, a.transaction_id, a.id, a.account_id, {_SILENT} AS silent FROM attempts a
             WHERE a.account_id = p.id AND a.next_check_at <= now() ORDER BY a.next_check_at LIMIT $2)
            UNION ALL
            (SELECT a.partner_id, a.transaction_id, a.id, a.account_id, true FROM attempts a
             WHERE a.account_id = p.id AND a.next_check_at > now() AND {_SILENT}
               AND a.updated_at < now() - make_interval(secs => {PROBE_SECONDS})
               AND (a.lease_until IS NULL OR a.lease_until < now())
             LIMIT 1)) found
        WHERE p.id <> ALL ($1)""",
        busy,
        per_account,
    )
    return [shapes.read(Due, row) for row in rows]


async def waiting_for(connection: Connection, account_id: UUID, limit: int) -> dict[UUID, list[UUID]]:
    """By partner, the attempts that got no answer from this account and are not due yet."""
    rows = await connection.fetch(
        f"SELECT partner_id, array_agg(id) AS ids FROM (SELECT a.partner_id, a.id FROM attempts a"
        f" WHERE a.account_id = $1 AND a.next_check_at > now() AND {_SILENT} ORDER BY a.next_check_at LIMIT $2) a"
        " GROUP BY partner_id",
        account_id,
        limit,
    )
    return {row["partner_id"]: row["ids"] for row in rows}


async def has_nameless(connection: Connection, account_id: UUID) -> bool:
    """Whether an attempt at this account has no outcome and no id of the PSP yet: what is told may be about it."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM attempts"
        " WHERE account_id = $1 AND next_check_at IS NOT NULL AND provider_id IS NULL)",
        account_id,
    )
    return found


async def bring_forward(connection: Connection, partner_id: UUID, attempt_ids: Sequence[UUID]) -> None:
    """Make checks due now, as their partner."""
    await connection.execute(
        "UPDATE attempts SET next_check_at = now() WHERE partner_id = $1 AND id = ANY ($2) AND next_check_at > now()"
        " AND (lease_until IS NULL OR lease_until < now())",
        partner_id,
        attempt_ids,
    )


async def overdue(connection: Connection, limit: int) -> list[Due]:
    """Attempts without an outcome for longer than their `review_after`, where no person looks and no customer acts.

    A cancel never takes that long, whatever a PSP said first. The worker sees just the transactions that wait for their
    customer or for a person (policy `find_abandoned`) without being their partner.
    """
    rows = await connection.fetch(
        f"""
        SELECT a.partner_id, a.transaction_id, a.id, a.account_id, {_SILENT} AS silent FROM attempts a
        WHERE a.next_check_at IS NOT NULL AND a.created_at + a.review_after < now()
          AND (a.state IN ('created', 'sending', 'unknown', 'resolving')
               OR a.state = 'waiting' AND a.operation = 'cancel')
          AND NOT EXISTS (SELECT FROM transactions t WHERE t.partner_id = a.partner_id AND t.id = a.transaction_id
                          AND (t.needs_review OR a.operation = 'charge'))
        ORDER BY a.created_at LIMIT $1""",
        limit,
    )
    return [shapes.read(Due, row) for row in rows]
