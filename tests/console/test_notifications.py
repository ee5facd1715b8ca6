"""Promise: support sees which notifications could not be applied, and has them tried again where it may look."""

from __future__ import annotations

from typing import Any

from db import ids
from tests.acceptance.steps import until
from tests.acceptance.test_notifications_converge import an_event, signed
from tests.house import House, Json, Partner
from tests.support_desk import Clerk, SupportDesk

REVIEWS = "/console/reviews"


async def parked(house: House, payment: str, name: str) -> str:
    """A dispute of a payment that nothing was captured of, or that is not ours, a day later; its path here."""
    dispute: dict[str, Any] = {
        "id": f"dp_{name}",
        "object": "dispute",
        "amount": 1999,
        "currency": "usd",
        "charge": f"ch_{name}",
        "payment_intent": payment,
        "reason": "fraudulent",
        "status": "needs_response",
        "livemode": False,
        "metadata": {},
    }
    event = an_event("charge.dispute.created", dispute, name)
    assert (await house.notify(*signed(event))).is_success
    async with house.owner.transaction():
        await house.owner.execute("SET LOCAL session_replication_role = replica")
        await house.owner.execute(
            "UPDATE provider_events SET received_at = now() - interval '1 day', next_try_at = now()"
            " WHERE dedupe_key = $1",
            event["id"],
        )
    await until(lambda: state(house, name), lambda found: found == "parked")
    found = await house.owner.fetchval("SELECT id FROM provider_events WHERE dedupe_key = $1", event["id"])
    return f"/console/notifications/{found}/retry"


async def state(house: House, name: str) -> str:
    found = await house.owner.fetchval("SELECT state::text FROM provider_events WHERE dedupe_key = $1", f"evt_{name}")
    return str(found)


async def held(partner: Partner) -> Json:
    made: Json = (await partner.charge(capture="manual")).json()
    return made


async def test_a_payments_notification_is_tried_again_from_its_page(
    shared_house: House, clerk: Clerk, partner: Partner
) -> None:
    charged = await held(partner)
    path = await parked(shared_house, charged["provider_transaction_id"], "held")
    here = f"/console/transactions/{charged['id']}"
    assert path in await clerk.page(here)
    assert path in await clerk.page(REVIEWS)
    await partner.post(f"/v1/transactions/{charged['id']}/captures")
    answer = await clerk.post(path)
    assert (answer.status_code, answer.headers["location"]) == (303, here)
    assert "It is tried again now." in await clerk.page(here)
    await until(lambda: state(shared_house, "held"), lambda found: found == "applied")
    shown = await clerk.page(here)
    assert "dispute recorded" in shown
    assert "notification · retried" in shown.partition('id="audit"')[2]
    assert path not in await clerk.page(REVIEWS)
    await clerk.post(path)
    assert "It is applied." in await clerk.page(here)
    (act,) = await shared_house.owner.fetch(
        "SELECT action, partner_id, request_id FROM audit_logs WHERE actor = $1 AND resource_type = 'notification'",
        clerk.actor,
    )
    assert (act["action"], act["partner_id"]) == ("notification.retried", partner.id)
    assert act["request_id"].startswith("req_")


async def test_one_about_nothing_of_ours_is_seen_across_partners_only(
    shared_house: House, shared_support: SupportDesk, clerk: Clerk
) -> None:
    path = await parked(shared_house, "pi_of_nobody", "nobodys")
    assert path not in await clerk.page(REVIEWS)
    assert (await clerk.post(path)).status_code == 404
    viewer = await shared_support.clerk("viewer")
    await viewer.look_across()
    text = await viewer.page(REVIEWS)
    assert ("nothing of ours" in text, path in text) == (True, False)
    await clerk.look_across()
    assert path in await clerk.page(REVIEWS)
    before = await shared_house.owner.fetchval("SELECT tries FROM provider_events WHERE dedupe_key = 'evt_nobodys'")
    answer = await clerk.post(path)
    assert (answer.status_code, answer.headers["location"]) == (303, REVIEWS)

    async def tries() -> int:
        query = "SELECT tries FROM provider_events WHERE dedupe_key = 'evt_nobodys' AND state = 'parked'"
        return await shared_house.owner.fetchval(query) or 0

    assert await until(tries, lambda count: count > before) == before + 1


async def test_another_partners_is_not_there(shared_house: House, clerk: Clerk, partner: Partner) -> None:
    path = await parked(shared_house, (await held(partner))["provider_transaction_id"], "others")
    await clerk.look_at((await shared_house.partner()).id)
    assert path not in await clerk.page(REVIEWS)
    for tried in (path, f"/console/notifications/{ids.new()}/retry", "/console/notifications/none/retry"):
        assert (await clerk.post(tried)).status_code == 404
    assert await state(shared_house, "others") == "parked"
