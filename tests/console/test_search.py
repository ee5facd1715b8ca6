"""Payments are found in the console: by whatever was pasted, in pages, whole or as the part that htmx asks for."""

from __future__ import annotations

from typing import Any

import pytest

from db import ids
from tests.acceptance.steps import until
from tests.house import House, Json, Partner
from tests.support_desk import Clerk, SupportDesk


@pytest.fixture
async def clerk(shared_support: SupportDesk, partner: Partner) -> Clerk:
    found = await shared_support.clerk("viewer")
    await found.look_at(partner.id)
    return found


async def charged(partner: Partner, **members: Any) -> Json:
    answer = await partner.charge(**members)
    assert answer.status_code == 201, answer.text
    made: Json = answer.json()
    return made


async def found(clerk: Clerk, **query: Any) -> str:
    answer = await clerk.get("/console/search", **query)
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_an_id_leads_to_its_payment(clerk: Clerk, partner: Partner) -> None:
    payment = await charged(partner)
    refund = (await partner.post(f"/v1/transactions/{payment['id']}/refunds", {"amount": "1.00"})).json()
    for pasted in (payment["id"], payment["provider_transaction_id"], refund["id"], refund["provider_refund_id"]):
        answer = await clerk.get("/console/search", q=pasted)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/console/transactions/{payment['id']}")


async def test_a_notification_of_adyens_leads_to_its_payment(
    clerk: Clerk, partner: Partner, shared_house: House
) -> None:
    method = {"type": "card", "tokens": {"adyen": "ada/APPROVED"}}
    payment = await charged(partner, payment_method=method)
    named = "SELECT dedupe_key FROM provider_events WHERE transaction_id = $1 LIMIT 1"
    pasted = await until(lambda: shared_house.owner.fetchval(named, ids.decode("txn", payment["id"])), bool)
    assert pasted.startswith("AUTHORISATION:")
    answer = await clerk.get("/console/search", q=pasted)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/console/transactions/{payment['id']}")


async def test_an_id_of_something_else_leads_to_its_page_or_is_said_not_to_be_looked_for(
    clerk: Clerk, shared_support: SupportDesk, partner: Partner, shared_house: House
) -> None:
    endpoint, account = (await shared_house.subscribed(partner))["id"], shared_house.accounts["stripe"]
    answer = await clerk.get("/console/search", q=f" {endpoint} ")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/console/webhooks/{endpoint}")
    assert (await clerk.get(answer.headers["location"])).status_code == 200
    for pasted in (account, ids.encode("pmt", ids.new())):
        page = await found(clerk, q=pasted)
        assert f"Payments cannot be looked for by {pasted}" in page
        assert "No payment fits" not in page
    admin = await shared_support.clerk("admin")
    await admin.look_at(partner.id)
    answer = await admin.get("/console/search", q=account)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/console/accounts/{account}")
    assert (await admin.get(answer.headers["location"])).status_code == 200


async def test_what_is_pasted_and_the_fields_narrow_together(clerk: Clerk, partner: Partner) -> None:
    await charged(partner, amount="49.90", customer={"email": "ada@shop.example", "name": "Ada Byron"})
    await charged(partner, amount="12.00", customer={"email": "ada@shop.example"})
    page = await found(clerk, q="ada@shop.example 49.90")
    assert ("49.90 USD" in page, "12.00 USD" in page) == (True, False)
    assert "Searching for: e-mail ada@shop.example" in page
    assert "49.90 USD" in await found(
        clerk, q="byron", amount_gte="40", currency="USD", status="completed", last4="4242"
    )
    assert "No payment fits" in await found(clerk, q="byron", amount_gte="50")


async def test_pages_meet_every_payment_once(clerk: Clerk, partner: Partner) -> None:
    made = [(await charged(partner, reference=f"page-{number:02}"))["id"] for number in range(27)]
    first = await found(clerk, reference="page-")
    (older,) = [line for line in first.splitlines() if 'rel="next"' in line]
    query = older.partition('href="/console/search?')[2].partition('"')[0].replace("&amp;", "&")
    second = await found(clerk, **dict(pair.split("=") for pair in query.split("&")))
    assert [[f"/console/transactions/{one}" in page for page in (first, second)] for one in made] == [
        [False, True]
    ] * 2 + [[True, False]] * 25
    assert 'rel="next"' not in second


async def test_a_part_is_the_page_without_its_frame(clerk: Clerk, partner: Partner) -> None:
    await charged(partner, reference="in-part")
    answer = await clerk.get("/console/search", q="in-part", headers={"HX-Request": "true"})
    assert answer.status_code == 200, answer.text
    assert "in-part" in answer.text
    assert "<header" not in answer.text


@pytest.mark.parametrize("query", [{"amount_gte": "x"}, {"since": "soon"}, {"last4": "42"}, {"status": "odd"}])
async def test_a_mistake_is_told_beside_its_field(clerk: Clerk, query: Json) -> None:
    answer = await clerk.get("/console/search", **query)
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.text


@pytest.mark.parametrize("query", [{"until": "9999-12-31"}, {"since": "0001-01-01"}, {"q": "0001-01-01 9999-12-31"}])
async def test_days_may_be_the_calendars_first_and_last(clerk: Clerk, partner: Partner, query: Json) -> None:
    await charged(partner, reference="of-all-time")
    assert "of-all-time" in await found(clerk, **query)


async def test_a_card_number_is_refused_and_not_shown_again(clerk: Clerk) -> None:
    answer = await clerk.get("/console/search", q="4242424242424242")
    assert answer.status_code == 422
    assert "4242424242424242" not in answer.text


async def test_another_partners_payment_is_found_across_only(
    clerk: Clerk, partner: Partner, shared_house: House
) -> None:
    others = await charged(await shared_house.partner(), reference="of-another")
    assert "No payment fits" in await found(clerk, q=others["id"])
    assert "No payment fits" in await found(clerk, q="of-another")
    await clerk.look_across()
    assert "of-another" in await found(clerk, q="of-another")
    await clerk.look_at(partner.id)
    assert "No payment fits" in await found(clerk, q="of-another")


async def test_whoever_looks_at_nobody_is_asked_whom_to_look_at(shared_support: SupportDesk) -> None:
    nobodys = await shared_support.clerk("viewer")
    answer = await nobodys.get("/console/search", q="anything")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/console/reach?then=")
