"""Promise: an endpoint gets the headers, pauses and signatures that its partner asked for, and shows no secret."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook

from tests.acceptance.steps import TIME, listed, refused, until
from tests.house import House, Json, Partner, new_key

CANARY = "canary-6f1c9a"
KEYS = "/.well-known/webhook-signing-keys"


async def deliveries(partner: Partner, endpoint: Json) -> list[Json]:
    return await listed(partner, f"/v1/webhook-endpoints/{endpoint['id']}/deliveries", limit=100)


async def change(partner: Partner, endpoint: Json, **members: Any) -> Json:
    answer = await partner.client.patch(f"/v1/webhook-endpoints/{endpoint['id']}", json=members)
    assert answer.status_code == 200, answer.text
    changed: Json = answer.json()
    return changed


async def sent(house: House, partner: Partner) -> dict[str, str]:
    """The headers of the next delivery of a completed sale."""
    sale = (await partner.charge()).json()
    event = await house.receiver.event("transaction.completed", sale["id"])
    return house.receiver.came[house.receiver.ids.index(event["id"])][0]


# ── Headers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_headers_arrive_with_every_delivery_until_they_are_changed_or_removed(house: House) -> None:
    partner = await house.partner()
    wanted = {"Authorization": f"Bearer {CANARY}", "X-Shop": "a b"}
    endpoint = await house.subscribed(partner, ["transaction.completed"], headers=wanted)
    assert endpoint["header_names"] == ["authorization", "x-shop"]
    for _ in range(2):
        carried = await sent(house, partner)
        assert (carried["authorization"], carried["x-shop"]) == (f"Bearer {CANARY}", "a b")
    assert (await change(partner, endpoint, description="Shop"))["header_names"] == ["authorization", "x-shop"]
    assert (await change(partner, endpoint, headers={"x-shop": "c"}))["header_names"] == ["x-shop"]
    carried = await sent(house, partner)
    assert ("authorization" in carried, carried["x-shop"]) == (False, "c")
    nothings: tuple[Json | None, ...] = ({}, None)
    for nothing in nothings:
        await change(partner, endpoint, headers={"x-shop": "c"})
        assert (await change(partner, endpoint, headers=nothing))["header_names"] == []
        assert "x-shop" not in await sent(house, partner)
    assert house.receiver.refused == 0


async def test_what_headers_say_is_shown_to_nobody_and_stored_sealed(
    shared_house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    house, key = shared_house, new_key()
    partner = await house.partner()
    body = {"url": f"{house.receiver_url}/hooks", "headers": {"x-key": CANARY}}
    made = await partner.post("/v1/webhook-endpoints", body, key=key)
    again = await partner.post("/v1/webhook-endpoints", body, key=key)
    assert again.headers["idempotent-replayed"] == "true"
    house.receiver.secrets.append(made.json()["secret"])
    path = f"/v1/webhook-endpoints/{made.json()['id']}"
    assert (await sent(house, partner))["x-key"] == CANARY
    await change(partner, made.json(), headers={"x-key": f"{CANARY}-2"})
    answers = [made, again, await partner.get(path), await partner.get("/v1/webhook-endpoints")]
    answers += [await partner.post(f"{path}/{act}") for act in ("disable", "enable", "rotate-secret", "ping")]
    answers.append(await partner.get(f"{path}/deliveries"))
    refusal = await partner.client.patch(path, json={"headers": {"x-key": f"{CANARY}\n"}})
    refused(refusal, 422, "invalid_request", "headers.x-key")
    assert not [answer.url for answer in [*answers, refusal] if CANARY in answer.text]
    assert CANARY not in caplog.text
    for table in ("webhook_endpoints", "idempotency_keys", "audit_logs", "events", "webhook_attempts"):
        rows = await house.owner.fetch(f"SELECT t::text AS row FROM {table} t")
        found = "".join(row["row"] for row in rows)
        assert CANARY not in found, table
        assert CANARY.encode().hex() not in found, table


async def test_a_deleted_endpoint_leaves_no_headers_behind(shared_house: House) -> None:
    partner = await shared_house.partner()
    endpoint = await shared_house.subscribed(partner, headers={"x-key": CANARY})
    assert (await partner.client.delete(f"/v1/webhook-endpoints/{endpoint['id']}")).status_code == 204
    left = await shared_house.owner.fetchrow(
        "SELECT headers, header_names FROM webhook_endpoints WHERE partner_id = $1", partner.id
    )
    assert left is not None
    assert tuple(left) == (None, [])


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"Host": "a"}, "headers.Host"),
        ({"webhook-signature": "v1,a"}, "headers.webhook-signature"),
        ({"x-shop": " a"}, "headers.x-shop"),
        ({"x shop": "a"}, "headers.x shop"),
        ({"x-shop": "4242424242424242"}, "headers.x-shop"),
        ({f"x-{number}": "a" for number in range(11)}, "headers"),
    ],
)
async def test_headers_that_cannot_be_sent_are_refused_by_name(
    shared_house: House, headers: dict[str, str], field: str
) -> None:
    partner = await shared_house.partner()
    answer = await partner.post("/v1/webhook-endpoints", {"url": "https://a.example/", "headers": headers})
    code = "card_data_refused" if "4242424242424242" in headers.values() else "invalid_request"
    refused(answer, 422, code, field)
    assert await listed(partner, "/v1/webhook-endpoints") == []


# ── How fast, and when not at all ───────────────────────────────────────────────────────────────────────────────────


async def test_a_rate_limit_is_kept_changed_and_removed(shared_house: House) -> None:
    partner = await shared_house.partner()
    endpoint = await shared_house.subscribed(partner, rate_limit_per_second=20)
    assert endpoint["rate_limit_per_second"] == 20
    assert (await change(partner, endpoint, description="Shop"))["rate_limit_per_second"] == 20
    for limit in (1, 1_000, None):
        assert (await change(partner, endpoint, rate_limit_per_second=limit))["rate_limit_per_second"] == limit
        shown = await partner.get(f"/v1/webhook-endpoints/{endpoint['id']}")
        assert shown.json()["rate_limit_per_second"] == limit


async def test_what_happens_while_an_endpoint_is_disabled_is_held_until_it_is_enabled(house: House) -> None:
    partner = await house.partner()
    endpoint = await house.subscribed(partner, ["transaction.completed"])
    path = f"/v1/webhook-endpoints/{endpoint['id']}"
    for _ in range(2):  # twice is no other than once
        disabled = (await partner.post(f"{path}/disable")).json()
        assert (disabled["status"], disabled["disabled_reason"]) == ("disabled", "by_partner")
    sales = [(await partner.charge()).json()["id"] for _ in range(2)]
    assert [row["status"] for row in await deliveries(partner, endpoint)] == ["held", "held"]
    assert house.receiver.ids == []

    enabled = (await partner.post(f"{path}/enable")).json()
    assert (enabled["status"], enabled["disabled_reason"]) == ("enabled", None)
    events = await house.receiver.until(lambda events: len(events) == 2)
    assert {event["data"]["id"] for event in events} == set(sales)
    lines = await house.owner.fetch(
        "SELECT action, resource_id FROM audit_logs WHERE partner_id = $1 AND resource_type = 'webhook_endpoint'"
        " ORDER BY id",
        partner.id,
    )
    acts = ("create", "disable", "disable", "enable")
    assert [tuple(line) for line in lines] == [(f"webhook_endpoint.{act}", endpoint["id"]) for act in acts]


# ── Signatures by a public key ──────────────────────────────────────────────────────────────────────────────────────


async def published(house: House) -> list[Json]:
    """What anyone may read, without a key."""
    answer = await house.http.get(house.base_url + KEYS)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "public, max-age=300"
    keys: list[Json] = answer.json()["data"]
    return keys


def verifies(key: Json, headers: dict[str, str], body: bytes) -> bool:
    """As a partner does, by the published key and the specification."""
    assert key["algorithm"] == "ed25519"
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key["public_key"].removeprefix("whpk_")))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    for signature in headers["webhook-signature"].split(" "):
        scheme, _, encoded = signature.partition(",")
        if scheme == "v1a":
            try:
                public.verify(base64.b64decode(encoded), signed)
            except InvalidSignature:
                continue
            return True
    return False


def schemes(headers: dict[str, str]) -> list[str]:
    return [signature.partition(",")[0] for signature in headers["webhook-signature"].split(" ")]


async def test_a_delivery_verifies_by_the_secret_and_by_the_public_key_also_while_both_are_rotated(
    house: House,
) -> None:
    async def first() -> int:
        count: int = await house.owner.fetchval("SELECT count(*) FROM signing_keys")
        return count

    await until(first, lambda count: count == 1)  # the worker makes it as it begins
    await house.desk.rotate_signing_key(overlap=timedelta(hours=24))
    new, old = await published(house)
    assert new.keys() == old.keys() == {"id", "object", "algorithm", "public_key", "created_at", "retires_at"}
    assert new["retires_at"] is None
    assert TIME.fullmatch(old["retires_at"])
    partner = await house.partner()
    endpoint = await house.subscribed(partner, ["transaction.completed"], ed25519=True)
    assert endpoint["ed25519"] is True
    rotated = await partner.post(f"/v1/webhook-endpoints/{endpoint['id']}/rotate-secret")
    await sent(house, partner)
    headers, body = house.receiver.came[-1]
    assert schemes(headers) == ["v1", "v1", "v1a", "v1a"]
    for secret in (endpoint["secret"], rotated.json()["secret"]):
        Webhook(secret).verify(body, headers)
    assert verifies(new, headers, body)
    assert verifies(old, headers, body)
    assert not verifies(new, headers, body + b" ")


async def test_the_very_first_delivery_that_needs_a_key_has_one(house: House) -> None:
    partner = await house.partner()
    endpoint = await house.subscribed(partner, ["transaction.completed"])
    assert schemes(await sent(house, partner)) == ["v1"]
    assert (await change(partner, endpoint, ed25519=True))["ed25519"] is True
    assert schemes(await sent(house, partner)) == ["v1", "v1a"]
    headers, body = house.receiver.came[-1]
    assert [verifies(key, headers, body) for key in await published(house)] == [True]
    assert (await change(partner, endpoint, ed25519=False))["ed25519"] is False
    assert schemes(await sent(house, partner)) == ["v1"]


async def test_whether_public_keys_sign_is_yes_or_no(shared_house: House) -> None:
    partner = await shared_house.partner()
    endpoint = await shared_house.subscribed(partner, ["transaction.completed"])
    path = f"/v1/webhook-endpoints/{endpoint['id']}"
    refused(await partner.client.patch(path, json={"ed25519": None}), 422, "invalid_request", "ed25519")
