"""The ledger's reading side; entries are written by `journal_write` only and never change."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from db import shapes
from db.database import Connection
from db.records import LedgerEntry, Scope

_ENTRY = shapes.columns(LedgerEntry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What one account holds: debits less credits, in major units."""

    currency: str
    account: str
    amount: Decimal


async def balances(connection: Connection, scope: Scope) -> list[Balance]:
    rows = await connection.fetch(
        "SELECT currency, account, sum(amount) AS amount FROM ledger_entries"
        " WHERE partner_id = $1 AND livemode = $2 GROUP BY currency, account ORDER BY currency, account",
        scope.partner_id,
        scope.livemode,
    )
    return [shapes.read(Balance, row) for row in rows]


async def page(
    connection: Connection,
    scope: Scope,
    *,
    transaction_id: UUID | None = None,
    currency: str | None = None,
    account: str | None = None,
    before: UUID | None = None,
    limit: int,
) -> list[LedgerEntry]:
    rows = await connection.fetch(
        f"SELECT {_ENTRY} FROM ledger_entries WHERE partner_id = $1 AND livemode = $2"
        " AND ($3::uuid IS NULL OR transaction_id = $3) AND ($4::text IS NULL OR currency = $4)"
        " AND ($5::text IS NULL OR account = $5) AND ($6::uuid IS NULL OR id < $6)"
        " ORDER BY id DESC LIMIT $7",
        scope.partner_id,
        scope.livemode,
        transaction_id,
        currency,
        account,
        before,
        limit,
    )
    return [shapes.read(LedgerEntry, row) for row in rows]
