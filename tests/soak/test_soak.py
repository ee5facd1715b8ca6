"""Promise: real processes under load, killed, paused and cut off; in the end every book says the same.

A few seconds of what `make soak` does for a quarter of an hour.
"""

from __future__ import annotations

import pytest

from tests.soak.campaign import Campaign

SMOKE = Campaign(transactions=150, kills=6, seed=9, hurried=True)


async def test_after_faults_and_a_drain_four_books_agree(tmp_path_factory: pytest.TempPathFactory) -> None:
    report = await SMOKE.run(tmp_path_factory.mktemp("soak"))
    assert report["violations"] == []
    assert report["transactions"] == SMOKE.transactions
    assert sum(report["kills"].values()) >= SMOKE.kills
