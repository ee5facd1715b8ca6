"""Who calls? `Authorization: Bearer sk_…` to a `Principal`, and a limit on failed attempts per client address."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from db import api_keys as stored_keys
from db.database import Database
from gateway import api_keys, telemetry
from gateway.api import addresses, exchange
from gateway.api.calls import Principal
from gateway.api.errors import Problem
from gateway.api.exchange import Exchange
from gateway.api.rate_limit import LocalLimiter

CACHE_SECONDS = 0.9
"""How long a key counts as it was read: a revocation takes effect within a second in every process."""
CACHE_MAX = 10_000
FLOOD_FACTOR = 10
"""An address this many times over its limit costs no database read any more until its failures have aged."""
_SECRETS = (b"sk_live_", b"sk_test_")


@dataclass(frozen=True, slots=True)
class Found:
    principal: Principal
    is_active: bool


class Authenticator:
    """Keys read from the database, each at most once per `CACHE_SECONDS` however many requests bring it."""

    def __init__(self, database: Database, peppers: api_keys.Peppers) -> None:
        self._database = database
        self._peppers = peppers
        self._reads: dict[bytes, tuple[float, asyncio.Task[Found | None]]] = {}

    async def find(self, key: api_keys.Key) -> Found | None:
        """None for an unknown, revoked or expired key: nobody outside can tell which."""
        cache_key = self._peppers.hash(key)
        now = asyncio.get_running_loop().time()
        began_at, read = self._reads.get(cache_key, (0.0, None))
        if read is None or now - began_at > CACHE_SECONDS or _failed(read):
            self._forget(now)
            read = asyncio.create_task(self._read(key))
            self._reads.pop(cache_key, None)  # to the end of the order, which is that of age
            self._reads[cache_key] = now, read
        # Shielded: who waits along must not fail because the first to ask hung up.
        return read.result() if read.done() else await asyncio.shield(read)

    async def _read(self, key: api_keys.Key) -> Found | None:
        async with self._database.statement() as connection:
            for hashed in self._peppers.hashes(key):
                row = await stored_keys.authenticate(connection, hashed)
                if row is not None:
                    return Found(_principal(row), row.partner_active)
        return None

    def _forget(self, now: float) -> None:
        while self._reads:
            oldest = next(iter(self._reads))
            if now - self._reads[oldest][0] <= CACHE_SECONDS and len(self._reads) < CACHE_MAX:
                return
            del self._reads[oldest]


@dataclass(frozen=True, slots=True)
class Auth:
    """The layer: no request passes without a valid key of an active partner that may do what is asked."""

    app: ASGIApp
    authenticator: Authenticator
    failures: LocalLimiter
    failures_max: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        current = exchange.of(scope)
        _refuse_secrets_in_url(scope, current)
        found = await self._find(current)
        current.principal = found.principal
        if not found.is_active:
            raise Problem("partner_inactive")
        await self.app(scope, receive, send)

    async def _find(self, current: Exchange) -> Found:
        key = _presented(current.headers.get(b"authorization"))
        address = addresses.neighbourhood(current.ip_address or "")
        flooding = self.failures.is_full(address, self.failures_max * FLOOD_FACTOR)
        found = await self.authenticator.find(key) if key is not None and not flooding else None
        if found is not None:
            return found
        raise self._failed(address, "malformed" if key is None else "unknown")

    def _failed(self, address: str, reason: str) -> Problem:
        """The same answer whatever was wrong; 429 once an address has failed too often."""
        telemetry.auth_failures.labels(reason).inc()
        self.failures.count(address, self.failures_max * FLOOD_FACTOR)
        standing = self.failures.count(address, self.failures_max)
        if not standing.admitted:
            telemetry.rate_limited.labels("failed_auth").inc()
            retry_after = {"Retry-After": str(standing.reset_seconds)}
            return Problem("rate_limited", "Too many failed attempts.", headers=retry_after)
        return Problem("unauthenticated", headers={"WWW-Authenticate": 'Bearer realm="paygate"'})


def _presented(header: bytes | None) -> api_keys.Key | None:
    if header is None or header[:7].lower() != b"bearer ":
        return None
    return api_keys.parse(header[7:].strip().decode("latin-1"))


def _refuse_secrets_in_url(scope: Scope, current: Exchange) -> None:
    if "sk_" in scope["path"] or scope["query_string"]:
        text = scope["path"].encode() + b"?" + unquote_to_bytes(scope["query_string"])
        if any(secret in text for secret in _SECRETS):
            telemetry.log(
                "key in url", level=logging.WARNING, ip_address=current.ip_address, request_id=current.request_id
            )
            raise Problem("key_in_url")


def _failed(read: asyncio.Task[Found | None]) -> bool:
    return read.done() and (read.cancelled() or read.exception() is not None)


def _principal(row: stored_keys.Authenticated) -> Principal:
    return Principal(
        partner_id=row.partner_id,
        key_id=row.key_id,
        livemode=row.livemode,
        scopes=row.scopes,
        rate_limit_per_minute=row.rate_limit_per_minute,
        amount_limits={code: Decimal(str(largest)) for code, largest in row.amount_limits.items()},
    )
