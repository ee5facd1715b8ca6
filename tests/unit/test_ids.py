from __future__ import annotations

import itertools
import time

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
