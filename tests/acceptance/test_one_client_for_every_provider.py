"""One client works at every PSP: only the token differs. What a PSP finishes later, converges."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import pytest

from db import ids
from gateway.transactions import offline
from tests.acceptance.steps import settled, until
from tests.house import House, Json, Partner

RETURN_URL = "https://shop.example/return"


@dataclass(frozen=True, slots=True)
class Tokens:
    """Magic values of one simulator."""

    provider: str
    approved: str
    declined: str
    challenged: str


PROVIDERS = [
    Tokens("stripe", "pm_card_visa", "pm_card_visa_chargeDeclinedInsufficientFunds", "pm_card_threeDSecure2Required"),
    Tokens("adyen", "ada/APPROVED", "ada/NOT_ENOUGH_BALANCE", "ada/CHALLENGE"),
    Tokens("paypal", "vault_card_visa", "vault_CCREJECT-IF", "vault_3ds"),
]
each = pytest.mark.parametrize("tokens", PROVIDERS, ids=lambda tokens: tokens.provider)


async def pay(partner: Partner, tokens: Tokens, token: str, **members: object) -> Json:
    body = {
        "amount": "19.99",
        "currency": "USD",
        "payment_method": {"type": "card", "tokens": {tokens.provider: token}},
    } | members
    answer = await partner.post("/v1/transactions", body)
    assert answer.status_code in {201, 202}, answer.text
    made: Json = answer.json()
    assert made["provider"] == tokens.provider
    return made


async def refunded(partner: Partner, refund: Json) -> Json:
    async def ask() -> Json:
        shown: Json = (await partner.get(f"/v1/refunds/{refund['id']}")).json()
        return shown

    return await until(ask, lambda shown: shown["status"] in {"completed", "failed"})


@each
async def test_a_sale_is_completed_and_refunded(shared_house: House, partner: Partner, tokens: Tokens) -> None:
    sale = await pay(partner, tokens, tokens.approved, reference=f"sale-{tokens.provider}")
    assert (sale["status"], sale["amount_captured"], sale["payment_method"]["last4"]) == ("completed", "19.99", "4242")
    path = f"/v1/transactions/{sale['id']}/refunds"
    part = (await partner.post(path, {"amount": "5.00"})).json()
    assert (await refunded(partner, part))["status"] == "completed"
    await settled(partner, sale["id"], "partially_refunded")
    rest = (await partner.post(path)).json()
    assert (await refunded(partner, rest))["amount"] == "14.99"
    done = await settled(partner, sale["id"], "refunded")
    assert (done["amount_refunded"], done["amount_refundable"]) == ("19.99", "0.00")


@each
async def test_a_decline_says_why(shared_house: House, partner: Partner, tokens: Tokens) -> None:
    declined = await pay(partner, tokens, tokens.declined)
    assert (declined["status"], declined["money_moved"]) == ("failed", "no")
    assert declined["failure"]["decline_code"] == "insufficient_funds"
    assert declined["failure"]["advice"] == "try_another_card"


@each
async def test_an_authorization_is_captured_in_part(shared_house: House, partner: Partner, tokens: Tokens) -> None:
    held = await pay(partner, tokens, tokens.approved, capture="manual")
    assert (held["status"], held["money_moved"]) == ("authorized", "no")
    answer = await partner.post(f"/v1/transactions/{held['id']}/captures", {"amount": "7.00"})
    assert answer.status_code in {200, 202}, answer.text
    done = await settled(partner, held["id"], "completed")
    assert (done["amount_captured"], done["money_moved"]) == ("7.00", "yes")


@each
async def test_an_authorization_is_released(shared_house: House, partner: Partner, tokens: Tokens) -> None:
    held = await pay(partner, tokens, tokens.approved, capture="manual")
    answer = await partner.post(f"/v1/transactions/{held['id']}/cancel")
    assert answer.status_code in {200, 202}, answer.text
    assert (await settled(partner, held["id"], "cancelled"))["money_moved"] == "no"


@each
@pytest.mark.parametrize("action", ["approve", "refuse"])
async def test_a_customer_authenticates_and_comes_back(
    shared_house: House, partner: Partner, tokens: Tokens, action: str
) -> None:
    waiting = await pay(partner, tokens, tokens.challenged, return_url=RETURN_URL)
    assert (waiting["status"], waiting["next_action"]["type"]) == ("requires_action", "redirect_to_url")
    back = await through_the_page(shared_house, waiting, action)
    assert back == f"{RETURN_URL}?transaction_id={waiting['id']}"
    done = await settled(partner, waiting["id"], "completed", "failed")
    assert done["status"] == ("completed" if action == "approve" else "failed")


@pytest.mark.parametrize("provider", ["paypal", "adyen"])
async def test_a_wallet_needs_no_token(shared_house: House, partner: Partner, provider: str) -> None:
    body = {
        "amount": "19.99",
        "currency": "EUR",
        "payment_method": {"type": "e_wallet"},
        "provider": provider,
        "return_url": RETURN_URL,
    }
    waiting = (await partner.post("/v1/transactions", body)).json()
    assert waiting["status"] == "requires_action"
    assert (await through_the_page(shared_house, waiting, "approve")).startswith(RETURN_URL)
    assert (await settled(partner, waiting["id"], "completed"))["amount_captured"] == "19.99"


async def test_an_approval_is_carried_on_even_if_the_customer_does_not_come_back(
    shared_house: House, partner: Partner
) -> None:
    """PayPal tells of the approval, and we take the money."""
    waiting = await pay(partner, PROVIDERS[2], PROVIDERS[2].challenged, return_url=RETURN_URL)
    url = waiting["next_action"]["url"]
    left = await shared_house.http.post(url, data={"action": "approve"})
    assert left.status_code == 303
    assert (await settled(partner, waiting["id"], "completed"))["money_moved"] == "yes"


async def test_an_offline_payment_waits_for_support(shared_house: House, partner: Partner) -> None:
    body = {
        "amount": "50.00",
        "currency": "EUR",
        "payment_method": {"type": "bank_transfer"},
        "provider": "manual",
    }
    answer = await partner.post("/v1/transactions", body)
    assert (answer.status_code, answer.json()["status"]) == (202, "processing")
    transaction_id = ids.decode("txn", answer.json()["id"])
    assert transaction_id is not None
    with pytest.raises(offline.NothingOpen):
        await offline.decide(
            shared_house.background, transaction_id, approved=True, refund_id=ids.new(), actor="operator:test", note="x"
        )
    await offline.decide(
        shared_house.background, transaction_id, approved=True, refund_id=None, actor="operator:test", note="seen"
    )
    done = await settled(partner, answer.json()["id"], "completed")
    assert (done["provider"], done["money_moved"]) == ("manual", "yes")


async def test_support_does_not_decide_in_a_psps_place(shared_house: House, partner: Partner) -> None:
    await shared_house.silence("stripe")
    await shared_house.fault("act_then_lose_answer", times=2, reference="not-ours")
    waiting = await pay(partner, PROVIDERS[0], PROVIDERS[0].approved, reference="not-ours")
    transaction_id = ids.decode("txn", waiting["id"])
    assert transaction_id is not None
    with pytest.raises((offline.NotOffline, offline.NothingOpen)):
        await offline.decide(
            shared_house.background, transaction_id, approved=False, refund_id=None, actor="operator:test", note="x"
        )
    await settled(partner, waiting["id"], "completed")


async def through_the_page(house: House, waiting: Json, action: str) -> str:
    """What a browser does: show the PSP's page, press a button, follow us to the partner's page; its address."""
    url = waiting["next_action"]["url"]
    page = await house.http.get(url)
    assert page.status_code == 200
    left = await house.http.post(url, data={"action": action})
    assert left.status_code == 303
    back: httpx.Response = await house.http.get(left.headers["location"])
    assert back.status_code == 303, back.text
    location: str = back.headers["location"]
    return location


async def test_an_offline_payment_that_nobody_decided_can_be_called_off(partner: Partner) -> None:
    body = {
        "amount": "50.00",
        "currency": "EUR",
        "payment_method": {"type": "bank_transfer"},
        "provider": "manual",
    }
    waiting = (await partner.post("/v1/transactions", body)).json()
    answer = await partner.post(f"/v1/transactions/{waiting['id']}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled"), answer.text
