from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

import pytest

from db import embedded
from tests.conftest import cloned
from tests.failpoints.cases import Recordings
from tests.failpoints.matrix import Tally
from tests.failpoints.stage import Stage
from tests.shared_run import TOLD


def _scope(fixture_name: str, config: pytest.Config) -> Literal["function", "session"]:
    """Of the whole matrix each operation has its own: look-ups would go through what ten thousand scenes left."""
    return "function" if config.getoption("--failpoints") == "whole" else "session"


@pytest.fixture(scope=_scope)
async def stage(postgres: embedded.Server, template: str, tally: Tally) -> AsyncIterator[Stage]:
    """Every case is another partner's, and all the money is counted when the last is over."""
    async with cloned(postgres, template) as url, Stage.opened(url) as opened:
        yield opened
        broken = await opened.violations()
        tally.violations += broken
        assert not broken, broken


@pytest.fixture(scope=_scope)
def recordings(stage: Stage) -> Recordings:
    return Recordings(stage)


@pytest.fixture(scope="session")
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Counts the cases; told at the end, and written where `--failpoints-report` says."""
    counted = Tally(whole=request.config.getoption("--failpoints") == "whole")
    yield counted
    if not counted.cases:  # another process has them
        return
    request.config.stash[TOLD].append(f"failpoints: {counted}")
    path = request.config.getoption("--failpoints-report")
    if path:
        Path(path).write_text(json.dumps(counted.to_json(), indent=1) + "\n", encoding="utf-8")
