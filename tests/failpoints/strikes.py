"""What is done at a failpoint, and the list of those that were reached."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from enum import StrEnum
from types import FrameType
from typing import NamedTuple

import asyncpg

from tests.failpoints.stage import Stage


class Point(NamedTuple):
    name: str
    nth: int
    """Counted from 1: an operation may pass a point more than once."""

    def __str__(self) -> str:
        return f"{self.name}@{self.nth}"


class Fault(StrEnum):
    CRASH = "crash"
    """The process is gone, with all its connections, and never goes on."""
    CANCEL = "cancel"
    """The task is cancelled, as at the end of a stop that took too long."""
    LOSS = "database connection lost"
    """Every connection of the process breaks; of a statement that was just executed, the answer is lost."""
    DELAY = "delay beyond the lease"
    """The process stands still until others have finished its work; then it goes on as if nothing had been."""


class Recorder:
    """Lists the points in the order they are reached."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.lines: set[tuple[str, int]] = set()
        """(module, line) of every call that was under way while a point was reached."""
        self._counts: Counter[str] = Counter()

    async def reached(self, name: str) -> None:
        self._counts[name] += 1
        self.points.append(Point(name, self._counts[name]))
        self._see(sys._getframe())
        await self.strike(self.points[-1])

    async def strike(self, point: Point) -> None:
        """Nothing: it only looks on."""

    def _see(self, frame: FrameType | None) -> None:
        while frame is not None:
            self.lines.add((frame.f_globals.get("__name__", ""), frame.f_lineno))
            frame = frame.f_back


class Strike(Recorder):
    """One fault at one point."""

    def __init__(self, stage: Stage, point: Point, fault: Fault) -> None:
        super().__init__()
        self.struck = asyncio.Event()
        self.task: asyncio.Task[object] | None = None
        """The one that was there."""
        self.go_on = asyncio.Event()
        """Ends a delay."""
        self._stage, self._point, self._fault = stage, point, fault

    async def strike(self, point: Point) -> None:
        if point != self._point:
            return
        self.task = asyncio.current_task()
        assert self.task is not None
        self.struck.set()
        match self._fault:
            case Fault.CRASH:
                self._stage.victim.die()
                await asyncio.Event().wait()
            case Fault.CANCEL:
                self.task.cancel()
                await asyncio.sleep(0)
            case Fault.LOSS:
                await self._stage.cut()
                if point.name.endswith(".answered") and not point.name.endswith(("/psp.answered", "/post.answered")):
                    raise asyncpg.ConnectionDoesNotExistError("the answer was lost on the way")
            case Fault.DELAY:
                await self.go_on.wait()
