"""Charts as numbers for an SVG: values in, places out. Pure; `charts.html` draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH, HEIGHT = 480, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 24
"""Margins: for the ticks' texts."""
TICKS_MAX = 5
LABELS_MAX = 6
BAR_SHARE = 0.7
"""Of the width that a step has."""
FLAT = 1e-6
"""Values that differ by less, relative to their size, are drawn as the same."""
DASHES = ("", "6 3", "2 3", "8 3 2 3")
"""So that lines can be told apart without colours."""

Spell = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Series:
    """`number` is its colour, from 1: the same for the same name in every chart."""

    name: str
    number: int
    values: Sequence[float | None]

    @property
    def dash(self) -> str:
        return DASHES[(self.number - 1) % len(DASHES)]


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float
    told: str


@dataclass(frozen=True, slots=True)
class Line:
    series: Series
    paths: Sequence[str]
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Bar:
    series: Series
    x: float
    y: float
    width: float
    height: float
    told: str


@dataclass(frozen=True, slots=True)
class Chart:
    lines: Sequence[Line]
    bars: Sequence[Bar]
    rows: Sequence[Tick]
    """Ticks of the values: `at` is their y."""
    columns: Sequence[Tick]
    """Ticks of the time: `at` is their x."""
    series: Sequence[Series]
    labels: Sequence[str]
    spell: Spell

    width, height, left, right, bottom = WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM

    @property
    def empty(self) -> bool:
        return not any(value is not None for one in self.series for value in one.values)


def lines(
    series: Sequence[Series], labels: Sequence[str], spell: Spell, *, least: float | None = None, most: float = math.inf
) -> Chart:
    """Values over time. The axis begins at `least`, or below the smallest value, and ends at `most` at the latest."""
    known = [value for one in series for value in one.values if value is not None]
    ticks = _ticks(min(known, default=0.0) if least is None else least, max(known, default=0.0), most)
    scale = _Scale(ticks)
    drawn = [_line(one, labels, scale, spell) for one in series]
    return Chart(drawn, (), scale.rows(spell), _columns(labels), series, labels, spell)


def bars(series: Sequence[Series], labels: Sequence[str], spell: Spell) -> Chart:
    """Sums over time, stacked from zero."""
    totals = [sum(value or 0.0 for value in step) for step in zip(*(one.values for one in series), strict=True)]
    scale = _Scale(_ticks(0.0, max(totals, default=0.0), math.inf))
    drawn = [bar for step in range(len(labels)) for bar in _stack(series, labels, step, scale, spell)]
    return Chart((), drawn, scale.rows(spell), _columns(labels), series, labels, spell)


@dataclass(frozen=True, slots=True)
class _Scale:
    ticks: Sequence[float]

    def y(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - BOTTOM - TOP), 1)

    def rows(self, spell: Spell) -> list[Tick]:
        return [Tick(self.y(value), spell(value)) for value in self.ticks]


def _ticks(low: float, high: float, most: float) -> list[float]:
    """Round values from below `low` to above `high`, at steps of 1, 2 or 5 times a power of ten."""
    size = max(abs(high), 1.0)
    span = high - low if high - low > size * FLAT else size
    rough = span / (TICKS_MAX - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    found = [round(number * step, 10) for number in range(first, last + 1)]
    if found[-1] > most:
        found = [value - (found[-1] - most) for value in found]
    return found


def _x(step: int, steps: int) -> float:
    return round(LEFT + (step + 0.5) * (WIDTH - LEFT - RIGHT) / steps, 1)


def _columns(labels: Sequence[str]) -> list[Tick]:
    every = math.ceil(len(labels) / LABELS_MAX)
    return [Tick(_x(step, len(labels)), label) for step, label in enumerate(labels) if step % every == every // 2]


def _line(series: Series, labels: Sequence[str], scale: _Scale, spell: Spell) -> Line:
    places = [
        None if value is None else Point(_x(step, len(labels)), scale.y(value), f"{label}: {spell(value)}")
        for step, (value, label) in enumerate(zip(series.values, labels, strict=True))
    ]
    return Line(series, list(_paths(places)), [point for point in places if point is not None])


def _paths(places: Iterable[Point | None]) -> Iterable[str]:
    """A path for each stretch without a gap; a point that stands alone needs none."""
    path = ""
    for before, after in pairwise([None, *places, None]):
        if before is not None and after is not None:
            path = (path or f"M{before.x} {before.y}") + f"L{after.x} {after.y}"
        elif path:
            yield path
            path = ""


def _stack(series: Sequence[Series], labels: Sequence[str], step: int, scale: _Scale, spell: Spell) -> Iterable[Bar]:
    width = (WIDTH - LEFT - RIGHT) / len(labels) * BAR_SHARE
    below = 0.0
    for one in series:
        value = one.values[step]
        if value:
            top, foot = scale.y(below + value), scale.y(below)
            x = round(_x(step, len(labels)) - width / 2, 1)
            yield Bar(one, x, top, round(width, 1), round(foot - top, 1), f"{one.name}, {labels[step]}: {spell(value)}")
            below += value
