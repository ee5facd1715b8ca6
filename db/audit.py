"""The audit log: who did what to which resource. Written in the transaction of the act itself, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from db import ids, shapes
from db.database import Connection

SKEW = timedelta(hours=1)
"""How far the time in a row's id may lie from its `created_at`, at most: clocks, and a transaction's length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """`changes` holds no secret and no personal datum: the log outlives both."""

    actor: str
    action: str
    resource_type: str
    resource_id: str
    partner_id: UUID | None = None
    ip_address: str | None = None
    user_agent: str | None = None
    request_id: str | None = None
    changes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLog:
    """The same as it was written, at the database's time."""

    id: UUID
    partner_id: UUID | None
    actor: str
    action: str
    resource_type: str
    resource_id: str
    ip_address: str | None
    user_agent: str | None
    request_id: str | None
    changes: Mapping[str, object]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Of the log; None: any."""

    partner_id: UUID | None = None
    actor: str | None = None
    action: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


_COLUMNS = shapes.columns(AuditLog).replace("ip_address", "host(ip_address) AS ip_address")


async def append(connection: Connection, act: Act) -> None:
    await connection.execute(
        """INSERT INTO audit_logs (id, partner_id, actor, action, resource_type, resource_id, ip_address, user_agent,
                                   request_id, changes)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)""",
        ids.new(),
        act.partner_id,
        act.actor,
        act.action,
        act.resource_type,
        act.resource_id,
        act.ip_address,
        act.user_agent,
        act.request_id,
        dict(act.changes),
    )


async def page(connection: Connection, wanted: Wanted, *, before: UUID | None = None, limit: int) -> list[AuditLog]:
    """The newest first, older than the row `before`, over all partners; as an operator."""
    statement, values = question(wanted, before=before, limit=limit)
    return [shapes.read(AuditLog, row) for row in await connection.fetch(statement, *values)]


def question(wanted: Wanted, *, before: UUID | None, limit: int) -> tuple[str, list[object]]:
    """The statement, and its values. What it does not ask about does not stand in it: each has a plan of its own."""
    conditions = {
        "partner_id = ${}": wanted.partner_id,
        "actor = ${}": wanted.actor,
        "action = ${}": wanted.action,
        "resource_type = ${}": wanted.resource_type,
        "resource_id = ${}": wanted.resource_id,
        "created_at >= ${}": wanted.since,
        "created_at < ${}": wanted.until,
        "id >= ${}": wanted.since and ids.earliest(wanted.since, shifted=-SKEW),
        "id < ${}": wanted.until and ids.earliest(wanted.until, shifted=SKEW),
        "id < ${}::uuid": before,
    }
    given = [(text, value) for text, value in conditions.items() if value is not None]
    where = " AND ".join(text.format(place) for place, (text, _) in enumerate(given, 2))
    statement = f"SELECT {_COLUMNS} FROM audit_logs WHERE {where or 'true'} ORDER BY id DESC LIMIT $1"
    return statement, [limit, *(value for _, value in given)]
