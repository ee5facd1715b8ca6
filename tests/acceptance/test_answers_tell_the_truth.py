"""Promise: `money_moved`, `safe_to_retry` and `next_check_at` are true in every answer to a request for money.

Every operation is tried with every way it can end. What the answer says is held against the PSP's own books: when it is
given, after recovery has looked, and after the same request was repeated under the same key.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta

import httpx
import pytest

from db import embedded
from gateway.api import routes
from gateway.api.errors import CODES
from gateway.transactions import recovery
from tests.acceptance.endings import (
    AGAIN_AFTER,
    ENDINGS,
    NOT_OF_MONEY,
    OPERATIONS,
    Ending,
    Request,
    psp,
    while_the_first_is_at_work,
)
from tests.acceptance.steps import leases_run_out
from tests.conftest import cloned
from tests.house import House


def each(endings: Iterable[Ending]) -> pytest.MarkDecorator:
    """Every operation with every way it can end."""
    cases = [pytest.param(op, end, id=f"{op}: {end}") for end in endings for op in end.operations]
    return pytest.mark.parametrize(("operation", "ending"), cases)


@pytest.fixture(scope="module")
async def house(postgres: embedded.Server, template: str) -> AsyncIterator[House]:
    """Nobody works in the background: recovery looks when the test says so."""
    async with (
        cloned(postgres, template) as url,
        House.opened(url, working=False, allowed_hosts=frozenset({"127.0.0.1"})) as opened,
    ):
        await opened.silence()
        yield opened
        await opened.check_invariants()


# --- What every answer must be ---


async def is_true(request: Request, answer: httpx.Response, asked_at: datetime) -> None:
    """Here and now, by the PSP's books and by what is open."""
    told = answer.json()
    assert await request.moved() in {"no": {0}, "yes": {1}, "unknown": {0, 1}}[told["money_moved"]], answer.text
    waits = answer.status_code == 202 or told.get("code") in AGAIN_AFTER
    assert waits == (int(answer.headers.get("retry-after", 0)) >= 1)
    assert (answer.status_code == 202) == ("location" in answer.headers)
    if "location" in answer.headers:
        shown = await request.partner.get(answer.headers["location"])
        assert (shown.status_code, shown.json()["id"]) == (200, told["id"])
    if told.get("object") == "transaction":
        assert not told["needs_review"]
        assert (told["next_check_at"] is not None) == await request.is_open()
        assert told["next_check_at"] is None or datetime.fromisoformat(told["next_check_at"]) > asked_at


async def passes(house: House, time: timedelta) -> None:
    """Seen from the database, whose clock cannot be moved, what it compares with comes nearer."""
    moved = "UPDATE attempts SET next_check_at = next_check_at - $1::interval WHERE finished_at IS NULL"
    await house.owner.execute(moved, time)


async def aged(house: House, request: Request, time: timedelta) -> None:
    """The request was sent so long ago."""
    older = "UPDATE attempts SET created_at = created_at - $2::interval WHERE idempotency_key = $1"
    await house.owner.execute(older, request.key, time)


async def find_out(house: House) -> None:
    """All that is due is asked about, in as many rounds as it takes."""
    while await recovery.resolve_due(house.background):
        pass


async def recovered(house: House) -> None:
    """Whoever died is succeeded, and all that is open is asked about."""
    await leases_run_out(house.owner)
    await find_out(house)


@each(ENDINGS)
async def test_an_answer_is_true_now_and_after_recovery(house: House, operation: str, ending: Ending) -> None:
    await answered_truly(house, operation, ending, recovers=True)


@each(ending for ending in ENDINGS if ending.may_be_sent)
async def test_an_answer_is_true_if_the_request_is_repeated_before_recovery(
    house: House, operation: str, ending: Ending
) -> None:
    await answered_truly(house, operation, ending, recovers=False)


async def answered_truly(house: House, operation: str, ending: Ending, *, recovers: bool) -> None:
    request = await Request.made(house, operation)
    async with ending.trouble(request) as otherwise:
        asked_at = house.runtime.clock()
        answer = await request.send(**otherwise)
        told = answer.json()
        assert ending.says in {told.get("code"), answer.status_code}, answer.text
        if "code" in told and not told["safe_to_retry"]:
            again = await request.send(**otherwise)
            assert again.json()["code"] == told["code"], "not to be repeated, but it helped"
    await is_true(request, answer, asked_at)
    if recovers:
        await recovered(house)
        assert told["money_moved"] != "no" or not await request.moved()
    await request.insist(**({} if "code" in told else otherwise))
    assert await request.done() == ending.done


@each(ending for ending in ENDINGS if ending.same)
async def test_a_repeat_never_denies_what_was_done(house: House, operation: str, ending: Ending) -> None:
    request = await Request.made(house, operation)
    first = await request.send()
    asked_at = house.runtime.clock()
    async with ending.trouble(request) as otherwise:
        answer = await request.send(**otherwise)
    assert answer.content == first.content or answer.json()["code"] == ending.says
    await is_true(request, answer, asked_at)
    assert (await request.insist()).content == first.content
    assert await request.done() == 1


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_recovery_looks_by_the_time_that_was_told(house: House, operation: str) -> None:
    request = await Request.made(house, operation)
    async with psp("act_then_lose_answer")(request):
        await request.send()
    shown = (await request.transaction())["next_check_at"]
    asked, wait = await request.asked(), datetime.fromisoformat(shown) - house.runtime.clock()
    await passes(house, wait - timedelta(seconds=1))
    await find_out(house)
    assert await request.asked() == asked
    await passes(house, timedelta(seconds=2))
    await find_out(house)
    assert await request.asked() > asked
    assert (await request.transaction())["next_check_at"] is None


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_the_next_check_is_told_while_the_request_is_at_work(house: House, operation: str) -> None:
    request = await Request.made(house, operation)
    async with while_the_first_is_at_work(request):
        assert (await request.transaction())["next_check_at"] is not None
    assert (await request.transaction())["next_check_at"] is None


async def test_the_next_check_is_told_as_long_as_one_of_two_refunds_is_open(house: House) -> None:
    request = await Request.made(house, "refund")
    async with psp("act_then_lose_answer")(request):
        assert (await request.send()).status_code == 202
    assert (await request.partner.post(request.path, {"amount": "1.00"})).status_code == 201
    assert await request.is_open()
    assert (await request.transaction())["next_check_at"] is not None


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_review_is_told_from_a_day_of_silence_until_the_provider_speaks(house: House, operation: str) -> None:
    request = await Request.made(house, operation)
    async with psp("lose_request", times=9)(request), psp("lose_request", times=9, operation="look_up")(request):
        assert (await request.send()).status_code == 202
        assert not (await request.transaction())["needs_review"]
        await aged(house, request, timedelta(hours=23))
        await recovered(house)
        silent = await request.transaction()
        assert silent["needs_review"]
        assert silent["money_moved"] == {"refund": "yes", "authorize": "unknown", "cancel": "no"}.get(
            operation, "unknown"
        )
        assert silent["next_check_at"] is not None
    assert (await request.insist()).status_code in {200, 201}
    assert not (await request.transaction())["needs_review"]
    assert await request.done() == 1


async def test_every_error_that_a_request_for_money_can_get_is_tried() -> None:
    tried = {ending.says for ending in ENDINGS if isinstance(ending.says, str)}
    assert tried == CODES.keys() - NOT_OF_MONEY
    assert {route.path.rpartition("/")[2] for route in routes.ROUTES if route.money} == {
        "transactions",
        "captures",
        "cancel",
        "refunds",
    }
