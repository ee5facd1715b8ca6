"""Promise: with Redis all processes share one window; without it every process counts for itself and nobody waits."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from gateway.api.rate_limit import REDIS_SECONDS, LocalLimiter, RedisLimiter
from tests import redis_server
from tests.redis_server import RedisServer

PAUSE_SECONDS = 0.2
WAIT_SECONDS = 20.0
PATIENT = 10.0
"""A deadline that a busy machine does not miss, where exactness and not time is in question."""


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server.run() as server:
        yield server


@asynccontextmanager
async def process(redis: RedisServer, deadline_seconds: float = REDIS_SECONDS) -> AsyncIterator[RedisLimiter]:
    """The limiter of one process: its own memory, its own connections."""
    limiter = RedisLimiter(redis.url, LocalLimiter(), deadline_seconds=deadline_seconds, pause_seconds=PAUSE_SECONDS)
    try:
        yield limiter
    finally:
        await limiter.aclose()


async def seconds_of(limiter: RedisLimiter, hits: int, limit: int = 10_000) -> float:
    began = time.perf_counter()
    for _ in range(hits):
        assert (await limiter.hit("partner", limit)).admitted
    return time.perf_counter() - began


async def test_two_processes_together_admit_one_limit(redis: RedisServer) -> None:
    async with process(redis, PATIENT) as one, process(redis, PATIENT) as other:
        standings = await asyncio.gather(*(limiter.hit("partner", 10) for _ in range(10) for limiter in (one, other)))
    assert sum(standing.admitted for standing in standings) == 10
    assert {standing.reset_seconds for standing in standings if not standing.admitted} <= {59, 60}


async def test_partners_do_not_share_a_window(redis: RedisServer) -> None:
    async with process(redis, PATIENT) as limiter:
        assert (await limiter.hit("one", 1)).admitted
        assert (await limiter.hit("other", 1)).admitted
        assert not (await limiter.hit("one", 1)).admitted


async def test_a_dead_redis_refuses_nobody_and_the_local_window_goes_on(redis: RedisServer) -> None:
    async with process(redis) as limiter:
        assert (await limiter.hit("partner", 3)).remaining == 2
        redis.kill()
        assert [(await limiter.hit("partner", 3)).remaining for _ in range(2)] == [1, 0]
        assert not (await limiter.hit("partner", 3)).admitted


async def test_a_hung_redis_costs_one_request_its_deadline_and_the_others_nothing(redis: RedisServer) -> None:
    async with process(redis) as limiter:
        await seconds_of(limiter, 1)
        redis.pause()
        assert await seconds_of(limiter, 1) < REDIS_SECONDS * 4  # the deadline, and what a busy machine adds
        assert await seconds_of(limiter, 100) < PAUSE_SECONDS
        redis.resume()


async def test_requests_that_come_together_wait_together(redis: RedisServer) -> None:
    async with process(redis) as limiter:
        await seconds_of(limiter, 1)
        redis.pause()
        began = time.perf_counter()
        standings = await asyncio.gather(*(limiter.hit("partner", 10_000) for _ in range(50)))
        assert time.perf_counter() - began < REDIS_SECONDS * 10
        assert all(standing.admitted for standing in standings)
        redis.resume()


async def test_a_redis_that_comes_back_is_used_again(redis: RedisServer) -> None:
    async with process(redis) as one, process(redis) as other:
        await one.hit("partner", 1_000_000)
        redis.pause()
        await one.hit("partner", 1_000_000)
        redis.resume()
        for _ in range(100):
            await other.hit("elsewhere", 1)
        began = time.monotonic()
        while (await one.hit("elsewhere", 1)).admitted:  # its own window is empty: only Redis knows of the others
            assert time.monotonic() - began < WAIT_SECONDS
            one._local = LocalLimiter()
