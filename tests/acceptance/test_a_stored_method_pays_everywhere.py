"""Promise: a stored payment method pays at every PSP it holds a token of; the tokens are never shown."""

from __future__ import annotations

import pytest

from db import ids
from tests.acceptance.steps import calls, listed, moved, refused, settled
from tests.house import House, Json, Partner, new_key

TOKENS = {"stripe": "pm_card_visa", "adyen": "ada/APPROVED", "paypal": "vault_card_visa"}
CARD: Json = {
    "type": "card",
    "tokens": TOKENS,
    "brand": "visa",
    "last4": "4242",
    "exp_month": 12,
    "exp_year": 2030,
    "country": "DE",
    "metadata": {"nickname": "blue"},
}


async def stored(partner: Partner, **changes: object) -> Json:
    answer = await partner.post("/v1/payment-methods", CARD | changes)
    assert answer.status_code == 201, answer.text
    made: Json = answer.json()
    return made


async def test_it_is_shown_without_its_tokens(shared_house: House, partner: Partner) -> None:
    answer = await partner.post("/v1/payment-methods", CARD)
    made = answer.json()
    members = {name: value for name, value in CARD.items() if name != "tokens"}
    assert made.items() >= (members | {"object": "payment_method", "livemode": False, "customer": None}).items()
    assert made["providers"] == sorted(TOKENS)
    path = f"/v1/payment-methods/{made['id']}"
    assert (await partner.get(path)).json() == made
    assert await listed(partner, "/v1/payment-methods") == [made]
    kept = await shared_house.owner.fetchval(
        "SELECT array_agg(t::text)::text FROM (SELECT k::text AS t FROM idempotency_keys k WHERE partner_id = $1"
        " UNION ALL SELECT a::text FROM audit_logs a WHERE partner_id = $1"
        " UNION ALL SELECT m::text FROM stored_payment_methods m WHERE partner_id = $1) t",
        partner.id,
    )
    assert made["id"] in kept
    assert not [token for token in TOKENS.values() if token in kept + answer.text]


@pytest.mark.parametrize("provider", TOKENS)
async def test_it_pays_at_each_provider_with_the_token_for_that_one(
    shared_house: House, partner: Partner, provider: str
) -> None:
    method = await stored(partner)
    reference = f"stored-{provider}"
    paid = (await partner.charge(payment_method={"id": method["id"]}, provider=provider, reference=reference)).json()
    assert (paid["status"], paid["provider"], paid["amount_captured"]) == ("completed", provider, "19.99")
    shown = {"id": method["id"], "type": "card", "brand": "visa", "last4": "4242", "country": "DE"}
    assert paid["payment_method"] == shown
    assert (await moved(shared_house, reference, provider))["charges"] == (1, 1999)
    refund = await partner.post(f"/v1/transactions/{paid['id']}/refunds")
    assert refund.status_code in {201, 202}
    assert (await settled(partner, paid["id"], "refunded"))["payment_method"] == shown


async def test_the_provider_is_chosen_among_those_it_holds_a_token_of(partner: Partner) -> None:
    method = await stored(partner, tokens={"paypal": "vault_card_visa"})
    assert (await partner.charge(payment_method={"id": method["id"]})).json()["provider"] == "paypal"
    answer = await partner.charge(payment_method={"id": method["id"]}, provider="stripe")
    problem = refused(answer, 422, "no_eligible_provider")
    assert "no token for this provider" in {account["reason"] for account in problem["accounts"]}


async def test_what_is_stored_of_the_card_stands_until_the_provider_has_its_word(
    shared_house: House, partner: Partner
) -> None:
    method = await stored(partner, brand="mastercard")
    await shared_house.fault("lose_request", operation="charge", reference="brand", times=2)
    answer = await partner.charge(payment_method={"id": method["id"]}, provider="stripe", reference="brand")
    assert (answer.status_code, answer.json()["payment_method"]["brand"]) == (202, "mastercard")
    assert (await settled(partner, answer.json()["id"], "completed"))["payment_method"]["brand"] == "visa"


async def test_a_type_beside_the_id_must_be_the_stored_one(partner: Partner) -> None:
    method = await stored(partner)
    assert (await partner.charge(payment_method={"id": method["id"], "type": "card"})).status_code == 201
    answer = await partner.charge(payment_method={"id": method["id"], "type": "e_wallet"})
    refused(answer, 422, "invalid_request", "payment_method.type")


async def test_once_deleted_it_pays_no_more_and_what_it_paid_goes_on(shared_house: House, partner: Partner) -> None:
    method = await stored(partner)
    path, key = f"/v1/payment-methods/{method['id']}", new_key()
    given: Json = {"payment_method": {"id": method["id"]}, "provider": "stripe", "reference": "deleted"}
    paid = await partner.charge(key=key, **given)
    assert (await partner.client.delete(path)).status_code == 204
    refused(await partner.client.delete(path), 404, "not_found")
    refused(await partner.get(path), 404, "not_found")
    assert await listed(partner, "/v1/payment-methods") == []
    row = await shared_house.owner.fetchrow(
        "SELECT tokens, providers FROM stored_payment_methods WHERE id = $1", ids.decode("pmt", method["id"])
    )
    assert row is not None
    assert tuple(row) == (b"", sorted(TOKENS))
    problem = refused(await partner.charge(**given), 422, "invalid_request", "payment_method.id")
    assert (problem["money_moved"], problem["safe_to_retry"]) == ("no", False)
    again = await partner.charge(key=key, **given)
    assert (again.status_code, again.content) == (201, paid.content)
    assert again.headers["idempotent-replayed"] == "true"
    refused(await partner.charge(key=key, **given | {"amount": "5.00"}), 422, "idempotency_key_reused")
    assert (await calls(shared_house, given["reference"]))["charge"] == 1
    assert (await partner.post(f"/v1/transactions/{paid.json()['id']}/refunds")).status_code == 201
    assert (await settled(partner, paid.json()["id"], "refunded"))["payment_method"]["id"] == method["id"]


async def test_it_pays_for_its_own_customer_only(partner: Partner) -> None:
    ada, bob = [(await partner.post("/v1/customers", {"name": name})).json()["id"] for name in ("Ada", "Bob")]
    method = await stored(partner, customer=ada)
    assert method["customer"] == ada
    card = {"id": method["id"]}
    for customer in ({}, {"id": ada}):
        paid = (await partner.charge(payment_method=card, customer=customer)).json()
        assert (paid["customer"]["id"], paid["customer"]["name"]) == (ada, "Ada")
    answer = await partner.charge(payment_method=card, customer={"id": bob})
    refused(answer, 422, "invalid_request", "payment_method.id")
    shared = await stored(partner)
    paid = (await partner.charge(payment_method={"id": shared["id"]}, customer={"id": bob})).json()
    assert paid["customer"]["name"] == "Bob"


async def test_they_are_listed_by_customer_and_in_pages(partner: Partner) -> None:
    ada = (await partner.post("/v1/customers", {"name": "Ada"})).json()["id"]
    hers = [(await stored(partner, customer=ada))["id"] for _ in range(3)]
    await stored(partner)
    first = (await partner.get("/v1/payment-methods", customer=ada, limit=2)).json()
    second = (await partner.get("/v1/payment-methods", customer=ada, limit=2, cursor=first["next_cursor"])).json()
    assert [one["id"] for page in (first, second) for one in page["data"]] == hers[::-1]
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert len(await listed(partner, "/v1/payment-methods")) == 4
    assert await listed(partner, "/v1/payment-methods", customer=f"cus_{'0' * 26}") == []


async def test_a_key_stores_one(partner: Partner) -> None:
    key = new_key()
    first, again = [await partner.post("/v1/payment-methods", CARD, key=key) for _ in range(2)]
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert len(await listed(partner, "/v1/payment-methods")) == 1
    refused(await partner.client.post("/v1/payment-methods", json=CARD), 400, "idempotency_key_missing")


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"type": None}, "invalid_request", "type"),
        ({"type": "cash"}, "invalid_request", "type"),
        ({"tokens": {}}, "invalid_request", "tokens"),
        ({"tokens": None}, "invalid_request", "tokens"),
        ({"tokens": {"nobody": "t"}}, "invalid_request", "tokens"),
        ({"tokens": {"stripe": ""}}, "invalid_request", "tokens.stripe"),
        ({"brand": "Visa"}, "invalid_request", "brand"),
        ({"last4": "42424"}, "invalid_request", "last4"),
        ({"last4": "x242"}, "invalid_request", "last4"),
        ({"exp_month": 13}, "invalid_request", "exp_month"),
        ({"exp_month": "12"}, "invalid_request", "exp_month"),
        ({"exp_year": 30}, "invalid_request", "exp_year"),
        ({"country": "de"}, "invalid_request", "country"),
        ({"country": "DEU"}, "invalid_request", "country"),
        ({"customer": "ada"}, "invalid_request", "customer"),
        ({"customer": f"cus_{'0' * 26}"}, "invalid_request", "customer"),
        ({"customer": f"cus_{'u' * 26}"}, "invalid_request", "customer"),
        ({"metadata": {"a": 1}}, "invalid_request", "metadata"),
        ({"number": "1"}, "invalid_request", "number"),
        ({"tokens": {"stripe": "4242424242424242"}}, "card_data_refused", "tokens.stripe"),
        ({"metadata": {"note": "4242 4242 4242 4242"}}, "card_data_refused", "metadata.note"),
        ({"cvc": "123"}, "card_data_refused", "cvc"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_is_stored(
    shared_house: House, partner: Partner, change: Json, code: str, field: str
) -> None:
    refused(await partner.post("/v1/payment-methods", CARD | change), 422, code, field)
    assert await listed(partner, "/v1/payment-methods") == []
    assert (
        await shared_house.owner.fetchval("SELECT count(*) FROM idempotency_keys WHERE partner_id = $1", partner.id)
        == 0
    )


async def test_only_a_key_that_may_write_stores_and_deletes(shared_house: House, partner: Partner) -> None:
    path = f"/v1/payment-methods/{(await stored(partner))['id']}"
    reader = await shared_house.key_of(partner.id, scopes=("transactions:read",))
    writer = await shared_house.key_of(partner.id, scopes=("transactions:write",))
    assert (await reader.get(path)).status_code == 200
    for answer in (
        await reader.post("/v1/payment-methods", CARD),
        await reader.client.delete(path),
        await writer.get(path),
        await writer.get("/v1/payment-methods"),
    ):
        refused(answer, 403, "insufficient_scope")


async def test_what_is_known_of_a_card_and_of_the_business_is_kept_with_a_charge(partner: Partner) -> None:
    card = {"type": "card", "tokens": {"stripe": "pm_card_visa"}, "brand": "visa", "country": "FR"}
    paid = (await partner.charge(payment_method=card, business_unit="eu-shop")).json()
    assert paid["payment_method"] == {"id": None, "type": "card", "brand": "visa", "last4": "4242", "country": "FR"}
    assert (await partner.get(f"/v1/transactions/{paid['id']}")).json()["business_unit"] == "eu-shop"
    plain = (await partner.charge()).json()
    assert (plain["business_unit"], plain["payment_method"]["country"]) == (None, None)
