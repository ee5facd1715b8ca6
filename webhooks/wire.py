"""HTTP/1.1 as far as a sender of webhooks needs it: one POST on a connection, which is kept for the next.

llhttp parses; here is what it leaves open: how much may come, where an answer ends, and whether a connection can be
used again. Who dials decides where to; deadlines are the caller's.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

BODY_BYTES_MAX = 65_536
HEAD_BYTES_MAX = 65_536
KEEPALIVE_SECONDS = 15.0  # below what common servers keep: a reused connection that dies costs a try
IDLE_MAX = 512
INFORMATIONAL = frozenset(range(100, 200)) - {101}
"""The answer is yet to come (RFC 9110); a change of the protocol is one, though nobody asked for it."""


class Malformed(Exception):
    """What came is not HTTP, or has no end."""

    def __init__(self) -> None:
        super().__init__("the answer is not valid HTTP")


class Cut(Exception):
    """The connection ended before the answer did."""

    def __init__(self) -> None:
        super().__init__("the connection was closed before a whole answer")


@dataclass(frozen=True, slots=True)
class Response:
    """`body` is cut off at `BODY_BYTES_MAX`."""

    status: int
    body: bytes
    retry_after: str | None


def request(host: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """Raises `ValueError` where something would not stay within its line."""
    lines = [f"POST {path} HTTP/1.1", f"host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    head = "\r\n".join([*lines, f"content-length: {len(body)}", "", ""])
    if head.count("\r") != len(lines) + 2 or head.count("\n") != len(lines) + 2:
        raise ValueError("a header with a line break")
    return head.encode("ascii") + body


class Connection(asyncio.Protocol):
    """Carries one request at a time. Once closed or spoilt it is not `usable` again."""

    def __init__(self) -> None:
        self.usable = True
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[Response] | None = None
        self._expect_answer()

    async def post(self, sent: bytes, deadline: float) -> Response:
        """Raises `Malformed`, `Cut` or, at `deadline`, `TimeoutError`. Cancelled, it closes the connection."""
        assert self._transport is not None
        self._expect_answer()
        loop = asyncio.get_running_loop()
        self._answered = loop.create_future()
        timer = loop.call_at(deadline, self._fail, TimeoutError())  # a fifth of `asyncio.timeout`
        whole = False
        try:
            self._transport.write(sent)
            response = await self._answered
            whole = True
            return response
        finally:
            timer.cancel()
            self._answered = None
            if not whole:
                self.close()

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def _expect_answer(self) -> None:
        self._parser = HttpResponseParser(self)
        self._received, self._body = 0, bytearray()
        self._expect_head()

    def _expect_head(self) -> None:
        self._status = 0
        self._retry_after: str | None = None
        self._delimited = False

    # --- What the transport tells ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none of that class

    def data_received(self, data: bytes) -> None:
        if self._answered is None or self._answered.done():
            self.close()  # nobody asked
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._end(usable=False)
        except HttpParserError:
            self._fail(Malformed())
        if self._received > BODY_BYTES_MAX + HEAD_BYTES_MAX:
            self._fail(Malformed())

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        if self._status and not self._delimited and exc is None:
            self._end(usable=False)  # the end of the connection is the end of the answer
        else:
            self._fail(Cut())

    # --- What the parser tells ---

    def on_message_begin(self) -> None:
        if self._answered is None or self._answered.done():
            self.close()  # more than one answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"retry-after":
            self._retry_after = value.decode("latin-1")
        self._delimited |= name in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) >= BODY_BYTES_MAX:
            self._end(usable=False)

    def on_message_complete(self) -> None:
        if self._status in INFORMATIONAL:
            self._expect_head()
        else:
            self._end(usable=self._parser.should_keep_alive())

    def _end(self, *, usable: bool) -> None:
        if self._answered is not None and not self._answered.done():
            body = bytes(self._body[:BODY_BYTES_MAX])
            self._answered.set_result(Response(self._status, body, self._retry_after))
        if not usable:
            self.close()

    def _fail(self, error: Exception) -> None:
        self.close()
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)


class Idle:
    """Connections that wait for their next request, by where they lead; the one used last goes first."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, list[Connection]] = defaultdict(list)
        self._count = 0
        self._sweeping: asyncio.TimerHandle | None = None

    def take(self, origin: str) -> Connection | None:
        waiting = self._waiting.get(origin)
        limit = asyncio.get_running_loop().time() - KEEPALIVE_SECONDS
        while waiting:
            connection = waiting.pop()
            self._count -= 1
            if connection.usable and connection.idle_since > limit:
                return connection
            connection.close()
        return None

    def keep(self, origin: str, connection: Connection) -> None:
        if not connection.usable:
            return
        if self._count >= IDLE_MAX:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._waiting[origin].append(connection)
        self._count += 1
        if self._sweeping is None:
            self._sweeping = loop.call_later(KEEPALIVE_SECONDS, self._sweep)

    def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        for waiting in self._waiting.values():
            for connection in waiting:
                connection.close()
        self._waiting.clear()
        self._count = 0

    def _sweep(self) -> None:
        """Close those that `take` would not give any more."""
        loop = asyncio.get_running_loop()
        limit = loop.time() - KEEPALIVE_SECONDS
        for origin, waiting in list(self._waiting.items()):
            fresh = [one for one in waiting if one.usable and one.idle_since > limit]
            for connection in waiting:
                if connection not in fresh:
                    connection.close()
            if fresh:
                self._waiting[origin] = fresh
            else:
                del self._waiting[origin]
        self._count = sum(map(len, self._waiting.values()))
        self._sweeping = loop.call_later(KEEPALIVE_SECONDS, self._sweep) if self._waiting else None
