"""Charges through the real server beside the limit (pgbench) and beside what most services are (ORM and httpx).

All take turns in one run, a few seconds each, against one durable PostgreSQL: read the ratios.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import statistics
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import asyncpg

from db import embedded, endpoints, ids, schema
from db.database import Database, Role
from db.records import Scope
from db.vault import Vault
from gateway import partners, runtime
from gateway.config import Settings
from gateway.runtime import Runtime
from gateway.transactions.commands import Caller, Charge, Customer
from tests.benchmarks import load, machine, pgbench, processes
from tests.benchmarks.load import Order, Report
from tests.benchmarks.processes import Process
from webhooks import signing

CLIENTS = 32
WARM_UP_SECONDS = 2.0
ROUNDS = 4
ROUND_SECONDS = 4.0
PSP_SECONDS = 0.05
IN_FLIGHT = 16
LATENCY_ROUNDS = 3
LATENCY_SECONDS = 4.0

STEPS_KEY = "recorded-benchmark-key"
BODY = {
    "amount": "19.99",
    "currency": "USD",
    "payment_method": {"type": "card", "tokens": {"stripe": "pm_card_visa"}},
    "reference": "order-1042",
    "description": "Two tickets, row 7",
    "customer": {"email": "ada@example.com", "name": "Ada"},
    "metadata": {"cart": "c_1042", "campaign": "spring"},
}
FORM = (
    "amount=1999&currency=usd&confirm=true&payment_method=pm_card_visa&capture_method=automatic"
    "&metadata[gateway_reference]=benchmark&expand[0]=latest_charge"
)


@dataclass(slots=True)
class Figures:
    """What the rounds of one system showed."""

    per_second: list[float] = field(default_factory=list)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    """µs per charge, by process."""
    stored: list[float] = field(default_factory=list)
    """Bytes per charge."""

    @property
    def rate(self) -> float:
        return statistics.median(self.per_second)

    def add(self, per_second: float, charges: int, cpu_seconds: Mapping[str, float], stored: int) -> None:
        self.per_second.append(per_second)
        self.stored.append(stored / charges)
        for name, seconds in cpu_seconds.items():
            self.cpu.setdefault(name, []).append(seconds / charges * 1e6)

    def told(self, name: str) -> str:
        parts = ", ".join(f"{process} {statistics.median(values):.0f}" for process, values in self.cpu.items())
        return f"{name:<34}{self.rate:7,.0f} /s   CPU µs each: {parts}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Everything that takes part, running."""

    postgres: embedded.Server
    gateway: Process
    naive: Process
    stub: Process
    slow_stub: Process
    keys: Mapping[str, str]
    """Name of a partner → its API key."""
    steps: pgbench.Steps

    def order(self, partner: str, *, connections: int, seconds: float) -> Order:
        return _order(self.gateway.port, self.keys[partner], connections=connections, seconds=seconds)


def main() -> None:
    with ExitStack() as stack:
        stage = _stage(stack)
        _throughput(stage)
        _latency(stage)


def _throughput(stage: Stage) -> None:
    gateway, subscribed, limit, naive = (Figures() for _ in range(4))
    _warm_up(stage)
    memory = 0.0
    for _ in range(ROUNDS):
        _gateway_round(stage, "plain", gateway)
        _pgbench_round(stage, limit)
        _gateway_round(stage, "subscribed", subscribed)
        _naive_round(stage, naive)
        memory = max(memory, machine.rss_mib(stage.gateway.pid))
    print(f"{CLIENTS} clients, {ROUNDS} rounds of {ROUND_SECONDS:.0f} s each in turn, medians:")
    print(gateway.told("gateway"))
    print(subscribed.told("gateway, one webhook endpoint"))
    print(limit.told("pgbench, the same statements"))
    print(naive.told("naive service (ORM, httpx)"))
    machine.goal("gateway ÷ pgbench", gateway.rate / limit.rate, "≥", 0.30, 1.0)
    machine.goal("gateway ÷ naive service", gateway.rate / naive.rate, "≥", 6, 20)
    machine.goal("gateway CPU per charge, µs", statistics.median(gateway.cpu["server"]), "≤", 600, 200, digits=0)
    machine.goal("memory of the API process, MiB", memory, "≤", 150, 100, digits=0)
    machine.goal("stored per charge, kB", statistics.median(gateway.stored) / 1000, "≤", 8, 5)
    print(f"  with a webhook endpoint {statistics.median(subscribed.stored) / 1000:.2f} kB")


def _latency(stage: Stage) -> None:
    """A PSP that takes 50 ms: what comes on top of it, round by round."""
    added: dict[float, list[float]] = {0.5: [], 0.99: []}
    cpu: list[float] = []
    for _ in range(LATENCY_ROUNDS):
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        direct = load.run(
            Order(
                port=stage.slow_stub.port,
                path="/v1/payment_intents",
                headers=headers,
                body=FORM,
                seconds=LATENCY_SECONDS,
                connections=IN_FLIGHT,
            )
        )
        before = machine.cpu_seconds([stage.gateway.pid])
        through = _checked(load.run(stage.order("slow", connections=IN_FLIGHT, seconds=LATENCY_SECONDS)))
        cpu.append((machine.cpu_seconds([stage.gateway.pid]) - before) / through.sent * 1e6)
        for share, values in added.items():
            values.append((through.percentile(share) - direct.percentile(share)) * 1000)
    print(f"\nover a PSP of {PSP_SECONDS * 1000:.0f} ms, {IN_FLIGHT} in flight, {LATENCY_ROUNDS} rounds, medians:")
    machine.goal("added latency p50, ms", statistics.median(added[0.5]), "≤", 5, 3)
    machine.goal("added latency p99, ms", statistics.median(added[0.99]), "≤", 25, 10)
    print(f"  gateway CPU per charge at this load {statistics.median(cpu):.0f} µs")


def _warm_up(stage: Stage) -> None:
    """Everything once, then what autovacuum does a minute later: plans made for empty tables are no figure."""
    for order in (
        stage.order("plain", connections=CLIENTS, seconds=WARM_UP_SECONDS),
        stage.order("subscribed", connections=CLIENTS, seconds=WARM_UP_SECONDS),
        _order(stage.naive.port, "naive", connections=CLIENTS, seconds=WARM_UP_SECONDS),
    ):
        _checked(load.run(order))
    asyncio.run(pgbench.prepare(stage.postgres.url("pgbench"), stage.steps, key=STEPS_KEY))
    pgbench.run(stage.postgres, database="pgbench", clients=CLIENTS, seconds=WARM_UP_SECONDS)

    async def analyze(database: str) -> None:
        owner = await asyncpg.connect(stage.postgres.url(database))
        await owner.execute("ANALYZE")
        await owner.close()

    for database in ("gateway", "naive", "pgbench"):
        asyncio.run(analyze(database))


# ── Rounds ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _gateway_round(stage: Stage, partner: str, figures: Figures) -> None:
    order = stage.order(partner, connections=CLIENTS, seconds=ROUND_SECONDS)
    _http_round(stage, "gateway", stage.gateway, order, figures)


def _naive_round(stage: Stage, figures: Figures) -> None:
    order = _order(stage.naive.port, "naive", connections=CLIENTS, seconds=ROUND_SECONDS)
    _http_round(stage, "naive", stage.naive, order, figures)


def _http_round(stage: Stage, database: str, server: Process, order: Order, figures: Figures) -> None:
    watched = {"server": [server.pid], "postgres": machine.family(stage.postgres.pid), "stub": [stage.stub.pid]}
    stored = _stored(stage, database)
    before = {name: machine.cpu_seconds(pids) for name, pids in watched.items()}
    report = _checked(load.run(order))
    watched["postgres"] = machine.family(stage.postgres.pid)
    cpu = {name: machine.cpu_seconds(pids) - before[name] for name, pids in watched.items()}
    cpu["load"] = report.cpu_seconds
    figures.add(report.per_second, report.sent, cpu, _stored(stage, database) - stored)


def _pgbench_round(stage: Stage, figures: Figures) -> None:
    asyncio.run(pgbench.prepare(stage.postgres.url("pgbench"), stage.steps, key=STEPS_KEY))
    stored = _stored(stage, "pgbench")
    before = machine.cpu_seconds(machine.family(stage.postgres.pid))
    measured = pgbench.run(stage.postgres, database="pgbench", clients=CLIENTS, seconds=ROUND_SECONDS)
    postgres = machine.cpu_seconds(machine.family(stage.postgres.pid)) - before
    cpu = {"postgres": postgres, "pgbench": measured.cpu_seconds}
    figures.add(measured.per_second, measured.charges, cpu, _stored(stage, "pgbench") - stored)


def _checked(report: Report) -> Report:
    wrong = {status: count for status, count in report.statuses.items() if status != "201"}
    if wrong:
        print(f"  not answered 201: {wrong}")
    return report


def _stored(stage: Stage, database: str) -> int:
    """Bytes of all tables and indexes."""

    async def ask() -> int:
        owner = await asyncpg.connect(stage.postgres.url(database))
        size: int = await owner.fetchval(
            "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        await owner.close()
        return size

    return asyncio.run(ask())


def _order(port: int, api_key: str, *, connections: int, seconds: float) -> Order:
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json", "User-Agent": "benchmark"}
    return Order(
        port=port,
        path="/v1/transactions",
        headers=headers,
        body=json.dumps(BODY),
        seconds=seconds,
        connections=connections,
    )


# ── Setting up ──────────────────────────────────────────────────────────────────────────────────────────────────


def _stage(stack: ExitStack) -> Stage:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="paygate-bench-")))
    directory.chmod(0o755)  # PostgreSQL may run as another user
    postgres = embedded.start(directory / "postgresql")
    stack.callback(postgres.stop)
    stub, slow_stub = (
        stack.enter_context(processes.python("psp_stub", delay)) for delay in ("0", str(round(PSP_SECONDS * 1000)))
    )
    secret = secrets.token_bytes(32)
    set_up = asyncio.run(_set_up(postgres, secret, stub.port, slow_stub.port))
    gateway = stack.enter_context(
        processes.paygate("serve", postgres.url("gateway"), secret, directory, PAYGATE_METRICS_PORT="0")
    )
    naive = stack.enter_context(
        processes.python("naive", postgres.url("naive"), f"http://127.0.0.1:{stub.port}", *map(str, set_up.naive))
    )
    return Stage(
        postgres=postgres,
        gateway=gateway,
        naive=naive,
        stub=stub,
        slow_stub=slow_stub,
        keys=set_up.keys,
        steps=set_up.steps,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _SetUp:
    keys: dict[str, str]
    steps: pgbench.Steps
    naive: tuple[UUID, UUID]


async def _set_up(postgres: embedded.Server, secret: bytes, stub_port: int, slow_port: int) -> _SetUp:
    owner = await asyncpg.connect(postgres.url())
    await owner.execute("CREATE DATABASE gateway")
    await schema.migrate(postgres.url("gateway"))
    settings = Settings(database_url=postgres.url("gateway"), secret_keys={1: secret})
    operators = await Database.open(settings.database_url, Role.OPERATOR)
    desk = partners.Desk(operators, Vault(settings.secret_keys), "operator:benchmark")
    keys, ids_of = {}, {}
    for name in ("plain", "subscribed", "slow"):
        partner = await desk.create_partner(name=name, email=f"{name}@bench.example", rate_limit_per_minute=1_000_000)
        keys[name] = (await desk.issue_key(partner.id, livemode=False)).text
        ids_of[name] = partner.id
    credentials = {"api_key": "sk_test_benchmark"}
    accounts = {
        name: await desk.add_account(
            provider="stripe",
            livemode=False,
            credentials=credentials,
            base_url=f"http://127.0.0.1:{slow_port if name == 'slow' else stub_port}",
            partner_id=partner_id,
        )
        for name, partner_id in ids_of.items()
    }
    await operators.close()
    async with runtime.opened(settings, Role.APP) as opened:
        steps = await _recorded(opened, ids_of["plain"])
        await _subscribe(opened, ids_of["subscribed"])
    for name in ("naive", "pgbench"):
        await owner.execute(f"CREATE DATABASE {name} TEMPLATE gateway")
    await owner.close()
    return _SetUp(keys=keys, steps=steps, naive=(ids_of["plain"], accounts["plain"].id))


async def _subscribe(opened: Runtime, partner_id: UUID) -> None:
    """One endpoint for every event. Deliveries are written and stay due: delivering is another process's CPU."""
    async with opened.database.as_partner(partner_id) as connection:
        await endpoints.create(
            connection,
            Scope(partner_id, livemode=False),
            ids.new(),
            url="https://hooks.bench.example/",
            event_types=["*"],
            description=None,
            secret=signing.new_secret(),
            vault=opened.vault,
        )


async def _recorded(opened: Runtime, partner_id: UUID) -> pgbench.Steps:
    caller = Caller(
        scope=Scope(partner_id, livemode=False),
        actor="partner:key_00000000000000000000000000",
        key=STEPS_KEY,
        fingerprint=secrets.token_bytes(32),
        request_id="req_00000000000000000000000000",
        ip_address="127.0.0.1",
        user_agent="benchmark",
    )
    command = Charge(
        amount=Decimal("19.99"),
        currency="USD",
        method="card",
        tokens={"stripe": "pm_card_visa"},
        customer=Customer(email="ada@example.com", name="Ada"),
        reference="order-1042",
        description="Two tickets, row 7",
        metadata={"cart": "c_1042", "campaign": "spring"},
    )
    return await pgbench.record(opened, caller, command)
