"""Promise: every movement is booked twice, and the balance is what the provider's own books say."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

import pytest

from tests.acceptance.steps import ID, listed, moved, refused
from tests.house import House, Json, Partner


@pytest.fixture(scope="module")
async def shop(shared_house: House) -> Partner:
    """Sold 100 and 50 USD and 500 JPY, captured 20 of 30 EUR, gave back 40 USD, was refused once."""
    partner = await shared_house.partner()
    first = (await partner.charge(amount="100.00", reference="usd")).json()
    await partner.charge(amount="50.00", reference="usd")
    await partner.charge(amount="500", currency="JPY", reference="jpy")
    held = (await partner.charge(amount="30.00", currency="EUR", capture="manual", reference="eur")).json()
    await partner.post(f"/v1/transactions/{held['id']}/captures", {"amount": "20.00"})
    await partner.post(f"/v1/transactions/{first['id']}/refunds", {"amount": "40.00"})
    await partner.charge("pm_card_visa_chargeDeclined", amount="9.00", reference="usd")
    return partner


async def balances(partner: Partner) -> dict[str, dict[str, tuple[str, str]]]:
    """currency → account → (direction, amount); an account at a PSP by its kind only."""
    body = (await partner.get("/v1/balance")).json()
    assert (body["object"], body["livemode"]) == ("balance", False)
    return {
        one["currency"]: {
            account["account"].partition(":")[0]: (account["direction"], account["amount"])
            for account in one["accounts"]
        }
        for one in body["balances"]
    }


async def test_the_balance_shows_each_account_in_each_currency(shop: Partner) -> None:
    assert await balances(shop) == {
        "USD": {
            "psp_receivable": ("debit", "110.00"),
            "partner_payable": ("credit", "150.00"),
            "refunds": ("debit", "40.00"),
        },
        "JPY": {"psp_receivable": ("debit", "500"), "partner_payable": ("credit", "500")},
        "EUR": {"psp_receivable": ("debit", "20.00"), "partner_payable": ("credit", "20.00")},
    }


async def test_what_the_provider_owes_is_what_its_books_say(shared_house: House, shop: Partner) -> None:
    owed = {currency: accounts["psp_receivable"][1] for currency, accounts in (await balances(shop)).items()}
    for currency, reference, places in (("USD", "usd", 2), ("JPY", "jpy", 0), ("EUR", "eur", 2)):
        books = await moved(shared_house, reference)
        units = books["captures"][1] - books.get("refunds", (0, 0))[1]
        assert Decimal(owed[currency]) == Decimal(units).scaleb(-places)


async def test_every_posting_sums_to_zero_in_one_currency(shop: Partner) -> None:
    postings: dict[tuple[str, int], list[Json]] = defaultdict(list)
    for entry in await listed(shop, "/v1/ledger-entries", limit=100):
        assert ID.fullmatch(entry["id"])
        postings[entry["transaction_id"], entry["sequence"]].append(entry)
    assert len(postings) == 5
    for entries in postings.values():
        assert len({entry["currency"] for entry in entries}) == 1
        sign = {"debit": 1, "credit": -1}
        assert sum(sign[entry["direction"]] * Decimal(entry["amount"]) for entry in entries) == 0


async def test_entries_add_up_to_the_balance(shop: Partner) -> None:
    totals: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for entry in await listed(shop, "/v1/ledger-entries", limit=100):
        kind = entry["account"].partition(":")[0]
        amount = Decimal(entry["amount"])
        totals[entry["currency"], kind] += amount if entry["direction"] == "debit" else -amount
    shown = {
        (currency, account): Decimal(amount) * (1 if direction == "debit" else -1)
        for currency, accounts in (await balances(shop)).items()
        for account, (direction, amount) in accounts.items()
    }
    assert shown == dict(totals)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"currency": "USD"}, 6),
        ({"currency": "JPY"}, 2),
        ({"currency": "GBP"}, 0),
        ({"account": "refunds"}, 1),
        ({"account": "partner_payable"}, 4),
        ({"account": "partner_payable", "currency": "USD"}, 2),
    ],
)
async def test_entries_are_found_by_currency_and_account(shop: Partner, query: Json, count: int) -> None:
    entries = await listed(shop, "/v1/ledger-entries", **query)
    assert len(entries) == count
    assert all(entry[name] == value for entry in entries for name, value in query.items())


async def test_entries_come_in_pages_newest_first(shop: Partner) -> None:
    whole = await listed(shop, "/v1/ledger-entries", limit=100)
    page = (await shop.get("/v1/ledger-entries", limit=3)).json()
    rows = page["data"]
    while page["has_more"]:
        page = (await shop.get("/v1/ledger-entries", limit=3, cursor=page["next_cursor"])).json()
        rows += page["data"]
    assert rows == whole
    assert [entry["id"] for entry in whole] == sorted((entry["id"] for entry in whole), reverse=True)


async def test_an_authorization_and_a_decline_are_no_movements(shared_house: House) -> None:
    partner = await shared_house.partner()
    await partner.charge(capture="manual")
    await partner.charge("pm_card_visa_chargeDeclined")
    assert await balances(partner) == {}
    assert await listed(partner, "/v1/ledger-entries") == []


async def test_a_transaction_that_is_none_is_refused_as_a_filter(shop: Partner) -> None:
    answer = await shop.get("/v1/ledger-entries", transaction="rfd_00000000000000000000000000")
    refused(answer, 422, "invalid_request", "transaction")
