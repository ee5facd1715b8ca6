"""Who takes part in the benchmark, each in a process of its own: our worker, a naive one, and the far end."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any, cast

import asyncpg
import httpx
import standardwebhooks
import uvloop

from db.database import Database, Role
from db.records import Endpoint, PublishedEvent
from gateway import listener
from tests.benchmarks.delivery_rows import VAULT
from tests.benchmarks.far_end import FarEnd
from webhooks.addresses import AddressPolicy
from webhooks.outbound import Deliverer
from webhooks.posting import Poster

IN_FLIGHT = 64
NAIVE_CONNECTIONS = 16
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    pipe: Connection

    def ask(self, question: str) -> Any:
        self.pipe.send(question)
        return self.pipe.recv()


@contextmanager
def started(target: Callable[..., None], *arguments: object) -> Iterator[Process]:
    """`target` with its end of a pipe and the arguments; it says something when it is ready, and dies with us."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    try:
        ours.recv()
        yield Process(cast(int, process.pid), ours)
    finally:
        process.kill()
        process.join()


# ── The far end ─────────────────────────────────────────────────────────────────────────────────────────────────


class _Arrivals:
    def __init__(self) -> None:
        self.count = 0
        self.delays: list[float] = []
        """Seconds from publication to arrival."""


class _Far(FarEnd):
    """Answers each complete request, but those to `/hole`, which it accepts and forgets."""

    arrivals: _Arrivals

    def arrived(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"POST /hole"):
            return
        self.arrivals.count += 1
        if head.startswith(b"POST /timed"):
            self.arrivals.delays.append(time.time() - json.loads(body)["at"])
        self.write(_ANSWER)


def far_end(pipe: Connection) -> None:
    """Tells its port; then `count`, or the `delays` since it was last asked."""
    arrivals = _Far.arrivals = _Arrivals()

    def answer() -> None:
        if pipe.recv() == "count":
            pipe.send(arrivals.count)
        else:
            pipe.send(arrivals.delays)
            arrivals.delays = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(_Far, "127.0.0.1", 0, backlog=1024)
        loop.add_reader(pipe.fileno(), answer)
        pipe.send("ready")
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


# ── Ours ────────────────────────────────────────────────────────────────────────────────────────────────────────


def worker(pipe: Connection, database_url: str) -> None:
    """The deliverer of `paygate worker` with its own limits, alone in its process, until it is killed."""

    def announce(endpoint: Endpoint) -> PublishedEvent:
        raise AssertionError(endpoint)

    async def main() -> None:
        database = await Database.open(database_url, Role.WORKER)
        async with Poster(AddressPolicy(allow_loopback_http=True)) as poster:
            pipe.send("ready")
            await Deliverer(database, VAULT, poster, announce=announce).run(asyncio.Event())

    listener.run_loop(main())


# ── What most Python services do ────────────────────────────────────────────────────────────────────────────────

_CLAIM = """
UPDATE webhook_deliveries d SET attempts = attempts + 1, epoch = epoch + 1,
    next_attempt_at = now() + interval '60 seconds', lease_until = now() + interval '60 seconds'
FROM (SELECT partner_id, id FROM webhook_deliveries
      WHERE state = 'pending' AND next_attempt_at <= now() AND (lease_until IS NULL OR lease_until <= now())
      ORDER BY next_attempt_at LIMIT 1 FOR UPDATE SKIP LOCKED) due, webhook_endpoints w, events e
WHERE d.partner_id = due.partner_id AND d.id = due.id AND w.partner_id = d.partner_id AND w.id = d.endpoint_id
  AND e.partner_id = d.partner_id AND e.id = d.event_id
RETURNING d.partner_id, d.id, d.epoch, d.event_id, w.url, e.body
"""
_DONE = (
    "UPDATE webhook_deliveries SET state = 'delivered', next_attempt_at = NULL, lease_until = NULL,"
    " last_status = $3, delivered_at = now() WHERE partner_id = $1 AND id = $2"
)
_TRIED = (
    "INSERT INTO webhook_attempts (partner_id, delivery_id, number, started_at, duration_ms, status_code)"
    " VALUES ($1, $2, $3, $4, $5, $6)"
)


def naive(pipe: Connection, database_url: str, secret: str) -> None:
    """One shared `httpx.AsyncClient`; tasks that claim, post and record one row each, as the owner, with an index."""

    async def deliver(pool: asyncpg.Pool[asyncpg.Record], client: httpx.AsyncClient) -> bool:
        row = await pool.fetchrow(_CLAIM)
        if row is None:
            return False
        at, began = datetime.now(UTC), time.perf_counter()
        headers = {
            "content-type": "application/json",
            "webhook-id": str(row["event_id"]),
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": standardwebhooks.Webhook(secret).sign(str(row["event_id"]), at, row["body"]),
        }
        answer = await client.post(row["url"], headers=headers, content=row["body"])
        milliseconds = int((time.perf_counter() - began) * 1000)
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(_DONE, row["partner_id"], row["id"], answer.status_code)
            await connection.execute(
                _TRIED, row["partner_id"], row["id"], row["epoch"], at, milliseconds, answer.status_code
            )
        return True

    async def serve(pool: asyncpg.Pool[asyncpg.Record], client: httpx.AsyncClient) -> None:
        while True:
            if not await deliver(pool, client):
                await asyncio.sleep(1)

    async def main() -> None:
        async with (
            asyncpg.create_pool(database_url, min_size=NAIVE_CONNECTIONS, max_size=NAIVE_CONNECTIONS) as pool,
            httpx.AsyncClient(limits=httpx.Limits(max_connections=IN_FLIGHT), timeout=15) as client,
        ):
            await pool.execute("CREATE INDEX due ON webhook_deliveries (next_attempt_at) WHERE state = 'pending'")
            pipe.send("ready")
            await asyncio.gather(*(serve(pool, client) for _ in range(IN_FLIGHT)))

    uvloop.run(main())
