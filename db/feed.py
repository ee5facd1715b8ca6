"""Events as partners read them by polling: in the order of commit, so that a reader never misses one.

Ids and times are taken before COMMIT, so their order is not that in which events come to be seen. A row carries its
transaction's number (`xid`). The order is (xid, id), and what is served ends below the oldest transaction that still
writes: whatever commits later stands after everything that was ever served.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from db.database import Connection
from db.records import Scope

LOOK_MAX = 1_000
"""Events looked at for one page that wants some types only: how many are passed over does not make it slow."""

_BOUND = "feed_position(pg_snapshot_xmin(pg_current_snapshot()))"
_BEGIN = "0"


@dataclass(frozen=True, slots=True)
class Page:
    """`reached` is the last event that was looked at, served or not; None where there was none."""

    bodies: list[str]
    reached: UUID | None
    more: bool


async def position(connection: Connection, scope: Scope, event_id: UUID) -> str | None:
    """Where an event stands, as text; None where the scope has no such event."""
    found: str | None = await connection.fetchval(
        "SELECT xid::text FROM events WHERE partner_id = $1 AND id = $2 AND livemode = $3",
        scope.partner_id,
        event_id,
        scope.livemode,
    )
    return found


async def page(
    connection: Connection, scope: Scope, *, after: tuple[str, UUID] | None, types: Collection[str], limit: int
) -> Page:
    """Up to `limit` events behind the position and id `after`, the oldest first; of these types, where any are named.

    A page that names types may be empty though there are more.
    """
    xid, last = after or (_BEGIN, UUID(int=0))
    rows = await connection.fetch(
        "SELECT e.id, CASE WHEN $5::text[] = '{}' OR e.type = ANY ($5) THEN e.body END AS body FROM events e"
        " WHERE e.partner_id = $1 AND e.livemode = $2 AND (e.xid, e.id) > ($3::text::xid8, $4::uuid)"
        f" AND e.xid < {_BOUND} ORDER BY e.xid, e.id LIMIT $6",
        scope.partner_id,
        scope.livemode,
        xid,
        last,
        list(types),
        (LOOK_MAX if types else limit) + 1,
    )
    looked = rows[: LOOK_MAX if types else limit]
    wanted = [number for number, row in enumerate(looked, 1) if row["body"] is not None][:limit]
    if len(wanted) == limit:
        looked = looked[: wanted[-1]]
    bodies = [row["body"] for row in looked if row["body"] is not None]
    return Page(bodies, looked[-1]["id"] if looked else None, len(rows) > len(looked))


async def latest(connection: Connection, scope: Scope) -> UUID | None:
    """The last event that is served by now."""
    found: UUID | None = await connection.fetchval(
        f"SELECT e.id FROM events e WHERE e.partner_id = $1 AND e.livemode = $2 AND e.xid < {_BOUND}"
        " ORDER BY e.xid DESC, e.id DESC LIMIT 1",
        scope.partner_id,
        scope.livemode,
    )
    return found


async def body(connection: Connection, scope: Scope, event_id: UUID) -> str | None:
    """As it is signed and sent."""
    found: str | None = await connection.fetchval(
        "SELECT body FROM events WHERE partner_id = $1 AND id = $2 AND livemode = $3",
        scope.partner_id,
        event_id,
        scope.livemode,
    )
    return found


async def moved(connection: Connection) -> bool:
    """Whether this database came from another server, whose transaction numbers were others, and is not settled yet.

    What is written in that state would stand before what was served long ago.
    """
    told: bool = await connection.fetchval("SELECT feed_moved()")
    return told


async def lag_seconds(connection: Connection) -> float:
    """For how long the oldest event not served has waited for a transaction that still writes; as worker or operator.

    Goes from partner to partner along the index: two looks at it for each one and mode.
    """
    lag: float = await connection.fetchval(_LAG)
    return max(lag, 0.0)


_LAG = f"""
WITH RECURSIVE told AS (
    (SELECT partner_id, livemode FROM events ORDER BY partner_id, livemode LIMIT 1)
    UNION ALL
    SELECT next.* FROM told CROSS JOIN LATERAL (
        SELECT e.partner_id, e.livemode FROM events e
        WHERE (e.partner_id, e.livemode) > (told.partner_id, told.livemode)
        ORDER BY e.partner_id, e.livemode LIMIT 1) next
)
SELECT coalesce(extract(epoch FROM clock_timestamp() - min(held.created_at)), 0)::float8
FROM told CROSS JOIN LATERAL (
    SELECT e.created_at FROM events e
    WHERE e.partner_id = told.partner_id AND e.livemode = told.livemode AND e.xid >= {_BOUND}
    ORDER BY e.xid, e.id LIMIT 1) held
"""
