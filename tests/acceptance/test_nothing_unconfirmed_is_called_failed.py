"""Promise: whatever a provider does to an answer, the money moves at most once and what is not known is not called
failed; repeating the key, or just waiting, brings the final answer.
"""

from __future__ import annotations

import socket
from typing import Any

import httpx
import pytest

from tests.acceptance.steps import calls, checks_fall_due, listed, moved, refused, settled, until
from tests.house import House, Json, Partner, new_key

pytestmark = pytest.mark.usefixtures("silent_psp")

ONE_SALE: Json = {"charges": (1, 1999), "captures": (1, 1999)}
LOST = ["lose_request", "act_then_lose_answer", "truncate", "garbage", "wrong_amount", "wrong_currency"]
"""Misbehaviour of the moment: asked once more under the same key, the provider answers rightly."""


def is_processing(answer: httpx.Response) -> Json:
    """The transaction, where the answer is 202 as it should be."""
    assert answer.status_code == 202, answer.text
    shown: Json = answer.json()
    assert (shown["status"], shown["money_moved"]) == ("processing", "unknown")
    assert shown["failure"] is None
    assert shown["failed_at"] is None
    assert shown["next_check_at"] is not None
    assert answer.headers["location"] == f"/v1/transactions/{shown['id']}"
    assert int(answer.headers["retry-after"]) >= 1
    return shown


@pytest.mark.parametrize("kind", LOST)
async def test_an_answer_lost_once_is_asked_for_again_before_the_caller_is_answered(
    shared_house: House, partner: Partner, kind: str
) -> None:
    await shared_house.fault(kind, operation="charge", reference=f"once-{kind}")
    answer = await partner.charge(reference=f"once-{kind}")
    assert (answer.status_code, answer.json()["status"]) == (201, "completed")
    assert await moved(shared_house, f"once-{kind}") == ONE_SALE
    assert (await calls(shared_house, f"once-{kind}"))["charge"] == 2


@pytest.mark.parametrize("kind", LOST)
async def test_an_unknown_outcome_is_processing_and_the_key_brings_the_final_answer(
    shared_house: House, partner: Partner, kind: str
) -> None:
    reference, key = f"key-{kind}", new_key()
    await shared_house.fault(kind, operation="charge", reference=reference, times=2)
    shown = is_processing(await partner.charge(key=key, reference=reference))
    final = await partner.charge(key=key, reference=reference)
    assert (final.status_code, final.json()["status"], final.json()["id"]) == (201, "completed", shown["id"])
    again = await partner.charge(key=key, reference=reference)
    assert (again.content, again.headers["idempotent-replayed"]) == (final.content, "true")
    assert await moved(shared_house, reference) == ONE_SALE


@pytest.mark.parametrize("kind", LOST)
async def test_an_unknown_outcome_is_found_out_without_any_call(
    shared_house: House, partner: Partner, kind: str
) -> None:
    reference = f"alone-{kind}"
    await shared_house.fault(kind, operation="charge", reference=reference, times=2)
    shown = is_processing(await partner.charge(reference=reference))
    await checks_fall_due(shared_house.owner)
    done = await settled(partner, shown["id"], "completed", "failed")
    assert (done["status"], done["money_moved"], done["next_check_at"]) == ("completed", "yes", None)
    assert len(done["attempts"]) == 1
    assert await moved(shared_house, reference) == ONE_SALE


@pytest.mark.parametrize("kind", ["error_without_acting", "error_after_acting"])
async def test_an_error_of_the_provider_proves_nothing(shared_house: House, partner: Partner, kind: str) -> None:
    reference, key = f"error-{kind}", new_key()
    await shared_house.fault(kind, operation="charge", reference=reference, times=2)
    answer = await partner.charge(key=key, reference=reference)
    assert answer.json()["status"] == "processing"
    await checks_fall_due(shared_house.owner)
    done = await settled(partner, answer.json()["id"], "completed", "failed")
    assert done["status"] == "completed"
    assert (await partner.charge(key=key, reference=reference)).json()["status"] == "completed"
    assert await moved(shared_house, reference) == ONE_SALE


async def test_a_key_repeated_while_nothing_is_known_shows_the_transaction_as_it_stands(
    shared_house: House, partner: Partner
) -> None:
    key = new_key()
    await shared_house.fault("act_then_lose_answer", operation="charge", reference="still", times=3)
    await shared_house.fault("error_without_acting", operation="look_up", times=1)
    shown = is_processing(await partner.charge(key=key, reference="still"))
    again = is_processing(await partner.charge(key=key, reference="still"))
    assert again["id"] == shown["id"]
    # Asked out of turn: the gateway's own next check comes no later for it.
    open_checks = "SELECT checks FROM attempts WHERE finished_at IS NULL ORDER BY created_at DESC LIMIT 1"
    assert await shared_house.owner.fetchval(open_checks) == 0
    refused(await partner.charge(key=key, reference="other"), 422, "idempotency_key_reused")
    final = await partner.charge(key=key, reference="still")
    assert (final.status_code, final.json()["status"]) == (201, "completed")
    assert await moved(shared_house, "still") == ONE_SALE


async def test_a_decline_behind_a_lost_answer_is_found_out(shared_house: House, partner: Partner) -> None:
    await shared_house.fault("act_then_lose_answer", operation="charge", reference="declined-late", times=2)
    shown = is_processing(await partner.charge("pm_card_visa_chargeDeclined", reference="declined-late"))
    await checks_fall_due(shared_house.owner)
    done = await settled(partner, shown["id"], "completed", "failed")
    assert (done["status"], done["failure"]["decline_code"]) == ("failed", "generic_decline")
    assert await moved(shared_house, "declined-late") == {}


async def test_webhooks_tell_of_processing_and_then_of_the_outcome(shared_house: House, partner: Partner) -> None:
    await shared_house.subscribed(partner)
    await shared_house.fault("garbage", operation="charge", reference="told", times=2)
    shown = is_processing(await partner.charge(reference="told"))
    await shared_house.receiver.event("transaction.processing", shown["id"])
    await checks_fall_due(shared_house.owner)
    told = await shared_house.receiver.event("transaction.completed", shown["id"])
    assert told["data"]["money_moved"] == "yes"
    mine = [event for event in shared_house.receiver.events if event["data"].get("id") == shown["id"]]
    assert [event["type"].partition(".")[2] for event in mine] == ["created", "processing", "completed"]
    assert [event["sequence"] for event in mine] == [1, 2, 3]


async def test_a_lookup_that_finds_nothing_is_no_proof_that_nothing_happened(
    shared_house: House, partner: Partner
) -> None:
    # The provider forgets keys after a while; then only looking is safe, and a late charge may still arrive.
    await shared_house.fault("lose_request", operation="charge", reference="absent", times=2)
    shown = is_processing(await partner.charge(reference="absent"))
    owner = shared_house.owner
    await owner.execute("UPDATE attempts SET resend_until = now() WHERE finished_at IS NULL")
    await checks_fall_due(owner)

    async def checks() -> int:
        query = (
            "SELECT checks FROM attempts WHERE finished_at IS NULL AND lease_until IS NULL"
            " ORDER BY created_at DESC LIMIT 1"
        )
        return int(await owner.fetchval(query) or 0)

    await until(checks, lambda made: made == 1)
    standing = (await partner.get(f"/v1/transactions/{shown['id']}")).json()
    assert (standing["status"], standing["money_moved"]) == ("processing", "unknown")
    assert await moved(shared_house, "absent") == {}
    assert (await calls(shared_house, "absent"))["charge"] == 2


async def test_a_throttled_charge_was_not_executed_and_frees_its_key(shared_house: House, partner: Partner) -> None:
    await shared_house.fault("throttle", operation="charge", reference="busy")
    key = new_key()
    is_released(await partner.charge(key=key, reference="busy"))
    again = await partner.charge(key=key, reference="busy")
    assert (again.status_code, again.json()["status"]) == (201, "completed")
    assert await moved(shared_house, "busy") == ONE_SALE


async def test_being_throttled_on_the_second_try_says_nothing_of_the_first(
    shared_house: House, partner: Partner
) -> None:
    await shared_house.fault("act_then_lose_answer", operation="charge", reference="busy-2")
    await shared_house.fault("throttle", operation="charge", reference="busy-2")
    shown = is_processing(await partner.charge(reference="busy-2"))
    await checks_fall_due(shared_house.owner)
    assert (await settled(partner, shown["id"], "completed", "failed"))["status"] == "completed"
    assert await moved(shared_house, "busy-2") == ONE_SALE


async def test_an_unreachable_provider_frees_the_key_for_a_new_try(shared_house: House, partner: Partner) -> None:
    desk = shared_house.desk
    unreachable = await desk.add_account(
        provider="stripe",
        livemode=False,
        credentials={"api_key": "sk_test_simulated"},
        base_url=f"http://127.0.0.1:{closed_port()}",
        partner_id=partner.id,
        priority=1,
    )
    key = new_key()
    transaction_id = is_released(await partner.charge(key=key, reference="unreachable"))
    tried = (await partner.get(f"/v1/transactions/{transaction_id}")).json()
    assert (tried["status"], tried["money_moved"]) == ("failed", "no")
    assert tried["failure"]["code"] == "provider_unavailable"
    assert tried["failure"]["advice"] == "retry_later"

    await desk.disable_account(unreachable.id)

    async def charge() -> httpx.Response:
        return await partner.charge(key=key, reference="unreachable")

    answer = await until(charge, lambda answer: answer.status_code == 201)
    assert answer.json()["status"] == "completed"
    assert "idempotent-replayed" not in answer.headers
    assert await moved(shared_house, "unreachable") == ONE_SALE
    failed = await listed(partner, status="failed")
    assert {shown["failure"]["code"] for shown in failed} == {"provider_unavailable"}


async def test_the_gateways_own_time_is_told_apart_from_the_providers(shared_house: House, partner: Partner) -> None:
    await shared_house.fault("answer_late", operation="charge", reference="slow", seconds=0.5)
    answer = await partner.charge(reference="slow")
    parts = dict(part.strip().split(";dur=") for part in answer.headers["server-timing"].split(","))
    assert float(parts["psp"]) >= 500
    assert answer.json()["status"] == "completed"


def is_released(answer: httpx.Response) -> Any:
    """The failed try's id, where the answer is the 503 it should be."""
    problem = refused(answer, 503, "temporarily_unavailable")
    assert (problem["money_moved"], problem["safe_to_retry"]) == ("no", True)
    assert int(answer.headers["retry-after"]) >= 1
    return problem["transaction_id"]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
