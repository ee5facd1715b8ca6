"""Passes over the seals, night by night: how far each came and what it found. Kept, to show that it was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from db import shapes
from db.audit_seals import TABLES, Checked
from db.database import Connection

_TONIGHT = "date_trunc('day', now() - interval '2 hours') + interval '2 hours'"
"""A pass begins after 02:00 UTC, once the one before it is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """`number` and `chain`: of the last seal that was looked at. `retired` and `broken` count seals.

    `accepted` counts those of the broken ones that people have accepted as they are.
    """

    table_name: str
    started_at: datetime
    number: int
    chain: bytes | None
    rows: int
    retired: int
    broken: int
    accepted: int
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How a table's history stands. The seconds are those since the last seal's end and since a pass was last over."""

    table_name: str
    sealed_number: int | None
    sealed_until: datetime | None
    unsealed_seconds: float | None
    unverified_seconds: float | None
    last: Verification | None
    """The last pass that is over."""
    running: Verification | None

    @property
    def broken(self) -> int:
        """Seals that were found so by the last pass, or by this one so far, and that nobody has accepted."""
        return max(one.broken - one.accepted if one else 0 for one in (self.last, self.running))


_VERIFICATION = shapes.columns(Verification)


async def states(connection: Connection) -> list[State]:
    """As the worker, an operator or the console."""
    return [await _state(connection, table) for table in TABLES]


async def _state(connection: Connection, table: str) -> State:
    row = await connection.fetchrow(
        "SELECT s.number, s.until, extract(epoch FROM now() - s.until)::float8 AS unsealed,"
        " extract(epoch FROM now() - v.finished_at)::float8 AS unverified FROM (SELECT) one"
        " LEFT JOIN LATERAL (SELECT number, until FROM audit_seals WHERE table_name = $1"
        "  ORDER BY number DESC LIMIT 1) s ON true"
        " LEFT JOIN LATERAL (SELECT finished_at FROM audit_verifications WHERE table_name = $1"
        "  AND finished_at IS NOT NULL ORDER BY started_at DESC LIMIT 1) v ON true",
        table,
    )
    assert row is not None
    return State(
        table_name=table,
        sealed_number=row["number"],
        sealed_until=row["until"],
        unsealed_seconds=row["unsealed"],
        unverified_seconds=row["unverified"],
        last=await _newest(connection, table, "finished_at IS NOT NULL"),
        running=await _newest(connection, table, "finished_at IS NULL"),
    )


async def running(connection: Connection, table: str) -> Verification | None:
    """The pass under way, begun here where one is due; as the worker."""
    await connection.execute(
        "INSERT INTO audit_verifications (table_name) SELECT $1::varchar WHERE NOT EXISTS"
        " (SELECT FROM audit_verifications WHERE table_name = $1"
        f" AND (finished_at IS NULL OR started_at >= {_TONIGHT}))"
        " ON CONFLICT DO NOTHING",
        table,
    )
    return await _newest(connection, table, "finished_at IS NULL")


async def advance(
    connection: Connection, before: Verification, checked: Sequence[Checked], *, accepted: int, finished: bool
) -> bool:
    """Write down a piece, of whose faults so many are accepted; as the worker. False where another did meanwhile."""
    last = checked[-1].seal if checked else None
    written = await connection.fetchval(
        "UPDATE audit_verifications SET number = coalesce($4, number), chain = coalesce($5, chain), rows = rows + $6,"
        " retired = retired + $7, broken = broken + $8, accepted = accepted + $9,"
        " finished_at = CASE WHEN $10 THEN now() END"
        " WHERE table_name = $1 AND started_at = $2 AND number = $3 AND finished_at IS NULL RETURNING true",
        before.table_name,
        before.started_at,
        before.number,
        last and last.number,
        last and last.chain,
        sum(one.found for one in checked),
        sum(one.retired for one in checked),
        sum(one.fault is not None for one in checked),
        accepted,
        finished,
    )
    return bool(written)


async def displaced(connection: Connection, table: str) -> int | None:
    """The first seal that a pass came to and that is gone since, or is another now."""
    number: int | None = await connection.fetchval(
        "SELECT min(v.number) FROM audit_verifications v LEFT JOIN audit_seals s"
        " ON s.table_name = v.table_name AND s.number = v.number"
        " WHERE v.table_name = $1 AND v.number > 0 AND s.chain IS DISTINCT FROM v.chain",
        table,
    )
    return number


async def _newest(connection: Connection, table: str, condition: str) -> Verification | None:
    row = await connection.fetchrow(
        f"SELECT {_VERIFICATION} FROM audit_verifications WHERE table_name = $1 AND {condition}"
        " ORDER BY started_at DESC LIMIT 1",
        table,
    )
    return None if row is None else shapes.read(Verification, row)
