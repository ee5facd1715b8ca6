"""API keys as they are stored: a keyed hash, and what may be shown of the key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

import asyncpg

from db.database import Connection

_COLUMNS = """partner_id, id, prefix, last4, livemode, scopes::text[] AS scopes, name, created_by, created_at,
    expires_at, last_used_at, revoked_at"""


class KeyScope(StrEnum):
    """The values of the enumeration `key_scope`."""

    TRANSACTIONS_READ = "transactions:read"
    TRANSACTIONS_WRITE = "transactions:write"
    REFUNDS_WRITE = "refunds:write"
    WEBHOOKS_WRITE = "webhooks:write"
    ROUTING_WRITE = "routing:write"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    partner_id: UUID
    id: UUID
    prefix: str
    last4: str
    livemode: bool
    scopes: frozenset[str]
    name: str | None
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    def state(self, now: datetime) -> str:
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at and self.expires_at <= now else "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """A key to store."""

    partner_id: UUID
    id: UUID
    prefix: str
    last4: str
    hash: bytes
    pepper_id: int
    livemode: bool
    scopes: Iterable[str]
    name: str | None
    created_by: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticated:
    """What a presented key says about its bearer."""

    partner_id: UUID
    key_id: UUID
    livemode: bool
    scopes: frozenset[str]
    rate_limit_per_minute: int
    partner_active: bool
    amount_limits: Mapping[str, object]


async def authenticate(connection: Connection, key_hash: bytes) -> Authenticated | None:
    """One round trip, in its own transaction. None for a key that is unknown, revoked or expired."""
    row = await connection.fetchrow(
        """SELECT partner_id, key_id, livemode, scopes::text[] AS scopes, rate_limit_per_minute, partner_active,
                  amount_limits
           FROM authenticate($1)""",
        key_hash,
    )
    return Authenticated(**{**row, "scopes": frozenset(row["scopes"])}) if row else None


async def insert(connection: Connection, key: Fresh) -> ApiKey:
    row = await connection.fetchrow(
        f"""INSERT INTO api_keys (partner_id, id, prefix, last4, hash, pepper_id, livemode, scopes, name, created_by,
                                  expires_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text[]::key_scope[], $9, $10, $11)
            RETURNING {_COLUMNS}""",
        key.partner_id,
        key.id,
        key.prefix,
        key.last4,
        key.hash,
        key.pepper_id,
        key.livemode,
        sorted(key.scopes),
        key.name,
        key.created_by,
        key.expires_at,
    )
    assert row is not None, "INSERT … RETURNING gives one row"
    return _api_key(row)


async def find(connection: Connection, key_id: UUID) -> ApiKey | None:
    row = await connection.fetchrow(f"SELECT {_COLUMNS} FROM api_keys WHERE id = $1", key_id)
    return _api_key(row) if row else None


async def of_partner(connection: Connection, partner_id: UUID) -> list[ApiKey]:
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM api_keys WHERE partner_id = $1 ORDER BY id DESC",
        partner_id,
    )
    return [_api_key(row) for row in rows]


async def revoke(connection: Connection, partner_id: UUID, key_id: UUID) -> bool:
    """Whether it was valid until now."""
    status = await connection.execute(
        "UPDATE api_keys SET revoked_at = now() WHERE partner_id = $1 AND id = $2 AND revoked_at IS NULL",
        partner_id,
        key_id,
    )
    return bool(status == "UPDATE 1")


async def expire_in(connection: Connection, partner_id: UUID, key_id: UUID, delay: timedelta) -> None:
    """At the latest then; an earlier expiry stays."""
    await connection.execute(
        """UPDATE api_keys SET expires_at = least(expires_at, now() + $3::interval)
           WHERE partner_id = $1 AND id = $2""",
        partner_id,
        key_id,
        delay,
    )


def _api_key(row: asyncpg.Record) -> ApiKey:
    return ApiKey(**{**row, "scopes": frozenset(row["scopes"])})
