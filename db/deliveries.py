"""Deliveries on the worker's side: find what is due, claim it, record what came of it.

    pending ─┬─ claimed (leased) ─┬─ delivered          held ── endpoint enabled ──► pending
             │                    ├─ pending again        └─ probed: the endpoint is enabled if it is delivered
             │                    ├─ exhausted
             └────────────────────┴─ held: the endpoint was disabled       cancelled: the endpoint was deleted

A delivery is claimed by raising its epoch; only the holder of that epoch can record. Each claim counts as a try and
sets the next one before anything is sent, so a try that kills its process waits its turn like one that failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from db import endpoints, shapes
from db.database import Connection
from db.records import DeliveryState, Endpoint, EndpointState


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDelivery:
    """All that a try needs. `attempts` counts this one; `secrets`, the newest first, and `headers` are sealed."""

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
    headers: bytes | None = field(repr=False)
    ed25519: bool
    late_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What is due for one endpoint: what happens now, or what is sent once more by a replay."""

    partner_id: UUID
    endpoint_id: UUID
    replayed: bool
    failures: int
    """Of the endpoint, in a row."""


@dataclass(frozen=True, slots=True)
class Places:
    """How many deliveries may be claimed of a queue."""

    queue: Queue
    count: int


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
    changed: Sequence[Endpoint]
    """Endpoints that these results disabled or enabled. Their partners are to be told in the same transaction."""


DISABLE_FAILURES = 10
DISABLE_AFTER = "24 hours"
"""Time and volume: neither a burst during an outage nor one failure a day disables an endpoint."""

PROBE_FIRST, PROBE_LAST = "1 hour", "24 hours"
"""An endpoint disabled for failing is tried once after the first, then after pauses that double up to the last."""

BURST_SECONDS = 0.1
"""How far ahead of its rate an endpoint may be sent to: one try, or what this allows."""

ORDER_TRIES = 2
ORDER_WINDOW = "30 seconds"
"""An earlier event of the same transaction goes first to the same endpoint, as long as its first two tries last and
the next of them is under way or this near. After that, or when it was asked to wait longer, the later ones pass it."""

_SECRETS = (
    "array_remove(ARRAY[w.secret, CASE WHEN w.previous_secret_expires_at > now() THEN w.previous_secret END], NULL)"
)

# Queues are read along their index: where statistics are old, as they are when a backlog grows, the planner would
# rather sort all of it. And the plan is kept: for partitioned tables planning, of the foreign-key checks too, costs as
# much as running.
PLANNING = (
    "SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off; SET LOCAL plan_cache_mode = force_generic_plan"
)

# From queue to queue: one look at the index for each, however long they are.
_WAITING = """
WITH RECURSIVE queues AS (
    (SELECT partner_id, endpoint_id, replay_id IS NOT NULL AS replayed, next_attempt_at FROM webhook_deliveries
     WHERE state = 'pending'
     ORDER BY partner_id, endpoint_id, (replay_id IS NOT NULL), next_attempt_at LIMIT 1)
    UNION ALL
    SELECT following.* FROM queues q CROSS JOIN LATERAL (
        SELECT partner_id, endpoint_id, replay_id IS NOT NULL AS replayed, next_attempt_at FROM webhook_deliveries
        WHERE state = 'pending'
          AND (partner_id, endpoint_id, (replay_id IS NOT NULL)) > (q.partner_id, q.endpoint_id, q.replayed)
        ORDER BY partner_id, endpoint_id, (replay_id IS NOT NULL), next_attempt_at LIMIT 1) following
)
SELECT q.partner_id, q.endpoint_id, q.replayed, w.consecutive_failures AS failures
FROM queues q JOIN webhook_endpoints w ON w.partner_id = q.partner_id AND w.id = q.endpoint_id
WHERE q.next_attempt_at <= now()
"""

# An endpoint with a rate limit is locked, so that all workers together keep to it (GCRA: `paced_until` runs ahead of
# the clock with what was claimed). The scalar sub-select keeps the look at earlier events an index probe per row; as
# NOT EXISTS it would be planned as a join over everything pending. For the same reason single rows are told to be
# pending by their `next_attempt_at`: `state` would invite the queue's index.
_CLAIM = f"""
WITH asked AS (
    SELECT * FROM unnest($3::uuid[], $4::uuid[], $5::boolean[], $6::integer[])
        AS a (partner_id, endpoint_id, replayed, places)
), paced AS MATERIALIZED (
    SELECT w.partner_id, w.id, w.rate_limit_per_second AS rate, greatest(w.paced_until, now()) AS paced_until
    FROM webhook_endpoints w
    WHERE w.rate_limit_per_second IS NOT NULL
      AND (w.partner_id, w.id) IN (SELECT partner_id, endpoint_id FROM asked)
    FOR NO KEY UPDATE SKIP LOCKED
), allowed AS (
    SELECT a.partner_id, a.endpoint_id, a.replayed, CASE
        WHEN w.rate_limit_per_second IS NULL THEN a.places
        WHEN p.id IS NULL THEN 0  -- another worker is at it
        ELSE least(a.places, greatest(0, floor(p.rate * (
            greatest(1.0 / p.rate, {BURST_SECONDS}) - extract(epoch FROM p.paced_until - now())))
            - coalesce(sum(a.places) OVER (PARTITION BY a.partner_id, a.endpoint_id ORDER BY a.replayed
                                           ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)))::integer
        END AS places
    FROM asked a
    JOIN webhook_endpoints w ON w.partner_id = a.partner_id AND w.id = a.endpoint_id
    LEFT JOIN paced p ON p.partner_id = a.partner_id AND p.id = a.endpoint_id
), candidates AS MATERIALIZED (
    SELECT a.partner_id, a.endpoint_id, c.id, c.epoch, c.next_attempt_at,
           row_number() OVER (PARTITION BY a.partner_id, a.endpoint_id
                              ORDER BY a.replayed, c.next_attempt_at, c.id) AS place
    FROM allowed a CROSS JOIN LATERAL (
        SELECT d.id, d.epoch, d.next_attempt_at
        FROM webhook_deliveries d
        WHERE d.state = 'pending' AND d.partner_id = a.partner_id AND d.endpoint_id = a.endpoint_id
          AND (d.replay_id IS NOT NULL) = a.replayed
          AND d.next_attempt_at <= now() AND (d.lease_until IS NULL OR d.lease_until <= now())
          AND NOT coalesce((
              SELECT true FROM webhook_deliveries earlier
              WHERE earlier.partner_id = d.partner_id AND earlier.transaction_id = d.transaction_id
                AND earlier.endpoint_id = d.endpoint_id AND earlier.sequence < d.sequence
                AND earlier.replay_id IS NOT DISTINCT FROM d.replay_id
                AND earlier.next_attempt_at IS NOT NULL AND earlier.attempts <= {ORDER_TRIES}
                AND (earlier.lease_until > now() OR earlier.next_attempt_at <= now() + interval '{ORDER_WINDOW}')
              LIMIT 1), false)
        ORDER BY d.next_attempt_at
        LIMIT a.places) c
), taken AS (
    SELECT c.partner_id, c.id, c.endpoint_id, c.next_attempt_at,
           w.livemode, w.url, w.headers, w.ed25519, {_SECRETS} AS secrets,
           CASE WHEN w.deleted_at IS NOT NULL THEN 'cancelled' WHEN w.state = 'disabled' THEN 'held'
                WHEN locked.attempts >= cardinality($7::float8[]) THEN 'exhausted' ELSE 'pending' END AS next_state
    FROM (SELECT * FROM candidates ORDER BY place, next_attempt_at LIMIT $1) c
    CROSS JOIN LATERAL (
        SELECT d.attempts FROM webhook_deliveries d
        WHERE d.partner_id = c.partner_id AND d.id = c.id AND d.epoch = c.epoch AND d.next_attempt_at IS NOT NULL
        FOR UPDATE SKIP LOCKED) locked
    JOIN webhook_endpoints w ON w.partner_id = c.partner_id AND w.id = c.endpoint_id
), claimed AS (
    UPDATE webhook_deliveries d SET
        state = t.next_state::delivery_state,
        next_attempt_at = CASE t.next_state WHEN 'pending' THEN
            now() + make_interval(secs => greatest($2::float8, coalesce(($7)[d.attempts + 2], 0))) END,
        lease_until = CASE t.next_state WHEN 'pending' THEN now() + make_interval(secs => $2) END,
        epoch = d.epoch + 1,
        attempts = least(d.attempts + 1, cardinality($7))
    FROM taken t
    WHERE d.partner_id = t.partner_id AND d.id = t.id AND d.endpoint_id = t.endpoint_id
    RETURNING d.partner_id, d.id, d.endpoint_id, d.state, d.epoch, d.attempts, d.event_id, d.event_type,
        t.livemode, t.url, t.headers, t.ed25519, t.secrets,
        extract(epoch FROM now() - t.next_attempt_at)::float8 AS late_seconds
), spent AS (
    UPDATE webhook_endpoints w SET paced_until = p.paced_until + make_interval(secs => c.tries / p.rate::float8)
    FROM paced p
    JOIN (SELECT partner_id, endpoint_id, count(*) AS tries FROM claimed WHERE state = 'pending' GROUP BY 1, 2) c
        ON c.partner_id = p.partner_id AND c.endpoint_id = p.id
    WHERE w.partner_id = p.partner_id AND w.id = p.id
)
SELECT c.*, e.body FROM claimed c
JOIN events e ON e.partner_id = c.partner_id AND e.id = c.event_id
WHERE c.state = 'pending'
ORDER BY c.late_seconds DESC, c.id
"""

# The oldest of what an endpoint is held for, to see whether the endpoint is back. It stays held unless it is delivered.
_PROBE = f"""
WITH due AS (
    UPDATE webhook_endpoints w SET probes = w.probes + 1,
        probe_at = now() + least(interval '{PROBE_FIRST}' * power(2, least(w.probes, 10)), interval '{PROBE_LAST}')
    FROM (SELECT partner_id, id FROM webhook_endpoints
          WHERE probe_at <= now() AND state = 'disabled' AND deleted_at IS NULL
          ORDER BY probe_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED) d
    WHERE w.partner_id = d.partner_id AND w.id = d.id
    RETURNING w.partner_id, w.id, w.livemode, w.url, w.headers, w.ed25519, {_SECRETS} AS secrets
), claimed AS (
    UPDATE webhook_deliveries d SET epoch = d.epoch + 1, attempts = d.attempts + 1,
        lease_until = now() + make_interval(secs => $2)
    FROM due CROSS JOIN LATERAL (
        SELECT h.id FROM webhook_deliveries h
        WHERE h.partner_id = due.partner_id AND h.endpoint_id = due.id AND h.state = 'held'
          AND (h.lease_until IS NULL OR h.lease_until <= now())
        ORDER BY h.id LIMIT 1) oldest
    WHERE d.partner_id = due.partner_id AND d.id = oldest.id AND d.state = 'held'
    RETURNING d.partner_id, d.id, d.endpoint_id, d.epoch, d.attempts, d.event_id, d.event_type, due.livemode, due.url,
        due.headers, due.ed25519, due.secrets, extract(epoch FROM now() - d.created_at)::float8 AS late_seconds
)
SELECT c.*, e.body FROM claimed c JOIN events e ON e.partner_id = c.partner_id AND e.id = c.event_id
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
    SELECT l.partner_id, l.id, t.gone, t.delivered,
           CASE WHEN t.delivered THEN 0 ELSE l.consecutive_failures + t.failures END AS failures,
           CASE WHEN NOT t.delivered THEN coalesce(l.failing_since, now()) END AS failing_since
    FROM tally t
    JOIN locked l ON l.partner_id = t.partner_id AND l.id = t.endpoint_id
    WHERE t.gone OR t.failures > 0 OR (t.delivered AND l.consecutive_failures > 0)
), blamed AS (
    UPDATE webhook_endpoints w SET consecutive_failures = c.failures, failing_since = c.failing_since,
        (state, disabled_reason, probe_at, probes) = (SELECT v.* FROM (VALUES
            (w.state = 'enabled' AND c.gone, 'disabled'::endpoint_state, 'gone', NULL, 0),
            (w.state = 'enabled' AND c.failures >= {DISABLE_FAILURES}
                AND c.failing_since <= now() - interval '{DISABLE_AFTER}',
             'disabled', 'failing', now() + interval '{PROBE_FIRST}', 0),
            (w.disabled_reason = 'failing' AND c.delivered, 'enabled', NULL, NULL, 0),
            (true, w.state, w.disabled_reason, w.probe_at, w.probes)
        ) AS verdicts (holds, state, disabled_reason, probe_at, probes)
        CROSS JOIN LATERAL (SELECT verdicts.state, verdicts.disabled_reason, verdicts.probe_at, verdicts.probes) v
        WHERE verdicts.holds LIMIT 1)
    FROM counted c
    WHERE w.partner_id = c.partner_id AND w.id = c.id
    RETURNING w.partner_id, w.id, w.state
)
SELECT m.partner_id, m.endpoint_id, b.state <> l.state AND l.deleted_at IS NULL AS changed
FROM mine m
JOIN locked l ON l.partner_id = m.partner_id AND l.id = m.endpoint_id
LEFT JOIN blamed b ON b.partner_id = m.partner_id AND b.id = m.endpoint_id
"""


_RELEASE = """
WITH RECURSIVE queues AS (
    (SELECT partner_id, endpoint_id FROM webhook_deliveries WHERE state = 'held'
     ORDER BY partner_id, endpoint_id LIMIT 1)
    UNION ALL
    SELECT following.* FROM queues q CROSS JOIN LATERAL (
        SELECT partner_id, endpoint_id FROM webhook_deliveries
        WHERE state = 'held' AND (partner_id, endpoint_id) > (q.partner_id, q.endpoint_id)
        ORDER BY partner_id, endpoint_id LIMIT 1) following
), freed AS (
    SELECT h.partner_id, h.id FROM queues q
    JOIN webhook_endpoints w ON w.partner_id = q.partner_id AND w.id = q.endpoint_id
    CROSS JOIN LATERAL (
        SELECT d.partner_id, d.id FROM webhook_deliveries d
        WHERE d.state = 'held' AND d.partner_id = q.partner_id AND d.endpoint_id = q.endpoint_id
        ORDER BY d.id LIMIT $1 FOR UPDATE SKIP LOCKED) h
    WHERE w.state = 'enabled' AND w.deleted_at IS NULL
    LIMIT $1
)
UPDATE webhook_deliveries d SET state = 'pending', next_attempt_at = now(), attempts = 0
FROM freed WHERE d.partner_id = freed.partner_id AND d.id = freed.id
RETURNING 1
"""


async def waiting(connection: Connection) -> list[Queue]:
    """Every queue with something due, as the worker."""
    return [shapes.read(Queue, row) for row in await connection.fetch(_WAITING)]


async def claim(
    connection: Connection,
    shares: Sequence[Places],
    *,
    limit: int,
    lease_seconds: float,
    delays_seconds: Sequence[float],
) -> list[ClaimedDelivery]:
    """Take due deliveries, as the worker: the first of each queue, then the second of each … Commit before sending.

    `delays_seconds` holds the pause before each try; its length is the number of tries.
    """
    rows = await connection.fetch(
        _CLAIM,
        limit,
        lease_seconds,
        [share.queue.partner_id for share in shares],
        [share.queue.endpoint_id for share in shares],
        [share.queue.replayed for share in shares],
        [share.count for share in shares],
        delays_seconds,
    )
    return [shapes.read(ClaimedDelivery, row) for row in rows]


async def probe(connection: Connection, *, limit: int, lease_seconds: float) -> list[ClaimedDelivery]:
    """One held delivery of each endpoint that failed until it was disabled and is to be tried again."""
    return [shapes.read(ClaimedDelivery, row) for row in await connection.fetch(_PROBE, limit, lease_seconds)]


async def record(connection: Connection, results: Sequence[Result]) -> Recorded:
    """Write what came of a batch of tries, as the worker. Recording the same result twice changes nothing."""
    rows = await connection.fetch(_RECORD, [shapes.row(result) for result in results])
    changed = {(row["partner_id"], row["endpoint_id"]) for row in rows if row["changed"]}
    return Recorded(len(results) - len(rows), [await _settle(connection, *key) for key in sorted(changed)])


async def _settle(connection: Connection, partner_id: UUID, endpoint_id: UUID) -> Endpoint:
    """What waits for an endpoint that was disabled is held; what was held for one that is enabled is released later."""
    row = await connection.fetchrow(
        f"SELECT {shapes.columns(Endpoint)} FROM webhook_endpoints WHERE partner_id = $1 AND id = $2",
        partner_id,
        endpoint_id,
    )
    endpoint = shapes.read(Endpoint, row)
    if endpoint.state is EndpointState.DISABLED:
        await endpoints.hold_deliveries(connection, partner_id, endpoint_id)
    return endpoint


async def release(connection: Connection, limit: int) -> int:
    """Make due what is held though its endpoint is enabled: a long backlog, or an event published as it was enabled."""
    return len(await connection.fetch(_RELEASE, limit))
