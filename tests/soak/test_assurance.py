"""Promise: docs/assurance.md shows what assurance.json holds, of campaigns that were long enough and found nothing."""

from __future__ import annotations

import re

import pytest

from tests import assurance

TRANSACTIONS_MIN, KILLS_MIN = 20_000, 200
SEEDS_MIN, VIRTUAL_HOURS_MIN = 1_000, 10_000
DELIVERIES_KILLS_MIN = 100
PLANTED_MIN = 20


def test_the_page_shows_the_figures() -> None:
    assert assurance.PAGE.read_text(encoding="utf-8") == assurance.page(assurance.read())


def counted(name: str) -> assurance.Json:
    """The campaign's figures. Where it was never finished, its page says so, and nothing can be demanded of it."""
    figures = assurance.read()
    if name not in figures:
        pytest.skip(f"not finished yet: make soak ARGS={name}")
    found: assurance.Json = figures[name]
    return found


@pytest.mark.parametrize("name", assurance.CAMPAIGNS)
def test_a_campaign_says_when_and_of_which_revision_it_was(name: str) -> None:
    assert counted(name)["run"].keys() >= {"date", "revision"}


def test_the_last_soak_was_long_and_found_nothing() -> None:
    soak = counted("soak")
    assert soak["violations"] == []
    assert soak["transactions"] >= TRANSACTIONS_MIN
    assert soak["kills"]["serve"] + soak["kills"]["worker"] >= KILLS_MIN


def test_the_last_simulation_was_long_and_found_nothing() -> None:
    simulation = counted("simulation")
    assert simulation["violations"] == []
    assert simulation["seeds"] >= SEEDS_MIN
    assert simulation["virtual_hours"] >= VIRTUAL_HOURS_MIN


def test_the_last_deliveries_saw_many_kills_and_found_nothing() -> None:
    deliveries = counted("deliveries")
    assert deliveries["violations"] == []
    assert deliveries["kills"] >= DELIVERIES_KILLS_MIN


def test_every_planted_bug_was_noticed() -> None:
    planted = counted("planted")
    assert planted["planted_bugs"]["total"] >= PLANTED_MIN
    assert all(kind["caught"] == kind["total"] for kind in planted.values() if "caught" in kind)


def test_every_mutant_was_noticed() -> None:
    mutants = counted("mutants")["mutants"]
    assert mutants["killed"] + mutants["equivalent"] == mutants["total"]


def test_the_figures_tell_of_no_machine() -> None:
    text = assurance.FIGURES.read_text(encoding="utf-8")
    assert not re.findall(r"(?<![\w.])/(?:tmp|home|root|work|usr|var|private|Users)\b", text)


def test_figures_become_rows() -> None:
    ran = {"date": "2026-01-31", "revision": "abc", "python": "3.11", "postgresql": "18"}
    counted = {"run": ran, "transactions": 20000, "kills": {"serve": 3, "by_name": 4}, "violations": []}
    rows = assurance.page({"soak": counted})
    assert "| transactions | 20,000 |\n| kills | serve 3, by name 4 |\n| violations | **none** |\n" in rows
    assert "Not run yet." in rows
