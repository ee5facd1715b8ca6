"""Signing in at PayPal: one token for all, renewed in time, and never a reason to believe that money moved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from providers import contract, http
from providers.contract import Approved, NotSent, NotSentReason
from providers.paypal_session import Session, SignInFailed
from tests.providers.far_ends import Line, Recorder, Switchboard, a_charge, line_to

TOKEN = "/v1/oauth2/token"


@pytest.fixture
async def line(switchboard: Switchboard) -> AsyncIterator[Line]:
    async with line_to("paypal", switchboard) as line:
        yield line


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    """One that sees the signing in, too."""
    recorder = Recorder()
    yield recorder
    await recorder.aclose()


def tokens(recorder: Recorder) -> int:
    return sum(request.url.path == TOKEN for request in recorder.requests)


async def charge(adapter: contract.Provider, reference: str) -> contract.Outcome:
    return await adapter.send(adapter.prepare(a_charge("vault_card_visa", reference)), key=f"key-{reference}")


class TestOverHTTP:
    async def test_fifty_charges_at_once_share_one_token(self, line: Line, recorder: Recorder) -> None:
        adapter = line.adapter(doorway=http.Doorway(transport=recorder))
        outcomes = await asyncio.gather(*(charge(adapter, f"at_{number}") for number in range(50)))

        assert all(isinstance(outcome, Approved) for outcome in outcomes)
        assert tokens(recorder) == 1

    async def test_a_token_that_paypal_forgot_is_renewed_once_for_all(self, line: Line, recorder: Recorder) -> None:
        adapter = line.adapter(doorway=http.Doorway(transport=recorder))
        await charge(adapter, "at_1")
        await line.control.delete("/_simulator/tokens")
        outcomes = await asyncio.gather(*(charge(adapter, f"at_{number}") for number in range(2, 12)))

        assert all(isinstance(outcome, Approved) for outcome in outcomes)
        assert tokens(recorder) == 2
        assert [await line.moved(f"at_{number}", "captures") for number in range(1, 12)] == [(1, 1099)] * 11

    @pytest.mark.parametrize(
        ("kind", "reason"),
        [
            ("lose_request", NotSentReason.UNAVAILABLE),
            ("error_without_acting", NotSentReason.UNAVAILABLE),
            ("truncate", NotSentReason.UNAVAILABLE),
            ("garbage", NotSentReason.UNAVAILABLE),
            ("throttle", NotSentReason.THROTTLED),
        ],
    )
    async def test_without_a_token_nothing_was_sent(self, line: Line, kind: str, reason: NotSentReason) -> None:
        await line.order(kind, operation="token")
        adapter = line.adapter()
        outcome = await charge(adapter, "at_1")

        assert isinstance(outcome, NotSent)
        assert outcome.reason is reason
        assert line.recorder.requests == []
        assert isinstance(await charge(adapter, "at_1"), Approved)

    async def test_who_goes_away_does_not_take_the_others_token_along(self, line: Line) -> None:
        await line.order("answer_late", operation="token", seconds=60)
        adapter = line.adapter()
        first = asyncio.create_task(charge(adapter, "at_1"))
        second = asyncio.create_task(charge(adapter, "at_2"))
        await line.control.get("/_simulator/ledger")  # a round trip: both have asked for the token
        first.cancel()
        while not second.done():  # a fault holds only once its call has come: let go until it goes on
            await line.release()

        assert first.cancelled()
        assert isinstance(await second, Approved)


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class PayPal:
    """Below httpx: gives out numbered tokens and accepts what it is told to."""

    def __init__(self, *, lifetime: object = 32_400) -> None:
        self.lifetime = lifetime
        self.given = 0
        self.refused = 0
        self.seen: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == TOKEN:
            self.given += 1
            return httpx.Response(200, json={"access_token": f"A{self.given}", "expires_in": self.lifetime})
        self.seen.append(request.headers["Authorization"])
        if self.refused:
            self.refused -= 1
            return httpx.Response(401, json={"error": "invalid_token"})
        return httpx.Response(200, json={})


def session(paypal: PayPal, clock: Clock) -> Session:
    doorway = http.Doorway(transport=httpx.MockTransport(paypal))
    return Session(doorway, "https://paypal.test", client_id="c", client_secret="s", clock=clock)


class TestATokensLife:
    async def test_ends_five_minutes_early(self) -> None:
        paypal, clock = PayPal(), Clock()
        signed_in = session(paypal, clock)
        for clock.seconds in (0, 32_099, 32_101):
            await signed_in.call("GET", "/x")

        assert paypal.seen == ["Bearer A1", "Bearer A1", "Bearer A2"]

    async def test_is_half_used_where_it_is_short(self) -> None:
        paypal, clock = PayPal(lifetime=60), Clock()
        signed_in = session(paypal, clock)
        for clock.seconds in (0, 29, 31):
            await signed_in.call("GET", "/x")

        assert paypal.seen == ["Bearer A1", "Bearer A1", "Bearer A2"]

    @pytest.mark.parametrize("lifetime", [None, "long", 0, -5])
    async def test_is_one_call_where_paypal_does_not_say(self, lifetime: object) -> None:
        paypal, clock = PayPal(lifetime=lifetime), Clock()
        signed_in = session(paypal, clock)
        for _ in range(2):
            await signed_in.call("GET", "/x")

        assert paypal.given == 2

    async def test_a_refused_call_is_made_once_more_with_a_new_one(self) -> None:
        paypal, clock = PayPal(), Clock()
        paypal.refused = 1
        answer = await session(paypal, clock).call("POST", "/x", "{}")

        assert answer.status == 200
        assert paypal.seen == ["Bearer A1", "Bearer A2"]

    async def test_a_call_refused_twice_is_refused(self) -> None:
        paypal, clock = PayPal(), Clock()
        paypal.refused = 9
        answer = await session(paypal, clock).call("POST", "/x", "{}")

        assert answer.status == 401
        assert len(paypal.seen) == 2

    async def test_a_token_that_no_header_can_carry_is_none(self) -> None:
        def odd(_request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json={"access_token": "A\r\nX: y", "expires_in": 9})

        doorway = http.Doorway(transport=httpx.MockTransport(odd))
        with pytest.raises(SignInFailed):
            await Session(doorway, "https://paypal.test", client_id="c", client_secret="s").call("GET", "/x")
