"""Every operation × every point it reaches × every fault: which of them are run, and what came of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.failpoints.strikes import Fault, Point

Case = tuple[Point, Fault]


@dataclass(slots=True)
class Tally:
    whole: bool
    """Every point each time it is reached × every fault; else each point of an operation once, the faults in turn."""
    points: set[str] = field(default_factory=set)
    cases: dict[str, int] = field(default_factory=dict)
    """By operation."""
    violations: list[str] = field(default_factory=list)

    def cases_of(self, operation: str, points: list[Point]) -> Iterator[Case]:
        faults = tuple(Fault)
        first = len(self.cases)  # what several operations pass gets another fault in each
        self.cases[operation] = 0
        chosen = points if self.whole else [point for point in points if point.nth == 1]
        for place, point in enumerate(chosen, first):
            self.points.add(point.name)
            for fault in faults if self.whole else (faults[place % len(faults)],):
                self.cases[operation] += 1
                yield point, fault

    def to_json(self) -> dict[str, object]:
        return {
            "whole": self.whole,
            "operations": len(self.cases),
            "points": len(self.points),
            "faults": [fault.value for fault in Fault],
            "cases": sum(self.cases.values()),
            "violations": self.violations,
        }

    def __str__(self) -> str:
        cases = f"{len(self.cases)} operations, {len(self.points)} points, {sum(self.cases.values())} cases"
        return f"{cases} {'(the whole matrix)' if self.whole else '(a slice)'}, {len(self.violations)} violations"
