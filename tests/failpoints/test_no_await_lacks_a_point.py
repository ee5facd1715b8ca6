"""Promise: wherever the money path waits for something outside the process there is a failpoint, and the matrix of
faults reaches it. An await that goes past the doors, or that no operation comes to, is found here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.failpoints import cases
from tests.failpoints.cases import Recordings
from tests.failpoints.operations import OPERATIONS
from tests.failpoints.stage import Stage
from tests.failpoints.strikes import Fault, Point

ROOT = Path(__file__).resolve().parents[2]
MONEY_PATH = sorted(
    chain(
        (ROOT / "gateway/transactions").glob("*.py"),
        (ROOT / "webhooks").glob("*bound.py"),
        [ROOT / "gateway/worker.py"],
    )
)
WITHOUT = {
    "Poster": "the process starts: nothing is under way",
    "asyncio.gather": "our own tasks, whose awaits are looked at themselves",
    "asyncio.sleep": "time only",
    "asyncio.timeout": "a bound on what is awaited inside",
    "asyncio.wait": "our own tasks",
    "asyncio.TaskGroup": "our own tasks",
    "awaited.wait": "our own events",
    "doctor.refuse_if_unfit": "the process starts",
    "lanes.finish": "our own tasks",
    "stop.wait": "our own events",
    "request.stream": "a PSP's request on its way in: nothing of it is stored yet",
    "runtime.switchboard.routes": "cached, so loaded in a task of its own, which has points",
    "runtime.opened": "the process starts",
    "self._poster.post": "a door itself: between two points",
    "waking": "our own task",
}
"""What needs no point, and why."""
STRUCK = [
    ("charge", Point("gateway.transactions.journal.begin/journal_write.answered", 1), Fault.LOSS),
    ("charge", Point("gateway.transactions.journal._written/journal_write.sending", 1), Fault.DELAY),
]
"""Ways that only a fault opens."""


class Wait(NamedTuple):
    module: str
    first: int
    last: int
    what: str
    inward: bool
    """For a function of the money path, whose own awaits are listed by themselves."""

    def __str__(self) -> str:
        return f"{self.module}:{self.first} {self.what}"


async def test_every_await_of_the_money_path_has_a_point_which_an_operation_reaches(
    stage: Stage, recordings: Recordings
) -> None:
    lines: set[tuple[str, int]] = set()
    for operation in OPERATIONS:
        lines |= (await recordings.of(operation)).lines
    for name, point, fault in STRUCK:
        (operation,) = [one for one in OPERATIONS if one.name == name]
        _, strike = await cases.disturbed(stage, operation, point, fault, await recordings.endings_of(operation))
        lines |= strike.lines
    waits = [wait for path in MONEY_PATH for wait in _waits(path) if wait.what not in WITHOUT and not wait.inward]
    bare = [
        str(one) for one in waits if not any((one.module, line) in lines for line in range(one.first, one.last + 1))
    ]
    assert not bare, "\n".join(bare)


def test_nothing_is_exempt_that_is_not_there() -> None:
    assert not WITHOUT.keys() - {wait.what for path in MONEY_PATH for wait in _waits(path)}


@pytest.mark.parametrize(
    "source",
    [
        "async def f():\n    await g()",
        "async def f():\n    async with g():\n        pass",
        "async def f():\n    async for x in g():\n        pass",
        "async def f():\n    return [x async for x in g()]",
    ],
)
def test_every_kind_of_await_is_seen(source: str) -> None:
    assert [wait.what for wait in _waits_in(ast.parse(source), "gateway.unheard_of")] == ["g"]


def _waits(path: Path) -> Iterator[Wait]:
    return _waits_in(ast.parse(path.read_text(encoding="utf-8")), _module(path))


def _waits_in(tree: ast.AST, module: str) -> Iterator[Wait]:
    rooms = {
        f"{alias.asname or alias.name}.": f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    } | {"": module, "self.": module}
    for node in ast.walk(tree):
        match node:
            case ast.Await(value=value):
                awaited = [value]
            case ast.AsyncWith(items=items):
                awaited = [item.context_expr for item in items]
            case ast.AsyncFor(iter=iterated) | ast.comprehension(iter=iterated, is_async=1):
                awaited = [iterated]
            case _:
                continue
        for one in awaited:
            what = ast.unparse(one.func if isinstance(one, ast.Call) else one)
            receiver, dot, name = what.rpartition(".")
            inward = name in _functions().get(rooms.get(receiver + dot, ""), ())
            yield Wait(module, one.lineno, one.end_lineno or one.lineno, what, inward)


@cache
def _functions() -> dict[str, set[str]]:
    """The coroutine functions of the money path, by module."""
    return {
        _module(path): {
            node.name
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.AsyncFunctionDef)
        }
        for path in MONEY_PATH
    }


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)
