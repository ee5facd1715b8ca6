"""Promise: of each day a partner is told how many events it was to get, with a digest to prove that it has them.

Everybody's clock but the database's is the test's; it stands still until it is set.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta

import pytest

from db import ids
from gateway import manifests
from tests.acceptance.steps import ID, TIME, listed
from tests.house import House, Json, Partner, utc_now

DAY = timedelta(days=1)
EMPTY = hashlib.sha256(b"").hexdigest()


class Clock:
    def __init__(self) -> None:
        self.now = utc_now()
        self.today: date = self.now.date()

    def __call__(self) -> datetime:
        return self.now

    def set(self, days: int, at: time) -> None:
        """To a time of a day that many days after the first."""
        self.now = datetime.combine(self.today + days * DAY, at, UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def dated(database_url: str, clock: Clock) -> AsyncIterator[House]:
    async with House.opened(database_url, clock=clock) as opened:
        yield opened
        await opened.check_invariants()


def digest(event_ids: set[str]) -> str:
    """As a partner does it."""
    return hashlib.sha256("".join(f"{one}\n" for one in sorted(event_ids)).encode()).hexdigest()


async def told(house: House, partner: Partner, endpoint: Json) -> list[Json]:
    return await listed(partner, f"/v1/webhook-endpoints/{endpoint['id']}/manifests")


async def test_a_manifest_names_exactly_what_the_endpoint_got_that_day(dated: House, clock: Clock) -> None:
    partner = await dated.partner()
    endpoint = await dated.subscribed(partner)
    sale = (await partner.charge()).json()
    await partner.post(f"/v1/transactions/{sale['id']}/refunds")
    await partner.post(f"/v1/webhook-endpoints/{endpoint['id']}/ping")
    events = await dated.receiver.until(lambda events: len(events) == 6)
    got = {event["id"] for event in events if event["type"] != "ping"}

    clock.set(1, time(2))
    assert await manifests.close_due(dated.background) == 1
    event = await dated.receiver.event("endpoint.manifest")
    assert (event["data"]["day"], event["data"]["count"]) == (clock.today.isoformat(), 5)
    assert event["data"]["digest"] == digest(got)
    assert event["data"]["endpoint_id"] == endpoint["id"]
    assert event["data"]["event_id"] == event["id"]
    assert await told(dated, partner, endpoint) == [event["data"]]
    assert ID.fullmatch(event["id"])
    assert TIME.fullmatch(event["data"]["created_at"])


async def test_what_a_replay_sent_again_counts_once(dated: House, clock: Clock) -> None:
    partner = await dated.partner()
    endpoint = await dated.subscribed(partner)
    await partner.charge()
    got = {event["id"] for event in await dated.receiver.until(lambda events: len(events) == 2)}
    clock.now += timedelta(seconds=1)  # the end of a range is not in it
    body = {"since": (clock.now - timedelta(hours=1)).isoformat()}
    assert (await partner.post(f"/v1/webhook-endpoints/{endpoint['id']}/replay", body)).json()["total"] == 2
    await dated.receiver.until(lambda events: len(events) == 4)
    clock.set(1, time(2))
    await manifests.close_due(dated.background)
    (shown,) = await told(dated, partner, endpoint)
    assert (shown["count"], shown["digest"]) == (2, digest(got))


async def test_a_day_is_closed_two_hours_after_its_end_and_days_that_were_missed_are_caught_up(
    dated: House, clock: Clock
) -> None:
    partner = await dated.partner()
    endpoint = await dated.subscribed(partner, ["transaction.completed"])
    await partner.charge()
    clock.set(1, time(1, 59, 59))
    assert await manifests.close_due(dated.background) == 0
    clock.set(4, time(2))
    assert await manifests.close_due(dated.background) == 4
    assert await manifests.close_due(dated.background) == 0
    rows = await told(dated, partner, endpoint)
    assert [row["day"] for row in rows] == [(clock.today + days * DAY).isoformat() for days in (3, 2, 1, 0)]
    assert [row["count"] for row in rows] == [0, 0, 0, 1]
    assert {row["digest"] for row in rows[:3]} == {EMPTY}

    path = f"/v1/webhook-endpoints/{endpoint['id']}/manifests"
    first = (await partner.get(path, limit=3)).json()
    rest = (await partner.get(path, limit=3, cursor=first["next_cursor"])).json()
    assert (first["data"], rest["data"], rest["has_more"]) == (rows[:3], rows[3:], False)


async def test_the_manifests_own_events_are_on_none(dated: House, clock: Clock) -> None:
    partner = await dated.partner()
    endpoint = await dated.subscribed(partner)
    yesterday = "UPDATE webhook_endpoints SET created_at = created_at - interval '1 day'"
    await dated.owner.execute(yesterday)
    clock.set(0, time(2))
    assert await manifests.close_due(dated.background) == 1
    await dated.receiver.event("endpoint.manifest")
    clock.set(1, time(2))
    await manifests.close_due(dated.background)
    assert [row["count"] for row in await told(dated, partner, endpoint)] == [0, 0]


async def test_who_did_not_ask_is_not_told_and_can_look_and_who_is_gone_gets_none(dated: House, clock: Clock) -> None:
    partner = await dated.partner()
    silent = await dated.subscribed(partner, ["transaction.completed"])
    asking = await dated.subscribed(partner, ["endpoint.manifest"])
    leaving = await dated.subscribed(partner)
    await partner.client.delete(f"/v1/webhook-endpoints/{leaving['id']}")
    sale = (await partner.charge()).json()
    completed = await dated.receiver.event("transaction.completed", sale["id"])
    clock.set(1, time(2))
    assert await manifests.close_due(dated.background) == 2
    event = await dated.receiver.event("endpoint.manifest")
    assert (event["data"]["endpoint_id"], event["data"]["count"]) == (asking["id"], 0)
    (shown,) = await told(dated, partner, silent)
    assert (shown["count"], shown["digest"]) == (1, digest({completed["id"]}))
    rows = await listed(partner, f"/v1/webhook-endpoints/{silent['id']}/deliveries")
    assert [row["event_type"] for row in rows] == ["transaction.completed"]


async def test_two_workers_at_once_write_each_manifest_once(dated: House, clock: Clock) -> None:
    partner = await dated.partner()
    endpoints = [await dated.subscribed(partner, ["transaction.completed"]) for _ in range(5)]
    clock.set(3, time(2))

    async def closed() -> int:
        return sum(await asyncio.gather(*(manifests.close_due(dated.background) for _ in range(4))))

    count = await closed()
    while more := await closed():  # one that was passed over, as another worker was at it
        count += more
    assert count == 15
    for endpoint in endpoints:
        assert len(await told(dated, partner, endpoint)) == 3
    events = await dated.owner.fetchval("SELECT count(*) FROM events WHERE type = 'endpoint.manifest'")
    assert events == 15


async def test_one_whose_day_cannot_be_counted_in_time_keeps_no_other_from_its_own(dated: House, clock: Clock) -> None:
    partner = await dated.partner()
    slow, quick = [await dated.subscribed(partner) for _ in range(2)]
    clock.set(1, time(2))
    await dated.owner.execute(
        "CREATE FUNCTION too_slow() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'timeout' USING ERRCODE = 'query_canceled'; END $$"
    )
    await dated.owner.execute(
        "CREATE TRIGGER too_slow AFTER INSERT ON webhook_manifests FOR EACH ROW"
        f" WHEN (NEW.endpoint_id = '{ids.decode('whe', slow['id'])}') EXECUTE FUNCTION too_slow()"
    )
    assert await manifests.close_due(dated.background) == 1
    assert await told(dated, partner, slow) == []
    assert len(await told(dated, partner, quick)) == 1
    assert await dated.owner.fetchval("SELECT count(*) FROM events") == 1  # its event went with the row
    await dated.owner.execute("DROP TRIGGER too_slow ON webhook_manifests")
    assert await manifests.close_due(dated.background) == 1
    (shown,) = await told(dated, partner, slow)
    assert (await dated.receiver.until(lambda events: len(events) == 2))[-1]["data"] == shown
