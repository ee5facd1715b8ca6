"""Ids: time-ordered (UUID version 7) inside, prefixed outside (TypeID: `txn_` and 26 Crockford base32 characters)."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_LENGTH = 26
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new() -> UUID:
    """A fresh UUIDv7: 48 bits of milliseconds, 12 of their fraction, 62 random bits: ordered and unguessable.

    The fraction (RFC 9562, 6.2, method 3) orders what happens within one millisecond, to a quarter of a microsecond.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    fraction = nanoseconds * 4_096 // 1_000_000
    return UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(62))


def after(last: UUID | None) -> UUID:
    """A fresh id greater than `last`, whatever the clocks of those who made it say."""
    fresh = new()
    return fresh if last is None or fresh > last else UUID(int=last.int + 1)


def earliest(at: datetime, *, shifted: timedelta = timedelta()) -> UUID:
    """Before every id of that millisecond and after all that came before it. No id is from before 1970.

    A shift may lead out of the calendar: people ask for what is before the year 9999 ends.
    """
    return UUID(int=max((at - _EPOCH + shifted) // timedelta(milliseconds=1), 0) << 80)


def created_at(value: UUID) -> datetime:
    """When an id was made, to the millisecond."""
    return datetime.fromtimestamp((value.int >> 80) / 1_000, UTC)


def encode(prefix: str, value: UUID) -> str:
    return f"{prefix}_{bare(value)}"


def bare(value: UUID) -> str:
    """The 26 characters without a prefix, for references that must stay short."""
    number = value.int
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])


def decode(prefix: str, text: str) -> UUID | None:
    """The id behind `text`, or None where it is not one of this prefix."""
    found, separator, rest = text.partition("_")
    return from_bare(rest) if separator and found == prefix else None


def from_bare(text: str) -> UUID | None:
    if len(text) != _LENGTH or text[0] > "7":  # 26 × 5 bits are two more than a UUID has
        return None
    number = 0
    for character in text:
        value = _VALUES.get(character)
        if value is None:
            return None
        number = number << 5 | value
    return UUID(int=number)
