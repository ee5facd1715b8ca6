"""Failpoints: wherever the process waits for something outside it, a test or a rehearsal may strike.

The points are at the doors (a statement, an exchange with a PSP, a post, a worker's round), not in the business code,
and are named after who came through them: who asked / through what, and when.

    gateway.transactions.charge._begin/journal_write.answered

Unless a plan is armed, reaching a point does nothing.
"""

from __future__ import annotations

import fnmatch
import logging
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from types import FrameType
from typing import Protocol

CRASH_STATUS = 137
"""What a shell tells of a process that was killed: 128 + SIGKILL."""

_log = logging.getLogger("paygate.failpoints")


class Plan(Protocol):
    async def reached(self, name: str) -> None:
        """Called at every point, in the task that is there; what it raises is raised there."""


_here: ContextVar[Plan | None] = ContextVar("failpoints")
_everywhere: Plan | None = None


async def reach(moment: str) -> None:
    """For doors only. `moment`: what is about to happen, or just did."""
    plan = _here.get(_everywhere)
    if plan is not None:
        await plan.reached(_name(moment))


@contextmanager
def armed(plan: Plan) -> Iterator[None]:
    """For what the caller does, and the tasks it starts; others pass the same points unharmed."""
    token = _here.set(plan)
    try:
        yield
    finally:
        _here.reset(token)


def arm_process(rules: tuple[Rule, ...]) -> None:
    """For all that this process does from now on; no rules disarm it."""
    global _everywhere  # noqa: PLW0603 - a process is armed as a whole
    _everywhere = Rehearsal(rules) if rules else None


class Action(StrEnum):
    CRASH = "crash"
    """End at once, as by SIGKILL: nothing is cleaned up."""
    PAUSE = "pause"
    """Stand still, as by SIGSTOP, until somebody sends SIGCONT."""
    LOG = "log"
    """Write the point's name to the log: to learn the names."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Strike whatever matches `pattern` (`*` stands for anything), every time or only the `nth`."""

    pattern: str
    action: Action
    nth: int | None = None


_RULE = re.compile(r"(?P<pattern>[\w.*/<>]+)=(?P<action>\w+)(?:@(?P<nth>[1-9]\d{0,8}))?", re.ASCII)


def parse(text: str) -> tuple[Rule, ...]:
    """`pattern=action` or `pattern=action@3`, separated by semicolons. Raises `ValueError`."""
    rules = []
    for part in filter(None, map(str.strip, text.split(";"))):
        found = _RULE.fullmatch(part)
        if found is None or found["action"] not in set(Action):
            raise ValueError(f"must look like point=action or point=action@3, the action one of {', '.join(Action)}")
        rules.append(Rule(found["pattern"], Action(found["action"]), int(found["nth"]) if found["nth"] else None))
    return tuple(rules)


class Rehearsal:
    """The plan of a whole process."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self._rules = rules
        self._counts = [0] * len(rules)

    async def reached(self, name: str) -> None:
        for place, rule in enumerate(self._rules):
            if fnmatch.fnmatchcase(name, rule.pattern):
                self._counts[place] += 1
                if rule.nth in (None, self._counts[place]):
                    _strike(rule.action, name)


def _strike(action: Action, name: str) -> None:
    # In the text itself: of a logger like this one no arguments are written.
    _log.warning(f"failpoint: {action} at {name}")
    match action:
        case Action.CRASH:
            os._exit(CRASH_STATUS)
        case Action.PAUSE:
            os.kill(os.getpid(), signal.SIGSTOP)
        case Action.LOG:
            return


def _name(moment: str) -> str:
    """Walks up from the door: the nearest function of db/ tells through what, of gateway/ or webhooks/ who asked."""
    door = sys._getframe(2)  # noqa: SLF001 - the only way to a coroutine's caller
    place, through = _function(door), ""
    frame = door.f_back
    while frame is not None:
        room = frame.f_globals.get("__name__", "").partition(".")[0]
        if room == "db" and not through:
            through = f"{frame.f_code.co_name.strip('_')}."
        elif room in {"gateway", "webhooks"}:
            place = _function(frame)
            break
        frame = frame.f_back
    return f"{place}/{through}{moment}"


def _function(frame: FrameType) -> str:
    return f"{frame.f_globals['__name__']}.{frame.f_code.co_qualname.replace('.<locals>', '')}"
