"""The one doorway to the network for calls to a PSP.

A failed exchange leaves as one of two facts: `Unreachable` (proven: nothing was sent) or `NoAnswer` (it may have been
executed). Cancellation passes through. No redirect, no proxy from the environment, no logging; no retry, save that
aiohttp repeats a GET, never a POST, whose reused connection turns out to be closed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Self

import aiohttp
import httpx

DEADLINE_SECONDS = 25.0  # leaves the partner's 30 s request time to record what came of it
CONNECT_SECONDS = 5.0  # well below the deadline, so a stalled connect is still proven to be "not sent"
KEEPALIVE_SECONDS = 15.0  # below what PSPs' edges allow: a reused connection that dies makes a charge unknown
CONNECTIONS_MAX = 200
BODY_BYTES_MAX = 1_000_000  # PSP answers are a few kB; a page of 100 payments stays below this


class Unreachable(Exception):
    """Proven not executed: no address, refused, TLS failed, or no connection in time."""


class NoAnswer(Exception):
    """The PSP may have executed the request: something may have left, and no whole answer came back."""


class Refused(Exception):
    """Another status than 200, where only a body is of use."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


def _ignore(_host: str, _seconds: float) -> None: ...


class Doorway:
    """One per process. `observe(host, seconds)` is told the duration of every exchange, in the caller's own task."""

    def __init__(
        self,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
        body_bytes_max: int = BODY_BYTES_MAX,
        observe: Callable[[str, float], None] = _ignore,
    ) -> None:
        self._transport = transport or AiohttpTransport()
        self._deadline_seconds = deadline_seconds
        self._body_bytes_max = body_bytes_max
        self._observe = observe

    async def send(self, request: httpx.Request) -> httpx.Response:
        """The whole answer, whatever its status. Raises `Unreachable` or `NoAnswer`, nothing else."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await self._exchange(request)
        except _NEVER_SENT as error:
            raise Unreachable(f"{type(error).__name__} at {request.url.host}") from error
        except Exception as error:  # whatever else went wrong, it is not proven that nothing was executed
            raise NoAnswer(f"{type(error).__name__} at {request.url.host}") from error
        finally:
            self._observe(request.url.host, time.perf_counter() - began)

    async def pieces(self, request: httpx.Request, *, bytes_max: int) -> AsyncGenerator[bytes]:
        """The body of a 200 as it comes, for what is too long to hold; who reads it sets the time and closes it.

        Raises `Unreachable`, `NoAnswer`, and `Refused` for every other status.
        """
        try:
            response = await self._transport.handle_async_request(request)
        except _NEVER_SENT as error:
            raise Unreachable(f"{type(error).__name__} at {request.url.host}") from error
        except Exception as error:
            raise NoAnswer(f"{type(error).__name__} at {request.url.host}") from error
        assert isinstance(response.stream, httpx.AsyncByteStream)
        length = 0
        try:
            if response.status_code != httpx.codes.OK:
                raise Refused(response.status_code)
            async for piece in response.stream:
                length += len(piece)
                if length > bytes_max:
                    raise NoAnswer(f"more than {bytes_max} bytes from {request.url.host}")
                yield piece
        except httpx.HTTPError as error:
            raise NoAnswer(f"{type(error).__name__} at {request.url.host}") from error
        finally:
            await response.aclose()

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        response = await self._transport.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        try:
            body = bytearray()
            async for chunk in response.stream:
                body += chunk
                if len(body) > self._body_bytes_max:
                    raise httpx.ReadError(f"answer longer than {self._body_bytes_max} bytes")
        finally:
            await response.aclose()
        return httpx.Response(response.status_code, headers=response.headers, content=bytes(body), request=request)

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.aclose()


class AiohttpTransport(httpx.AsyncBaseTransport):
    """aiohttp beneath httpx's interface: an eighth of the CPU of httpx's own (tests/benchmarks/psp_client.py).

    Not the package httpx-aiohttp: it reports a connection lost after sending as a failure to connect, and a charge
    that was executed would be sent to the next PSP.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            answer = await self._open_session().request(
                request.method,
                str(request.url),
                headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw],
                data=request.content or None,
                allow_redirects=False,
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            raise httpx.ConnectError(str(error), request=request) from error
        except aiohttp.ClientError as error:
            raise httpx.ReadError(str(error), request=request) from error
        return httpx.Response(answer.status, headers=answer.raw_headers, stream=_Body(answer), request=request)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:  # a session belongs to the running loop, a Doorway may be built before there is one
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=httpx.create_ssl_context(trust_env=False),
                    limit=CONNECTIONS_MAX,
                    keepalive_timeout=KEEPALIVE_SECONDS,
                ),
                timeout=aiohttp.ClientTimeout(connect=CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers={"Accept-Encoding", "Content-Type", "User-Agent"},
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._answer.content.iter_any():
                yield chunk
        except aiohttp.ClientError as error:
            raise httpx.ReadError(str(error)) from error

    async def aclose(self) -> None:
        # After a whole answer the connection is free already; what was not read to the end is cut, never drained.
        self._answer.close()
