"""Finding transactions by what the caller knows. SQLAlchemy composes the statement, asyncpg runs it.

Keyset pages, newest first: a page costs the same however deep it lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import ColumnElement, Select, cast, func, select
from sqlalchemy.dialects.postgresql import JSONB, asyncpg

from db import shapes, tables
from db.database import Connection
from db.records import Scope, Transaction

_T = tables.transactions.c
_COLUMNS = [_T[column.name] for column in fields(Transaction)]
_DIALECT = asyncpg.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves its dialects untyped


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What to find; None or empty means anything. Amounts in major units."""

    status: Sequence[str] = ()
    currency: str | None = None
    provider: str | None = None
    payment_method: str | None = None
    reference: str | None = None
    customer_email: str | None = None
    provider_transaction_id: str | None = None
    amount: Decimal | None = None
    amount_gte: Decimal | None = None
    amount_lte: Decimal | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    needs_review: bool | None = None


async def transactions(
    connection: Connection, scope: Scope, filters: Filters, *, before: UUID | None, limit: int
) -> list[Transaction]:
    """At most `limit` transactions older than `before` (an id), newest first."""
    statement = select(*_COLUMNS).where(
        _T.partner_id == scope.partner_id, _T.livemode == scope.livemode, _T.deleted_at.is_(None), *_conditions(filters)
    )
    if before is not None:
        statement = statement.where(_T.id < before)
    sql, values = _compiled(statement.order_by(_T.id.desc()).limit(limit))
    return [shapes.read(Transaction, row) for row in await connection.fetch(sql, *values)]


def _conditions(filters: Filters) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [
        _T[name] == value
        for name in ("currency", "provider", "payment_method", "reference", "provider_transaction_id", "amount")
        if (value := getattr(filters, name)) is not None
    ]
    if filters.status:
        conditions.append(_T.status.in_(filters.status))
    if filters.customer_email is not None:
        conditions.append(func.lower(_T.customer_email) == filters.customer_email.lower())
    if filters.amount_gte is not None:
        conditions.append(_T.amount >= filters.amount_gte)
    if filters.amount_lte is not None:
        conditions.append(_T.amount <= filters.amount_lte)
    if filters.created_after is not None:
        conditions.append(_T.created_at > filters.created_after)
    if filters.created_before is not None:
        conditions.append(_T.created_at < filters.created_before)
    if filters.metadata:
        # The condition of the index: PostgreSQL uses it only where a query repeats it.
        conditions += [_T.metadata.op("@>")(cast(dict(filters.metadata), JSONB)), _T.metadata != cast({}, JSONB)]
    if filters.needs_review is not None:
        conditions.append(_T.needs_review == filters.needs_review)
    return conditions


def _compiled(statement: Select[tuple[object, ...]]) -> tuple[str, list[object]]:
    compiled = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    return str(compiled), [compiled.params[name] for name in compiled.positiontup or ()]
