"""Rule sets: versions that never change, and which of them is put to use.

What is live (or shadow) is the word of the lane's last activation. Rolled back, it gives way to the one it `follows`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from db import ids, shapes
from db.database import Connection
from db.records import Scope
from db.routing_records import RoutingLane


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesVersion:
    """`rules` is the document that `gateway.routing.rules` reads."""

    partner_id: UUID
    id: UUID
    livemode: bool
    version: int
    description: str | None
    rules: Sequence[Mapping[str, Any]]
    live: bool
    shadow: bool
    created_by: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """`version` None: no rules from then on."""

    id: UUID
    version: int | None
    follows: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Activated:
    """An activation as people look back at it."""

    id: UUID
    lane: RoutingLane
    version: int | None
    activated_by: str
    activated_at: datetime


_ACTIVATION = shapes.columns(Activation)
_STORED = ", ".join(f"r.{name}" for name in RulesVersion.__slots__ if name not in {*RoutingLane})
_IS = """
    coalesce(r.version = (SELECT x.version FROM routing_activations x
                          WHERE x.partner_id = r.partner_id AND x.livemode = r.livemode AND x.lane = '{lane}'
                          ORDER BY x.id DESC LIMIT 1), false) AS {lane}"""
_SELECT = f"""
    SELECT {_STORED}, {", ".join(_IS.format(lane=lane) for lane in RoutingLane)} FROM routing_rules r
    WHERE r.partner_id = $1 AND r.livemode = $2"""


async def lock(connection: Connection, scope: Scope) -> None:
    """Until the transaction ends nobody else writes or activates rules of this partner and mode."""
    about = f"routing_rules/{scope.partner_id}/{scope.livemode}"
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", about)


async def insert(
    connection: Connection, scope: Scope, *, description: str | None, rules: Sequence[Mapping[str, Any]], by: str
) -> RulesVersion:
    """The next version. Under `lock`."""
    last = await connection.fetchrow(
        "SELECT id, version FROM routing_rules WHERE partner_id = $1 AND livemode = $2 ORDER BY version DESC LIMIT 1",
        scope.partner_id,
        scope.livemode,
    )
    rules_id = ids.after(last["id"] if last else None)
    await connection.execute(
        "INSERT INTO routing_rules (partner_id, id, livemode, version, description, rules, created_by)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        scope.partner_id,
        rules_id,
        scope.livemode,
        last["version"] + 1 if last else 1,
        description,
        list(rules),
        by,
    )
    stored = await find(connection, scope, rules_id)
    assert stored is not None
    return stored


async def page(connection: Connection, scope: Scope, *, before: UUID | None, limit: int) -> list[RulesVersion]:
    """The newest first."""
    rows = await connection.fetch(
        f"{_SELECT} AND ($3::uuid IS NULL OR r.id < $3) ORDER BY r.id DESC LIMIT $4",
        scope.partner_id,
        scope.livemode,
        before,
        limit,
    )
    return [shapes.read(RulesVersion, row) for row in rows]


async def find(connection: Connection, scope: Scope, rules_id: UUID) -> RulesVersion | None:
    row = await connection.fetchrow(f"{_SELECT} AND r.id = $3", scope.partner_id, scope.livemode, rules_id)
    return shapes.read(RulesVersion, row) if row else None


async def of_version(connection: Connection, scope: Scope, version: int) -> RulesVersion | None:
    row = await connection.fetchrow(f"{_SELECT} AND r.version = $3", scope.partner_id, scope.livemode, version)
    return shapes.read(RulesVersion, row) if row else None


async def newest(connection: Connection, scope: Scope, lane: RoutingLane) -> Activation | None:
    """What holds now. A decision based on it is taken under `lock`."""
    row = await connection.fetchrow(
        f"SELECT {_ACTIVATION} FROM routing_activations WHERE partner_id = $1 AND livemode = $2 AND lane = $3"
        " ORDER BY id DESC LIMIT 1",
        scope.partner_id,
        scope.livemode,
        lane,
    )
    return shapes.read(Activation, row) if row else None


async def followed(connection: Connection, scope: Scope, activation: Activation) -> Activation | None:
    """The one that a roll-back returns to."""
    row = await connection.fetchrow(
        f"SELECT {_ACTIVATION} FROM routing_activations WHERE partner_id = $1 AND id = $2",
        scope.partner_id,
        activation.follows,
    )
    return shapes.read(Activation, row) if row else None


async def put(connection: Connection, scope: Scope, activation: Activation, *, lane: RoutingLane, by: str) -> None:
    """From now on this one holds. Under `lock`, with an id after the lane's last: that order decides, and no clock."""
    await connection.execute(
        "INSERT INTO routing_activations (partner_id, id, livemode, lane, version, follows, activated_by)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        scope.partner_id,
        activation.id,
        scope.livemode,
        lane,
        activation.version,
        activation.follows,
        by,
    )


async def history(connection: Connection, scope: Scope, *, limit: int) -> list[Activated]:
    """Of both lanes, the newest first."""
    rows = await connection.fetch(
        f"SELECT {shapes.columns(Activated)} FROM routing_activations WHERE partner_id = $1 AND livemode = $2"
        " ORDER BY id DESC LIMIT $3",
        scope.partner_id,
        scope.livemode,
        limit,
    )
    return [shapes.read(Activated, row) for row in rows]
