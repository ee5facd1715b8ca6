"""Webhook deliveries of one worker process: beside a naive one, beside endpoints that swallow everything, over years.

    python -m tests.benchmarks.deliveries [--history 5000000] [--seconds 45] [--backlog 100000] [--round 5000]

Everybody is a process of its own; PostgreSQL is durable. Read the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from db import embedded
from tests.benchmarks import delivery_processes, delivery_rows, machine
from tests.benchmarks.delivery_processes import Process, started
from tests.benchmarks.delivery_rows import Owner, Shop

ENDPOINTS = 16
HOLES = 50
HOLE_BACKLOG = 200
"""Events for each of them: more than it is tried with while the run lasts."""
ROUNDS = 3
NAIVE_SHARE = 10
"""The naive one gets this part of a round, so that the rounds take equally long."""
PER_SECOND = 20
"""Events of the healthy endpoint whose way is timed."""
HISTORIES = (10_000, 100_000)
PATIENCE_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Sizes:
    round: int
    backlog: int
    seconds: float
    """Three deadlines: whatever the black holes hold back has come round."""
    history: int
    """A size beyond those that are always measured; 0 for none."""


DEFAULT = Sizes(round=5_000, backlog=100_000, seconds=45.0, history=0)


@dataclass(frozen=True, slots=True)
class Stage:
    postgres: embedded.Server
    far: Process
    port: int
    sizes: Sizes

    def urls(self, path: str, count: int) -> list[str]:
        return [f"http://127.0.0.1:{self.port}/{path}{number}" for number in range(count)]


@dataclass(frozen=True, slots=True)
class Drained:
    per_second: float
    worker_us: float
    """CPU for each delivery."""
    postgres_us: float
    rss_mib: tuple[float, float]
    """At the start and the most."""


def main(sizes: Sizes = DEFAULT) -> None:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="paygate-bench-")))
        directory.chmod(0o755)  # PostgreSQL may run as another user
        postgres = embedded.start(directory / "postgresql")
        stack.callback(postgres.stop)
        far = stack.enter_context(started(delivery_processes.far_end))
        stage = Stage(postgres, far, far.pipe.recv(), sizes)
        for measure in (_beside_a_naive_one, _beside_black_holes, _a_backlog, _over_history):
            asyncio.run(measure(stage))


async def _beside_a_naive_one(stage: Stage) -> None:
    mine, theirs = [await _shop(stage, name, stage.urls("fast", ENDPOINTS)) for name in ("mine", "theirs")]
    ours, naive = list[Drained](), list[Drained]()
    with (
        started(delivery_processes.worker, mine.url) as worker,
        started(delivery_processes.naive, theirs.url, theirs.secret) as other,
    ):
        await _warm_up(stage, mine, worker)
        await _warm_up(stage, theirs, other)
        for _ in range(ROUNDS):
            ours.append(await _drain(stage, mine, worker, stage.sizes.round))
            naive.append(await _drain(stage, theirs, other, stage.sizes.round // NAIVE_SHARE))
    print(f"{stage.sizes.round:,} events to {ENDPOINTS} endpoints, {ROUNDS} rounds in turn, medians:")
    _tell("our worker", ours)
    _tell("naive (one httpx.AsyncClient, one row at a time)", naive)
    machine.goal("our worker ÷ naive", _median(ours) / _median(naive), "≥", 20, 80)


async def _beside_black_holes(stage: Stage) -> None:
    shop = await _shop(stage, "fair", [*stage.urls("timed", 1), *stage.urls("hole", HOLES)])
    healthy, holes = shop.endpoints[:1], shop.endpoints[1:]
    owner = await asyncpg.connect(shop.url)
    with started(delivery_processes.worker, shop.url):
        await _timed(stage, owner, shop, 2.0)
        alone = await _timed(stage, owner, shop, stage.sizes.seconds)
        await delivery_rows.publish(owner, shop, holes, HOLES * HOLE_BACKLOG)
        beside = await _timed(stage, owner, shop, stage.sizes.seconds)
    late = await owner.fetchval(
        "SELECT count(*) FROM webhook_deliveries WHERE endpoint_id = $1 AND state = 'pending'", healthy[0]
    )
    await owner.close()
    print(f"{PER_SECOND} events/s to one endpoint for {stage.sizes.seconds:.0f} s, publication to arrival:")
    for name, delays in (("alone", alone), (f"beside {HOLES} that never answer", beside)):
        print(f"  {name:<40} p50 {_share(delays, 0.5) * 1000:7.1f} ms   p99 {_share(delays, 0.99) * 1000:7.1f} ms")
    print(f"  {late} of its events had not arrived in the end")
    for share in (0.5, 0.99):
        machine.goal(f"p{share * 100:.0f} beside ÷ alone", _share(beside, share) / _share(alone, share), "≤", 2)


async def _a_backlog(stage: Stage) -> None:
    shop = await _shop(stage, "backlog", stage.urls("fast", ENDPOINTS))
    with started(delivery_processes.worker, shop.url) as worker:
        await _warm_up(stage, shop, worker)
        drained = await _drain(stage, shop, worker, stage.sizes.backlog)
    print(f"a backlog of {stage.sizes.backlog:,}:")
    _tell("our worker", [drained])
    print(f"  memory of the worker {drained.rss_mib[0]:.0f} MiB before, {drained.rss_mib[1]:.0f} at most")


async def _over_history(stage: Stage) -> None:
    shop = await _shop(stage, "history", stage.urls("fast", ENDPOINTS))
    owner = await asyncpg.connect(shop.url)
    sizes = [*HISTORIES, *((stage.sizes.history,) if stage.sizes.history else ())]
    print(f"{stage.sizes.round:,} events over a history of {delivery_rows.MONTHS} months:")
    with started(delivery_processes.worker, shop.url) as worker:
        before = 0
        for size in sizes:
            await delivery_rows.remember(owner, shop, size - before)
            before = size
            await _warm_up(stage, shop, worker)
            _tell(f"{size:,} deliveries before", [await _drain(stage, shop, worker, stage.sizes.round)])
    await owner.close()


# ── Measuring ───────────────────────────────────────────────────────────────────────────────────────────────────


async def _shop(stage: Stage, name: str, urls: list[str]) -> Shop:
    owner = await asyncpg.connect(stage.postgres.url())
    await owner.execute(f"CREATE DATABASE {name}")
    await owner.close()
    return await delivery_rows.open_shop(stage.postgres.url(name), urls)


async def _warm_up(stage: Stage, shop: Shop, deliverer: Process) -> None:
    """A few deliveries, and what autovacuum does within a minute: plans made for empty tables are bad ones."""
    await _drain(stage, shop, deliverer, stage.sizes.round // NAIVE_SHARE)
    owner = await asyncpg.connect(shop.url)
    await owner.execute("ANALYZE")
    await owner.close()


async def _drain(stage: Stage, shop: Shop, deliverer: Process, count: int) -> Drained:
    """From the commit that publishes `count` events until the last is recorded."""
    owner = await asyncpg.connect(shop.url)
    arrived = stage.far.ask("count")
    rss = [machine.rss_mib(deliverer.pid)]
    began = await delivery_rows.publish(owner, shop, shop.endpoints, count)
    cpu = machine.cpu_seconds([deliverer.pid])
    postgres = machine.cpu_seconds(machine.family(stage.postgres.pid))
    while stage.far.ask("count") - arrived < count or await delivery_rows.pending(owner):
        if time.monotonic() - began > PATIENCE_SECONDS:
            raise TimeoutError(f"{await delivery_rows.pending(owner)} of {count} deliveries are still pending")
        rss.append(machine.rss_mib(deliverer.pid))
        await asyncio.sleep(0.05)
    seconds = time.monotonic() - began
    cpu = machine.cpu_seconds([deliverer.pid]) - cpu
    postgres = machine.cpu_seconds(machine.family(stage.postgres.pid)) - postgres
    await owner.close()
    return Drained(count / seconds, cpu / count * 1e6, postgres / count * 1e6, (rss[0], max(rss)))


async def _timed(stage: Stage, owner: Owner, shop: Shop, seconds: float) -> list[float]:
    """Publish to the first endpoint at a steady pace; the delays of what arrived, sorted."""
    stage.far.ask("delays")
    began = time.monotonic()
    for number in range(int(seconds * PER_SECOND)):
        await asyncio.sleep(max(began + number / PER_SECOND - time.monotonic(), 0))
        await delivery_rows.publish(owner, shop, shop.endpoints[:1], 1)
    await asyncio.sleep(1)  # for the last; what is later is counted as not arrived
    return sorted(stage.far.ask("delays"))


def _share(delays: Sequence[float], share: float) -> float:
    return delays[min(int(len(delays) * share), len(delays) - 1)] if delays else float("inf")


def _median(rounds: Sequence[Drained]) -> float:
    return statistics.median(drained.per_second for drained in rounds)


def _tell(name: str, rounds: Sequence[Drained]) -> None:
    worker, postgres = (
        statistics.median(figures)
        for figures in zip(*((drained.worker_us, drained.postgres_us) for drained in rounds), strict=True)
    )
    print(f"  {name:<50}{_median(rounds):8,.0f} /s   CPU µs each: worker {worker:.0f}, PostgreSQL {postgres:.0f}")


def _asked() -> Sizes:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.deliveries")
    parser.add_argument("--history", type=int, default=DEFAULT.history, help="a size more, e.g. 5,000,000")
    parser.add_argument("--seconds", type=float, default=DEFAULT.seconds)
    parser.add_argument("--backlog", type=int, default=DEFAULT.backlog)
    parser.add_argument("--round", type=int, default=DEFAULT.round)
    return Sizes(**vars(parser.parse_args()))


if __name__ == "__main__":
    main(_asked())
