"""Plant each bug in a copy of the tree, run the tests that must catch it there, and say whether they did."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.planted.bug import Bug, Stale

ROOT = Path(__file__).parents[2]
BUG_SECONDS, ALL_SECONDS = 300.0, 1_800.0
"""Bounds of one bug's tests (a suite that a bug makes hang has not caught it) and of all bugs' together."""
STOP_SECONDS = 30.0
_PYTEST = ("-m", "pytest", "--quiet", "--no-header", "--tb=no", "-rfE", "-p", "no:cacheprovider")
_ALL_PASSED, _SOME_FAILED = 0, 1
"""pytest's exit statuses; any other (nothing collected, an import that fails) judges nothing."""


class Verdict(StrEnum):
    CAUGHT = "caught"
    MISSED = "missed"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True, slots=True)
class Finding:
    bug: Bug
    verdict: Verdict
    detail: str
    """The test that caught it, or why it was not judged."""
    seconds: float


async def findings(bugs: Sequence[Bug], folder: Path, *, jobs: int) -> AsyncIterator[Finding]:
    """As they come. Raises `Unsound` where the tests fail without any bug."""
    sound = folder / "sound"
    await asyncio.to_thread(copy_tree, sound)
    await _must_be_sound(sound, bugs)
    free = asyncio.Semaphore(jobs)

    async def judged(number: int, bug: Bug) -> Finding:
        async with free:
            return await _judged(bug, sound, folder / str(number))

    async with asyncio.TaskGroup() as group:
        judging = [group.create_task(judged(number, bug)) for number, bug in enumerate(bugs)]
        for done in asyncio.as_completed(judging):
            yield await done


class Unsound(Exception):
    """Where the tests fail anyway, a failure says nothing."""


def copy_tree(target: Path) -> None:
    """All but what git ignores: one moment's state, whatever is edited meanwhile."""
    ignored = (name.rstrip("/") for name in (ROOT / ".gitignore").read_text(encoding="utf-8").split())
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(".git", *ignored))


async def _must_be_sound(tree: Path, bugs: Sequence[Bug]) -> None:
    where = subprocess.run(
        [sys.executable, "-c", "import gateway; print(gateway.__file__)"],
        cwd="/",
        env=_environment(tree),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    if not Path(where).is_relative_to(tree):
        raise Unsound(f"not the copy is tested but {where.strip()}")
    status, said = await _run(tree, sorted({test for bug in bugs for test in bug.tests}), ALL_SECONDS)
    if status != _ALL_PASSED:
        raise Unsound(f"without any bug the tests end with status {status}:\n{said[-4000:]}")


async def _judged(bug: Bug, sound: Path, tree: Path) -> Finding:
    began = time.monotonic()
    await asyncio.to_thread(shutil.copytree, sound, tree)
    try:
        source = (tree / bug.file).read_text(encoding="utf-8")
        (tree / bug.file).write_text(bug.planted_in(source), encoding="utf-8")
        status, said = await _run(tree, ["--exitfirst", *bug.tests], BUG_SECONDS)
    except (Stale, FileNotFoundError) as stale:
        return Finding(bug, Verdict.NOT_JUDGED, str(stale), time.monotonic() - began)
    finally:
        await asyncio.to_thread(shutil.rmtree, tree, ignore_errors=True)
    return Finding(bug, *_verdict(status, said), time.monotonic() - began)


def _verdict(status: int | None, said: str) -> tuple[Verdict, str]:
    if status == _ALL_PASSED:
        return Verdict.MISSED, ""
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", said, re.MULTILINE)
    if status == _SOME_FAILED and failed:
        return Verdict.CAUGHT, failed[1]
    return Verdict.NOT_JUDGED, said.strip()[-2000:] or "no end within the time"


async def _run(tree: Path, arguments: Sequence[str], seconds: float) -> tuple[int | None, str]:
    """pytest's exit status (None: it took too long) and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *_PYTEST, "--basetemp", str(tree / ".tmp"), *arguments),
        cwd=tree,
        env=_environment(tree),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds):
            said, _ = await process.communicate()
        return process.returncode, said.decode(errors="replace")
    except TimeoutError:
        return None, ""
    finally:
        await _ended(process)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """First as Ctrl-C would, so that it stops what it started."""
    for number in (signal.SIGINT, signal.SIGKILL):
        if process.returncode is None:
            os.killpg(process.pid, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_SECONDS)


def _environment(tree: Path) -> dict[str, str]:
    """The copy goes before the project as it is installed, in the processes that tests start too."""
    return os.environ | {"PYTHONPATH": str(tree)}
