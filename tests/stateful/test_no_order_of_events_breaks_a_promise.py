"""Promise: whatever happens, in whatever order, the money is where the books say and every answer was true."""

from __future__ import annotations

import json
import secrets
from asyncio import Runner
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from db import embedded
from tests.conftest import cloned
from tests.stateful.business import Business

REACHED = {
    "authorized",
    "cancelled",
    "completed",
    "failed",
    "needs_review",
    "partially_refunded",
    "processing",
    "refunded",
    "requires_action",
    "unknown settled",
    *(f"{verb}: {said}" for verb in ("charge", "capture", "refund") for said in ("cut short", "done", "open")),
}
"""A run that misses one of these has shown too little."""
SEED = 1
BOUNDED = settings(max_examples=30, stateful_step_count=50, database=None, phases=[Phase.generate])
"""The same steps in every run, and no search for fewer when they fail: that is for the campaign, the profile `soak`."""
IN_A_ROW = 10
"""Lives of one seed. After these Hypothesis would spend six of seven on an earlier one with a part of it doubled."""


@pytest.fixture
def first_seed(request: pytest.FixtureRequest) -> int:
    """The next ten lives have the next one. The campaign's is drawn and told, so that it can be named and run again."""
    if settings.get_current_profile_name() != "soak":
        return SEED
    named = request.config.getoption("--hypothesis-seed")
    return secrets.randbelow(2**32) if named is None else int(named)


@pytest.fixture
def tell(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], first_seed: int
) -> Callable[[Counter[str], list[str]], None]:
    """What was seen, for who looks on and, where `--stateful-report` says, for the page."""

    def tell(seen: Counter[str], violations: list[str]) -> None:
        counted = dict(sorted((+seen).items()))
        with capsys.disabled():
            print("", *(f"{count:7} {name}" for name, count in counted.items()), f"seed {first_seed}", sep="\n")
        if path := request.config.getoption("--stateful-report"):
            lives, steps = counted.pop("lives"), counted.pop("steps")
            report = {
                "seed": str(first_seed),
                "lives": lives,
                "steps": steps,
                "seen": counted,
                "violations": violations,
            }
            Path(path).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")

    return tell


def test_the_books_agree_after_every_step(
    postgres: embedded.Server, template: str, first_seed: int, tell: Callable[[Counter[str], list[str]], None]
) -> None:
    seen: Counter[str] = Counter()
    violations: list[str] = []
    try:
        _live(postgres, template, seen, first_seed)
    except Exception as error:
        violations.append(f"{type(error).__name__}: {error}")
        raise
    finally:
        tell(seen, violations)
    assert (+seen).keys() >= REACHED


def _live(postgres: embedded.Server, template: str, seen: Counter[str], first_seed: int) -> None:
    soak = settings.get_current_profile_name() == "soak"
    chosen = settings() if soak else BOUNDED
    ten = settings(chosen, max_examples=IN_A_ROW, deadline=None, suppress_health_check=list(HealthCheck))
    with Runner(loop_factory=uvloop.new_event_loop) as runner:

        def business() -> Business:
            return Business(runner, cloned(postgres, template), seen)

        for number in range(chosen.max_examples // IN_A_ROW):
            seed(first_seed + number)(business)
            run_state_machine_as_test(business, settings=ten)  # type: ignore[arg-type]  # any maker of machines will do
