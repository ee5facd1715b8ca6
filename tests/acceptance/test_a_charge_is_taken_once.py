"""Promise: a charge is taken once, and the answer says what became of the money."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.acceptance.steps import ID, TIME, moved, refused, settled
from tests.house import House, Json, Partner

RETURN_URL = "https://shop.example/return"
THREE_D_SECURE: Json = {"return_url": RETURN_URL}


async def test_a_sale_is_completed_and_says_so(shared_house: House, partner: Partner) -> None:
    answer = await partner.charge(reference="sale-1", metadata={"order_id": "1042"})
    assert answer.status_code == 201
    assert "idempotent-replayed" not in answer.headers
    sale = answer.json()
    assert sale["object"] == "transaction"
    assert (sale["status"], sale["money_moved"], sale["livemode"]) == ("completed", "yes", False)
    assert (sale["amount"], sale["currency"]) == ("19.99", "USD")
    assert (sale["amount_captured"], sale["amount_refunded"], sale["amount_refundable"]) == ("19.99", "0.00", "19.99")
    card = {"id": None, "type": "card", "brand": "visa", "last4": "4242", "country": None}
    assert sale["payment_method"] == card
    assert sale["provider"] == "stripe"
    assert sale["provider_transaction_id"].startswith("pi_")
    assert (sale["failure"], sale["next_action"], sale["next_check_at"], sale["failed_at"]) == (None,) * 4
    assert (sale["reference"], sale["metadata"], sale["needs_review"]) == ("sale-1", {"order_id": "1042"}, False)
    assert await moved(shared_house, "sale-1") == {"charges": (1, 1999), "captures": (1, 1999)}


async def test_ids_and_times_have_the_published_form(partner: Partner) -> None:
    answer = await partner.charge()
    sale = answer.json()
    assert all(ID.fullmatch(text) for text in (sale["id"], sale["attempts"][0]["id"], answer.headers["request-id"]))
    assert all(TIME.fullmatch(sale[name]) for name in ("created_at", "updated_at", "processed_at"))
    assert answer.headers["server-timing"].startswith("gateway;dur=")
    assert "psp;dur=" in answer.headers["server-timing"]


async def test_the_attempt_tells_where_the_money_was_asked_for(partner: Partner) -> None:
    (attempt,) = (await partner.charge()).json()["attempts"]
    assert (attempt["provider"], attempt["operation"], attempt["outcome"]) == ("stripe", "charge", "approved")
    assert attempt["state"] == "succeeded"
    assert attempt["provider_account_id"].startswith("pac_")


async def test_what_was_charged_can_be_read_again(partner: Partner) -> None:
    sale = (await partner.charge()).json()
    assert (await partner.get(f"/v1/transactions/{sale['id']}")).json() == sale


async def test_an_authorization_holds_funds_and_moves_no_money(shared_house: House, partner: Partner) -> None:
    held = (await partner.charge(capture="manual", reference="hold-1")).json()
    assert (held["status"], held["money_moved"]) == ("authorized", "no")
    assert (held["amount_captured"], held["amount_refundable"]) == ("0.00", "0.00")
    assert await moved(shared_house, "hold-1") == {"charges": (1, 1999)}


@pytest.mark.parametrize(
    ("token", "decline_code", "advice", "provider_code"),
    [
        ("pm_card_visa_chargeDeclined", "generic_decline", "retry_later", "generic_decline"),
        (
            "pm_card_visa_chargeDeclinedInsufficientFunds",
            "insufficient_funds",
            "try_another_card",
            "insufficient_funds",
        ),
        ("pm_card_visa_chargeDeclinedLostCard", "lost_card", "do_not_retry", "lost_card"),
        ("pm_card_visa_chargeDeclinedStolenCard", "stolen_card", "do_not_retry", "stolen_card"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "try_another_card", "expired_card"),
        ("pm_card_chargeDeclinedIncorrectCvc", "invalid_cvc", "try_another_card", "incorrect_cvc"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "retry_later", "processing_error"),
        ("pm_card_radarBlock", "suspected_fraud", "do_not_retry", "fraudulent"),
    ],
)
async def test_a_declined_charge_says_why_and_what_to_do(
    shared_house: House, partner: Partner, token: str, decline_code: str, advice: str, provider_code: str
) -> None:
    answer = await partner.charge(token, reference=token)
    assert answer.status_code == 201
    declined = answer.json()
    assert (declined["status"], declined["money_moved"]) == ("failed", "no")
    assert TIME.fullmatch(declined["failed_at"])
    failure = declined["failure"]
    assert failure.keys() == {"code", "decline_code", "message", "advice", "provider_code"}
    assert (failure["code"], failure["decline_code"], failure["advice"]) == ("card_declined", decline_code, advice)
    assert failure["provider_code"] == provider_code
    assert failure["message"].endswith(".")
    assert await moved(shared_house, token) == {}


async def test_the_message_for_the_customer_does_not_tell_a_stolen_card(partner: Partner) -> None:
    failure = (await partner.charge("pm_card_visa_chargeDeclinedStolenCard")).json()["failure"]
    assert "stolen" not in failure["message"].lower()


async def test_a_token_the_provider_does_not_know_fails_the_charge(partner: Partner) -> None:
    failed = (await partner.charge("pm_card_unheard_of")).json()
    assert (failed["status"], failed["money_moved"]) == ("failed", "no")
    assert failed["failure"]["code"] == "provider_rejected"
    assert failed["failure"]["advice"] == "contact_support"


async def test_a_customer_who_must_authenticate_gets_an_address(shared_house: House, partner: Partner) -> None:
    answer = await partner.charge("pm_card_threeDSecure2Required", reference="3ds-1", **THREE_D_SECURE)
    assert answer.status_code == 201
    waiting = answer.json()
    assert (waiting["status"], waiting["money_moved"]) == ("requires_action", "unknown")
    assert waiting["next_action"]["type"] == "redirect_to_url"
    assert waiting["next_action"]["url"].startswith("http")
    assert waiting["failure"] is None
    assert await moved(shared_house, "3ds-1") == {}


@pytest.mark.parametrize(
    ("action", "capture", "status", "money_moved", "books"),
    [
        ("approve", "automatic", "completed", "yes", {"charges": (1, 1999), "captures": (1, 1999)}),
        ("approve", "manual", "authorized", "no", {"charges": (1, 1999)}),
        ("refuse", "automatic", "failed", "no", {}),
    ],
)
async def test_the_customers_answer_concludes_the_charge(
    shared_house: House, partner: Partner, action: str, capture: str, status: str, money_moved: str, books: Any
) -> None:
    reference = f"3ds-{action}-{capture}"
    asked = await partner.charge(
        "pm_card_threeDSecure2Required", reference=reference, capture=capture, **THREE_D_SECURE
    )
    waiting = asked.json()
    left = await shared_house.http.post(waiting["next_action"]["url"], data={"action": action})
    back = await shared_house.http.get(left.headers["location"])  # through us, to the partner's page
    assert back.status_code == 303
    assert back.headers["location"] == f"{RETURN_URL}?transaction_id={waiting['id']}"
    done = await settled(partner, waiting["id"], status)
    assert (done["money_moved"], done["next_action"]) == (money_moved, None)
    assert await moved(shared_house, reference) == books


async def test_without_a_return_url_authentication_is_a_decline(partner: Partner) -> None:
    failed = (await partner.charge("pm_card_threeDSecure2Required")).json()
    assert (failed["status"], failed["money_moved"]) == ("failed", "no")
    assert failed["failure"]["decline_code"] == "authentication_required"


@pytest.mark.parametrize(
    ("amount", "currency", "shown", "units"),
    [
        ("500", "JPY", "500", 500),
        ("1.230", "KWD", "1.230", 1230),
        ("1.23", "KWD", "1.230", 1230),
        ("19.9", "USD", "19.90", 1990),
        ("20", "EUR", "20.00", 2000),
        ("0.50", "USD", "0.50", 50),
        ("100000.00", "USD", "100000.00", 10000000),
        ("1000", "KRW", "1000", 1000),
        ("1200", "ISK", "1200", 120000),
    ],
)
async def test_amounts_are_in_major_units_with_the_currencys_decimals(
    shared_house: House, partner: Partner, amount: str, currency: str, shown: str, units: int
) -> None:
    reference = f"amount-{amount}-{currency}"
    sale = (await partner.charge(amount=amount, currency=currency, reference=reference)).json()
    assert (sale["status"], sale["amount"], sale["amount_captured"]) == ("completed", shown, shown), sale
    assert Decimal(sale["amount_refunded"]) == 0
    assert len(sale["amount_refunded"]) == len(f"{Decimal(shown) * 0}")
    assert await moved(shared_house, reference) == {"charges": (1, units), "captures": (1, units)}


async def test_an_amount_the_provider_cannot_represent_is_refused_before_it_is_sent(partner: Partner) -> None:
    answer = await partner.charge(amount="1.234", currency="KWD")
    problem = refused(answer, 422, "no_eligible_provider")
    assert (problem["money_moved"], problem["safe_to_retry"]) == ("no", False)


async def test_a_token_may_be_given_in_its_short_form(partner: Partner) -> None:
    sale = await partner.charge(provider="stripe", payment_method={"type": "card", "token": "pm_card_mastercard"})
    card = {"id": None, "type": "card", "brand": "mastercard", "last4": "4444", "country": None}
    assert sale.json()["payment_method"] == card


async def test_everything_said_about_an_order_is_shown_again(partner: Partner) -> None:
    said: Json = {
        "customer": {"id": None, "email": "ada@example.com", "name": "Ada", "phone": "+44 20 7946 0000"},
        "reference": "order-1042",
        "description": "Two\nlines",
        "statement_descriptor": "SHOP 1042",
        "metadata": {"a": "1", "ключ": "значение"},
        "return_url": RETURN_URL,
    }
    sale = (await partner.charge(**said)).json()
    assert {name: sale[name] for name in said} == said


async def test_history_tells_each_step_without_gaps(partner: Partner) -> None:
    sale = (await partner.charge()).json()
    events = (await partner.get(f"/v1/transactions/{sale['id']}/events")).json()["data"]
    assert [event["sequence"] for event in events] == list(range(1, sale["version"] + 1))
    assert [event["type"] for event in events] == ["created", "payment_initiated", "payment_completed"]
    assert [event["status"] for event in events] == ["pending", "processing", "completed"]
    assert all(event["created_by"].startswith("partner:key_") for event in events)


@pytest.mark.parametrize(
    ("token", "members", "types"),
    [
        ("pm_card_visa", {}, ["transaction.created", "transaction.completed"]),
        ("pm_card_visa", {"capture": "manual"}, ["transaction.created", "transaction.authorized"]),
        ("pm_card_visa_chargeDeclined", {}, ["transaction.created", "transaction.failed"]),
        ("pm_card_threeDSecure2Required", THREE_D_SECURE, ["transaction.created", "transaction.requires_action"]),
    ],
)
async def test_every_outcome_is_told_by_webhook(
    shared_house: House, partner: Partner, token: str, members: Json, types: list[str]
) -> None:
    endpoint = await shared_house.subscribed(partner)
    charged = (await partner.charge(token, **members)).json()

    def mine(events: list[Json]) -> list[Json]:
        return [event for event in events if event["data"].get("id") == charged["id"]]

    told = mine(await shared_house.receiver.until(lambda events: len(mine(events)) == len(types)))
    assert [event["type"] for event in told] == types
    assert [event["sequence"] for event in told] == [1, 2]
    assert told[-1]["data"] == charged
    assert (await partner.client.delete(f"/v1/webhook-endpoints/{endpoint['id']}")).status_code == 204
