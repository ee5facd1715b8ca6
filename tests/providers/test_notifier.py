"""How simulated PSPs post: in order, again when refused, and as badly as asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from providers.simulator import control
from providers.simulator.faults import Fault, FaultKind, Faults
from providers.simulator.ledger import Ledger, References
from providers.simulator.notifier import Notifier
from tests.providers.far_ends import Switchboard, free_port


@dataclass(slots=True)
class Post:
    """A notifier at work, and the receiver of its posts."""

    notifier: Notifier
    faults: Faults
    control: httpx.AsyncClient
    arrived: list[tuple[bytes, str]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    async def receive(self, request: Request) -> Response:
        self.arrived.append((await request.body(), request.headers.get("x-signed-at", "")))
        return Response(status_code=self.answers.pop(0) if self.answers else 204)

    def notify(self, *names: str) -> None:
        for name in names:
            references = References(gateway=f"at_{name}")
            self.notifier.notify(name.encode(), {}, event_id=name, event=f"thing.{name}", references=references)

    async def bodies(self) -> str:
        await self.notifier.settled()
        return b" ".join(body for body, _ in self.arrived).decode()

    def order(self, kind: FaultKind, **members: Any) -> None:
        self.faults.ordered.append(Fault(kind=kind, **members))

    async def remembered(self) -> dict[str, Any]:
        told: dict[str, Any] = (await self.control.get("/_simulator/webhooks")).json()
        return told


@pytest.fixture
async def post(switchboard: Switchboard) -> AsyncIterator[Post]:
    faults = Faults()
    notifier = Notifier(faults, url=f"{switchboard.base_url}/hooks", clock=lambda: 7.0, waits_seconds=(0.0, 0.0))
    async with httpx.AsyncClient(base_url=switchboard.base_url, trust_env=False) as client:
        made = Post(notifier, faults, client)
        routes = [Route("/hooks", made.receive, methods=["POST"])]
        switchboard.app = control.app(routes, faults=faults, ledger=Ledger(), notifier=notifier)
        yield made
        await notifier.aclose()


async def test_they_arrive_in_order(post: Post) -> None:
    names = [str(number) for number in range(30)]
    post.notify(*names)

    assert await post.bodies() == " ".join(names)


async def test_headers_are_made_for_each_post(post: Post) -> None:
    post.answers = [500]
    post.notifier.notify(b"a", lambda at: {"X-Signed-At": str(at)}, event_id="a", event="thing")

    assert await post.bodies() == "a a"
    assert [signed_at for _, signed_at in post.arrived] == ["7.0", "7.0"]


async def test_a_refused_one_comes_again_before_the_next_but_not_for_ever(post: Post) -> None:
    post.answers = [500, 302, 204, 404, 404, 404]
    post.notify("a", "b", "c")

    assert await post.bodies() == "a a a b b b c"
    told = await post.remembered()
    assert [one["answers"] for one in told["notifications"]] == [[500, 302, 204], [404, 404, 404], [204]]
    assert [one["id"] for one in told["notifications"]] == ["a", "b", "c"]
    assert told["settled"]


async def test_nobody_there_is_no_answer(post: Post) -> None:
    post.notifier.url = f"http://127.0.0.1:{free_port()}"
    post.notify("a")
    await post.notifier.settled()

    assert post.notifier.remembered[0].answers == [None, None, None]


@pytest.mark.parametrize(
    ("kind", "arrived"),
    [
        (FaultKind.WEBHOOK_DUPLICATE, "a b b c"),
        (FaultKind.WEBHOOK_REORDER, "a c b"),
        (FaultKind.WEBHOOK_DROP, "a c"),
    ],
)
async def test_they_misbehave_as_ordered(post: Post, kind: FaultKind, arrived: str) -> None:
    post.order(kind, event="thing.b")
    post.notify("a", "b", "c")

    assert await post.bodies() == arrived


async def test_what_was_dropped_is_remembered_as_dropped(post: Post) -> None:
    post.order(FaultKind.WEBHOOK_DROP, event="thing.b")
    post.notify("a", "b")
    await post.bodies()

    told = (await post.remembered())["notifications"]
    assert [(one["id"], one["dropped"], one["answers"]) for one in told] == [("a", False, [204]), ("b", True, [])]


async def test_reordering_many_turns_them_round(post: Post) -> None:
    post.order(FaultKind.WEBHOOK_REORDER, times=2)
    post.notify("a", "b", "c")

    assert await post.bodies() == "c b a"


async def test_a_late_one_lets_the_others_pass(post: Post) -> None:
    post.order(FaultKind.WEBHOOK_LATE, reference="at_a", seconds=60)
    post.notify("a", "b")
    while not post.arrived:
        await post.remembered()  # each look is a round trip, so the others get their turns
    await post.control.delete("/_simulator/faults")

    assert await post.bodies() == "b a"


async def test_what_is_held_back_is_sent_when_the_faults_are_cleared(post: Post) -> None:
    post.order(FaultKind.WEBHOOK_REORDER)
    post.notify("a")
    assert await post.bodies() == ""

    await post.control.delete("/_simulator/faults")
    assert await post.bodies() == "a"


async def test_faults_of_calls_and_of_webhooks_do_not_strike_each_other(post: Post) -> None:
    post.order(FaultKind.THROTTLE, times=9)
    post.order(FaultKind.WEBHOOK_DROP, operation="charge", times=9)
    post.notify("a")

    assert await post.bodies() == "a"
    taken = post.faults.take("charge", References())
    assert taken is not None
    assert taken.kind is FaultKind.THROTTLE


async def test_everything_can_be_sent_again_the_dropped_too(post: Post) -> None:
    post.order(FaultKind.WEBHOOK_DROP)
    post.notify("a", "b")
    await post.notifier.settled()

    for _ in range(2):
        assert (await post.control.post("/_simulator/webhooks/resend")).json() == {"resent": 2}
    assert await post.bodies() == "b a b a b"


async def test_what_nobody_took_can_be_sent_again_alone(post: Post) -> None:
    post.order(FaultKind.WEBHOOK_DROP, event="thing.b")
    post.answers = [500, 500, 500, 204, 500, 204]
    post.notify("a", "b", "c", "d")
    assert await post.bodies() == "a a a c d d"

    for count in (1, 0):
        resent = await post.control.post("/_simulator/webhooks/resend", params={"only": "refused"})
        assert resent.json() == {"resent": count}
        assert await post.bodies() == "a a a c d d a"


async def test_the_address_is_told_and_taken_back(post: Post) -> None:
    url = post.notifier.url
    for wrong in ("ftp://x", 7, ""):
        assert (await post.control.post("/_simulator/webhooks", json={"url": wrong})).status_code == 400
    await post.control.post("/_simulator/webhooks", json={"url": None})
    post.notify("a")
    assert await post.bodies() == ""
    assert (await post.remembered())["url"] is None

    await post.control.post("/_simulator/webhooks", json={"url": url})
    await post.control.post("/_simulator/webhooks/resend")
    assert await post.bodies() == "a"


async def test_closing_ends_what_is_under_way(post: Post) -> None:
    post.order(FaultKind.WEBHOOK_LATE, seconds=60)
    post.notify("a", "b", "c")
    before = asyncio.all_tasks()
    await post.notifier.aclose()

    assert not [task for task in before if not task.done() and "Notifier" in repr(task)]
    assert post.notifier.to_json()["settled"]
