"""Promise: a request with an Idempotency-Key is executed once, however often and however it is repeated."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.acceptance.steps import calls, checks_fall_due, listed, moved, refused, settled, until
from tests.house import House, Json, Partner, new_key


async def test_a_repeat_gets_the_same_bytes_and_says_so(shared_house: House, partner: Partner) -> None:
    key = new_key()
    first = await partner.charge(key=key, reference="repeat-1")
    again = await partner.charge(key=key, reference="repeat-1")
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert await moved(shared_house, "repeat-1") == {"charges": (1, 1999), "captures": (1, 1999)}


async def test_a_repeat_is_answered_as_then_whatever_happened_since(partner: Partner) -> None:
    key = new_key()
    first = await partner.charge(key=key)
    await partner.post(f"/v1/transactions/{first.json()['id']}/refunds")
    assert (await partner.charge(key=key)).content == first.content


async def test_a_decline_is_repeated_too_and_not_tried_again(shared_house: House, partner: Partner) -> None:
    key = new_key()
    first = await partner.charge("pm_card_visa_chargeDeclined", key=key, reference="declined-twice")
    again = await partner.charge("pm_card_visa_chargeDeclined", key=key, reference="declined-twice")
    assert again.content == first.content
    assert len(await listed(partner)) == 1


async def test_spacing_and_order_of_the_json_do_not_matter(partner: Partner) -> None:
    headers = {"Idempotency-Key": new_key(), "Content-Type": "application/json"}
    method = '{"type": "card", "tokens": {"stripe": "pm_card_visa"}}'
    one = f'{{"amount": "19.99", "currency": "USD", "payment_method": {method}}}'
    other = f'{{ "payment_method":{method},\n "currency":"USD", "amount":"19.99" }}'
    first = await partner.client.post("/v1/transactions", content=one, headers=headers)
    again = await partner.client.post("/v1/transactions", content=other, headers=headers)
    assert first.status_code == 201
    assert again.content == first.content


async def test_a_key_with_another_body_is_refused_and_changes_nothing(partner: Partner) -> None:
    key = new_key()
    first = await partner.charge(key=key)
    problem = refused(await partner.charge(key=key, amount="20.00"), 422, "idempotency_key_reused")
    assert (problem["money_moved"], problem["safe_to_retry"]) == ("no", False)
    assert (await partner.charge(key=key)).content == first.content
    assert len(await listed(partner)) == 1


async def test_a_key_with_another_path_is_refused(partner: Partner) -> None:
    key = new_key()
    sale = (await partner.charge(key=key)).json()
    refused(await partner.post(f"/v1/transactions/{sale['id']}/refunds", key=key), 422, "idempotency_key_reused")
    assert (await partner.get(f"/v1/transactions/{sale['id']}")).json()["amount_refunded"] == "0.00"


async def test_a_key_with_the_same_body_at_another_path_is_refused(shared_house: House, partner: Partner) -> None:
    key = new_key()
    held = (await partner.charge(capture="manual", reference="same-body")).json()
    assert (await partner.post(f"/v1/transactions/{held['id']}/captures", key=key)).status_code == 200
    refused(await partner.post(f"/v1/transactions/{held['id']}/cancel", key=key), 422, "idempotency_key_reused")
    other = (await partner.charge(capture="manual")).json()
    refused(await partner.post(f"/v1/transactions/{other['id']}/captures", key=key), 422, "idempotency_key_reused")
    assert await moved(shared_house, "same-body") == {"charges": (1, 1999), "captures": (1, 1999)}


async def test_twenty_identical_requests_at_once_are_one_charge(shared_house: House, partner: Partner) -> None:
    key = new_key()
    answers = await asyncio.gather(*(partner.charge(key=key, reference="twenty") for _ in range(20)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    created = [answer for answer in answers if answer.status_code == 201]
    assert len({answer.content for answer in created}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in created) == 1
    for answer in answers:
        if answer.status_code == 409:
            problem = refused(answer, 409, "idempotency_in_progress")
            assert (problem["money_moved"], problem["safe_to_retry"]) == ("unknown", True)
            assert int(answer.headers["retry-after"]) >= 1
    assert (await partner.charge(key=key, reference="twenty")).content == created[0].content
    assert await moved(shared_house, "twenty") == {"charges": (1, 1999), "captures": (1, 1999)}
    assert len(await listed(partner)) == 1


async def test_a_repeat_waits_for_the_first_request_and_asks_nobody(shared_house: House, partner: Partner) -> None:
    key = new_key()
    await shared_house.fault("answer_late", operation="charge", reference="at-work", seconds=60)
    first = asyncio.create_task(partner.charge(key=key, reference="at-work"))
    await until(lambda: calls(shared_house, "at-work"), lambda asked: asked.get("charge") == 1)
    again = await partner.charge(key=key, reference="at-work")
    await shared_house.calm()
    refused(again, 409, "idempotency_in_progress")
    assert (await first).status_code == 201
    assert (await partner.charge(key=key, reference="at-work")).content == (await first).content
    assert await calls(shared_house, "at-work") == {"charge": 1}


async def test_twenty_different_keys_at_once_are_twenty_charges(shared_house: House, partner: Partner) -> None:
    answers = await asyncio.gather(*(partner.charge(reference="many") for _ in range(20)))
    assert Counter(answer.status_code for answer in answers) == {201: 20}
    assert await moved(shared_house, "many") == {"charges": (20, 39980), "captures": (20, 39980)}


@pytest.mark.parametrize("members", [{"amount": "-1"}, {"currency": "XXX"}, {"provider": "nobody"}, {"surprise": 1}])
async def test_a_refused_request_leaves_its_key_unused(partner: Partner, members: Json) -> None:
    key = new_key()
    assert (await partner.charge(key=key, **members)).status_code == 422
    assert (await partner.charge(key=key)).status_code == 201


async def test_a_charge_no_provider_can_take_leaves_its_key_unused(partner: Partner) -> None:
    key = new_key()
    refused(await partner.charge(key=key, amount="1.234", currency="KWD"), 422, "no_eligible_provider")
    assert (await partner.charge(key=key)).status_code == 201


async def test_a_request_without_a_key_is_refused(partner: Partner) -> None:
    body = {"amount": "19.99", "currency": "USD", "payment_method": {"type": "card", "tokens": {"stripe": "t"}}}
    answer = await partner.client.post("/v1/transactions", json=body)
    problem = refused(answer, 400, "idempotency_key_missing")
    assert (problem["money_moved"], problem["safe_to_retry"]) == ("no", False)
    assert await listed(partner) == []


@pytest.mark.parametrize("key", ["short", "x" * 256, "with space", "tab\tinside", "ключ-ключ".encode(), b"\xe9" * 9])
async def test_a_key_that_is_not_8_to_255_visible_characters_is_refused(partner: Partner, key: Any) -> None:
    answer = await partner.client.post("/v1/transactions", json={}, headers={"Idempotency-Key": key})
    refused(answer, 400, "idempotency_key_invalid")


@pytest.mark.parametrize("key", ["12345678", "k" * 255, "!#$%&'()*+,-./:;<=>?@[]^_`{|}~"])
async def test_every_key_of_8_to_255_visible_characters_is_taken(partner: Partner, key: str) -> None:
    assert (await partner.charge(key=key)).status_code == 201


async def test_a_quoted_key_is_the_same_as_without_its_quotes(partner: Partner) -> None:
    key = new_key()
    first = await partner.charge(key=f'"{key}"')
    again = await partner.charge(key=key)
    assert first.status_code == 201
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")


async def test_test_and_live_mode_do_not_share_keys(shared_house: House, partner: Partner) -> None:
    live = await shared_house.key_of(partner.id, livemode=True)
    key = new_key()
    assert (await partner.charge(key=key)).status_code == 201
    refused(await live.charge(key=key), 422, "no_eligible_provider")  # looked at anew: live mode has no account here


async def test_a_forgotten_answer_is_no_second_charge(shared_house: House, partner: Partner) -> None:
    key = new_key()
    first = await partner.charge(key=key, reference="forgotten")
    await shared_house.owner.execute("DELETE FROM idempotency_keys WHERE key = $1", key)
    again = await partner.charge(key=key, reference="forgotten")
    assert (again.status_code, again.json()) == (201, first.json())
    assert await moved(shared_house, "forgotten") == {"charges": (1, 1999), "captures": (1, 1999)}


async def test_after_a_customers_action_the_key_still_gives_its_first_answer(
    shared_house: House, partner: Partner
) -> None:
    key = new_key()
    members = {"return_url": "https://shop.example/return"}
    first = await partner.charge("pm_card_threeDSecure2Required", key=key, **members)
    await shared_house.http.post(first.json()["next_action"]["url"], data={"action": "approve"})
    await checks_fall_due(shared_house.owner)
    await settled(partner, first.json()["id"], "completed")
    assert (await partner.charge("pm_card_threeDSecure2Required", key=key, **members)).content == first.content
