"""Promise: real processes under load, killed, paused and cut off; in the end every book says the same.

A few seconds of what `make soak` does for a quarter of an hour.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.soak.__main__ import Diary
from tests.soak.campaign import Campaign

SMOKE = Campaign(transactions=120, kills=4, seed=9, hurried=True)


async def test_after_faults_and_a_drain_four_books_agree(tmp_path_factory: pytest.TempPathFactory) -> None:
    report = await SMOKE.run(tmp_path_factory.mktemp("soak"))
    assert report["violations"] == []
    assert report["transactions"] == SMOKE.transactions
    assert sum(report["kills"].values()) >= SMOKE.kills


def test_a_run_that_is_cut_off_says_so(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    diary = Diary(7, file)
    diary.tell("13000 of 20000 orders, 130 kills")
    (wrong,) = json.loads(file.read_text())["violations"]
    assert wrong == "cut off, nothing is proven; last heard: 13000 of 20000 orders, 130 kills"
    diary.write({"seed": 7, "violations": []})
    assert json.loads(file.read_text())["violations"] == []
