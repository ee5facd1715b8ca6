"""Promise: whatever becomes of the wire to a partner's endpoint, every event arrives, under one id however often."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.acceptance.steps import listed, retries_fall_due, until
from tests.faults.wires import Wires
from tests.house import Json, Partner
from tests.proxy import Toxic, ToxicKind


async def the_delivery(partner: Partner, endpoint: Json, status: str, attempts: int) -> Json:
    async def ask() -> list[Json]:
        return await listed(partner, f"/v1/webhook-endpoints/{endpoint['id']}/deliveries")

    def as_wanted(rows: list[Json]) -> bool:
        return [(row["status"], row["attempt_count"]) for row in rows] == [(status, attempts)]

    (row,) = await until(ask, as_wanted)
    return row


@pytest.mark.parametrize(
    ("kind", "arrivals"),
    [
        (ToxicKind.DROP_AFTER_REPLY, 2),
        (ToxicKind.DROP_BEFORE, 1),
        (ToxicKind.RESET, 1),
        (ToxicKind.DOWN, 1),
    ],
)
async def test_a_try_that_broke_is_made_again_under_the_same_id(
    wires: Wires, partner: Partner, kind: ToxicKind, arrivals: int
) -> None:
    endpoint = await wires.house.subscribed(partner, ["transaction.completed"])
    wires.subscriber.add(Toxic(kind))
    sale = (await partner.charge()).json()

    async def failed() -> int:
        query = "SELECT count(*) FROM webhook_attempts WHERE partner_id = $1 AND error IS NOT NULL"
        return int(await wires.house.owner.fetchval(query, partner.id))

    await until(failed, lambda count: count == 1)
    wires.subscriber.clear()
    await retries_fall_due(wires.house.owner)
    await the_delivery(partner, endpoint, "delivered", 2)
    event = await wires.house.receiver.event("transaction.completed", sale["id"])
    assert Counter(wires.house.receiver.ids)[event["id"]] == arrivals
    assert wires.house.receiver.refused == 0


async def test_bytes_that_dribble_in_both_directions_are_a_delivery_all_the_same(
    wires: Wires, partner: Partner
) -> None:
    endpoint = await wires.house.subscribed(partner, ["transaction.completed"])
    wires.subscriber.add(Toxic(ToxicKind.SLICE))
    sale = (await partner.charge()).json()
    delivery = await the_delivery(partner, endpoint, "delivered", 1)
    assert delivery["transaction_id"] == sale["id"]
    assert Counter(wires.house.receiver.ids)[delivery["event_id"]] == 1
