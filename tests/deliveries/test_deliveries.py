"""Promise: workers may be killed at any moment; every event still arrives, in order, under one id with one body.

A few kills of the hundred that `make soak ARGS=deliveries` makes.
"""

from __future__ import annotations

import pytest

from db import ids
from tests.deliveries import campaign
from tests.deliveries.campaign import ENDPOINTS, Campaign, Delivered
from tests.deliveries.receiver import Arrival, Receiver

KILLS = 3
PAUSE_SECONDS = 0.5


async def test_what_killed_workers_left_arrives(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("deliveries")
    report = await Campaign(kills=KILLS, seed=7, pause_seconds=PAUSE_SECONDS).run(folder)
    assert report["violations"] == []
    assert report["kills"] == KILLS
    assert report["deliveries"] == report["events"] * report["endpoints"]
    assert report["order"]["pairs"] > 0


def received(*came: tuple[str, bytes, bool]) -> Receiver:
    """Each endpoint got these, in this order."""
    receiver = Receiver(1, unwell=set())
    for endpoint in range(ENDPOINTS):
        for number, (event_id, digest, taken) in enumerate(came):
            receiver.arrivals[endpoint, event_id].append(Arrival(number, digest, taken))
    return receiver


@pytest.mark.parametrize(
    ("receiver", "state", "found"),
    [
        (received(("evt", b"a", True), ("evt", b"a", True)), "delivered", None),
        (received(), "delivered", "never arrived"),
        (received(("evt", b"a", False)), "delivered", "never arrived"),
        (received(("evt", b"a", True), ("evt", b"b", True)), "delivered", "another body"),
        (received(("evt", b"a", True), ("other", b"a", True)), "delivered", "not published"),
        (received(("evt", b"a", True)), "pending", "pending at endpoint"),
        (received(("evt", b"a", True)), "exhausted", "exhausted at endpoint"),
    ],
)
def test_what_is_lost_changed_or_left_over_is_found(receiver: Receiver, state: str, found: str | None) -> None:
    delivered = [Delivered("evt", endpoint, ids.new(), 1, state, 1) for endpoint in range(ENDPOINTS)]
    violations = list(campaign.missing({"evt": b"a"}, receiver, delivered))
    assert len(violations) == (0 if found is None else ENDPOINTS)
    assert all(found and found in violation for violation in violations)


@pytest.mark.parametrize(
    ("came", "tries", "found"), [("12", 1, 0), ("21", 1, 1), ("21", 2, 1), ("21", 3, 0), ("2112", 1, 1), ("1212", 1, 0)]
)
def test_what_overtakes_is_found_where_it_had_to_wait(came: str, tries: int, found: int) -> None:
    transaction_id = ids.new()
    delivered = [Delivered(str(at), 0, transaction_id, at, "delivered", tries if at == 1 else 1) for at in (1, 2)]
    pairs = list(campaign.in_order(delivered))
    receiver = received(*((event, b"", True) for event in came))
    assert len(list(campaign.disorder(pairs, receiver.arrivals))) == found
