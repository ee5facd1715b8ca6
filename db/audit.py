"""The audit log: who did what to which resource. Written in the transaction of the act itself, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from db import ids
from db.database import Connection


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
    """The same as a row, for `journal_write`."""

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
