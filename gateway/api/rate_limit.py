"""How often a partner may call: a moving window per partner and minute, shared through Redis where there is one.

Redis never decides alone: it has 50 ms, and while it fails each process counts for itself. No call is refused because
Redis is down.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from typing import Protocol

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import telemetry
from gateway.api import exchange
from gateway.api.errors import Problem
from gateway.api.windows import WINDOW_SECONDS, Windows

REDIS_SECONDS = 0.05
"""The longest a request waits for Redis."""
REDIS_PAUSE_SECONDS = 2.0
"""After a failure nobody asks Redis for this long; then one request tries."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a partner stands after a hit. `reset_seconds`: until the oldest counted call leaves the window."""

    admitted: bool
    remaining: int
    reset_seconds: int


class Limiter(Protocol):
    async def hit(self, subject: str, limit: int) -> Standing: ...


class LocalLimiter:
    """Exact for one process."""

    def __init__(self, windows: Windows | None = None) -> None:
        self._windows = windows or Windows()

    async def hit(self, subject: str, limit: int) -> Standing:
        admitted = self._windows.record(subject, at_most=limit)
        remaining = max(0, limit - self._windows.count(subject))
        return Standing(admitted, remaining, self._windows.seconds_until_below(subject, limit - remaining or 1))


class RedisLimiter:
    """Exact for all processes while Redis answers, else `local`."""

    def __init__(self, url: str, local: LocalLimiter, *, pause_seconds: float = REDIS_PAUSE_SECONDS) -> None:
        # One try and no waiting inside the client: the deadline is ours.
        self._storage = RedisStorage(
            f"async+{url}",
            implementation="redispy",
            key_prefix="paygate",
            socket_timeout=REDIS_SECONDS,
            socket_connect_timeout=REDIS_SECONDS,
            retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]  # limits passes options through as they are
        )
        self._windows = MovingWindowRateLimiter(self._storage)
        self._local = local
        self._pause_seconds = pause_seconds
        self._failing = False
        self._asks_again_at = 0.0

    async def hit(self, subject: str, limit: int) -> Standing:
        local = await self._local.hit(subject, limit)  # always counted: the fallback must not start from nothing
        now = time.monotonic()
        if now < self._asks_again_at:
            return local
        if self._failing:
            self._asks_again_at = now + self._pause_seconds  # this request tries, the others do not wait for it
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                standing = await self._ask(subject, limit)
        except (TimeoutError, RedisError, OSError):
            self._failing, self._asks_again_at = True, time.monotonic() + self._pause_seconds
            telemetry.redis_fallbacks.inc()
            return local
        self._failing, self._asks_again_at = False, 0.0
        return standing

    async def _ask(self, subject: str, limit: int) -> Standing:
        item = RateLimitItemPerMinute(limit)
        admitted = await self._windows.hit(item, subject)
        stats = await self._windows.get_window_stats(item, subject)
        return Standing(admitted, max(0, stats.remaining), max(1, math.ceil(stats.reset_time - time.time())))

    async def aclose(self) -> None:
        await self._storage.bridge.get_connection().aclose()


@dataclass(frozen=True, slots=True)
class RateLimit:
    """The layer: counts the call and tells on every answer what is left (draft-ietf-httpapi-ratelimit-headers-10)."""

    app: ASGIApp
    limiter: Limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        current = exchange.of(scope)
        assert current.principal is not None, "auth comes before the rate limit"
        limit = current.principal.rate_limit_per_minute
        standing = await self.limiter.hit(str(current.principal.partner_id), limit)
        current.extra += (
            (b"ratelimit-policy", b'"partner";q=%d;w=%d' % (limit, WINDOW_SECONDS)),
            (b"ratelimit", b'"partner";r=%d;t=%d' % (standing.remaining, standing.reset_seconds)),
        )
        if not standing.admitted:
            telemetry.rate_limited.labels("partner").inc()
            raise Problem("rate_limited", headers={"Retry-After": str(standing.reset_seconds)})
        await self.app(scope, receive, send)
