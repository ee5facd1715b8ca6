"""What a seed has in store: which faults there are at all, how often they strike, and when whole systems are away.

Each run has some kinds of faults only (a fault that is everywhere hides the others); after `calm_at` there are none.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

HOUR = 3600.0
STORM_HOURS = (10.0, 14.0)


class Fate(StrEnum):
    """What becomes of a call to a PSP."""

    ARRIVES = "arrives"
    REFUSED = "refused"
    """No connection: proven not sent."""
    LOST = "lost"
    """The request never arrives; the caller waits in vain."""
    RESET = "reset"
    """The request never arrives and the connection breaks: for the caller it may have."""
    ACTS_LATE = "acts_late"
    """The request arrives minutes to hours later, when nobody waits for its answer any more."""
    ANSWER_LOST = "answer_lost"
    ANSWER_RESET = "answer_reset"
    ANSWER_LATE = "answer_late"
    """Seconds late: in time for some deadlines."""
    THROTTLED = "throttled"
    FAILED = "failed"
    """5xx, and nothing was done."""
    FAILED_AFTER_ACTING = "failed_after_acting"
    """5xx, though all was done."""
    GARBAGE = "garbage"
    WRONG_AMOUNT = "wrong_amount"


OF_AN_OUTAGE = (
    Fate.REFUSED,
    Fate.LOST,
    Fate.RESET,
    Fate.ANSWER_LOST,
    Fate.FAILED,
    Fate.FAILED_AFTER_ACTING,
    Fate.THROTTLED,
    Fate.ACTS_LATE,
)


class Blow(StrEnum):
    """What may strike a process at a step."""

    CONNECTION_LOST = "connection_lost"
    CRASH = "crash"
    FREEZE = "freeze"


@dataclass(frozen=True, slots=True)
class Outage:
    begins: float
    ends: float
    fate: Fate
    share: float
    """Of the calls; the others arrive."""


@dataclass(slots=True)
class Weather:
    """Times are in seconds since the run began."""

    seed: int
    calm_at: float
    fates: dict[Fate, float]
    """By kind, the share of calls it strikes at any time."""
    outages: dict[str, list[Outage]]
    """By PSP."""
    database_outages: list[tuple[float, float]]
    receiver_outages: list[tuple[float, float]]
    kills: list[tuple[float, str, float]]
    """When, which process, and for how long it is away."""
    freezes: list[tuple[float, str, float]]
    blows: dict[Blow, float]
    """The chance of each at every step of a process."""
    drop: float
    repeat: float
    delay: float
    """Shares of PSPs' notifications."""
    counts: Counter[str] = field(default_factory=Counter)
    chance: random.Random = field(default_factory=random.Random)

    def fate(self, psp: str, now: float) -> Fate:
        """Of a call that is made now."""
        if now >= self.calm_at:
            return Fate.ARRIVES
        fate = Fate.ARRIVES
        for outage in self.outages[psp]:
            if outage.begins <= now < outage.ends and self.chance.random() < outage.share:
                fate = outage.fate
        roll = self.chance.random()
        for kind, share in self.fates.items():
            roll -= share
            if fate is Fate.ARRIVES and roll < 0:
                fate = kind
        if fate is not Fate.ARRIVES:
            self.counts[f"psp_{fate.value}"] += 1
        return fate

    def blow(self, now: float) -> Blow | None:
        if not 0 < now < self.calm_at or not self.blows:
            return None
        roll = self.chance.random()
        for blow, share in self.blows.items():
            roll -= share
            if roll < 0:
                return blow
        return None


def forecast(seed: int, psps: tuple[str, ...]) -> Weather:
    chance = random.Random(f"{seed}/weather")
    calm_at = chance.uniform(*STORM_HOURS) * HOUR
    some = chance.sample(list(Fate)[1:], chance.randint(0, 5))
    weather = Weather(
        seed=seed,
        calm_at=calm_at,
        fates={fate: chance.uniform(0.01, 0.12) for fate in some},
        outages={psp: _outages(chance, calm_at) for psp in psps},
        database_outages=_spans(chance, calm_at, at_most=2, seconds=(1.0, 120.0)),
        receiver_outages=_spans(chance, calm_at, at_most=2, seconds=(60.0, 4 * HOUR)),
        kills=[(at, name, chance.uniform(1, 900)) for at, name in _moments(chance, calm_at, 3)],
        freezes=[(at, name, chance.uniform(1, 240)) for at, name in _moments(chance, calm_at, 2)],
        blows={blow: 1 / chance.uniform(200, 4000) for blow in chance.sample(list(Blow), chance.randint(0, 2))},
        drop=chance.choice((0.0, 0.0, 0.1, 0.5, 1.0)),
        repeat=chance.choice((0.0, 0.2, 0.8)),
        delay=chance.choice((0.0, 0.2, 0.8)),
    )
    weather.chance = random.Random(f"{seed}/strokes")
    return weather


def _outages(chance: random.Random, calm_at: float) -> list[Outage]:
    spans = _spans(chance, calm_at, at_most=2, seconds=(30.0, 5 * HOUR))
    return [Outage(begins, ends, chance.choice(OF_AN_OUTAGE), chance.choice((1.0, 1.0, 0.7))) for begins, ends in spans]


def _spans(
    chance: random.Random, calm_at: float, *, at_most: int, seconds: tuple[float, float]
) -> list[tuple[float, float]]:
    """Short ones as often as long ones."""
    found = []
    for _ in range(chance.randint(0, at_most)):
        length = seconds[0] * (seconds[1] / seconds[0]) ** chance.random()
        begins = chance.uniform(0, calm_at)
        found.append((begins, min(begins + length, calm_at)))
    return sorted(found)


def _moments(chance: random.Random, calm_at: float, at_most: int) -> list[tuple[float, str]]:
    count = chance.randint(0, at_most)
    return sorted((chance.uniform(0, calm_at), chance.choice(("api", "worker"))) for _ in range(count))
