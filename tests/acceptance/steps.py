"""Steps that the promises share: wait for a condition, let time pass, read a problem, ask the oracle."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg
import httpx

from tests.house import WAIT_SECONDS, House, Json, Partner

T = TypeVar("T")

POLL_SECONDS = 0.02
ID = re.compile(r"(txn|att|rfd|evt|whe|whd|whr|pac|led|req)_[0-9a-hjkmnp-tv-z]{26}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


async def until(ask: Callable[[], Awaitable[T]], wanted: Callable[[T], bool], seconds: float = WAIT_SECONDS) -> T:
    """Ask again until the answer is as wanted. Raises `TimeoutError` once it should have been long ago."""
    async with asyncio.timeout(seconds):
        while not wanted(found := await ask()):  # noqa: ASYNC110 - what is waited for is in another process
            await asyncio.sleep(POLL_SECONDS)
    return found


async def settled(partner: Partner, transaction_id: str, *statuses: str) -> Json:
    """The transaction, once it has one of the statuses."""

    async def ask() -> Json:
        shown: Json = (await partner.get(f"/v1/transactions/{transaction_id}")).json()
        return shown

    return await until(ask, lambda shown: shown["status"] in statuses)


async def checks_fall_due(owner: asyncpg.Connection[asyncpg.Record]) -> None:
    """Time passes: whatever has no outcome yet is due to be looked into."""
    await owner.execute("UPDATE attempts SET next_check_at = now() WHERE finished_at IS NULL")


async def leases_run_out(owner: asyncpg.Connection[asyncpg.Record]) -> None:
    """Time passes: who died at work no longer holds what it worked on."""
    await owner.execute("UPDATE attempts SET lease_until = now(), next_check_at = now() WHERE finished_at IS NULL")
    await owner.execute("UPDATE webhook_deliveries SET lease_until = now() WHERE lease_until IS NOT NULL")


async def retries_fall_due(owner: asyncpg.Connection[asyncpg.Record]) -> None:
    """Time passes: webhooks that failed are due to be sent again."""
    await owner.execute("UPDATE webhook_deliveries SET next_attempt_at = now() WHERE state = 'pending'")


async def moved(house: House, reference: str, provider: str = "stripe") -> Json:
    """What the PSP's own books hold under an order number: {"charges": (count, units), …}; zeros left out."""
    account = (await house.oracle(provider))["merchant_references"].get(reference, {})
    names = ("charges", "captures", "voids", "refunds")
    return {name: (book["count"], book["amount"]) for name in names if (book := account.get(name)) and book["count"]}


async def calls(house: House, reference: str) -> dict[str, int]:
    """How often the PSP was called for an order, by operation."""
    account = (await house.oracle())["merchant_references"].get(reference, {})
    counted: dict[str, int] = account.get("calls", {})
    return counted


def refused(answer: httpx.Response, status: int, code: str, *fields: str) -> Json:
    """The problem, after checking that it is the one expected and complete."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: Json = answer.json()
    assert problem["code"] == code, problem
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["request-id"]
    assert {"type", "title", "detail"} <= problem.keys()
    if fields:
        assert {error["field"] for error in problem["errors"]} == set(fields), problem
        assert all(error["message"] for error in problem["errors"])
    return problem


async def listed(partner: Partner, path: str = "/v1/transactions", **query: Any) -> list[Json]:
    """The first page."""
    answer = await partner.get(path, **query)
    assert answer.status_code == 200, answer.text
    rows: list[Json] = answer.json()["data"]
    return rows
