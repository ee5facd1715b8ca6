"""Stored payment methods: a customer's tokens at several PSPs under one id. Tokens are sealed here and opened here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic_core import to_json

from db import customers, shapes
from db.customers import Personal
from db.database import Connection
from db.records import Scope
from db.vault import Vault

RESEALED_AT_ONCE = 1_000
"""Rows read by one statement, within the statement timeout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMethod:
    """Without its tokens: they leave the database for a charge only."""

    partner_id: UUID
    id: UUID
    livemode: bool
    customer_id: UUID | None
    type: str
    providers: Sequence[str]
    brand: str | None
    last4: str | None
    exp_month: int | None
    exp_year: int | None
    country: str | None
    metadata: Mapping[str, str]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """What a charge is made with; `tokens` maps a PSP's name to the token that is valid there only."""

    id: UUID | None = None
    type: str
    tokens: Mapping[str, str] = field(repr=False)
    brand: str | None
    country: str | None
    owner_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a charge names by id; None where there is no such thing, or nothing was named."""

    instrument: Instrument | None = None
    customer_id: UUID | None = None
    personal: Personal = field(default_factory=Personal)


_STORED = shapes.columns(StoredMethod)


async def create(
    connection: Connection, scope: Scope, method_id: UUID, *, tokens: Mapping[str, str], vault: Vault, **members: Any
) -> StoredMethod:
    """`members`: customer_id, type, brand, last4, exp_month, exp_year, country, metadata."""
    given = {
        "partner_id": scope.partner_id,
        "id": method_id,
        "livemode": scope.livemode,
        "providers": sorted(tokens),
        "tokens": vault.seal(to_json(dict(tokens)), _context(scope.partner_id, method_id)),
    } | members
    places = ", ".join(f"${number}" for number in range(1, len(given) + 1))
    row = await connection.fetchrow(
        f"INSERT INTO stored_payment_methods ({', '.join(given)}) VALUES ({places}) RETURNING {_STORED}",
        *given.values(),
    )
    return shapes.read(StoredMethod, row)


async def page(
    connection: Connection, scope: Scope, *, customer_id: UUID | None, before: UUID | None, limit: int
) -> list[StoredMethod]:
    # One statement for each question: a plan that fits both would read every method to find a customer's.
    asked, values = ("", []) if customer_id is None else (" AND customer_id = $5", [customer_id])
    rows = await connection.fetch(
        f"SELECT {_STORED} FROM stored_payment_methods WHERE partner_id = $1 AND livemode = $2 AND deleted_at IS NULL"
        f" AND ($3::uuid IS NULL OR id < $3){asked} ORDER BY id DESC LIMIT $4",
        scope.partner_id,
        scope.livemode,
        before,
        limit,
        *values,
    )
    return [shapes.read(StoredMethod, row) for row in rows]


async def get(connection: Connection, scope: Scope, method_id: UUID) -> StoredMethod | None:
    row = await connection.fetchrow(
        f"SELECT {_STORED} FROM stored_payment_methods"
        " WHERE partner_id = $1 AND id = $2 AND livemode = $3 AND deleted_at IS NULL",
        scope.partner_id,
        method_id,
        scope.livemode,
    )
    return None if row is None else shapes.read(StoredMethod, row)


async def named(
    connection: Connection, scope: Scope, *, method_id: UUID | None, customer_id: UUID | None, vault: Vault
) -> Named:
    """Both in one read. A method names its owner where no customer is named."""
    row: Any = await connection.fetchrow(
        "SELECT m.id, m.type, m.tokens, m.brand, m.country, m.customer_id AS owner_id, c.id AS customer_id, c.personal"
        " FROM (SELECT $3::uuid AS method_id, $4::uuid AS customer_id) asked"
        " LEFT JOIN stored_payment_methods m ON m.partner_id = $1 AND m.id = asked.method_id"
        "  AND m.livemode = $2 AND m.deleted_at IS NULL"
        " LEFT JOIN customers c ON c.partner_id = $1 AND c.id = coalesce(asked.customer_id, m.customer_id)"
        "  AND c.livemode = $2 AND c.deleted_at IS NULL",
        scope.partner_id,
        scope.livemode,
        method_id,
        customer_id,
    )
    return Named(
        instrument=None if row["id"] is None else _instrument(vault, scope.partner_id, row),
        customer_id=row["customer_id"],
        personal=_personal(vault, scope.partner_id, row),
    )


async def erase(connection: Connection, scope: Scope, method_id: UUID) -> bool:
    """The tokens go, the row stays for what was paid with it."""
    erased = await connection.fetchval(
        "UPDATE stored_payment_methods SET deleted_at = now(), tokens = ''"
        " WHERE partner_id = $1 AND id = $2 AND livemode = $3 AND deleted_at IS NULL RETURNING true",
        scope.partner_id,
        method_id,
        scope.livemode,
    )
    return bool(erased)


async def erase_of_customer(connection: Connection, scope: Scope, customer_id: UUID) -> None:
    await connection.execute(
        "UPDATE stored_payment_methods SET deleted_at = now(), tokens = ''"
        " WHERE partner_id = $1 AND customer_id = $2 AND deleted_at IS NULL",
        scope.partner_id,
        customer_id,
    )


async def reseal(connection: Connection, vault: Vault) -> int:
    """Seal with the vault's sealing key what another version sealed, as the operator; how many methods."""
    changed = 0
    while rows := await connection.fetch(
        "SELECT partner_id, id, tokens FROM stored_payment_methods WHERE deleted_at IS NULL"
        " AND get_byte(tokens, 0) <> $1 LIMIT $2 FOR UPDATE",
        vault.sealing,
        RESEALED_AT_ONCE,
    ):
        for partner_id, method_id, sealed in rows:
            context = _context(partner_id, method_id)
            await connection.execute(
                "UPDATE stored_payment_methods SET tokens = $3 WHERE partner_id = $1 AND id = $2",
                partner_id,
                method_id,
                vault.seal(vault.open(sealed, context), context),
            )
        changed += len(rows)
    return changed


def _instrument(vault: Vault, partner_id: UUID, row: Any) -> Instrument:
    return Instrument(
        id=row["id"],
        type=row["type"],
        tokens=json.loads(vault.open(row["tokens"], _context(partner_id, row["id"]))),
        brand=row["brand"],
        country=row["country"],
        owner_id=row["owner_id"],
    )


def _personal(vault: Vault, partner_id: UUID, row: Any) -> Personal:
    if row["customer_id"] is None:
        return Personal()
    return customers.open_personal(vault, row["personal"], partner_id=partner_id, customer_id=row["customer_id"])


def _context(partner_id: UUID, method_id: UUID) -> str:
    return f"stored_payment_methods.tokens/{partner_id}/{method_id}"
