"""Signed-in calls to PayPal: an OAuth access token, fetched once for all who wait for it, and put on every request.

A token lives nine hours; PayPal slows down clients that fetch one per payment.
"""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

from providers import contract, http, paypal_json
from providers.contract import NotSentReason
from providers.paypal_outcomes import Answer, retry_after, trace_of

TOKEN_PATH = "/v1/oauth2/token"  # noqa: S105 - a path
MARGIN_SECONDS = 300  # a request under way must not outlive its token


class SignInFailed(Exception):
    """No access token is to be had: of the call that needed it nothing was sent."""

    def __init__(self, outcome: contract.NotSent) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    fresh_until: float


class Session:
    """One client of one PayPal account. `clock` counts seconds from anywhere."""

    def __init__(
        self,
        doorway: http.Doorway,
        base_url: str,
        *,
        client_id: str,
        client_secret: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._doorway = doorway
        self._basic = "Basic " + b64encode(f"{client_id}:{client_secret}".encode()).decode()
        self._clock = clock
        self._token: _Token | None = None
        self._signing_in: asyncio.Task[_Token | contract.NotSent] | None = None

    async def call(
        self, method: str, path: str, body: str | bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """PayPal's answer. A token it does not know any more is renewed once: such a call was not executed.

        Raises `SignInFailed`, `http.Unreachable`, `http.NoAnswer`.
        """
        token = await self._access_token()
        answer = await self._exchange(method, path, body, headers, token)
        if answer.status != httpx.codes.UNAUTHORIZED:
            return answer
        if self._token is token:
            self._token = None
        return await self._exchange(method, path, body, headers, await self._access_token())

    async def fetch(self, url: str) -> httpx.Response:
        """Anything else over the same doorway, without credentials. Raises `http.Unreachable`, `http.NoAnswer`."""
        return await self._doorway.send(httpx.Request("GET", url))

    async def _exchange(
        self, method: str, path: str, body: str | bytes, headers: Mapping[str, str] | None, token: _Token
    ) -> Answer:
        sent = {"Authorization": f"Bearer {token.text}", "Accept": "application/json", **(headers or {})}
        if body:
            sent["Content-Type"] = "application/json"
        request = httpx.Request(method, f"{self.base_url}{path}", headers=sent, content=body or None)
        return _answer(await self._doorway.send(request))

    async def _access_token(self) -> _Token:
        if self._token is not None and self._clock() < self._token.fresh_until:
            return self._token
        if self._signing_in is None:
            self._signing_in = asyncio.create_task(self._sign_in())
            self._signing_in.add_done_callback(self._signed_in)
        told = await asyncio.shield(self._signing_in)  # whoever goes away does not take the others' token along
        if isinstance(told, contract.NotSent):
            raise SignInFailed(told)
        return told

    def _signed_in(self, done: asyncio.Task[_Token | contract.NotSent]) -> None:
        self._signing_in = None
        if not done.cancelled() and isinstance(told := done.result(), _Token):
            self._token = told

    async def _sign_in(self) -> _Token | contract.NotSent:
        headers = {
            "Authorization": self._basic,
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        url, form = f"{self.base_url}{TOKEN_PATH}", "grant_type=client_credentials"
        began = self._clock()
        try:
            answer = _answer(await self._doorway.send(httpx.Request("POST", url, headers=headers, content=form)))
        except http.Unreachable as error:
            return contract.NotSent(reason=NotSentReason.UNREACHABLE, trace=contract.Trace(message=str(error)))
        except http.NoAnswer as error:
            return contract.NotSent(reason=NotSentReason.UNAVAILABLE, trace=contract.Trace(message=str(error)))
        return _read_token(answer, began)


def _answer(response: httpx.Response) -> Answer:
    return Answer(response.status_code, response.headers, paypal_json.parsed(response.content))


def _read_token(answer: Answer, began: float) -> _Token | contract.NotSent:
    body = paypal_json.as_object(answer.body)
    token, seconds = paypal_json.text(body, "access_token"), body.get("expires_in")
    if answer.status == httpx.codes.OK and token and token.isascii() and token.isprintable():
        if isinstance(seconds, int) and seconds > 0:
            return _Token(token, began + max(seconds - MARGIN_SECONDS, seconds / 2))
        return _Token(token, began)
    reason = _REASONS.get(answer.status, NotSentReason.UNAVAILABLE)
    return contract.NotSent(reason=reason, retry_after_seconds=retry_after(answer.headers), trace=trace_of(answer))


_REASONS: Mapping[int, NotSentReason] = {
    httpx.codes.BAD_REQUEST: NotSentReason.CREDENTIALS,
    httpx.codes.UNAUTHORIZED: NotSentReason.CREDENTIALS,
    httpx.codes.FORBIDDEN: NotSentReason.CREDENTIALS,
    httpx.codes.TOO_MANY_REQUESTS: NotSentReason.THROTTLED,
}
