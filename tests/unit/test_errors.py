"""Promise: every failure is a problem document with a stable code, and says no more than it should."""

import json
from typing import Any

import pytest

from db.database import CommitUncertain, Unavailable
from gateway.api import errors, exchange
from gateway.api.errors import CODES, Problem

PUBLISHED = {
    400: {"malformed_json", "idempotency_key_missing", "idempotency_key_invalid"},
    401: {"unauthenticated"},
    403: {"insufficient_scope", "partner_inactive"},
    404: {"not_found"},
    409: {"idempotency_in_progress", "invalid_state", "refund_exceeds_captured", "capture_exceeds_authorized"},
    422: {
        "invalid_request",
        "idempotency_key_reused",
        "currency_not_supported",
        "no_eligible_provider",
        "card_data_refused",
    },
    429: {"rate_limited"},
    503: {"temporarily_unavailable"},
}


def test_every_published_code_has_its_published_status() -> None:
    for status, codes in PUBLISHED.items():
        assert {CODES[code].status for code in codes} == {status}


def test_a_problem_has_the_members_of_rfc_9457_and_ours() -> None:
    body = Problem("invalid_request", errors=[("amount", "is required")]).body("req_1", money=False)
    assert body == {
        "type": "/docs/errors#invalid_request",
        "title": "The request is invalid",
        "status": 422,
        "detail": CODES["invalid_request"].meaning,
        "code": "invalid_request",
        "request_id": "req_1",
        "errors": [{"field": "amount", "message": "is required"}],
    }


def test_on_money_operations_it_says_what_became_of_the_money() -> None:
    body = Problem("refund_exceeds_captured").body("req_1", money=True)
    assert (body["money_moved"], body["safe_to_retry"]) == ("no", False)


def test_what_is_refused_before_its_key_is_looked_up_may_repeat_what_moved_money() -> None:
    body = Problem("rate_limited").body("req_1", money=True)
    assert (body["money_moved"], body["safe_to_retry"]) == ("unknown", True)


def test_extra_members_stand_beside_the_others() -> None:
    body = Problem("refund_exceeds_captured", available="1.00", currency="USD").body("req_1", money=True)
    assert (body["available"], body["currency"]) == ("1.00", "USD")


class Recorder:
    """An ASGI client that keeps what it is sent."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def send(self, message: Any) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> Any:
        return json.loads(self.messages[1]["body"])


async def answer_to(error: Exception, *, money: bool = False) -> Recorder:
    async def failing(scope: Any, _receive: Any, _send: Any) -> None:
        exchange.of(scope).money = money
        raise error

    async def nothing() -> Any:
        raise AssertionError

    recorder = Recorder()
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "client": ("192.0.2.1", 1)}
    await exchange.Envelope(errors.Errors(failing))(scope, nothing, recorder.send)
    return recorder


async def test_an_unreachable_database_is_503_and_cannot_tell_whether_this_repeats_what_moved_money() -> None:
    answer = await answer_to(Unavailable("pool"), money=True)
    assert (answer.status, answer.body["code"]) == (503, "temporarily_unavailable")
    assert answer.headers["retry-after"]
    assert (answer.body["money_moved"], answer.body["safe_to_retry"]) == ("unknown", True)


async def test_an_uncertain_commit_is_503_and_nobody_knows() -> None:
    answer = await answer_to(CommitUncertain("lost"), money=True)
    assert (answer.status, answer.body["money_moved"]) == (503, "unknown")


async def test_a_mistake_of_ours_tells_nothing_of_itself() -> None:
    answer = await answer_to(RuntimeError("secret-canary"), money=True)
    assert (answer.status, answer.body["code"], answer.body["money_moved"]) == (500, "internal_error", "unknown")
    assert "canary" not in json.dumps(answer.body)


async def test_every_answer_carries_the_common_fields() -> None:
    answer = await answer_to(Problem("not_found"))
    assert answer.headers["request-id"].startswith("req_")
    assert answer.headers["request-id"] == answer.body["request_id"]
    assert answer.headers["server-timing"].startswith("gateway;dur=")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "strict-transport-security" in answer.headers
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_failure_after_the_answer_began_is_not_answered_twice() -> None:
    async def failing(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError

    async def nothing() -> Any:
        raise AssertionError

    recorder = Recorder()
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "headers": [], "client": None}
    with pytest.raises(RuntimeError):
        await exchange.Envelope(errors.Errors(failing))(scope, nothing, recorder.send)
    assert len(recorder.messages) == 1
