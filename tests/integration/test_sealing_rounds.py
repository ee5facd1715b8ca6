"""Promise: the worker seals and verifies history by itself, tells what it finds once, and notes its heads outside."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from db import audit_seals, audit_verifications, findings
from db.audit_seals import TABLES
from db.audit_verifications import State
from gateway import sealing, telemetry, worker
from gateway.sealing import Head, Sealer
from tests.house import House
from tests.integration.commands import paygate, told

LOG = "audit_logs"


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    """No loop of the worker runs: only what a test does, happens."""
    async with House.opened(database_url, working=False) as opened:
        yield opened
        await opened.check_invariants()


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    telemetry.configure_logging("INFO", stream)
    yield stream
    telemetry.configure_logging("WARNING")


def logged(lines: io.StringIO, event: str) -> list[dict[str, Any]]:
    return [one for one in map(json.loads, lines.getvalue().splitlines()) if one["event"] == event]


@asynccontextmanager
async def untriggered(house: House) -> AsyncIterator[None]:
    await house.owner.execute("SET session_replication_role = replica")
    yield
    await house.owner.execute("RESET session_replication_role")


async def aged(house: House, hours: int = 3) -> None:
    """A charge and a refund of some hours ago."""
    partner = await house.partner()
    sale = (await partner.charge()).json()
    assert (await partner.post(f"/v1/transactions/{sale['id']}/refunds")).status_code == 201
    async with untriggered(house):
        for table in TABLES:
            await house.owner.execute(f"UPDATE {table} SET created_at = created_at - make_interval(hours => $1)", hours)


async def state(house: House, table: str = LOG) -> State:
    async with house.background.database.as_system() as connection:
        (found,) = [one for one in await audit_verifications.states(connection) if one.table_name == table]
    return found


async def open_findings(house: House) -> list[tuple[str, str]]:
    async with house.background.database.as_system() as connection:
        return [(one.kind, one.subject) for one in await findings.open_ones(connection, 10) if one.source == "sealer"]


async def passed(house: House) -> int:
    """A whole pass; the faults in it."""
    faults = 0
    while (await state(house)).last is None or any([(await state(house, table)).running for table in TABLES]):
        faults += await sealing.verify_due(house.background)
    return faults


async def night_falls(house: House) -> None:
    await house.owner.execute("UPDATE audit_verifications SET started_at = started_at - interval '1 day'")


async def test_what_a_charge_wrote_is_sealed_and_verified(house: House) -> None:
    await aged(house)
    assert await Sealer().seal_due(house.background) >= 2
    assert await Sealer().seal_due(house.background) == 0
    assert await passed(house) == 0
    for table in TABLES:
        found = await state(house, table)
        assert found.last is not None
        assert found.last.rows == await house.owner.fetchval(f"SELECT count(*) FROM {table}") > 0
        assert (found.broken, found.running) == (0, None)
        assert found.last.number == found.sealed_number
        assert found.unsealed_seconds is not None
        assert 600 <= found.unsealed_seconds <= 900
    assert await open_findings(house) == []


async def test_lines_of_audit_bear_the_databases_time(house: House) -> None:
    partner = await house.partner()
    before = await house.owner.fetchval("SELECT clock_timestamp()")
    await partner.charge()
    after = await house.owner.fetchval("SELECT clock_timestamp()")
    made = await house.owner.fetchval("SELECT created_at FROM audit_logs WHERE action = 'transaction.charge'")
    assert before <= made <= after


async def test_what_does_not_verify_is_told_once_and_forgotten_when_it_is_mended(
    house: House, lines: io.StringIO
) -> None:
    await aged(house)
    await Sealer().seal_due(house.background)
    async with untriggered(house):
        await house.owner.execute("UPDATE audit_logs SET actor = actor || '!'")
    assert await passed(house) == 1
    number = await house.owner.fetchval(
        "SELECT max(number) FROM audit_seals WHERE table_name = 'audit_logs' AND count > 0"
    )
    assert await open_findings(house) == [("sealed_rows_changed", f"audit_logs/{number}")]
    (alarm,) = logged(lines, "history broken")
    assert (alarm["reason"], alarm["table"], alarm["sequence"]) == ("sealed_rows_changed", LOG, number)
    assert (await state(house)).broken == 1
    await night_falls(house)
    assert await sealing.verify_due(house.background) == 1
    assert len(logged(lines, "history broken")) == 1
    await worker._gauge(house.background)
    assert telemetry.history_broken.labels(LOG)._value.get() == 1

    async with untriggered(house):
        await house.owner.execute("UPDATE audit_logs SET actor = rtrim(actor, '!')")
    await passed(house)
    await night_falls(house)
    assert await sealing.verify_due(house.background) == 0
    assert await open_findings(house) == []


async def next_night(house: House) -> int:
    """The faults that its pass finds and nobody has accepted."""
    await night_falls(house)
    return await sealing.verify_due(house.background) + await passed(house)


async def changed(house: House, actor: str) -> None:
    async with untriggered(house):
        await house.owner.execute("UPDATE audit_logs SET actor = $1 WHERE action = 'transaction.charge'", actor)


async def accepted(house: House) -> None:
    """What is found, by a person."""
    settings = house.runtime.settings
    (found,) = [one for one in await told(settings, "findings", "list") if one["source"] == "sealer"]
    answered = await told(settings, "findings", "accept", found["id"], "--because", "a worker stood still, ticket 12")
    assert answered["accepted_at"] == answered["closed_at"] is not None
    (line,) = await told(settings, "audit", "list", "--action", "finding.accepted", "--resource", found["id"])
    assert line["changes"]["fingerprint"] == found["data"]["fingerprint"]


async def test_what_a_person_has_accepted_is_not_found_again_and_still_told(house: House, lines: io.StringIO) -> None:
    await aged(house)
    await Sealer().seal_due(house.background)
    late = "SELECT id, partner_id, 'late', action, resource_type, resource_id, created_at FROM audit_logs LIMIT 1"
    names = "id, partner_id, actor, action, resource_type, resource_id, created_at"
    await house.owner.execute(f"INSERT INTO audit_logs ({names}) {late.replace('id', 'uuid_v7()', 1)}")
    assert await passed(house) == 1
    await accepted(house)
    for _ in range(2):
        assert await next_night(house) == 0
    assert await open_findings(house) == []
    assert len(logged(lines, "history broken")) == 1
    assert [one["level"] for one in logged(lines, "history broken, as accepted")] == ["warning"] * 2
    found = await state(house)
    assert found.last is not None
    assert (found.broken, found.last.broken, found.last.accepted) == (0, 1, 1)
    done = paygate(house.runtime.settings, "audit", "verify")
    assert done.returncode == 1
    assert "BROKEN  kind=sealed_rows_added" in done.stdout
    assert "accepted=True" in done.stdout


async def test_what_was_accepted_is_found_again_once_it_is_otherwise(house: House, lines: io.StringIO) -> None:
    await aged(house)
    await Sealer().seal_due(house.background)
    actor = await house.owner.fetchval("SELECT actor FROM audit_logs WHERE action = 'transaction.charge'")
    await changed(house, "first")
    assert await passed(house) == 1
    await accepted(house)
    await changed(house, "second")
    assert await next_night(house) == 1
    await changed(house, "first")
    assert await next_night(house) == 1, "what was accepted is over once something else was found"
    await accepted(house)
    await changed(house, actor)
    assert await next_night(house) == 0
    await changed(house, "first")
    assert await next_night(house) == 1, "it was whole in between"
    assert len(logged(lines, "history broken")) == 4
    assert len(await open_findings(house)) == 1


async def test_an_open_finding_that_changes_is_told_anew(house: House, lines: io.StringIO) -> None:
    await aged(house)
    await Sealer().seal_due(house.background)
    await changed(house, "first")
    assert await passed(house) == 1
    settings = house.runtime.settings
    (before,) = await told(settings, "findings", "list")
    await changed(house, "second")
    assert await next_night(house) == 1
    (after,) = await told(settings, "findings", "list")
    assert after["id"] != before["id"]
    assert len(logged(lines, "history broken")) == 2
    done = paygate(settings, "findings", "accept", before["id"], "--because", "seen")  # which is not what is there now
    assert (done.returncode, done.stderr) == (1, "Error: no such finding is open, or it cannot be answered so\n")


async def test_a_chain_that_was_cut_cannot_be_accepted(house: House) -> None:
    await aged(house)
    sealer = Sealer()
    await sealer.seal_due(house.background)
    async with untriggered(house):
        await house.owner.execute("DELETE FROM audit_seals WHERE table_name = 'audit_logs'")
    await sealer.seal_due(house.background)
    settings = house.runtime.settings
    (found,) = await told(settings, "findings", "list")
    assert found["kind"] == "seals_displaced"
    assert paygate(settings, "findings", "accept", found["id"], "--because", "seen").returncode == 1


async def test_a_pass_is_begun_once_a_night_and_goes_on_where_it_was(house: House) -> None:
    await aged(house)
    await Sealer().seal_due(house.background)
    await sealing.verify_due(house.background)
    found = await state(house)
    assert found.running is not None
    assert found.running.number == found.sealed_number  # by another process, too:
    async with house.background.database.as_system() as connection:
        assert await audit_verifications.running(connection, LOG) == found.running
        checked = await audit_seals.check(connection, LOG, after=0, seals_max=1, rows_max=1)
        stale = audit_verifications.Verification(
            table_name=LOG,
            started_at=found.running.started_at,
            number=found.running.number - 1,
            chain=None,
            rows=0,
            retired=0,
            broken=0,
            accepted=0,
            finished_at=None,
        )
        assert not await audit_verifications.advance(connection, stale, checked, accepted=0, finished=False)
    await passed(house)
    assert await sealing.verify_due(house.background) == 0
    assert await house.owner.fetchval("SELECT count(*) FROM audit_verifications") == len(TABLES)
    await night_falls(house)
    await sealing.verify_due(house.background)
    assert await house.owner.fetchval("SELECT count(*) FROM audit_verifications") == 2 * len(TABLES)


async def test_heads_are_logged_by_the_hour_and_hold_the_chain_to_what_it_was(house: House, lines: io.StringIO) -> None:
    await aged(house)
    sealer = Sealer()
    await sealer.seal_due(house.background)
    await sealer.seal_due(house.background)
    heads = [one["head"] for one in logged(lines, "history sealed")]
    assert [Head.parse(head).table_name for head in heads] == list(TABLES)
    noted = [Head.parse(head) for head in heads]
    reports = [await sealing.verify(house.desk.database, table, heads=noted) for table in TABLES]
    assert [one.faults for one in reports] == [[], []]
    assert [one.head and one.head.head for one in reports] == heads


@pytest.mark.parametrize("cut", ["DELETE FROM audit_seals", "DELETE FROM audit_seals WHERE number = {}"])
async def test_a_worker_that_saw_a_head_notices_that_it_is_gone(house: House, lines: io.StringIO, cut: str) -> None:
    await aged(house)
    sealer = Sealer()
    await sealer.seal_due(house.background)
    seen = (await state(house)).sealed_number
    async with untriggered(house):
        await house.owner.execute(cut.format(seen))
        await house.owner.execute("UPDATE audit_logs SET actor = 'another'")
    await sealer.seal_due(house.background)
    assert ("seals_displaced", f"audit_logs/{seen}") in await open_findings(house)
    assert logged(lines, "history broken")


async def test_an_earlier_pass_notices_that_a_chain_was_made_anew(house: House) -> None:
    await aged(house)
    await Sealer().seal_due(house.background)
    await passed(house)
    async with untriggered(house):
        await house.owner.execute("DELETE FROM audit_seals")
    await Sealer().seal_due(house.background)
    await night_falls(house)
    assert await sealing.verify_due(house.background) == len(TABLES)
    assert {kind for kind, _ in await open_findings(house)} == {"seals_displaced"}


async def test_a_table_that_cannot_be_sealed_does_not_keep_the_other_from_it(house: House, lines: io.StringIO) -> None:
    await aged(house)
    await house.owner.execute(f"ALTER TABLE {TABLES[0]} RENAME COLUMN actor TO who")
    assert await Sealer().seal_due(house.background) > 0
    assert (await state(house, TABLES[1])).sealed_number
    assert [one["table"] for one in logged(lines, "history not sealed")] == [TABLES[0]]
    await house.owner.execute(f"ALTER TABLE {TABLES[0]} RENAME COLUMN who TO actor")


# ── For people ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_command_verifies_and_ends_with_status_1_where_something_is_wrong(house: House) -> None:
    await aged(house)
    await Sealer().seal_due(house.background)
    settings = house.runtime.settings
    whole = await told(settings, "audit", "verify")
    assert [(one["table"], one["ok"], one["faults"]) for one in whole] == [(table, True, []) for table in TABLES]
    head = whole[0]["head"]
    assert (await told(settings, "audit", "verify", "--head", head))[0]["ok"]
    forged = head[:-1] + ("0" if head[-1] != "0" else "1")
    assert paygate(settings, "audit", "verify", "--head", forged).returncode == 1
    beyond = f"audit_logs:{2**31}:{head.rpartition(':')[2]}"
    for nonsense in ("nonsense", beyond):
        assert paygate(settings, "audit", "verify", "--head", nonsense).returncode == 2
    async with untriggered(house):
        await house.owner.execute("DELETE FROM audit_logs")
    done = paygate(settings, "audit", "verify")
    assert done.returncode == 1
    assert "BROKEN  kind=sealed_rows_missing seal=audit_logs/" in done.stdout


async def test_the_command_lists_who_did_what(house: House) -> None:
    partner = await house.partner()
    sale = (await partner.charge()).json()
    settings = house.runtime.settings
    (line,) = await told(settings, "audit", "list", "--resource", sale["id"], "--action", "transaction.charge")
    assert (line["resource_type"], line["actor"][:12]) == ("transaction", "partner:key_")
    everything = await told(settings, "audit", "list", "--limit", "2")
    assert everything[0]["id"] == line["id"]
    older = await told(settings, "audit", "list", "--before", everything[1]["id"], "--limit", "1")
    assert older[0]["id"] < everything[1]["id"]
    assert await told(settings, "audit", "list", "--until", "2020-01-01") == []
    assert len(await told(settings, "audit", "list", "--since", "2020-01-01T00:00:00")) > 2
