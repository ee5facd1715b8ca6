"""What a webhook delivery costs, client by client, and what the whole deliverer carries. Prints figures.

    python -m tests.benchmarks.delivery_client [deliveries]

A stub in another process answers every POST with 200 over loopback; 64 deliveries are under way at a time, on uvloop
as in production. The deliverer is measured where PAYGATE_TEST_DATABASE_URL names a scratch database.
Only this process's CPU counts. Read the ratios.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import cast

import aiohttp
import asyncpg
import httpcore
import httpx
import uvloop

from db import endpoints, ids, outbox, schema
from db.database import Database, Role
from db.deliveries import ClaimedDelivery, Result
from db.records import Endpoint, PublishedEvent, Scope
from db.vault import Vault
from webhooks import signing
from webhooks.addresses import AddressPolicy
from webhooks.outbound import Deliverer, Limits
from webhooks.posting import Poster

IN_FLIGHT = 64
DELIVERIES = 6_400
ENDPOINTS = 16
BODY = json.dumps({"id": "evt_1", "type": "transaction.completed", "data": {"filling": "x" * 900}}).encode()
HEADERS = {"content-type": "application/json", "accept-encoding": "identity", "user-agent": "benchmark"}
VAULT = Vault({1: bytes(32)})

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


class _Stub(asyncio.Protocol):
    """Answers each complete request on a kept-alive connection; as little HTTP as a client needs."""

    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._received = cast(asyncio.Transport, transport), b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            found = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
            length = int(found or 0)
            if len(rest) < length:
                return
            self._received = rest[length:]
            self._transport.write(self.answer)


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


async def _deliver(url: str, database_url: str, deliveries: int) -> None:
    await schema.migrate(database_url)
    await _publish(url, database_url, deliveries)
    worker = await Database.open(database_url, Role.WORKER)
    stop, ended = asyncio.Event(), 0

    def count(_delivery: ClaimedDelivery, result: Result) -> None:
        nonlocal ended
        assert result.error is None
        ended += 1
        if ended == deliveries:
            stop.set()

    def announce(endpoint: Endpoint) -> PublishedEvent:
        raise AssertionError(endpoint)

    async with Poster(AddressPolicy(allow_loopback_http=True)) as poster:
        deliverer = Deliverer(worker, VAULT, poster, announce=announce, observe=count, limits=Limits())
        cpu, wall = time.process_time(), time.perf_counter()
        await deliverer.run(stop)
    _print(
        f"Deliverer, {ENDPOINTS} endpoints, PostgreSQL",
        deliveries,
        cpu=time.process_time() - cpu,
        wall=time.perf_counter() - wall,
    )
    await worker.close()


async def _publish(url: str, database_url: str, deliveries: int) -> None:
    """`deliveries` events of one new partner, spread over its endpoints."""
    scope = Scope(ids.new(), livemode=False)
    owner = await asyncpg.connect(database_url)
    await owner.execute(
        "INSERT INTO partners (id, name, email) VALUES ($1, 'Benchmark', $2)", scope.partner_id, str(scope.partner_id)
    )
    # What an earlier run left points to a stub that is gone.
    await owner.execute(
        "UPDATE webhook_deliveries SET state = 'cancelled', next_attempt_at = NULL WHERE state IN ('pending', 'held')"
    )
    await owner.close()
    app = await Database.open(database_url, Role.APP)
    async with app.as_partner(scope.partner_id) as connection:
        for number in range(ENDPOINTS):
            await endpoints.create(
                connection,
                scope,
                ids.new(),
                url=f"{url}{number}",
                event_types=[f"benchmark.{number}"],
                description=None,
                secret=signing.new_secret(),
                vault=VAULT,
            )
        for number in range(deliveries):
            await outbox.publish(connection, _event(scope, f"benchmark.{number % ENDPOINTS}"))
    await app.close()


def _event(scope: Scope, kind: str) -> PublishedEvent:
    return PublishedEvent(
        partner_id=scope.partner_id,
        id=ids.new(),
        livemode=scope.livemode,
        type=kind,
        transaction_id=None,
        sequence=None,
        body=BODY.decode(),
        created_at=datetime.now(UTC),
    )


def main() -> None:
    deliveries = int(sys.argv[1]) if len(sys.argv) > 1 else DELIVERIES
    listen, tell = multiprocessing.Pipe(duplex=False)
    stub = multiprocessing.get_context("spawn").Process(target=_serve, args=(tell,), daemon=True)
    stub.start()
    url = f"http://127.0.0.1:{listen.recv()}/"
    uvloop.run(_compare(url, deliveries))
    if database_url := os.environ.get("PAYGATE_TEST_DATABASE_URL"):
        uvloop.run(_deliver(url, database_url, deliveries))
    stub.terminate()


if __name__ == "__main__":
    main()
