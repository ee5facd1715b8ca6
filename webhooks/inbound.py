"""PSP notifications: `POST /webhooks/{provider}/{account}`. Bounded, verified, stored once, answered; nothing else.

What a notification means is for the worker: an answer of 2xx says that it is on disk.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from db import ids, inbox, provider_accounts
from db.database import CommitUncertain, Database, Unavailable
from db.provider_accounts import ProviderAccount
from providers import PROVIDERS
from providers.contract import CannotVerify, Forged, Provider, Received

BODY_BYTES_MAX = 1_048_576
RECEIVE_SECONDS = 20.0
HEADERS_KEPT = frozenset(
    {
        "content-type",
        "paypal-auth-algo",
        "paypal-cert-url",
        "paypal-transmission-id",
        "paypal-transmission-time",
        "stripe-signature",
        "user-agent",
    }
)
"""What helps to explain a notification later; an Authorization header is not kept."""

Opened = Callable[[ProviderAccount], Provider]
Observe = Callable[[str, str], None]
"""Told the provider and what became of the notification; for metrics."""


class _TooLarge(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Inbound:
    """The endpoint. `opened` gives the adapter of an account; `wake` tells this process's worker, if there is one."""

    database: Database
    opened: Opened
    observe: Observe
    wake: Callable[[], None]
    clock: Callable[[], float] = time.time

    async def receive(self, request: Request) -> Response:
        named = request.path_params["provider"]
        provider = (
            named if named in PROVIDERS else "unknown"
        )  # anyone may call: a metric's label is not theirs to choose
        try:
            async with asyncio.timeout(RECEIVE_SECONDS):
                body = await _body(request)
            account = await self._account(provider, request.path_params["account"])
            received = await self._verified(account, request.headers, body)
            await self._store(account, request.headers, received)
        except _TooLarge:
            return self._refuse(provider, 413, "too_large")
        except (TimeoutError, ClientDisconnect):
            return self._refuse(provider, 408, "too_slow")
        except Forged:
            return self._refuse(provider, 400, "forged")
        except (CannotVerify, Unavailable, CommitUncertain):
            # The PSP sends again; what was stored after all is recognised as the same.
            return self._refuse(provider, 503, "unavailable")
        self.observe(provider, "received")
        self.wake()
        return PlainTextResponse("[accepted]")  # the words Adyen asks for; the others read the status only

    async def _account(self, provider: str, text: str) -> ProviderAccount:
        """An unknown address is answered like a wrong signature: nobody learns which accounts exist."""
        account_id = ids.decode("pac", text)
        if account_id is None:
            raise Forged
        async with self.database.as_system() as connection:
            account = await provider_accounts.addressed(connection, account_id)
        if account is None or account.provider != provider:
            raise Forged
        return account

    async def _verified(self, account: ProviderAccount, headers: Mapping[str, str], body: bytes) -> list[Received]:
        lowered = {name.lower(): value for name, value in headers.items()}
        return await self.opened(account).verify_webhook(lowered, body, now=self.clock())

    async def _store(self, account: ProviderAccount, headers: Mapping[str, str], received: list[Received]) -> None:
        kept = {name: value for name, value in headers.items() if name in HEADERS_KEPT}
        async with self.database.as_system() as connection:
            for item in received:
                await inbox.store(connection, account, dedupe_key=item.dedupe_key, headers=kept, body=item.body)

    def _refuse(self, provider: str, status: int, outcome: str) -> Response:
        self.observe(provider, outcome)
        headers = {"Retry-After": "5"} if status == 503 else {}  # noqa: PLR2004 - the status with that header
        return Response(status_code=status, headers=headers)


async def _body(request: Request) -> bytes:
    """Counted as it comes: a length header proves nothing."""
    pieces = bytearray()
    async for piece in request.stream():
        pieces += piece
        if len(pieces) > BODY_BYTES_MAX:
            raise _TooLarge
    return bytes(pieces)
