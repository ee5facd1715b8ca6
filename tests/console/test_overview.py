"""The overview's figures are the charges': each counted once, in its hour, whatever became of it and when."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from db import embedded
from db.charge_counts import SPANS
from gateway import counting
from gateway.transactions import recovery
from tests import support_desk
from tests.acceptance.steps import checks_fall_due
from tests.conftest import cloned
from tests.house import House, Partner
from tests.support_desk import SupportDesk

COUNTS = """
    SELECT currency::text, approved, declined, failed, undecided, amount::float8,
           (SELECT sum(place) FROM unnest(durations) place)
    FROM charge_counts WHERE partner_id = $1 AND hours = $2 ORDER BY currency"""


SUMS = """
    SELECT livemode, hours, since, provider, currency, sum(approved), sum(declined), sum(failed), sum(undecided),
           sum(amount), sum((SELECT sum(place * number) FROM unnest(durations) WITH ORDINALITY AS _ (place, number)))
    FROM {} GROUP BY livemode, hours, since, provider, currency"""
COUNTED, TOTALS = SUMS.format("charge_counts"), SUMS.format("charge_totals")
UNLIKE = f"SELECT count(*) FROM (({COUNTED} EXCEPT {TOTALS}) UNION ALL ({TOTALS} EXCEPT {COUNTED})) AS unlike"


@pytest.fixture(scope="module")
async def idle(postgres: embedded.Server, template: str) -> AsyncIterator[House]:
    """No loop of the worker runs and no PSP notifies: only what a test does, happens."""
    async with cloned(postgres, template) as url, House.opened(url, working=False) as opened:
        await opened.silence()
        yield opened
        await opened.check_invariants()


@pytest.fixture(scope="module")
async def desk(idle: House) -> AsyncIterator[SupportDesk]:
    async with support_desk.opened(idle) as opened:
        yield opened


@pytest.fixture
async def partner(idle: House) -> Partner:
    return await idle.partner()


async def counts(house: House, partner: Partner, hours: int = 1) -> list[tuple[Any, ...]]:
    """By currency: what became of charges, the amount approved, and how many verdicts have a duration."""
    return [tuple(row) for row in await house.owner.fetch(COUNTS, partner.id, hours)]


async def test_each_charge_is_counted_once_by_what_became_of_it(idle: House, partner: Partner) -> None:
    await partner.charge()
    await partner.charge(capture="manual", amount="5.01")
    await partner.charge("pm_card_visa_chargeDeclined")
    await partner.charge("pm_card_threeDSecure2Required", return_url="https://shop.example/")
    await partner.charge(currency="JPY", amount="3000")
    for _again in range(2):
        await counting.count_due(idle.background)
        for hours in (1, *SPANS):
            found = await counts(idle, partner, hours)
            assert found == [("JPY", 1, 0, 0, 0, 3000.0, 1), ("USD", 2, 1, 0, 1, 25.0, 3)]


async def test_all_partners_are_counted_together_too(idle: House, partner: Partner) -> None:
    other = await idle.partner()
    for one in (partner, other):
        await one.charge(currency="GBP", amount="7.00")
        await one.charge("pm_card_visa_chargeDeclined", currency="GBP")
    assert await counting.count_due(idle.background) > 0
    found = await idle.owner.fetch("SELECT hours, approved, declined, amount FROM charge_totals WHERE currency = 'GBP'")
    assert sorted(map(tuple, found)) == [(hours, 2, 2, 14) for hours in (1, *SPANS)]
    assert await idle.owner.fetchval(UNLIKE) == 0


async def test_an_outcome_that_comes_late_is_counted_instead_of_the_error(idle: House, partner: Partner) -> None:
    await idle.fault("act_then_lose_answer", operation="charge", reference="late", times=2)
    assert (await partner.charge(reference="late")).json()["status"] == "processing"
    await counting.count_due(idle.background)
    assert await counts(idle, partner) == [("USD", 0, 0, 1, 0, 0.0, 0)]
    await checks_fall_due(idle.owner)
    await recovery.resolve_due(idle.background)
    await counting.count_due(idle.background)
    assert await counts(idle, partner) == [("USD", 1, 0, 0, 0, 19.99, 0)]


async def test_what_was_there_before_the_first_count_is_caught_up(idle: House, partner: Partner) -> None:
    await partner.charge()
    await idle.owner.execute("DELETE FROM charge_counts; DELETE FROM charge_totals")
    await idle.owner.execute("UPDATE charge_counting SET until = now() - interval '30 hours'")
    assert await counting.count_due(idle.background) > 0
    assert await counts(idle, partner, 24) == [("USD", 1, 0, 0, 0, 19.99, 1)]
    assert await idle.owner.fetchval("SELECT now() - until < interval '1 minute' FROM charge_counting")


async def test_while_one_worker_counts_others_do_not(idle: House, partner: Partner) -> None:
    await partner.charge()
    async with idle.owner.transaction():
        await idle.owner.execute("SELECT FROM charge_counting FOR UPDATE")
        assert await counting.count_due(idle.background) == 0
    assert await counting.count_due(idle.background) > 0


async def test_a_viewer_sees_the_partner_looked_at_or_the_sums_of_all(
    idle: House, desk: SupportDesk, partner: Partner
) -> None:
    other = await idle.partner()
    await partner.charge(currency="EUR", amount="10.00")
    await other.charge(currency="EUR", amount="0.50")
    await other.charge("pm_card_visa_chargeDeclined", currency="EUR")
    await counting.count_due(idle.background)
    viewer = await desk.clerk("viewer")
    across = await viewer.get("/console/overview", currency="EUR")
    assert ("10.50" in across.text, "66.7%" in across.text) == (True, True), "no partner was chosen, no reason given"
    await viewer.look_at(partner.id)
    own = await viewer.get("/console/overview", currency="EUR", period="30d")
    assert ("10.00" in own.text, "10.50" in own.text) == (True, False)
    live = await viewer.get("/console/overview", mode="live")
    assert "No charges in the last 24 hours" in live.text
    assert (await viewer.get("/console/overview", period="1y")).status_code == 422
    assert (await viewer.get("/console/overview", currency="XXQ")).status_code == 422


async def test_what_waits_and_which_breakers_are_open_is_seen(idle: House, desk: SupportDesk, partner: Partner) -> None:
    await idle.fault("act_then_lose_answer", operation="charge", reference="silent", times=2)
    await partner.charge(reference="silent")
    await idle.owner.execute(
        "UPDATE attempts SET created_at = created_at - interval '50 minutes' WHERE partner_id = $1", partner.id
    )
    await idle.owner.execute(
        "INSERT INTO provider_health (account_id, method, as_of, opened_at, retry_at)"
        " SELECT id, 'card', now(), now(), now() + interval '1 hour' FROM provider_accounts WHERE provider = 'stripe'"
        " ON CONFLICT (account_id, method) DO UPDATE SET retry_at = excluded.retry_at"
    )
    clerk = await desk.clerk("viewer", "<b>Robin</b>")
    await clerk.look_at(partner.id)
    page = (await clerk.get("/console/overview")).text
    assert "oldest 50 min" in page
    assert '<span class="badge bad">open</span>' in page
    assert "<b>Robin" not in page
