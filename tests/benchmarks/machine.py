"""What a benchmark says about where it ran, and what it reads from the kernel: CPU, memory, processes (Linux only)."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGES = ("asyncpg", "aiohttp", "httpx", "pydantic", "sqlalchemy", "starlette", "stripe", "uvicorn", "uvloop")
_TICKS = os.sysconf("SC_CLK_TCK")


def versions(postgresql: str) -> str:
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return f"Python {platform.python_version()}, PostgreSQL {postgresql}, {packages}"


def line() -> str:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return (
        f"{platform.system()} {platform.machine()}, {cores} cores, {memory:.0f} GiB, load before {load};"
        f" ten million additions take {_pace():.2f} s of CPU"
    )


def _pace() -> float:
    """How fast a core is at the moment: others on the machine make it slower, and every absolute figure with it."""
    began, total = time.process_time(), 0
    for number in range(10_000_000):
        total += number
    return time.process_time() - began


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of these processes, with that of their ended children."""
    return sum(map(_ticks, pids)) / _TICKS


def _ticks(pid: int) -> int:
    try:
        return sum(map(int, _stat(pid)[11:15]))
    except OSError:  # it has ended: its parent's time holds it
        return 0


def rss_mib(pid: int) -> float:
    return int(_stat(pid)[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def family(pid: int) -> list[int]:
    """A process and its children."""
    return [pid, *_children(pid)]


def _children(parent: int) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended
                if int(_stat(int(entry.name))[1]) == parent:
                    yield int(entry.name)


def _stat(pid: int) -> list[str]:
    """The fields of proc(5)'s stat from the third on, behind the name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def goal(name: str, value: float, sign: str, *goals: float, digits: int = 2) -> None:
    """A figure beside its first and its next goal."""
    reached = [value >= limit if sign == "≥" else value <= limit for limit in goals]
    told = ", ".join(
        f"{sign} {limit:g} {'reached' if met else 'missed'}" for limit, met in zip(goals, reached, strict=True)
    )
    print(f"  {name:<40}{value:8.{digits}f}   goals {told}")
