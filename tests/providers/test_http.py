"""The doorway tells "not sent" from "no answer", whatever the network does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from providers import http
from tests.providers.far_ends import free_port

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def a_peer(script: Script, *, after: bytes = b"\r\n\r\n") -> AsyncIterator[str]:
    """A server that does what `script` says once a request (or its first bytes) has arrived, and then hangs up."""

    meetings: set[asyncio.Task[None]] = set()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        meeting = asyncio.current_task()
        assert meeting is not None
        meetings.add(meeting)
        try:
            await reader.readuntil(after)
            await script(reader, writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort() if writer.is_closing() else writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        for meeting in meetings:
            meeting.cancel()
        await asyncio.gather(*meetings)


def says(text: bytes) -> Script:
    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()

    return script


async def hangs(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()  # until the other side gives up


async def resets(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def post(url: str, doorway: http.Doorway) -> httpx.Response:
    return await doorway.send(httpx.Request("POST", url, content=b"x=1"))


class TestNothingWasSent:
    async def test_when_the_connection_is_refused(self) -> None:
        async with http.Doorway() as doorway:
            with pytest.raises(http.Unreachable):
                await post(f"http://127.0.0.1:{free_port()}/", doorway)

    async def test_when_the_name_has_no_address(self) -> None:
        async with http.Doorway() as doorway:
            with pytest.raises(http.Unreachable):
                await post("http://nowhere.invalid/", doorway)

    async def test_when_tls_cannot_be_agreed(self) -> None:
        async with http.Doorway() as doorway, a_peer(says(ANSWER), after=b"\x01") as url:
            with pytest.raises(http.Unreachable):
                await post(url.replace("http://", "https://"), doorway)

    @pytest.mark.parametrize("error", [httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol])
    async def test_when_no_connection_came_about_in_time(self, error: type[httpx.TransportError]) -> None:
        def fails(_request: httpx.Request) -> httpx.Response:
            raise error("as told")

        async with http.Doorway(transport=httpx.MockTransport(fails)) as doorway:
            with pytest.raises(http.Unreachable):
                await post("http://psp.test/", doorway)


class TestItMayHaveBeenExecuted:
    @pytest.mark.parametrize(
        "script",
        [
            pytest.param(says(b""), id="hangs up"),
            pytest.param(resets, id="resets"),
            pytest.param(says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), id="truncated"),
            pytest.param(says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal"), id="truncated chunk"),
            pytest.param(says(b"SMTP ready\r\n\r\n"), id="not HTTP"),
            pytest.param(says(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), id="nonsense length"),
            pytest.param(says(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"), id="endless header"),
        ],
    )
    async def test_when_no_whole_answer_comes(self, script: Script) -> None:
        async with http.Doorway() as doorway, a_peer(script) as url:
            with pytest.raises(http.NoAnswer):
                await post(url, doorway)

    async def test_when_the_deadline_passes(self) -> None:
        async with http.Doorway(deadline_seconds=0.1) as doorway, a_peer(hangs) as url:
            with pytest.raises(http.NoAnswer):
                await post(url, doorway)

    async def test_when_the_answer_is_too_long(self) -> None:
        script = says(b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101)
        async with http.Doorway(body_bytes_max=100) as doorway, a_peer(script) as url:
            with pytest.raises(http.NoAnswer):
                await post(url, doorway)

    async def test_when_a_kept_connection_turns_out_dead_the_post_is_not_repeated(self) -> None:
        seen = 0

        async def counts(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal seen
            seen += 1
            if seen == 1:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await _reader.readuntil(b"\r\n\r\n")
                seen += 1

        async with http.Doorway() as doorway, a_peer(counts) as url:
            await doorway.send(httpx.Request("GET", url))
            with pytest.raises(http.NoAnswer):
                await post(url, doorway)

        assert seen == 2

    @pytest.mark.parametrize("error", [httpx.WriteError, httpx.ReadTimeout, httpx.RemoteProtocolError, RuntimeError])
    async def test_when_anything_else_goes_wrong(self, error: type[Exception]) -> None:
        def fails(_request: httpx.Request) -> httpx.Response:
            raise error("as told")

        async with http.Doorway(transport=httpx.MockTransport(fails)) as doorway:
            with pytest.raises(http.NoAnswer):
                await post("http://psp.test/", doorway)


class TestTheAnswer:
    @pytest.mark.parametrize("status", [200, 302, 402, 503])
    async def test_comes_whole_whatever_its_status_and_redirects_are_not_followed(self, status: int) -> None:
        script = says(b"HTTP/1.1 %d X\r\nLocation: /elsewhere\r\nContent-Length: 2\r\n\r\nok" % status)
        async with http.Doorway() as doorway, a_peer(script) as url:
            answer = await post(url, doorway)

        assert (answer.status_code, answer.content) == (status, b"ok")

    async def test_the_request_leaves_as_it_was_built(self) -> None:
        received = asyncio.get_running_loop().create_future()

        async def listens(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            received.set_result(await reader.readexactly(9))
            await says(ANSWER)(reader, writer)

        async with http.Doorway() as doorway, a_peer(listens) as url:
            await doorway.send(httpx.Request("POST", url + "v1/x?a[b]=1", content=b"a[b]=c%20"))

        assert await received == b"a[b]=c%20"

    async def test_proxies_of_the_environment_are_ignored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{free_port()}")
        async with http.Doorway() as doorway, a_peer(says(ANSWER)) as url:
            assert (await post(url, doorway)).content == b"ok"

    async def test_every_exchange_is_timed_by_host(self) -> None:
        seen: list[tuple[str, float]] = []
        async with http.Doorway(observe=lambda host, seconds: seen.append((host, seconds))) as doorway:
            async with a_peer(says(ANSWER)) as url:
                await post(url, doorway)
            with pytest.raises(http.Unreachable):
                await post(f"http://127.0.0.1:{free_port()}/", doorway)

        assert [host for host, _ in seen] == ["127.0.0.1", "127.0.0.1"]
        assert all(seconds > 0 for _, seconds in seen)

    async def test_a_cancelled_caller_is_cancelled(self) -> None:
        arrived = asyncio.Event()

        async def listens(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            arrived.set()
            await reader.read()

        async with http.Doorway() as doorway, a_peer(listens) as url:
            waiting = asyncio.create_task(post(url, doorway))
            await arrived.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
