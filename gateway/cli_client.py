"""The partner API as a developer's commands use it: with a test key, and patiently where it says "later"."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import click
import httpx

from gateway import api_keys

CALL_SECONDS = 30.0
LATER_SECONDS = 2.0
"""Before the next try where the API does not say itself."""
LATER_MAX_SECONDS = 60.0
_LATER = frozenset({429, 500, 502, 503, 504})
Json = dict[str, Any]

base_url_option: Callable[[Any], Any] = click.option(
    "--base-url", default="http://127.0.0.1:8080", show_default=True, help="Where the gateway is."
)
api_key_option: Callable[[Any], Any] = click.option(
    "--api-key", envvar="PAYGATE_API_KEY", show_envvar=True, required=True, help="A test-mode key."
)


class Waits(Exception):
    """The API will answer later; the message says why."""

    def __init__(self, why: str, seconds: float) -> None:
        super().__init__(why)
        self.seconds = min(seconds, LATER_MAX_SECONDS)


@dataclass(frozen=True, slots=True)
class Client:
    http: httpx.AsyncClient
    tries: int | None = None
    """Of one call, while the API says "later"; None: until it answers."""

    async def feed(self, after: str | None, *types: str) -> Json:
        """A page of `GET /v1/events`."""
        query: list[tuple[str, str]] = [("types", name) for name in types]
        return await self._call("GET", "/v1/events", params=query + ([("after", after)] if after else []))

    async def get(self, path: str) -> Json:
        return await self._call("GET", path)

    async def post(self, path: str, body: Json) -> Json:
        return await self._call("POST", path, json=body, headers={"Idempotency-Key": secrets.token_hex(16)})

    async def _call(self, method: str, path: str, **request: Any) -> Json:
        for number in itertools.count(1):
            try:
                answered = await self._try(method, path, **request)
            except Waits as wait:
                if number == self.tries:
                    raise click.ClickException(str(wait)) from None
                if number == 1:
                    click.echo(f"{wait}; trying again until it answers", err=True)
                await asyncio.sleep(wait.seconds)
            else:
                if number > 1:
                    click.echo("the gateway answers again", err=True)
                return answered
        raise AssertionError("counting does not end")

    async def _try(self, method: str, path: str, **request: Any) -> Json:
        try:
            answer = await self.http.request(method, path, **request)
        except httpx.TransportError as error:
            told = f"{self.http.base_url} does not answer ({type(error).__name__})"
            raise Waits(told, LATER_SECONDS) from None
        if answer.status_code in _LATER:
            seconds = answer.headers.get("retry-after", "")
            told = f"{method} {path} was answered {answer.status_code}"
            raise Waits(told, float(seconds) if seconds.isdecimal() else LATER_SECONDS)
        if not answer.is_success:
            raise click.ClickException(f"{method} {path} was answered {answer.status_code}: {_problem(answer)}")
        body: Json = answer.json()
        return body


@asynccontextmanager
async def opened(base_url: str, api_key: str, *, tries: int | None = None) -> AsyncIterator[Client]:
    """Raises `click.ClickException` for a key that is not a test key."""
    key = api_keys.parse(api_key)
    if key is None:
        raise click.ClickException("that is not an API key: one looks like sk_test_… and has a checksum")
    if key.livemode:
        raise click.ClickException("that is a live key: this is for test mode only, nothing was sent")
    headers = {"Authorization": f"Bearer {api_key}"}
    async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=CALL_SECONDS, trust_env=False) as http:
        yield Client(http, tries)


def _problem(answer: httpx.Response) -> str:
    if answer.headers.get("content-type") != "application/problem+json":
        return answer.text[:200]
    problem = answer.json()
    wrong = "; ".join(f"{error['field']} {error['message']}" for error in problem.get("errors", ()))
    return f"{problem['code']}: {wrong or problem['detail']}"
