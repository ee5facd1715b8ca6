"""What the watchdog and the reconciler hold against our books: open until it is whole again, or a person closes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from db import ids, shapes
from db.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`subject` is our id, or the PSP's where we have none."""

    id: UUID
    source: str
    kind: str
    subject: str
    partner_id: UUID | None
    account_id: UUID | None
    data: Mapping[str, Any]
    found_at: datetime
    seen_at: datetime
    lifted_at: datetime | None
    closed_at: datetime | None
    accepted_at: datetime | None

    @property
    def stops_refunds(self) -> bool:
        """Of its partner: what the trigger `refunds_stopped` asks."""
        stands = self.closed_at is None and self.lifted_at is None
        return stands and self.partner_id is not None and self.source == "watchdog"

    @property
    def acceptable(self) -> bool:
        """As it is, until it is otherwise: it says what it is by a fingerprint."""
        return "fingerprint" in self.data


_FINDING = shapes.columns(Finding)


async def report(
    connection: Connection,
    *,
    source: str,
    kind: str,
    subject: str,
    partner_id: UUID | None = None,
    account_id: UUID | None = None,
    data: Mapping[str, Any],
) -> bool:
    """Keep it, as the worker; whether it is new. What is open already is only seen again."""
    found: bool = await connection.fetchval(
        "INSERT INTO findings (id, source, kind, subject, partner_id, account_id, data)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)"
        " ON CONFLICT (kind, subject) WHERE closed_at IS NULL DO UPDATE SET seen_at = now(), data = excluded.data"
        " RETURNING xmax = 0",
        ids.new(),
        source,
        kind,
        subject,
        partner_id,
        account_id,
        dict(data),
    )
    return found


async def is_open(connection: Connection, kind: str, subject: str) -> bool:
    """Whether it was reported before and nobody has closed it since; as the worker."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM findings WHERE kind = $1 AND subject = $2 AND closed_at IS NULL)", kind, subject
    )
    return found


async def is_as_told(connection: Connection, kind: str, subject: str, data: Mapping[str, Any]) -> bool:
    """Whether it is open, and as it was found then; as the worker."""
    told: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM findings WHERE kind = $1 AND subject = $2 AND data = $3 AND closed_at IS NULL)",
        kind,
        subject,
        dict(data),
    )
    return told


async def accepted(connection: Connection, subjects: Sequence[str]) -> set[tuple[str, str, str]]:
    """(kind, subject, fingerprint) of what people have accepted about these; as the worker or an operator."""
    rows = await connection.fetch(
        "SELECT kind, subject, data ->> 'fingerprint' AS fingerprint FROM findings"
        " WHERE accepted_at IS NOT NULL AND subject = ANY ($1)",
        subjects,
    )
    return {(row["kind"], row["subject"], row["fingerprint"]) for row in rows}


async def supersede(connection: Connection, kind: str, subject: str) -> None:
    """It is otherwise now than it was found, or accepted: that is over."""
    await connection.execute(
        "UPDATE findings SET closed_at = coalesce(closed_at, now()), accepted_at = NULL"
        " WHERE subject = $2 AND (kind = $1 AND closed_at IS NULL OR accepted_at IS NOT NULL)",
        kind,
        subject,
    )


async def settle(connection: Connection, source: str, subjects: list[str], *, kept: list[str]) -> None:
    """Of these subjects, looked at once more, only those in `kept` are still at fault."""
    await connection.execute(
        "UPDATE findings SET closed_at = coalesce(closed_at, now()), accepted_at = NULL"
        " WHERE (closed_at IS NULL OR accepted_at IS NOT NULL) AND source = $1 AND subject = ANY ($2)"
        " AND subject <> ALL ($3)",
        source,
        subjects,
        kept,
    )


async def find(connection: Connection, finding_id: UUID) -> Finding | None:
    """Open or not; None where the connection may not see it."""
    row = await connection.fetchrow(f"SELECT {_FINDING} FROM findings WHERE id = $1", finding_id)
    return None if row is None else shapes.read(Finding, row)


async def open_ones(connection: Connection, limit: int, *, before: UUID | None = None) -> list[Finding]:
    """The newest first, over all partners; as the worker or an operator."""
    rows = await connection.fetch(
        f"SELECT {_FINDING} FROM findings WHERE closed_at IS NULL AND ($2::uuid IS NULL OR id < $2)"
        " ORDER BY id DESC LIMIT $1",
        limit,
        before,
    )
    return [shapes.read(Finding, row) for row in rows]


async def counts(connection: Connection) -> list[tuple[str, int]]:
    """(kind, open findings of it); kinds that were ever found stay, with zero."""
    rows = await connection.fetch(
        "SELECT kind, count(*) FILTER (WHERE closed_at IS NULL) AS open FROM findings GROUP BY kind"
    )
    return [(row["kind"], row["open"]) for row in rows]


async def close(connection: Connection, finding_id: UUID) -> Finding | None:
    """A person has seen to it: what is at fault all the same is found anew. None where none such is open."""
    return await _changed(connection, finding_id, "closed_at = now()")


async def lift(connection: Connection, finding_id: UUID) -> Finding | None:
    """It stands, but stops no refund any more. None where none such is open."""
    return await _changed(connection, finding_id, "lifted_at = now()")


async def accept(connection: Connection, finding_id: UUID) -> Finding | None:
    """It is known and stays: found anew only once it is otherwise. None where none such is open, or it has no print."""
    return await _changed(connection, finding_id, "closed_at = now(), accepted_at = now()", "data ? 'fingerprint'")


async def _changed(connection: Connection, finding_id: UUID, change: str, which: str = "true") -> Finding | None:
    row = await connection.fetchrow(
        f"UPDATE findings SET {change} WHERE id = $1 AND closed_at IS NULL AND {which} RETURNING {_FINDING}", finding_id
    )
    return None if row is None else shapes.read(Finding, row)
