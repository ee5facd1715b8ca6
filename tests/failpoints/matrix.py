"""Every operation × every point it reaches × every fault: which of them are run, and what came of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.failpoints.strikes import Fault, Point

Case = tuple[Point, Fault]


@dataclass(slots=True)
class Tally:
    whole: bool
    """Every point each time it is reached × every fault; else each point once, and each fault in each operation."""
    points: set[str] = field(default_factory=set)
    cases: dict[str, int] = field(default_factory=dict)
    """By operation."""
    violations: list[str] = field(default_factory=list)

    def cases_of(self, operation: str, points: list[Point]) -> Iterator[Case]:
        faults = tuple(Fault)
        chosen = [(point, fault) for point in points for fault in faults] if self.whole else self._slice(points, faults)
        self.points |= {point.name for point, _ in chosen}
        self.cases[operation] = len(chosen)
        yield from chosen

    def _slice(self, points: list[Point], faults: tuple[Fault, ...]) -> list[Case]:
        """What no operation before passed, and other points as far as there are more faults; the faults in turn."""
        once = [point for point in points if point.nth == 1]
        new = [point for point in once if point.name not in self.points]
        known = [point for point in once if point.name in self.points]
        more = max(0, min(len(faults) - len(new), len(known)))
        spread = [known[place * len(known) // more] for place in range(more)]
        struck = sum(self.cases.values())
        return [(point, faults[place % len(faults)]) for place, point in enumerate([*new, *spread], struck)]

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
