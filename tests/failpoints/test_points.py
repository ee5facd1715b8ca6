"""Promise: a failpoint does nothing unless a test or a rehearsal asks for it, and then what it was asked for."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from db import embedded, failpoints, ids
from db.failpoints import Action, Rule
from gateway import config, doctor
from gateway.config import Settings
from gateway.transactions import journal
from gateway.transactions.changes import Snapshot
from tests.acceptance.processes import Process, Town, built
from tests.acceptance.steps import leases_run_out, until
from tests.failpoints.strikes import Recorder
from tests.house import WAIT_SECONDS, House, Json, new_key

SALE: Json = {
    "amount": "19.99",
    "currency": "USD",
    "payment_method": {"type": "card", "tokens": {"stripe": "pm_card_visa"}},
}


async def test_nothing_is_armed_by_itself() -> None:
    assert failpoints._here.get(failpoints._everywhere) is None
    await failpoints.reach("anywhere")


async def test_a_point_is_named_after_who_asked_and_through_what(shared_house: House) -> None:
    recorder, snapshot = Recorder(), await a_snapshot(shared_house)
    with failpoints.armed(recorder):
        await journal.read(shared_house.runtime, snapshot)
    read, load = "gateway.transactions.journal.read", "gateway.transactions.journal.load"
    assert [point.name for point in recorder.points if point.name.startswith(read)] == [
        f"{read}/as_partner.acquiring",
        f"{read}/begin.sending",
        f"{read}/begin.answered",
        f"{read}/commit.sending",
        f"{read}/commit.answered",
    ]
    assert [point.name for point in recorder.points if point.name.startswith(load)] == [
        f"{load}/lock.sending",
        f"{load}/lock.answered",
        f"{load}/attempts.sending",
        f"{load}/attempts.answered",
    ]


async def test_what_others_do_meanwhile_passes_the_points_unharmed() -> None:
    recorder = Recorder()
    others = asyncio.Event()

    async def other() -> None:
        await others.wait()
        await failpoints.reach("elsewhere")

    going_on = asyncio.create_task(other())
    with failpoints.armed(recorder):
        others.set()
        await going_on
        await asyncio.create_task(failpoints.reach("here"))
    assert [point.name.rpartition("/")[2] for point in recorder.points] == ["here"]


def test_rules_are_read_as_they_are_written() -> None:
    assert failpoints.parse("") == ()
    assert failpoints.parse("a.b/commit.answered=crash@3; *=log ;") == (
        Rule("a.b/commit.answered", Action.CRASH, 3),
        Rule("*", Action.LOG),
    )


@pytest.mark.parametrize(
    "text", ["here", "here=", "=crash", "here=explode", "here=crash@0", "here=crash@x", "a b=crash"]
)
def test_a_rule_that_makes_no_sense_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(config.Invalid) as refused:
        config.read({"PAYGATE_FAILPOINTS": text})
    assert any(problem.startswith("PAYGATE_FAILPOINTS must look like") for problem in refused.value.problems)


@pytest.mark.parametrize(
    ("host", "public_url", "fit"),
    [
        ("127.0.0.1", None, True),
        ("127.0.0.1", "http://localhost:8080", True),
        ("0.0.0.0", None, False),
        ("127.0.0.1", "https://api.example.com", False),
    ],
)
def test_who_can_be_reached_from_elsewhere_refuses_to_crash_itself(
    host: str, public_url: str | None, *, fit: bool
) -> None:
    settings = Settings(database_url="", secret_keys={}, host=host, public_url=public_url)
    assert doctor._rehearsal(settings).ok
    armed = Settings(
        database_url="", secret_keys={}, host=host, public_url=public_url, failpoints=failpoints.parse("*=crash")
    )
    assert (doctor._rehearsal(armed).ok, doctor._rehearsal(armed).weight) == (fit, "fatal")


async def a_snapshot(house: House) -> Snapshot:
    made = (await (await house.partner()).charge()).json()
    row = await house.owner.fetchrow("SELECT partner_id, transaction_id, id FROM attempts ORDER BY id DESC LIMIT 1")
    assert row is not None
    assert ids.encode("txn", row["transaction_id"]) == made["id"]
    async with house.runtime.database.as_partner(row["partner_id"]) as connection:
        return await journal.load(connection, *row)


@pytest.fixture(scope="module")
async def town(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    async with built(postgres, tmp_path_factory.mktemp("town")) as town:
        yield town


@pytest.fixture
async def owner(town: Town) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(town.database_url)
    yield connection
    await connection.close()


async def serving(town: Town, rules: str) -> Process:
    """A server that was told to strike itself."""
    town.variables["PAYGATE_FAILPOINTS"] = rules
    try:
        return await town.serving()
    finally:
        del town.variables["PAYGATE_FAILPOINTS"]


async def charge(
    town: Town, server: Process, key: str, reference: str, *, seconds: float = WAIT_SECONDS
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {town.api_key}", "Idempotency-Key": key}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=seconds) as client:
        return await client.post("/v1/transactions", json=SALE | {"reference": reference})


async def paused(server: Process) -> None:
    """Until it stands still."""

    async def state() -> str:
        return Path(f"/proc/{server.popen.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]

    await until(state, lambda state: state == "T")


@pytest.mark.parametrize(
    "point",
    [
        "gateway.transactions.journal.begin/journal_write.sending",
        "gateway.transactions.journal.begin/journal_write.answered",
        "gateway.transactions.sending._exchange/psp.sending",
        "gateway.transactions.sending._exchange/psp.answered",
        "gateway.transactions.journal._written/journal_write.answered",
    ],
)
async def test_a_process_that_crashes_at_a_point_has_charged_once(
    town: Town, owner: asyncpg.Connection[asyncpg.Record], point: str
) -> None:
    key, reference = new_key(), new_key()
    server = await serving(town, f"{point}=crash")
    with pytest.raises(httpx.TransportError):
        await charge(town, server, key, reference)
    assert await server.ended() == failpoints.CRASH_STATUS
    await leases_run_out(owner)
    server = await town.serving()
    answer = await charge(town, server, key, reference)
    assert (answer.status_code, answer.json()["status"]) == (201, "completed")
    assert (await town.books(reference))["captures"] == {"count": 1, "amount": 1999}
    assert await server.stopped() == 0


async def test_a_process_that_was_paused_beyond_its_lease_tells_what_another_one_concluded(
    town: Town, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    key, reference = new_key(), new_key()
    sleeper = await serving(town, "gateway.transactions.sending._exchange/psp.answered=pause@1")
    # It waits for all that follows: that the sleeper stands still, another one starts, and that one has charged.
    asking = asyncio.create_task(charge(town, sleeper, key, reference, seconds=4 * WAIT_SECONDS))
    await paused(sleeper)
    await leases_run_out(owner)
    other = await town.serving()
    concluded = await charge(town, other, key, reference)
    assert (concluded.status_code, concluded.json()["status"]) == (201, "completed")
    os.kill(sleeper.popen.pid, signal.SIGCONT)
    answer = await asking
    assert answer.json()["id"] == concluded.json()["id"]
    assert answer.json()["status"] == "completed"
    history = "SELECT count(*) FROM transaction_events e JOIN transactions t ON t.id = e.transaction_id"
    assert await owner.fetchval(f"{history} WHERE t.reference = $1", reference) == 3
    assert (await town.books(reference))["captures"] == {"count": 1, "amount": 1999}
    assert (await other.stopped(), await sleeper.stopped()) == (0, 0)


async def test_the_names_can_be_learned_from_the_log(town: Town) -> None:
    server = await serving(town, "*/psp.*=log")
    assert (await charge(town, server, new_key(), new_key())).status_code == 201
    assert await server.stopped() == 0
    lines = [json.loads(line) for line in server.errors.read_text(encoding="utf-8").splitlines()]
    told = [line["event"] for line in lines if line.get("logger") == "paygate.failpoints"]
    exchange = "failpoint: log at gateway.transactions.sending._exchange"
    assert told == [f"{exchange}/psp.sending", f"{exchange}/psp.answered"]
