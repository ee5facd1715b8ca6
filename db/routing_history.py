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
    """`routing` is what the decision stamped, `account_id` the account that was tried first, `state` what it made."""

    id: UUID
    amount: Decimal
    currency: str
    payment_method: str
    metadata: Mapping[str, str]
    created_at: datetime
    routing: Mapping[str, Any]
    account_id: UUID
    state: AttemptState


_OF_ATTEMPT = frozenset({"routing", "account_id", "state"})
_DECIDED = ", ".join(f"{'a' if name in _OF_ATTEMPT else 't'}.{name}" for name in Decided.__slots__)


async def page(connection: Connection, scope: Scope, *, after: UUID, before: UUID, limit: int) -> Sequence[Decided]:
    """Between two ids, which are in the order of time. A page that is not full is the last."""
    rows = await connection.fetch(
        f"SELECT {_DECIDED} FROM transactions t JOIN attempts a"
        " ON a.partner_id = t.partner_id AND a.transaction_id = t.id AND a.number = 1"
        " WHERE t.partner_id = $1 AND t.livemode = $2 AND t.id > $3 AND t.id < $4 AND t.deleted_at IS NULL"
        " AND a.routing ? 'way' ORDER BY t.id LIMIT $5",
        scope.partner_id,
        scope.livemode,
        after,
        before,
        limit,
    )
    return [shapes.read(Decided, row) for row in rows]
