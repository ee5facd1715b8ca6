"""The composition root: what a process needs to take and settle payments, opened once and passed on as one value."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import httpx

from db import currencies, failpoints, ids, provider_accounts
from db.currencies import Currency
from db.database import Connection, Database, Role
from db.provider_accounts import ProviderAccount
from db.vault import CannotOpen, Vault
from gateway import telemetry
from gateway.config import Settings
from gateway.routing.switchboard import Switchboard
from providers import PROVIDERS
from providers.contract import BadCredentials, Provider
from providers.http import Doorway
from webhooks.addresses import STRICT, AddressPolicy
from webhooks.names import LookUp, SystemLookUp

T = TypeVar("T")

REFERENCE_SCHEME = "pg1"
RESEND_SHARE = 0.8
"""Of the time a PSP remembers a key, the share within which a resend is safe whatever its clock says."""


class Accounts:
    """The accounts as this process knows them; adapters are kept per account and version."""

    def __init__(self, vault: Vault, doorway: Doorway) -> None:
        self._vault = vault
        self._doorway = doorway
        self._adapters: dict[tuple[UUID, int], Provider] = {}

    async def adapter(self, connection: Connection, account_id: UUID) -> Provider:
        """The adapter of one account, enabled or not: what was begun at an account is finished there."""
        row = await provider_accounts.find(connection, account_id)
        if row is None:
            raise LookupError(f"provider account {account_id} is not to be seen by this partner")
        return self.opened(row)

    def resend_seconds(self, provider: str) -> float:
        return PROVIDERS[provider].capabilities.key_lifetime_seconds * RESEND_SHARE

    def able(self, row: ProviderAccount) -> Provider | None:
        """The row's adapter; None where it cannot be opened: that must not keep a charge from the other accounts."""
        try:
            return self.opened(row)
        except (CannotOpen, BadCredentials, KeyError) as error:
            telemetry.log("account cannot be opened", level=logging.ERROR, error=error, account_id=row.id)
            return None

    def opened(self, row: ProviderAccount) -> Provider:
        """The row's adapter. Raises `CannotOpen`, `BadCredentials`."""
        known = self._adapters.get((row.id, row.version))
        if known is None:
            known = open_adapter(row, self._vault, self._doorway)
            self._adapters[row.id, row.version] = known
        return known


def open_adapter(row: ProviderAccount, vault: Vault, doorway: Doorway) -> Provider:
    """Raises `db.vault.CannotOpen` and `providers.contract.BadCredentials`."""
    credentials = json.loads(vault.open(row.credentials, provider_accounts.credentials_context(row.id)))
    return PROVIDERS[row.provider].open(credentials, base_url=row.base_url, livemode=row.livemode, doorway=doorway)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True, kw_only=True)
class Runtime:
    """Everything a use case may reach. `clock` dates business facts; leases and expiry run on the database's clock."""

    settings: Settings
    database: Database
    vault: Vault
    doorway: Doorway
    accounts: Accounts
    switchboard: Switchboard
    currencies: Mapping[str, Currency]
    public_url: str
    """How customers and PSPs reach this API from outside, without a slash at the end."""
    clock: Callable[[], datetime] = _now
    address_policy: AddressPolicy = STRICT
    look_up: LookUp = field(default_factory=SystemLookUp)
    wake_deliverer: Callable[[], None] | None = None
    """Set where the deliverer runs in this process; elsewhere it finds new events by itself."""
    notified: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a PSP's notification was stored by this process."""
    replaying: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while recorded decisions are read again."""
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def places(self, currency: str) -> int:
        return self.currencies[currency].decimal_places

    def reference(self, partner_id: UUID, attempt_id: UUID) -> str:
        """Ours at the PSP, 57 characters: names partner and attempt, so a notification finds its shard and row."""
        return f"{REFERENCE_SCHEME}_{ids.bare(partner_id)}_{ids.bare(attempt_id)}"

    def return_url(self, reference: str) -> str:
        """Where a PSP sends the customer back to."""
        return f"{self.public_url}/return/{reference}"

    def parse_reference(self, reference: str | None) -> tuple[UUID, UUID] | None:
        """(partner, attempt) of one of our references; None for anything else."""
        scheme, _, rest = (reference or "").partition("_")
        partner, _, attempt = rest.partition("_")
        partner_id, attempt_id = ids.from_bare(partner), ids.from_bare(attempt)
        if scheme != REFERENCE_SCHEME or partner_id is None or attempt_id is None:
            return None
        return partner_id, attempt_id

    def provider_key(self, attempt_id: UUID, operation: str, account_id: UUID) -> str:
        """The key a PSP sees: 43 characters, the same for the same attempt, of no use to anyone who guesses ids."""
        text = f"{attempt_id}/{operation}/{account_id}".encode()
        digest = hmac.digest(self.vault.derive("provider-key"), text, hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def published(self, count: int) -> None:
        """Events were committed: no need for the deliverer to wait for its next look."""
        if count and self.wake_deliverer is not None:
            self.wake_deliverer()

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Work that goes on by itself; `drain` waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def carry_out(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end even if the caller goes away: what was begun at a PSP is always written down."""
        return await asyncio.shield(self.begin(work))

    async def drain(self, seconds: float) -> None:
        """Wait for what is under way, at most `seconds`; what is left is settled by recovery."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)


class _Doorway(Doorway):
    """Every exchange with a PSP lies between two failpoints."""

    async def send(self, request: httpx.Request) -> httpx.Response:
        await failpoints.reach("psp.sending")
        response = await super().send(request)
        await failpoints.reach("psp.answered")
        return response

    async def pieces(self, request: httpx.Request, *, bytes_max: int) -> AsyncGenerator[bytes]:
        await failpoints.reach("psp.sending")
        async with aclosing(super().pieces(request, bytes_max=bytes_max)) as body:
            async for piece in body:
                yield piece
        await failpoints.reach("psp.answered")


@asynccontextmanager
async def opened(settings: Settings, role: Role) -> AsyncIterator[Runtime]:
    """A runtime under one database role, closed in order at the end. Raises `db.database.Unavailable`."""
    database = await Database.open(settings.database_url, role)
    vault = Vault(settings.secret_keys)
    doorway = _Doorway(observe=telemetry.psp_exchanged)
    switchboard = Switchboard(database, _now)
    try:
        async with database.as_system() as connection:
            known = await currencies.all_currencies(connection)
        runtime = Runtime(
            settings=settings,
            database=database,
            vault=vault,
            doorway=doorway,
            accounts=Accounts(vault, doorway),
            switchboard=switchboard,
            currencies=known,
            public_url=settings.public_url or f"http://{settings.host}:{settings.port}",
            address_policy=AddressPolicy(allow_loopback_http=settings.webhook_allow_loopback),
        )
        telemetry.connections_in_use.labels(role).set_function(lambda: database.in_use)
        yield runtime
        await runtime.drain(settings.shutdown_seconds)
    finally:
        await switchboard.aclose()
        await doorway.aclose()
        await database.close()
