"""Charts and figures say what was counted: places on the axis, gaps, percentiles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.charge_counts import BOUNDS_MS, Counted
from gateway.console import charts, figures
from gateway.console.charts import BOTTOM, HEIGHT, TOP, Series

HOURS = ["08:00", "09:00", "10:00", "11:00"]
values = st.lists(st.none() | st.floats(0, 1e12), min_size=1, max_size=90)


def drawn(*found: float | None) -> charts.Chart:
    return charts.lines([Series("stripe", 1, found)], HOURS[: len(found)], figures.percent, least=0.0, most=1.0)


def test_a_line_has_a_gap_where_nothing_was_counted() -> None:
    chart = drawn(0.5, 0.75, None, 1.0)
    (line,) = chart.lines
    assert [path.count("L") for path in line.paths] == [1]
    assert [point.told for point in line.points] == ["08:00: 50%", "09:00: 75%", "11:00: 100%"]
    assert (drawn(None, None).empty, chart.empty) == (True, False)


def test_the_axis_has_round_values_and_ends_at_the_whole() -> None:
    assert [row.text for row in drawn(0.5, 1.0).rows] == ["0%", "50%", "100%"]
    narrow = charts.lines([Series("stripe", 1, [0.981, 0.999])], HOURS[:2], figures.percent, most=1.0)
    assert [row.text for row in narrow.rows] == ["98%", "98.5%", "99%", "99.5%", "100%"]


@given(values)
def test_everything_is_drawn_within_the_frame(found: list[float | None]) -> None:
    labels = [str(step) for step in range(len(found))]
    chart = charts.lines([Series("stripe", 1, found)], labels, figures.short)
    assert all(TOP <= point.y <= HEIGHT - BOTTOM for line in chart.lines for point in line.points)
    assert all(TOP <= tick.at <= HEIGHT - BOTTOM for tick in chart.rows)
    assert len(chart.rows) <= charts.TICKS_MAX + 2
    assert len(chart.columns) <= charts.LABELS_MAX


@given(values)
def test_bars_stand_on_each_other_and_reach_as_high_as_their_sum(found: list[float | None]) -> None:
    labels = [str(step) for step in range(len(found))]
    chart = charts.bars([Series("a", 1, found), Series("b", 2, found[::-1])], labels, figures.short)
    for bar in chart.bars:
        assert bar.y >= TOP - 0.2
        assert bar.y + bar.height <= HEIGHT - BOTTOM + 0.2


def counted(**members: object) -> Counted:
    empty = dict.fromkeys(("approved", "declined", "failed", "undecided"), 0)
    rest = {"since": datetime(2026, 1, 1, tzinfo=UTC), "provider": "stripe", "amount": Decimal(0)}
    return Counted(**{**empty, **rest, "durations": (0,) * (len(BOUNDS_MS) + 1), **members})  # type: ignore[arg-type]


def test_shares_are_of_what_their_definitions_say() -> None:
    whole = figures.summed([counted(approved=8, declined=2, failed=5), counted(undecided=5)])
    assert (whole.attempts, whole.approval, whole.errors) == (20, 0.8, 0.25)
    nothing = figures.summed([counted()])
    assert (nothing.approval, nothing.errors, nothing.milliseconds(0.5)) == (None, None, None)


@pytest.mark.parametrize(("share", "expected"), [(0.25, 50.0), (0.625, 75.0), (1.0, 100.0)])
def test_a_percentile_lies_between_the_bounds_it_was_counted_in(share: float, expected: float) -> None:
    whole = figures.summed([counted(durations=(1, 3) + (0,) * (len(BOUNDS_MS) - 1))])
    assert whole.milliseconds(share) == pytest.approx(expected)


def test_what_took_longer_than_the_last_bound_is_told_as_that() -> None:
    whole = figures.summed([counted(durations=(0,) * len(BOUNDS_MS) + (4,))])
    assert whole.milliseconds(0.5) == BOUNDS_MS[-1]


def test_figures_are_spelled_short() -> None:
    assert [figures.short(one) for one in (0.0, 950.0, 1_234.0, 82_529_279.96)] == ["0", "950", "1.2k", "82.5M"]
    shares = [None, 0.0, 0.00025, 0.003, 0.887, 1.0]
    assert [figures.percent(one) for one in shares] == ["–", "0%", "0.025%", "0.3%", "88.7%", "100%"]
    assert [figures.duration(one) for one in (None, 0.0, 999.0, 1_500.0)] == ["–", "0 ms", "999 ms", "1.5 s"]
    ages = [timedelta(seconds=-1), timedelta(minutes=59, seconds=59), timedelta(hours=30)]
    assert [figures.age(one) for one in ages] == ["0 s", "59 min", "1 d"]
