"""Promise: an admin sees in the console whether the audit log and the ledger are as they were."""

from __future__ import annotations

import html
from collections.abc import AsyncIterator
from functools import partial

import pytest

from gateway import sealing
from tests.acceptance.steps import until
from tests.house import House
from tests.support_desk import Clerk, SupportDesk

PATH = "/console/audit/seals"


async def verified(clerk: Clerk) -> str:
    answer = await clerk.post("/console/audit/verify")
    assert answer.status_code == 303, answer.text

    async def page() -> str:
        return html.unescape((await clerk.get(PATH)).text)

    return await until(page, lambda text: "Being verified" not in text)


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    """Its worker seals nothing by itself."""
    async with House.opened(database_url, working=False) as opened:
        yield opened


async def test_what_was_changed_behind_our_back_shows_at_once(house: House, support: SupportDesk) -> None:
    clerk = await support.clerk("admin")
    await house.partner()
    await house.owner.execute("ALTER TABLE audit_logs DISABLE TRIGGER USER")
    await house.owner.execute("UPDATE audit_logs SET created_at = created_at - interval '20 minutes'")
    made = await sealing.Sealer().seal_due(house.background)
    text = (await verified(clerk)).partition("<h2>Now</h2>")[2]
    assert made > 0
    assert "as it was" in text
    assert "broken" not in text
    await house.owner.execute("UPDATE audit_logs SET actor = 'somebody:else' WHERE action = 'partner.created'")
    text = (await verified(clerk)).partition("<h2>Now</h2>")[2]
    assert "1 broken" in text
    assert "sealed rows changed" in text
    acts = "SELECT count(*) FROM audit_logs WHERE action = 'history.verified'"
    assert await until(partial(house.owner.fetchval, acts), lambda told: told > 1) == 2  # told after it has shown
    assert (await (await support.clerk("finance")).get(PATH)).status_code == 403
