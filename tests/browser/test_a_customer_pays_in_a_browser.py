"""A customer in a real browser goes to the PSP's page and comes back, or does not, and the payment ends accordingly."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from db import ids
from tests.acceptance.steps import settled, until
from tests.browser.chromium import Browser
from tests.browser.shop import Shop
from tests.house import House, Json, Partner


@dataclass(frozen=True, slots=True)
class Way:
    """One way to pay that leads over a page of the PSP."""

    provider: str
    method: Json
    page: str
    """The page's title."""
    refused: str = "failed"
    """What the payment is after the customer refused."""
    named: Json = field(default_factory=dict)


WALLET = Way("paypal", {"type": "e_wallet"}, "Simulated PayPal", "requires_action", {"provider": "paypal"})
ADYEN = Way("adyen", {"type": "card", "tokens": {"adyen": "ada/CHALLENGE"}}, "Simulated scheme")
STRIPE = Way("stripe", {"type": "card", "tokens": {"stripe": "pm_card_threeDSecure2Required"}}, "Simulated bank")

each = pytest.mark.parametrize("way", [WALLET, ADYEN, STRIPE], ids=lambda way: way.provider)


async def at_the_page(browser: Browser, partner: Partner, way: Way, shop: Shop) -> Json:
    """The charge, its customer in front of the PSP's page."""
    body = {"amount": "19.99", "currency": "EUR", "payment_method": way.method, "return_url": shop.return_url}
    answer = await partner.post("/v1/transactions", body | way.named)
    assert answer.status_code == 201, answer.text
    waiting: Json = answer.json()
    assert (waiting["status"], waiting["provider"]) == ("requires_action", way.provider)
    await browser.open(waiting["next_action"]["url"])
    assert await browser.title() == way.page
    return waiting


async def back_in_the_shop(browser: Browser, shop: Shop, waiting: Json) -> None:
    """The shop is told which order and which transaction, and nothing that the PSP said."""
    assert await shop.visit() == {"order": "7", "transaction_id": waiting["id"]}
    assert await until(browser.title, lambda title: title == "Order 7")
    assert await browser.address() == f"{shop.return_url}&transaction_id={waiting['id']}"
    assert shop.quiet


async def told(house: House, event_type: str, shown: Json) -> None:
    """By a webhook whose signature was verified, saying what the API says."""
    assert (await house.receiver.event(event_type, shown["id"]))["data"] == shown


async def no_longer_waited_for(house: House, transaction_id: str) -> None:
    """Time passes: the customer has been gone for two days."""
    number = ids.decode("txn", transaction_id)
    await house.owner.execute("ALTER TABLE attempts DISABLE TRIGGER guard")
    await house.owner.execute(
        "UPDATE attempts SET created_at = created_at - interval '2 days' WHERE transaction_id = $1", number
    )
    await house.owner.execute("ALTER TABLE attempts ENABLE TRIGGER guard")


@each
async def test_who_approves_has_paid(
    browser: Browser, shared_house: House, partner: Partner, shop: Shop, way: Way
) -> None:
    waiting = await at_the_page(browser, partner, way, shop)
    await browser.press("Approve")
    await back_in_the_shop(browser, shop, waiting)
    done = await settled(partner, waiting["id"], "completed")
    assert (done["amount_captured"], done["money_moved"]) == ("19.99", "yes")
    await told(shared_house, "transaction.completed", done)


@each
async def test_who_refuses_has_not_paid(
    browser: Browser, shared_house: House, partner: Partner, shop: Shop, way: Way
) -> None:
    waiting = await at_the_page(browser, partner, way, shop)
    await browser.press("Refuse")
    await back_in_the_shop(browser, shop, waiting)
    stands = await settled(partner, waiting["id"], way.refused)
    if stands["status"] == "requires_action":  # the customer may still go back and approve, until we say no more
        await partner.post(f"/v1/transactions/{waiting['id']}/cancel")
        stands = await settled(partner, waiting["id"], "cancelled")
    assert (stands["amount_captured"], stands["money_moved"]) == ("0.00", "no")
    await told(shared_house, f"transaction.{stands['status']}", stands)


@each
async def test_who_closes_the_browser_is_not_waited_for_for_ever(
    browser: Browser, shared_house: House, partner: Partner, shop: Shop, way: Way
) -> None:
    waiting = await at_the_page(browser, partner, way, shop)
    await browser.close()
    await no_longer_waited_for(shared_house, waiting["id"])
    ended = await settled(partner, waiting["id"], "failed")
    assert (ended["failure"]["code"], ended["money_moved"]) == ("action_expired", "no")
    assert shop.quiet
    await told(shared_house, "transaction.failed", ended)
