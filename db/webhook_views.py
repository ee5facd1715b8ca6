"""Webhook endpoints and deliveries as people look at them: by id alone, and over partners where the transaction may.

Row-level security decides whose they are. `partner_id` only says where to look, so that no statement reads more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from db import shapes
from db.database import Connection
from db.records import Delivery, DeliveryState, Endpoint

RECENT = 200
"""Deliveries of an endpoint among which its last success is looked for."""
SCANNED_MAX = 10_000
"""Deliveries that a page looks at for those of one state; where it stops the next page goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointView:
    endpoint: Endpoint
    partner_name: str
    delivered_at: datetime | None
    """The newest among the last `RECENT`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """`until`: where to go on; None after the last page."""

    deliveries: Sequence[Delivery]
    until: UUID | None


_ENDPOINT = ", ".join(f"w.{name}" for name in Endpoint.__slots__)
_DELIVERY = ", ".join(f"d.{name}" for name in Delivery.__slots__)
_VIEW = f"""
    SELECT {_ENDPOINT}, p.name AS partner_name, (
        SELECT max(d.delivered_at) FROM (
            SELECT delivered_at FROM webhook_deliveries
            WHERE partner_id = w.partner_id AND endpoint_id = w.id ORDER BY id DESC LIMIT {RECENT}) d) AS last_success
    FROM webhook_endpoints w JOIN partners p ON p.id = w.partner_id
    WHERE ($1::uuid IS NULL OR w.partner_id = $1) AND w.deleted_at IS NULL"""


async def endpoints(
    connection: Connection, partner_id: UUID | None, *, livemode: bool | None, before: UUID | None, limit: int
) -> list[EndpointView]:
    """The newest first; None: of both modes."""
    rows = await connection.fetch(
        f"{_VIEW} AND ($2::boolean IS NULL OR w.livemode = $2) AND ($3::uuid IS NULL OR w.id < $3)"
        " ORDER BY w.id DESC LIMIT $4",
        partner_id,
        livemode,
        before,
        limit,
    )
    return [_view(row) for row in rows]


async def endpoint(connection: Connection, partner_id: UUID | None, endpoint_id: UUID) -> EndpointView | None:
    row = await connection.fetchrow(f"{_VIEW} AND w.id = $2", partner_id, endpoint_id)
    return None if row is None else _view(row)


async def deliveries(
    connection: Connection, endpoint: Endpoint, state: DeliveryState | None, *, before: UUID | None, limit: int
) -> Page:
    """One endpoint's, the newest first."""
    rows = await connection.fetch(
        f"""WITH newest AS MATERIALIZED (
                SELECT {_DELIVERY} FROM webhook_deliveries d
                WHERE d.partner_id = $1 AND d.endpoint_id = $2 AND ($3::uuid IS NULL OR d.id < $3)
                ORDER BY d.id DESC LIMIT CASE WHEN $4::delivery_state IS NULL THEN $5::integer ELSE $6 END
            ), ends AS (SELECT count(*) AS looked_at, min(id::text)::uuid AS last FROM newest)
            SELECT d.*, e.looked_at, e.last FROM ends e LEFT JOIN LATERAL (
                SELECT * FROM newest WHERE $4 IS NULL OR state = $4 ORDER BY id DESC LIMIT $5) d ON true
            ORDER BY d.id DESC""",
        endpoint.partner_id,
        endpoint.id,
        before,
        state and state.value,
        limit + 1,
        SCANNED_MAX,
    )
    found = [shapes.read(Delivery, row) for row in rows if row["id"] is not None]
    if len(found) > limit:
        return Page(deliveries=found[:limit], until=found[limit - 1].id)
    stopped = state is not None and rows[0]["looked_at"] == SCANNED_MAX
    return Page(deliveries=found, until=rows[0]["last"] if stopped else None)


async def delivery(connection: Connection, partner_id: UUID | None, delivery_id: UUID) -> Delivery | None:
    """By partner, for the index begins with it."""
    row = await connection.fetchrow(
        f"""SELECT {_DELIVERY} FROM partners p CROSS JOIN LATERAL (
                SELECT * FROM webhook_deliveries WHERE partner_id = p.id AND id = $2 LIMIT 1) d
            WHERE $1::uuid IS NULL OR p.id = $1""",
        partner_id,
        delivery_id,
    )
    return None if row is None else shapes.read(Delivery, row)


async def count(connection: Connection, endpoint: Endpoint, state: DeliveryState | None, *, at_most: int) -> int:
    found: int = await connection.fetchval(
        """SELECT count(*) FROM (SELECT FROM webhook_deliveries WHERE partner_id = $1 AND endpoint_id = $2
               AND ($3::delivery_state IS NULL OR state = $3) LIMIT $4) found""",
        endpoint.partner_id,
        endpoint.id,
        state and state.value,
        at_most,
    )
    return found


def _view(row: Any) -> EndpointView:
    found = shapes.read(Endpoint, row)
    return EndpointView(endpoint=found, partner_name=row["partner_name"], delivered_at=row["last_success"])
