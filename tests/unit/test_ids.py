from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime, timedelta

import pytest

from db import ids

NOW = 1_795_000_000_123_000_000
"""Nanoseconds since the epoch, at the beginning of a millisecond."""


def test_ids_are_ordered_within_a_millisecond_too(monkeypatch: pytest.MonkeyPatch) -> None:
    ticking = itertools.count(NOW, 250)
    monkeypatch.setattr(time, "time_ns", lambda: next(ticking))
    made = [ids.new() for _ in range(8_000)]  # two milliseconds
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_an_id_tells_its_millisecond_version_and_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: NOW + 999_999)
    made = ids.new()
    assert made.int >> 80 == NOW // 1_000_000
    assert (made.int >> 64 & 0xFFF) == 0xFFF
    assert made.version == 7
    assert made.variant == "specified in RFC 4122"


def test_two_ids_of_one_moment_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: NOW)
    assert len({ids.new() for _ in range(1_000)}) == 1_000


@pytest.mark.parametrize(
    ("at", "hours", "wanted"),
    [
        (datetime(2026, 11, 28, 12, tzinfo=UTC), 1, datetime(2026, 11, 28, 13, tzinfo=UTC)),
        (datetime(2026, 11, 28, 12, tzinfo=UTC), -1, datetime(2026, 11, 28, 11, tzinfo=UTC)),
        (datetime.min.replace(tzinfo=UTC), -1, datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_moment_has_its_first_id(at: datetime, hours: int, wanted: datetime) -> None:
    assert ids.created_at(ids.earliest(at, shifted=timedelta(hours=hours))) == wanted


def test_the_last_moment_can_be_shifted_too() -> None:
    last = datetime.max.replace(tzinfo=UTC)
    shifted = ids.earliest(last, shifted=timedelta(hours=1))
    assert shifted.int - ids.earliest(last).int == 3_600_000 << 80
