"""How charges were decided, as their first attempts tell it: for judging other rules by them. Read only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from db import shapes
from db.database import Connection
from db.records import AttemptState, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A charge, and its first attempt: what its decision stamped, the account that was tried, and what came of it."""

    id: UUID
    amount: Decimal
    currency: str
    payment_method: str
    metadata: Mapping[str, str]
    created_at: datetime
    routing: Mapping[str, Any]
    """Empty where no decision was stamped."""
    account_id: UUID
    state: AttemptState


_CHARGED = "id, amount, currency, payment_method, metadata, created_at"
# Charges first, then the attempt of each: joined at once, the planner would read all of a partner's for every page.
_PAGE = f"""
    SELECT {shapes.columns(Decided)}
    FROM (SELECT partner_id, {_CHARGED} FROM transactions
          WHERE partner_id = $1 AND livemode = $2 AND id > $3 AND id < $4 AND deleted_at IS NULL
          ORDER BY id LIMIT $5) charged
    CROSS JOIN LATERAL (SELECT coalesce(a.routing, '{{}}') AS routing, a.account_id, a.state FROM attempts a
                        WHERE a.partner_id = charged.partner_id AND a.transaction_id = charged.id AND a.number = 1
                        LIMIT 1) tried
    ORDER BY id"""


async def page(connection: Connection, scope: Scope, *, after: UUID, before: UUID, limit: int) -> Sequence[Decided]:
    """Between two ids, which are in the order of time. A page that is not full is the last."""
    rows = await connection.fetch(_PAGE, scope.partner_id, scope.livemode, after, before, limit)
    return [shapes.read(Decided, row) for row in rows]
