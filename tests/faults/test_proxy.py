"""Promise: the proxy does what it is told, as often as it is told, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.acceptance.steps import until
from tests.house import TLS, serve
from tests.proxy import Proxy, Toxic, ToxicKind, proxied_url

PATIENCE_SECONDS = 10.0


@dataclass(slots=True)
class Echo:
    """A server that repeats what it is told, behind a proxy."""

    heard: list[bytes] = field(default_factory=list)

    async def say(self, request: Request) -> Response:
        self.heard.append(await request.body())
        return Response(self.heard[-1])


@dataclass(frozen=True, slots=True)
class Line:
    echo: Echo
    proxy: Proxy
    client: httpx.AsyncClient

    async def says(self, words: bytes) -> bytes:
        return (await self.client.post("/", content=words)).content


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    echo = Echo()
    async with AsyncExitStack() as stack:
        url = await serve(stack, Starlette(routes=[Route("/", echo.say, methods=["POST"])]))
        proxy, through = await stack.enter_async_context(proxied_url(url))
        client = httpx.AsyncClient(base_url=through, timeout=PATIENCE_SECONDS, verify=TLS)
        yield Line(echo, proxy, await stack.enter_async_context(client))


async def test_without_a_toxic_everything_passes(line: Line) -> None:
    big = b"x" * 1_000_000
    assert await asyncio.gather(*(line.says(words) for words in (b"one", b"two", big))) == [b"one", b"two", big]
    assert not line.proxy.counts


async def test_latency_and_slices_change_the_time_and_not_the_words(line: Line) -> None:
    line.proxy.add(Toxic(ToxicKind.LATENCY, seconds=0.01))
    line.proxy.add(Toxic(ToxicKind.SLICE))
    assert await line.says(b"slowly " * 50) == b"slowly " * 50
    assert line.proxy.counts[ToxicKind.LATENCY] >= 1
    assert line.proxy.counts[ToxicKind.SLICE] >= 2  # the question and its answer


@pytest.mark.parametrize(
    ("kind", "arrives"), [(ToxicKind.DROP_BEFORE, False), (ToxicKind.DROP_AFTER_REPLY, True), (ToxicKind.RESET, False)]
)
async def test_a_dropped_question_or_answer_breaks_the_connection_once(
    line: Line, kind: ToxicKind, arrives: bool
) -> None:
    line.proxy.add(Toxic(kind, times=1, about=b"lost"))
    assert await line.says(b"first") == b"first"
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await line.says(b"lost")
    assert await line.says(b"lost again") == b"lost again"
    assert (b"lost" in line.echo.heard) is arrives
    assert line.proxy.counts == {kind: 1}


async def test_down_refuses_until_it_is_cleared_on_the_same_port(line: Line) -> None:
    await line.says(b"up")
    line.proxy.add(Toxic(ToxicKind.DOWN))
    with pytest.raises(httpx.TransportError):  # it may meet the connection that was cut
        await line.says(b"down")
    with pytest.raises(httpx.ConnectError):
        await line.says(b"down")
    line.proxy.clear()
    assert await line.says(b"up again") == b"up again"
    assert line.echo.heard == [b"up", b"up again"]


async def test_a_black_hole_stays_open_and_is_reset_after_its_time_or_when_cleared(line: Line) -> None:
    line.proxy.add(Toxic(ToxicKind.TIMEOUT, seconds=0.01, times=1))
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await line.says(b"into the hole")
    line.proxy.add(Toxic(ToxicKind.TIMEOUT))
    asking = asyncio.create_task(line.says(b"into the next"))

    async def strikes() -> int:
        return line.proxy.counts[ToxicKind.TIMEOUT]

    await until(strikes, lambda count: count == 2)
    assert not asking.done()
    line.proxy.clear()
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await asking
    assert line.echo.heard == []


async def test_chance_is_the_seeds_alone() -> None:
    toxic = Toxic(ToxicKind.RESET, probability=0.5)
    drawn: list[list[bool]] = []
    for seed in (1, 1, 2):
        async with proxied_url("http://127.0.0.1:9", seed=seed) as (proxy, _):
            proxy.add(toxic)
            drawn.append([proxy.struck(ToxicKind.RESET, b"") is not None for _ in range(50)])
    assert drawn[0] == drawn[1] != drawn[2]
    assert 10 < sum(drawn[0]) < 40


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(database_url)
    await connection.execute("CREATE TABLE notes (text text)")
    yield connection
    await connection.close()


async def test_a_swallowed_commit_is_committed_and_its_client_does_not_know(
    database_url: str, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    async with proxied_url(database_url) as (proxy, url):
        client = await asyncpg.connect(url)
        proxy.add(Toxic(ToxicKind.SWALLOW_COMMIT, about=b"INTO notes"))
        assert await client.fetchval("SELECT $1::int", 7) == 7  # a commit too, of no interest here
        for end in ("ROLLBACK", "COMMIT"):
            await client.execute("BEGIN")
            assert await client.execute("INSERT INTO notes VALUES ($1)", end) == "INSERT 0 1"
            assert not proxy.counts
            with suppress(asyncpg.ConnectionDoesNotExistError):
                await client.execute(end)
        assert client.is_closed()
        assert proxy.counts == {ToxicKind.SWALLOW_COMMIT: 1}
    assert [row["text"] for row in await owner.fetch("SELECT text FROM notes")] == ["COMMIT"]


async def test_a_statement_on_its_own_is_a_commit_too(
    database_url: str, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    async with proxied_url(database_url) as (proxy, url):
        client = await asyncpg.connect(url)
        proxy.add(Toxic(ToxicKind.SWALLOW_COMMIT, about=b"INTO notes"))
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            await client.fetchval("INSERT INTO notes VALUES ($1) RETURNING text", "kept")
    assert [row["text"] for row in await owner.fetch("SELECT text FROM notes")] == ["kept"]


async def test_postgresql_works_through_it_however_its_bytes_are_cut(
    database_url: str, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    async with proxied_url(database_url) as (proxy, url):
        proxy.add(Toxic(ToxicKind.SLICE))
        proxy.add(Toxic(ToxicKind.SWALLOW_COMMIT, about=b"none of these"))
        client = await asyncpg.connect(url)
        rows = await client.fetch("SELECT n, repeat('x', n) FROM generate_series(1, $1::int) n", 100)
        assert [len(row["repeat"]) for row in rows] == list(range(1, 101))
        with pytest.raises(asyncpg.DivisionByZeroError):
            await client.execute("SELECT 1 / 0")
        await client.close()
