"""Promise: nothing of a partner can be seen, found, changed or guessed by another one, nor in the other mode."""

from __future__ import annotations

import secrets
from typing import Any

import httpx
import pytest

from tests.acceptance.steps import listed, refused, until
from tests.house import House, Json, Partner, new_key

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
PREFIXES = {
    "/v1/transactions": "txn",
    "/v1/refunds": "rfd",
    "/v1/webhook-endpoints": "whe",
    "/v1/webhook-deliveries": "whd",
    "/v1/webhook-replays": "whr",
    "/v1/events": "evt",
    "/v1/customers": "cus",
    "/v1/payment-methods": "pmt",
    "/v1/disputes": "dsp",
    "/v1/routing-rules": "rul",
}
"""What the {id} of a path names."""
BODIES: dict[str, Json] = {"replay": {"since": "2026-01-31T12:00:00Z", "until": "2026-01-31T13:00:00Z"}}
"""By the end of a path, what its body must hold."""
SALE: Json = {
    "amount": "19.99",
    "currency": "USD",
    "payment_method": {"type": "card", "tokens": {"stripe": "pm_card_visa"}},
}


def unheard_of(prefix: str) -> str:
    """An id that belongs to nobody."""
    return f"{prefix}_0{''.join(secrets.choice(ALPHABET) for _ in range(25))}"


@pytest.fixture(scope="module")
async def alice(shared_house: House) -> Partner:
    return await shared_house.partner()


@pytest.fixture(scope="module")
async def bob(shared_house: House) -> Partner:
    return await shared_house.partner()


@pytest.fixture(scope="module")
async def things(shared_house: House, alice: Partner) -> dict[str, str]:
    """One of everything of Alice's, by the prefix of its id."""
    endpoint = await shared_house.subscribed(alice)
    customer = (await alice.post("/v1/customers", {"email": "secret@example.com", "reference": "secret"})).json()
    stored = {"type": "card", "tokens": {"stripe": "pm_card_visa"}, "customer": customer["id"]}
    method = (await alice.post("/v1/payment-methods", stored)).json()
    card = {"id": method["id"]}
    sale = (await alice.charge(reference="secret-order", metadata={"secret": "yes"}, payment_method=card)).json()
    refund = (await alice.post(f"/v1/transactions/{sale['id']}/refunds", {"amount": "1.00"})).json()
    await alice.post(f"/v1/transactions/{sale['id']}/refunds", {"amount": "1.00"})
    rules = (await alice.post("/v1/routing-rules", {"rules": [{"name": "secret", "then": {"adaptive": []}}]})).json()
    replay = (await alice.post(f"/v1/webhook-endpoints/{endpoint['id']}/replay", BODIES["replay"])).json()
    path = f"/v1/webhook-endpoints/{endpoint['id']}/deliveries"

    async def delivered() -> list[Json]:
        return await listed(alice, path)

    rows = await until(delivered, lambda rows: len(rows) == 8 and all(row["status"] == "delivered" for row in rows))
    shown = f"/v1/webhook-replays/{replay['id']}"
    await until(lambda: alice.get(shown), lambda answer: answer.json()["status"] == "completed")
    return {
        "txn": sale["id"],
        "rfd": refund["id"],
        "whe": endpoint["id"],
        "whd": rows[0]["id"],
        "whr": replay["id"],
        "evt": rows[0]["event_id"],
        "rul": rules["id"],
        "cus": customer["id"],
        "pmt": method["id"],
    }


@pytest.fixture(scope="module")
async def routes(shared_house: House) -> list[tuple[str, str]]:
    """Every (method, path) of the published description that names a thing."""
    document = (await shared_house.http.get(f"{shared_house.base_url}/openapi.json")).json()
    return [(method.upper(), path) for path, methods in document["paths"].items() for method in methods if "{" in path]


async def call(partner: Partner, method: str, path: str) -> httpx.Response:
    body = BODIES.get(path.rpartition("/")[2], {}) if method in ("POST", "PATCH", "PUT") else None
    return await partner.client.request(method, path, json=body, headers={"Idempotency-Key": new_key()})


def told(answer: httpx.Response) -> Any:
    """All of an answer that could tell one thing from another."""
    fields = {"content-type", "content-length", "cache-control"}
    body = refused(answer, 404, "not_found")
    return {name: body[name] for name in body if name != "request_id"}, {
        name: value for name, value in answer.headers.items() if name in fields
    }


async def test_another_partners_thing_looks_exactly_like_none_on_every_route(
    shared_house: House, alice: Partner, bob: Partner, things: dict[str, str], routes: list[tuple[str, str]]
) -> None:
    live = await shared_house.key_of(alice.id, livemode=True)
    before = await everything_of(alice, things)
    for method, path in routes:
        prefix = next(prefix for start, prefix in PREFIXES.items() if path.startswith(start))
        missing = await call(bob, method, path.replace("{id}", unheard_of(prefix)))
        told(missing)
        if prefix not in things:
            continue  # nothing of that kind can be made yet
        for stranger in (bob, live):
            foreign = await call(stranger, method, path.replace("{id}", things[prefix]))
            assert told(foreign) == told(missing), (method, path)
    assert await everything_of(alice, things) == before


async def everything_of(partner: Partner, things: dict[str, str]) -> list[Any]:
    paths = (
        f"/v1/transactions/{things['txn']}?expand=events,refunds,ledger,deliveries",
        f"/v1/refunds/{things['rfd']}",
        f"/v1/webhook-endpoints/{things['whe']}",
        f"/v1/webhook-deliveries/{things['whd']}",
        f"/v1/events/{things['evt']}",
        f"/v1/webhook-endpoints/{things['whe']}/replays",
        f"/v1/routing-rules/{things['rul']}",
        f"/v1/customers/{things['cus']}",
        f"/v1/payment-methods/{things['pmt']}",
    )
    return [(await partner.client.get(path)).json() for path in paths]


@pytest.mark.parametrize("kind", ["wrong prefix", "too short", "upper case", "not an id", "a path", "NUL"])
async def test_what_is_no_id_is_not_found_either(alice: Partner, things: dict[str, str], kind: str) -> None:
    sale = things["txn"]
    text = {
        "wrong prefix": sale.replace("txn", "rfd"),
        "too short": sale[:-1],
        "upper case": sale.upper(),
        "not an id": "1",
        "a path": "..%2f..%2fetc",
        "NUL": f"{sale}%00",
    }[kind]
    refused(await alice.client.get(f"/v1/transactions/{text}"), 404, "not_found")


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/transactions", "/v1/refunds", "/v1/webhook-endpoints", "/v1/ledger-entries"),
        *("/v1/customers", "/v1/payment-methods", "/v1/routing-rules", "/v1/events"),
    ],
)
async def test_lists_hold_only_ones_own(
    shared_house: House, alice: Partner, bob: Partner, things: dict[str, str], path: str
) -> None:
    assert await listed(alice, path)
    assert await listed(bob, path) == []
    assert await listed(await shared_house.key_of(alice.id, livemode=True), path) == []


async def test_no_filter_reaches_another_partner(alice: Partner, bob: Partner, things: dict[str, str]) -> None:
    sale = (await alice.get(f"/v1/transactions/{things['txn']}")).json()
    for query in (
        {"reference": "secret-order"},
        {"metadata[secret]": "yes"},
        {"provider_transaction_id": sale["provider_transaction_id"]},
        {"amount": sale["amount"]},
    ):
        assert await listed(alice, **query)
        assert await listed(bob, **query) == []
    for path, query in (
        ("/v1/ledger-entries", {"transaction": sale["id"]}),
        ("/v1/customers", {"email": "secret@example.com"}),
        ("/v1/customers", {"reference": "secret"}),
        ("/v1/payment-methods", {"customer": things["cus"]}),
    ):
        assert await listed(alice, path, **query)
        assert await listed(bob, path, **query) == []


async def test_what_another_partner_stored_cannot_be_paid_with(
    shared_house: House, alice: Partner, bob: Partner, things: dict[str, str]
) -> None:
    live = await shared_house.key_of(alice.id, livemode=True)
    for stranger in (bob, live):
        for member, prefix in (("payment_method", "pmt"), ("customer", "cus")):
            problems = [
                refused(
                    await stranger.post("/v1/transactions", SALE | {member: {"id": one}}),
                    422,
                    "invalid_request",
                    f"{member}.id",
                )
                for one in (things[prefix], unheard_of(prefix))
            ]
            for problem in problems:
                problem.pop("request_id")
            assert problems[0] == problems[1]
        stored = {"type": "card", "tokens": {"stripe": "pm_card_visa"}, "customer": things["cus"]}
        refused(await stranger.post("/v1/payment-methods", stored), 422, "invalid_request", "customer")


async def test_the_balance_is_ones_own(alice: Partner, bob: Partner, things: dict[str, str]) -> None:
    assert (await alice.get("/v1/balance")).json()["balances"]
    assert (await bob.get("/v1/balance")).json()["balances"] == []


async def test_a_cursor_of_another_partner_or_mode_looks_like_a_garbled_one(
    shared_house: House, alice: Partner, bob: Partner, things: dict[str, str]
) -> None:
    live = await shared_house.key_of(alice.id, livemode=True)
    cursor = (await alice.get("/v1/refunds", limit=1)).json()["next_cursor"]
    assert cursor
    problems = [
        refused(await stranger.get("/v1/refunds", cursor=text), 422, "invalid_request", "cursor")
        for stranger, text in ((bob, cursor), (live, cursor), (bob, "garbled"))
    ]
    for problem in problems:
        problem.pop("request_id")
    assert problems[0] == problems[1] == problems[2]


async def test_two_partners_may_use_the_same_key(alice: Partner, bob: Partner) -> None:
    key = new_key()
    hers = await alice.charge(key=key, amount="11.00")
    his = await bob.charge(key=key, amount="22.00")
    assert (hers.status_code, his.status_code) == (201, 201)
    assert "idempotent-replayed" not in his.headers
    assert hers.json()["id"] != his.json()["id"]
    assert (await bob.charge(key=key, amount="22.00")).json()["amount"] == "22.00"


async def test_an_endpoint_hears_only_of_its_own_partner(shared_house: House, alice: Partner) -> None:
    listener, talker = await shared_house.partner(), await shared_house.partner()
    endpoint = await shared_house.subscribed(listener)
    path = f"/v1/webhook-endpoints/{endpoint['id']}/deliveries"
    await talker.charge()
    sale = (await listener.charge()).json()

    async def rows() -> list[Json]:
        return await listed(listener, path)

    found = await until(rows, lambda rows: len(rows) >= 2)
    assert {row["transaction_id"] for row in found} == {sale["id"]}


async def test_a_partners_own_account_is_not_used_for_others(shared_house: House, alice: Partner) -> None:
    owner, other = await shared_house.partner(), await shared_house.partner()
    await shared_house.desk.add_account(
        provider="stripe",
        livemode=False,
        credentials={"api_key": "sk_test_own"},
        base_url=shared_house.simulators["stripe"],
        partner_id=owner.id,
        priority=1,
    )
    accounts = [(await partner.charge()).json()["attempts"][0]["provider_account_id"] for partner in (owner, other)]
    assert accounts[0] != accounts[1]


async def test_live_mode_takes_no_test_account(shared_house: House, alice: Partner) -> None:
    live = await shared_house.key_of(alice.id, livemode=True)
    problem = refused(await live.charge(), 422, "no_eligible_provider")
    assert problem["accounts"] == []
