"""Events on their way to partners: publish, claim what is due, record what came of it, and look at both.

    pending ─┬─ claimed (leased) ─┬─ delivered          held ── endpoint enabled ──► pending
             │                    ├─ pending again      cancelled: the endpoint was deleted
             │                    ├─ exhausted
             └────────────────────┴─ held: the endpoint was disabled

A delivery is claimed by raising its epoch; only the holder of that epoch can record. Each claim counts as a try and
sets the next one before anything is sent, so a try that kills its process waits its turn like one that failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from db import endpoints, shapes
from db.database import Connection
from db.records import Delivery, DeliveryAttempt, DeliveryState, Endpoint, PublishedEvent, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDelivery:
    """All that a try needs. `attempts` counts this one; `secrets` are sealed, the newest first."""

    partner_id: UUID
    id: UUID
    endpoint_id: UUID
    epoch: int
    attempts: int
    event_id: UUID
    event_type: str
    livemode: bool
    body: str = field(repr=False)
    url: str
    secrets: Sequence[bytes] = field(repr=False)
    late_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a try. `state` is where the delivery goes; HELD says that the endpoint declared itself gone."""

    partner_id: UUID
    delivery_id: UUID
    epoch: int
    state: DeliveryState
    retry_seconds: float | None
    """Until the next try; set for PENDING alone."""
    counts: bool
    """Whether a failure is the endpoint's. Ours are not charged to it."""
    given_back: bool
    """Nothing left our house: the try is not counted and leaves no attempt in the history."""
    started_at: datetime
    duration_ms: int
    status_code: int | None
    error: str | None
    response_excerpt: str | None


@dataclass(frozen=True, slots=True)
class Recorded:
    fenced: int
    """Results of deliveries that somebody else holds by now; they were not written."""
    disabled: Sequence[Endpoint]
    """Endpoints that these results disabled. Their partners are to be told in the same transaction."""


DISABLE_FAILURES = 10
DISABLE_AFTER = "24 hours"
"""Time and volume: neither a burst during an outage nor one failure a day disables an endpoint."""

ORDER_TRIES = 2
ORDER_WINDOW = "30 seconds"
"""An earlier event of the same transaction goes first to the same endpoint, as long as its first two tries last and
the next of them is under way or this near. After that, or when it was asked to wait longer, the later ones pass it."""

_WINDOW = 8
"""Due rows looked at for each one claimed, so that a full endpoint at the head does not hide the others."""
_DELIVERY = shapes.columns(Delivery)
_ATTEMPT = shapes.columns(DeliveryAttempt)

# The backlog is read along its index until enough is found: where statistics are old, as they are when a backlog grows,
# the planner would rather sort all of it (100,000 due: 1,250 ms instead of 10). And the plan is kept: for partitioned
# tables planning, of the foreign-key checks too, costs as much as running.
_PLANNING = (
    "SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off; SET LOCAL plan_cache_mode = force_generic_plan"
)

# The scalar sub-select keeps the look at earlier events an index probe per row; as NOT EXISTS it would be planned as a
# join over everything pending.
_CLAIM = f"""
WITH busy AS (
    SELECT * FROM unnest($3::uuid[], $4::integer[]) AS b (endpoint_id, in_flight)
), candidates AS MATERIALIZED (
    SELECT d.partner_id, d.id, d.endpoint_id, d.next_attempt_at, d.epoch
    FROM webhook_deliveries d
    WHERE d.state = 'pending' AND d.next_attempt_at <= now() AND (d.lease_until IS NULL OR d.lease_until <= now())
      AND d.endpoint_id <> ALL ($6::uuid[])
      AND NOT coalesce((
          SELECT true FROM webhook_deliveries earlier
          WHERE earlier.partner_id = d.partner_id AND earlier.transaction_id = d.transaction_id
            AND earlier.endpoint_id = d.endpoint_id AND earlier.sequence < d.sequence
            AND earlier.state = 'pending' AND earlier.attempts <= {ORDER_TRIES}
            AND (earlier.lease_until > now() OR earlier.next_attempt_at <= now() + interval '{ORDER_WINDOW}')
          LIMIT 1), false)
    ORDER BY d.next_attempt_at
    LIMIT $1 * {_WINDOW}
), ranked AS (
    SELECT c.*, row_number() OVER (PARTITION BY c.partner_id, c.endpoint_id ORDER BY c.next_attempt_at, c.id) AS place
    FROM candidates c
), taken AS (
    SELECT d.partner_id, d.id, d.next_attempt_at, w.livemode, w.url, array_remove(ARRAY[
               w.secret, CASE WHEN w.previous_secret_expires_at > now() THEN w.previous_secret END], NULL) AS secrets,
           CASE WHEN w.deleted_at IS NOT NULL THEN 'cancelled' WHEN w.state = 'disabled' THEN 'held'
                WHEN d.attempts >= cardinality($7::float8[]) THEN 'exhausted' ELSE 'pending' END AS next_state
    FROM ranked r
    JOIN webhook_deliveries d ON d.partner_id = r.partner_id AND d.id = r.id AND d.epoch = r.epoch
    JOIN webhook_endpoints w ON w.partner_id = r.partner_id AND w.id = r.endpoint_id
    LEFT JOIN busy b ON b.endpoint_id = r.endpoint_id
    WHERE r.place + coalesce(b.in_flight, 0) <= $5 AND d.state = 'pending'
    ORDER BY r.next_attempt_at
    LIMIT $1
    FOR UPDATE OF d SKIP LOCKED
), claimed AS (
    UPDATE webhook_deliveries d SET
        state = t.next_state::delivery_state,
        next_attempt_at = CASE t.next_state WHEN 'pending' THEN
            now() + make_interval(secs => greatest($2::float8, coalesce(($7)[d.attempts + 2], 0))) END,
        lease_until = CASE t.next_state WHEN 'pending' THEN now() + make_interval(secs => $2) END,
        epoch = d.epoch + 1,
        attempts = least(d.attempts + 1, cardinality($7))
    FROM taken t
    WHERE d.partner_id = t.partner_id AND d.id = t.id
    RETURNING d.partner_id, d.id, d.endpoint_id, d.state, d.epoch, d.attempts, d.event_id, d.event_type,
        t.livemode, t.url, t.secrets, extract(epoch FROM now() - t.next_attempt_at)::float8 AS late_seconds
)
SELECT c.*, e.body FROM claimed c
JOIN events e ON e.partner_id = c.partner_id AND e.id = c.event_id
WHERE c.state = 'pending'
ORDER BY c.late_seconds DESC, c.id
"""

# Endpoints are locked first and in one order: whoever moves their deliveries locks them first as well.
_RECORD = f"""
WITH results AS (
    SELECT r.*, d.endpoint_id
    FROM jsonb_to_recordset($1) AS r (partner_id uuid, delivery_id uuid, epoch integer, state delivery_state,
        retry_seconds float8, counts boolean, given_back boolean, started_at timestamptz, duration_ms integer,
        status_code smallint, error text, response_excerpt text)
    JOIN webhook_deliveries d ON d.partner_id = r.partner_id AND d.id = r.delivery_id
), locked AS (
    SELECT w.partner_id, w.id, w.state, w.consecutive_failures, w.failing_since, w.deleted_at
    FROM (SELECT DISTINCT partner_id, endpoint_id FROM results) r
    JOIN webhook_endpoints w ON w.partner_id = r.partner_id AND w.id = r.endpoint_id
    ORDER BY w.partner_id, w.id
    FOR NO KEY UPDATE OF w
), mine AS (
    UPDATE webhook_deliveries d SET
        state = CASE WHEN r.state = 'delivered' OR d.state = 'pending' THEN r.state ELSE d.state END,
        next_attempt_at = CASE WHEN d.state = 'pending' AND r.state = 'pending'
                               THEN now() + make_interval(secs => r.retry_seconds) END,
        attempts = d.attempts - r.given_back::integer,
        lease_until = NULL,
        last_status = r.status_code,
        delivered_at = CASE WHEN r.state = 'delivered' THEN now() ELSE d.delivered_at END
    FROM results r
    JOIN locked l ON l.partner_id = r.partner_id AND l.id = r.endpoint_id
    WHERE d.partner_id = r.partner_id AND d.id = r.delivery_id
      AND d.epoch = r.epoch AND d.lease_until IS NOT NULL
    RETURNING r.*
), history AS (
    INSERT INTO webhook_attempts (partner_id, delivery_id, number, started_at, duration_ms, status_code, error,
                                  response_excerpt)
    SELECT partner_id, delivery_id, epoch, started_at, duration_ms, status_code, error, response_excerpt
    FROM mine WHERE NOT given_back
), tally AS (
    SELECT partner_id, endpoint_id, bool_or(state = 'delivered') AS delivered, bool_or(state = 'held') AS gone,
           count(*) FILTER (WHERE counts AND state <> 'delivered') AS failures
    FROM mine GROUP BY partner_id, endpoint_id
), counted AS (
    SELECT l.partner_id, l.id, t.gone,
           CASE WHEN t.delivered THEN 0 ELSE l.consecutive_failures + t.failures END AS failures,
           CASE WHEN NOT t.delivered THEN coalesce(l.failing_since, now()) END AS failing_since
    FROM tally t
    JOIN locked l ON l.partner_id = t.partner_id AND l.id = t.endpoint_id
    WHERE t.gone OR t.failures > 0 OR (t.delivered AND l.consecutive_failures > 0)
), blamed AS (
    UPDATE webhook_endpoints w SET consecutive_failures = c.failures, failing_since = c.failing_since,
        (state, disabled_reason) = (SELECT
            CASE WHEN reason IS NULL THEN w.state ELSE 'disabled' END, coalesce(reason, w.disabled_reason)
            FROM (SELECT CASE
                WHEN w.state = 'disabled' THEN NULL
                WHEN c.gone THEN 'gone'
                WHEN c.failures >= {DISABLE_FAILURES} AND c.failing_since <= now() - interval '{DISABLE_AFTER}'
                    THEN 'failing'
                END AS reason) AS verdict)
    FROM counted c
    WHERE w.partner_id = c.partner_id AND w.id = c.id
    RETURNING w.partner_id, w.id, w.state
)
SELECT m.partner_id, m.endpoint_id,
       b.state = 'disabled' AND l.state = 'enabled' AND l.deleted_at IS NULL AS disabled
FROM mine m
JOIN locked l ON l.partner_id = m.partner_id AND l.id = m.endpoint_id
LEFT JOIN blamed b ON b.partner_id = m.partner_id AND b.id = m.endpoint_id
"""


async def publish(connection: Connection, event: PublishedEvent) -> None:
    """To every endpoint that asked for it. The transaction goes on as this partner."""
    await connection.execute("SELECT set_config('app.current_partner_id', $1, true)", str(event.partner_id))
    await connection.execute("SELECT publish($1, $2)", event.partner_id, [shapes.row(event)])


async def publish_to(connection: Connection, endpoint_id: UUID, event: PublishedEvent) -> UUID | None:
    """To this endpoint alone, whatever it asked for (`ping`); None where there is no such endpoint."""
    delivery_id: UUID | None = await connection.fetchval(
        "WITH told AS ("
        " INSERT INTO events (partner_id, id, livemode, type, transaction_id, sequence, body, created_at)"
        " SELECT e.partner_id, e.id, e.livemode, e.type, e.transaction_id, e.sequence, e.body, e.created_at"
        " FROM jsonb_populate_record(NULL::events, $2) e JOIN webhook_endpoints w ON w.partner_id = e.partner_id"
        " AND w.id = $1 AND w.livemode = e.livemode AND w.deleted_at IS NULL RETURNING *)"
        " INSERT INTO webhook_deliveries (partner_id, id, endpoint_id, event_id, event_type, state, next_attempt_at,"
        " created_at, updated_at)"
        " SELECT e.partner_id, uuid_v7(), w.id, e.id, e.type,"
        " CASE w.state WHEN 'enabled' THEN 'pending' ELSE 'held' END::delivery_state,"
        " CASE w.state WHEN 'enabled' THEN now() END, e.created_at, e.created_at"
        " FROM told e JOIN webhook_endpoints w ON w.partner_id = e.partner_id AND w.id = $1 RETURNING id",
        endpoint_id,
        shapes.row(event),
    )
    return delivery_id


async def claim(
    connection: Connection,
    *,
    limit: int,
    lease_seconds: float,
    delays_seconds: Sequence[float],
    per_endpoint: int,
    in_flight: Mapping[UUID, int],
) -> list[ClaimedDelivery]:
    """Take due deliveries of all partners, as the worker. Commit before sending.

    `delays_seconds` holds the pause before each try; its length is the number of tries. `in_flight` says how many the
    caller has under way by endpoint, so that none gets more than `per_endpoint`.
    """
    await connection.execute(_PLANNING)
    full = [endpoint_id for endpoint_id, count in in_flight.items() if count >= per_endpoint]
    rows = await connection.fetch(
        _CLAIM,
        limit,
        lease_seconds,
        list(in_flight),
        list(in_flight.values()),
        per_endpoint,
        full,
        delays_seconds,
    )
    return [shapes.read(ClaimedDelivery, row) for row in rows]


async def record(connection: Connection, results: Sequence[Result]) -> Recorded:
    """Write what came of a batch of tries, as the worker. Recording the same result twice changes nothing."""
    await connection.execute(_PLANNING)
    rows = await connection.fetch(_RECORD, [shapes.row(result) for result in results])
    newly = {(row["partner_id"], row["endpoint_id"]) for row in rows if row["disabled"]}
    disabled = [await _settle_disabled(connection, *key) for key in sorted(newly)]
    return Recorded(len(results) - len(rows), disabled)


async def _settle_disabled(connection: Connection, partner_id: UUID, endpoint_id: UUID) -> Endpoint:
    await endpoints.hold_deliveries(connection, partner_id, endpoint_id)
    row = await connection.fetchrow(
        f"SELECT {shapes.columns(Endpoint)} FROM webhook_endpoints WHERE partner_id = $1 AND id = $2",
        partner_id,
        endpoint_id,
    )
    return shapes.read(Endpoint, row)


async def release(connection: Connection, limit: int) -> int:
    """Make due what is held though its endpoint is enabled: a long backlog, or an event published as it was enabled."""
    released = await connection.fetch(
        "UPDATE webhook_deliveries d SET state = 'pending', next_attempt_at = now(), attempts = 0"
        " FROM (SELECT d.partner_id, d.id FROM webhook_deliveries d JOIN webhook_endpoints w"
        "       ON w.partner_id = d.partner_id AND w.id = d.endpoint_id"
        "       WHERE d.state = 'held' AND w.state = 'enabled' AND w.deleted_at IS NULL"
        "       ORDER BY d.id LIMIT $1 FOR UPDATE OF d SKIP LOCKED) held"
        " WHERE d.partner_id = held.partner_id AND d.id = held.id RETURNING 1",
        limit,
    )
    return len(released)


async def backlog(connection: Connection) -> tuple[int, float]:
    """How many deliveries are due, and for how many seconds the oldest has been; as the worker."""
    row: Any = await connection.fetchrow(
        "SELECT count(*) AS due, coalesce(extract(epoch FROM now() - min(next_attempt_at)), 0)::float8 AS age"
        " FROM webhook_deliveries WHERE state = 'pending' AND next_attempt_at <= now()"
    )
    return row["due"], row["age"]


async def page(
    connection: Connection, scope: Scope, endpoint_id: UUID, *, before: UUID | None, limit: int
) -> list[Delivery]:
    """Deliveries to one endpoint, the newest first."""
    rows = await connection.fetch(
        f"SELECT {_DELIVERY} FROM webhook_deliveries d WHERE partner_id = $1 AND endpoint_id = $2"
        " AND ($4::uuid IS NULL OR id < $4) AND EXISTS (SELECT FROM webhook_endpoints w"
        "     WHERE w.partner_id = $1 AND w.id = $2 AND w.livemode = $3 AND w.deleted_at IS NULL)"
        " ORDER BY id DESC LIMIT $5",
        scope.partner_id,
        endpoint_id,
        scope.livemode,
        before,
        limit,
    )
    return [shapes.read(Delivery, row) for row in rows]


async def get(connection: Connection, scope: Scope, delivery_id: UUID) -> Delivery | None:
    row = await connection.fetchrow(
        f"SELECT {_DELIVERY} FROM webhook_deliveries d WHERE partner_id = $1 AND id = $2 AND EXISTS ("
        " SELECT FROM webhook_endpoints w WHERE w.partner_id = $1 AND w.id = d.endpoint_id AND w.livemode = $3)",
        scope.partner_id,
        delivery_id,
        scope.livemode,
    )
    return None if row is None else shapes.read(Delivery, row)


async def attempts(connection: Connection, partner_id: UUID, delivery_id: UUID) -> list[DeliveryAttempt]:
    rows = await connection.fetch(
        f"SELECT {_ATTEMPT} FROM webhook_attempts WHERE partner_id = $1 AND delivery_id = $2 ORDER BY number",
        partner_id,
        delivery_id,
    )
    return [shapes.read(DeliveryAttempt, row) for row in rows]


async def of_transaction(connection: Connection, partner_id: UUID, transaction_id: UUID) -> list[Delivery]:
    rows = await connection.fetch(
        f"SELECT {_DELIVERY} FROM webhook_deliveries WHERE partner_id = $1 AND transaction_id = $2"
        " ORDER BY sequence, id LIMIT 1000",
        partner_id,
        transaction_id,
    )
    return [shapes.read(Delivery, row) for row in rows]


async def retry(connection: Connection, scope: Scope, delivery_id: UUID) -> Delivery | None:
    """Once more, now, with all its tries before it; held while the endpoint is disabled. None where there is none."""
    row = await connection.fetchrow(
        "UPDATE webhook_deliveries d SET attempts = 0, next_attempt_at = CASE w.state WHEN 'enabled' THEN now() END,"
        " state = CASE w.state WHEN 'enabled' THEN 'pending' ELSE 'held' END::delivery_state"
        " FROM webhook_endpoints w WHERE d.partner_id = $1 AND d.id = $2 AND w.partner_id = $1"
        " AND w.id = d.endpoint_id AND w.livemode = $3 AND w.deleted_at IS NULL"
        f" RETURNING {', '.join('d.' + name for name in _DELIVERY.split(', '))}",
        scope.partner_id,
        delivery_id,
        scope.livemode,
    )
    return None if row is None else shapes.read(Delivery, row)
