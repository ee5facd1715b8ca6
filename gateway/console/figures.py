"""Figures of the overview from what was counted, and how they are spelled. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from db.charge_counts import BOUNDS_MS, Counted

SMALL = 0.001
"""Shares below are spelled with more places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of charge attempts. A share of nothing is None."""

    approved: int
    declined: int
    failed: int
    undecided: int
    amount: Decimal
    durations: tuple[int, ...]

    @property
    def attempts(self) -> int:
        return self.approved + self.declined + self.failed + self.undecided

    @property
    def approval(self) -> float | None:
        decided = self.approved + self.declined
        return self.approved / decided if decided else None

    @property
    def errors(self) -> float | None:
        return self.failed / self.attempts if self.attempts else None

    def milliseconds(self, share: float) -> float | None:
        """What this share of the verdicts took at most, by straight lines between the bounds that were counted."""
        wanted = share * sum(self.durations)
        if not wanted:
            return None
        below = 0.0
        for place, count in enumerate(self.durations):
            if below + count >= wanted:
                low = BOUNDS_MS[place - 1] if place else 0
                high = BOUNDS_MS[min(place, len(BOUNDS_MS) - 1)]
                return low + (high - low) * (wanted - below) / count
            below += count
        raise AssertionError("the counts add up to their sum")


def summed(rows: Iterable[Counted]) -> Figures:
    rows = list(rows)
    places = zip(*(row.durations for row in rows), strict=True)
    return Figures(
        approved=sum(row.approved for row in rows),
        declined=sum(row.declined for row in rows),
        failed=sum(row.failed for row in rows),
        undecided=sum(row.undecided for row in rows),
        amount=sum((row.amount for row in rows), Decimal(0)),
        durations=tuple(map(sum, places)),
    )


# ── Spelling ────────────────────────────────────────────────────────────────────────────────────────────────────────


def percent(share: float | None) -> str:
    """To a tenth of a percent; what is below that is told more exactly."""
    if share is None:
        return "–"
    text = f"{share * 100:.1f}" if share >= SMALL or not share else f"{share * 100:.3f}"
    return text.rstrip("0").rstrip(".") + "%"


def duration(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "–"
    seconds = milliseconds / 1_000
    return f"{milliseconds:.0f} ms" if seconds < 1 else f"{seconds:.1f}".removesuffix(".0") + " s"


def short(amount: float) -> str:
    """`1234567` → `1.2M`: for an axis."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if amount >= size:
            return f"{amount / size:.1f}".removesuffix(".0") + letter
    return f"{amount:.1f}".removesuffix(".0")


def age(length: timedelta) -> str:
    """In its largest unit, rounded down."""
    seconds = max(int(length.total_seconds()), 0)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
