"""What the official SDK makes of Stripe's answers never gets in the way of ours, and it tells nobody about us."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import httpx
import pytest

from providers import contract, http, stripe
from providers.contract import NotSent, Unknown
from tests.providers.far_ends import a_charge


def opened(transport: httpx.AsyncBaseTransport) -> stripe.Stripe:
    doorway = http.Doorway(transport=transport)
    return stripe.Stripe.open({"api_key": "sk_test_x"}, base_url=None, livemode=False, doorway=doorway)


async def send(answer: httpx.Response) -> contract.Outcome:
    adapter = opened(httpx.MockTransport(lambda _request: answer))
    return await adapter.send(adapter.prepare(a_charge("pm_card_visa", "at_1")), key="k1")


@pytest.mark.parametrize("status", [200, 201, 302, 400, 402, 404, 409, 500, 503])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"7",
        b'"no"',
        b'{"error": null}',
        b'{"error": "no"}',
        b'{"error": []}',
        b'{"error": {"type": ["x"]}}',
        b'{"error": {"type": "card_error", "code": {}}}',
        b'{"id": "pi_1", "status": "succeeded"',
    ],
)
async def test_no_answer_however_odd_is_more_than_unknown(status: int, body: bytes) -> None:
    outcome = await send(httpx.Response(status, content=body))

    assert isinstance(outcome, Unknown | contract.Declined)
    if isinstance(outcome, contract.Declined):
        assert (status, outcome.code) == (402, "unknown")


@pytest.mark.parametrize("status", [401, 403, 429])
@pytest.mark.parametrize("body", [b"", b"<html>", b"{}"])
async def test_a_refusal_at_the_door_is_told_by_its_status_alone(status: int, body: bytes) -> None:
    assert isinstance(await send(httpx.Response(status, content=body)), NotSent)


@pytest.mark.parametrize("headers", [{}, {"Stripe-Should-Retry": "true"}])
async def test_nothing_is_ever_sent_twice_by_the_sdk(headers: Mapping[str, str]) -> None:
    seen: list[httpx.Request] = []

    def fails(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(500, headers=headers, json={"error": {"type": "api_error"}})

    adapter = opened(httpx.MockTransport(fails))
    await adapter.send(adapter.prepare(a_charge("pm_card_visa", "at_1")), key="k1")

    assert len(seen) == 1


async def test_requests_carry_the_pinned_version_and_no_telemetry() -> None:
    seen: list[httpx.Request] = []

    def answers(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={}, headers={"Request-Id": "req_1"})

    adapter = opened(httpx.MockTransport(answers))
    for key in ("k1", "k2"):
        await adapter.send(adapter.prepare(a_charge("pm_card_visa", "at_1")), key=key)

    for request in seen:
        assert request.headers["Stripe-Version"] == stripe.VERSION
        assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
        assert "X-Stripe-Client-Telemetry" not in request.headers
        assert "platform" not in request.headers["X-Stripe-Client-User-Agent"]


async def test_the_sdk_logs_no_bodies(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await send(httpx.Response(402, json={"error": {"type": "card_error", "code": "card_declined"}}))

    assert "pm_card_visa" not in caplog.text
