"""What is there at the end of a soak, read from all sides: database, API, simulators, receiver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg

from db import ids
from tests.soak.history import Json, Order
from tests.soak.shoppers import Shop
from tests.soak.stage import Stage
from tests.soak.verdict import Attempt, Books, Facts, Row

_ROWS = """
    SELECT t.partner_id, t.id, t.reference, t.idempotency_key, t.status::text, t.needs_review, t.amount_captured,
           t.amount_refunded, coalesce(-sum(e.amount) FILTER (WHERE e.account = 'partner_payable'), 0) AS payable,
           coalesce(sum(e.amount) FILTER (WHERE e.account = 'refunds'), 0) AS refunds
    FROM transactions t
    LEFT JOIN ledger_entries e ON e.partner_id = t.partner_id AND e.transaction_id = t.id
    GROUP BY t.partner_id, t.id"""
_ATTEMPTS = """
    SELECT partner_id, id, transaction_id, provider, operation::text, state::text, idempotency_key FROM attempts"""
_EVENTS = """
    SELECT DISTINCT e.id, sha256(convert_to(e.body, 'UTF8')) AS digest
    FROM events e JOIN webhook_deliveries d ON d.partner_id = e.partner_id AND d.event_id = e.id"""
# From the moment an outcome was unknown, or its holder's lease was over, until it was settled. What the PSP itself
# called pending is no recovery.
_RECOVERIES = """
    SELECT extract(epoch FROM a.finished_at - least(
               a.created_at + make_interval(secs => $1),
               (SELECT min(e.created_at) FROM transaction_events e
                WHERE e.partner_id = a.partner_id AND e.transaction_id = a.transaction_id AND e.attempt_id = a.id
                  AND e.event_type::text LIKE '%\\_processing')))::float8 AS seconds,
           format('%s at %s %s after %s checks: %s', a.operation, a.provider, a.state, a.checks,
               (SELECT string_agg(format('%s by %s at %s s', e.event_type, split_part(e.created_by, ':', 1),
                           round(extract(epoch FROM e.created_at - a.created_at))), ', ' ORDER BY e.sequence)
                FROM transaction_events e WHERE e.partner_id = a.partner_id AND e.transaction_id = a.transaction_id))
               AS told
    FROM attempts a WHERE a.epoch > 1 AND a.finished_at IS NOT NULL ORDER BY seconds"""
UNFINISHED = """
    SELECT (SELECT count(*) FROM attempts a JOIN transactions t ON t.partner_id = a.partner_id
                AND t.id = a.transaction_id WHERE a.finished_at IS NULL AND NOT t.needs_review)
         + (SELECT count(*) FROM webhook_deliveries WHERE state <> 'delivered')"""
"""How much work is left."""
NOTIFICATIONS_FALL_DUE = "UPDATE provider_events SET next_try_at = now() WHERE state = 'received'"
A_DAY_PASSES = "UPDATE attempts SET created_at = created_at - interval '1 day' WHERE finished_at IS NULL"
"""For whatever is still open."""


async def gather(stage: Stage, shop: Shop, orders: Sequence[Order]) -> Facts:
    oracle: dict[str, Any] = await stage.oracle()
    shown = {body["id"]: body for partner in range(len(shop.api_keys)) async for body in _listed(shop, partner)}
    async with stage.postgres.owner() as owner:
        return Facts(
            orders=orders,
            rows=[_row(row, shown) for row in await owner.fetch(_ROWS)],
            refunds={
                ids.encode("rfd", row["id"]): row["status"]
                for row in await owner.fetch("SELECT id, status::text FROM refunds")
            },
            attempts=[_attempt(row, oracle) for row in await owner.fetch(_ATTEMPTS)],
            oracle=oracle,
            events={ids.encode("evt", row["id"]): row["digest"] for row in await owner.fetch(_EVENTS)},
            receipts=stage.receiver.receipts,
            exits=stage.exits,
        )


@dataclass(frozen=True, slots=True)
class Recovery:
    seconds: float
    told: str
    """What happened, for whoever wonders why it took so long."""


async def recoveries(owner: asyncpg.Connection[asyncpg.Record], lease_seconds: float) -> list[Recovery]:
    """The slowest last."""
    rows = await owner.fetch(_RECOVERIES, lease_seconds)
    return [Recovery(max(row["seconds"], 0.0), row["told"]) for row in rows]


async def _listed(shop: Shop, partner: int) -> AsyncIterator[Json]:
    """Every transaction as the API shows it to its partner."""
    path = "/v1/transactions?limit=100"
    cursor: str | None = ""
    while cursor is not None:
        told = await shop.read(partner, path + cursor)
        assert told.status == 200, told
        page = told.told
        for body in page["data"]:
            yield body
        cursor = f"&cursor={page['next_cursor']}" if page["has_more"] else None


def _row(row: asyncpg.Record, shown: dict[str, Json]) -> Row:
    transaction_id = ids.encode("txn", row["id"])
    return Row(
        id=transaction_id,
        reference=row["reference"],
        key=row["idempotency_key"],
        status=row["status"],
        needs_review=row["needs_review"],
        books=Books(row["amount_captured"], row["amount_refunded"]),
        ledger=Books(Decimal(row["payable"]), Decimal(row["refunds"])),
        shown=shown.get(transaction_id),
    )


def _attempt(row: asyncpg.Record, oracle: dict[str, Any]) -> Attempt:
    account = oracle[row["provider"]]["gateway_references"].get(_reference(row["partner_id"], row["id"]))
    moves = {"charge": "charges", "refund": "refunds"}.get(row["operation"])
    return Attempt(
        id=ids.encode("att", row["id"]),
        transaction_id=ids.encode("txn", row["transaction_id"]),
        operation=row["operation"],
        state=row["state"],
        key=row["idempotency_key"],
        moved=account[moves]["count"] if account and moves else 0,
    )


def _reference(partner_id: UUID, attempt_id: UUID) -> str:
    return f"pg1_{ids.bare(partner_id)}_{ids.bare(attempt_id)}"
