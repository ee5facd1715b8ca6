"""Promise: a partner who polls gets the same events as by webhook, byte for byte, in order, each once."""

from __future__ import annotations

import asyncio
import operator
from collections import defaultdict
from typing import Any

import pytest

from db import ids
from tests.acceptance.steps import refused, until
from tests.house import House, Json, Partner

HELD_BACK = "SELECT EXISTS (SELECT FROM events WHERE xid >= feed_position(pg_snapshot_xmin(pg_current_snapshot())))"


async def page(house: House, partner: Partner, **query: Any) -> Json:
    """Once all that was written before is served: an older transaction of anybody holds it back."""
    await until(lambda: house.owner.fetchval(HELD_BACK), operator.not_)
    return await look(partner, **query)


async def look(partner: Partner, **query: Any) -> Json:
    answer = await partner.get("/v1/events", **query)
    assert answer.status_code == 200, answer.text
    told: Json = answer.json()
    assert told.keys() == {"data", "has_more", "next_cursor"}
    return told


async def to_the_end(house: House, partner: Partner, after: str | None = None, **query: Any) -> list[Json]:
    """Everything behind `after`, as a client reads it that goes on from the cursor."""
    events, more = list[Json](), True
    while more:
        told = await page(house, partner, **query, **({"after": after} if after else {}))
        events += told["data"]
        after, more = told["next_cursor"], told["has_more"]
    return events


async def test_the_feed_holds_what_webhooks_deliver_byte_for_byte(house: House) -> None:
    partner = await house.partner()
    await house.subscribed(partner)
    sale = (await partner.charge(description="naïve “quotes” €")).json()
    event = await house.receiver.event("transaction.completed", sale["id"])
    answer = await partner.get(f"/v1/events/{event['id']}")
    assert answer.status_code == 200
    stored = await house.owner.fetchval("SELECT body FROM events WHERE id = $1", ids.decode("evt", event["id"]))
    assert answer.content == stored.encode()
    assert answer.headers["content-type"] == "application/json"
    told = (await partner.get("/v1/events")).content
    assert told.startswith(b'{"data":[')
    assert answer.content in told
    assert (await page(house, partner))["data"] == house.receiver.events


async def test_a_transactions_events_come_in_their_sequence_without_gaps(shared_house: House) -> None:
    partner = await shared_house.partner()
    reading = asyncio.Event()

    async def sell() -> str:
        sale = (await partner.charge()).json()
        for _ in range(2):
            await partner.post(f"/v1/transactions/{sale['id']}/refunds", {"amount": "5.00"})
        name: str = sale["id"]
        return name

    async def poll() -> tuple[list[Json], str]:
        events, after = list[Json](), None
        while not reading.is_set():
            told = await look(partner, limit=3, **({"after": after} if after else {}))
            events += told["data"]
            after = told["next_cursor"]
        assert after is not None
        return events, after

    polling = asyncio.create_task(poll())
    sales = await asyncio.gather(*(sell() for _ in range(6)))
    reading.set()
    events, after = await polling
    events += await to_the_end(shared_house, partner, after)
    sequences = defaultdict(list)
    for event in events:
        sequences[event["data"].get("transaction_id", event["data"]["id"])].append(event["sequence"])
    assert sequences == {sale: list(range(1, 9)) for sale in sales}


async def test_pages_go_on_where_the_last_one_ended_and_the_end_can_be_asked_again(shared_house: House) -> None:
    partner = await shared_house.partner()
    assert await page(shared_house, partner) == {"data": [], "has_more": False, "next_cursor": None}
    for _ in range(2):
        await partner.charge()
    whole = (await page(shared_house, partner))["data"]
    first = await page(shared_house, partner, limit=3)
    assert (first["data"], first["has_more"], first["next_cursor"]) == (whole[:3], True, whole[2]["id"])
    rest = await page(shared_house, partner, after=first["next_cursor"])
    assert (rest["data"], rest["has_more"], rest["next_cursor"]) == (whole[3:], False, whole[3]["id"])
    for _ in range(2):
        again = await page(shared_house, partner, after=whole[3]["id"])
        assert again == {"data": [], "has_more": False, "next_cursor": whole[3]["id"]}
    await partner.charge()
    assert len((await page(shared_house, partner, after=whole[3]["id"]))["data"]) == 2


async def test_who_wants_what_comes_from_now_on_is_told_where_that_begins(shared_house: House) -> None:
    partner = await shared_house.partner()
    assert (await page(shared_house, partner, after="latest"))["next_cursor"] is None
    await partner.charge()
    now = await page(shared_house, partner, after="latest")
    assert (now["data"], now["has_more"]) == ([], False)
    sale = (await partner.charge()).json()
    assert {event["data"]["id"] for event in await to_the_end(shared_house, partner, now["next_cursor"])} == {
        sale["id"]
    }


async def test_types_choose_and_may_be_repeated(shared_house: House) -> None:
    partner = await shared_house.partner()
    sale = (await partner.charge()).json()
    await partner.post(f"/v1/transactions/{sale['id']}/refunds")
    for types in (["refund.completed"], ["transaction.completed", "refund.created"]):
        assert [event["type"] for event in await to_the_end(shared_house, partner, types=types)] == types
    nothing = await page(shared_house, partner, types=["dispute.won"])
    assert (nothing["data"], nothing["has_more"]) == ([], False)
    assert nothing["next_cursor"] == (await page(shared_house, partner))["next_cursor"]  # behind what was looked at


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"after": "evt_00000000000000000000000000"}, "after"),
        ({"after": "evt_7zzzzzzzzzzzzzzzzzzzzzzzzz"}, "after"),
        ({"after": "txn_00000000000000000000000000"}, "after"),
        ({"after": ""}, "after"),
        ({"types": "transaction.lost"}, "types.0"),
        ({"types": "*"}, "types.0"),
        ({"limit": 101}, "limit"),
        ({"cursor": "x"}, "cursor"),
    ],
)
async def test_what_cannot_be_read_is_refused_by_its_name(partner: Partner, query: Json, field: str) -> None:
    refused(await partner.get("/v1/events", **query), 422, "invalid_request", field)


async def test_nobody_goes_on_from_an_event_of_another_partner_or_mode(shared_house: House) -> None:
    alice, bob = await shared_house.partner(), await shared_house.partner()
    live = await shared_house.key_of(alice.id, livemode=True)
    await alice.charge()
    hers = (await page(shared_house, alice))["data"][0]["id"]
    unheard_of = "evt_00000000000000000000000000"
    for stranger in (bob, live):
        assert await page(shared_house, stranger) == {"data": [], "has_more": False, "next_cursor": None}
        assert (await page(shared_house, stranger, after="latest"))["next_cursor"] is None
        problems = [
            refused(await stranger.get("/v1/events", after=after), 422, "invalid_request", "after")
            for after in (hers, unheard_of)
        ]
        for problem in problems:
            problem.pop("request_id")
        assert problems[0] == problems[1]


async def test_a_key_that_may_not_read_does_not_read_events(shared_house: House, partner: Partner) -> None:
    writing = await shared_house.key_of(partner.id, scopes=("transactions:write",))
    for path in ("/v1/events", "/v1/events/evt_00000000000000000000000000"):
        problem = refused(await writing.get(path), 403, "insufficient_scope")
        assert problem["scope"] == "transactions:read"
