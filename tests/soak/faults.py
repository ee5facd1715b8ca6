"""What goes wrong in a soak, and when: drawn from the seed, each at its place in the stream of orders."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from tests.proxy import Toxic, ToxicKind
from tests.soak.stage import LEASE_SECONDS, Stage

RATES: Mapping[str, float] = {
    "stop": 0.25,
    "pause": 0.25,
    "pause beyond the lease": 0.02,
    "postgres killed": 0.05,
    "postgres backend killed": 0.05,
    "postgres restarted": 0.02,
    "redis killed": 0.03,
    "redis paused": 0.03,
    "redis flushed": 0.03,
    "wire": 1.0,
}
"""How many of each for one kill −9 of a server or worker; in a short run one, where it does not take long."""
AT_LEAST: Mapping[str, int] = {"pause beyond the lease": 0}
TOXICS: Mapping[str, tuple[ToxicKind, ...]] = {
    "postgres": tuple(ToxicKind),
    "psp": tuple(kind for kind in ToxicKind if kind is not ToxicKind.SWALLOW_COMMIT),
    "receiver": tuple(kind for kind in ToxicKind if kind is not ToxicKind.SWALLOW_COMMIT),
}
PATIENCE_SECONDS = 90.0
"""For the last faults to be over: the longest pause, and a start after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`at`: after so many orders have begun. `where`: which process or wire."""

    at: int
    kind: str
    where: str = ""
    seconds: float = 0.0
    toxic: Toxic | None = None


def plan(seed: int, *, orders: int, kills: int, processes: list[str]) -> list[Fault]:
    """Exactly so many kills, the rest in proportion; never before the load is under way."""
    chance = Random(f"{seed}/faults")
    counts = {"kill": kills} | {kind: max(round(kills * rate), AT_LEAST.get(kind, 1)) for kind, rate in RATES.items()}
    return sorted(
        (_draw(chance, kind, orders, processes) for kind, count in counts.items() for _ in range(count)),
        key=lambda fault: fault.at,
    )


def _draw(chance: Random, kind: str, orders: int, processes: list[str]) -> Fault:
    at, seconds = chance.randrange(orders // 20, orders), chance.uniform(0.3, 3.0)
    match kind:
        case "kill" | "stop" | "pause":
            return Fault(at=at, kind=kind, where=chance.choice(processes), seconds=seconds)
        case "pause beyond the lease":
            return Fault(at=at, kind=kind, where=chance.choice(processes), seconds=LEASE_SECONDS + seconds)
        case "wire":
            where = chance.choice(["postgres", "postgres", "stripe", "paypal", "adyen", "receiver"])
            toxic_kind = chance.choice(TOXICS.get(where, TOXICS["psp"]))
            toxic = _toxic(toxic_kind, chance)
            return Fault(at=at, kind=f"wire {toxic_kind}", where=where, seconds=seconds, toxic=toxic)
        case _:
            return Fault(at=at, kind=kind, seconds=seconds)


def _toxic(kind: ToxicKind, chance: Random) -> Toxic:
    match kind:
        case ToxicKind.LATENCY:
            return Toxic(kind=kind, seconds=chance.uniform(0.1, 1.0), times=20)
        case ToxicKind.SLICE:
            return Toxic(kind=kind, seconds=0.002, times=5)
        case ToxicKind.TIMEOUT:
            return Toxic(kind=kind, seconds=chance.uniform(1.0, 6.0), times=2)
        case _:
            return Toxic(kind=kind, times=3)


@dataclass(slots=True)
class Saboteur:
    """Carries the plan out as orders begin."""

    stage: Stage
    done: Counter[str] = field(default_factory=Counter)
    _begun: int = 0
    _progress: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def order_begins(self) -> None:
        async with self._progress:
            self._begun += 1
            self._progress.notify_all()

    async def work(self, faults: list[Fault]) -> None:
        """Returns when the last of them is over."""
        async with asyncio.TaskGroup() as under_way:
            for fault in faults:
                await self._until_begun(fault.at)
                under_way.create_task(self._carry_out(fault))

    async def _until_begun(self, orders: int) -> None:
        async with self._progress:
            await self._progress.wait_for(lambda: self._begun > orders)

    async def _carry_out(self, fault: Fault) -> None:
        strike = self._strikes()[fault.kind.partition(" ")[0] if fault.toxic else fault.kind]
        await strike(fault)
        self.done[fault.kind] += 1

    def _strikes(self) -> Mapping[str, Callable[[Fault], Awaitable[None]]]:
        kept, postgres, redis = self.stage.kept, self.stage.postgres, self.stage.redis
        return {
            "kill": lambda fault: kept[fault.where].kill(),
            "stop": lambda fault: kept[fault.where].stop(),
            "pause": lambda fault: kept[fault.where].pause(fault.seconds),
            "pause beyond the lease": lambda fault: kept[fault.where].pause(fault.seconds),
            "postgres killed": lambda _: postgres.kill(),
            "postgres backend killed": lambda _: postgres.kill_backend(),
            "postgres restarted": lambda _: postgres.restart(),
            "redis killed": lambda fault: redis.kill(fault.seconds),
            "redis paused": lambda fault: redis.pause(fault.seconds),
            "redis flushed": lambda _: redis.flush(),
            "wire": self._spoil_wire,
        }

    async def _spoil_wire(self, fault: Fault) -> None:
        """A toxic strikes a few times; a wire that is down is mended after a while."""
        assert fault.toxic is not None
        proxy = self.stage.wires[fault.where]
        proxy.add(fault.toxic)
        if fault.toxic.kind is ToxicKind.DOWN:
            await asyncio.sleep(fault.seconds)
            proxy.clear()
