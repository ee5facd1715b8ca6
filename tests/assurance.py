"""The campaigns that kill, cut off, simulate and plant bugs: their figures in assurance.json and docs/assurance.md.

python -m tests.assurance                       every campaign, one after the other
python -m tests.assurance soak --seed 7         one of them, with its own options
python -m tests.assurance --page                the page anew, from the figures that are there
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks import machine, pgbench

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "assurance.json"
PAGE = ROOT / "docs" / "assurance.md"
PAGE_WIDTH = 118

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """`command`: what Python is called with, the file for its figures behind it. `told`: what it is, for the page."""

    title: str
    command: tuple[str, ...]
    told: str


CAMPAIGNS: Mapping[str, Campaign] = {
    "failpoints": Campaign(
        title="Failpoints",
        command=("-m", "pytest", "--quiet", "tests/failpoints", "--failpoints=whole", "--failpoints-report"),
        told="Every operation is stopped at every point it passes, in every way: the process dies, the task is"
        " cancelled, the database is lost, everything takes longer than a lease. Recovery then finishes the work, and"
        " the money is counted at the simulated PSP.",
    ),
    "stateful": Campaign(
        title="Any order of events",
        command=("-m", "pytest", "--quiet", "tests/stateful", "--hypothesis-profile=soak", "--stateful-report"),
        told="Requests, repeats, notifications in any order, customers, crashes, time and misbehaving PSPs, drawn at"
        " random on a real PostgreSQL: many lives of two partners. After every step the books, the PSPs' books and a"
        " model of what each answer allows must agree; when a life ends, all that is left is settled.",
    ),
    "simulation": Campaign(
        title="Simulation in virtual time",
        command=("-m", "tests.simulation", "--seeds", "1000", "--jobs", "2", "--json"),
        told="The gateway, its workers, partners and PSPs in one process whose clock is simulated: hours of outages,"
        " lost and late answers and crashes pass in seconds. A seed decides everything, so what one finds can be run"
        " again.",
    ),
    "soak": Campaign(
        title="Soak",
        command=("-m", "tests.soak", "--json"),
        told="Two API and two worker processes around a durable PostgreSQL and a Redis, under the load of several"
        " partners with webhook endpoints, against a simulator of each PSP. Processes are killed with `kill -9`,"
        " stopped, paused (some beyond their lease); PostgreSQL is killed and restarted, Redis killed, paused and"
        " flushed; wires are cut, slowed and swallow acknowledgements of commits; PSPs lose, delay and falsify answers"
        " and notifications. Then the faults end, the work drains, and four must say the same of every order: what the"
        " client was told, the database, the ledger, and the PSP's own books. Every acknowledged request is there,"
        " every key has one answer, every event arrived. A person is called only for what no PSP can tell.",
    ),
    "deliveries": Campaign(
        title="Deliveries",
        command=("-m", "tests.deliveries", "--kills", "100", "--json"),
        told="Worker processes deliver a steady stream of events to several endpoints, one of them not always well, and"
        " are killed with `kill -9` at random moments. Afterwards every event has arrived at every endpoint, repeats"
        " carry the same id and the same bytes, nothing is left over, and the events of a transaction came in order"
        " wherever an earlier one needed no more tries than the later one waits for.",
    ),
    "planted": Campaign(
        title="Planted bugs",
        command=("-m", "tests.planted", "--json"),
        told="Who tests the tests: each known way to get this wrong is planted in a copy of the code, and each rule of"
        " the database is left out in turn. Some test must notice.",
    ),
    "mutants": Campaign(
        title="Mutants",
        command=("-m", "tests.planted.mutants", "--json"),
        told="The pure core is changed in every place where that is possible, and its unit tests must notice."
        " What cannot make a difference is listed with its reason, and not counted as killed.",
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.assurance", description="Without names: every campaign.")
    parser.add_argument("names", nargs="*", metavar="|".join(CAMPAIGNS))
    parser.add_argument("--report", type=Path, metavar="FILE", help="run nothing, take in this campaign's report")
    parser.add_argument("--page", action="store_true", help="run nothing, write docs/assurance.md anew")
    told, options = parser.parse_known_args()
    if unknown := set(told.names) - set(CAMPAIGNS):
        parser.error(f"no such campaign: {', '.join(sorted(unknown))}")
    if (options or told.report) and len(told.names) != 1:
        parser.error("name the one campaign that this is for")
    failed: list[str] = []
    if told.report:
        _keep(told.names[0], told.report, _run_by())
    elif not told.page:
        failed = [name for name in told.names or CAMPAIGNS if not _run(name, options)]
    PAGE.write_text(page(read()), encoding="utf-8")
    for name in failed:
        print(f"{name} found something; see above and {FIGURES.name}", file=sys.stderr)
    return 1 if failed else 0


def read() -> Json:
    """The figures of the last campaign of each kind."""
    figures: Json = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    return figures


def _run(name: str, options: Sequence[str]) -> bool:
    """Whether it found nothing. What it counted is kept either way."""
    print(f"\n── {name} {'─' * (76 - len(name))}", flush=True)
    with tempfile.TemporaryDirectory(prefix="paygate-assurance-") as folder:
        report, ran = Path(folder) / "report.json", _run_by()
        command = [sys.executable, *CAMPAIGNS[name].command, str(report), *options]
        done = subprocess.run(command, cwd=ROOT, check=False)
        if report.exists():
            _keep(name, report, ran)
        else:
            print(f"{name} was cut off and left no report", file=sys.stderr)
    return done.returncode == 0


def _keep(name: str, report: Path, ran: Json) -> None:
    counted = json.loads(report.read_text(encoding="utf-8"))
    kept = read() | {name: {"run": ran} | counted}
    ordered = {known: kept[known] for known in CAMPAIGNS if known in kept}
    FIGURES.write_text(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _run_by() -> Json:
    """What ran, and when; nothing about whose machine it was."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "revision": described.stdout.strip() or "unknown",
        "python": platform.python_version(),
        "postgresql": pgbench.postgresql_version(),
        "packages": {name: importlib.metadata.version(name) for name in machine.PACKAGES},
    }


# ── The page ────────────────────────────────────────────────────────────────────────────────────────────────────────


def page(figures: Json) -> str:
    """docs/assurance.md, a function of assurance.json alone."""
    return "\n".join(_lines(figures)) + "\n"


def _lines(figures: Json) -> Iterator[str]:
    yield "# Assurance"
    yield ""
    yield "**No double charge, no lost event, no over-refund, no unknown forgotten.** This page shows the last time"
    yield "that each campaign tried to break it. `make soak` writes it from `assurance.json`; a test compares the two."
    yield ""
    yield "    make soak                       # all of them, a few hours"
    yield "    make soak ARGS=soak             # one of: " + " ".join(CAMPAIGNS)
    yield '    make soak ARGS="soak --seed 7"  # with options of its own'
    yield ""
    yield "A small part of each runs in every `make test`."
    for name, campaign in CAMPAIGNS.items():
        yield from ("", f"## {campaign.title}", "", textwrap.fill(campaign.told, PAGE_WIDTH), "")
        yield from _figures(figures[name]) if name in figures else ["Not run yet."]


def _figures(counted: Json) -> Iterator[str]:
    ran = counted["run"]
    yield f"{ran['date']}, revision `{ran['revision']}`, Python {ran['python']}, PostgreSQL {ran['postgresql']}:"
    yield ""
    yield "| figure | value |"
    yield "| --- | --- |"
    yield from (
        f"| {name} | {value} |" for key, told in counted.items() if key != "run" for name, value in _row(key, told)
    )


def _row(key: str, told: object) -> Iterator[tuple[str, str]]:
    """One line for a figure, one for a group of figures, one for each group within a group."""
    name = key.replace("_", " ")
    match told:
        case dict() if any(isinstance(value, dict | list) for value in told.values()):
            for inner, value in told.items():
                yield from _row(f"{key}: {inner}", value)
        case dict():
            yield (
                name,
                ", ".join(f"{inner.replace('_', ' ')} {_spelled(value)}" for inner, value in told.items()) or "none",
            )
        case list() if key == "violations":
            yield name, "; ".join(map(str, told)) or "**none**"
        case list() if told and all(isinstance(one, str) for one in told):
            yield name, ", ".join(told)
        case list():
            pass  # cases one by one: assurance.json has them
        case _:
            yield name, _spelled(told)


def _spelled(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return f"{value:,}"
        case _:
            return str(value)


if __name__ == "__main__":
    sys.exit(main())
