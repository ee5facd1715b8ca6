"""How far each account's own lists were read: of its events (gap filler) and of its payments (reconciler)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from db import shapes
from db.database import Connection


class Reading(StrEnum):
    """Which list; also the beginning of its columns' names."""

    EVENTS = "events"
    PAYMENTS = "payments"


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """An account whose list is to be read on from `until`."""

    account_id: UUID
    provider: str
    until: datetime


async def begin(connection: Connection, providers: list[str]) -> None:
    """Accounts that were never read begin now: what was before is told by its own attempts."""
    await connection.execute(
        "INSERT INTO account_readings (account_id, events_until, payments_until)"
        " SELECT id, now(), now() FROM provider_accounts WHERE provider = ANY ($1) ON CONFLICT DO NOTHING",
        providers,
    )


async def take_due(
    connection: Connection, reading: Reading, providers: list[str], *, again_seconds: float, limit: int
) -> list[Due]:
    """Accounts to read now. Each is set due again before it is read, so that one worker reads it at a time."""
    rows = await connection.fetch(
        f"UPDATE account_readings r SET {reading}_due_at = now() + make_interval(secs => $2)"
        " FROM provider_accounts p WHERE p.id = r.account_id AND r.account_id IN ("
        f"    SELECT d.account_id FROM account_readings d JOIN provider_accounts a ON a.id = d.account_id"
        f"    WHERE a.provider = ANY ($1) AND d.{reading}_due_at <= now()"
        f"    ORDER BY d.{reading}_due_at LIMIT $3 FOR UPDATE OF d SKIP LOCKED)"
        f" RETURNING r.account_id, p.provider, r.{reading}_until AS until",
        providers,
        again_seconds,
        limit,
    )
    return [shapes.read(Due, row) for row in rows]


async def read_until(connection: Connection, reading: Reading, account_id: UUID, until: datetime) -> None:
    """Everything before `until` was read; it never goes back."""
    await connection.execute(
        f"UPDATE account_readings SET {reading}_until = greatest({reading}_until, $2) WHERE account_id = $1",
        account_id,
        until,
    )
