"""Promise: a customer is found by what the partner knows, pays under one id, and is gone once erased."""

from __future__ import annotations

import json

import pytest

from db import ids
from tests.acceptance.steps import listed, refused
from tests.house import ALL_SCOPES, House, Json, Partner, new_key

ADA: Json = {
    "email": "Ada@Example.com",
    "name": "Ada Lovelace",
    "phone": "+44 20 7946 0000",
    "reference": "customer-7",
    "metadata": {"tier": "gold"},
}


async def created(partner: Partner, **changes: object) -> Json:
    answer = await partner.post("/v1/customers", ADA | changes)
    assert answer.status_code == 201, answer.text
    made: Json = answer.json()
    return made


async def test_a_customer_is_shown_as_given(partner: Partner) -> None:
    made = await created(partner)
    assert made.items() >= (ADA | {"object": "customer", "livemode": False}).items()
    assert (await partner.get(f"/v1/customers/{made['id']}")).json() == made
    assert await listed(partner, "/v1/customers") == [made]
    nobody = (await partner.post("/v1/customers")).json()
    assert [nobody[name] for name in ADA] == [None, None, None, None, {}]


async def test_a_key_creates_one_customer(partner: Partner) -> None:
    key = new_key()
    first, again = [await partner.post("/v1/customers", ADA, key=key) for _ in range(2)]
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert len(await listed(partner, "/v1/customers")) == 1
    refused(await partner.post("/v1/customers", {"name": "Bob"}, key=key), 422, "idempotency_key_reused")
    refused(await partner.client.post("/v1/customers", json=ADA), 400, "idempotency_key_missing")


async def test_customers_are_found_by_e_mail_and_reference(partner: Partner) -> None:
    ada = await created(partner)
    await created(partner, email="bob@example.com", reference="customer-8")
    for query in ({"email": "ada@example.COM"}, {"reference": "customer-7"}):
        assert await listed(partner, "/v1/customers", **query) == [ada]
    unlike = {"email": "ada@example.com", "reference": "customer-8"}
    for query in ({"email": "ada@example.co"}, {"reference": "customer"}, unlike):
        assert await listed(partner, "/v1/customers", **query) == []


async def test_customers_are_listed_in_pages(partner: Partner) -> None:
    made = [(await created(partner))["id"] for _ in range(3)]
    first = (await partner.get("/v1/customers", limit=2)).json()
    second = (await partner.get("/v1/customers", limit=2, cursor=first["next_cursor"])).json()
    assert [one["id"] for page in (first, second) for one in page["data"]] == made[::-1]
    assert (first["has_more"], second["has_more"]) == (True, False)


async def test_what_is_changed_is_what_was_named(partner: Partner) -> None:
    made = await created(partner)
    path = f"/v1/customers/{made['id']}"
    changes = {"email": "ada@new.example", "phone": None, "metadata": {"tier": "silver"}}
    changed = (await partner.client.patch(path, json=changes)).json()
    assert changed == made | changes | {"updated_at": changed["updated_at"]}
    assert (await partner.get(path)).json() == changed
    assert await listed(partner, "/v1/customers", email=ADA["email"]) == []
    assert await listed(partner, "/v1/customers", email="ada@new.example") == [changed]
    emptied = (await partner.client.patch(path, json=dict.fromkeys(ADA))).json()
    assert [emptied[name] for name in ADA] == [None, None, None, None, {}]
    assert (await partner.client.patch(path, json={})).status_code == 200


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"email": "nobody"}, "invalid_request", "email"),
        ({"name": ""}, "invalid_request", "name"),
        ({"phone": "call me"}, "invalid_request", "phone"),
        ({"reference": "two\nlines"}, "invalid_request", "reference"),
        ({"metadata": {"a": 1}}, "invalid_request", "metadata"),
        ({"address": "x"}, "invalid_request", "address"),
        ({"name": "4242 4242 4242 4242"}, "card_data_refused", "name"),
        ({"metadata": {"cvc": "123"}}, "card_data_refused", "metadata.cvc"),
    ],
)
async def test_what_is_wrong_is_named(partner: Partner, change: Json, code: str, field: str) -> None:
    made = await created(partner)
    refused(await partner.post("/v1/customers", ADA | change), 422, code, field)
    refused(await partner.client.patch(f"/v1/customers/{made['id']}", json=change), 422, code, field)
    assert await listed(partner, "/v1/customers") == [made]


async def test_a_customer_fills_in_what_a_charge_does_not_give(partner: Partner) -> None:
    made = await created(partner)
    paid = (await partner.charge(customer={"id": made["id"], "name": "A. L."})).json()
    assert paid["customer"] == {"id": made["id"], "email": ADA["email"], "name": "A. L.", "phone": ADA["phone"]}
    assert (await partner.get("/v1/transactions", customer_email=ADA["email"])).json()["data"][0]["id"] == paid["id"]


async def test_nothing_is_left_of_an_erased_customer_but_what_was_paid(shared_house: House, partner: Partner) -> None:
    made = await created(partner)
    card = {"type": "card", "tokens": {"stripe": "pm_card_visa"}, "customer": made["id"]}
    method = (await partner.post("/v1/payment-methods", card)).json()
    key = new_key()
    paid = await partner.charge(key=key, payment_method={"id": method["id"]})
    path = f"/v1/customers/{made['id']}"
    assert (await partner.client.delete(path)).status_code == 204
    refused(await partner.client.delete(path), 404, "not_found")
    refused(await partner.get(path), 404, "not_found")
    refused(await partner.client.patch(path, json={"name": "Ada"}), 404, "not_found")
    refused(await partner.get(f"/v1/payment-methods/{method['id']}"), 404, "not_found")
    for found in ("/v1/customers", f"/v1/customers?email={ADA['email']}", "/v1/payment-methods"):
        assert await listed(partner, found) == []
    refused(await partner.charge(customer={"id": made["id"]}), 422, "invalid_request", "customer.id")
    refused(await partner.charge(payment_method={"id": method["id"]}), 422, "invalid_request", "payment_method.id")
    refused(await partner.post("/v1/payment-methods", card), 422, "invalid_request", "customer")
    row = await shared_house.owner.fetchrow("SELECT * FROM customers WHERE id = $1", ids.decode("cus", made["id"]))
    assert row is not None
    assert (row["personal"], row["email_hash"], row["reference"], row["metadata"]) == (b"", None, None, "{}")
    tokens = "SELECT tokens FROM stored_payment_methods WHERE id = $1"
    assert await shared_house.owner.fetchval(tokens, ids.decode("pmt", method["id"])) == b""
    shown = (await partner.get(f"/v1/transactions/{paid.json()['id']}")).json()
    assert (shown["customer"]["id"], shown["customer"]["name"]) == (made["id"], ADA["name"])
    again = await partner.charge(key=key, payment_method={"id": method["id"]})
    assert (again.content, again.headers["idempotent-replayed"]) == (paid.content, "true")


async def test_what_is_done_to_customers_is_in_the_audit_log_without_their_data(
    shared_house: House, partner: Partner
) -> None:
    made = await created(partner)
    path = f"/v1/customers/{made['id']}"
    await partner.client.patch(path, json={"name": "Countess"})
    await partner.client.delete(path)
    rows = await shared_house.owner.fetch(
        "SELECT action, changes FROM audit_logs WHERE resource_id = $1 ORDER BY id", made["id"]
    )
    assert [(row["action"], json.loads(row["changes"])) for row in rows] == [
        ("customer.create", {}),
        ("customer.update", {"fields": ["name"]}),
        ("customer.delete", {}),
    ]


async def test_an_answer_kept_for_its_key_does_not_show_the_customer(shared_house: House, partner: Partner) -> None:
    await created(partner)
    kept = await shared_house.owner.fetch("SELECT k::text FROM idempotency_keys k WHERE partner_id = $1", partner.id)
    assert len(kept) == 1
    assert "Lovelace" not in kept[0][0]


async def test_only_a_key_that_may_write_changes_customers(shared_house: House, partner: Partner) -> None:
    made = await created(partner)
    path = f"/v1/customers/{made['id']}"
    reader = await shared_house.key_of(partner.id, scopes=("transactions:read",))
    writer = await shared_house.key_of(partner.id, scopes=tuple({*ALL_SCOPES} - {"transactions:read"}))
    assert (await reader.get(path)).json() == made
    for answer in (
        await reader.post("/v1/customers", ADA),
        await reader.client.patch(path, json={}),
        await reader.client.delete(path),
        await writer.get(path),
        await writer.get("/v1/customers"),
    ):
        refused(answer, 403, "insufficient_scope")
