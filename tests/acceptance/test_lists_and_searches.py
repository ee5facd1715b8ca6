"""Promise: every transaction is found by what its partner knows of it, in pages without gaps or doubles."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.steps import listed, refused
from tests.house import House, Json, Partner

Orders = dict[str, Json]


@pytest.fixture(scope="module")
async def shop(shared_house: House) -> Partner:
    return await shared_house.partner()


@pytest.fixture(scope="module")
async def orders(shop: Partner) -> Orders:
    """One transaction of each kind, by its reference, oldest first."""
    ada, bob = {"email": "Ada@Example.com", "name": "Ada"}, {"email": "bob@example.com"}
    red, blue = {"color": "red", "size": "1"}, {"color": "blue"}
    made = {
        "sold": await shop.charge(amount="10.00", reference="sold", customer=ada, metadata=red),
        "declined": await shop.charge(
            "pm_card_visa_chargeDeclined",
            amount="20.00",
            currency="EUR",
            reference="declined",
            metadata={"color": "red"},
        ),
        "held": await shop.charge(amount="500", currency="JPY", reference="held", capture="manual", customer=bob),
        "returned": await shop.charge(amount="30.00", reference="returned", metadata=blue, customer=ada),
    }
    await shop.post(f"/v1/transactions/{made['returned'].json()['id']}/refunds")
    return {name: (await shop.get(f"/v1/transactions/{answer.json()['id']}")).json() for name, answer in made.items()}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["returned", "held", "declined", "sold"]),
        ({"status": "completed"}, ["sold"]),
        ({"status": ["completed", "failed"]}, ["declined", "sold"]),
        ({"status": ["authorized", "refunded", "authorized"]}, ["returned", "held"]),
        ({"status": "pending"}, []),
        ({"currency": "USD"}, ["returned", "sold"]),
        ({"currency": "GBP"}, []),
        ({"provider": "stripe"}, ["returned", "held", "declined", "sold"]),
        ({"provider": "adyen"}, []),
        ({"payment_method": "card"}, ["returned", "held", "declined", "sold"]),
        ({"payment_method": "crypto"}, []),
        ({"reference": "held"}, ["held"]),
        ({"reference": "hel"}, []),
        ({"customer_email": "ada@example.com"}, ["returned", "sold"]),
        ({"amount": "10"}, ["sold"]),
        ({"amount_gte": "20.00"}, ["returned", "held", "declined"]),
        ({"amount_lte": "20.00"}, ["declined", "sold"]),
        ({"amount_gte": "20", "amount_lte": "30"}, ["returned", "declined"]),
        ({"metadata[color]": "red"}, ["declined", "sold"]),
        ({"metadata[color]": "red", "metadata[size]": "1"}, ["sold"]),
        ({"metadata[color]": "green"}, []),
        ({"needs_review": "false"}, ["returned", "held", "declined", "sold"]),
        ({"needs_review": "true"}, []),
        ({"currency": "USD", "status": "refunded", "customer_email": "ADA@EXAMPLE.COM"}, ["returned"]),
    ],
)
async def test_filters_find_what_they_name(shop: Partner, orders: Orders, query: Json, found: list[str]) -> None:
    assert await listed(shop, **query) == [orders[name] for name in found]


async def test_a_transaction_is_found_by_the_providers_id(shop: Partner, orders: Orders) -> None:
    found = await listed(shop, provider_transaction_id=orders["held"]["provider_transaction_id"])
    assert found == [orders["held"]]


async def test_moments_divide_the_list_and_exclude_themselves(shop: Partner, orders: Orders) -> None:
    moment = orders["declined"]["created_at"]
    assert await listed(shop, created_after=moment) == [orders["returned"], orders["held"]]
    assert await listed(shop, created_before=moment) == [orders["sold"]]


async def test_the_same_moment_in_another_zone_is_the_same(shop: Partner, orders: Orders) -> None:
    assert await listed(shop, created_after="2020-01-01T00:00:00+05:30", created_before="2020-01-01T00:00:00Z") == []
    assert len(await listed(shop, created_after="2020-01-01T00:00:00-11:00")) == len(orders)


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_pages_cover_the_list_without_gaps_or_doubles_while_new_rows_arrive(
    shared_house: House, limit: int
) -> None:
    partner = await shared_house.partner()
    made = [(await partner.charge()).json()["id"] for _ in range(5)]
    page = (await partner.get("/v1/transactions", limit=limit)).json()
    pages = [page["data"]]
    while page["has_more"]:
        await partner.charge()  # arrives while the list is read: above the pages that follow
        page = (await partner.get("/v1/transactions", limit=limit, cursor=page["next_cursor"])).json()
        pages.append(page["data"])
    assert [row["id"] for rows in pages for row in rows] == made[::-1]
    assert all(0 < len(rows) <= limit for rows in pages)
    assert page["next_cursor"] is None


async def test_a_list_has_twenty_rows_unless_asked(shared_house: House) -> None:
    partner = await shared_house.partner()
    for _ in range(21):
        await partner.charge("pm_card_visa_chargeDeclined")
    page = (await partner.get("/v1/transactions")).json()
    assert (len(page["data"]), page["has_more"]) == (20, True)
    page = (await partner.get("/v1/transactions", limit=21)).json()
    assert (len(page["data"]), page["has_more"], page["next_cursor"]) == (21, False, None)


async def test_a_cursor_goes_on_under_the_same_filter(shop: Partner, orders: Orders) -> None:
    first = (await shop.get("/v1/transactions", currency="USD", limit=1)).json()
    second = (await shop.get("/v1/transactions", currency="USD", limit=1, cursor=first["next_cursor"])).json()
    assert [first["data"][0], second["data"][0]] == [orders["returned"], orders["sold"]]
    assert second["has_more"] is False


async def test_refunds_are_paged_too(shared_house: House) -> None:
    partner = await shared_house.partner()
    sale = (await partner.charge()).json()
    made = [(await partner.post(f"/v1/transactions/{sale['id']}/refunds", {"amount": "1.00"})).json() for _ in range(3)]
    for path in ("/v1/refunds", f"/v1/transactions/{sale['id']}/refunds"):
        first = (await partner.get(path, limit=2)).json()
        second = (await partner.get(path, limit=2, cursor=first["next_cursor"])).json()
        assert first["data"] + second["data"] == made[::-1]


async def foreign_cursors(house: House, shop: Partner) -> list[str]:
    other = await house.partner()
    for _ in range(2):
        await other.charge()
    await other.post(f"/v1/transactions/{(await listed(other))[0]['id']}/refunds", {"amount": "1.00"})
    await other.post(f"/v1/transactions/{(await listed(other))[0]['id']}/refunds", {"amount": "1.00"})
    lists = [
        (await other.get("/v1/transactions", limit=1)).json(),
        (await other.get("/v1/refunds", limit=1)).json(),
        (await shop.get("/v1/ledger-entries", limit=1)).json(),
    ]
    return [page["next_cursor"] for page in lists]


async def test_a_cursor_of_another_partner_or_another_list_is_refused(
    shared_house: House, shop: Partner, orders: Orders
) -> None:
    for cursor in await foreign_cursors(shared_house, shop):
        assert cursor
        refused(await shop.get("/v1/transactions", cursor=cursor), 422, "invalid_request", "cursor")


async def test_a_garbled_cursor_is_refused(shop: Partner, orders: Orders) -> None:
    good = (await shop.get("/v1/transactions", limit=1)).json()["next_cursor"]
    flipped = good[:-2] + ("A" if good[-2] != "A" else "B") + good[-1]
    for cursor in ("", "x", "not base64!", "AAAA", "é", good[:-4], good + "AAAA", flipped, "A" * 513, good.upper()):
        answer = await shop.get("/v1/transactions", cursor=cursor)
        refused(answer, 422, "invalid_request", "cursor")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "101"),
        ("limit", "-1"),
        ("limit", "ten"),
        ("limit", "1.5"),
        ("limit", ""),
        ("status.0", "lost"),
        ("currency", "usd"),
        ("currency", "USDX"),
        ("provider", "No One!"),
        ("payment_method", "cash"),
        ("customer_email", "nobody"),
        ("amount", "-1"),
        ("amount_gte", "1e3"),
        ("amount_lte", "1.23456"),
        ("created_after", "yesterday"),
        ("created_after", "2026-02-30T00:00:00Z"),
        ("created_before", "2026-01-01T00:00:00"),
        ("needs_review", "maybe"),
        ("surprise", "1"),
        ("sort", "amount"),
        ("offset", "1"),
    ],
)
async def test_a_bad_parameter_is_refused_and_named(shop: Partner, name: str, value: Any) -> None:
    answer = await shop.get("/v1/transactions", **{name.partition(".")[0]: value})
    refused(answer, 422, "invalid_request", name)


async def test_a_parameter_given_twice_is_refused_where_one_is_meant(shop: Partner) -> None:
    refused(await shop.get("/v1/transactions", currency=["USD", "EUR"]), 422, "invalid_request", "currency")


@pytest.mark.parametrize("limit", [1, 100])
async def test_the_bounds_of_limit_are_allowed(shop: Partner, orders: Orders, limit: int) -> None:
    assert await listed(shop, limit=limit)


async def test_expansions_show_what_belongs_to_a_transaction(shop: Partner, orders: Orders) -> None:
    path = f"/v1/transactions/{orders['returned']['id']}"
    plain = (await shop.get(path)).json()
    full = (await shop.get(path, expand="events,refunds,ledger,deliveries")).json()
    extra = {name: full.pop(name) for name in ("events", "refunds", "ledger", "deliveries")}
    assert full == plain
    assert extra["events"] == (await shop.get(f"{path}/events")).json()["data"]
    assert extra["refunds"] == await listed(shop, f"{path}/refunds")
    assert extra["ledger"] == await listed(shop, "/v1/ledger-entries", transaction=full["id"])
    assert extra["deliveries"] == []


@pytest.mark.parametrize("expand", ["secrets", "events,secrets", "", "events,", "Events"])
async def test_an_unknown_expansion_is_refused(shop: Partner, orders: Orders, expand: str) -> None:
    answer = await shop.get(f"/v1/transactions/{orders['sold']['id']}", expand=expand)
    refused(answer, 422, "invalid_request", "expand")


async def test_the_look_up_tables_can_be_read(shop: Partner) -> None:
    methods = {row["code"] for row in await listed(shop, "/v1/payment-method-types")}
    assert methods == {"card", "bank_transfer", "e_wallet", "crypto"}
    currencies = {row["code"]: row for row in await listed(shop, "/v1/currencies")}
    assert currencies["USD"]["decimal_places"] == 2
    assert (currencies["JPY"]["decimal_places"], currencies["JPY"]["amount_min"]) == (0, "1")
    assert (currencies["KWD"]["decimal_places"], currencies["KWD"]["amount_min"]) == (3, "0.001")
    assert currencies["USD"]["amount_max"] == "100000.00"
