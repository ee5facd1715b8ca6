"""Manifests: how many events of a day an endpoint was to be sent, and the digest of their ids. Written once, in order.

An event is of the day (UTC) that its timestamp names, and counts for the endpoints it was published to. What a replay
sent again does not count, nor what no replay could bring.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from db import ids, replays, shapes
from db.database import Connection
from db.records import PublishedEvent, Scope

EVENT_TYPE = "endpoint.manifest"
ALGORITHM = "sha256"
LATE = timedelta(hours=2)
"""After its end a day is closed. Nothing of it is written by then: a statement may take 5 seconds, a lease 45."""
FETCHED = 1_000
"""Ids read at once: their digest keeps the process from other work for some milliseconds."""
_LOCK = 0x6D61_6E69
"""Advisory lock ("mani"): an endpoint's manifests are written by one worker at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """`event_id` names the event that told it, at `created_at`."""

    partner_id: UUID
    endpoint_id: UUID
    day: date
    count: int
    digest: bytes
    event_id: UUID
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """An endpoint whose manifest of `day` is the next to be written."""

    partner_id: UUID
    endpoint_id: UUID
    livemode: bool
    day: date


_MANIFEST = shapes.columns(Manifest)
_NEXT_DAY = (
    "coalesce((SELECT m.day + 1 FROM webhook_manifests m WHERE m.partner_id = w.partner_id AND m.endpoint_id = w.id"
    " ORDER BY m.day DESC LIMIT 1), (w.created_at AT TIME ZONE 'UTC')::date)"
)


def last_closed(now: datetime) -> date:
    """The last day that is to be closed by now."""
    return (now.astimezone(UTC) - LATE).date() - timedelta(days=1)


async def due(connection: Connection, until: date, *, after: Due | None, limit: int) -> list[Due]:
    """Endpoints that lack manifests of days up to `until`, in the order of their ids after `after`; as the worker."""
    rows = await connection.fetch(
        "SELECT * FROM (SELECT w.partner_id, w.id AS endpoint_id, w.livemode,"
        f"     {_NEXT_DAY} AS day FROM webhook_endpoints w WHERE w.deleted_at IS NULL"
        "     AND ($2::uuid IS NULL OR (w.partner_id, w.id) > ($2, $3))) lacking"
        " WHERE day <= $1 ORDER BY partner_id, endpoint_id LIMIT $4",
        until,
        after and after.partner_id,
        after and after.endpoint_id,
        limit,
    )
    return [shapes.read(Due, row) for row in rows]


async def take(connection: Connection, one: Due) -> bool:
    """Whether the day is this transaction's to close: no other worker is at it or has done it."""
    if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1, hashtext($2))", _LOCK, str(one.endpoint_id)):
        return False
    still: bool = await connection.fetchval(  # a statement of its own, to see what was committed before the lock
        f"SELECT EXISTS (SELECT FROM webhook_endpoints w WHERE w.partner_id = $1 AND w.id = $2 AND {_NEXT_DAY} = $3)",
        one.partner_id,
        one.endpoint_id,
        one.day,
    )
    return still


async def count(connection: Connection, one: Due) -> tuple[int, bytes]:
    """The number of the day's events, and SHA-256 over their ids as text, sorted, each with a line end behind it."""
    begin = datetime.combine(one.day, time(), UTC)
    end = begin + timedelta(days=1)
    await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
    await connection.execute(
        "DECLARE members NO SCROLL CURSOR FOR SELECT event_id FROM webhook_deliveries"
        " WHERE partner_id = $1 AND endpoint_id = $2 AND id >= $3 AND id < $4 AND created_at >= $5 AND created_at < $6"
        " AND replay_id IS NULL AND event_type <> ALL ($7) ORDER BY event_id",
        one.partner_id,
        one.endpoint_id,
        ids.earliest(begin - LATE),
        ids.earliest(end + LATE),
        begin,
        end,
        replays.NOT_REPLAYED,
    )
    counted, digest = 0, hashlib.sha256()
    while found := await connection.fetch(f"FETCH {FETCHED} FROM members"):
        counted += len(found)
        digest.update("".join(f"{ids.encode('evt', row['event_id'])}\n" for row in found).encode())
    await connection.execute("CLOSE members")
    return counted, digest.digest()


async def write(connection: Connection, manifest: Manifest, event: PublishedEvent) -> bool:
    """The row and the event that tells it, to the endpoint if it asked for such; False where the endpoint is deleted.

    The transaction goes on as this partner.
    """
    await connection.execute("SELECT set_config('app.current_partner_id', $1, true)", str(manifest.partner_id))
    written = await connection.fetchval(
        "WITH told AS ("
        " INSERT INTO events (partner_id, id, livemode, type, body, created_at)"
        " SELECT e.partner_id, e.id, e.livemode, e.type, e.body, e.created_at"
        " FROM jsonb_populate_record(NULL::events, $1) e JOIN webhook_endpoints w ON w.partner_id = e.partner_id"
        " AND w.id = $2 AND w.deleted_at IS NULL RETURNING *"
        "), sent AS ("
        " INSERT INTO webhook_deliveries (partner_id, id, endpoint_id, event_id, event_type, state, next_attempt_at,"
        "     created_at, updated_at)"
        " SELECT e.partner_id, uuid_v7(), w.id, e.id, e.type,"
        "     CASE w.state WHEN 'enabled' THEN 'pending' ELSE 'held' END::delivery_state,"
        "     CASE w.state WHEN 'enabled' THEN now() END, e.created_at, e.created_at"
        " FROM told e JOIN webhook_endpoints w ON w.partner_id = e.partner_id AND w.id = $2"
        "     AND (w.event_types @> ARRAY['*']::varchar[] OR e.type = ANY (w.event_types))"
        ") INSERT INTO webhook_manifests (partner_id, endpoint_id, day, count, digest, event_id, created_at)"
        " SELECT e.partner_id, $2, $3, $4, $5, e.id, e.created_at FROM told e RETURNING true",
        shapes.row(event),
        manifest.endpoint_id,
        manifest.day,
        manifest.count,
        manifest.digest,
    )
    return bool(written)


async def page(
    connection: Connection, scope: Scope, endpoint_id: UUID, *, before: UUID | None, limit: int
) -> list[Manifest]:
    """An endpoint's manifests, the newest first; `before` is the `event_id` of one of them."""
    rows = await connection.fetch(
        f"SELECT {_MANIFEST} FROM webhook_manifests WHERE partner_id = $1 AND endpoint_id = $2 AND ($3::uuid IS NULL"
        " OR day < (SELECT day FROM webhook_manifests WHERE partner_id = $1 AND endpoint_id = $2 AND event_id = $3))"
        " ORDER BY day DESC LIMIT $4",
        scope.partner_id,
        endpoint_id,
        before,
        limit,
    )
    return [shapes.read(Manifest, row) for row in rows]
