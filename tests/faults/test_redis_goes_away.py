"""Promise: whatever becomes of Redis, no call waits for it and no process admits more than its partner's limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from gateway.api.rate_limit import LocalLimiter, RedisLimiter
from tests import redis_server
from tests.house import WAIT_SECONDS
from tests.proxy import Proxy, Toxic, ToxicKind, proxied_url
from tests.redis_server import RedisServer

LIMIT = 20
HASTY = 0.5
"""A deadline within which a Redis that is well answers also on a busy machine."""
PATIENT = 5.0
"""Where it must not be missed for anything."""


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server.run() as server:
        yield server


@asynccontextmanager
async def limited(redis: RedisServer, deadline_seconds: float = HASTY) -> AsyncIterator[tuple[Proxy, RedisLimiter]]:
    """A process's limiter, and the wire between it and Redis; a failing Redis is asked again at once."""
    async with proxied_url(redis.url) as (proxy, url):
        limiter = RedisLimiter(url, LocalLimiter(), deadline_seconds=deadline_seconds, pause_seconds=0.0)
        yield proxy, limiter
        await limiter.aclose()


async def admitted(limiter: RedisLimiter, partner: str, calls: int) -> int:
    async with asyncio.timeout(WAIT_SECONDS):
        standings = await asyncio.gather(*(limiter.hit(partner, LIMIT) for _ in range(calls)))
    return sum(standing.admitted for standing in standings)


@pytest.mark.parametrize(
    "toxic",
    [
        Toxic(ToxicKind.DOWN),
        Toxic(ToxicKind.TIMEOUT),
        Toxic(ToxicKind.SLICE, seconds=0.01),
        Toxic(ToxicKind.LATENCY, seconds=1.0),
        Toxic(ToxicKind.RESET, probability=0.5),
        Toxic(ToxicKind.DROP_BEFORE, probability=0.5),
        Toxic(ToxicKind.DROP_AFTER_REPLY, probability=0.5),
    ],
    ids=lambda toxic: toxic.kind,
)
async def test_on_a_broken_wire_a_process_admits_its_limit_and_no_more(redis: RedisServer, toxic: Toxic) -> None:
    partner = f"wire-{toxic.kind}"
    async with limited(redis) as (proxy, limiter):
        before = await admitted(limiter, partner, LIMIT // 2)
        proxy.add(toxic)
        during = await admitted(limiter, partner, LIMIT)
        assert proxy.counts[toxic.kind] >= 1
        proxy.clear()
        after = await admitted(limiter, partner, LIMIT)
    assert (before, before + during + after) == (LIMIT // 2, LIMIT)


async def test_a_redis_that_forgot_everything_lets_a_process_admit_no_more_than_before(redis: RedisServer) -> None:
    async with limited(redis, PATIENT) as (_, limiter):
        assert await admitted(limiter, "emptied", LIMIT - 1) == LIMIT - 1
        async with Redis.from_url(redis.url) as client:
            await client.flushall()
        assert await admitted(limiter, "emptied", LIMIT) == 1
