"""A partner's customers. Personal data is sealed here and opened here; a keyed hash finds one by exact e-mail."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic_core import to_json

from db.database import Connection
from db.records import Scope
from db.vault import Vault

RESEALED_AT_ONCE = 1_000
"""Rows read by one statement, within the statement timeout."""
_COLUMNS = "partner_id, id, livemode, personal, reference, metadata, created_at, updated_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Personal:
    email: str | None = None
    name: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    id: UUID
    livemode: bool
    personal: Personal
    reference: str | None
    metadata: Mapping[str, str]
    created_at: datetime
    updated_at: datetime


async def create(
    connection: Connection,
    scope: Scope,
    customer_id: UUID,
    *,
    personal: Personal,
    reference: str | None,
    metadata: Mapping[str, str],
    vault: Vault,
) -> Customer:
    row = await connection.fetchrow(
        "INSERT INTO customers (partner_id, id, livemode, personal, email_hash, reference, metadata)"
        f" VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING {_COLUMNS}",
        scope.partner_id,
        customer_id,
        scope.livemode,
        *_sealed(vault, scope.partner_id, customer_id, personal),
        reference,
        dict(metadata),
    )
    return _customer(vault, row)


async def page(
    connection: Connection,
    scope: Scope,
    *,
    email: str | None,
    reference: str | None,
    before: UUID | None,
    limit: int,
    vault: Vault,
) -> list[Customer]:
    hashes = None if email is None else [_email_hash(vault, key, scope.partner_id, email) for key in vault.keys]
    asked, values = "", [scope.partner_id, scope.livemode, before, limit]
    # One statement for each question: a plan that fits them all would read every customer to find one.
    for condition, value in (("email_hash = ANY", hashes), ("reference =", reference)):
        if value is not None:
            values.append(value)
            asked += f" AND {condition} (${len(values)})"
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM customers WHERE partner_id = $1 AND livemode = $2 AND deleted_at IS NULL"
        f" AND ($3::uuid IS NULL OR id < $3){asked} ORDER BY id DESC LIMIT $4",
        *values,
    )
    return [_customer(vault, row) for row in rows]


async def get(connection: Connection, scope: Scope, customer_id: UUID, vault: Vault) -> Customer | None:
    row = await _found(connection, scope, customer_id)
    return None if row is None else _customer(vault, row)


async def lock(connection: Connection, scope: Scope, customer_id: UUID, vault: Vault) -> Customer | None:
    """The customer as it is now, held until this database transaction ends."""
    row = await _found(connection, scope, customer_id, "FOR UPDATE")
    return None if row is None else _customer(vault, row)


async def keep(connection: Connection, scope: Scope, customer_id: UUID) -> bool:
    """Whether there is such a customer, who then is not erased before this database transaction ends."""
    return await _found(connection, scope, customer_id, "FOR SHARE") is not None


async def update(connection: Connection, scope: Scope, customer: Customer, vault: Vault) -> Customer:
    """Store what a partner may change of a customer that this database transaction has locked."""
    row = await connection.fetchrow(
        "UPDATE customers SET personal = $3, email_hash = $4, reference = $5, metadata = $6"
        f" WHERE partner_id = $1 AND id = $2 RETURNING {_COLUMNS}",
        scope.partner_id,
        customer.id,
        *_sealed(vault, scope.partner_id, customer.id, customer.personal),
        customer.reference,
        dict(customer.metadata),
    )
    return _customer(vault, row)


async def erase(connection: Connection, scope: Scope, customer_id: UUID) -> bool:
    """The row stays, with its id and times alone."""
    erased = await connection.fetchval(
        "UPDATE customers SET deleted_at = now(), personal = '', email_hash = NULL, reference = NULL, metadata = '{}'"
        " WHERE partner_id = $1 AND id = $2 AND livemode = $3 AND deleted_at IS NULL RETURNING true",
        scope.partner_id,
        customer_id,
        scope.livemode,
    )
    return bool(erased)


async def reseal(connection: Connection, vault: Vault) -> int:
    """Seal and hash with the vault's sealing key what another version did, as the operator; how many customers."""
    changed = 0
    while rows := await connection.fetch(
        "SELECT partner_id, id, personal FROM customers WHERE deleted_at IS NULL AND get_byte(personal, 0) <> $1"
        " LIMIT $2 FOR UPDATE",
        vault.sealing,
        RESEALED_AT_ONCE,
    ):
        for partner_id, customer_id, sealed in rows:
            personal = open_personal(vault, sealed, partner_id=partner_id, customer_id=customer_id)
            await connection.execute(
                "UPDATE customers SET personal = $3, email_hash = $4 WHERE partner_id = $1 AND id = $2",
                partner_id,
                customer_id,
                *_sealed(vault, partner_id, customer_id, personal),
            )
        changed += len(rows)
    return changed


def open_personal(vault: Vault, sealed: bytes, *, partner_id: UUID, customer_id: UUID) -> Personal:
    """Raises `vault.CannotOpen`."""
    return Personal(**json.loads(vault.open(sealed, _context(partner_id, customer_id))))


def _sealed(vault: Vault, partner_id: UUID, customer_id: UUID, personal: Personal) -> tuple[bytes, bytes | None]:
    """`personal` and `email_hash`, both of one version: the first byte of what is sealed tells it."""
    sealed = vault.seal(to_json(asdict(personal)), _context(partner_id, customer_id))
    if personal.email is None:
        return sealed, None
    return sealed, _email_hash(vault, vault.sealing, partner_id, personal.email)


def _email_hash(vault: Vault, version: int, partner_id: UUID, email: str) -> bytes:
    """Equal for one partner's equal addresses only, so that no two partners' customers can be matched."""
    return hmac.digest(
        vault.derive("customer e-mail", version), partner_id.bytes + email.lower().encode(), hashlib.sha256
    )


def _context(partner_id: UUID, customer_id: UUID) -> str:
    return f"customers.personal/{partner_id}/{customer_id}"


async def _found(connection: Connection, scope: Scope, customer_id: UUID, locking: str = "") -> Any:
    return await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM customers"
        f" WHERE partner_id = $1 AND id = $2 AND livemode = $3 AND deleted_at IS NULL {locking}",
        scope.partner_id,
        customer_id,
        scope.livemode,
    )


def _customer(vault: Vault, row: Any) -> Customer:
    return Customer(
        id=row["id"],
        livemode=row["livemode"],
        personal=open_personal(vault, row["personal"], partner_id=row["partner_id"], customer_id=row["id"]),
        reference=row["reference"],
        metadata=row["metadata"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
