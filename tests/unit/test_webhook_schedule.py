"""A delivery is tried ten times over three days, as late as the endpoint asks within a bound."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhooks import schedule
from webhooks.schedule import Verdict

NOW = 1_800_000_000.0


def test_the_tries_are_spaced_as_published() -> None:
    spaced = [schedule.delay_seconds(tries, 0.5) for tries in range(11)]
    assert spaced == [0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400, None]


def test_the_whole_schedule_covers_three_days() -> None:
    assert sum(schedule.DELAYS_SECONDS) >= 3 * 86400


@given(tries=st.integers(1, 9), chance=st.floats(0, 1, exclude_max=True))
def test_chance_moves_a_try_by_a_fifth_at_most(tries: int, chance: float) -> None:
    pause = schedule.delay_seconds(tries, chance)
    assert pause is not None
    assert 0.8 * schedule.DELAYS_SECONDS[tries] <= pause <= 1.2 * schedule.DELAYS_SECONDS[tries]


@given(tries=st.integers(10, 1000), chance=st.floats(0, 1, exclude_max=True), asked=st.floats(0, 1e9))
def test_after_the_tenth_try_a_delivery_is_exhausted_whatever_was_asked(
    tries: int, chance: float, asked: float
) -> None:
    assert schedule.delay_seconds(tries, chance, retry_after=asked) is None


def test_chance_chooses_between_four_and_six_fifths() -> None:
    assert [schedule.jittered(100, chance) for chance in (0, 0.5, 1)] == [80, 100, 120]


def test_an_endpoint_may_ask_for_a_later_try_but_not_for_an_earlier_one() -> None:
    assert schedule.delay_seconds(1, 0.5, retry_after=60) == 60
    assert schedule.delay_seconds(2, 0.5, retry_after=60) == 300


def test_an_endpoint_cannot_park_a_delivery_for_more_than_a_day() -> None:
    assert schedule.delay_seconds(1, 0.5, retry_after=1e9) == 86400


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("0", 0),
        ("12345678901", 123456789),
        ("Fri, 15 Jan 2027 09:30:30 +0130", 30),
        (formatdate(NOW + 90, usegmt=True), 90),
        (formatdate(NOW - 90, usegmt=True), 0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 0),
        (None, 0),
        ("", 0),
        ("-5", 0),
        ("1.5", 0),
        ("soon", 0),
        ("Fri, 99 Foo 2027 99:99:99 GMT", 0),
        ("９９", 0),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str | None, seconds: float) -> None:
    assert schedule.retry_after_seconds(value, now=NOW) == seconds


@given(value=st.text(max_size=100))
def test_no_retry_after_breaks_the_reader(value: str) -> None:
    assert schedule.retry_after_seconds(value, now=NOW) >= 0


@pytest.mark.parametrize("status", range(100, 600))
def test_success_is_2xx_gone_is_410_and_all_else_is_tried_again(status: int) -> None:
    expected = Verdict.DELIVERED if status // 100 == 2 else Verdict.GONE if status == 410 else Verdict.RETRY
    assert schedule.judge(status) is expected
