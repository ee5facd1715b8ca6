"""The machine below the simulated processes: one event loop on virtual time, its clocks, its entropy, its signals.

Virtual time stands still while the database works and jumps to the next timer when nothing else is left to do. So a
run depends on its seed alone, and hours of waiting cost nothing.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import os
import random
import selectors
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVarTuple

Ts = TypeVarTuple("Ts")

EPOCH = datetime(2026, 11, 30, 18, tzinfo=UTC).timestamp()
"""When every run begins: the turn of a month comes within it."""
STUCK_SECONDS = 20.0
"""Real ones: no statement takes as long. PostgreSQL's own limits are shorter."""


class Stuck(Exception):
    """Nothing can happen any more, or the database does not answer: the simulation itself is wrong."""


@dataclass(eq=False)
class Process:
    """What a kill and a stop signal reach: everything that runs in this process's context.

    A frozen process's callbacks run when it is thawed; a dead one's never, so nothing of it is cleaned up.
    """

    name: str
    dead: bool = False
    frozen: bool = False
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    _kept: list[_Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.run(_process.set, self)

    def thaw(self) -> None:
        self.frozen = False
        kept, self._kept = self._kept, []
        for call in kept:
            asyncio.get_running_loop().call_soon(call, context=call.context)

    def bury(self) -> None:
        """At the end of the run, when it can do no harm any more: what is never run could not be finalised either."""
        self.dead = False
        self.thaw()

    def keep(self, call: _Call) -> None:
        self._kept.append(call)


_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class _Call:
    """A callback of a process. Run later than asked, it may have been cancelled meanwhile."""

    __slots__ = ("callback", "context", "handle", "process")

    def __init__(self, process: Process, context: contextvars.Context, callback: Callable[[], object]) -> None:
        self.process, self.context, self.callback = process, context, callback
        self.handle: asyncio.Handle | None = None

    def __call__(self) -> None:
        if self.handle is not None and self.handle.cancelled():
            return
        if self.process.dead or self.process.frozen:
            self.process.keep(self)
        else:
            self.callback()


class _Timer(asyncio.TimerHandle):
    """Of two for the same moment the one that was set first; a heap alone would let real speed decide."""

    place: tuple[float, int]
    _scheduled: bool

    def __lt__(self, other: Any) -> bool:
        return bool(self.place < other.place)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time counts from 0: seconds since the epoch would leave a float no room for the loop's resolution."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.database_busy = False
        self.under_way: dict[asyncio.Task[Any], None] = {}
        """Every task, in the order they were begun: asyncio itself would forget those that wait for a dead process."""
        self._places = itertools.count()
        self._scheduled: list[_Timer]
        super().__init__(_Selector(self))
        self.set_task_factory(_keep_task)

    def time(self) -> float:
        return self.elapsed

    def wall(self) -> float:
        """Seconds since the epoch."""
        return EPOCH + self.elapsed

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        call = self._of_its_process(callback, args, context)
        if call is None:
            return super().call_soon(callback, *args, context=context)
        call.handle = super().call_soon(call, context=call.context)
        return call.handle

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        call = self._of_its_process(callback, args, context)
        if call is None:
            return self._timer(when, callback, args, context)
        timer = call.handle = self._timer(when, call, (), call.context)
        return timer

    def _of_its_process(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None
    ) -> _Call | None:
        process = _process.get() if context is None else context.get(_process)
        if process is None or isinstance(callback, _Call):
            return None
        return _Call(process, context or contextvars.copy_context(), partial(callback, *args))

    def _timer(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> asyncio.TimerHandle:
        timer = _Timer(when, callback, args, self, context)
        timer.place = when, next(self._places)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True
        return timer


def _keep_task(loop: Any, work: Any, **options: Any) -> asyncio.Task[Any]:
    task = asyncio.Task(work, loop=loop, **options)
    loop.under_way[task] = None
    task.add_done_callback(loop.under_way.pop, context=contextvars.Context())
    return task


class _Selector(selectors.DefaultSelector):
    """Looks at the real sockets (the database's) only while an answer is due, and then waits for nothing else.

    So it does not matter how fast an answer comes: what else can run at this moment has run.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return []
        if self._loop.database_busy:
            found = super().select(STUCK_SECONDS)
            if not found:
                raise Stuck("the database does not answer")
            return found
        if timeout is None:
            raise Stuck("there is nothing left that could happen")
        self._loop.elapsed += timeout
        return []


@contextmanager
def machine(seed: int) -> Iterator[VirtualLoop]:
    """A loop whose every clock is virtual and whose entropy is the seed's, for the code that asks the system itself."""
    loop = VirtualLoop()
    entropy = random.Random(f"{seed}/entropy")
    replaced: Mapping[tuple[Any, str], object] = {
        (time, "time"): loop.wall,
        (time, "time_ns"): lambda: round(loop.wall() * 1e6) * 1000,
        (time, "monotonic"): loop.time,
        (time, "perf_counter"): loop.time,
        (os, "urandom"): entropy.randbytes,
        (random, "_urandom"): entropy.randbytes,  # where `secrets` draws
    }
    kept = {place: getattr(*place) for place in replaced}
    random.seed(f"{seed}/random")
    for (module, name), replacement in replaced.items():
        setattr(module, name, replacement)
    try:
        yield loop
    finally:
        for (module, name), original in kept.items():
            setattr(module, name, original)
        loop.close()
