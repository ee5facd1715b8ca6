"""Promise: every lease, due time and id that PostgreSQL makes in a simulated town follows from the seed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest

from db import embedded
from db.database import Role
from tests.simulation import postgresql
from tests.simulation.machine import Process, VirtualLoop, machine
from tests.simulation.turns import Line, Turns

MOMENT = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
async def virtual(postgres: embedded.Server) -> embedded.Server:
    """The session's server, with a template on virtual time."""
    await postgresql.prepare(postgres.url)
    return postgres


@pytest.fixture
async def town_database(virtual: embedded.Server) -> AsyncIterator[str]:
    await postgresql.clone(virtual.url, "town")
    yield "town"
    await postgresql.drop(virtual.url, "town")


async def test_what_the_schema_calls_now_is_what_it_was_told(virtual: embedded.Server, town_database: str) -> None:
    async with postgresql.connected(virtual.url, town_database) as owner:
        await owner.execute(postgresql.time_told(MOMENT.timestamp()))
        event = await owner.fetchrow(
            "WITH account AS (INSERT INTO provider_accounts (id, provider, livemode, label, credentials)"
            " VALUES (gen_random_uuid(), 'stripe', false, 'Stripe', '') RETURNING id)"
            " INSERT INTO provider_accounts (id, provider, livemode, label, credentials)"
            " SELECT gen_random_uuid(), 'adyen', false, 'Adyen', '' FROM account RETURNING created_at, updated_at"
        )
        assert event is not None
        assert set(event.values()) == {MOMENT}
        assert await owner.fetchval("SELECT clock_timestamp()") == MOMENT


async def test_two_towns_draw_the_same_ids(virtual: embedded.Server, town_database: str) -> None:
    drawn = []
    for _ in range(2):
        await postgresql.clone(virtual.url, town_database)
        async with postgresql.connected(virtual.url, town_database) as owner:
            await owner.execute(postgresql.time_told(MOMENT.timestamp()))
            drawn.append(await owner.fetch("SELECT uuid_v7() FROM generate_series(1, 3)"))
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 3


async def test_what_asks_the_real_clock_is_found(virtual: embedded.Server, town_database: str) -> None:
    async with postgresql.connected(virtual.url, town_database) as owner:
        assert await postgresql.left_behind(owner) == []
        await owner.execute("CREATE TABLE public.late (at timestamptz DEFAULT pg_catalog.now())")
        await owner.execute("CREATE TABLE public.later (at timestamptz DEFAULT CURRENT_TIMESTAMP)")
        assert sorted(await postgresql.left_behind(owner)) == ["CURRENT_TIMESTAMP", "pg_catalog.now()"]


def test_a_cancelled_statement_leaves_the_connection_as_in_a_pool(virtual: embedded.Server, town_database: str) -> None:
    with machine(1) as loop:
        loop.run_until_complete(_cancelled(loop, virtual.url(town_database)))


def test_the_time_outlives_what_is_rolled_back(virtual: embedded.Server, town_database: str) -> None:
    with machine(1) as loop:
        loop.run_until_complete(_rolled_back(loop, virtual.url(town_database)))


async def _cancelled(loop: VirtualLoop, url: str) -> None:
    owner, line = await _line(loop, url)
    connection = await line.acquire()
    beginning = loop.create_task(connection.execute("BEGIN; CREATE TEMPORARY TABLE begun ()"))
    await asyncio.sleep(0)
    beginning.cancel()
    await asyncio.wait({beginning})
    await line.release(connection)
    again = await line.acquire()
    assert await again.fetchval("SELECT to_regclass('begun') IS NULL"), "what was begun is rolled back"
    await line.cut()
    owner.terminate()


async def _rolled_back(loop: VirtualLoop, url: str) -> None:
    owner, line = await _line(loop, url)
    for statements in (("BEGIN", "ROLLBACK"), ("BEGIN", "COMMIT")):
        connection = await line.acquire()
        for statement in statements:
            await connection.execute(statement)
        await line.release(connection)
    connection = await line.acquire()
    assert (await connection.fetchval("SELECT now()")).timestamp() == loop.wall()
    await line.cut()
    owner.terminate()


async def _line(loop: VirtualLoop, url: str) -> tuple[asyncpg.Connection[asyncpg.Record], Line]:
    """And the town's own connection."""
    loop.database_busy = True
    owner = await asyncpg.connect(url)
    return owner, Line(Turns(loop, owner), Process("worker"), url, Role.WORKER)
