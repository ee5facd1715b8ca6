"""Promise: an authorization is captured or released once, never both, and never for more than was held."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.acceptance.steps import checks_fall_due, moved, refused, settled
from tests.house import House, Json, Partner, new_key

pytestmark = pytest.mark.usefixtures("silent_psp")


async def held(partner: Partner, reference: str, amount: str = "100.00") -> str:
    """The id of a new authorization."""
    answer = await partner.charge(capture="manual", amount=amount, reference=reference)
    assert answer.json()["status"] == "authorized", answer.text
    transaction_id: str = answer.json()["id"]
    return transaction_id


async def test_everything_is_captured_where_no_amount_is_named(shared_house: House, partner: Partner) -> None:
    transaction_id = await held(partner, "all")
    answer = await partner.post(f"/v1/transactions/{transaction_id}/captures")
    assert answer.status_code == 200
    taken = answer.json()
    assert (taken["status"], taken["money_moved"], taken["amount_captured"]) == ("completed", "yes", "100.00")
    assert [attempt["operation"] for attempt in taken["attempts"]] == ["charge", "capture"]
    assert await moved(shared_house, "all") == {"charges": (1, 10000), "captures": (1, 10000)}


async def test_a_part_may_be_captured_and_the_rest_is_released(shared_house: House, partner: Partner) -> None:
    transaction_id = await held(partner, "part")
    taken = (await partner.post(f"/v1/transactions/{transaction_id}/captures", {"amount": "30.00"})).json()
    assert (taken["status"], taken["amount"], taken["amount_captured"]) == ("completed", "100.00", "30.00")
    assert taken["amount_refundable"] == "30.00"
    problem = refused(await partner.post(f"/v1/transactions/{transaction_id}/captures"), 409, "invalid_state")
    assert problem["current_status"] == "completed"
    assert await moved(shared_house, "part") == {"charges": (1, 10000), "captures": (1, 3000)}


async def test_more_than_was_authorized_is_refused_with_what_there_is(shared_house: House, partner: Partner) -> None:
    transaction_id = await held(partner, "more")
    answer = await partner.post(f"/v1/transactions/{transaction_id}/captures", {"amount": "100.01"})
    problem = refused(answer, 409, "capture_exceeds_authorized")
    assert (problem["available"], problem["currency"]) == ("100.00", "USD")
    assert (problem["money_moved"], problem["safe_to_retry"]) == ("no", False)
    assert await moved(shared_house, "more") == {"charges": (1, 10000)}


@pytest.mark.parametrize("amount", ["0", "0.00", "1.234", "-1", "1e1", 5, 1.5])
async def test_an_amount_that_is_none_is_refused(partner: Partner, amount: object) -> None:
    transaction_id = await held(partner, "none")
    answer = await partner.post(f"/v1/transactions/{transaction_id}/captures", {"amount": amount})
    refused(answer, 422, "invalid_request", "amount")


async def test_a_repeated_capture_gets_the_same_bytes(shared_house: House, partner: Partner) -> None:
    path, key = f"/v1/transactions/{await held(partner, 'again')}/captures", new_key()
    first, again = await partner.post(path, key=key), await partner.post(path, key=key)
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert (await moved(shared_house, "again"))["captures"] == (1, 10000)


async def test_ten_captures_at_once_take_the_money_once(shared_house: House, partner: Partner) -> None:
    path = f"/v1/transactions/{await held(partner, 'race')}/captures"
    answers = await asyncio.gather(*(partner.post(path, {"amount": "60.00"}) for _ in range(10)))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 9}
    assert (await moved(shared_house, "race"))["captures"] == (1, 6000)


async def test_a_capture_and_a_cancel_at_once_do_one_thing(shared_house: House, partner: Partner) -> None:
    for number in range(5):
        reference = f"either-{number}"
        path = f"/v1/transactions/{await held(partner, reference)}"
        answers = await asyncio.gather(partner.post(f"{path}/captures"), partner.post(f"{path}/cancel"))
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        books = await moved(shared_house, reference)
        assert ("captures" in books) != ("voids" in books)


async def test_a_cancelled_authorization_is_released(shared_house: House, partner: Partner) -> None:
    transaction_id = await held(partner, "cancel")
    answer = await partner.post(f"/v1/transactions/{transaction_id}/cancel")
    assert answer.status_code == 200
    released = answer.json()
    assert (released["status"], released["money_moved"], released["amount_captured"]) == ("cancelled", "no", "0.00")
    assert await moved(shared_house, "cancel") == {"charges": (1, 10000), "voids": (1, 10000)}
    for follow_up in ("cancel", "captures", "refunds"):
        problem = refused(await partner.post(f"/v1/transactions/{transaction_id}/{follow_up}"), 409, "invalid_state")
        assert problem["current_status"] == "cancelled"


async def test_waiting_for_the_customer_can_be_given_up(shared_house: House, partner: Partner) -> None:
    members = {"return_url": "https://shop.example/return", "reference": "given-up"}
    waiting = (await partner.charge("pm_card_threeDSecure2Required", **members)).json()
    given_up = (await partner.post(f"/v1/transactions/{waiting['id']}/cancel")).json()
    assert (given_up["status"], given_up["money_moved"], given_up["next_action"]) == ("cancelled", "no", None)
    page = await shared_house.http.post(waiting["next_action"]["url"], data={"action": "approve"})
    await checks_fall_due(shared_house.owner)
    assert page.status_code in (303, 404)
    assert (await partner.get(f"/v1/transactions/{waiting['id']}")).json()["status"] == "cancelled"
    assert await moved(shared_house, "given-up") == {}


@pytest.mark.parametrize(
    ("token", "status"), [("pm_card_visa", "completed"), ("pm_card_visa_chargeDeclined", "failed")]
)
async def test_what_is_not_held_is_neither_captured_nor_cancelled(partner: Partner, token: str, status: str) -> None:
    charged = (await partner.charge(token)).json()
    for follow_up in ("captures", "cancel"):
        problem = refused(await partner.post(f"/v1/transactions/{charged['id']}/{follow_up}"), 409, "invalid_state")
        assert problem["current_status"] == status
        assert problem["money_moved"] == "no"


async def test_a_refused_follow_up_leaves_its_key_unused(partner: Partner) -> None:
    path, key = f"/v1/transactions/{await held(partner, 'key')}", new_key()
    refused(await partner.post(f"{path}/captures", {"amount": "200.00"}, key=key), 409, "capture_exceeds_authorized")
    assert (await partner.post(f"{path}/captures", {"amount": "20.00"}, key=key)).status_code == 200


@pytest.mark.parametrize("kind", ["act_then_lose_answer", "lose_request", "garbage", "error_after_acting"])
async def test_a_capture_without_an_answer_is_made_once_and_found_out(
    shared_house: House, partner: Partner, kind: str
) -> None:
    reference, key = f"lost-{kind}", new_key()
    path = f"/v1/transactions/{await held(partner, reference)}"
    await shared_house.fault(kind, operation="capture", reference=reference, times=2)
    answer = await partner.post(f"{path}/captures", {"amount": "40.00"}, key=key)
    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["money_moved"]) == ("authorized", "unknown")
    assert answer.headers["location"] == path
    refused(await partner.post(f"{path}/cancel"), 409, "invalid_state")
    await checks_fall_due(shared_house.owner)
    done = await settled(partner, path.rpartition("/")[2], "completed")
    assert (done["amount_captured"], done["money_moved"]) == ("40.00", "yes")
    final = await partner.post(f"{path}/captures", {"amount": "40.00"}, key=key)
    assert (final.status_code, final.json()) == (200, done)
    assert (await moved(shared_house, reference))["captures"] == (1, 4000)


async def test_a_cancel_without_an_answer_is_found_out(shared_house: House, partner: Partner) -> None:
    path, key = f"/v1/transactions/{await held(partner, 'lost-cancel')}", new_key()
    await shared_house.fault("act_then_lose_answer", operation="cancel", reference="lost-cancel", times=2)
    answer = await partner.post(f"{path}/cancel", key=key)
    assert (answer.status_code, answer.json()["status"]) == (202, "authorized")
    final = await partner.post(f"{path}/cancel", key=key)
    assert (final.status_code, final.json()["status"]) == (200, "cancelled")
    assert await moved(shared_house, "lost-cancel") == {"charges": (1, 10000), "voids": (1, 10000)}


@pytest.mark.parametrize(("follow_up", "operation"), [("captures", "capture"), ("cancel", "cancel")])
async def test_a_throttled_follow_up_was_not_executed_and_frees_its_key(
    shared_house: House, partner: Partner, follow_up: str, operation: str
) -> None:
    path, key = f"/v1/transactions/{await held(partner, f'busy-{operation}')}/{follow_up}", new_key()
    await shared_house.fault("throttle", operation=operation, reference=f"busy-{operation}")
    problem = refused(await partner.post(path, key=key), 503, "temporarily_unavailable")
    assert (problem["money_moved"], problem["safe_to_retry"]) == ("no", True)
    assert (await partner.post(path, key=key)).status_code == 200


async def test_an_expired_authorization_fails_when_it_is_captured(shared_house: House, partner: Partner) -> None:
    path = f"/v1/transactions/{await held(partner, 'expired')}"
    payment_id = (await partner.get(path)).json()["provider_transaction_id"]
    await shared_house.http.post(f"{shared_house.simulators['stripe']}/_simulator/payments/{payment_id}/expire")
    answer = await partner.post(f"{path}/captures")
    assert answer.status_code == 200
    failed = answer.json()
    assert (failed["status"], failed["money_moved"]) == ("failed", "no")
    assert failed["failure"]["code"] == "authorization_expired"


async def test_a_capture_and_a_cancel_are_told_by_webhook(shared_house: House, partner: Partner) -> None:
    await shared_house.subscribed(partner, ["transaction.completed", "transaction.cancelled"])
    captured, cancelled = await held(partner, "told-1"), await held(partner, "told-2")
    shown: list[Json] = [
        (await partner.post(f"/v1/transactions/{captured}/captures")).json(),
        (await partner.post(f"/v1/transactions/{cancelled}/cancel")).json(),
    ]
    assert (await shared_house.receiver.event("transaction.completed", captured))["data"] == shown[0]
    assert (await shared_house.receiver.event("transaction.cancelled", cancelled))["data"] == shown[1]
