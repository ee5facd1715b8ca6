"""Replays: a range of events once more to one endpoint, a batch at a time, beside what is delivered live.

    running ─┬─ completed: every event was queued, and every delivery arrived or was given up
             └─ cancelled: by its partner, or because its endpoint was deleted

A batch's deliveries and how far it reached are written in one transaction: a kill neither skips nor doubles an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from db import ids, shapes
from db.database import Connection
from db.records import EndpointState, ReplayState, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """`delivered` and `failed` are counted when it is read."""

    partner_id: UUID
    id: UUID
    livemode: bool
    endpoint_id: UUID
    since: datetime
    until: datetime
    event_types: Sequence[str]
    state: ReplayState
    total: int
    queued: int
    delivered: int
    failed: int
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None


OUTSTANDING_MAX = 100
"""Deliveries of one replay that are queued and not over. The next are queued once half of them are."""
EVENTS_MAX = 1_000_000
"""In one range, of whatever type: they are counted when it is asked for, within the statement timeout."""
NOT_REPLAYED = ("ping", "endpoint.manifest")
"""What was for one endpoint and one moment."""

_SKEW = timedelta(minutes=1)
"""Between an event's time, by which partners choose, and that in its id, by which it is found."""
_REPLAY = shapes.columns(Replay)
_IN_RANGE = (
    "FROM events e WHERE e.partner_id = $1 AND e.livemode = $2 AND e.id > $3 AND e.id < $4"
    " AND e.created_at >= $5 AND e.created_at < $6"
)
_ASKED_FOR = "($7::varchar[] @> ARRAY['*']::varchar[] OR e.type = ANY ($7)) AND e.type <> ALL ($8::varchar[])"
_FOUND = f"SELECT e.id, e.type, e.transaction_id, e.sequence {_IN_RANGE} AND {_ASKED_FOR} ORDER BY e.id LIMIT $9"
_SHOWN = (
    f"SELECT {_REPLAY} FROM webhook_replays r, LATERAL ("
    " SELECT count(*) FILTER (WHERE d.state = 'delivered') AS delivered,"
    "     count(*) FILTER (WHERE d.state = 'exhausted') AS failed FROM webhook_deliveries d"
    " WHERE d.partner_id = r.partner_id AND d.replay_id = r.id) progress"
)


async def count(
    connection: Connection, scope: Scope, *, since: datetime, until: datetime, event_types: Sequence[str], limit: int
) -> int | None:
    """The events that a replay would send; None where the range holds more than `limit`, of whatever type."""
    row: Any = await connection.fetchrow(
        f"SELECT count(*) FILTER (WHERE {_ASKED_FOR}) AS asked_for, count(*) AS found"
        f" FROM (SELECT e.type {_IN_RANGE} ORDER BY e.id LIMIT $9) e",
        *_range(scope, since=since, until=until, event_types=event_types),
        limit + 1,
    )
    return None if row["found"] > limit else row["asked_for"]


async def start(
    connection: Connection,
    scope: Scope,
    replay_id: UUID,
    endpoint_id: UUID,
    *,
    since: datetime,
    until: datetime,
    event_types: Sequence[str],
    total: int,
) -> Replay | None:
    """None where a replay to this endpoint is running."""
    started = await connection.fetchval(
        "INSERT INTO webhook_replays (partner_id, id, livemode, endpoint_id, since, until, event_types, total)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
        " ON CONFLICT (partner_id, endpoint_id) WHERE state = 'running' DO NOTHING RETURNING id",
        scope.partner_id,
        replay_id,
        scope.livemode,
        endpoint_id,
        since,
        until,
        event_types,
        total,
    )
    return None if started is None else await get(connection, scope, replay_id)


async def get(connection: Connection, scope: Scope, replay_id: UUID) -> Replay | None:
    row = await connection.fetchrow(
        f"{_SHOWN} WHERE r.partner_id = $1 AND r.id = $2 AND r.livemode = $3",
        scope.partner_id,
        replay_id,
        scope.livemode,
    )
    return None if row is None else shapes.read(Replay, row)


async def running(connection: Connection, partner_id: UUID, endpoint_id: UUID) -> UUID | None:
    replay_id: UUID | None = await connection.fetchval(
        "SELECT id FROM webhook_replays WHERE partner_id = $1 AND endpoint_id = $2 AND state = 'running'",
        partner_id,
        endpoint_id,
    )
    return replay_id


async def page(
    connection: Connection, partner_id: UUID, endpoint_id: UUID, *, before: UUID | None, limit: int
) -> list[Replay]:
    """Replays to one endpoint, the newest first."""
    rows = await connection.fetch(
        f"{_SHOWN} WHERE r.partner_id = $1 AND r.endpoint_id = $2 AND ($3::uuid IS NULL OR r.id < $3)"
        " ORDER BY r.id DESC LIMIT $4",
        partner_id,
        endpoint_id,
        before,
        limit,
    )
    return [shapes.read(Replay, row) for row in rows]


async def cancel(connection: Connection, scope: Scope, replay_id: UUID) -> Replay | None:
    """What was queued and is not over is cancelled too. One that is over stays as it is; None where there is none."""
    await connection.execute(  # endpoints first, as whoever else moves their deliveries
        "SELECT FROM webhook_endpoints WHERE partner_id = $1 AND id = ("
        " SELECT endpoint_id FROM webhook_replays WHERE partner_id = $1 AND id = $2) FOR NO KEY UPDATE",
        scope.partner_id,
        replay_id,
    )
    cancelled = await connection.fetchval(
        "UPDATE webhook_replays SET state = 'cancelled', finished_at = now()"
        " WHERE partner_id = $1 AND id = $2 AND livemode = $3 AND state = 'running' RETURNING true",
        scope.partner_id,
        replay_id,
        scope.livemode,
    )
    if cancelled:
        await connection.execute(
            "UPDATE webhook_deliveries SET state = 'cancelled', next_attempt_at = NULL"
            " WHERE partner_id = $1 AND replay_id = $2 AND state IN ('pending', 'held')",
            scope.partner_id,
            replay_id,
        )
    return await get(connection, scope, replay_id)


async def all_running(connection: Connection) -> list[tuple[UUID, UUID]]:
    """(partner, replay) of those that run, at most one for each endpoint; as the worker."""
    rows = await connection.fetch("SELECT partner_id, id FROM webhook_replays WHERE state = 'running' ORDER BY id")
    return [(row["partner_id"], row["id"]) for row in rows]


async def advance(connection: Connection, partner_id: UUID, replay_id: UUID) -> int:
    """Queue what the replay has room for, as the worker; the number of deliveries.

    One that another worker is at, or that is over, is passed over. While its endpoint is disabled a replay rests.
    """
    replay = await connection.fetchrow(
        "SELECT r.*, w.state AS endpoint_state, w.deleted_at FROM webhook_replays r JOIN webhook_endpoints w"
        " ON w.partner_id = r.partner_id AND w.id = r.endpoint_id"
        " WHERE r.partner_id = $1 AND r.id = $2 AND r.state = 'running' FOR UPDATE OF r SKIP LOCKED",
        partner_id,
        replay_id,
    )
    if replay is None:
        return 0
    if replay["deleted_at"] is not None:
        await _finish(connection, replay, ReplayState.CANCELLED)
        return 0
    outstanding = await connection.fetchval(
        "SELECT count(*) FROM webhook_deliveries WHERE partner_id = $1 AND replay_id = $2"
        " AND state IN ('pending', 'held')",
        replay["partner_id"],
        replay["id"],
    )
    if replay["reached"] == _end(replay["until"]):
        if outstanding == 0:
            await _finish(connection, replay, ReplayState.COMPLETED)
        return 0
    if replay["endpoint_state"] == EndpointState.DISABLED or outstanding > OUTSTANDING_MAX // 2:
        return 0
    return await _queue(connection, replay, OUTSTANDING_MAX - outstanding)


async def _queue(connection: Connection, replay: Any, room: int) -> int:
    """A batch that is not full was the last: the replay has then reached its end, and nothing is looked for again."""
    scope = Scope(replay["partner_id"], replay["livemode"])
    names = ("since", "until", "event_types")
    queued: int = await connection.fetchval(
        f"WITH batch AS ({_FOUND}), queued AS ("
        " INSERT INTO webhook_deliveries (partner_id, id, endpoint_id, event_id, event_type, transaction_id, sequence,"
        "     replay_id, state, next_attempt_at, created_at, updated_at)"
        " SELECT $1, uuid_v7(), $11, id, type, transaction_id, sequence, $10, 'pending', now(), now(), now() FROM batch"
        " ORDER BY id)"
        " UPDATE webhook_replays r SET queued = r.queued + b.count, total = greatest(r.total, r.queued + b.count),"
        "     reached = CASE WHEN b.count < $9 THEN $4 ELSE b.last END"
        " FROM (SELECT count(*)::integer, (array_agg(id ORDER BY id DESC))[1] AS last FROM batch) b"
        " WHERE r.partner_id = $1 AND r.id = $10 RETURNING b.count",
        *_range(scope, **{name: replay[name] for name in names}, reached=replay["reached"]),
        room,
        replay["id"],
        replay["endpoint_id"],
    )
    return queued


async def _finish(connection: Connection, replay: Any, state: ReplayState) -> None:
    await connection.execute(
        "UPDATE webhook_replays SET state = $3, finished_at = now() WHERE partner_id = $1 AND id = $2",
        replay["partner_id"],
        replay["id"],
        state.value,
    )


def _range(
    scope: Scope, *, since: datetime, until: datetime, event_types: Sequence[str], reached: UUID | None = None
) -> tuple[object, ...]:
    """The first eight arguments of `_FOUND`."""
    begin = reached or ids.earliest(since, shifted=-_SKEW)
    return scope.partner_id, scope.livemode, begin, _end(until), since, until, event_types, NOT_REPLAYED


def _end(until: datetime) -> UUID:
    """After every event of the range: where a replay has reached that, all are queued."""
    return ids.earliest(until, shifted=_SKEW)
