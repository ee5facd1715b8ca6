"""HTTP servers of this process: uvicorn with bounds on what a client may send before a request exists."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import uvicorn
import uvloop
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 10.0
"""From the connection, or from the first byte of a later request, to the end of its header."""
HEADER_BYTES_MAX = 32_768
KEEPALIVE_SECONDS = 65
"""Longer than the usual 60 s of a load balancer, so that it is never we who close a connection it is about to use."""
BACKLOG = 2048
NEW_OBJECTS_MAX = 10_000
"""Before the collector looks for garbage among them. What is under way at once has thousands, and hardly a cycle."""

T = TypeVar("T")


class Protocol(HttpToolsProtocol):
    """The HTTP parser, cutting off who dawdles over a header or never ends it: the parser itself waits for ever."""

    _deadline: asyncio.TimerHandle | None = None
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn names its transports' base
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_bytes = 0
        self._arm()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        self._disarm()
        super().on_headers_complete()

    def _count(self, length: int) -> None:
        self._header_bytes += length
        if self._header_bytes > HEADER_BYTES_MAX:
            self._cut()

    def _arm(self) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(HEADER_SECONDS, self._cut)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _cut(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class Server(uvicorn.Server):
    """Leaves signals to `run`, which several servers share."""

    listening: socket.socket

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    @property
    def port(self) -> int:
        return int(self.listening.getsockname()[1])


def bind(host: str, port: int) -> socket.socket:
    """Port 0: any free one. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    # Connections inherit it. asyncio sets it only where a socket names its protocol, which this one does not: without
    # it the second packet of an answer waits 40 ms for the client's acknowledgement of the first.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def server(app: ASGIApp, listening: socket.socket, *, shutdown_seconds: int = 5) -> Server:
    """To be given to `run`. Connections wait from `bind` on, none is refused."""
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEPALIVE_SECONDS,
        timeout_graceful_shutdown=shutdown_seconds,
    )
    made = Server(config)
    made.listening = listening
    return made


async def run(servers: Sequence[Server], *, stop_on: Sequence[signal.Signals] = ()) -> None:
    """Serve until one of the signals, or until one server ends; then let all finish what they have begun."""
    loop = asyncio.get_running_loop()
    for number in stop_on:
        loop.add_signal_handler(number, _stop, servers)
    try:
        async with asyncio.TaskGroup() as group:
            for one in servers:
                group.create_task(_serve(one, servers))
    finally:
        for number in stop_on:
            loop.remove_signal_handler(number)


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on uvloop. What is loaded by now stays as long as the process: the collector passes it by."""
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS_MAX)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def _serve(one: Server, servers: Sequence[Server]) -> None:
    try:
        await one.serve(sockets=[one.listening])
    finally:
        _stop(servers)


def _stop(servers: Sequence[Server]) -> None:
    for one in servers:
        one.force_exit = one.force_exit or False
        one.should_exit = True
