"""Charges counted by the hour: the worker counts each hour anew, in full, whose attempts changed since it last looked.

So an hour is right whatever happened in between, and a late outcome is counted in the hour its attempt began in. Longer
spans are added up from their hours, and all partners together: a page over months reads hundreds of rows, no million.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from db import ids, shapes
from db.database import Connection

HOUR = timedelta(hours=1)
BOUNDS_MS = (
    *(50, 100, 150, 200, 300, 400, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 7_500, 10_000, 15_000),
    *(20_000, 30_000),
)
"""Between which durations are counted; `durations` has one place more."""
SPANS = (6, 24)
"""In hours: added up beside the hours themselves."""
STEP = HOUR
"""Of changes counted in one transaction."""
COUNT_SECONDS = 60
"""What one partner's hour may take: a million attempts are counted in some seconds."""
IN_FLIGHT = timedelta(minutes=2)
"""Changes are looked at once more for this long: what was under way then is committed, clocks that differ included."""
_ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)  # midnight, for whole days too


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Charge attempts at a provider that began in the time from `since`."""

    since: datetime
    provider: str
    approved: int
    declined: int
    failed: int
    undecided: int
    amount: Decimal
    """Of what was approved."""
    durations: tuple[int, ...]
    """How many verdicts took how long, between `BOUNDS_MS`; of attempts that the provider decided at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which counts. `partner_id` None: of all partners together."""

    partner_id: UUID | None
    livemode: bool
    hours: int
    """Of the spans to add up: 1, or one of `SPANS`."""
    since: datetime
    until: datetime


# ── The worker counts ───────────────────────────────────────────────────────────────────────────────────────────────

_VERDICT = """CASE
    WHEN a.state = 'succeeded' THEN 'approved'
    WHEN a.state = 'declined' AND a.outcome->>'outcome' IS DISTINCT FROM 'rejected' THEN 'declined'
    WHEN a.state IN ('created', 'sending', 'waiting') THEN 'undecided'
    WHEN a.state = 'cancelled_confirmed' AND a.outcome->>'outcome' IN ('requires_action', 'pending') THEN 'undecided'
    ELSE 'failed' END"""
_PLACE = "width_bucket(extract(epoch FROM a.finished_at - a.created_at)::float8 * 1000, $5::float8[])"
_VERDICTS = ", ".join(
    f"coalesce(sum(count) FILTER (WHERE verdict = '{verdict}'), 0)"
    for verdict in ("approved", "declined", "failed", "undecided")
)
_DURATIONS = ", ".join(f"coalesce(sum(count) FILTER (WHERE place = {place}), 0)" for place in range(len(BOUNDS_MS) + 1))
_KEEP = """
    ON CONFLICT ({key}) DO UPDATE SET
        (approved, declined, failed, undecided, amount, durations) =
        (excluded.approved, excluded.declined, excluded.failed, excluded.undecided, excluded.amount, excluded.durations)
    WHERE (c.approved, c.declined, c.failed, c.undecided, c.amount, c.durations) IS DISTINCT FROM
        (excluded.approved, excluded.declined, excluded.failed, excluded.undecided, excluded.amount, excluded.durations)
"""
_COUNTED = "approved, declined, failed, undecided, amount, durations"
_KEY = "livemode, hours, since, provider, currency"
_INTO_COUNTS = f"INSERT INTO charge_counts AS c (partner_id, {_KEY}, {_COUNTED})"
_KEPT_IN_COUNTS = _KEEP.format(key=f"partner_id, {_KEY}")
_COUNT = f"""{_INTO_COUNTS}
    SELECT $1, livemode, 1, $2, provider, currency, {_VERDICTS},
           coalesce(sum(amount) FILTER (WHERE verdict = 'approved'), 0), ARRAY[{_DURATIONS}]
    FROM (SELECT t.livemode, t.currency, a.provider, {_VERDICT} AS verdict,
                 CASE WHEN a.checks = 0 AND a.state IN ('succeeded', 'declined') THEN {_PLACE} END AS place,
                 count(*) AS count, sum(a.amount) AS amount
          FROM attempts a JOIN transactions t ON t.partner_id = a.partner_id AND t.id = a.transaction_id
          WHERE a.partner_id = $1 AND a.id >= $3 AND a.id < $4 AND a.operation = 'charge'
            AND a.created_at >= $2 AND a.created_at < $2 + interval '1 hour' GROUP BY 1, 2, 3, 4, 5) attempted
    GROUP BY livemode, provider, currency {_KEPT_IN_COUNTS}"""
_DURATIONS_SUMMED = ", ".join(f"sum(durations[{place}])" for place in range(1, len(BOUNDS_MS) + 2))
_SUMS = f"sum(approved), sum(declined), sum(failed), sum(undecided), sum(amount), ARRAY[{_DURATIONS_SUMMED}]"
_ADD_UP = f"""{_INTO_COUNTS}
    SELECT $1, livemode, $2::smallint, $3, provider, currency, {_SUMS}
    FROM charge_counts WHERE partner_id = $1 AND hours = 1 AND since >= $3
        AND since < $3 + make_interval(hours => $2)
    GROUP BY livemode, provider, currency {_KEPT_IN_COUNTS}"""
_TOTAL = f"""INSERT INTO charge_totals AS c ({_KEY}, {_COUNTED})
    SELECT livemode, hours, since, provider, currency, {_SUMS} FROM charge_counts WHERE hours = $1 AND since = $2
    GROUP BY livemode, hours, since, provider, currency {_KEEP.format(key=_KEY)}"""


async def take(connection: Connection) -> tuple[datetime, datetime] | None:
    """From when to when changes are to be counted in this transaction; None where another worker is at it."""
    row = await connection.fetchrow(
        "SELECT until, least(now(), until + $1) AS next FROM charge_counting FOR UPDATE SKIP LOCKED", STEP
    )
    return (row["until"], row["next"]) if row else None


async def changed(connection: Connection, since: datetime, until: datetime) -> dict[UUID, list[datetime]]:
    """By partner, the hours in which an attempt began that changed in this time; as the worker."""
    rows = await connection.fetch(
        "SELECT partner_id, array_agg(DISTINCT date_bin('1 hour', created_at, $3)) AS hours FROM attempts"
        " WHERE operation = 'charge' AND updated_at >= $1 AND updated_at <= $2 GROUP BY partner_id ORDER BY partner_id",
        since - IN_FLIGHT,
        until,
        _ORIGIN,
    )
    return {row["partner_id"]: row["hours"] for row in rows}


async def count(connection: Connection, partner_id: UUID, begins: Iterable[datetime]) -> None:
    """Count these hours in full, and the spans that they lie in. The transaction goes on as this partner."""
    await connection.execute(
        "SELECT set_config('app.current_partner_id', $1, true), set_config('statement_timeout', $2, true)",
        str(partner_id),
        f"{COUNT_SECONDS}s",
    )
    begins = list(begins)
    for begin in begins:
        first, last = ids.earliest(begin - IN_FLIGHT), ids.earliest(begin + HOUR + IN_FLIGHT)
        await connection.execute(_COUNT, partner_id, begin, first, last, BOUNDS_MS, timeout=COUNT_SECONDS)
    for hours in SPANS:
        for begin in _spans(hours, begins):
            await connection.execute(_ADD_UP, partner_id, hours, begin)


async def total(connection: Connection, begins: Iterable[datetime]) -> None:
    """Add up over all partners what was counted of these hours."""
    begins = list(begins)
    for hours in (1, *SPANS):
        for begin in _spans(hours, begins):
            await connection.execute(_TOTAL, hours, begin)


def _spans(hours: int, begins: Iterable[datetime]) -> list[datetime]:
    """The beginnings of the spans that these hours lie in."""
    return sorted({one - (one - _ORIGIN) % (hours * HOUR) for one in begins})


async def reach(connection: Connection, until: datetime) -> None:
    """Changes up to then are counted."""
    await connection.execute("UPDATE charge_counting SET until = $1", until)


# ── The console reads ───────────────────────────────────────────────────────────────────────────────────────────────

_OF_ONE = "charge_counts WHERE partner_id = $1 AND livemode = $2 AND hours = $3 AND since >= $4 AND since < $5"
_OF_ALL = "charge_totals WHERE $1::uuid IS NULL AND livemode = $2 AND hours = $3 AND since >= $4 AND since < $5"


async def counted_until(connection: Connection) -> datetime:
    until: datetime = await connection.fetchval("SELECT until FROM charge_counting")
    return until


async def currencies(connection: Connection, wanted: Wanted) -> list[str]:
    """Those in which charges were attempted, the most used first."""
    rows = await connection.fetch(
        f"SELECT currency FROM {_source(wanted)} GROUP BY currency"
        " ORDER BY sum(approved + declined + failed + undecided) DESC, currency",
        *shapes.row(wanted).values(),
    )
    return [row["currency"] for row in rows]


async def sums(connection: Connection, wanted: Wanted, currency: str, step: timedelta) -> list[Counted]:
    """In steps of whole spans, the oldest first, for each provider that charges of the step were sent to."""
    rows = await connection.fetch(
        f"""SELECT date_bin($7, since, $4) AS since, provider, sum(approved) AS approved, sum(declined) AS declined,
                   sum(failed) AS failed, sum(undecided) AS undecided, sum(amount) AS amount,
                   ARRAY[{_DURATIONS_SUMMED}] AS durations
            FROM {_source(wanted)} AND currency = $6 GROUP BY 1, provider ORDER BY 1, provider""",
        *shapes.row(wanted).values(),
        currency,
        step,
    )
    return [shapes.read(Counted, row) for row in rows]


def _source(wanted: Wanted) -> str:
    return _OF_ALL if wanted.partner_id is None else _OF_ONE
