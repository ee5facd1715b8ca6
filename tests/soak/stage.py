"""Everything that takes part in a soak: real processes, their wires, and a supervisor that starts again what dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import httpx

from db import embedded, ids, schema
from db.database import Database, Role
from db.vault import Vault
from gateway import config, partners
from providers.simulator import CREDENTIALS
from tests import redis_server
from tests.acceptance.processes import START_SECONDS, Process, Town, answering, free_port
from tests.house import TLS, serve
from tests.proxy import Proxy, proxied, proxied_url
from tests.redis_server import RedisServer
from tests.soak.receiver import Receiver

PARTNERS = 4
SERVERS, WORKERS = 2, 2
RATE_LIMIT_PER_MINUTE = 1_000_000
LEASE_SECONDS = 30
"""The shortest that the settings allow: a PSP's 25 s must fit into it."""
SHUTDOWN_SECONDS = 8
STOP_SECONDS = 40.0
"""What a process told to stop may take in all: requests under way, deliveries, its database connections."""
AT_WORK_SECONDS = 900.0
"""Bound on a process being at work: several starts, for other faults may cut one short, each on a busy machine."""
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Exit:
    """How one process ended. `asked`: by which signal of ours; None: by itself."""

    name: str
    asked: signal.Signals | None
    status: int
    had_begun: bool
    log: str


@dataclass(slots=True)
class Kept:
    """One place of the installation, such as the second worker: its process is started again whenever it ends."""

    name: str
    town: Town
    port: int = 0
    exits: list[Exit] = field(default_factory=list)
    _process: Process | None = None
    _asked: signal.Signals | None = None
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Who is paused cannot stop in time. A kill waits for other kills alone: each is to hit a process at work."""
    _one_kill_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def keep(self) -> None:
        """Until cancelled."""
        while True:
            self._asked = None
            self._process = self.town.start(self.name.partition("-")[0], port=self.port)
            while (status := self._process.popen.poll()) is None:  # noqa: ASYNC110 - another process
                await asyncio.sleep(POLL_SECONDS)
            log = self._process.errors
            self.exits.append(Exit(self.name, self._asked, status, self._has_begun(), log.name))
            await asyncio.sleep(POLL_SECONDS)

    async def at_work(self) -> Process:
        """Its process, once it has begun to work. Raises `TimeoutError`."""
        async with asyncio.timeout(AT_WORK_SECONDS):
            while not (self._process and self._process.popen.poll() is None and self._has_begun()):  # noqa: ASYNC110 - another process
                await asyncio.sleep(POLL_SECONDS)
        return self._process

    async def kill(self) -> None:
        async with self._one_kill_at_a_time:
            process = await self.at_work()
            self._signal(process, signal.SIGKILL)
            while process.popen.poll() is None:  # noqa: ASYNC110 - another process
                await asyncio.sleep(POLL_SECONDS)

    async def stop(self) -> None:
        """As a service manager does: asks, and after a while kills."""
        async with self._one_at_a_time:
            process = await self.at_work()
            self._signal(process, signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            while process.popen.poll() is None:
                if time.monotonic() > deadline:
                    process.popen.kill()
                await asyncio.sleep(POLL_SECONDS)

    async def pause(self, seconds: float) -> None:
        async with self._one_at_a_time:
            process = await self.at_work()
            process.popen.send_signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                process.popen.send_signal(signal.SIGCONT)

    def _signal(self, process: Process, number: signal.Signals) -> None:
        self._asked = number if number is signal.SIGKILL else self._asked or number
        process.popen.send_signal(number)

    def _has_begun(self) -> bool:
        """It says so in its log once it serves or works, a few lines after its start."""
        assert self._process is not None
        with self._process.errors.open("rb") as log:
            head = log.read(65_536)
        return b'"event": "serving"' in head or b'"event": "working"' in head


@dataclass(slots=True)
class Postgres:
    """The database server of the soak, durable, able to be killed; `proxy` leads to it wherever it comes back."""

    folder: Path
    server: embedded.Server
    proxy: Proxy
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def kill(self) -> None:
        """Every process of it at once, as when its machine dies; then it is started again and recovers."""
        async with self._one_at_a_time:
            for pid in (self.server.pid, *await self._processes("true")):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await self._start_again()

    async def kill_backend(self) -> None:
        """One connection's: the server then throws out all others and recovers."""
        async with self._one_at_a_time:
            for pid in await self._processes("backend_type = 'client backend' AND pid <> pg_backend_pid() LIMIT 1"):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        self.server.stop()

    async def restart(self) -> None:
        """In order: open connections are closed, a checkpoint is written."""
        async with self._one_at_a_time:
            await self._start_again()

    @asynccontextmanager
    async def owner(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """Waits for a server that is recovering. Raises `TimeoutError`."""
        connection: asyncpg.Connection[asyncpg.Record] | None = None
        async with asyncio.timeout(START_SECONDS):
            while connection is None:
                with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    connection = await asyncpg.connect(self.server.url())
                await asyncio.sleep(POLL_SECONDS)
        try:
            yield connection
        finally:
            await connection.close()

    async def _processes(self, condition: str) -> list[int]:
        async with self.owner() as owner:
            return [row["pid"] for row in await owner.fetch(f"SELECT pid FROM pg_stat_activity WHERE {condition}")]

    async def _start_again(self) -> None:
        await asyncio.to_thread(self.server.stop)
        self.server = await asyncio.to_thread(embedded.start, self.folder)
        self.proxy.upstream = (str(self.server.sockets), self.server.port)


class Redis:
    """Rate limits are counted in it; it may go and come back empty at any time."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._one_at_a_time = asyncio.Lock()
        self.server: RedisServer = stack.enter_context(redis_server.run())

    async def kill(self, seconds: float) -> None:
        async with self._one_at_a_time:
            self.server.kill()
            await asyncio.sleep(seconds)
            self.server = self._stack.enter_context(redis_server.run(self.server.port))

    async def pause(self, seconds: float) -> None:
        async with self._one_at_a_time:
            self.server.pause()
            await asyncio.sleep(seconds)
            self.server.resume()

    async def flush(self) -> None:
        async with self._one_at_a_time:
            reader, writer = await asyncio.open_connection(self.server.host, self.server.port)
            writer.write(b"FLUSHALL\r\n")
            await reader.readline()
            writer.close()


@dataclass(slots=True, kw_only=True)
class Stage:
    town: Town
    postgres: Postgres
    redis: Redis
    kept: Mapping[str, Kept]
    servers: Sequence[str]
    api_keys: Sequence[str]
    partner_ids: Sequence[UUID]
    simulators: dict[str, str]
    accounts: dict[str, str]
    wires: Mapping[str, Proxy]
    """By where they lead: postgres, stripe, paypal, adyen, receiver."""
    receiver: Receiver
    http: httpx.AsyncClient
    """Without a key."""

    @property
    def exits(self) -> list[Exit]:
        return [exit_ for kept in self.kept.values() for exit_ in kept.exits]

    async def balance(self, turn: int) -> None:
        """What a load balancer does: the PSPs' notifications now go to this server."""
        for provider, url in self.simulators.items():
            address = f"{self.servers[turn % len(self.servers)]}/webhooks/{provider}/{self.accounts[provider]}"
            answer = await self.http.post(f"{url}/_simulator/webhooks", json={"url": address})
            answer.raise_for_status()

    async def faults_off(self) -> None:
        """Every wire is whole, every simulator honest, every process at work."""
        for proxy in self.wires.values():
            proxy.clear()
        for url in self.simulators.values():
            (await self.http.delete(f"{url}/_simulator/faults")).raise_for_status()
        for kept in self.kept.values():
            process = await kept.at_work()
            process.popen.send_signal(signal.SIGCONT)
            if kept.port:
                await answering(process, "/readyz")

    async def oracle(self) -> dict[str, object]:
        """The simulators' books."""
        return {name: (await self.http.get(f"{url}/_simulator/ledger")).json() for name, url in self.simulators.items()}

    async def resend_refused(self) -> None:
        """The PSPs send again what nobody took: the simulators give up after seconds, real ones after days."""
        for url in self.simulators.values():
            answer = await self.http.post(f"{url}/_simulator/webhooks/resend", params={"only": "refused"})
            answer.raise_for_status()


@asynccontextmanager
async def opened(folder: Path, seed: int) -> AsyncIterator[Stage]:
    """Set up, serving and at work. Everything that was started ends with it."""
    async with AsyncExitStack() as stack:
        server = await asyncio.to_thread(embedded.start, folder / "postgresql")
        await schema.migrate(server.url())
        to_postgres, database_url = await stack.enter_async_context(proxied_url(server.url(), seed=seed))
        postgres = Postgres(folder / "postgresql", server, to_postgres)
        stack.callback(postgres.stop)
        redis = Redis(stack)
        town = stack.enter_context(_town(database_url, redis.server.url, folder))
        started = await asyncio.gather(*map(town.simulating, sorted(CREDENTIALS)))
        simulators = {name: process.url for name, process in zip(sorted(CREDENTIALS), started, strict=True)}
        wires = {"postgres": to_postgres}
        for number, (name, url) in enumerate(simulators.items(), 1):
            wires[name] = await stack.enter_async_context(proxied("127.0.0.1", _port(url), seed=seed + number))
        receiver = Receiver(seed)
        receiver_url = await serve(stack, receiver.app)
        wires["receiver"] = await stack.enter_async_context(proxied("127.0.0.1", _port(receiver_url), seed=seed))
        kept = {
            name: Kept(name, town, free_port() if name.startswith("serve") else 0)
            for name in (*_numbered("serve", SERVERS), *_numbered("worker", WORKERS))
        }
        made = await _furnished(town, server, {name: wires[name].port for name in simulators})
        stage = Stage(
            town=town,
            postgres=postgres,
            redis=redis,
            kept=kept,
            servers=[f"http://127.0.0.1:{one.port}" for one in kept.values() if one.port],
            api_keys=made.api_keys,
            partner_ids=made.partner_ids,
            simulators=simulators,
            accounts=made.accounts,
            wires=wires,
            receiver=receiver,
            http=await stack.enter_async_context(httpx.AsyncClient(timeout=START_SECONDS, verify=TLS)),
        )
        keeping = [asyncio.create_task(one.keep()) for one in kept.values()]
        stack.push_async_callback(_cancelled, keeping)
        await stage.faults_off()
        await stage.balance(0)
        await _subscribe(stage, f"http://127.0.0.1:{wires['receiver'].port}")
        yield stage


@contextmanager
def _town(database_url: str, redis_url: str, folder: Path) -> Iterator[Town]:
    town = Town(database_url, folder)
    town.variables |= {
        "PAYGATE_REDIS_URL": redis_url,
        "PAYGATE_LEASE_SECONDS": str(LEASE_SECONDS),
        "PAYGATE_SHUTDOWN_SECONDS": str(SHUTDOWN_SECONDS),
        "PAYGATE_LOG_LEVEL": "INFO",
    }
    try:
        yield town
    finally:
        town.end()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Furnished:
    partner_ids: list[UUID]
    api_keys: list[str]
    accounts: dict[str, str]


async def _furnished(town: Town, server: embedded.Server, ports: Mapping[str, int]) -> _Furnished:
    """Partners with their keys, and an account at each simulator, as the command line would make them."""
    database = await Database.open(server.url(), Role.OPERATOR)
    try:
        vault = Vault(config.parse_secret_keys(town.variables["PAYGATE_SECRET_KEYS"]))
        desk = partners.Desk(database, vault, "operator:soak")
        made = [
            await desk.create_partner(
                name=f"Shop {number}",
                email=f"shop{number}@soak.example",
                rate_limit_per_minute=RATE_LIMIT_PER_MINUTE,
            )
            for number in range(PARTNERS)
        ]
        keys = [await desk.issue_key(partner.id, livemode=False) for partner in made]
        accounts = {
            name: await desk.add_account(
                provider=name, livemode=False, credentials=CREDENTIALS[name], base_url=f"http://127.0.0.1:{port}"
            )
            for name, port in ports.items()
        }
    finally:
        await database.close()
    return _Furnished(
        partner_ids=[partner.id for partner in made],
        api_keys=[key.text for key in keys],
        accounts={name: ids.encode("pac", account.id) for name, account in accounts.items()},
    )


async def _subscribe(stage: Stage, url: str) -> None:
    """Every partner hears of everything."""
    for number, api_key in enumerate(stage.api_keys):
        headers = {"Authorization": f"Bearer {api_key}", "Idempotency-Key": f"endpoint-{number}"}
        body = {"url": f"{url}/hooks/{number}", "event_types": ["*"]}
        answer = await stage.http.post(f"{stage.servers[0]}/v1/webhook-endpoints", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        stage.receiver.secrets.append(json.loads(answer.text)["secret"])


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _numbered(name: str, count: int) -> list[str]:
    return [f"{name}-{number}" for number in range(1, count + 1)]


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port
