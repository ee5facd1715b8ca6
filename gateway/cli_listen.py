"""`paygate listen`: a developer's webhooks without a tunnel: read from the feed, posted from this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

import click
import httpx

from gateway import cli_client
from gateway.api.events import LATEST
from gateway.api.exchange import dump
from gateway.cli_client import Client, Json, api_key_option, base_url_option
from gateway.cli_terminal import json_option, waiting
from webhooks import message, signing

POLL_SECONDS = 2.0
"""Thirty calls a minute: a third of what a partner may make by default."""
FORWARD_SECONDS = 15.0
PAUSES_SECONDS = (1.0, 2.0, 4.0)
"""Before each further try where the server does not answer: a server that restarts is back by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarded:
    """What came of one event. `status` is None where no try was answered."""

    id: str
    type: str
    status: int | None
    duration_ms: int
    tries: int
    error: str | None


@dataclass(slots=True, kw_only=True)
class Listener:
    api: Client
    local: httpx.AsyncClient
    url: str
    secret: str
    types: Sequence[str]
    as_json: bool
    reached: str | None = None
    """The last event that was forwarded or given up: where a later run goes on."""
    lost: list[str] = field(default_factory=list)
    before_lost: str | None = None

    async def listen(self) -> None:
        cursor = self.reached
        while True:
            page = await self.api.feed(cursor, *self.types)
            for event in page["data"]:
                await self._forward(event)
            self.reached = cursor = page["next_cursor"]
            if not page["has_more"]:
                await asyncio.sleep(POLL_SECONDS)

    async def _forward(self, event: Json) -> None:
        told = await self._post(event, tries=1)
        for tries, pause in enumerate(PAUSES_SECONDS, 2):
            if told.status is not None:
                break
            click.echo(f"{self.url} does not answer ({told.error}); {told.id} again in {pause:.0f} s", err=True)
            await asyncio.sleep(pause)
            told = await self._post(event, tries=tries)
        self._tell(told)
        self.reached = told.id

    async def _post(self, event: Json, *, tries: int) -> Forwarded:
        body, now, began = dump(event), int(time.time()), time.perf_counter()
        signed = message.Signed(event["id"], now, body)
        headers = message.headers(signed, secrets=[self.secret], private_keys=(), own={})
        status, failure = None, None
        try:
            async with asyncio.timeout(FORWARD_SECONDS):
                status = (await self.local.post(self.url, content=body, headers=headers)).status_code
        except (httpx.TransportError, TimeoutError) as error:
            failure = type(error).__name__
        milliseconds = round((time.perf_counter() - began) * 1000)
        return Forwarded(
            id=event["id"], type=event["type"], status=status, duration_ms=milliseconds, tries=tries, error=failure
        )

    def _tell(self, told: Forwarded) -> None:
        if told.status is None:
            self.before_lost = self.before_lost if self.lost else self.reached
            self.lost.append(told.id)
            click.echo(f"NOT delivered after {told.tries} tries; going on with the next", err=True)
        if self.as_json:
            click.echo(json.dumps({"object": "forwarded", **asdict(told)}))
        else:
            answer = f"{told.status} in {told.duration_ms} ms" if told.status else f"no answer ({told.error})"
            click.echo(f"{time.strftime('%H:%M:%S')}  {told.type:<31}  {told.id}  → {answer}")


def _address(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    parts = urlsplit(value if "://" in value else f"http://{value}")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise click.BadParameter("must be an address such as http://127.0.0.1:9000/webhooks")
    return parts.geturl()


def _usable(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str:
    if value is None:
        return signing.new_secret()
    try:
        signing.sign([value], "", 0, b"")
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


@click.command()
@click.option("--forward-to", "url", required=True, callback=_address, help="Your server's address for webhooks.")
@base_url_option
@api_key_option
@click.option("--secret", callback=_usable, help="whsec_…, signs what is forwarded; default: a new one, shown.")
@click.option("--types", multiple=True, help="Only this type of event; repeatable, or separated by commas.")
@click.option("--after", help="Begin behind this event, evt_….")
@click.option("--from-now", is_flag=True, help="Begin with what happens from now on: the default.")
@json_option
@waiting
async def listen(
    *,
    url: str,
    base_url: str,
    api_key: str,
    secret: str,
    types: tuple[str, ...],
    after: str | None,
    from_now: bool,
    as_json: bool,
) -> None:
    """Forward a test account's events to a server on your machine, signed, until Ctrl-C."""
    if after and from_now:
        raise click.UsageError("give --after or --from-now, not both")
    names = [name for text in types for name in text.split(",") if name]
    async with (
        cli_client.opened(base_url, api_key) as api,
        httpx.AsyncClient(timeout=None, trust_env=False) as local,  # noqa: S113 - each post has a deadline of its own
    ):
        begin = after or (await api.feed(LATEST))["next_cursor"]
        listener = Listener(api=api, local=local, url=url, secret=secret, types=names, as_json=as_json, reached=begin)
        _greet(listener)
        with contextlib.suppress(asyncio.CancelledError):
            await _until_told(listener)
        _part(listener)


async def _until_told(listener: Listener) -> None:
    listening = asyncio.ensure_future(listener.listen())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, listening.cancel)
    await listening


def _greet(listener: Listener) -> None:
    facts: dict[str, Any] = {"forward_to": listener.url, "secret": listener.secret, "after": listener.reached}
    if listener.as_json:
        click.echo(json.dumps({"object": "listening", **facts}))
    else:
        begin = f"behind {listener.reached}" if listener.reached else "at the first event"
        click.echo(f"Forwarding to {listener.url}, beginning {begin}. Ctrl-C ends.")
        click.echo(f"Signed with {listener.secret}")


def _part(listener: Listener) -> None:
    if listener.lost:
        click.echo(f"\nNot delivered: {' '.join(listener.lost)}", err=True)
    again = listener.before_lost if listener.lost else listener.reached
    if again:
        click.echo(f"\nTo go on {'before them' if listener.lost else 'from here'}: --after {again}", err=True)
