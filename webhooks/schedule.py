"""When a delivery is tried, and what an answer means for it. Pure: chance and time are passed in.

try 1 at once ─ 5 s ─ 5 min ─ 30 min ─ 2 h ─ 5 h ─ 10 h ─ 14 h ─ 20 h ─ 24 h ─ exhausted        (≈ 75 h)
"""

from __future__ import annotations

import email.utils
from datetime import UTC
from enum import StrEnum

DELAYS_SECONDS = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""The pause before each try, the first included."""
TRIES_MAX = len(DELAYS_SECONDS)
JITTER = 0.2  # so that deliveries that failed together do not come back together
RETRY_AFTER_MAX_SECONDS = 86_400  # the longest step: an endpoint cannot park a delivery for longer than we would
_GONE = 410


class Verdict(StrEnum):
    DELIVERED = "delivered"
    RETRY = "retry"
    GONE = "gone"
    """The endpoint says that it is no more: it is disabled."""


def judge(status: int) -> Verdict:
    """Redirects are failures: following one would send a signed body where nobody registered an address."""
    if 200 <= status < 300:  # noqa: PLR2004 - the class of success, RFC 9110
        return Verdict.DELIVERED
    return Verdict.GONE if status == _GONE else Verdict.RETRY


def delay_seconds(tries: int, chance: float, *, retry_after: float = 0.0) -> float | None:
    """The pause after `tries` failed tries; None once exhausted. `chance` in [0, 1) chooses within the jitter.

    An endpoint may ask for a later try (`retry_after`), never for an earlier one.
    """
    if tries >= TRIES_MAX:
        return None
    return max(jittered(DELAYS_SECONDS[tries], chance), min(retry_after, RETRY_AFTER_MAX_SECONDS))


def jittered(seconds: float, chance: float) -> float:
    return seconds * (1 + JITTER * (2 * chance - 1))


def retry_after_seconds(value: str | None, *, now: float) -> float:
    """`Retry-After` as seconds from `now` (RFC 9110: a number of seconds or an HTTP date); 0 where it says nothing."""
    value = (value or "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = email.utils.parsedate_to_datetime(value)
        asked = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
    return max(asked - now, 0.0)
