"""Promise: whatever happens, in whatever order, the money is where the books say and every answer was true."""

from __future__ import annotations

from asyncio import Runner
from collections import Counter

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
SEED = 2
BOUNDED = settings(max_examples=24, stateful_step_count=50, database=None, phases=[Phase.generate])
"""The same steps in every run, and no search for fewer when they fail: that is for the campaign, the profile `soak`."""


def test_the_books_agree_after_every_step(
    postgres: embedded.Server, template: str, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: Counter[str] = Counter()
    with Runner(loop_factory=uvloop.new_event_loop) as runner:

        def business() -> Business:
            return Business(runner, cloned(postgres, template), seen)

        soak = settings.get_current_profile_name() == "soak"
        run_state_machine_as_test(
            business if soak else seed(SEED)(business),  # type: ignore[arg-type]  # any maker of machines will do
            settings=settings(settings() if soak else BOUNDED, deadline=None, suppress_health_check=list(HealthCheck)),
        )
    with capsys.disabled():
        print("", *(f"{count:7} {name}" for name, count in sorted((+seen).items())), sep="\n")
    assert (+seen).keys() >= REACHED
