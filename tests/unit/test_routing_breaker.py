"""When an account is left alone, when it is tried again, and that declines have nothing to do with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db import ids
from db.routing_records import BreakerOverride, Health
from gateway.routing import breaker
from gateway.routing.breaker import Seen, Standing
from providers.contract import (
    Absent,
    ActionRequired,
    Approved,
    Declined,
    DeclineKind,
    NotSent,
    NotSentReason,
    Outcome,
    Pending,
    Rejected,
    Unknown,
)

AT = datetime(2026, 11, 27, 12, tzinfo=UTC)
DECLINED = Declined(code="do_not_honor", kind=DeclineKind.SOFT, may_fail_over=True, provider_code=None, message="No.")


def a_health(**members: Any) -> Health:
    given: dict[str, Any] = {"account_id": ids.new(), "method": "card", "as_of": AT}
    return Health(**given | members)


def after(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def opened(**members: Any) -> Health:
    return a_health(**{"opened_at": AT, "retry_at": after(10), "trips": 1} | members)


@pytest.mark.parametrize(
    ("outcome", "outage"),
    [
        (NotSent(reason=NotSentReason.UNREACHABLE), True),
        (Unknown(reason="no answer"), True),
        (Approved(provider_id="pi_1"), False),
        (DECLINED, False),
        (Rejected(provider_code=None, message="No."), False),
        (Pending(provider_id="pi_1"), False),
        (ActionRequired(provider_id="pi_1", url="https://psp.example"), False),
        (Absent(), False),
    ],
)
def test_only_silence_is_an_outage(outcome: Outcome, *, outage: bool) -> None:
    assert breaker.is_outage(outcome, 10.0) is outage
    assert breaker.is_outage(outcome, 10.1)  # nobody waits for that


@pytest.mark.parametrize(
    ("health", "standing"),
    [
        (None, Standing.CLOSED),
        (a_health(), Standing.CLOSED),
        (a_health(retry_at=after(0.001)), Standing.OPEN),
        (a_health(retry_at=AT), Standing.HALF_OPEN),
        (a_health(retry_at=after(-1)), Standing.HALF_OPEN),
        (a_health(override=BreakerOverride.OPEN), Standing.OPEN),
        (a_health(retry_at=after(9), override=BreakerOverride.CLOSED), Standing.CLOSED),
    ],
)
def test_a_breaker_stands_as_its_time_and_its_operator_say(health: Health | None, standing: Standing) -> None:
    assert breaker.standing(health, AT) is standing


def test_what_was_seen_is_added_to_what_has_halved_since() -> None:
    health = a_health(answers=8.0, outages=2.0, streak=1)
    assert breaker.step(health, Seen(answers=3, outages=1), after(20)) == a_health(
        account_id=health.account_id, answers=5.0, outages=1.5, streak=0, as_of=after(20)
    )


def test_what_another_process_saw_earlier_is_added_as_it_is() -> None:
    health = a_health(answers=8.0)
    assert breaker.step(health, Seen(answers=1), after(-20)) == a_health(account_id=health.account_id, answers=9.0)


@pytest.mark.parametrize(
    ("health", "seen", "out"),
    [
        (a_health(), Seen(outages=4), True),
        (a_health(), Seen(outages=3), False),
        (a_health(), Seen(answers=4, outages=4), True),
        (a_health(), Seen(answers=5, outages=4), False),
        (a_health(streak=4, answers=100.0), Seen(outages=1), True),
        (a_health(streak=3, answers=100.0), Seen(outages=1), False),
        (a_health(streak=4, answers=100.0), Seen(answers=1, outages=1), False),
        (a_health(), Seen(answers=1_000), False),
    ],
)
def test_outages_open_it_where_they_outweigh_answers_or_follow_one_another(
    health: Health, seen: Seen, *, out: bool
) -> None:
    stepped = breaker.step(health, seen, AT)
    assert (breaker.standing(stepped, AT) is Standing.OPEN) is out
    if out:
        assert stepped == opened(account_id=health.account_id)


@pytest.mark.parametrize(("seconds", "out"), [(899.9, True), (900, False)])
def test_a_streak_is_forgotten_after_a_quarter_of_an_hour(seconds: float, *, out: bool) -> None:
    stepped = breaker.step(a_health(streak=4), Seen(outages=1), after(seconds))
    assert (stepped.retry_at is not None) is out
    assert stepped.streak == (0 if out else 1)


def test_what_was_under_way_when_it_opened_changes_nothing() -> None:
    health = opened()
    under_way = breaker.step(health, Seen(answers=2, outages=3), after(9.9))
    assert (under_way.retry_at, under_way.opened_at, under_way.trips) == (after(10), AT, 1)


def test_an_answer_to_the_trial_closes_it() -> None:
    health = opened(answers=3.0, outages=3.0)
    closed = breaker.step(health, Seen(answers=1), after(10))
    assert closed == opened(account_id=health.account_id, retry_at=None, as_of=after(10))


def test_a_trial_that_nobody_answers_opens_it_again() -> None:
    again = breaker.step(opened(), Seen(answers=1, outages=1), after(10))
    assert (again.opened_at, again.retry_at, again.trips) == (after(10), after(30), 2)


def test_nothing_seen_leaves_it_half_open() -> None:
    still = breaker.step(opened(), Seen(), after(11))
    assert (still.retry_at, still.trips) == (after(10), 1)


def test_the_wait_doubles_up_to_five_minutes() -> None:
    health, waits = opened(), []
    for _ in range(12):
        assert health.retry_at is not None
        at = health.retry_at
        health = breaker.step(health, Seen(outages=1), at)
        assert health.retry_at is not None
        waits.append((health.retry_at - at).total_seconds())
    assert waits == [20, 40, 80, 160] + [300] * 8


@pytest.mark.parametrize(("seconds", "wait", "trips"), [(900, 40, 3), (900.001, 10, 1)])
def test_a_trip_of_long_ago_does_not_lengthen_the_wait(seconds: float, wait: float, trips: int) -> None:
    health = a_health(opened_at=AT, trips=2)
    again = breaker.step(health, Seen(outages=4), after(seconds))
    assert again.retry_at == after(seconds) + timedelta(seconds=wait)
    assert again.trips == trips


def test_an_operators_word_survives_whatever_is_seen() -> None:
    health = a_health(override=BreakerOverride.OPEN)
    assert breaker.step(health, Seen(outages=4), AT).override is BreakerOverride.OPEN


@given(seen=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(0, 1_000)), max_size=40))
def test_whatever_is_seen_an_answer_to_a_later_trial_closes_it(seen: list[tuple[int, int, float]]) -> None:
    health, at = a_health(), AT
    for answers, outages, pause in seen:
        at += timedelta(seconds=pause)
        health = breaker.step(health, Seen(answers, outages), at)
        assert health.retry_at is None or health.retry_at <= at + breaker.WAIT_MAX
    closed = breaker.step(health, Seen(answers=1), at + breaker.WAIT_MAX)
    assert breaker.standing(closed, at + breaker.WAIT_MAX) is Standing.CLOSED
