"""One seed, from its first order to the verdict."""

from __future__ import annotations

import asyncio
import random
import time
import traceback
from dataclasses import asdict, dataclass, field

import asyncpg

from providers.simulator import paypal_signer
from tests.simulation import postgresql, shop, verdict
from tests.simulation.machine import Stuck, VirtualLoop, machine
from tests.simulation.postgresql import Urls
from tests.simulation.town import Town
from tests.simulation.weather import HOUR

PARTNERS_MAX = 3

# An attempt that waits for its customer, or for a PSP that said so, is not being recovered.
_COUNTS = """
    SELECT (SELECT count(*) FROM transactions) AS transactions,
           (SELECT coalesce(max(extract(epoch FROM a.finished_at - e.created_at)), 0)::float8 FROM attempts a
            JOIN transaction_events e ON e.partner_id = a.partner_id AND e.transaction_id = a.transaction_id
                AND e.attempt_id = a.id AND e.data->>'outcome' = 'unknown') AS slowest"""


@dataclass(slots=True)
class Report:
    """What one seed did. `digest` is the same whenever the seed is run with the same code."""

    seed: int
    digest: str = ""
    virtual_hours: float = 0.0
    real_seconds: float = 0.0
    transactions: int = 0
    crashes: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    slowest_recovery_seconds: float = 0.0
    violations: list[str] = field(default_factory=list)
    last: list[str] = field(default_factory=list)
    """The end of its notes, where something was violated."""

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def run(urls: Urls, seed: int, *, trace: bool = False) -> Report:
    """`trace`: print every note."""
    began, name = time.perf_counter(), f"seed_{seed}"
    paypal_signer.shared()  # made once per process: it would draw from the first seed's entropy
    asyncio.run(postgresql.clone(urls, name))
    report = Report(seed)
    try:
        with machine(seed) as loop:
            loop.run_until_complete(_live(loop, urls(name), report, trace=trace))
    except Stuck:
        report.violations.append(traceback.format_exc())
    finally:
        asyncio.run(postgresql.drop(urls, name))
    report.real_seconds = round(time.perf_counter() - began, 3)
    return report


async def _live(loop: VirtualLoop, database_url: str, report: Report, *, trace: bool) -> None:
    loop.database_busy = True
    owner = await asyncpg.connect(database_url)
    loop.database_busy = False
    town, history = Town(report.seed, loop, owner, database_url), shop.History()
    town.trace = trace
    try:
        await town.build(random.Random(f"{report.seed}/town").randint(1, PARTNERS_MAX))
        await shop.open_for_business(town, history)
        await verdict.drain(town, history)
        report.violations = await verdict.check(town, history)
        async with town.turns.looking() as connection:
            counts = await connection.fetchrow(_COUNTS)
            assert counts is not None
        report.transactions, report.slowest_recovery_seconds = counts["transactions"], counts["slowest"]
    except Exception:  # noqa: BLE001 - whatever the simulation dies of is a finding, or a defect of its own
        report.violations.append(traceback.format_exc())
    report.digest, report.virtual_hours = town.digest, round(loop.time() / HOUR, 2)
    report.crashes, report.faults = town.crashes, dict(town.weather.counts)
    report.last = list(town.notes) if report.violations else []
    await town.pull_down()
    owner.terminate()
