"""Seals over history: the rows that a stretch of time holds as one digest, chained to the seal before.

digest n = SHA-256(of the SHA-256 of each row, in the order of ids)
chain n  = SHA-256(chain n-1, table, n, format, since, until, count, digest n, sealed_at)

The windows of a table follow on each other without a gap, so a row belongs to one of them whenever it appears.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from db import shapes
from db.database import Connection

COLUMNS: Mapping[str, Mapping[int, tuple[str, ...]]] = {
    "audit_logs": {
        1: (
            *("id", "partner_id", "actor", "action", "resource_type", "resource_id", "ip_address", "user_agent"),
            *("request_id", "changes", "created_at"),
        )
    },
    "ledger_entries": {
        1: (
            *("id", "partner_id", "transaction_id", "sequence", "account", "currency", "amount", "livemode"),
            "created_at",
        )
    },
}
"""What is sealed of each table, by format. A new column is a new format; the old ones stay, for the old seals."""
TABLES = tuple(COLUMNS)
LAG = "10 minutes"
"""Until a stretch is sealed. Nothing is written into it by then: a row's time is that of its transaction's begin, or of
our clock (5 seconds off at most) just before; a statement ends within 5 seconds, an idle transaction within 10."""
EVERY = "5 minutes"
"""Seals end on these: what is not sealed yet can be changed unnoticed, and a seal costs some 200 bytes."""
EMPTY = timedelta(hours=1)
"""So long a stretch is sealed even if it holds nothing: that, too, can be proven then."""
ROWS_MAX = 50_000
"""Of one seal: a third of a second of the database, of the 5 that a statement may take."""
SHORTEST = timedelta(seconds=1)
"""Rows of one transaction have one time; no stretch is halved below this."""
BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)
"""Before any row: from here the first stretches are measured, though the first seal begins at -infinity."""
SKEW = timedelta(hours=1)
"""How far the time in a row's id, which chooses its partition, may lie from the time it is sealed by."""
_LOCK = 0x7365_616C
"""Advisory lock ("seal"): a table is sealed by one worker at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """`since` is None for the first."""

    table_name: str
    number: int
    format: int
    since: datetime | None
    until: datetime
    count: int
    digest: bytes
    chain: bytes
    sealed_at: datetime

    @property
    def head(self) -> str:
        """All that must be kept elsewhere to notice that this seal, or one before it, is not what it was."""
        return f"{self.table_name}:{self.number}:{self.chain.hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A seal held against the rows. `fault` is None where all is as it was, or the rows are `retired`."""

    seal: Seal
    found: int
    fault: str | None
    fingerprint: str | None
    """Of the rows, where they alone are at fault: what is accepted about them holds as long as it is the same."""
    retired: bool


_SEAL = ", ".join(f"s.{name}" for name in shapes.columns(Seal).split(", ")).replace(
    "s.since", "nullif(s.since, '-infinity') AS since"
)
_UTC = "{} AT TIME ZONE 'UTC'"


def _within(since: datetime | None) -> str:
    """From $1, which is `since`, to $2. Not by coalesce(): row-level security keeps that from the index."""
    return f"{'$1::timestamptz IS NULL' if since is None else 'created_at >= $1'} AND created_at < $2"


def _rows(table: str, version: int, since: datetime | None) -> str:
    """Number and digest of the rows of a stretch, whatever the session's settings are."""
    columns = ", ".join(_UTC.format(name) if name.endswith("_at") else name for name in COLUMNS[table][version])
    row = f"sha256(convert_to(jsonb_build_array({columns})::text, 'UTF8'))"
    return (
        f"SELECT count(*) AS count, sha256(coalesce(string_agg({row}, '' ORDER BY id), '')) AS digest FROM {table}"
        f" WHERE {_within(since)}"
    )


def _chain(before: str) -> str:
    """Of the columns of a seal, and of the chain before it."""
    since, until, sealed_at = map(_UTC.format, ("s.since", "s.until", "s.sealed_at"))
    return (
        f"sha256(convert_to(jsonb_build_array(encode({before}, 'hex'), s.table_name, s.number, s.format, {since},"
        f" {until}, s.count, encode(s.digest, 'hex'), {sealed_at})::text, 'UTF8'))"
    )


# ── Sealing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def seal_next(connection: Connection, table: str, *, rows_max: int = ROWS_MAX) -> Seal | None:
    """Seal the next stretch of what is closed; as the worker. None where nothing is due, or another worker is at it."""
    if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1, hashtext($2))", _LOCK, table):
        return None
    last = await head(connection, table)  # a statement of its own, to see what was committed before the lock
    closed: datetime = await connection.fetchval(f"SELECT date_bin('{EVERY}', now() - interval '{LAG}', '2020-01-01')")
    since = last.until if last else None
    until = await _until(connection, table, since, closed, rows_max)
    if until is None:
        return None
    version = max(COLUMNS[table])
    row = await connection.fetchrow(
        f"WITH found AS ({_rows(table, version, since)}),"
        f" s AS (SELECT $3::varchar AS table_name, $4::integer AS number, {version}::smallint AS format,"
        " coalesce($1, '-infinity'::timestamptz) AS since, $2::timestamptz AS until,"
        " count, digest, now() AS sealed_at FROM found)"
        " INSERT INTO audit_seals (table_name, number, format, since, until, count, digest, sealed_at, chain)"
        f" SELECT s.*, {_chain('$5::bytea')} FROM s RETURNING {_SEAL.replace('s.', '')}",
        since,
        until,
        table,
        last.number + 1 if last else 1,
        last and last.chain,
    )
    return shapes.read(Seal, row)


async def head(connection: Connection, table: str) -> Seal | None:
    """The last seal."""
    row = await connection.fetchrow(
        f"SELECT {_SEAL} FROM audit_seals s WHERE table_name = $1 ORDER BY number DESC LIMIT 1", table
    )
    return None if row is None else shapes.read(Seal, row)


async def _until(
    connection: Connection, table: str, since: datetime | None, closed: datetime, rows_max: int
) -> datetime | None:
    """Where the next stretch ends: the longest that does not hold too much. None where it is not worth a seal yet."""
    begin = since or BEGINNING
    if closed <= begin:
        return None
    until = min(closed, _partition_end(begin, await _kept_since(connection, table)))
    count = await _count(connection, table, since, until, rows_max)
    while count > rows_max and until - begin > SHORTEST:
        until = begin + (until - begin) / 2
        count = await _count(connection, table, since, until, rows_max)
    return None if count == 0 and until == closed and closed - begin < EMPTY else until


def _partition_end(begin: datetime, kept_since: datetime | None) -> datetime:
    """A stretch lies within a month's partition, so that it goes with it, or stays."""
    if kept_since is None:
        return datetime.max.replace(tzinfo=UTC)
    if begin < kept_since:
        return kept_since
    return (begin.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)).replace(day=1)


async def _kept_since(connection: Connection, table: str) -> datetime | None:
    """The first month whose partition is there; None where the table has none."""
    month: datetime | None = await connection.fetchval(
        "SELECT min(to_timestamp(right(relname, 7), 'YYYY_MM')) FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid"
        " WHERE inhparent = $1::text::regclass AND relname ~ '_[0-9]{4}_[0-9]{2}$'",
        table,
    )
    return month


async def _count(connection: Connection, table: str, since: datetime | None, until: datetime, rows_max: int) -> int:
    """The number of rows, or one more than a seal may hold."""
    count: int = await connection.fetchval(
        f"SELECT count(*) FROM (SELECT FROM {table} WHERE {_within(since)} LIMIT $3) found",
        since,
        until,
        rows_max + 1,
    )
    return count


# ── Verifying ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def check(connection: Connection, table: str, *, after: int, seals_max: int, rows_max: int) -> list[Checked]:
    """The seals behind number `after`, held against their rows; fewer than asked once they hold `rows_max` rows."""
    kept_since = await _kept_since(connection, table)
    found = await connection.fetch(
        f"SELECT {_SEAL}, {_chain('p.chain')} = s.chain"
        " AND s.since = CASE WHEN s.number = 1 THEN '-infinity' ELSE p.until END AS holds"
        " FROM audit_seals s LEFT JOIN audit_seals p ON p.table_name = s.table_name AND p.number = s.number - 1"
        " WHERE s.table_name = $1 AND s.number > $2 ORDER BY s.number LIMIT $3",
        table,
        after,
        seals_max,
    )
    checked: list[Checked] = []
    rows = 0
    for row in found:
        if rows >= rows_max:
            break
        checked.append(await _held(connection, shapes.read(Seal, row), bool(row["holds"]), kept_since))
        rows += checked[-1].found
    return checked


async def _held(connection: Connection, seal: Seal, holds: bool, kept_since: datetime | None) -> Checked:  # noqa: FBT001 - private, read beside its call
    if seal.format not in COLUMNS[seal.table_name]:
        return Checked(seal=seal, found=0, fault="seal_broken", fingerprint=None, retired=False)
    row = await connection.fetchrow(_rows(seal.table_name, seal.format, seal.since), seal.since, seal.until)
    assert row is not None
    fault = _fault(seal, row)
    retired = fault == "sealed_rows_missing" and kept_since is not None and seal.until <= kept_since + SKEW
    fault = fault if holds and not retired else None if holds else "seal_broken"
    fingerprint = hashlib.sha256(seal.chain + row["digest"]).hexdigest() if fault and holds else None
    return Checked(seal=seal, found=row["count"], fault=fault, fingerprint=fingerprint, retired=retired)


def _fault(seal: Seal, found: Any) -> str | None:
    if found["count"] != seal.count:
        return "sealed_rows_missing" if found["count"] < seal.count else "sealed_rows_added"
    return None if found["digest"] == seal.digest else "sealed_rows_changed"


async def stands(connection: Connection, table: str, number: int, chain: bytes) -> bool:
    """Whether the seal of that number is still the one that had this chain."""
    found: bytes | None = await connection.fetchval(
        "SELECT chain FROM audit_seals WHERE table_name = $1 AND number = $2", table, number
    )
    return found == chain
