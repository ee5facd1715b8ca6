"""Who may have how many tries under way: pure bookkeeping of one process, the time is passed in.

An endpoint begins with two places, gains one with every delivery and loses half with every failure. Endpoints that are
slow, silent or unknown share a part of the places, so that however many there are, prompt ones find the rest free.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from uuid import UUID

from db.deliveries import Places, Queue

FIRST_PLACES = 2
PROMPT_SECONDS = 1.0
KNOWN_MAX = 10_000
"""Endpoints remembered; beyond that those with nothing under way are forgotten and begin anew."""


@dataclass(slots=True)
class _Known:
    """`under_way`: try → when it began, the oldest first."""

    places: int = FIRST_PLACES
    prompt: bool = False
    served_at: float = float("-inf")
    under_way: dict[Hashable, float] = field(default_factory=dict)

    def is_prompt(self, now: float) -> bool:
        oldest = next(iter(self.under_way.values()), now)
        return self.prompt and now - oldest <= PROMPT_SECONDS


class Allotment:
    """`total` tries at once, of which endpoints that are not prompt get at most `slow`, and one at most `each`."""

    def __init__(self, *, total: int, slow: int, each: int) -> None:
        self._total, self._slow, self._each = total, slow, each
        self._known: dict[UUID, _Known] = {}
        self._under_way = 0

    @property
    def free(self) -> int:
        return self._total - self._under_way

    def share(self, queues: Iterable[Queue], now: float) -> list[Places]:
        """Places for each queue; together they may be twice as many as are free, as most queues are short.

        A replay gets a quarter of an endpoint's, so that what happens meanwhile finds the rest.
        """
        waiting = sorted(queues, key=lambda queue: (self._of(queue).served_at, queue.failures, queue.replayed))
        slow_free = self._slow - sum(
            len(known.under_way) for known in self._known.values() if known.under_way and not known.is_prompt(now)
        )
        both = _twice(queue.endpoint_id for queue in waiting)
        even = 2 * self.free // max(len(waiting), 1) + 1
        shared = []
        for queue in waiting:
            known = self._of(queue)
            places = min(_part(known.places - len(known.under_way), queue, beside=queue.endpoint_id in both), even)
            if not known.is_prompt(now):
                places = min(places, slow_free)
                slow_free -= places
            if places > 0:
                shared.append(Places(queue, places))
        return shared

    def take(self, endpoint_id: UUID, attempt: Hashable, now: float) -> None:
        known = self._known.setdefault(endpoint_id, _Known())
        known.under_way[attempt] = known.served_at = now
        self._under_way += 1

    def give_back(self, endpoint_id: UUID, attempt: Hashable, now: float, *, delivered: bool) -> None:
        known = self._known[endpoint_id]
        began = known.under_way.pop(attempt)
        self._under_way -= 1
        known.prompt = delivered and now - began <= PROMPT_SECONDS
        known.places = min(known.places + 1, self._each) if delivered else max(known.places // 2, 1)
        if len(self._known) > KNOWN_MAX:
            self._known = {one: known for one, known in self._known.items() if known.under_way}

    def _of(self, queue: Queue) -> _Known:
        return self._known.get(queue.endpoint_id) or _Known()


def _part(room: int, queue: Queue, *, beside: bool) -> int:
    """What a queue gets of its endpoint's free places; `beside`: its other queue waits too."""
    if room <= 0:
        return 0
    replays = room // 4 if beside else max(room // 4, 1)
    return replays if queue.replayed else room - replays * beside


def _twice(endpoint_ids: Iterable[UUID]) -> set[UUID]:
    return {endpoint_id for endpoint_id, count in Counter(endpoint_ids).items() if count > 1}
