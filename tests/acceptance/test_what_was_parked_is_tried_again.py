"""Promise: a notification that nobody could apply in time is tried again when a person says so, and counts once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from db import embedded, ids, inbox
from db.records import ProviderEventState
from gateway.transactions import provider_events
from tests.acceptance.test_notifications_converge import an_event, balance, signed
from tests.conftest import cloned
from tests.house import House, Json, Partner
from tests.integration.commands import paygate, told

LATER = timedelta(hours=23)
"""When the worker has given up."""


@pytest.fixture(scope="module")
async def quiet(postgres: embedded.Server, template: str) -> AsyncIterator[House]:
    """No loop of the worker runs and no PSP notifies: only what a test does, happens."""
    async with cloned(postgres, template) as url, House.opened(url, working=False) as opened:
        await opened.silence()
        yield opened
        await opened.check_invariants()


@pytest.fixture
async def partner(quiet: House) -> Partner:
    return await quiet.partner()


async def parked(house: House, charged: Json, name: str) -> str:
    """A dispute of a payment that was not captured yet, for longer than the worker waits; the notification's id."""
    dispute = {
        "id": f"dp_{name}",
        "object": "dispute",
        "amount": 1999,
        "currency": "usd",
        "charge": f"ch_{name}",
        "payment_intent": charged["provider_transaction_id"],
        "reason": "fraudulent",
        "status": "needs_response",
        "livemode": False,
        "metadata": {},
    }
    event = an_event("charge.dispute.funds_withdrawn", dispute, name)
    assert (await house.notify(*signed(event))).is_success
    await provider_events.apply_due(replace(house.background, clock=lambda: house.background.clock() + LATER))
    assert await state(house, name) == "parked"
    return str(await house.owner.fetchval("SELECT id FROM provider_events WHERE dedupe_key = $1", event["id"]))


async def state(house: House, name: str) -> str:
    found = await house.owner.fetchval("SELECT state::text FROM provider_events WHERE dedupe_key = $1", f"evt_{name}")
    return str(found)


async def lines(house: House, notification: str) -> list[tuple[str, str]]:
    """Of the audit log: what was done to it, and to which partner's."""
    rows = await house.owner.fetch(
        "SELECT action, partner_id FROM audit_logs WHERE resource_type = 'notification' AND resource_id = $1",
        notification,
    )
    return [(row["action"], ids.encode("prt", row["partner_id"])) for row in rows]


async def test_an_operator_has_it_tried_again_and_it_counts_once(quiet: House, partner: Partner) -> None:
    settings = quiet.runtime.settings
    charged = (await partner.charge(capture="manual")).json()
    named = await parked(quiet, charged, "disputed")
    (listed,) = await told(settings, "notifications", "list")
    assert (listed["id"], listed["transaction_id"]) == (named, charged["id"])
    assert (listed["state"], listed["reason"]) == ("parked", "nothing was captured yet")
    shown = await told(settings, "notifications", "show", named)
    assert '"id": "dp_disputed"' in shown["body"]

    await partner.post(f"/v1/transactions/{charged['id']}/captures")
    for again in range(2):
        (tried,) = await told(settings, "notifications", "retry", named)
        assert tried["state"] == ("received" if again == 0 else "applied")
        await provider_events.apply_due(quiet.background)
        assert await state(quiet, "disputed") == "applied"
    assert await balance(partner, "chargebacks") == ("debit", "19.99")
    assert await lines(quiet, named) == [("notification.retried", ids.encode("prt", partner.id))]
    assert await told(settings, "notifications", "list") == []


async def test_what_still_cannot_be_applied_is_parked_again_at_once(quiet: House, partner: Partner) -> None:
    settings = quiet.runtime.settings
    charged = (await partner.charge(capture="manual")).json()
    named = await parked(quiet, charged, "too_early")
    await quiet.owner.execute("ALTER TABLE provider_events DISABLE TRIGGER guard")
    await quiet.owner.execute("UPDATE provider_events SET received_at = received_at - $1::interval", LATER)
    await quiet.owner.execute("ALTER TABLE provider_events ENABLE TRIGGER guard")
    await told(settings, "notifications", "retry", named)
    await provider_events.apply_due(quiet.background)
    assert await state(quiet, "too_early") == "parked"
    history = (await partner.get(f"/v1/transactions/{charged['id']}/events")).json()["data"]
    assert [event["type"] for event in history].count("review_requested") == 1


async def test_one_that_nobody_sent_is_refused(quiet: House) -> None:
    unheard = str(ids.new())
    for command in ("show", "retry"):
        done = paygate(quiet.runtime.settings, "notifications", command, unheard)
        assert (done.returncode, done.stderr) == (1, f"Error: there is no notification {unheard}\n")


async def test_who_held_it_before_does_not_end_the_new_try(quiet: House, partner: Partner) -> None:
    """A worker that was suspended over its try wakes when others have parked it, and a person had it tried again."""
    charged = (await partner.charge(capture="manual")).json()
    named = await parked(quiet, charged, "suspended")
    await quiet.owner.execute("UPDATE provider_events SET state = 'received', next_try_at = now() WHERE id = $1", named)
    async with quiet.background.database.as_system() as connection:
        (slow,) = await inbox.take_due(connection, 1)
    await quiet.owner.execute("UPDATE provider_events SET next_try_at = now() WHERE id = $1", named)
    await provider_events.apply_due(replace(quiet.background, clock=lambda: quiet.background.clock() + LATER))
    await told(quiet.runtime.settings, "notifications", "retry", named)
    async with quiet.background.database.as_system() as connection:
        await inbox.finish(connection, slow, ProviderEventState.PARKED, reason="nothing was captured yet")
    assert await state(quiet, "suspended") == "received"
    await partner.post(f"/v1/transactions/{charged['id']}/captures")
    await provider_events.apply_due(quiet.background)
    assert await state(quiet, "suspended") == "applied"
