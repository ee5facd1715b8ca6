"""Partners: the businesses that call the API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TypedDict, Unpack
from uuid import UUID

import asyncpg

from db import ids
from db.database import Connection

_COLUMNS = """id, name, email, is_active, rate_limit_per_minute, amount_limits, review_above, metadata, created_at,
    updated_at"""


class EmailTaken(Exception):
    """Another partner has this e-mail address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    id: UUID
    name: str
    email: str
    is_active: bool
    rate_limit_per_minute: int
    amount_limits: Mapping[str, Decimal]
    review_above: Mapping[str, Decimal]
    """Currency → amount from which on people look at an unknown outcome after an hour."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime
    updated_at: datetime


class PartnerLimits(TypedDict, total=False):
    rate_limit_per_minute: int
    amount_limits: Mapping[str, Decimal]
    review_above: Mapping[str, Decimal]


async def insert(
    connection: Connection,
    partner_id: UUID,
    *,
    name: str,
    email: str,
    rate_limit_per_minute: int,
    amount_limits: Mapping[str, Decimal],
) -> Partner:
    """Raises `EmailTaken`."""
    try:
        row = await connection.fetchrow(
            f"""INSERT INTO partners (id, name, email, rate_limit_per_minute, amount_limits)
                VALUES ($1, $2, $3, $4, $5) RETURNING {_COLUMNS}""",
            partner_id,
            name,
            email,
            rate_limit_per_minute,
            _texts(amount_limits),
        )
    except asyncpg.UniqueViolationError:
        raise EmailTaken(email) from None
    assert row is not None, "INSERT … RETURNING gives one row"
    return _partner(row)


async def find(connection: Connection, partner_id: UUID) -> Partner | None:
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM partners WHERE id = $1 AND deleted_at IS NULL",
        partner_id,
    )
    return _partner(row) if row else None


async def newest(
    connection: Connection, limit: int, *, before: UUID | None = None, named: str | None = None
) -> list[Partner]:
    """`named`: those whose name or e-mail address holds this, or whose id it is."""
    rows = await connection.fetch(
        f"""SELECT {_COLUMNS} FROM partners WHERE deleted_at IS NULL AND ($2::uuid IS NULL OR id < $2)
              AND ($3::text IS NULL OR id = $4 OR strpos(lower(name), lower($3)) > 0
                   OR strpos(lower(email), lower($3)) > 0)
            ORDER BY id DESC LIMIT $1""",
        limit,
        before,
        named,
        named and ids.decode("prt", named),
    )
    return [_partner(row) for row in rows]


async def all_ids(connection: Connection) -> list[UUID]:
    """Former partners, too: what they did stays."""
    return [row["id"] for row in await connection.fetch("SELECT id FROM partners ORDER BY id")]


async def names(connection: Connection, partner_ids: Iterable[UUID]) -> dict[UUID, str]:
    rows = await connection.fetch("SELECT id, name FROM partners WHERE id = ANY($1)", list(partner_ids))
    return {row["id"]: row["name"] for row in rows}


async def change(connection: Connection, partner_id: UUID, **limits: Unpack[PartnerLimits]) -> Partner | None:
    """What is given; `review_above` is for attempts from now on."""
    values = {name: _texts(given) if isinstance(given, Mapping) else given for name, given in limits.items()}
    row = await connection.fetchrow(
        f"""UPDATE partners SET rate_limit_per_minute = coalesce($2, rate_limit_per_minute),
                   amount_limits = coalesce($3, amount_limits), review_above = coalesce($4, review_above)
            WHERE id = $1 AND deleted_at IS NULL RETURNING {_COLUMNS}""",
        partner_id,
        *(values.get(name) for name in PartnerLimits.__annotations__),
    )
    return _partner(row) if row else None


async def deactivate(connection: Connection, partner_id: UUID) -> bool:
    """Whether it was active until now."""
    status = await connection.execute(
        "UPDATE partners SET is_active = false WHERE id = $1 AND is_active AND deleted_at IS NULL", partner_id
    )
    return bool(status == "UPDATE 1")


def _partner(row: asyncpg.Record) -> Partner:
    amounts = {name: _decimals(row[name]) for name in ("amount_limits", "review_above")}
    return Partner(**{**row, **amounts})


def _texts(amounts: Mapping[str, Decimal]) -> dict[str, str]:
    return {currency: str(amount) for currency, amount in amounts.items()}


def _decimals(amounts: Mapping[str, object]) -> dict[str, Decimal]:
    return {currency: Decimal(str(amount)) for currency, amount in amounts.items()}
