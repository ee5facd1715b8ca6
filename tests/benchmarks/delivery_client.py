"""What a POST costs, client by client. Prints figures; what the whole deliverer carries: `deliveries`.

    python -m tests.benchmarks.delivery_client [deliveries]

A stub in another process answers every POST with 200 over loopback; 64 deliveries are under way at a time, on uvloop
as in production. Only this process's CPU counts. Read the ratios.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from typing import cast

import aiohttp
import httpcore
import httpx
import uvloop

from tests.benchmarks.far_end import FarEnd
from webhooks.addresses import AddressPolicy
from webhooks.posting import Poster

IN_FLIGHT = 64
DELIVERIES = 6_400
BODY = json.dumps({"id": "evt_1", "type": "transaction.completed", "data": {"filling": "x" * 900}}).encode()
HEADERS = {"content-type": "application/json", "accept-encoding": "identity", "user-agent": "benchmark"}

Call = Callable[[], Awaitable[object]]


class _Wire(asyncio.Protocol):
    """The least that a client could be: one connection, one request at a time, the status and the end of an answer."""

    def __init__(self) -> None:
        self._received, self._answered = b"", asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    async def post(self, request: bytes) -> int:
        self._received, self._answered = b"", asyncio.get_running_loop().create_future()
        self._transport.write(request)
        status: int = await self._answered
        return status

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, ended, body = self._received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
        if ended and len(body) >= length:
            self._answered.set_result(int(head[9:12]))


class _Stub(FarEnd):
    def arrived(self, _head: bytes, _body: bytes) -> None:
        self.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def _serve(tell: Connection) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(_Stub, "127.0.0.1", 0)
        tell.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


async def _measure(name: str, call: Call, deliveries: int) -> None:
    async def one_after_another() -> None:
        for _ in range(deliveries // IN_FLIGHT):
            await call()

    await asyncio.gather(*(call() for _ in range(IN_FLIGHT)))
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(IN_FLIGHT)))
    _print(name, deliveries, cpu=time.process_time() - cpu, wall=time.perf_counter() - wall)


def _print(name: str, deliveries: int, *, cpu: float, wall: float) -> None:
    print(f"{name:<48} {deliveries / wall:8,.0f} /s  {cpu / deliveries * 1e6:6.0f} µs CPU each")


async def _compare(url: str, deliveries: int) -> None:
    async def through_aiohttp() -> None:
        async with session.post(url, headers=HEADERS, data=BODY) as answer:
            await answer.read()

    async def through_pools() -> None:
        """As if each delivery under way had a host of its own: no pool to search, and a connection that is there."""
        own = pools.pop()
        await own.request("POST", url, headers=[*HEADERS.items()], content=BODY)
        pools.append(own)

    async def through_a_wire() -> None:
        wire = wires.pop()
        await wire.post(request)
        wires.append(wire)

    pools = [httpcore.AsyncConnectionPool(max_connections=1) for _ in range(IN_FLIGHT)]
    loop, place = asyncio.get_running_loop(), httpx.URL(url)
    wires = [(await loop.create_connection(_Wire, place.host, place.port or 80))[1] for _ in range(IN_FLIGHT)]
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    request = f"POST / HTTP/1.1\r\nhost: {place.netloc.decode()}\r\n{head}content-length: {len(BODY)}\r\n\r\n".encode()
    request += BODY
    async with (
        httpcore.AsyncConnectionPool(max_connections=IN_FLIGHT) as pool,
        httpx.AsyncClient(limits=httpx.Limits(max_connections=IN_FLIGHT)) as shared,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        Poster(AddressPolicy(allow_loopback_http=True)) as poster,
    ):
        # httpx slows down with the number of connections: a sixteenth of the work is enough to see it.
        few = deliveries // 16 // IN_FLIGHT * IN_FLIGHT
        await _measure("one shared httpx.AsyncClient", lambda: shared.post(url, headers=HEADERS, content=BODY), few)
        await _measure(
            "httpcore, one pool", lambda: pool.request("POST", url, headers=[*HEADERS.items()], content=BODY), few
        )
        await _measure("httpcore, a pool for each host", through_pools, deliveries // 4)
        await _measure("a protocol of our own, nothing checked", through_a_wire, deliveries)
        await _measure("aiohttp alone", through_aiohttp, deliveries)
        await _measure(
            "Poster (checked, one deadline, bounded answer)", lambda: poster.post(url, HEADERS, BODY), deliveries
        )


def main() -> None:
    deliveries = int(sys.argv[1]) if len(sys.argv) > 1 else DELIVERIES
    listen, tell = multiprocessing.Pipe(duplex=False)
    stub = multiprocessing.get_context("spawn").Process(target=_serve, args=(tell,), daemon=True)
    stub.start()
    url = f"http://127.0.0.1:{listen.recv()}/"
    uvloop.run(_compare(url, deliveries))
    stub.terminate()


if __name__ == "__main__":
    main()
