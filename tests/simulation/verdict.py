"""After the storm: everything drains, and then every promise is held against the database and the PSPs' books."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID

import asyncpg

from db import ids
from tests import invariants
from tests.simulation.shop import History
from tests.simulation.town import Town
from tests.simulation.weather import HOUR

DRAIN_HOURS = 120
"""After the last fault: more than the longest pauses of checks and deliveries together."""
FORGOTTEN_HOURS = 25
"""A day, and an hour for a worker that was away."""

LEFT = {
    "attempts without an outcome and without a person to look": """
        SELECT a.id, a.operation, a.state, t.status FROM attempts a
        JOIN transactions t ON t.partner_id = a.partner_id AND t.id = a.transaction_id
        WHERE a.finished_at IS NULL AND NOT t.needs_review""",
    "deliveries on their way": "SELECT id FROM webhook_deliveries WHERE state = 'pending'",
    "notifications not applied": "SELECT id, provider, reason FROM provider_events WHERE state = 'received'",
}
"""What may be there for a while, and must be gone in the end."""

FINDING = "reconciliation finding"
"""What the log says of one: whether it was true is seen in the database."""

FORGOTTEN = f"""
    SELECT a.id, a.provider, a.operation, a.state, t.status, simulated.now() - a.created_at AS age FROM attempts a
    JOIN transactions t ON t.partner_id = a.partner_id AND t.id = a.transaction_id
    WHERE a.finished_at IS NULL AND NOT t.needs_review AND a.state <> 'waiting'
      AND a.created_at < simulated.now() - make_interval(hours => {FORGOTTEN_HOURS})"""


async def drain(town: Town, history: History) -> None:
    """Wait until nothing is left to do."""
    await asyncio.sleep(max(0.0, town.weather.calm_at - town.loop.time()))
    town.turns.down = False
    left: dict[str, list[asyncpg.Record]] = {}
    for _ in range(DRAIN_HOURS):
        await asyncio.sleep(HOUR)
        async with town.turns.looking() as owner:
            left = {what: rows for what, query in LEFT.items() if (rows := await owner.fetch(query))}
            forgotten = await owner.fetch(FORGOTTEN)
        history.violations += [f"forgotten: {dict(row)}" for row in forgotten]
        if not left or forgotten:
            break
    history.violations += [f"after {DRAIN_HOURS} h: {what}: {dict(row)}" for what, rows in left.items() for row in rows]


async def check(town: Town, history: History) -> list[str]:
    """Every broken promise."""
    found = list(history.violations)
    oracles = {psp.name: psp.ledger.to_json() for psp in town.psps.values()}
    async with town.turns.looking() as owner:
        try:
            await invariants.check(owner, oracles)
        except AssertionError as broken:
            found.append(f"invariant: {broken}")
        found += await _lasting(owner, history)
        found += await _delivered(owner, town)
        found += await _false_alarms(owner, town)
    if town.receivers.forged:
        found.append(f"{town.receivers.forged} webhooks were not truly signed")
    found += town.failures
    lines = [json.loads(line) for line in town.errors.getvalue().splitlines()]
    found += [f"error: {line}" for line in lines if line["level"] == "error" and line["event"] != FINDING]
    return found


async def _lasting(owner: asyncpg.Connection[asyncpg.Record], history: History) -> list[str]:
    """What a client was told for good is what the database holds under the key."""
    found = []
    for (partner, key), told in history.answers.items():
        row = await owner.fetchrow(
            "SELECT response_status, response_body FROM idempotency_keys WHERE partner_id = $1 AND key = $2",
            UUID(partner),
            key,
        )
        if row is None or (row["response_status"], row["response_body"]) != (told[0][0], told[0][1].decode()):
            found.append(f"key {key} was answered {told[0]}, the database has {row and dict(row)}")
    return found


async def _delivered(owner: asyncpg.Connection[asyncpg.Record], town: Town) -> list[str]:
    """Every event reached its endpoint, or visibly did not."""
    rows = await owner.fetch(
        "SELECT e.id, e.body, w.url FROM events e JOIN webhook_endpoints w ON w.partner_id = e.partner_id"
        " WHERE e.created_at > w.created_at AND NOT EXISTS (SELECT FROM webhook_deliveries d"
        " WHERE d.partner_id = e.partner_id AND d.event_id = e.id AND d.state IN ('exhausted', 'held'))"
    )
    got = town.receivers.events
    return [
        f"event {row['id']} did not reach {row['url']}"
        for row in rows
        if json.loads(got.get(row["url"], {}).get(ids.encode("evt", row["id"]), b"null")) != json.loads(row["body"])
    ]


async def _false_alarms(owner: asyncpg.Connection[asyncpg.Record], town: Town) -> list[str]:
    """What is found to differ between our books and a PSP's does: a refund failed, and we have not heard of it yet.

    Or the PSP said so, though it was not true.
    """
    found = []
    for row in await owner.fetch("SELECT kind, subject, found_at, data FROM findings"):
        if row["kind"] == "amount_differs" and _was_told(town, json.loads(row["data"])["provider_id"]):
            continue
        failed_at = await owner.fetchval(
            "SELECT r.failed_at FROM attempts a JOIN refunds r ON r.partner_id = a.partner_id AND r.id = a.refund_id"
            " WHERE a.id = $1",
            ids.decode("att", row["subject"]),
        )
        if row["kind"] != "booked_but_not_moved" or failed_at is None or failed_at < row["found_at"]:
            found.append(f"false alarm: {dict(row)}")
    return found


def _was_told(town: Town, provider_id: str) -> bool:
    """A wrong amount, of this payment or refund."""
    return any(provider_id.encode() in answer for answer in town.falsified)
