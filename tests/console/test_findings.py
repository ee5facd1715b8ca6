"""Promise: an admin sees what is held against the books and answers it, with a reason that is kept."""

from __future__ import annotations

import html
import json
from typing import Any
from uuid import UUID

from db import findings, ids
from tests.house import House, Partner
from tests.support_desk import Clerk

REVIEWS = "/console/reviews"


async def found(house: House, partner_id: UUID | None, *, source: str = "watchdog", **data: Any) -> tuple[str, str]:
    """A finding's subject and its page."""
    subject = ids.encode("txn", ids.new())
    async with house.background.database.as_system() as connection:
        await findings.report(
            connection, source=source, kind="captured_more", subject=subject, partner_id=partner_id, data=data
        )
    found = await house.owner.fetchval("SELECT id FROM findings WHERE subject = $1", subject)
    return subject, f"/console/findings/{ids.encode('fnd', found)}"


async def acts(house: House, clerk: Clerk) -> list[tuple[str, Any]]:
    rows = await house.owner.fetch(
        "SELECT action, changes::text FROM audit_logs WHERE actor = $1 AND resource_type = 'finding' ORDER BY id",
        clerk.actor,
    )
    return [(row["action"], json.loads(row["changes"])) for row in rows]


async def test_a_finding_is_lifted_and_closed_with_a_reason(
    shared_house: House, admin: Clerk, partner: Partner
) -> None:
    subject, path = await found(shared_house, partner.id, captured="20.00 <b>")
    assert path in await admin.page(REVIEWS)
    shown = (await admin.get(path)).text
    assert html.escape("20.00 <b>") in shown
    assert "Let refunds go on" in shown
    assert "Accept as it is" not in shown
    for empty in ({}, {"because": "  "}):
        answer = await admin.post(f"{path}/close", empty)
        assert (answer.status_code, 'aria-invalid="true"' in answer.text) == (422, True)
    assert (await admin.post(f"{path}/lift", {"because": "one row, ticket 4711"})).status_code == 303
    assert "Let refunds go on" not in await admin.page(path)
    assert (await admin.post(f"{path}/close", {"because": "mended"})).status_code == 303
    assert "It is closed." in await admin.page(REVIEWS)
    assert path not in await admin.page(REVIEWS)
    assert "Answer it" not in await admin.page(path)
    told = {"kind": "captured_more", "subject": subject}
    done = [
        ("finding.lifted", told | {"because": "one row, ticket 4711"}),
        ("finding.closed", told | {"because": "mended"}),
    ]
    assert await acts(shared_house, admin) == done
    await admin.post(f"{path}/close", {"because": "once more"})
    assert "Nothing was done" in await admin.page(REVIEWS)
    assert await acts(shared_house, admin) == done


async def test_only_what_has_a_fingerprint_is_accepted(shared_house: House, admin: Clerk) -> None:
    _, path = await found(shared_house, None, source="sealer", fingerprint="0a1b")
    assert "Accept as it is" in await admin.page(path)
    assert (await admin.post(f"{path}/accept", {"because": "a worker stood still"})).status_code == 303
    assert "It is accepted as it is." in await admin.page(REVIEWS)
    assert (await acts(shared_house, admin))[0][1]["fingerprint"] == "0a1b"
    _, other = await found(shared_house, None, source="sealer")
    await admin.post(f"{other}/accept", {"because": "a worker stood still"})
    assert "Nothing was done" in await admin.page(REVIEWS)
    assert "Answer it" in await admin.page(other)


async def test_another_partners_finding_is_not_there(shared_house: House, admin: Clerk, partner: Partner) -> None:
    _, path = await found(shared_house, (await shared_house.partner()).id)
    assert (await admin.get(path)).status_code == 404
    for act in ("close", "lift", "accept"):
        assert (await admin.post(f"{path}/{act}", {"because": "it is not mine"})).status_code == 404
    await admin.look_across()
    assert "Captured more" in await admin.page(path)
