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

from limits import RateLimitItemPerMinute, WindowStats
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter as LocalWindow
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import telemetry
from gateway.api import exchange
from gateway.api.errors import Problem

WINDOW_SECONDS = 60
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
    """Exact for one process; in its memory, so it never waits."""

    def __init__(self) -> None:
        self._windows = LocalWindow(MemoryStorage())

    async def hit(self, subject: str, limit: int) -> Standing:
        return self.count(subject, limit)

    def count(self, subject: str, limit: int) -> Standing:
        """Count one more call of `subject`, unless its window holds `limit` already."""
        item = RateLimitItemPerMinute(limit)
        admitted = self._windows.hit(item, subject)
        return _standing(admitted, self._windows.get_window_stats(item, subject))

    def is_full(self, subject: str, limit: int) -> bool:
        """Whether a call would be refused; counts nothing."""
        return not self._windows.test(RateLimitItemPerMinute(limit), subject)


class RedisLimiter:
    """Exact for all processes while Redis answers, else `local`; never more than `local` admits."""

    def __init__(
        self,
        url: str,
        local: LocalLimiter,
        *,
        deadline_seconds: float = REDIS_SECONDS,
        pause_seconds: float = REDIS_PAUSE_SECONDS,
    ) -> None:
        # One try and no waiting inside the client: the deadline is ours.
        self._pool = ConnectionPool.from_url(
            url,
            socket_timeout=deadline_seconds,
            socket_connect_timeout=deadline_seconds,
            retry=Retry(NoBackoff(), 0),
        )
        storage = RedisStorage(
            f"async+{url}",
            implementation="redispy",
            key_prefix="paygate",
            connection_pool=self._pool,  # type: ignore[arg-type]  # documented, but not in the signature
        )
        self._windows = MovingWindowRateLimiter(storage)
        self._local = local
        self._deadline_seconds = deadline_seconds
        self._pause_seconds = pause_seconds
        self._failing = False
        self._asks_again_at = 0.0

    async def hit(self, subject: str, limit: int) -> Standing:
        now = time.monotonic()
        if now < self._asks_again_at:
            return self._local.count(subject, limit)
        if self._failing:
            self._asks_again_at = now + self._pause_seconds  # this request tries, the others do not wait for it
        try:
            async with asyncio.timeout(self._deadline_seconds):
                standing = await self._ask(subject, limit)
        except (TimeoutError, RedisError, OSError):
            self._failing, self._asks_again_at = True, time.monotonic() + self._pause_seconds
            telemetry.redis_fallbacks.inc()
            return self._local.count(subject, limit)
        self._failing, self._asks_again_at = False, 0.0
        if not standing.admitted:
            return standing
        # Counted here too: the fallback must not start from nothing, and Redis may have forgotten what we know.
        local = self._local.count(subject, limit)
        return standing if local.admitted else local

    async def _ask(self, subject: str, limit: int) -> Standing:
        item = RateLimitItemPerMinute(limit)
        admitted = await self._windows.hit(item, subject)
        return _standing(admitted, await self._windows.get_window_stats(item, subject))

    async def aclose(self) -> None:
        await self._pool.disconnect()


def _standing(admitted: bool, stats: WindowStats) -> Standing:  # noqa: FBT001 - the pair the library gives
    return Standing(admitted, max(0, stats.remaining), max(1, math.ceil(stats.reset_time - time.time())))


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
