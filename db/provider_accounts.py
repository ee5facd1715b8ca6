"""Accounts at PSPs: a partner's own, or the platform's, which are open to every partner. Credentials stay sealed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from db import shapes
from db.database import Connection
from db.records import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderAccount:
    """`partner_id` None is the platform's own. Lower `priority` comes first. `version` grows with every change."""

    id: UUID
    partner_id: UUID | None
    provider: str
    livemode: bool
    label: str
    credentials: bytes = field(repr=False)
    """Sealed under `credentials_context(id)`."""
    base_url: str | None
    priority: int
    enabled: bool
    version: int
    created_at: datetime
    fees: Mapping[str, Any] | None = None
    """What the PSP keeps of an approved charge: `percent`, and `fixed` by currency, in decimals as text."""


_COLUMNS = shapes.columns(ProviderAccount)


def credentials_context(account_id: UUID) -> str:
    """What an account's sealed credentials are bound to."""
    return f"provider_accounts.credentials.{account_id}"


async def insert(connection: Connection, account: ProviderAccount) -> None:
    await connection.execute(
        """INSERT INTO provider_accounts (id, partner_id, provider, livemode, label, credentials, base_url, priority,
                                          enabled, version, created_at, fees)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)""",
        *shapes.row(account).values(),
    )


async def find(connection: Connection, account_id: UUID) -> ProviderAccount | None:
    row = await connection.fetchrow(f"SELECT {_COLUMNS} FROM provider_accounts WHERE id = $1", account_id)
    return shapes.read(ProviderAccount, row) if row else None


async def addressed(connection: Connection, account_id: UUID) -> ProviderAccount | None:
    """The account a notification is addressed to: no partner is known yet, and no other row can be seen."""
    await connection.execute("SELECT set_config('app.current_account_id', $1, true)", str(account_id))
    return await find(connection, account_id)


async def all_accounts(connection: Connection, partner_id: UUID | None = None) -> list[ProviderAccount]:
    """Disabled ones too; of one partner, or every one the transaction's identity may see."""
    rows = await connection.fetch(
        f"""SELECT {_COLUMNS} FROM provider_accounts WHERE $1::uuid IS NULL OR partner_id = $1
            ORDER BY provider, priority, id""",
        partner_id,
    )
    return [shapes.read(ProviderAccount, row) for row in rows]


async def page(connection: Connection, *, before: UUID | None, limit: int) -> list[ProviderAccount]:
    """Of every one the transaction's identity may see, the newest first."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM provider_accounts WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2",
        before,
        limit,
    )
    return [shapes.read(ProviderAccount, row) for row in rows]


async def any_live(connection: Connection) -> bool:
    """Of those that the transaction's identity may see."""
    found: bool = await connection.fetchval("SELECT EXISTS (SELECT FROM provider_accounts WHERE livemode AND enabled)")
    return found


async def open_to(connection: Connection, scope: Scope) -> dict[UUID, ProviderAccount]:
    """The accounts that a partner may use in a mode: its own and the platform's, disabled ones too."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM provider_accounts WHERE livemode = $2 AND (partner_id = $1 OR partner_id IS NULL)",
        scope.partner_id,
        scope.livemode,
    )
    return {row["id"]: shapes.read(ProviderAccount, row) for row in rows}


async def move(connection: Connection, account_id: UUID, base_url: str) -> None:
    """Point a test-mode account at another server."""
    await connection.execute(
        "UPDATE provider_accounts SET base_url = $2, version = version + 1"
        " WHERE id = $1 AND NOT livemode AND base_url IS DISTINCT FROM $2",
        account_id,
        base_url,
    )


async def replace_credentials(connection: Connection, account_id: UUID, sealed: bytes) -> None:
    await connection.execute(
        "UPDATE provider_accounts SET credentials = $2, version = version + 1 WHERE id = $1", account_id, sealed
    )


async def set_fees(connection: Connection, account_id: UUID, fees: Mapping[str, Any] | None) -> None:
    await connection.execute(
        "UPDATE provider_accounts SET fees = $2, version = version + 1 WHERE id = $1", account_id, fees
    )


async def disable(connection: Connection, account_id: UUID) -> bool:
    """Whether it was enabled until now."""
    status = await connection.execute(
        "UPDATE provider_accounts SET enabled = false, version = version + 1 WHERE id = $1 AND enabled", account_id
    )
    return bool(status == "UPDATE 1")
