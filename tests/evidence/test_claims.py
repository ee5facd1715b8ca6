"""Promise: routing finds the better account, keeps looking at the other, and foretells what comes."""

from __future__ import annotations

from statistics import mean

import pytest

from tests.evidence.claims import BLOCK, DRAFTS, MARKETS, held, learned

PLANTED, LITTLE_BETTER, FIRST_BETTER, BRANDS, FALLS, RISES, LITTLE_TRAFFIC = MARKETS.values()


def test_a_planted_difference_is_found_and_costs_little() -> None:
    run = learned(PLANTED, 1, 4 * BLOCK)
    assert run.best[0] > 0.75
    assert mean(run.best[1:]) > 0.95
    assert run.regret[-1] < 0.1 * run.priority_regret


def test_priority_is_kept_where_it_is_right() -> None:
    run = learned(FIRST_BETTER, 1, 3 * BLOCK)
    assert run.best[-1] > 0.95
    assert run.regret[-1] < 0.1 * 3 * BLOCK * 0.07


def test_each_brand_finds_its_own() -> None:
    run = learned(BRANDS, 1, 3 * BLOCK)
    assert run.best[-1] > 0.95


def test_a_fall_is_noticed_within_a_day() -> None:
    run = learned(FALLS, 1, 9 * BLOCK)
    assert run.best[5] > 0.9
    assert run.best[8] > 0.9


def test_a_loser_that_becomes_better_is_found() -> None:
    run = learned(RISES, 1, 12 * BLOCK)
    assert run.best[5] > 0.98
    assert run.best[-1] > 0.95


def test_little_traffic_still_prefers_the_better() -> None:
    run = learned(LITTLE_TRAFFIC, 1, 2 * BLOCK)
    assert mean(run.best) > 0.7
    assert run.regret[-1] < 0.3 * run.priority_regret


@pytest.mark.parametrize("name", DRAFTS)
def test_what_comes_lies_within_what_was_foretold(name: str) -> None:
    found = [held(DRAFTS[name], seed, 600) for seed in range(40)]
    assert sum(one.inside for one in found) >= 36
    assert mean(one.expected - one.came for one in found) == pytest.approx(0, abs=0.015)
