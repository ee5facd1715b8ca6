"""The simulated processes: an API and a worker on the real code, killed and frozen at any step, started again.

A killed process leaves everything as it lay: its callbacks never run again, its connection breaks, nothing is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import re
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

import asyncpg
import httpx

from db import currencies, failpoints
from db.database import CommitUncertain, Database, Role, Unavailable
from db.vault import Vault
from gateway import telemetry, worker
from gateway.app import create_app
from gateway.routing.switchboard import Switchboard
from gateway.runtime import Accounts, Runtime, _Doorway
from gateway.transactions import provider_events
from tests.simulation.machine import Process
from tests.simulation.network import Wire
from tests.simulation.turns import Line
from tests.simulation.weather import Blow
from webhooks.outbound import Deliverer, Limits

if TYPE_CHECKING:
    from tests.simulation.town import Town

T = TypeVar("T")

HEARTBEAT_SECONDS = 3_600.0
"""A job that nothing is due for runs this rarely."""
PROBE_SECONDS = 1_800.0
"""And what asks PSPs by itself this often, as long as there are faults."""

_DUE = {"resolve": "attempts", "expire_due": "customers", "apply_due": "notifications"}
"""By job, what of `Town.due` it is there for."""
_PROBES = frozenset({"resolve", "fill_due"})
_STATEMENT = re.compile(r"/(?!psp\.|post\.)(\w+\.)?(sending|answered)")
"""Another task's call to a PSP may pass its own points while this process has its turn at the database."""


class Running:
    """One life of a process."""

    def __init__(self, town: Town, name: str) -> None:
        self.town = town
        self.process = Process(name)
        town.processes.append(self.process)
        self.ended: asyncio.Future[None] = town.loop.create_future()
        self.lines: list[Line] = []

    def task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Of this process."""
        return self.town.loop.create_task(work, context=self.process.context.copy())

    async def open(self, role: Role) -> Runtime:
        line = Line(self.town.turns, self.process, self.town.settings.database_url, role)
        self.lines.append(line)
        database = Database(cast("asyncpg.Pool[asyncpg.Record]", line))
        vault, doorway = Vault(self.town.settings.secret_keys), _Doorway(transport=Wire(self.town))
        async with database.as_system() as connection:
            known = await currencies.all_currencies(connection)

        def clock() -> datetime:
            return datetime.fromtimestamp(self.town.loop.wall(), UTC)

        return Runtime(
            settings=self.town.settings,
            database=database,
            vault=vault,
            doorway=doorway,
            accounts=Accounts(vault, doorway),
            switchboard=Switchboard(database, clock),
            currencies=known,
            public_url=self.town.url,
            clock=clock,
            look_up=_look_up,
        )

    async def reached(self, name: str) -> None:
        """Between any two steps anything may happen (`db.failpoints.Plan`)."""
        town = self.town
        blow = town.weather.blow(town.loop.time())
        town.note("step", self.process.name, name, blow.value if blow else "")
        match blow:
            case Blow.CRASH:
                town.weather.counts["crash"] += 1
                town.begin(town.kill(self, town.weather.chance.uniform(1, 900)))
                await asyncio.Event().wait()
            case Blow.FREEZE if not town.turns.held_by(self.process):
                town.weather.counts["freeze"] += 1
                town.begin(town.freeze(self, town.weather.chance.uniform(1, 240)))
                await asyncio.sleep(0)
            case Blow.CONNECTION_LOST if town.turns.held_by(self.process) and _STATEMENT.search(name):
                town.weather.counts["connection_lost"] += 1
                for line in self.lines:
                    await line.cut()
                raise asyncpg.ConnectionDoesNotExistError("the connection broke")
            case _:
                return

    async def kill(self) -> None:
        self.process.dead = True
        for line in self.lines:
            await line.abandon()
        self.ended.set_result(None)


class Api(Running):
    def __init__(self, town: Town) -> None:
        super().__init__(town, "api")
        self._transport: httpx.ASGITransport | None = None

    async def start(self) -> None:
        runtime = await self.open(Role.APP)
        self._transport = httpx.ASGITransport(create_app(runtime))

    async def ask(self, request: httpx.Request, *, patience: float) -> httpx.Response | None:
        """The answer; None where none comes. Who is not answered does not stop what it asked for."""
        if self._transport is None or self.process.dead:
            return None
        answering = self.task(self._answer(request))
        first: set[asyncio.Future[Any]] = {answering, self.ended}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED, timeout=patience)
        return answering.result() if answering.done() else None

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        assert self._transport is not None
        with failpoints.armed(self):
            answer = await self._transport.handle_async_request(request)
            return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())


class Worker(Running):
    """Its jobs run when something is due for them: the rounds in between, which would find nothing, are skipped."""

    def __init__(self, town: Town) -> None:
        super().__init__(town, "worker")
        self._pulses: dict[str, asyncio.Event] = {}

    async def start(self) -> None:
        runtime = await self.open(Role.WORKER)
        working = self.task(self._work(runtime))
        working.add_done_callback(self.town.ended, context=contextvars.Context())

    async def _work(self, runtime: Runtime) -> None:
        with failpoints.armed(self):
            deliverer = self._deliverer(runtime)
            self.town.begin(self._watch(deliverer))
            running = [deliverer.run(asyncio.Event())]
            jobs = ((provider_events.apply_due, worker.NOTIFIED_SECONDS), *worker.jobs())
            assert _DUE.keys() | _PROBES <= {_name(job) for job, _ in jobs}
            running += [self._rounds(runtime, job, seconds) for job, seconds in jobs]
            await asyncio.gather(*running)

    def _deliverer(self, runtime: Runtime) -> Deliverer:
        return Deliverer(
            runtime.database,
            runtime.vault,
            cast("Any", self.town.receivers),
            announce=worker._announce_with(runtime),
            clock=self.town.loop.wall,
            chance=self.town.weather.chance.random,
            limits=Limits(poll_min_seconds=HEARTBEAT_SECONDS, poll_max_seconds=HEARTBEAT_SECONDS),
        )

    async def _rounds(self, runtime: Runtime, job: worker.Job, seconds: float) -> None:
        pulse = self._pulse(_DUE.get(_name(job), _name(job)))
        while True:
            often = _name(job) in _PROBES and self.town.stormy
            pause = PROBE_SECONDS if often else HEARTBEAT_SECONDS
            pulse.clear()
            try:
                await job(runtime)
            except (Unavailable, CommitUncertain):
                pass
            except Exception as error:  # noqa: BLE001 - as the worker: the next round finds what this one left
                telemetry.log("job failed", level=logging.ERROR, error=error)
            await asyncio.sleep(seconds)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await pulse.wait()

    def _pulse(self, what: str) -> asyncio.Event:
        return self._pulses.setdefault(what, asyncio.Event())

    async def _watch(self, deliverer: Deliverer) -> None:
        """Finds out what is due when, and wakes whoever is there for it; again and again, but ever more rarely.

        A task of the town's: what a worker sees by polling comes at no cost of its own.
        """
        overdue: dict[str, tuple[float, float]] = {}
        while not self.process.dead:
            self.town.turns.touched.clear()
            now, times = self.town.loop.time(), await self.town.due()
            for what, at in times.items():
                since, looked_at = overdue.get(what, (0.0, 0.0))
                times[what] = at if at > now or at != since else max(now, 2 * looked_at - at)
                if times[what] <= now:
                    overdue[what] = (at, now)
                    deliverer.wake() if what == "deliveries" else self._pulse(what).set()
            await asyncio.sleep(1)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min([HEARTBEAT_SECONDS, *(at - now for at in times.values() if at > now)])):
                    await self.town.turns.touched.wait()


def _name(job: worker.Job) -> str:
    name: str = job.__name__
    return name


async def _look_up(_host: str, _port: int) -> list[str]:
    return ["93.184.216.34"]
