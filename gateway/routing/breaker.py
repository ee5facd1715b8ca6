"""The circuit breaker of one account and payment method: when to leave a PSP alone, and when to try it again. Pure.

    closed ──(outages outweigh answers)──► open ──(its time is over)──► half open ──(an answer)──► closed
                                            ▲                              │
                                            └────────(another outage)──────┘

An answer is an answer, whatever it says: a wave of declines is no outage.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from db.routing_records import BreakerOverride, Health
from providers.contract import NotSent, Outcome, Unknown

HALF_LIFE_SECONDS = 10.0
"""By then what was seen counts half: the decision is about the last seconds."""
OUTAGES_MIN = 4.0
"""Of this decayed weight, and no fewer outages than answers: one lost connection among a few is no outage."""
STREAK = 5
"""Outages one after the other, however far apart: an account with little traffic never gathers weight."""
STREAK_KEPT = timedelta(minutes=15)
SLOW_SECONDS = 10.0
"""A customer does not wait longer: an answer after this counts as none."""
WAIT = timedelta(seconds=10)
WAIT_MAX = timedelta(minutes=5)
"""The wait before the next trial doubles with every one that fails, up to this."""


class Standing(StrEnum):
    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one process saw since it last told."""

    answers: int = 0
    outages: int = 0


def is_outage(outcome: Outcome, seconds: float) -> bool:
    return isinstance(outcome, NotSent | Unknown) or seconds > SLOW_SECONDS


def standing(health: Health | None, at: datetime) -> Standing:
    if health is None or health.override == BreakerOverride.CLOSED:
        return Standing.CLOSED
    if health.override == BreakerOverride.OPEN:
        return Standing.OPEN
    if health.retry_at is None:
        return Standing.CLOSED
    return Standing.OPEN if at < health.retry_at else Standing.HALF_OPEN


def step(health: Health, seen: Seen, at: datetime) -> Health:
    """Health after what was seen."""
    age = max(at - health.as_of, timedelta())
    kept = 0.5 ** (age.total_seconds() / HALF_LIFE_SECONDS)
    streak = health.streak if age < STREAK_KEPT else 0
    after = replace(
        health,
        answers=health.answers * kept + seen.answers,
        outages=health.outages * kept + seen.outages,
        streak=0 if seen.answers else streak + seen.outages,
        as_of=max(at, health.as_of),
    )
    if after.retry_at is None:
        return _opened(after, at) if _is_out(after) else after
    if at < after.retry_at:
        return after  # what was under way when it opened
    if seen.outages:
        return _opened(after, at)
    return replace(after, retry_at=None, answers=0.0, outages=0.0) if seen.answers else after


def _is_out(health: Health) -> bool:
    return health.streak >= STREAK or (health.outages >= OUTAGES_MIN and health.outages >= health.answers)


def _opened(health: Health, at: datetime) -> Health:
    long_ago = health.opened_at is None or at - health.opened_at > STREAK_KEPT
    trips = 0 if long_ago else health.trips
    wait = min(WAIT * 2 ** min(trips, 10), WAIT_MAX)
    return replace(health, opened_at=at, retry_at=at + wait, trips=trips + 1, answers=0.0, outages=0.0, streak=0)
