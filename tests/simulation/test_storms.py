"""Promise: through hours of outages, lost answers, late successes and crashes no money moves twice and none is lost.

A handful of seeds; a campaign runs thousands: `python -m tests.simulation --seeds 1000 --jobs 2`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FIRST, SEEDS = 322, 4
SECONDS_MAX = 600
"""Bound on a run that hangs."""
_DIGEST = re.compile(r"^seed (\d+): .* digest (\w+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Ran:
    report: dict[str, Any]
    digests: dict[int, str]
    """By seed."""
    said: str


def simulated(folder: Path, *arguments: int | str) -> Ran:
    """The campaign's own command."""
    report = folder / "report.json"
    command = [sys.executable, "-m", "tests.simulation", "--json", str(report), *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    assert report.exists(), ended.stderr
    digests = {int(seed): digest for seed, digest in _DIGEST.findall(ended.stderr)}
    return Ran(json.loads(report.read_text(encoding="utf-8")), digests, ended.stderr)


@pytest.fixture(scope="module")
def storms(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return simulated(tmp_path_factory.mktemp("storms"), "--from", FIRST, "--seeds", SEEDS, "--jobs", 2)


def test_no_promise_is_broken(storms: Ran) -> None:
    assert not storms.report["violations"], storms.said
    assert storms.report["seeds"] == SEEDS
    assert storms.report["virtual_hours"] > 10 * SEEDS


def test_there_were_orders_crashes_and_faults_of_many_kinds(storms: Ran) -> None:
    assert storms.report["transactions"] > 10 * SEEDS
    assert storms.report["crashes"] > 0
    assert {"psp", "notification", "database"} <= {name.partition("_")[0] for name in storms.report["faults"]}


def test_a_seed_is_replayed_exactly(storms: Ran, tmp_path: Path) -> None:
    again = simulated(tmp_path, "--from", FIRST + 1)
    assert again.digests == {FIRST + 1: storms.digests[FIRST + 1]}
