"""Promise: time, chance and death are the simulation's own, so that a run depends on its seed alone."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid

import pytest

from tests.simulation.machine import EPOCH, Process, Stuck, VirtualLoop, machine


def test_a_day_passes_at_once_on_every_clock() -> None:
    with machine(1) as loop:
        before = time.time(), time.monotonic(), time.perf_counter(), time.time_ns()
        loop.run_until_complete(asyncio.sleep(86_400))
        after = time.time(), time.monotonic(), time.perf_counter(), time.time_ns()
    assert before[0] == EPOCH
    assert [late - early for early, late in zip(before, after, strict=True)] == [86_400, 86_400, 86_400, 86_400 * 10**9]


def test_the_same_seed_draws_the_same_secrets() -> None:
    def drawn(seed: int) -> tuple[str, uuid.UUID, int]:
        with machine(seed):
            return secrets.token_hex(), uuid.uuid4(), secrets.randbelow(10**9)

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_of_timers_for_one_moment_the_first_set_runs_first() -> None:
    with machine(1) as loop:
        ran: list[int] = []
        for number in range(500):
            loop.call_at(10, ran.append, number)
        loop.run_until_complete(asyncio.sleep(11))
    assert ran == list(range(500))


def test_a_frozen_process_goes_on_when_it_is_thawed() -> None:
    with machine(1) as loop:
        process, ran = Process("worker"), list[float]()
        working = loop.create_task(_count(loop, ran), context=process.context)
        loop.run_until_complete(asyncio.sleep(2.5))
        process.frozen = True
        loop.run_until_complete(asyncio.sleep(100))
        assert ran == [1, 2]
        loop.run_until_complete(_thawed(process))
        assert ran == [1, 2, 102.5, 103.5, 104.5]
        working.cancel()
        loop.run_until_complete(asyncio.wait({working}))


def test_a_dead_process_does_nothing_more_not_even_cleaning_up() -> None:
    with machine(1) as loop:
        process, cleaned = Process("worker"), list[bool]()
        working = loop.create_task(_clean(cleaned), context=process.context)
        loop.run_until_complete(asyncio.sleep(1))
        process.dead = True
        working.cancel()
        loop.run_until_complete(asyncio.sleep(3_600))
        assert not cleaned
        assert not working.done()
        loop.run_until_complete(_buried(process, working))


def test_a_town_in_which_nothing_can_happen_is_noticed() -> None:
    with machine(1) as loop:
        waiting = loop.create_task(asyncio.Event().wait())
        with pytest.raises(Stuck):
            loop.run_until_complete(waiting)
        waiting.cancel()
        loop.run_until_complete(asyncio.wait({waiting}))


async def _count(loop: VirtualLoop, ran: list[float]) -> None:
    while True:
        await asyncio.sleep(1)
        ran.append(loop.time())


async def _clean(cleaned: list[bool]) -> None:
    try:
        await asyncio.sleep(86_400)
    finally:
        cleaned.append(True)


async def _thawed(process: Process) -> None:
    process.thaw()
    await asyncio.sleep(2.2)


async def _buried(process: Process, working: asyncio.Task[None]) -> None:
    process.bury()
    await asyncio.wait({working})
