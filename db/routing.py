"""What a process routes by: a partner's accounts and rules, and what all processes know of the accounts.

Rule sets are written in `db.routing_rules`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from db import shapes
from db.database import Connection
from db.provider_accounts import ProviderAccount
from db.routing_records import BreakerOverride, Health, Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRules:
    version: int
    document: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """`accounts` by priority, disabled ones too; `live` and `shadow` None where no rules are."""

    accounts: Sequence[ProviderAccount]
    health: Sequence[Health]
    tallies: Sequence[Tally]
    live: StoredRules | None
    shadow: StoredRules | None


_TIMES = ("as_of", "opened_at", "retry_at")
_ACCOUNT = ", ".join(f"a.{name}" for name in ProviderAccount.__slots__)
_HEALTH = shapes.columns(Health)
# One round trip for all: each account's row brings what is known of it, and the partner's rules.
_INPUTS = f"""
    SELECT {_ACCOUNT}, health.rows AS health, tallies.rows AS tallies,
           live.version AS live_version, live.rules AS live_rules,
           shadow.version AS shadow_version, shadow.rules AS shadow_rules
    FROM provider_accounts a
    LEFT JOIN LATERAL (SELECT json_agg(h)::text AS rows FROM provider_health h WHERE h.account_id = a.id) health ON true
    LEFT JOIN LATERAL (SELECT json_agg(t)::text AS rows FROM routing_tallies t
                       WHERE t.partner_id = current_partner() AND t.account_id = a.id) tallies ON true
    LEFT JOIN LATERAL ({{newest}} AND x.lane = 'live' ORDER BY x.id DESC LIMIT 1) live ON true
    LEFT JOIN LATERAL ({{newest}} AND x.lane = 'shadow' ORDER BY x.id DESC LIMIT 1) shadow ON true
    WHERE a.livemode = $1 AND (a.partner_id = current_partner() OR a.partner_id IS NULL)
    ORDER BY a.priority, a.id""".format(
    newest="""SELECT r.version, r.rules::text FROM routing_activations x
              LEFT JOIN routing_rules r
                ON (r.partner_id, r.livemode, r.version) = (x.partner_id, x.livemode, x.version)
              WHERE x.partner_id = current_partner() AND x.livemode = $1"""
)


async def inputs(connection: Connection, *, livemode: bool) -> Inputs:
    """Of the transaction's partner: its own accounts and the platform's, and its rules."""
    rows = await connection.fetch(_INPUTS, livemode)
    first = rows[0] if rows else None
    return Inputs(
        accounts=[shapes.read(ProviderAccount, row) for row in rows],
        health=[_read(Health, one) for row in rows for one in json.loads(row["health"] or "[]")],
        tallies=[_read(Tally, one) for row in rows for one in json.loads(row["tallies"] or "[]")],
        live=_rules(first, "live"),
        shadow=_rules(first, "shadow"),
    )


async def health_of(connection: Connection, account_ids: Sequence[UUID]) -> list[Health]:
    """What is known of these accounts, method by method. As the operator."""
    rows = await connection.fetch(
        f"SELECT {_HEALTH} FROM provider_health WHERE account_id = ANY ($1) ORDER BY account_id, method", account_ids
    )
    return [shapes.read(Health, row) for row in rows]


async def lock_health(connection: Connection, account_id: UUID, method: str) -> Health | None:
    row = await connection.fetchrow(
        f"SELECT {_HEALTH} FROM provider_health WHERE account_id = $1 AND method = $2 FOR UPDATE", account_id, method
    )
    return shapes.read(Health, row) if row else None


async def save_health(connection: Connection, health: Health) -> None:
    """All but the operator's word, which comes last."""
    await connection.execute(
        """INSERT INTO provider_health (account_id, method, answers, outages, streak, as_of, opened_at, retry_at, trips)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
           ON CONFLICT (account_id, method) DO UPDATE SET
               (answers, outages, streak, as_of, opened_at, retry_at, trips) =
               (excluded.answers, excluded.outages, excluded.streak, excluded.as_of, excluded.opened_at,
                excluded.retry_at, excluded.trips)""",
        *list(shapes.row(health).values())[:-3],
    )


async def override_health(
    connection: Connection,
    account_id: UUID,
    method: str,
    override: BreakerOverride | None,
    *,
    reason: str | None,
    by: str,
) -> None:
    """An operator's word about an account and method; None takes it back. As the operator."""
    await connection.execute(
        """INSERT INTO provider_health (account_id, method, as_of, override, override_reason, override_by)
           VALUES ($1, $2, now(), $3, $4, $5)
           ON CONFLICT (account_id, method) DO UPDATE SET
               (override, override_reason, override_by) =
               (excluded.override, excluded.override_reason, excluded.override_by)""",
        account_id,
        method,
        override.value if override else None,
        reason if override else None,
        by if override else None,
    )


async def add_tally(connection: Connection, partner_id: UUID, tally: Tally, *, half_life_seconds: float) -> None:
    """Add to what is known, which is decayed to the tally's moment first."""
    await connection.execute(
        """INSERT INTO routing_tallies AS known
               (partner_id, account_id, method, currency, brand, approved, declined, as_of)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
           ON CONFLICT (partner_id, account_id, method, currency, brand) DO UPDATE SET (approved, declined, as_of) =
               (SELECT known.approved * kept + excluded.approved, known.declined * kept + excluded.declined,
                       greatest(known.as_of, excluded.as_of)
                FROM power(0.5, greatest(extract(epoch FROM excluded.as_of - known.as_of), 0)::float8 / $9) AS kept)""",
        partner_id,
        *shapes.row(tally).values(),
        half_life_seconds,
    )


def _rules(row: Any, lane: str) -> StoredRules | None:
    if row is None or row[f"{lane}_version"] is None:
        return None
    return StoredRules(version=row[f"{lane}_version"], document=json.loads(row[f"{lane}_rules"]))


def _read(record_class: Any, found: dict[str, Any]) -> Any:
    """A row that came as JSON."""
    times = {name: datetime.fromisoformat(found[name]) for name in _TIMES if found.get(name)}
    return shapes.read(record_class, found | times | {"account_id": UUID(found["account_id"])})
