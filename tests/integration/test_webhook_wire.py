"""What servers may answer to a webhook, byte by byte, and when its connection is used again."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from webhooks import wire
from webhooks.addresses import AddressPolicy
from webhooks.posting import Answer, Failed, Poster

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CUT = Failed("the connection was closed before a whole answer")
MALFORMED = Failed("the answer is not valid HTTP")


@dataclass
class Server:
    """Answers each request with the next of its script, the last for ever; None: hangs up."""

    script: list[bytes | None]
    close: bool = False
    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                assert length is not None
                self.requests.append(head + await reader.readexactly(int(length[1])))
                answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                writer.write(answer or b"")
                await writer.drain()
                if answer is None or self.close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(*script: bytes | None, close: bool = False) -> AsyncIterator[Server]:
    told = Server(list(script), close)
    server = await asyncio.start_server(told.talk, "127.0.0.1", 0)
    told.port = server.sockets[0].getsockname()[1]
    try:
        yield told
    finally:
        server.close()
        for writer in told.writers:
            writer.close()


async def posted(server: Server, times: int = 1) -> list[Answer | Failed]:
    async with Poster(AddressPolicy(allow_loopback_http=True), deadline_seconds=5) as poster:
        return [
            await poster.post(f"http://127.0.0.1:{server.port}/hook?a=b", {"x-one": "1"}, b"{}") for _ in range(times)
        ]


async def test_a_request_is_what_it_should_be_and_its_connection_serves_the_next() -> None:
    async with serving(OK) as server:
        assert await posted(server, 3) == [Answer(200, "ok", None)] * 3
        assert server.connections == 1
        assert (
            server.requests[0]
            == (
                f"POST /hook?a=b HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\nx-one: 1\r\ncontent-length: 2\r\n\r\n{{}}"
            ).encode()
        )


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", Answer(204, "", None)),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Answer(200, "ok", None)),
        (b"HTTP/1.1 503 No\r\nRetry-After: 7\r\ncontent-length: 0\r\n\r\n", Answer(503, "", "7")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, Answer(200, "ok", None)),
    ],
)
async def test_a_whole_answer_leaves_the_connection_open(answer: bytes, expected: Answer) -> None:
    async with serving(answer) as server:
        assert await posted(server, 2) == [expected] * 2
        assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        OK + OK,
        OK + b"and more",
    ],
)
async def test_after_some_answers_a_connection_is_not_used_again(answer: bytes) -> None:
    async with serving(answer) as server:
        assert await posted(server, 2) == [Answer(200, "ok", None)] * 2
        assert server.connections == 2


async def test_the_end_of_the_connection_may_be_the_end_of_the_answer() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\n\r\nuntil the end", close=True) as server:
        assert await posted(server) == [Answer(200, "until the end", None)]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
async def test_half_an_answer_is_none(answer: bytes | None) -> None:
    async with serving(answer, close=True) as server:
        assert await posted(server) == [CUT]


@pytest.mark.parametrize(
    "answer",
    [
        b"220 mail.example.com ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 40_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
    ],
)
async def test_what_is_not_http_or_has_no_end_is_refused(answer: bytes) -> None:
    async with serving(answer) as server:
        assert await posted(server, 2) == [MALFORMED] * 2


async def test_of_a_long_answer_the_beginning_is_read() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n" + b"x" * 1_000_000) as server:
        assert await posted(server, 2) == [Answer(200, "x" * 1024, None)] * 2
        assert server.connections == 2


async def test_an_upgrade_nobody_asked_for_is_an_answer_like_any_other() -> None:
    async with serving(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nsomething else") as server:
        assert await posted(server, 2) == [Answer(101, "", None)] * 2
        assert server.connections == 2


async def test_what_comes_unasked_closes_the_connection() -> None:
    closed = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        while await reader.read(1_000):
            pass
        closed.set()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        _, connection = await asyncio.get_running_loop().create_connection(
            wire.Connection, *server.sockets[0].getsockname()
        )
        await asyncio.wait_for(closed.wait(), 5)
        assert not connection.usable


async def test_a_connection_that_waited_too_long_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "KEEPALIVE_SECONDS", 0)
    async with serving(OK) as server:
        assert await posted(server, 2) == [Answer(200, "ok", None)] * 2
        assert server.connections == 2


async def test_more_connections_than_may_wait_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "IDLE_MAX", 0)
    async with serving(OK) as server:
        assert await posted(server, 2) == [Answer(200, "ok", None)] * 2
        assert server.connections == 2


def test_no_header_leaves_its_line() -> None:
    for broken in ("a\r\nhost: elsewhere", "a\nb", "a\rb"):
        with pytest.raises(ValueError, match="line break"):
            wire.request("shop.example", "/", {"x-one": broken}, b"")
