"""A replay skips no event and doubles none, wherever its worker is killed and however many there are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pytest

from db import ids, replays
from db.records import ReplayState, Scope
from db.replays import OUTSTANDING_MAX, Replay
from gateway.replays import replay_due
from tests.house import House, utc_now

BEGIN = utc_now() - timedelta(days=2)


class Killed(Exception):
    pass


@pytest.fixture
async def idle(database_url: str) -> AsyncIterator[House]:
    """Nobody works here but the test."""
    async with House.opened(database_url, working=False) as opened:
        yield opened


@dataclass(frozen=True, slots=True)
class Case:
    house: House
    scope: Scope
    endpoint_id: UUID
    replay_id: UUID
    events: list[UUID]

    async def queued(self) -> list[UUID]:
        rows = await self.house.owner.fetch(
            "SELECT event_id FROM webhook_deliveries WHERE replay_id = $1 ORDER BY event_id", self.replay_id
        )
        return [row["event_id"] for row in rows]

    async def end(self, state: str, limit: int) -> None:
        """So many of its deliveries are over."""
        await self.house.owner.execute(
            "UPDATE webhook_deliveries SET state = $2::delivery_state, next_attempt_at = NULL WHERE id IN ("
            " SELECT id FROM webhook_deliveries WHERE replay_id = $1 AND state = 'pending' ORDER BY id LIMIT $3)",
            self.replay_id,
            state,
            limit,
        )

    async def shown(self) -> Replay:
        async with self.house.runtime.database.as_partner(self.scope.partner_id) as connection:
            found = await replays.get(connection, self.scope, self.replay_id)
        assert found is not None
        return found


async def started(house: House, count: int) -> Case:
    """A replay of so many events, one each second, of a range that ends before the last one."""
    partner = await house.partner()
    endpoint_id = ids.decode("whe", (await house.subscribed(partner))["id"])
    assert endpoint_id is not None
    times = [BEGIN + timedelta(seconds=number) for number in range(count + 1)]
    events = [UUID(int=ids.earliest(at).int + 1) for at in times]
    await house.owner.executemany(
        "INSERT INTO events (partner_id, id, livemode, type, body, created_at)"
        " VALUES ($1, $2, false, 'transaction.completed', '{}', $3)",
        [(partner.id, one, at) for one, at in zip(events, times, strict=True)],
    )
    scope, replay_id = Scope(partner.id, livemode=False), ids.new()
    async with house.runtime.database.as_partner(partner.id) as connection:
        of = {"since": BEGIN, "until": times[-1]}
        assert await replays.count(connection, scope, **of, event_types=["ping"], limit=count - 1) is None
        assert await replays.count(connection, scope, **of, event_types=["refund.failed"], limit=count) == 0
        total = await replays.count(connection, scope, **of, event_types=["*"], limit=count)
        assert total == count
        assert await replays.start(connection, scope, replay_id, endpoint_id, **of, event_types=["*"], total=total)
    return Case(house, scope, endpoint_id, replay_id, events[:-1])


async def test_never_more_than_a_hundred_are_on_their_way_and_all_come(idle: House) -> None:
    case = await started(idle, 250)
    assert await replay_due(idle.background) == OUTSTANDING_MAX
    assert await replay_due(idle.background) == 0
    await case.end("delivered", 40)
    assert await replay_due(idle.background) == 0  # sixty are on their way: more than half
    await case.end("exhausted", 20)
    assert await replay_due(idle.background) == 60
    await case.end("delivered", 100)
    assert await replay_due(idle.background) == 90
    shown = await case.shown()
    assert (shown.state, shown.queued, shown.delivered, shown.failed) == (ReplayState.RUNNING, 250, 140, 20)
    assert await case.queued() == case.events

    await case.end("delivered", 89)
    await replay_due(idle.background)
    assert (await case.shown()).state is ReplayState.RUNNING
    await case.end("exhausted", 1)
    await replay_due(idle.background)
    shown = await case.shown()
    assert (shown.state, shown.delivered, shown.failed) == (ReplayState.COMPLETED, 229, 21)
    assert shown.finished_at is not None


@pytest.mark.parametrize("count", [OUTSTANDING_MAX - 1, OUTSTANDING_MAX, OUTSTANDING_MAX + 1, 2 * OUTSTANDING_MAX])
async def test_the_last_batch_is_found_to_be_the_last(idle: House, count: int) -> None:
    case = await started(idle, count)
    while await replay_due(idle.background):
        await case.end("delivered", OUTSTANDING_MAX)
    await replay_due(idle.background)
    assert (await case.shown()).state is ReplayState.COMPLETED
    assert await case.queued() == case.events


async def test_a_worker_that_is_killed_in_a_batch_has_done_nothing_of_it(idle: House) -> None:
    case = await started(idle, 150)
    await replay_due(idle.background)
    await case.end("delivered", OUTSTANDING_MAX)
    before = await case.shown()

    async def killed() -> None:
        async with idle.background.database.as_system() as connection:
            assert await replays.advance(connection, case.scope.partner_id, case.replay_id) == 50
            raise Killed

    with pytest.raises(Killed):
        await killed()
    assert await case.shown() == before
    assert await case.queued() == case.events[:OUTSTANDING_MAX]
    assert await replay_due(idle.background) == 50
    assert await case.queued() == case.events


async def test_two_workers_at_once_queue_nothing_twice(idle: House) -> None:
    case = await started(idle, 250)
    partner_id = case.scope.partner_id
    async with idle.background.database.as_system() as first, idle.background.database.as_system() as second:
        assert await replays.advance(first, partner_id, case.replay_id) == OUTSTANDING_MAX
        assert await replays.advance(second, partner_id, case.replay_id) == 0  # it is the other's
    while len(await case.queued()) < 250:
        await case.end("delivered", OUTSTANDING_MAX)
        together = await asyncio.gather(*(replay_due(idle.background) for _ in range(4)))
        assert sum(together) <= OUTSTANDING_MAX
    assert await case.queued() == case.events


async def test_replays_take_turns(idle: House) -> None:
    cases = [await started(idle, 120) for _ in range(3)]
    assert await replay_due(idle.background) == 3 * OUTSTANDING_MAX
    for case in cases:
        assert await case.queued() == case.events[:OUTSTANDING_MAX]


async def test_a_replay_that_fails_keeps_no_other_from_its_turn(idle: House) -> None:
    broken, sound = [await started(idle, 10) for _ in range(2)]
    await idle.owner.execute(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'broken'; END $$"
    )
    await idle.owner.execute(
        "CREATE TRIGGER fail BEFORE UPDATE ON webhook_replays FOR EACH ROW"
        f" WHEN (OLD.id = '{broken.replay_id}') EXECUTE FUNCTION fail()"
    )
    assert await replay_due(idle.background) == 10
    assert (await broken.queued(), await sound.queued()) == ([], sound.events)


async def test_a_replay_rests_while_its_endpoint_is_disabled(idle: House) -> None:
    case = await started(idle, 10)
    switch = "UPDATE webhook_endpoints SET state = $2::endpoint_state WHERE id = $1"
    await idle.owner.execute(switch, case.endpoint_id, "disabled")
    assert await replay_due(idle.background) == 0
    assert await case.queued() == []
    await idle.owner.execute(switch, case.endpoint_id, "enabled")
    assert await replay_due(idle.background) == 10


async def test_a_batch_that_meets_a_cancellation_is_cancelled_or_not_there(idle: House) -> None:
    case = await started(idle, 10)

    async def cancel() -> None:
        async with idle.runtime.database.as_partner(case.scope.partner_id) as connection:
            await replays.cancel(connection, case.scope, case.replay_id)

    async with idle.background.database.as_system() as connection:
        assert await replays.advance(connection, case.scope.partner_id, case.replay_id) == 10
        cancelling = asyncio.create_task(cancel())
        while not await idle.owner.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):  # noqa: ASYNC110
            await asyncio.sleep(0)
    await cancelling
    assert await replay_due(idle.background) == 0
    assert (await case.shown()).state is ReplayState.CANCELLED
    assert await idle.owner.fetchval(
        "SELECT bool_and(state = 'cancelled') FROM webhook_deliveries WHERE replay_id = $1", case.replay_id
    )
