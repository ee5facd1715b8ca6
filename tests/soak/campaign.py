"""One soak: load and faults together, then faults off, drain, and the four-way equality."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import aiohttp
import asyncpg

from tests import invariants
from tests.acceptance import steps
from tests.soak import facts, faults, history, stage, verdict
from tests.soak.faults import Saboteur
from tests.soak.history import Json, Order, Request
from tests.soak.shoppers import Shop
from tests.soak.stage import Stage

Owner: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

Progress = Callable[[str], None]

PROGRESS_EVERY = 500
SLOWEST = 5
"""Recoveries that are told one by one."""
BALANCE_SECONDS = 2.0
RESEND_EVERY = 15
DRAIN_STEP_SECONDS = 1.0
STALLED_SECONDS = 2 * stage.LEASE_SECONDS + 10
"""Nothing becomes less for longer than any lease (a delivery's is twice as long): nothing more will."""
HURRIED_SECONDS = 8.0
CALM_SECONDS, HURRIED_CALM_SECONDS = 3.0, 1.0
"""After the faults: until servers that were paused have worked off what had reached them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    transactions: int
    kills: int
    seed: int
    clients: int = 40
    drain_seconds: float = 900.0
    hurried: bool = False
    """Leases are cut short in the drain, so that a smoke test need not wait for them."""

    async def run(self, folder: Path, *, progress: Progress = lambda _line: None) -> Json:
        """The report; its `violations` are all that was found wrong. Logs stay in the folder."""
        began = time.monotonic()
        async with stage.opened(folder, self.seed) as opened:
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(connector=connector) as session:
                shop = Shop(
                    session=session,
                    servers=opened.servers,
                    api_keys=opened.api_keys,
                    simulators=opened.simulators,
                    chance=Random(f"{self.seed}/clients"),
                )
                saboteur = Saboteur(opened)
                ready = time.monotonic()
                orders = await self._load(opened, shop, saboteur, progress)
                loaded = time.monotonic()
                progress("faults off, draining")
                await self._drain(opened, shop, orders, progress)
                drained = time.monotonic()
                found = await facts.gather(opened, shop, orders)
            async with opened.postgres.owner() as owner:
                wrong = verdict.violations(found) + await invariants.violations(owner, dict(found.oracle))
                recovered = await facts.recoveries(owner, stage.LEASE_SECONDS)
        for one in recovered[-SLOWEST:]:
            progress(f"recovered in {one.seconds:.0f} s: {one.told}")
        return self._report(
            opened,
            orders,
            saboteur,
            recoveries=len(recovered),
            recovery_seconds=_spread([one.seconds for one in recovered]),
            needs_review=sum(row.needs_review for row in found.rows),
            seconds={
                "set up": round(ready - began, 1),
                "load": round(loaded - ready, 1),
                "drain": round(drained - loaded, 1),
                "compare": round(time.monotonic() - drained, 1),
            },
            violations=wrong,
        )

    async def _load(self, opened: Stage, shop: Shop, saboteur: Saboteur, progress: Progress) -> list[Order]:
        """All orders by so many clients at once, while the faults strike; returns when both are over."""
        planned = faults.plan(self.seed, orders=self.transactions, kills=self.kills, processes=list(opened.kept))
        orders = [history.draw(self.seed, number, partners=stage.PARTNERS) for number in range(self.transactions)]
        waiting = enumerate(orders)

        async def client() -> None:
            for number, order in waiting:
                if number % PROGRESS_EVERY == 0:
                    progress(f"{number} of {len(orders)} orders, {saboteur.done['kill']} kills")
                await saboteur.order_begins()
                await shop.carry_out(order)

        balancing = asyncio.create_task(_balance(opened))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(saboteur.work(planned))
                for _ in range(self.clients):
                    group.create_task(client())
        finally:
            balancing.cancel()
            await asyncio.gather(balancing, return_exceptions=True)
        return orders

    async def _drain(self, opened: Stage, shop: Shop, orders: Sequence[Order], progress: Progress) -> None:
        """Faults off; every client asks until it knows, the workers work off what is left. Bounded."""
        opened.receiver.well = True
        await opened.faults_off()
        await opened.balance(0)
        await asyncio.sleep(HURRIED_CALM_SECONDS if self.hurried else CALM_SECONDS)
        requests = [request for order in orders for request in order.requests]
        for request in requests:
            request.calm(time.monotonic())
        async with opened.postgres.owner() as owner:
            if left := await self._settle(opened, owner, shop, requests, progress):
                progress(f"{left} left, a day passes")
                # What is open now, no PSP will ever tell of: within a day a person must have been called.
                await owner.execute(facts.A_DAY_PASSES)
                await self._settle(opened, owner, shop, [], progress)
                await shop.ask_all([one for one in requests if not one.is_settled], seconds=DRAIN_STEP_SECONDS)

    async def _settle(
        self, opened: Stage, owner: Owner, shop: Shop, requests: list[Request], progress: Progress
    ) -> int:
        """Until nothing is left to do, or nothing more happens; how much is left."""
        stalled_seconds = HURRIED_SECONDS if self.hurried else STALLED_SECONDS
        patience = Patience(seconds=self.drain_seconds, stalled_seconds=stalled_seconds)
        left = 1
        while left and patience.bears(left):
            if self.hurried:
                await steps.leases_run_out(owner)
            await steps.checks_fall_due(owner)
            await steps.retries_fall_due(owner)
            await owner.execute(facts.NOTIFICATIONS_FALL_DUE)
            await opened.resend_refused()
            await shop.ask_all([one for one in requests if not one.is_settled], seconds=DRAIN_STEP_SECONDS)
            await asyncio.sleep(DRAIN_STEP_SECONDS)
            left = await owner.fetchval(facts.UNFINISHED) + sum(not one.is_settled for one in requests)
            progress(f"{left} left")
        return left

    def _report(self, opened: Stage, orders: Sequence[Order], saboteur: Saboteur, **more: Any) -> Json:
        requests = [request for order in orders for request in order.requests]
        tries = [one for request in requests for one in request.tries]
        receiver = opened.receiver
        processes = {name.partition("-")[0]: 0 for name in opened.kept}
        for one in opened.exits:
            processes[one.name.partition("-")[0]] += one.asked is not None and one.asked.name == "SIGKILL"
        strikes = Counter(
            {f"{where}: {kind}": count for where, proxy in opened.wires.items() for kind, count in proxy.counts.items()}
        )
        return {
            "seed": self.seed,
            "transactions": len(orders),
            "requests": len(requests),
            "tries": len(tries),
            "answers": _counted(str(one.status or "none") for one in tries),
            "kills": processes
            | {
                "postgres": saboteur.done["postgres killed"] + saboteur.done["postgres backend killed"],
                "redis": saboteur.done["redis killed"],
            },
            "faults": dict(sorted(saboteur.done.items())),
            "wires": dict(sorted(strikes.items())),
            "psp": _counted(order.misfortune.kind for order in orders if order.misfortune),
            "webhooks": {
                "events": len(receiver.receipts),
                "duplicates": receiver.duplicates,
                "refused by the receiver": receiver.answered[500],
                "forged": receiver.forged,
            },
        } | more


async def _balance(opened: Stage) -> None:
    """A load balancer in front of the servers: each takes its turn with the PSPs' notifications."""
    for turn in itertools.count():
        await opened.balance(turn)
        if turn % RESEND_EVERY == 0:
            await opened.resend_refused()
        await asyncio.sleep(BALANCE_SECONDS)


@dataclass(slots=True, kw_only=True)
class Patience:
    """With work that is left: as long as it becomes less, and not for ever."""

    seconds: float
    stalled_seconds: float
    _began: float = field(default_factory=time.monotonic)
    _least: int | None = None
    _least_at: float = 0.0

    def bears(self, left: int) -> bool:
        now = time.monotonic()
        if self._least is None or left < self._least:
            self._least, self._least_at = left, now
        return now - self._began < self.seconds and now - self._least_at < self.stalled_seconds


def _counted(names: Any) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    """Of a sorted list."""
    if not seconds:
        return {}
    return {
        "median": round(seconds[len(seconds) // 2], 1),
        "99th percentile": round(seconds[len(seconds) * 99 // 100], 1),
        "slowest": round(seconds[-1], 1),
    }
