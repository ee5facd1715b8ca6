"""Workers are killed while they deliver; afterwards every event arrived, in its order, under one id with one body."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeAlias
from uuid import UUID

import asyncpg

from db import deliveries, embedded, endpoints, ids, outbox, schema
from db.database import Database, Role
from db.records import PublishedEvent, Scope
from db.vault import Vault
from gateway import config
from tests.acceptance.processes import Town
from tests.deliveries.receiver import Arrival, Receiver
from tests.house import Json, serve, utc_now
from tests.soak.stage import Kept
from webhooks import signing

WORKERS = 2
ENDPOINTS = 6
"""Each gets every event; the last one is not always well."""
PUBLISHERS = 4
EVENTS_PER_TRANSACTION = 5
KILL_SECONDS_MAX = 1.5
SETTLE_SECONDS = 180.0
STEP_SECONDS = 0.5

Owner: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Delivered:
    """What the database says of one delivery in the end."""

    event_id: str
    endpoint: int
    transaction_id: UUID
    sequence: int
    state: str
    attempts: int


@dataclass(slots=True)
class Stage:
    scope: Scope
    app: Database
    owner: Owner
    workers: list[Kept]
    receiver: Receiver
    endpoints: list[UUID] = field(default_factory=list)
    published: dict[str, bytes] = field(default_factory=dict)
    """The SHA-256 of the body by id, of every event whose transaction was committed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    kills: int
    seed: int
    pause_seconds: float = 0.1
    """Between two events of a publisher: about as many as workers deliver that die all the time."""

    async def run(self, folder: Path, *, progress: Progress = lambda _line: None) -> Json:
        """The report; its `violations` are all that was found wrong. Logs stay in the folder."""
        began = time.monotonic()
        async with _opened(folder, self.seed) as stage:
            under_way = await self._strike(stage, progress)
            progress("faults off")
            stage.receiver.well = True
            await _settle(stage)
            delivered = await _delivered(stage)
            exits = [exit_ for worker in stage.workers for exit_ in worker.exits]
        pairs = list(in_order(delivered))
        violations = [
            *missing(stage.published, stage.receiver, delivered),
            *disorder(pairs, stage.receiver.arrivals),
            *(f"{exit_.name}: ended with {exit_.status} by itself" for exit_ in exits if exit_.asked is None),
        ]
        return {
            "seed": self.seed,
            "seconds": round(time.monotonic() - began),
            "kills": self.kills,
            "killed_with_deliveries_under_way": under_way,
            "events": len(stage.published),
            "endpoints": ENDPOINTS,
            "deliveries": len(delivered),
            "duplicates": sum(len(arrivals) - 1 for arrivals in stage.receiver.arrivals.values()),
            "answered": {str(status): count for status, count in sorted(stage.receiver.answered.items())},
            "order": {"pairs": len(pairs), "released_after_two_tries": len(_pairs(delivered)) - len(pairs)},
            "violations": violations,
        }

    async def _strike(self, stage: Stage, progress: Progress) -> int:
        """Kill −9 at random moments under load; how often something was under way."""
        chance, under_way = Random(self.seed), 0
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as load:
            for _ in range(PUBLISHERS):
                load.create_task(_publish(stage, self.pause_seconds, stop))
            for number in range(self.kills):
                worker = stage.workers[number % WORKERS]
                await worker.at_work()
                await asyncio.sleep(chance.uniform(0, KILL_SECONDS_MAX))
                under_way += await _leased(stage) > 0
                await worker.kill()
                if number % 10 == 0:
                    progress(f"{number} kills, {len(stage.published)} events")
            stop.set()
        return under_way


# ── The load ────────────────────────────────────────────────────────────────────────────────────────────────────


async def _publish(stage: Stage, pause_seconds: float, stop: asyncio.Event) -> None:
    while not stop.is_set():
        transaction_id = await _transaction(stage)
        for sequence in range(1, EVENTS_PER_TRANSACTION + 1):
            event = _event(stage.scope, transaction_id, sequence)
            async with stage.app.as_partner(stage.scope.partner_id) as connection:
                await outbox.publish(connection, event)
            stage.published[ids.encode("evt", event.id)] = hashlib.sha256(event.body.encode()).digest()
            await asyncio.sleep(pause_seconds)


async def _transaction(stage: Stage) -> UUID:
    """A row to hang events on; what a transaction is made of is not this campaign's subject."""
    transaction_id = ids.new()
    async with stage.owner.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(
            "INSERT INTO transactions (partner_id, id, livemode, version, published, status, amount, currency,"
            " capture, payment_method, created_at, updated_at)"
            " SELECT $1, $2, false, 1, 1, 'pending', 1, 'USD', 'automatic', code, now(), now()"
            " FROM payment_methods LIMIT 1",
            stage.scope.partner_id,
            transaction_id,
        )
    return transaction_id


def _event(scope: Scope, transaction_id: UUID, sequence: int) -> PublishedEvent:
    event_id, at = ids.new(), utc_now()
    told = {"id": ids.encode("evt", event_id), "sequence": sequence, "data": {"id": ids.encode("txn", transaction_id)}}
    return PublishedEvent(
        partner_id=scope.partner_id,
        id=event_id,
        livemode=scope.livemode,
        type="transaction.completed",
        transaction_id=transaction_id,
        sequence=sequence,
        body=json.dumps(told),
        created_at=at,
    )


# ── The end ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def _settle(stage: Stage) -> None:
    """Workers stop in order, so that whatever is leased is leased to the dead: their leases run out, retries fall due.

    Then those that took their places deliver all that is left. Raises `TimeoutError`.
    """
    await asyncio.gather(*(worker.stop() for worker in stage.workers))
    await stage.owner.execute("UPDATE webhook_deliveries SET lease_until = NULL WHERE state = 'pending'")
    async with asyncio.timeout(SETTLE_SECONDS):
        while await stage.owner.fetchval("SELECT count(*) FROM webhook_deliveries WHERE state = 'pending'"):
            await stage.owner.execute(
                "UPDATE webhook_deliveries SET next_attempt_at = now()"
                " WHERE state = 'pending' AND next_attempt_at > now() AND lease_until IS NULL"
            )
            await asyncio.sleep(STEP_SECONDS)


async def _leased(stage: Stage) -> int:
    found: int = await stage.owner.fetchval(
        "SELECT count(*) FROM webhook_deliveries WHERE state = 'pending' AND lease_until > now()"
    )
    return found


async def _delivered(stage: Stage) -> list[Delivered]:
    rows = await stage.owner.fetch(
        "SELECT event_id, endpoint_id, transaction_id, sequence, state::text, attempts FROM webhook_deliveries"
        " ORDER BY endpoint_id, transaction_id, sequence"
    )
    number = {endpoint_id: at for at, endpoint_id in enumerate(stage.endpoints)}
    return [
        Delivered(ids.encode("evt", row["event_id"]), number[row["endpoint_id"]], *list(row.values())[2:])
        for row in rows
    ]


# ── The verdict ─────────────────────────────────────────────────────────────────────────────────────────────────

Arrivals = Mapping[tuple[int, str], list[Arrival]]


def missing(published: Mapping[str, bytes], receiver: Receiver, delivered: list[Delivered]) -> Iterator[str]:
    wanted = set(itertools.product(range(ENDPOINTS), published))
    for endpoint, event_id in sorted(wanted):
        came = receiver.arrivals.get((endpoint, event_id), [])
        if not any(arrival.taken for arrival in came):
            yield f"{event_id}: never arrived at endpoint {endpoint}"
        if any(arrival.digest != published[event_id] for arrival in came):
            yield f"{event_id}: came to endpoint {endpoint} with another body than the stored one"
    for endpoint, event_id in {*receiver.arrivals} - wanted:
        yield f"{event_id}: came to endpoint {endpoint}, but was not published"
    for one in delivered:
        if one.state != "delivered":
            yield f"{one.event_id}: {one.state} at endpoint {one.endpoint}"
    if receiver.forged:
        yield f"{receiver.forged} requests could not be verified"


def _pairs(delivered: list[Delivered]) -> list[tuple[Delivered, Delivered]]:
    """Neighbours: an event and the next one of the same transaction, to the same endpoint."""
    return [
        (earlier, later)
        for earlier, later in itertools.pairwise(delivered)
        if (earlier.endpoint, earlier.transaction_id) == (later.endpoint, later.transaction_id)
    ]


def in_order(delivered: list[Delivered]) -> Iterator[tuple[Delivered, Delivered]]:
    """Those that must come in order: the earlier one needed no more tries than the later one waits for."""
    return (pair for pair in _pairs(delivered) if pair[0].attempts <= deliveries.ORDER_TRIES)


def disorder(pairs: list[tuple[Delivered, Delivered]], arrivals: Arrivals) -> Iterator[str]:
    for earlier, later in pairs:
        first = [
            min((arrival.number for arrival in arrivals.get((one.endpoint, one.event_id), [])), default=0)
            for one in (earlier, later)
        ]
        if first != sorted(first):
            yield f"{later.event_id}: came to endpoint {later.endpoint} before {earlier.event_id}"


# ── Setting up ──────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def _opened(folder: Path, seed: int) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        server = await asyncio.to_thread(embedded.start, folder / "postgresql")
        stack.callback(server.stop)
        await schema.migrate(server.url())
        town = Town(server.url(), folder)
        stack.callback(town.end)
        receiver = Receiver(seed, unwell={ENDPOINTS - 1})
        url = await serve(stack, receiver.app)
        app = await Database.open(server.url(), Role.APP)
        stack.push_async_callback(app.close)
        owner = await stack.enter_async_context(asyncpg.create_pool(server.url(), min_size=1))
        workers = [Kept(f"worker-{number}", town) for number in range(1, WORKERS + 1)]
        stage = Stage(Scope(ids.new(), livemode=False), app, owner, workers, receiver)
        await _subscribe(stage, url, Vault(config.parse_secret_keys(town.variables["PAYGATE_SECRET_KEYS"])))
        keeping = [asyncio.create_task(worker.keep()) for worker in workers]
        stack.push_async_callback(_cancelled, keeping)
        yield stage


async def _subscribe(stage: Stage, url: str, vault: Vault) -> None:
    partner_id = stage.scope.partner_id
    await stage.owner.execute(
        "INSERT INTO partners (id, name, email) VALUES ($1, 'Shop', 'shop@deliveries.example')", partner_id
    )
    async with stage.app.as_partner(partner_id) as connection:
        for number in range(ENDPOINTS):
            stage.endpoints.append(ids.new())
            stage.receiver.secrets.append(signing.new_secret())
            await endpoints.create(
                connection,
                stage.scope,
                stage.endpoints[-1],
                url=f"{url}/hooks/{number}",
                event_types=["*"],
                description=None,
                secret=stage.receiver.secrets[-1],
                vault=vault,
            )


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
