"""Promise: pending and completed refunds together never exceed what was captured, under any race and any fault."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal

import pytest

from tests.acceptance.steps import TIME, checks_fall_due, listed, moved, refused, until
from tests.house import House, Json, Partner, new_key

pytestmark = pytest.mark.usefixtures("silent_psp")


async def sold(partner: Partner, reference: str, token: str = "pm_card_visa", **members: str) -> str:
    """The path of a new sale of 100.00."""
    answer = await partner.charge(token, **({"amount": "100.00", "reference": reference} | members))
    assert answer.json()["status"] == "completed", answer.text
    return f"/v1/transactions/{answer.json()['id']}"


async def shown(partner: Partner, path: str) -> Json:
    body: Json = (await partner.get(path)).json()
    return body


async def test_everything_left_is_refunded_where_no_amount_is_named(shared_house: House, partner: Partner) -> None:
    path = await sold(partner, "all")
    answer = await partner.post(f"{path}/refunds")
    assert answer.status_code == 201
    refund = answer.json()
    assert (refund["object"], refund["status"], refund["money_moved"]) == ("refund", "completed", "yes")
    assert (refund["amount"], refund["currency"]) == ("100.00", "USD")
    assert (refund["reason"], refund["note"], refund["failure"]) == ("requested_by_customer", None, None)
    assert refund["provider_refund_id"].startswith("re_")
    assert path.endswith(refund["transaction_id"])
    assert TIME.fullmatch(refund["processed_at"])
    sale = await shown(partner, path)
    assert (sale["status"], sale["amount_refunded"], sale["amount_refundable"]) == ("refunded", "100.00", "0.00")
    assert sale["money_moved"] == "yes"
    assert (await moved(shared_house, "all"))["refunds"] == (1, 10000)


async def test_refunds_in_parts_add_up(shared_house: House, partner: Partner) -> None:
    path = await sold(partner, "parts")
    await partner.post(f"{path}/refunds", {"amount": "30.00", "reason": "duplicate", "note": "one of two"})
    sale = await shown(partner, path)
    assert (sale["status"], sale["amount_refunded"], sale["amount_refundable"]) == (
        "partially_refunded",
        "30.00",
        "70.00",
    )
    await partner.post(f"{path}/refunds", {"amount": "20.00"})
    rest = (await partner.post(f"{path}/refunds", {"reason": "other"})).json()
    assert rest["amount"] == "50.00"
    assert (await shown(partner, path))["status"] == "refunded"
    assert (await moved(shared_house, "parts"))["refunds"] == (3, 10000)


async def test_a_refund_can_be_read_alone_in_the_list_and_at_its_transaction(partner: Partner) -> None:
    path = await sold(partner, "read")
    refund = (await partner.post(f"{path}/refunds", {"amount": "1.00", "note": "sorry"})).json()
    assert (await partner.get(f"/v1/refunds/{refund['id']}")).json() == refund
    assert await listed(partner, "/v1/refunds") == [refund]
    assert await listed(partner, f"{path}/refunds") == [refund]
    assert (await partner.get(path, expand="refunds")).json()["refunds"] == [refund]


async def test_more_than_is_left_is_refused_with_what_is_left(shared_house: House, partner: Partner) -> None:
    path = await sold(partner, "over")
    await partner.post(f"{path}/refunds", {"amount": "99.99"})
    problem = refused(await partner.post(f"{path}/refunds", {"amount": "0.02"}), 409, "refund_exceeds_captured")
    assert (problem["available"], problem["currency"]) == ("0.01", "USD")
    assert (problem["money_moved"], problem["safe_to_retry"]) == ("no", False)
    assert (await moved(shared_house, "over"))["refunds"] == (1, 9999)


async def test_what_is_wholly_refunded_is_not_refunded_again(partner: Partner) -> None:
    path = await sold(partner, "done")
    await partner.post(f"{path}/refunds")
    problem = refused(await partner.post(f"{path}/refunds"), 409, "invalid_state")
    assert problem["current_status"] == "refunded"


async def test_only_what_was_captured_of_an_authorization_is_refunded(shared_house: House, partner: Partner) -> None:
    held = (await partner.charge(capture="manual", amount="100.00", reference="captured")).json()
    path = f"/v1/transactions/{held['id']}"
    refused(await partner.post(f"{path}/refunds"), 409, "invalid_state")
    await partner.post(f"{path}/captures", {"amount": "40.00"})
    problem = refused(await partner.post(f"{path}/refunds", {"amount": "40.01"}), 409, "refund_exceeds_captured")
    assert problem["available"] == "40.00"
    assert (await partner.post(f"{path}/refunds")).json()["amount"] == "40.00"
    assert (await moved(shared_house, "captured"))["refunds"] == (1, 4000)


async def test_twenty_refunds_at_once_give_back_what_there_is_and_no_more(
    shared_house: House, partner: Partner
) -> None:
    path = await sold(partner, "race")
    answers = await asyncio.gather(*(partner.post(f"{path}/refunds", {"amount": "15.00"}) for _ in range(20)))
    assert Counter(answer.status_code for answer in answers) == {201: 6, 409: 14}
    for answer in answers:
        if answer.status_code == 409:
            problem = refused(answer, 409, "refund_exceeds_captured")
            assert Decimal(problem["available"]) < 15
    assert (await shown(partner, path))["amount_refunded"] == "90.00"
    assert (await moved(shared_house, "race"))["refunds"] == (6, 9000)


async def test_twenty_refunds_under_one_key_are_one(shared_house: House, partner: Partner) -> None:
    path, key = await sold(partner, "one-key"), new_key()
    answers = await asyncio.gather(*(partner.post(f"{path}/refunds", {"amount": "1.00"}, key=key) for _ in range(20)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
    again = await partner.post(f"{path}/refunds", {"amount": "1.00"}, key=key)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
    assert (await moved(shared_house, "one-key"))["refunds"] == (1, 100)


@pytest.mark.parametrize("kind", ["act_then_lose_answer", "lose_request", "garbage", "wrong_amount"])
async def test_a_refund_answered_once_wrongly_is_asked_for_again(
    shared_house: House, partner: Partner, kind: str
) -> None:
    path = await sold(partner, f"once-{kind}")
    await shared_house.fault(kind, operation="refund", reference=f"once-{kind}")
    answer = await partner.post(f"{path}/refunds", {"amount": "10.00"})
    assert (answer.status_code, answer.json()["status"]) == (201, "completed")
    assert (await moved(shared_house, f"once-{kind}"))["refunds"] == (1, 1000)


@pytest.mark.parametrize("kind", ["act_then_lose_answer", "lose_request", "garbage", "error_after_acting"])
async def test_a_refund_without_an_answer_keeps_its_amount_reserved_until_it_is_found_out(
    shared_house: House, partner: Partner, kind: str
) -> None:
    reference, key = f"lost-{kind}", new_key()
    path = await sold(partner, reference)
    await shared_house.fault(kind, operation="refund", reference=reference, times=2)
    answer = await partner.post(f"{path}/refunds", {"amount": "60.00"}, key=key)
    assert answer.status_code == 202
    pending = answer.json()
    assert (pending["status"], pending["money_moved"], pending["failure"]) == ("processing", "unknown", None)
    assert answer.headers["location"] == f"/v1/refunds/{pending['id']}"
    assert int(answer.headers["retry-after"]) >= 1
    assert (await shown(partner, path))["amount_refundable"] == "40.00"
    problem = refused(await partner.post(f"{path}/refunds", {"amount": "40.01"}), 409, "refund_exceeds_captured")
    assert problem["available"] == "40.00"

    await checks_fall_due(shared_house.owner)
    done = await concluded(partner, pending["id"])
    assert (done["status"], done["money_moved"]) == ("completed", "yes")
    final = await partner.post(f"{path}/refunds", {"amount": "60.00"}, key=key)
    assert (final.status_code, final.json()) == (201, done)
    assert (await moved(shared_house, reference))["refunds"] == (1, 6000)


async def test_a_throttled_refund_is_made_later_by_itself(shared_house: House, partner: Partner) -> None:
    path = await sold(partner, "throttled")
    await shared_house.fault("throttle", operation="refund", reference="throttled")
    answer = await partner.post(f"{path}/refunds")
    assert (answer.status_code, answer.json()["status"]) == (202, "processing")
    await checks_fall_due(shared_house.owner)
    assert (await concluded(partner, answer.json()["id"]))["status"] == "completed"
    assert (await moved(shared_house, "throttled"))["refunds"] == (1, 10000)


async def test_a_refund_the_provider_makes_later_is_completed_when_it_has(
    shared_house: House, partner: Partner
) -> None:
    path = await sold(partner, "pending", "pm_card_pendingRefund")
    answer = await partner.post(f"{path}/refunds", {"amount": "70.00"})
    assert (answer.status_code, answer.json()["status"]) == (202, "processing")
    refund = answer.json()
    assert "refunds" not in await moved(shared_house, "pending")
    refused(await partner.post(f"{path}/refunds", {"amount": "30.01"}), 409, "refund_exceeds_captured")

    settle = f"{shared_house.simulators['stripe']}/_simulator/refunds/{refund['provider_refund_id']}/settle"
    assert (await shared_house.http.post(settle)).status_code == 200
    await checks_fall_due(shared_house.owner)
    assert (await concluded(partner, refund["id"]))["status"] == "completed"
    assert (await moved(shared_house, "pending"))["refunds"] == (1, 7000)


async def test_a_refused_refund_frees_its_amount(shared_house: House, partner: Partner) -> None:
    # The merchant gives the money back in Stripe's own dashboard: Stripe then refuses ours.
    path = await sold(partner, "refused")
    payment_id = (await shown(partner, path))["provider_transaction_id"]
    given = await shared_house.http.post(
        f"{shared_house.simulators['stripe']}/v1/refunds",
        data={"payment_intent": payment_id},
        headers={"Authorization": "Bearer sk_test_simulated"},
    )
    assert given.status_code == 200
    answer = await partner.post(f"{path}/refunds", {"amount": "10.00"})
    assert answer.status_code == 201
    failed = answer.json()
    assert (failed["status"], failed["money_moved"], failed["failure"]["code"]) == ("failed", "no", "refund_refused")
    assert (await shown(partner, path))["amount_refundable"] == "100.00"


async def test_a_refund_is_told_by_webhook(shared_house: House, partner: Partner) -> None:
    await shared_house.subscribed(partner)
    path = await sold(partner, "told")
    refund = (await partner.post(f"{path}/refunds", {"amount": "10.00"})).json()
    created = await shared_house.receiver.event("refund.created", refund["id"])
    assert created["data"]["status"] == "pending"
    completed = await shared_house.receiver.event("refund.completed", refund["id"])
    assert completed["data"] == refund
    sale = await shown(partner, path)
    assert (await shared_house.receiver.event("transaction.partially_refunded", sale["id"]))["data"] == sale


@pytest.mark.parametrize("amount", ["0", "0.00", "1.234", "-1", "1e1", 5, 1.5, True])
async def test_an_amount_that_is_none_is_refused(partner: Partner, amount: object) -> None:
    path = await sold(partner, "bad")
    refused(await partner.post(f"{path}/refunds", {"amount": amount}), 422, "invalid_request", "amount")


async def test_the_currencys_decimals_hold_for_refunds_too(shared_house: House, partner: Partner) -> None:
    path = await sold(partner, "yen", amount="500", currency="JPY")
    refused(await partner.post(f"{path}/refunds", {"amount": "1.5"}), 422, "invalid_request", "amount")
    assert (await partner.post(f"{path}/refunds", {"amount": "200"})).json()["amount"] == "200"
    assert (await shown(partner, path))["amount_refundable"] == "300"
    assert (await moved(shared_house, "yen"))["refunds"] == (1, 200)


async def test_a_failed_charge_has_nothing_to_refund(partner: Partner) -> None:
    failed = (await partner.charge("pm_card_visa_chargeDeclined")).json()
    answer = await partner.post(f"/v1/transactions/{failed['id']}/refunds")
    assert refused(answer, 409, "invalid_state")["current_status"] == "failed"


async def concluded(partner: Partner, refund_id: str) -> Json:
    """The refund, once its outcome is known."""

    async def ask() -> Json:
        refund: Json = (await partner.get(f"/v1/refunds/{refund_id}")).json()
        return refund

    return await until(ask, lambda refund: refund["status"] in ("completed", "failed"))
