"""Promise: any list leaves as a file that spreadsheets read and do not run; who took it is written down."""

from __future__ import annotations

import csv
import html
import io
import json
from functools import partial

import pytest

from db import ids
from tests.acceptance.steps import until
from tests.house import House, Partner, new_key
from tests.support_desk import Clerk, SupportDesk


@pytest.fixture
async def admin(shared_support: SupportDesk, partner: Partner) -> Clerk:
    clerk = await shared_support.clerk("admin", name="Ada <i>")
    await clerk.look_at(partner.id)
    return clerk


def an_export() -> str:
    return ids.encode("exp", ids.new())


async def taken(clerk: Clerk, listing: str, **filters: str) -> list[dict[str, str]]:
    answer = await clerk.post(f"/console/exports/{listing}", {"export": an_export(), **filters})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith(f'attachment; filename="paygate-{listing}-20')
    assert answer.content.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""), strict=True))


async def test_refunds_of_one_partner_with_hostile_notes_come_whole(
    shared_house: House, admin: Clerk, partner: Partner
) -> None:
    notes = ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", 'a "quoted"\nline', "plain"]
    made = (await partner.charge()).json()
    for note in notes:
        body = {"amount": "1.00", "reason": "other", "note": note}
        answer = await partner.post(f"/v1/transactions/{made['id']}/refunds", body)
        assert answer.status_code == 201, answer.text
    other = await shared_house.partner()
    await other.post(f"/v1/transactions/{(await other.charge()).json()['id']}/refunds", {"amount": "2.00"})
    rows = await taken(admin, "refunds")
    wanted = ["'=HYPERLINK(1)", "'+1", "-1", "'@SUM(A1)", 'a "quoted"\nline', "plain"]
    assert [row["note"] for row in reversed(rows)] == wanted
    assert {(row["payment"], row["amount"], row["partner"]) for row in rows} == {
        (made["id"], "1.0000", ids.encode("prt", partner.id))
    }
    assert await taken(admin, "refunds", status="failed") == []
    await admin.look_across()
    assert {row["amount"] for row in await taken(admin, "refunds")} >= {"1.0000", "2.0000"}


async def test_who_took_what_is_written_down_without_what_was_looked_for(
    shared_house: House, admin: Clerk, partner: Partner
) -> None:
    await taken(admin, "audit", actor="somebody@shop.example", since="2026-01-01")
    lines = (
        "SELECT action, changes::text FROM audit_logs WHERE actor = $1 AND action LIKE 'console.export%' ORDER BY id"
    )
    rows = await until(partial(shared_house.owner.fetch, lines, admin.actor), lambda rows: len(rows) > 1)
    begun, ended = [(row["action"], json.loads(row["changes"])) for row in rows]  # the second after the last byte
    assert begun == ("console.exported", {"list": "audit", "filters": ["actor", "since"]})
    assert ended == ("console.export_ended", {"list": "audit", "rows": 0, "complete": True})


async def test_twenty_thousand_deliveries_come_whole_and_are_counted(
    shared_house: House, admin: Clerk, partner: Partner
) -> None:
    endpoint = await shared_house.subscribed(partner, ["dispute.opened"])
    await partner.charge()
    await shared_house.owner.execute(
        "INSERT INTO webhook_deliveries (partner_id, id, endpoint_id, event_id, event_type, state, created_at,"
        " updated_at) SELECT $1, uuid_v7(), $2, e.id, 'dispute.opened', 'cancelled', now(), now()"
        " FROM generate_series(1, 20000) n CROSS JOIN (SELECT id FROM events WHERE partner_id = $1 LIMIT 1) e",
        partner.id,
        ids.decode("whe", endpoint["id"]),
    )
    export = an_export()
    fields = {"export": export, "endpoint": endpoint["id"], "state": "cancelled"}
    answer = await admin.post("/console/exports/deliveries", fields)
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))
    assert len({row["id"] for row in rows}) == len(rows) == 20_000
    progress = await admin.get(f"/console/exports/progress/{export}")
    assert "20,000 rows: the file is complete." in progress.text
    assert (await admin.post("/console/exports/deliveries", fields)).status_code == 429


async def test_progress_is_for_whom_it_belongs_to(shared_support: SupportDesk, admin: Clerk) -> None:
    export = an_export()
    await admin.post("/console/exports/partners", {"export": export})
    assert "the file is complete" in (await admin.get(f"/console/exports/progress/{export}")).text
    part = await admin.get(f"/console/exports/progress/{export}", headers={"HX-Request": "true"})
    assert "<html" not in part.text
    assert "hx-trigger" not in part.text
    other = await shared_support.clerk("support")
    assert "has not been asked for yet" in (await other.get(f"/console/exports/progress/{export}")).text


async def test_a_wrong_filter_is_named_and_a_list_above_a_role_is_refused(
    shared_support: SupportDesk, admin: Clerk
) -> None:
    answer = await admin.post("/console/exports/refunds", {"export": an_export(), "since": "yesterday"})
    assert answer.status_code == 422
    assert "since must be a day or a moment in UTC" in answer.text
    support = await shared_support.clerk("support")
    for listing, status in (("audit", 403), ("partners", 403), ("nothing", 404), ("refunds", 200)):
        assert (await support.get(f"/console/exports/{listing}")).status_code == status
    assert (await (await shared_support.clerk("viewer")).get("/console/exports")).status_code == 403


async def test_the_audit_log_names_people_and_is_read_in_pages(shared_house: House, admin: Clerk) -> None:
    for _ in range(51):
        await shared_house.desk.create_partner(name="Shop", email=f"{new_key()}@shop.example")
    page = html.unescape((await admin.get("/console/audit", actor=admin.actor)).text)
    assert "Ada <i>" in page
    assert "console.entered" in page
    assert 'rel="next"' not in page
    first = (await admin.get("/console/audit", action="partner.created")).text
    path = html.unescape(first).rpartition('" rel="next"')[0].rpartition('href="')[2]
    second = (await admin.get(path)).text
    assert "partner.created" in second
    assert "Ada <i>" not in (await admin.get("/console/audit", actor=admin.actor)).text
    assert (await admin.get("/console/audit", since="soon")).status_code == 422
    assert "partner.created" in (await admin.get("/console/audit", since="0001-01-01", until="9999-12-31 23:59")).text
