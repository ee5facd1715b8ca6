"""The outbox as partners see it: publish events, look at their deliveries, ask for one again.

`db.deliveries` is the worker's side.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from db import shapes
from db.database import Connection
from db.records import Delivery, DeliveryAttempt, PublishedEvent, Scope

_DELIVERY = shapes.columns(Delivery)
_ATTEMPT = shapes.columns(DeliveryAttempt)


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


async def page_of_transaction(
    connection: Connection, partner_id: UUID, transaction_id: UUID, *, before: UUID | None, limit: int
) -> list[Delivery]:
    """A transaction's deliveries to every endpoint, deleted ones too, the newest first."""
    rows = await connection.fetch(
        f"SELECT {_DELIVERY} FROM webhook_deliveries WHERE partner_id = $1 AND transaction_id = $2"
        " AND ($3::uuid IS NULL OR id < $3) ORDER BY id DESC LIMIT $4",
        partner_id,
        transaction_id,
        before,
        limit,
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
