"""Promise: every event reaches every endpoint that asked for it, signed, in order, as often as it takes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.steps import ID, TIME, listed, refused, retries_fall_due, until
from tests.house import House, Json, Partner, new_key


async def deliveries(partner: Partner, endpoint: Json) -> list[Json]:
    return await listed(partner, f"/v1/webhook-endpoints/{endpoint['id']}/deliveries", limit=100)


async def delivered(partner: Partner, endpoint: Json, count: int) -> list[Json]:
    """The endpoint's deliveries, newest first, once `count` of them arrived."""

    async def ask() -> list[Json]:
        return await deliveries(partner, endpoint)

    return await until(ask, lambda rows: sum(row["status"] == "delivered" for row in rows) == count)


async def test_an_event_is_signed_by_the_published_standard(house: House) -> None:
    # The receiver verifies with the standard's own library and keeps only what passes.
    partner = await house.partner()
    endpoint = await house.subscribed(partner)
    assert endpoint["secret"].startswith("whsec_")
    sale = (await partner.charge()).json()
    event = await house.receiver.event("transaction.completed", sale["id"])
    assert event.keys() == {"id", "type", "timestamp", "sequence", "data"}
    assert ID.fullmatch(event["id"])
    assert TIME.fullmatch(event["timestamp"])
    assert (event["sequence"], event["data"]) == (2, sale)
    assert house.receiver.ids == [told["id"] for told in house.receiver.events]
    assert house.receiver.refused == 0


async def test_a_failed_delivery_is_sent_again_under_the_same_id_and_both_tries_can_be_read(house: House) -> None:
    partner = await house.partner()
    endpoint = await house.subscribed(partner, ["transaction.completed"])
    house.receiver.answers = [500]
    sale = (await partner.charge()).json()

    async def tried() -> Json:
        return (await deliveries(partner, endpoint) or [{"attempt_count": 0}])[0]

    failed = await until(tried, lambda row: row["attempt_count"] == 1 and row["last_status_code"] == 500)
    assert (failed["status"], failed["delivered_at"]) == ("pending", None)
    assert failed["next_attempt_at"] is not None
    await retries_fall_due(house.owner)
    await house.receiver.event("transaction.completed", sale["id"])
    assert len(house.receiver.ids) == 2
    assert len(set(house.receiver.ids)) == 1

    (row,) = await delivered(partner, endpoint, 1)
    shown = (await partner.get(f"/v1/webhook-deliveries/{row['id']}")).json()
    attempts = shown.pop("attempts")
    assert shown == row
    assert (row["event_id"], row["transaction_id"]) == (house.receiver.ids[0], sale["id"])
    assert (row["attempt_count"], row["last_status_code"], row["next_attempt_at"]) == (2, 204, None)
    assert [(attempt["number"], attempt["status_code"]) for attempt in attempts] == [(1, 500), (2, 204)]
    assert attempts[0]["error"]
    assert attempts[1]["error"] is None
    assert all(TIME.fullmatch(attempt["started_at"]) and attempt["duration_ms"] >= 0 for attempt in attempts)


async def test_later_events_of_a_transaction_wait_for_earlier_ones(house: House) -> None:
    partner = await house.partner()
    await house.subscribed(partner)
    house.receiver.answers = [503, 503]
    sale = (await partner.charge()).json()
    await partner.post(f"/v1/transactions/{sale['id']}/refunds")

    async def failures() -> int:
        return len(house.receiver.ids)

    await until(failures, lambda count: count == 1)
    assert house.receiver.events == []
    other = (await partner.charge()).json()  # another transaction does not wait
    await until(failures, lambda count: count >= 2)
    for _ in range(3):
        await retries_fall_due(house.owner)
        await house.receiver.until(bool)
    events = await house.receiver.until(lambda events: len(events) == 7)
    for transaction_id, count in ((sale["id"], 5), (other["id"], 2)):
        sequences = [event["sequence"] for event in events if belongs(event, transaction_id)]
        assert sequences == list(range(1, count + 1))


async def test_sequences_of_a_transaction_have_no_gaps_whatever_happens_to_it(shared_house: House) -> None:
    partner = await shared_house.partner()
    endpoint = await shared_house.subscribed(partner)
    held = (await partner.charge(capture="manual")).json()
    path = f"/v1/transactions/{held['id']}"
    await partner.post(f"{path}/captures", {"amount": "10.00"})
    await partner.post(f"{path}/refunds", {"amount": "4.00"})
    await partner.post(f"{path}/refunds")
    await delivered(partner, endpoint, 9)
    mine = [event for event in shared_house.receiver.events if belongs(event, held["id"])]
    assert [event["sequence"] for event in mine] == list(range(1, 10))
    assert [event["type"] for event in mine] == [
        "transaction.created",
        "transaction.authorized",
        "transaction.completed",
        "refund.created",
        "refund.completed",
        "transaction.partially_refunded",
        "refund.created",
        "refund.completed",
        "transaction.refunded",
    ]


async def test_an_endpoint_gets_only_the_types_it_asked_for(shared_house: House) -> None:
    partner = await shared_house.partner()
    endpoint = await shared_house.subscribed(partner, ["refund.completed", "transaction.failed"])
    sale = (await partner.charge()).json()
    await partner.charge("pm_card_visa_chargeDeclined")
    await partner.post(f"/v1/transactions/{sale['id']}/refunds")
    rows = await delivered(partner, endpoint, 2)
    assert [row["event_type"] for row in rows] == ["refund.completed", "transaction.failed"]


async def test_every_endpoint_gets_its_own_delivery(shared_house: House) -> None:
    partner = await shared_house.partner()
    endpoints = [await shared_house.subscribed(partner, ["transaction.completed"]) for _ in range(2)]
    sale = (await partner.charge()).json()
    rows = [(await delivered(partner, endpoint, 1))[0] for endpoint in endpoints]
    assert len({row["id"] for row in rows}) == 2
    assert len({row["event_id"] for row in rows}) == 1
    expanded = (await partner.get(f"/v1/transactions/{sale['id']}", expand="deliveries")).json()["deliveries"]
    assert {row["id"] for row in expanded} == {row["id"] for row in rows}


async def test_after_a_rotation_the_old_and_the_new_secret_both_verify(house: House) -> None:
    partner = await house.partner()
    endpoint = await house.subscribed(partner, ["transaction.completed"])
    rotated = await partner.post(f"/v1/webhook-endpoints/{endpoint['id']}/rotate-secret")
    assert rotated.status_code == 200
    assert rotated.json()["secret"] not in ("", endpoint["secret"])
    assert TIME.fullmatch(rotated.json()["previous_secret_expires_at"])
    for secret in (endpoint["secret"], rotated.json()["secret"]):
        house.receiver.secrets = [secret]
        sale = (await partner.charge()).json()
        await house.receiver.event("transaction.completed", sale["id"])
    assert house.receiver.refused == 0


async def test_after_its_time_the_old_secret_verifies_no_more(house: House) -> None:
    partner = await house.partner()
    endpoint = await house.subscribed(partner, ["transaction.completed"])
    await partner.post(f"/v1/webhook-endpoints/{endpoint['id']}/rotate-secret")
    await house.owner.execute("UPDATE webhook_endpoints SET previous_secret_expires_at = now()")
    await partner.charge()

    async def refusals() -> int:
        return house.receiver.refused

    assert await until(refusals, lambda count: count > 0) == 1


async def test_a_secret_is_shown_once_and_again_to_whoever_repeats_the_request(shared_house: House) -> None:
    partner, key = await shared_house.partner(), new_key()
    body = {"url": f"{shared_house.receiver_url}/hooks", "event_types": ["ping"]}
    made = await partner.post("/v1/webhook-endpoints", body, key=key)
    again = await partner.post("/v1/webhook-endpoints", body, key=key)
    assert (again.content, again.headers["idempotent-replayed"]) == (made.content, "true")
    secret = made.json().pop("secret")
    path = f"/v1/webhook-endpoints/{made.json()['id']}"
    shown = [
        await partner.get(path),
        await partner.get("/v1/webhook-endpoints"),
        await partner.client.patch(path, json={"description": "shop"}),
        await partner.post(f"{path}/enable"),
    ]
    assert all(answer.status_code == 200 and secret not in answer.text for answer in shown)
    assert len(shown[1].json()["data"]) == 1
    stored = await shared_house.owner.fetch("SELECT k::text FROM idempotency_keys k WHERE key = $1", key)
    assert secret not in str(stored)


async def test_a_ping_arrives(shared_house: House) -> None:
    partner = await shared_house.partner()
    endpoint = await shared_house.subscribed(partner, ["refund.failed"])
    answer = await partner.post(f"/v1/webhook-endpoints/{endpoint['id']}/ping")
    assert answer.status_code == 202
    (row,) = await delivered(partner, endpoint, 1)
    assert (row["id"], row["event_type"]) == (answer.json()["delivery_id"], "ping")
    pings = [event for event in shared_house.receiver.events if event["id"] == answer.json()["event_id"]]
    assert [event["data"] for event in pings] == [{"endpoint_id": endpoint["id"]}]


async def test_a_changed_endpoint_is_used_as_changed(shared_house: House) -> None:
    partner = await shared_house.partner()
    endpoint = await shared_house.subscribed(partner, ["refund.failed"])
    path = f"/v1/webhook-endpoints/{endpoint['id']}"
    changed = await partner.client.patch(path, json={"event_types": ["transaction.completed"], "description": "new"})
    assert changed.status_code == 200
    assert (changed.json()["event_types"], changed.json()["description"]) == (["transaction.completed"], "new")
    assert (await partner.get(path)).json() == changed.json()
    sale = (await partner.charge()).json()
    assert (await delivered(partner, endpoint, 1))[0]["transaction_id"] == sale["id"]


async def test_a_deleted_endpoint_gets_nothing_more(house: House) -> None:
    partner = await house.partner()
    endpoint = await house.subscribed(partner)
    house.receiver.answers = [500]
    sale = (await partner.charge()).json()

    async def tried() -> int:
        return len(house.receiver.ids)

    await until(tried, lambda count: count == 1)
    path = f"/v1/webhook-endpoints/{endpoint['id']}"
    assert (await partner.client.delete(path)).status_code == 204
    refused(await partner.get(path), 404, "not_found")
    refused(await partner.client.delete(path), 404, "not_found")
    assert await listed(partner, "/v1/webhook-endpoints") == []
    later = (await partner.charge()).json()

    async def history() -> list[Json]:
        shown = await partner.get(f"/v1/transactions/{sale['id']}", expand="deliveries")
        rows: list[Json] = shown.json()["deliveries"]
        return rows

    rows = await until(history, lambda rows: all(row["status"] == "cancelled" for row in rows))
    assert len(rows) == 2
    assert (await partner.get(f"/v1/transactions/{later['id']}", expand="deliveries")).json()["deliveries"] == []
    assert house.receiver.events == []


async def test_an_endpoint_that_says_it_is_gone_is_disabled_and_told_of(house: House) -> None:
    partner = await house.partner()
    leaving = await house.subscribed(partner, ["transaction.completed"])
    await house.subscribed(partner, ["endpoint.disabled"])
    house.receiver.answers = [410]
    sale = (await partner.charge()).json()
    told = await house.receiver.event("endpoint.disabled", leaving["id"])
    path = f"/v1/webhook-endpoints/{leaving['id']}"
    disabled = (await partner.get(path)).json()
    assert disabled["status"] == "disabled"
    assert disabled["disabled_reason"]
    assert told["data"]["status"] == "disabled"

    (held,) = await deliveries(partner, leaving)
    assert held["status"] == "held"
    assert (await partner.post(f"{path}/enable")).json()["status"] == "enabled"
    await delivered(partner, leaving, 1)
    assert (await house.receiver.event("transaction.completed"))["data"]["id"] == sale["id"]


async def test_a_delivery_can_be_sent_once_more(house: House) -> None:
    partner = await house.partner()
    endpoint = await house.subscribed(partner, ["transaction.completed"])
    await partner.charge()
    (row,) = await delivered(partner, endpoint, 1)
    again = await partner.post(f"/v1/webhook-deliveries/{row['id']}/retry")
    assert again.status_code == 202
    await house.receiver.until(lambda events: len(events) == 2)
    assert len(set(house.receiver.ids)) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/hooks",
        "ftp://shop.example/hooks",
        "https://user:secret@shop.example/hooks",
        "https://10.0.0.1/hooks",
        "https://169.254.169.254/latest/meta-data",
        "https://[fd00::1]/hooks",
        "https://192.168.1.1/",
        "https://0x0a000001/",
        "https://shop.example:8443/hooks",
        "not a url",
        "",
        "https://" + "a" * 2100,
    ],
)
async def test_an_address_that_must_not_be_called_is_refused(shared_house: House, url: str) -> None:
    partner = await shared_house.partner()
    answer = await partner.post("/v1/webhook-endpoints", {"url": url})
    refused(answer, 422, "invalid_request", "url")


@pytest.mark.parametrize("event_types", [[], ["transaction.lost"], ["*", 1], "ping", None])
async def test_unknown_event_types_are_refused(shared_house: House, event_types: Any) -> None:
    partner = await shared_house.partner()
    answer = await partner.post("/v1/webhook-endpoints", {"url": "https://a.example/", "event_types": event_types})
    problem = refused(answer, 422, "invalid_request")
    assert all(error["field"].startswith("event_types") for error in problem["errors"])


def belongs(event: Json, transaction_id: str) -> bool:
    return transaction_id in (event["data"].get("id"), event["data"].get("transaction_id"))
