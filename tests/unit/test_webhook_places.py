"""However many endpoints are slow or silent, prompt ones find places."""

from __future__ import annotations

from uuid import UUID

import pytest

from db import ids
from db.deliveries import Queue
from webhooks import places
from webhooks.places import Allotment

PARTNER = ids.new()


def queue(endpoint_id: UUID | None = None, *, replayed: bool = False, failures: int = 0) -> Queue:
    return Queue(partner_id=PARTNER, endpoint_id=endpoint_id or ids.new(), replayed=replayed, failures=failures)


def shared(allotment: Allotment, *queues: Queue, now: float = 0.0) -> list[int]:
    """The places of each of the queues, in their order."""
    given = {share.queue: share.count for share in allotment.share(queues, now)}
    return [given.get(one, 0) for one in queues]


def tried(allotment: Allotment, endpoint_id: UUID, *, seconds: float, delivered: bool, now: float = 0.0) -> None:
    delivery_id = ids.new()
    allotment.take(endpoint_id, delivery_id, now)
    allotment.give_back(endpoint_id, delivery_id, now + seconds, delivered=delivered)


@pytest.fixture
def allotment() -> Allotment:
    return Allotment(total=64, slow=32, each=16)


def test_an_endpoint_earns_its_places_by_delivering_and_loses_half_by_failing(allotment: Allotment) -> None:
    one = queue()
    seen = shared(allotment, one)
    for delivered in (True, True, True, True, False, False, False, False, True):
        tried(allotment, one.endpoint_id, seconds=0.1, delivered=delivered)
        seen += shared(allotment, one)
    assert seen == [2, 3, 4, 5, 6, 3, 1, 1, 1, 2]


def test_no_endpoint_has_more_than_its_share(allotment: Allotment) -> None:
    one = queue()
    for _ in range(100):
        tried(allotment, one.endpoint_id, seconds=0.1, delivered=True)
    assert shared(allotment, one) == [16]
    for _ in range(10):
        allotment.take(one.endpoint_id, ids.new(), 0.0)
    assert shared(allotment, one) == [6]
    assert allotment.free == 54


def test_what_an_endpoint_has_too_many_is_nobody_elses(allotment: Allotment) -> None:
    busy, others = queue(), [queue() for _ in range(40)]
    for _ in range(14):
        tried(allotment, busy.endpoint_id, seconds=0.1, delivered=True)
    for _ in range(15):
        allotment.take(busy.endpoint_id, ids.new(), 0.0)
    tried(allotment, busy.endpoint_id, seconds=0.1, delivered=False)  # eight places, fifteen tries, not prompt
    assert shared(allotment, busy) == [0]
    assert sum(shared(allotment, busy, *others)) == 32 - 15


def test_slow_silent_and_unknown_endpoints_share_a_part(allotment: Allotment) -> None:
    prompt, others = queue(), [queue() for _ in range(100)]
    tried(allotment, prompt.endpoint_id, seconds=0.1, delivered=True)
    for _ in range(3):
        for other in others:
            for _ in range(shared(allotment, other)[0]):
                allotment.take(other.endpoint_id, ids.new(), 0.0)
    assert allotment.free == 32
    assert shared(allotment, prompt, *others) == [1] + [0] * 100
    assert shared(allotment, prompt) == [3]


def test_an_endpoint_that_falls_silent_is_known_by_its_oldest_try(allotment: Allotment) -> None:
    silent, unknown = queue(), queue()
    for _ in range(14):
        tried(allotment, silent.endpoint_id, seconds=0.1, delivered=True)
    for _ in range(16):
        allotment.take(silent.endpoint_id, ids.new(), 10.0)
    stuck = [queue() for _ in range(8)]
    for one in stuck:
        for _ in range(2):
            allotment.take(one.endpoint_id, ids.new(), 10.0)
    assert shared(allotment, unknown, now=10.5) == [2]
    assert shared(allotment, unknown, now=10 + places.PROMPT_SECONDS + 0.1) == [0]


def test_a_delivery_that_takes_long_makes_an_endpoint_slow(allotment: Allotment) -> None:
    slow, fillers = queue(), [queue() for _ in range(16)]
    tried(allotment, slow.endpoint_id, seconds=places.PROMPT_SECONDS + 0.1, delivered=True)
    for filler in fillers:
        for _ in range(2):
            allotment.take(filler.endpoint_id, ids.new(), 2.0)
    assert shared(allotment, slow, now=2.0) == [0]
    tried(allotment, slow.endpoint_id, seconds=0.1, delivered=True, now=2.0)
    assert shared(allotment, slow, now=2.2) == [4]


def test_of_those_who_share_the_one_served_longest_ago_comes_first_then_who_fails_least() -> None:
    allotment = Allotment(total=8, slow=4, each=4)
    served, failing, unknown = queue(), queue(failures=3), queue()
    tried(allotment, served.endpoint_id, seconds=5, delivered=False, now=1.0)
    assert shared(allotment, served, failing, unknown, now=10.0) == [0, 2, 2]
    for _ in range(2):
        allotment.take(unknown.endpoint_id, ids.new(), 10.0)
    assert shared(allotment, served, failing, unknown, now=10.0) == [0, 2, 0]


@pytest.mark.parametrize(("room", "live", "replay"), [(2, 2, 0), (6, 5, 1), (16, 12, 4)])
def test_a_replay_has_a_quarter_of_what_is_free(allotment: Allotment, room: int, live: int, replay: int) -> None:
    happens = queue()
    again = queue(happens.endpoint_id, replayed=True)
    for _ in range(room - places.FIRST_PLACES):
        tried(allotment, happens.endpoint_id, seconds=0.1, delivered=True)
    assert shared(allotment, happens) == [room]
    assert shared(allotment, happens, again) == [live, replay]
    assert shared(allotment, again) == [max(replay, 1)]


def test_what_is_idle_is_forgotten_when_there_are_too_many(
    allotment: Allotment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "KNOWN_MAX", 10)
    busy = queue()
    allotment.take(busy.endpoint_id, ids.new(), 0.0)
    idle = [queue() for _ in range(20)]
    for one in idle:
        tried(allotment, one.endpoint_id, seconds=0.1, delivered=True)
    assert shared(allotment, busy, idle[0]) == [1, 2]
    assert allotment.free == 63
