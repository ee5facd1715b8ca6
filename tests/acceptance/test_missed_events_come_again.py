"""Promise: what an endpoint missed, or any range of events, is sent once more when its partner asks."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from gateway.transactions import representation
from tests.acceptance.steps import ID, TIME, listed, refused, retries_fall_due, until
from tests.house import House, Json, Partner, new_key, utc_now

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def ago(time: timedelta) -> str:
    return representation.instant(utc_now() - time)


async def replayed(partner: Partner, endpoint: Json, **body: Any) -> Json:
    """A replay of the last hour, as it was accepted."""
    answer = await partner.post(f"/v1/webhook-endpoints/{endpoint['id']}/replay", {"since": ago(HOUR)} | body)
    assert answer.status_code == 202, answer.text
    made: Json = answer.json()
    return made


async def over(partner: Partner, replay: Json) -> Json:
    async def ask() -> Json:
        shown: Json = (await partner.get(f"/v1/webhook-replays/{replay['id']}")).json()
        return shown

    return await until(ask, lambda shown: shown["status"] != "running")


async def of_replay(partner: Partner, endpoint: Json, replay: Json) -> list[Json]:
    rows = await listed(partner, f"/v1/webhook-endpoints/{endpoint['id']}/deliveries", limit=100)
    return [row for row in rows if row["replay_id"] == replay["id"]]


async def test_events_come_again_under_their_own_ids_in_order_and_from_before_the_endpoint_existed(
    house: House,
) -> None:
    partner = await house.partner()
    await house.subscribed(partner)
    sales = [(await partner.charge()).json()["id"] for _ in range(2)]
    live = await house.receiver.until(lambda events: len(events) == 4)
    later = await house.subscribed(partner)
    replay = await replayed(partner, later)
    assert ID.fullmatch(replay["id"])
    assert (replay["status"], replay["total"], replay["queued"], replay["finished_at"]) == ("running", 4, 0, None)

    shown = await over(partner, replay)
    counted = {name: shown[name] for name in ("status", "total", "queued", "delivered", "failed")}
    assert counted == {"status": "completed", "total": 4, "queued": 4, "delivered": 4, "failed": 0}
    assert TIME.fullmatch(shown["finished_at"])
    assert Counter(house.receiver.ids) == {event["id"]: 2 for event in live}
    again = house.receiver.events[4:]
    assert sorted(again, key=str) == sorted(live, key=str)
    for sale in sales:
        assert [event["sequence"] for event in again if event["data"]["id"] == sale] == [1, 2]
    assert len(await of_replay(partner, later, replay)) == 4
    assert await listed(partner, f"/v1/webhook-endpoints/{later['id']}/replays") == [shown]


async def test_a_replayed_delivery_is_tried_again_like_any_other(house: House) -> None:
    partner = await house.partner()
    await partner.charge()
    endpoint = await house.subscribed(partner, ["transaction.completed"])
    house.receiver.answers = [500, 503]
    replay = await replayed(partner, endpoint)

    async def tried() -> int:
        return len(house.receiver.ids)

    for tries in (1, 2):
        await until(tried, lambda count, tries=tries: count == tries)  # type: ignore[misc]
        assert (await partner.get(f"/v1/webhook-replays/{replay['id']}")).json()["status"] == "running"
        (row,) = await until(
            lambda: of_replay(partner, endpoint, replay), lambda rows: rows[0]["last_status_code"] is not None
        )
        assert row["status"] == "pending"
        await retries_fall_due(house.owner)
    assert (await over(partner, replay))["delivered"] == 1
    assert len(set(house.receiver.ids)) == 1
    (row,) = await of_replay(partner, endpoint, replay)
    assert row["attempt_count"] == 3


async def test_only_the_range_and_the_types_that_were_asked_for_come(house: House) -> None:
    partner = await house.partner()
    endpoint = await house.subscribed(partner, ["refund.completed", "transaction.completed"])
    await partner.post(f"/v1/webhook-endpoints/{endpoint['id']}/ping")
    sale = (await partner.charge()).json()
    completed = await house.receiver.event("transaction.completed")
    await partner.post(f"/v1/transactions/{sale['id']}/refunds")
    refund = await house.receiver.event("refund.completed")

    async def came(**body: Any) -> list[str]:
        replay = await over(partner, await replayed(partner, endpoint, **body))
        rows = await of_replay(partner, endpoint, replay)
        assert len(rows) == replay["total"] == replay["delivered"]
        return sorted(row["event_type"] for row in rows)

    assert await came() == ["refund.completed", "transaction.completed"]  # its own types, and no ping
    assert await came(event_types=["transaction.created", "ping"]) == ["transaction.created"]
    assert await came(since=completed["timestamp"], until=refund["timestamp"]) == ["transaction.completed"]
    everything = ["created", "completed", "refunded"]
    assert await came(event_types=["*"]) == sorted(
        ["refund.created", "refund.completed", *(f"transaction.{name}" for name in everything)]
    )


async def test_asked_for_twice_under_one_key_it_runs_once(shared_house: House) -> None:
    partner, key = await shared_house.partner(), new_key()
    endpoint = await shared_house.subscribed(partner)
    path, body = f"/v1/webhook-endpoints/{endpoint['id']}/replay", {"since": ago(HOUR)}
    first, again = [await partner.post(path, body, key=key) for _ in range(2)]
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert len(await listed(partner, f"/v1/webhook-endpoints/{endpoint['id']}/replays")) == 1


async def test_one_at_a_time_runs_and_it_can_be_cancelled(house: House) -> None:
    partner = await house.partner()
    await partner.charge()
    endpoint = await house.subscribed(partner)
    house.receiver.answers = [500] * 10
    replay = await replayed(partner, endpoint)
    path = f"/v1/webhook-endpoints/{endpoint['id']}/replay"
    problem = refused(await partner.post(path, {"since": ago(HOUR)}), 409, "invalid_state")
    assert (problem["current_status"], problem["replay_id"]) == ("running", replay["id"])

    await until(lambda: of_replay(partner, endpoint, replay), lambda rows: len(rows) == 2)
    for _ in range(2):
        answer = await partner.post(f"/v1/webhook-replays/{replay['id']}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert {row["status"] for row in await of_replay(partner, endpoint, replay)} == {"cancelled"}
    house.receiver.answers = []
    done = await over(partner, await replayed(partner, endpoint))
    assert (done["status"], done["delivered"]) == ("completed", 2)
    late = await partner.post(f"/v1/webhook-replays/{done['id']}/cancel")
    assert refused(late, 409, "invalid_state")["current_status"] == "completed"


async def test_a_replay_rests_while_its_endpoint_is_disabled_and_ends_with_it(house: House) -> None:
    partner = await house.partner()
    endpoint = await house.subscribed(partner, ["transaction.completed"])
    path = f"/v1/webhook-endpoints/{endpoint['id']}"
    house.receiver.answers = [410]
    await partner.charge()

    async def status() -> str:
        shown: str = (await partner.get(path)).json()["status"]
        return shown

    await until(status, lambda status: status == "disabled")
    replay = await replayed(partner, endpoint)
    assert (await partner.post(f"{path}/enable")).status_code == 200
    assert (await over(partner, replay))["delivered"] == 1

    house.receiver.answers = [500]
    replay = await replayed(partner, endpoint)
    await until(lambda: of_replay(partner, endpoint, replay), lambda rows: len(rows) == 1)
    assert (await partner.client.delete(path)).status_code == 204
    assert (await over(partner, replay))["status"] == "cancelled"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "since"),
        ({"since": "yesterday"}, "since"),
        ({"since": ago(-HOUR)}, "since"),
        ({"since": ago(HOUR), "until": ago(2 * HOUR)}, "since"),
        ({"since": ago(91 * DAY)}, "since"),
        ({"since": "0001-01-01T00:00:00Z"}, "since"),
        ({"since": "9999-12-31T23:59:59Z"}, "since"),
        ({"since": ago(HOUR), "until": "now"}, "until"),
        ({"since": ago(HOUR), "event_types": ["unheard.of"]}, "event_types"),
        ({"since": ago(HOUR), "event_types": []}, "event_types"),
        ({"since": ago(HOUR), "limit": 1}, "limit"),
    ],
)
async def test_a_range_that_makes_no_sense_is_refused(shared_house: House, body: Json, field: str) -> None:
    partner = await shared_house.partner()
    endpoint = await shared_house.subscribed(partner)
    refused(await partner.post(f"/v1/webhook-endpoints/{endpoint['id']}/replay", body), 422, "invalid_request", field)


async def test_a_transactions_deliveries_are_listed_with_those_of_its_refunds_and_replays(house: House) -> None:
    partner = await house.partner()
    endpoint = await house.subscribed(partner)
    sale = (await partner.charge()).json()
    await partner.post(f"/v1/transactions/{sale['id']}/refunds")
    await house.receiver.until(lambda events: len(events) == 5)
    await over(partner, await replayed(partner, endpoint, event_types=["transaction.completed"]))
    path = f"/v1/transactions/{sale['id']}/deliveries"
    rows = await listed(partner, path)
    expanded = (await partner.get(f"/v1/transactions/{sale['id']}", expand="deliveries")).json()["deliveries"]
    assert [row["id"] for row in rows] == sorted((row["id"] for row in expanded), reverse=True)
    assert len(rows) == 6
    first = (await partner.get(path, limit=2)).json()
    rest = (await partner.get(path, limit=100, cursor=first["next_cursor"])).json()
    assert (first["data"] + rest["data"], rest["has_more"]) == (rows, False)
    for row in rows:
        shown = (await partner.get(f"/v1/webhook-deliveries/{row['id']}")).json()
        assert [attempt["status_code"] for attempt in shown["attempts"]] == [204]
