"""Promise: whatever becomes of the database or of its answers, nothing is taken twice, called failed or forgotten."""

from __future__ import annotations

import asyncio

import asyncpg
import httpx
import pytest

from db import failpoints
from db.database import POOL_MAX
from tests.acceptance.steps import calls, leases_run_out, moved, refused, settled, until
from tests.acceptance.test_notifications_converge import an_event, signed
from tests.faults.wires import MOVED, ONE_SALE, Order, Wires
from tests.house import WAIT_SECONDS, House, Partner, new_key
from tests.proxy import Toxic, ToxicKind

WRITING = b"journal_write"
"""The one statement that writes money facts."""


@pytest.mark.parametrize("operation", MOVED)
async def test_an_intent_whose_commit_is_not_acknowledged_is_carried_out_once(
    wires: Wires, partner: Partner, operation: str
) -> None:
    order = await Order(wires, partner, operation, f"intent-{operation}").prepared()
    wires.database.add(Toxic(ToxicKind.SWALLOW_COMMIT, times=1, about=WRITING))
    first = await order.ask()
    assert wires.database.counts[ToxicKind.SWALLOW_COMMIT] == 1
    assert first.status_code in {200, 201} or first.json()["safe_to_retry"], first.text
    final = await order.insist()
    assert final.json()["status"] == ("cancelled" if operation == "cancel" else "completed")
    assert await moved(wires.house, order.reference) == MOVED[operation]
    assert (await calls(wires.house, order.reference))[operation] == 1


@pytest.mark.parametrize("operation", MOVED)
async def test_an_intent_of_which_nothing_can_be_learned_is_not_denied(
    wires: Wires, partner: Partner, operation: str
) -> None:
    order = await Order(wires, partner, operation, f"unlearned-{operation}").prepared()
    wires.database.add(Toxic(ToxicKind.SWALLOW_COMMIT, times=1, about=WRITING))
    asking = asyncio.create_task(order.ask())
    while not (wires.database.counts[ToxicKind.SWALLOW_COMMIT] or asking.done()):  # noqa: ASYNC110 - at once, or too late
        await asyncio.sleep(0)
    wires.database.add(Toxic(ToxicKind.DOWN))
    problem = refused(await asking, 503, "temporarily_unavailable")
    assert (problem["money_moved"], problem["safe_to_retry"]) == ("unknown", True)
    wires.heal()
    await order.insist()
    assert await moved(wires.house, order.reference) == MOVED[operation]


async def test_an_intent_that_is_still_being_written_when_its_connection_breaks_is_not_denied(
    wires: Wires, partner: Partner
) -> None:
    order, owner = Order(wires, partner, "charge", "still-being-written"), wires.house.owner
    async with owner.transaction():
        await owner.execute("LOCK TABLE idempotency_keys IN SHARE MODE")  # it can be read, not written
        asking = asyncio.create_task(order.ask())

        async def waiting() -> int:
            return int(await owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await until(waiting, bool)
        wires.database.cut(about=WRITING)
        problem = refused(await asking, 503, "temporarily_unavailable")
    assert (problem["money_moved"], problem["safe_to_retry"]) == ("unknown", True)  # the server writes it all the same
    await order.insist()
    assert await moved(wires.house, order.reference) == ONE_SALE


@pytest.mark.parametrize("operation", MOVED)
async def test_an_outcome_whose_commit_is_not_acknowledged_is_answered_and_stands_once(
    wires: Wires, partner: Partner, operation: str
) -> None:
    order = await Order(wires, partner, operation, f"outcome-{operation}").prepared()
    await wires.house.fault("answer_late", operation=operation, reference=order.reference, seconds=60)
    asking = asyncio.create_task(order.ask())
    await wires.at_the_psp(operation, order.reference)
    wires.database.add(Toxic(ToxicKind.SWALLOW_COMMIT, times=1, about=WRITING))
    await wires.psp_goes_on()
    first = await asking
    assert wires.database.counts[ToxicKind.SWALLOW_COMMIT] == 1
    assert first.status_code in {200, 201}, first.text
    again = await order.ask()
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    assert await moved(wires.house, order.reference) == MOVED[operation]


@pytest.mark.parametrize(
    "toxic",
    [
        Toxic(ToxicKind.DOWN),
        Toxic(ToxicKind.DROP_BEFORE, about=WRITING),
        Toxic(ToxicKind.RESET, about=WRITING),
        Toxic(ToxicKind.TIMEOUT, about=WRITING),
    ],
    ids=lambda toxic: toxic.kind,
)
async def test_a_charge_that_cannot_be_written_down_is_not_sent_and_its_key_stays_free(
    wires: Wires, partner: Partner, toxic: Toxic
) -> None:
    key, reference = new_key(), f"not-written-{toxic.kind}"
    await partner.get("/v1/balance")
    wires.database.add(toxic)
    async with asyncio.timeout(WAIT_SECONDS):
        answer = await partner.charge(key=key, reference=reference)
    problem = refused(answer, 503, "temporarily_unavailable")
    assert problem["safe_to_retry"]
    assert int(answer.headers["retry-after"]) >= 1
    assert await calls(wires.house, reference) == {}
    wires.heal()

    async def charge() -> httpx.Response:
        return await partner.charge(key=key, reference=reference)

    taken = await until(charge, lambda answer: answer.status_code != 503)
    assert taken.status_code == 201, taken.text
    assert "idempotent-replayed" not in taken.headers
    assert await moved(wires.house, reference) == ONE_SALE


async def test_an_outcome_that_meets_lost_connections_is_written_on_the_next(wires: Wires, partner: Partner) -> None:
    await wires.house.fault("answer_late", operation="charge", reference="flicker", seconds=60)
    asking = asyncio.create_task(partner.charge(reference="flicker"))
    await wires.at_the_psp("charge", "flicker")
    wires.database.add(Toxic(ToxicKind.DROP_BEFORE, times=2, about=WRITING))
    await wires.psp_goes_on()
    answer = await asking
    assert (answer.status_code, answer.json()["status"]) == (201, "completed")
    assert wires.database.counts[ToxicKind.DROP_BEFORE] == 2
    assert await moved(wires.house, "flicker") == ONE_SALE


@pytest.mark.usefixtures("impatient_journal")
async def test_an_outcome_that_finds_no_database_is_unknown_and_found_out_when_there_is_one(
    wires: Wires, partner: Partner
) -> None:
    key = new_key()
    await wires.house.fault("answer_late", operation="charge", reference="outage", seconds=60)
    asking = asyncio.create_task(partner.charge(key=key, reference="outage"))
    await wires.at_the_psp("charge", "outage")
    wires.database.add(Toxic(ToxicKind.DOWN))
    await wires.psp_goes_on()
    answer = await asking
    assert (answer.status_code, answer.json()["money_moved"]) == (202, "unknown")
    wires.heal()
    await leases_run_out(wires.house.owner)
    assert (await settled(partner, answer.json()["id"], "completed", "failed"))["status"] == "completed"
    again = await partner.charge(key=key, reference="outage")
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
    assert await moved(wires.house, "outage") == ONE_SALE


@pytest.mark.parametrize("kind", [ToxicKind.DOWN, ToxicKind.SWALLOW_COMMIT])
async def test_a_notification_is_acknowledged_once_it_is_stored_and_stored_once(wires: Wires, kind: ToxicKind) -> None:
    event = an_event("customer.created", {"id": "cus_1", "object": "customer"}, f"stored_{kind}")

    async def stored() -> int:
        query = "SELECT count(*) FROM provider_events WHERE dedupe_key = $1"
        return int(await wires.house.owner.fetchval(query, event["id"]))

    async def told() -> httpx.Response:
        return await wires.house.notify(*signed(event))

    wires.database.add(Toxic(kind, about=b"INTO provider_events"))
    answer = await told()
    assert (answer.status_code, answer.content) == (503, b"")
    assert int(answer.headers["retry-after"]) >= 1
    assert await stored() == (1 if kind is ToxicKind.SWALLOW_COMMIT else 0)
    wires.heal()
    await until(told, lambda answer: answer.status_code == 200)
    assert (await told()).status_code == 200
    assert await stored() == 1


async def test_waiting_for_a_psp_holds_no_connection(wires: Wires, partner: Partner) -> None:
    count = 2 * POOL_MAX
    await wires.house.fault("answer_late", operation="charge", reference="patient", times=count, seconds=60)
    asking = [asyncio.create_task(partner.charge(reference="patient")) for _ in range(count)]

    async def waiting() -> int:
        return (await calls(wires.house, "patient")).get("charge", 0)

    await until(waiting, lambda made: made == count)
    assert wires.house.runtime.database.in_use == 0
    assert (await partner.charge(reference="meanwhile")).status_code == 201
    await wires.psp_goes_on()
    assert {answer.status_code for answer in await asyncio.gather(*asking)} == {201}


async def test_calls_that_pile_up_behind_a_lock_are_sent_away_and_take_nothing(wires: Wires, partner: Partner) -> None:
    keys = [new_key() for _ in range(2 * POOL_MAX)]
    blocker = await asyncpg.connect(wires.house.runtime.settings.database_url)
    async with blocker.transaction():
        await blocker.execute("LOCK TABLE idempotency_keys IN ACCESS EXCLUSIVE MODE")
        async with asyncio.timeout(WAIT_SECONDS):
            answers = await asyncio.gather(*(partner.charge(key=key, reference="piled-up") for key in keys))
    await blocker.close()
    for answer in answers:
        refused(answer, 503, "temporarily_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
    assert await calls(wires.house, "piled-up") == {}
    answers = await asyncio.gather(*(partner.charge(key=key, reference="piled-up") for key in keys))
    assert {answer.status_code for answer in answers} == {201}
    assert await moved(wires.house, "piled-up") == {name: (len(keys), len(keys) * 1999) for name in ONE_SALE}


async def test_no_session_of_ours_can_hold_a_lock_or_a_transaction_for_long(wires: Wires) -> None:
    for database in (wires.house.runtime.database, wires.house.background.database):
        async with database.as_system() as connection:
            for name, most in (
                ("lock_timeout", 2),
                ("statement_timeout", 5),
                ("idle_in_transaction_session_timeout", 10),
            ):
                seconds = await connection.fetchval("SELECT current_setting($1)::interval", name)
                assert 0 < seconds.total_seconds() <= most


async def test_a_transaction_that_is_cancelled_as_it_begins_is_rolled_back_and_alarms_nobody(
    shared_house: House, caplog: pytest.LogCaptureFixture
) -> None:
    async def begin() -> None:
        with failpoints.armed(Cancelling()):
            async with shared_house.runtime.database.as_system():
                raise AssertionError("unreachable")

    assert isinstance((await asyncio.gather(begin(), return_exceptions=True))[0], asyncio.CancelledError)
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


class Cancelling:
    """Its task, once BEGIN is on its way."""

    async def reached(self, name: str) -> None:
        task = asyncio.current_task()
        if task is not None and name.endswith("/begin.sending"):
            task.cancel()
