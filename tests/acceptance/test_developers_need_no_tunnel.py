"""Promise: a developer gets a test account's events on their own machine, signed, and can make each of them happen."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import click
import httpx
import pytest

from gateway import api_keys, cli_client, cli_listen
from gateway.cli_client import Client
from gateway.cli_listen import Listener
from gateway.cli_trigger import CAUSES, IMPOSSIBLE, PING, Trigger
from gateway.transactions.representation import EVENT_TYPES
from tests.acceptance.steps import until
from tests.house import WAIT_SECONDS, House, Json, Partner
from webhooks import signing

ENTRY = (sys.executable, "-c", "from gateway.cli import main; main()")


@pytest.fixture
async def api(shared_house: House, partner: Partner) -> AsyncIterator[Client]:
    async with cli_client.opened(shared_house.base_url, partner.api_key) as client:
        yield client


@pytest.fixture
def secret(shared_house: House) -> str:
    made = signing.new_secret()
    shared_house.receiver.secrets.append(made)
    return made


@asynccontextmanager
async def listening(api: Client, url: str, secret: str, *types: str) -> AsyncIterator[Listener]:
    begin = (await api.feed("latest"))["next_cursor"]
    async with httpx.AsyncClient(timeout=WAIT_SECONDS, trust_env=False) as local:
        listener = Listener(api=api, local=local, url=url, secret=secret, types=types, as_json=True, reached=begin)
        running = asyncio.create_task(listener.listen())
        yield listener
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def told(capsys: pytest.CaptureFixture[str]) -> list[Json]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def paygate(*arguments: str, **environ: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *ENTRY,
        *arguments,
        env={"PATH": os.environ["PATH"]} | environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def test_every_type_has_a_cause_or_a_reason_why_not() -> None:
    assert {*CAUSES, PING, *IMPOSSIBLE} == set(EVENT_TYPES)


@pytest.mark.parametrize("event_type", [name for name in CAUSES if name != "transaction.needs_review"])
async def test_a_type_is_caused_by_what_stands_in_the_list(api: Client, event_type: str) -> None:
    events = (await Trigger(api, event_type).cause())["events"]
    assert events[-1]["type"] == event_type
    shown = await api.get(f"/v1/events/{events[-1]['id']}")
    assert shown["type"] == event_type


async def test_a_review_is_caused_by_half_an_authorization(database_url: str) -> None:
    # In a house of its own: what the PSP holds there is not what our books say, and so it should be.
    async with House.opened(database_url) as house:
        partner = await house.partner()
        async with cli_client.opened(house.base_url, partner.api_key) as api:
            events = (await Trigger(api, "transaction.needs_review").cause())["events"]
    assert events[-1]["type"] == "transaction.needs_review"


async def test_a_ping_needs_an_endpoint(shared_house: House, partner: Partner, api: Client) -> None:
    with pytest.raises(click.ClickException, match="there is none that is enabled"):
        await Trigger(api, PING).cause()
    await shared_house.subscribed(partner)
    assert [event["type"] for event in (await Trigger(api, PING).cause())["events"]] == [PING]


async def test_what_happens_is_forwarded_signed_and_byte_for_byte(
    shared_house: House, partner: Partner, secret: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(shared_house.receiver.ids)
    command = ("listen", "--forward-to", f"{shared_house.receiver_url}/local", "--secret", secret, "--json")
    await partner.charge()  # before it began
    process = await paygate(*command, "--base-url", shared_house.base_url, PAYGATE_API_KEY=partner.api_key)
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_SECONDS):
        greeting = json.loads(await process.stdout.readline())
        sale = (await partner.charge()).json()
        lines = [json.loads(await process.stdout.readline()) for _ in range(2)]
    process.send_signal(signal.SIGINT)
    _, said = await asyncio.wait_for(process.communicate(), WAIT_SECONDS)
    assert process.returncode == 0
    assert greeting["secret"] == secret
    assert [(line["type"], line["status"], line["tries"]) for line in lines] == [
        ("transaction.created", 204, 1),
        ("transaction.completed", 204, 1),
    ]
    ours = [line["id"] for line in lines]  # other partners' events may still be on their way
    assert [one for one in shared_house.receiver.ids[before:] if one in ours] == ours
    assert shared_house.receiver.events[-1]["data"] == sale
    assert f"--after {lines[-1]['id']}" in said.decode()


async def test_what_is_sent_is_what_the_feed_holds(partner: Partner, api: Client, secret: str) -> None:
    sent: list[httpx.Request] = []

    def keep(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200)

    await partner.charge(description="naïve “quotes” €", metadata={"a": "b"})
    (event, *_) = (await api.feed(None))["data"]
    async with httpx.AsyncClient(transport=httpx.MockTransport(keep)) as local:
        listener = Listener(api=api, local=local, url="http://shop.test/", secret=secret, types=(), as_json=True)
        await listener._forward(event)
    assert sent[0].content == (await partner.get(f"/v1/events/{event['id']}")).content
    assert sent[0].headers["webhook-id"] == event["id"]


async def test_only_the_types_asked_for_are_forwarded(
    shared_house: House, partner: Partner, api: Client, secret: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with listening(api, f"{shared_house.receiver_url}/local", secret, "transaction.completed") as listener:
        await partner.charge()
        begin = listener.reached
        await until(lambda: reached(listener), lambda at: at != begin)
    assert [line["type"] for line in told(capsys)] == ["transaction.completed"]


async def reached(listener: Listener) -> str | None:
    return listener.reached


async def test_a_server_that_is_away_is_waited_for_and_then_passed_by_aloud(
    partner: Partner, api: Client, secret: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli_listen, "PAUSES_SECONDS", (0.0, 0.0, 0.0))
    calls: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request.headers["webhook-id"])
        if len(calls) in (1, 2, 4, 5, 6, 7):
            raise httpx.ConnectError("away")
        return httpx.Response(500 if len(calls) == 8 else 200)

    await partner.charge()
    await partner.charge()
    page = await api.feed(None)
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as local:
        listener = Listener(api=api, local=local, url="http://shop.test/", secret=secret, types=(), as_json=True)
        for event in page["data"]:
            await listener._forward(event)
    names = [event["id"] for event in page["data"]]
    assert calls == [names[0]] * 3 + [names[1]] * 4 + names[2:]
    output = capsys.readouterr()
    lines = [json.loads(line) for line in output.out.splitlines()]
    assert [(line["status"], line["tries"]) for line in lines] == [(200, 3), (None, 4), (500, 1), (200, 1)]
    assert (listener.lost, listener.before_lost, listener.reached) == ([names[1]], names[0], names[3])
    assert output.err.count("does not answer") == 5
    assert "NOT delivered" in output.err


async def test_an_api_that_says_later_is_asked_later_and_the_place_is_kept(
    partner: Partner, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_client, "LATER_SECONDS", 0.0)
    asked: list[httpx.URL] = []
    page = {"data": [], "has_more": False, "next_cursor": "evt_1"}
    answers: list[Callable[[], httpx.Response]] = [
        lambda: httpx.Response(429, headers={"Retry-After": "0"}),
        lambda: httpx.Response(503),
        refuse,
        lambda: httpx.Response(200, json=page),
    ]

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return answers[len(asked) - 1]()

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://api.test") as http:
        assert await Client(http).feed("evt_1", "ping") == page
    assert {str(url) for url in asked} == {"http://api.test/v1/events?types=ping&after=evt_1"}
    assert len(asked) == 4
    assert capsys.readouterr().err.splitlines() == [
        "GET /v1/events was answered 429; trying again until it answers",
        "the gateway answers again",
    ]


def refuse() -> httpx.Response:
    raise httpx.ConnectError("away")


@pytest.mark.parametrize(
    "command", [("listen", "--forward-to", "http://127.0.0.1:1"), ("trigger", "transaction.failed")]
)
async def test_a_live_key_is_refused_before_anything_is_sent(command: tuple[str, ...]) -> None:
    live = api_keys.issue(livemode=True).text
    process = await paygate(*command, "--base-url", "http://127.0.0.1:1", PAYGATE_API_KEY=live)
    _, said = await process.communicate()
    assert process.returncode == 1
    assert said.decode() == "Error: that is a live key: this is for test mode only, nothing was sent\n"


async def test_what_the_api_refuses_is_said_in_its_words(shared_house: House, partner: Partner) -> None:
    nowhere = "evt_00000000000000000000000000"
    command = ("listen", "--forward-to", "127.0.0.1:1", "--after", nowhere, "--base-url", shared_house.base_url)
    process = await paygate(*command, PAYGATE_API_KEY=partner.api_key)
    _, said = await process.communicate()
    assert process.returncode == 1
    assert "after is not an event of this account and mode" in said.decode()


async def test_what_cannot_be_caused_says_why_and_what_can() -> None:
    process = await paygate("trigger", "endpoint.disabled", "--api-key", "x")
    _, said = await process.communicate()
    assert process.returncode == 2
    assert IMPOSSIBLE["endpoint.disabled"] in said.decode()
    assert "transaction.completed" in said.decode()
