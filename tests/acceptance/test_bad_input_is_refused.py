"""Promise: whatever is sent, the answer is a documented 4xx that names what is wrong, and nothing is stored or sent."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.acceptance.steps import refused
from tests.house import House, Json, Partner, new_key

CARD = "4242424242424242"
METHOD: Json = {"type": "card", "tokens": {"stripe": "pm_card_visa"}}
GOOD: Json = {"amount": "19.99", "currency": "USD", "payment_method": METHOD}


@pytest.fixture(scope="module")
async def shop(shared_house: House) -> Partner:
    return await shared_house.partner()


async def sent(partner: Partner, content: bytes | str, **headers: str) -> httpx.Response:
    """The bytes as they are."""
    given = {"Content-Type": "application/json", "Idempotency-Key": new_key()} | headers
    return await partner.client.post("/v1/transactions", content=content, headers=given)


async def stored(house: House, partner: Partner) -> int:
    """Rows that a request could have left."""
    counts = [
        await house.owner.fetchval(f"SELECT count(*) FROM {table} WHERE partner_id = $1", partner.id)
        for table in ("transactions", "idempotency_keys")
    ]
    return sum(counts)


def nested(depth: int, kind: str = "object") -> str:
    return "[" * depth + "]" * depth if kind == "list" else '{"a":' * depth + "1" + "}" * depth


# ── What is not JSON ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" ",
        b"{",
        b'{"amount": "19.99",}',
        b"{'amount': '19.99'}",
        b'{"amount": NaN}',
        b'{"amount": Infinity}',
        b'{"amount": 01}',
        b'"\xff\xfe"',
        b'{"reference": "\xc3\x28"}',
        "{}".encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b'{} {"second": 1}',
        b'{"a": 1, "a": 1}',
        b'{"metadata": {"a": "1", "a": "2"}}',
        b'{"reference": "raw \x00 NUL"}',
        b'{"reference": "line\nend"}',
        b"amount=19.99&currency=USD",
        nested(50_000, "list"),
        b'{"a": ' + b"9" * 5_000 + b"}",
    ],
    ids=lambda content: repr(content[:24]),
)
async def test_what_is_not_json_is_refused(shop: Partner, content: bytes | str) -> None:
    content = content.encode() if isinstance(content, str) else content
    answer = await sent(shop, content[:65_000])
    problem = refused(answer, 400, "malformed_json")
    assert (problem["money_moved"], problem["safe_to_retry"]) == ("no", False)


@pytest.mark.parametrize("content", ["[]", '"text"', "1", "null", "true", json.dumps([GOOD])])
async def test_json_that_is_no_object_is_refused(shop: Partner, content: str) -> None:
    refused(await sent(shop, content), 422, "invalid_request")


@pytest.mark.parametrize(
    "media_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/xml",
        "application/jsonx",
        "multipart/form-data",
    ],
)
async def test_another_content_type_is_refused(shop: Partner, media_type: str) -> None:
    refused(await sent(shop, json.dumps(GOOD), **{"Content-Type": media_type}), 415, "unsupported_media_type")


@pytest.mark.parametrize("media_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
async def test_json_by_its_names_is_taken(shop: Partner, media_type: str) -> None:
    assert (await sent(shop, json.dumps(GOOD), **{"Content-Type": media_type})).status_code == 201


async def test_a_body_over_64_kb_is_refused_however_it_is_sent(shop: Partner) -> None:
    big = json.dumps(GOOD | {"description": "x" * 70_000}).encode()

    async def pieces() -> Any:
        for start in range(0, len(big), 16_384):
            yield big[start : start + 16_384]

    refused(await sent(shop, big), 413, "payload_too_large")
    headers = {"Content-Type": "application/json", "Idempotency-Key": new_key()}
    refused(await shop.client.post("/v1/transactions", content=pieces(), headers=headers), 413, "payload_too_large")


# ── What JSON may hold and this API does not take ───────────────────────────────────────────────────────────────────


def with_deep(depth: int) -> str:
    return json.dumps(GOOD)[:-1] + f', "metadata": {nested(depth)}}}'


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (with_deep(25), "metadata" + ".a" * 19),
        (json.dumps(GOOD | {"metadata": {f"k{number}": "v" for number in range(201)}}), "metadata"),
        (json.dumps(GOOD | {"description": "x" * 5_000}), "description"),
        (json.dumps(GOOD | {"reference": "nul \x00"}), "reference"),
        (json.dumps(GOOD | {"reference": "escape \x1b[31m"}), "reference"),
        (json.dumps(GOOD | {"metadata": {"a": "bell \x07"}}), "metadata.a"),
        (json.dumps(GOOD | {"metadata": {"nul \x00": "a"}}), "metadata.(a field's name)"),
        (json.dumps(GOOD | {"reference": "\ud800"}), "reference"),
        (json.dumps(GOOD)[:-1] + ', "metadata": {"a": 1e999}}', "metadata.a"),
        (json.dumps(GOOD)[:-1] + ', "metadata": {"a": 99999999999999999999}}', "metadata.a"),
    ],
    ids=["deep", "many", "long", "NUL", "escape", "bell", "NUL name", "surrogate", "infinite", "bigint"],
)
async def test_what_is_too_deep_too_much_or_unprintable_is_refused(shop: Partner, content: str, field: str) -> None:
    refused(await sent(shop, content), 422, "invalid_request", field)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": None}, "amount"),
        ({"amount": 19.99}, "amount"),
        ({"amount": 20}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": ["19.99"]}, "amount"),
        ({"amount": ""}, "amount"),
        ({"amount": "0"}, "amount"),
        ({"amount": "0.00"}, "amount"),
        ({"amount": "-1.00"}, "amount"),
        ({"amount": "+1.00"}, "amount"),
        ({"amount": "1e2"}, "amount"),
        ({"amount": "1,00"}, "amount"),
        ({"amount": "1."}, "amount"),
        ({"amount": ".50"}, "amount"),
        ({"amount": "01.00"}, "amount"),
        ({"amount": " 1.00"}, "amount"),
        ({"amount": "1.00\n"}, "amount"),
        ({"amount": "١٢"}, "amount"),
        ({"amount": "NaN"}, "amount"),
        ({"amount": "0x10"}, "amount"),
        ({"amount": "19.999"}, "amount"),
        ({"amount": "19.990"}, "amount"),
        ({"amount": "500.5", "currency": "JPY"}, "amount"),
        ({"amount": "1.2345", "currency": "KWD"}, "amount"),
        ({"amount": "100000.01"}, "amount"),
        ({"amount": "999999999999999"}, "amount"),
        ({"amount": "9" * 40}, "amount"),
        ({"currency": None}, "currency"),
        ({"currency": "usd"}, "currency"),
        ({"currency": "US"}, "currency"),
        ({"currency": "USDD"}, "currency"),
        ({"currency": "US "}, "currency"),
        ({"currency": 840}, "currency"),
        ({"payment_method": None}, "payment_method"),
        ({"payment_method": {"tokens": {"stripe": "t"}}}, "payment_method.type"),
        ({"payment_method": {"type": "cash"}}, "payment_method.type"),
        ({"payment_method": {"type": "card"}}, "payment_method.tokens"),
        ({"payment_method": {"type": "card", "tokens": {}}}, "payment_method.tokens"),
        ({"payment_method": {"type": "card", "tokens": {"nobody": "t"}}}, "payment_method.tokens"),
        ({"payment_method": {"type": "card", "tokens": {"stripe": ""}}}, "payment_method.tokens.stripe"),
        ({"payment_method": {"type": "card", "tokens": {"stripe": 1}}}, "payment_method.tokens.stripe"),
        ({"payment_method": {"type": "card", "tokens": {"stripe": "a\nb"}}}, "payment_method.tokens.stripe"),
        ({"payment_method": {"type": "card", "token": "t"}}, "provider"),
        ({"payment_method": METHOD | {"token": "t"}}, "payment_method"),
        ({"payment_method": METHOD | {"surprise": 1}}, "payment_method.surprise"),
        ({"payment_method": {"type": "card", "id": "pmt_1"}}, "payment_method.id"),
        ({"payment_method": {"type": "card", "id": f"pmt_{'0' * 26}"}}, "payment_method.id"),
        ({"payment_method": {"id": f"pmt_{'0' * 26}"}}, "payment_method.id"),
        ({"payment_method": {"id": f"pmt_{'u' * 26}"}}, "payment_method.id"),
        ({"payment_method": {"id": f"pmt_{'0' * 26}", "brand": "visa"}}, "payment_method"),
        ({"payment_method": {"id": f"pmt_{'0' * 26}", "token": "t"}}, "payment_method"),
        ({"payment_method": METHOD | {"brand": "Visa"}}, "payment_method.brand"),
        ({"payment_method": METHOD | {"country": "de"}}, "payment_method.country"),
        ({"payment_method": METHOD | {"country": "DEU"}}, "payment_method.country"),
        ({"payment_method": {}}, "payment_method.type"),
        ({"business_unit": ""}, "business_unit"),
        ({"business_unit": "EU shop"}, "business_unit"),
        ({"business_unit": "x" * 65}, "business_unit"),
        ({"customer": {"id": "cus_1"}}, "customer.id"),
        ({"customer": {"id": f"cus_{'0' * 26}"}}, "customer.id"),
        ({"customer": {"email": "nobody"}}, "customer.email"),
        ({"customer": {"email": "a@b\r\nBcc: c@d"}}, "customer.email"),
        ({"customer": {"name": ""}}, "customer.name"),
        ({"customer": {"name": "two\nlines"}}, "customer.name"),
        ({"customer": {"phone": "call me"}}, "customer.phone"),
        ({"customer": {"address": "x"}}, "customer.address"),
        ({"customer": "ada"}, "customer"),
        ({"capture": "later"}, "capture"),
        ({"capture": None}, "capture"),
        ({"reference": ""}, "reference"),
        ({"reference": "x" * 256}, "reference"),
        ({"reference": "a\r\nSet-Cookie: b"}, "reference"),
        ({"reference": 1042}, "reference"),
        ({"description": ""}, "description"),
        ({"description": "x" * 1001}, "description"),
        ({"statement_descriptor": "x" * 23}, "statement_descriptor"),
        ({"statement_descriptor": "<b>"}, "statement_descriptor"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {"a": {"b": "c"}}}, "metadata"),
        ({"metadata": {"a": None}}, "metadata"),
        ({"metadata": {"": "a"}}, "metadata"),
        ({"metadata": {"k" * 41: "a"}}, "metadata"),
        ({"metadata": {"a": "v" * 501}}, "metadata"),
        ({"metadata": {f"k{number}": "v" for number in range(51)}}, "metadata"),
        ({"return_url": "javascript:alert(1)"}, "return_url"),
        ({"return_url": "/return"}, "return_url"),
        ({"return_url": "https://user:secret@shop.example/"}, "return_url"),
        ({"return_url": "https://shop.example/" + "x" * 2100}, "return_url"),
        ({"provider": "nobody"}, "provider"),
        ({"provider": 1}, "provider"),
        ({"surprise": 1}, "surprise"),
        ({"status": "completed"}, "status"),
        ({"livemode": True}, "livemode"),
        ({"Amount": "1.00"}, "Amount"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
async def test_a_field_that_is_wrong_is_named(shop: Partner, change: Json, field: str) -> None:
    problem = refused(await shop.post("/v1/transactions", GOOD | change), 422, "invalid_request", field)
    assert (problem["money_moved"], problem["safe_to_retry"]) == ("no", False)


@pytest.mark.parametrize("missing", ["amount", "currency", "payment_method"])
async def test_a_missing_field_is_named(shop: Partner, missing: str) -> None:
    body = {name: value for name, value in GOOD.items() if name != missing}
    refused(await shop.post("/v1/transactions", body), 422, "invalid_request", missing)


async def test_every_wrong_field_is_named_at_once(shop: Partner) -> None:
    body = GOOD | {"amount": 1, "currency": "usd", "capture": "later"}
    refused(await shop.post("/v1/transactions", body), 422, "invalid_request", "amount", "currency", "capture")


@pytest.mark.parametrize("currency", ["XXX", "XTS", "XAU", "DEM", "ZZZ"])
async def test_a_currency_that_is_none_is_refused(shop: Partner, currency: str) -> None:
    answer = await shop.post("/v1/transactions", GOOD | {"currency": currency})
    refused(answer, 422, "currency_not_supported", "currency")


async def test_a_payment_nobody_can_take_is_refused_with_the_reasons(shop: Partner) -> None:
    answer = await shop.post("/v1/transactions", GOOD | {"payment_method": {"type": "crypto"}})
    problem = refused(answer, 422, "no_eligible_provider")
    assert problem["accounts"]
    assert all(account["reason"] for account in problem["accounts"])


# ── Addresses and methods ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/transactions", "GET, HEAD, OPTIONS, POST"),
        ("PUT", "/v1/transactions", "GET, HEAD, OPTIONS, POST"),
        ("PATCH", f"/v1/transactions/txn_{'0' * 26}", "GET, HEAD, OPTIONS"),
        ("POST", "/v1/balance", "GET, HEAD, OPTIONS"),
        ("GET", f"/v1/transactions/txn_{'0' * 26}/cancel", "OPTIONS, POST"),
    ],
)
async def test_a_wrong_method_is_refused_with_the_right_ones(
    shop: Partner, method: str, path: str, allowed: str
) -> None:
    answer = await shop.client.request(method, path)
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND"])
async def test_a_method_nobody_needs_is_refused(shop: Partner, method: str) -> None:
    answer = await shop.client.request(method, "/v1/transactions")
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/", "/v1/transaction", "/v1/transactions/", "/v1//transactions", "/v2/transactions", "/v1/%00"]
)
async def test_an_address_that_is_none_is_not_found(shop: Partner, path: str) -> None:
    refused(await shop.client.get(path), 404, "not_found")


async def test_a_post_that_takes_no_body_takes_none(shop: Partner) -> None:
    sale = (await shop.charge(capture="manual")).json()
    path = f"/v1/transactions/{sale['id']}/cancel"
    refused(await shop.post(path, {"amount": "1.00"}), 422, "invalid_request", "amount")
    refused(await shop.client.post(f"{path}?force=1", headers={"Idempotency-Key": new_key()}), 422, "invalid_request")
    assert (await shop.client.post(path, headers={"Idempotency-Key": new_key()})).status_code == 200


# ── Card data ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"reference": CARD}, "reference"),
        ({"reference": "order 4242 4242 4242 4242"}, "reference"),
        ({"reference": "4242-4242-4242-4242"}, "reference"),
        ({"description": f"card {CARD}, thanks"}, "description"),
        ({"statement_descriptor": CARD}, "statement_descriptor"),
        ({"metadata": {"note": CARD}}, "metadata.note"),
        ({"metadata": {CARD: "note"}}, "metadata.(a field's name)"),
        ({"metadata": {"cvc": "123"}}, "metadata.cvc"),
        ({"metadata": {"Card-Number": "x"}}, "metadata.Card-Number"),
        ({"customer": {"name": "378282246310005"}}, "customer.name"),
        ({"customer": {"phone": "5555 5555 5555 4444"}}, "customer.phone"),
        ({"customer": {"email": f"{CARD}@example.com"}}, "customer.email"),
        ({"payment_method": {"type": "card", "tokens": {"stripe": CARD}}}, "payment_method.tokens.stripe"),
        ({"payment_method": METHOD | {"number": CARD}}, "payment_method.number"),
        ({"payment_method": METHOD | {"cvc": "123"}}, "payment_method.cvc"),
        ({"payment_method": METHOD | {"card": {"number": int(CARD)}}}, "payment_method.card.number"),
        ({"return_url": f"https://shop.example/?card={CARD}"}, "return_url"),
        ({"surprise": [[{"deep": [CARD]}]]}, "surprise.0.0.deep.0"),
    ],
    ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict) else "",
)
async def test_card_data_in_any_field_is_refused_and_not_repeated(shop: Partner, change: Json, field: str) -> None:
    answer = await shop.post("/v1/transactions", GOOD | change)
    problem = refused(answer, 422, "card_data_refused", field)
    assert (problem["money_moved"], problem["safe_to_retry"]) == ("no", False)
    assert not any(number in answer.text for number in (CARD, "378282246310005", "4242 4242", "5555 5555"))


async def test_card_data_in_queries_keys_and_other_routes_is_refused(shop: Partner) -> None:
    refused(await shop.get("/v1/transactions", reference=CARD), 422, "card_data_refused", "reference")
    refused(await shop.get("/v1/transactions", **{"metadata[a]": CARD}), 422, "card_data_refused")
    refused(await shop.charge(key=CARD), 422, "card_data_refused", "Idempotency-Key")
    sale = (await shop.charge()).json()
    answer = await shop.post(f"/v1/transactions/{sale['id']}/refunds", {"note": CARD})
    refused(answer, 422, "card_data_refused", "note")
    body = {"url": "https://shop.example/", "description": CARD}
    refused(await shop.post("/v1/webhook-endpoints", body), 422, "card_data_refused", "description")


@pytest.mark.parametrize(
    "reference", ["4242424242424241", "1234567890123456", "20261120120854123", "order-4242", "+442079460000"]
)
async def test_numbers_that_are_no_cards_are_taken(shop: Partner, reference: str) -> None:
    assert (await shop.charge(reference=reference)).status_code == 201


async def test_nothing_of_what_is_refused_is_stored_or_sent(shared_house: House) -> None:
    partner = await shared_house.partner()
    calls_before = (await shared_house.oracle())["gateway_references"]
    for content in (b"{", json.dumps(GOOD | {"amount": 1}), json.dumps(GOOD | {"metadata": {"a": CARD}}), b"[]"):
        assert 400 <= (await sent(partner, content)).status_code < 500
    assert await stored(shared_house, partner) == 0
    assert (await shared_house.oracle())["gateway_references"] == calls_before
