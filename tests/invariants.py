"""The promises about money as questions to the database and the simulators' own books (the oracle).

Each query returns the rows that break it; none may.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import asyncpg

QUERIES = {
    "captured is more than authorized, or refunded more than captured": """
        SELECT id FROM transactions
        WHERE amount_captured > amount OR amount_refunded + refund_reserved > amount_captured""",
    "refunds do not add up to the transaction's totals": """
        SELECT t.id FROM transactions t LEFT JOIN refunds r ON r.partner_id = t.partner_id AND r.transaction_id = t.id
        GROUP BY t.partner_id, t.id
        HAVING t.amount_refunded <> coalesce(sum(r.amount) FILTER (WHERE r.status = 'completed'), 0)
            OR t.refund_reserved <> coalesce(sum(r.amount) FILTER (WHERE r.status IN ('pending', 'processing')), 0)""",
    "a posting does not balance": """
        SELECT transaction_id FROM ledger_entries
        GROUP BY partner_id, transaction_id, sequence HAVING sum(amount) <> 0""",
    "the ledger says otherwise than the transaction": """
        SELECT t.id FROM transactions t LEFT JOIN ledger_entries e
            ON e.partner_id = t.partner_id AND e.transaction_id = t.id
        GROUP BY t.partner_id, t.id
        HAVING t.amount_captured <> -coalesce(sum(e.amount) FILTER (WHERE e.account = 'partner_payable'), 0)
            OR t.amount_refunded <> coalesce(sum(e.amount) FILTER (WHERE e.account = 'refunds'), 0)""",
    "history has gaps, or does not end where the transaction is": """
        SELECT t.id FROM transactions t JOIN transaction_events e
            ON e.partner_id = t.partner_id AND e.transaction_id = t.id
        GROUP BY t.partner_id, t.id HAVING count(*) <> t.version OR max(e.sequence) <> t.version""",
    "a status is not that of the last event": """
        SELECT t.id FROM transactions t JOIN transaction_events e
            ON e.partner_id = t.partner_id AND e.transaction_id = t.id AND e.sequence = t.version
        WHERE e.status <> t.status""",
    "published events have gaps": """
        SELECT t.id FROM transactions t LEFT JOIN events e ON e.partner_id = t.partner_id AND e.transaction_id = t.id
        GROUP BY t.partner_id, t.id HAVING count(e.id) <> t.published OR coalesce(max(e.sequence), 0) <> t.published""",
    "money was taken of what is called failed or cancelled": """
        SELECT id FROM transactions WHERE status IN ('failed', 'cancelled') AND amount_captured > 0""",
    "two charges of one transaction succeeded": """
        SELECT transaction_id FROM attempts WHERE operation = 'charge' AND state = 'succeeded'
        GROUP BY partner_id, transaction_id HAVING count(*) > 1""",
    "an event reached no delivery of an endpoint that was there for it": """
        SELECT e.id FROM events e JOIN webhook_endpoints w ON w.partner_id = e.partner_id AND w.livemode = e.livemode
            AND w.created_at < e.created_at AND w.deleted_at IS NULL AND e.transaction_id IS NOT NULL
            AND (w.event_types @> ARRAY['*']::varchar[] OR e.type = ANY (w.event_types))
        LEFT JOIN webhook_deliveries d ON d.partner_id = e.partner_id AND d.event_id = e.id AND d.endpoint_id = w.id
        WHERE d.id IS NULL""",
}

_BOOKS = """
    SELECT 'pg1' AS scheme, a.partner_id, a.id, a.provider, a.operation, t.currency, c.decimal_places,
           t.amount_captured, t.status, t.capture_pending, a.amount, a.state, t.capture AS mode,
           a.routing->>'captured' AS back
    FROM attempts a JOIN transactions t ON t.partner_id = a.partner_id AND t.id = a.transaction_id
    JOIN currencies c ON c.code = t.currency
    WHERE a.operation IN ('charge', 'refund', 'compensate')"""
"""A charge's books hold its captures too; a refund's are its own, and what gives a late success back is one."""

PSP_PLACES = {("stripe", "ISK"): 2, ("stripe", "UGX"): 2}
"""Where a PSP's integer has other decimals than the currency."""
LATE_STATES = frozenset({"late_success", "compensating", "compensated"})
"""Of a charge that took money after it was over: what gives it back is an attempt of its own."""
ENDED_STATES = frozenset({"declined", "failed_not_sent", "absent_confirmed", "cancelled_confirmed"})
"""Of a charge that took nothing: what its transaction captured was taken by the attempt it went on with."""
OPEN_STATES = frozenset({"created", "sending", "waiting", "unknown", "resolving"})


async def check(owner: asyncpg.Connection[asyncpg.Record], oracles: dict[str, Any]) -> None:
    broken = await violations(owner, oracles)
    assert not broken, broken


async def violations(owner: asyncpg.Connection[asyncpg.Record], oracles: dict[str, Any]) -> list[str]:
    """What is wrong, one sentence for each row."""
    broken = [f"{name}: {dict(row)}" for name, query in QUERIES.items() for row in await owner.fetch(query)]
    for row in await owner.fetch(_BOOKS):
        if row["provider"] in oracles:  # offline payments have no books but ours
            broken += _compare(row, oracles[row["provider"]])
    return broken


def _compare(row: asyncpg.Record, oracle: Any) -> Iterator[str]:
    """What we book of an attempt is what moved; where its outcome is open, at most what was asked moved."""
    account = oracle["gateway_references"].get(_reference(row))
    moved = "captures" if row["operation"] == "charge" else "refunds"
    count = account[moved]["count"] if account else 0
    places = PSP_PLACES.get((row["provider"], row["currency"]), row["decimal_places"])
    amount = Decimal(account[moved]["amount"] if account else 0).scaleb(-places)
    if count > 1:
        yield f"money moved {count} times under one reference: {dict(row)}"
    if row["operation"] == "charge":
        late = row["state"] in LATE_STATES and row["mode"] == "automatic"
        ended = row["state"] in ENDED_STATES
        booked = row["amount"] if late else Decimal(0) if ended else row["amount_captured"]
        undecided = row["state"] in OPEN_STATES or (row["capture_pending"] > 0 and not ended)
    else:
        voided = row["operation"] == "compensate" and row["back"] != "true"
        booked = row["amount"] if row["state"] == "succeeded" and not voided else Decimal(0)
        undecided = row["state"] in OPEN_STATES
        if row["state"] == "declined" and account:  # given and taken back before we heard of either
            amount -= Decimal(account["refund_failures"]["amount"]).scaleb(-places)
    if undecided and amount not in (Decimal(0), row["amount"], row["capture_pending"]):
        yield f"{amount} moved, which nobody asked for: {dict(row)}"
    if not undecided and amount != booked:
        yield f"{amount} moved, {booked} is booked: {dict(row)}"


def _reference(row: asyncpg.Record) -> str:
    return f"pg1_{_bare(row['partner_id'])}_{_bare(row['id'])}"


def _bare(value: Any) -> str:
    alphabet = "0123456789abcdefghjkmnpqrstvwxyz"  # our own spelling: the oracle must not share the gateway's code
    return "".join(alphabet[value.int >> shift & 31] for shift in range(125, -1, -5))
