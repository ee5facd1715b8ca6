"""Promise: only a valid key of an active partner opens anything, only what it may, and only so often."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx
import pytest

from db import ids
from gateway import api_keys
from tests.acceptance.steps import listed, refused, until
from tests.house import ALL_SCOPES, House, Json, Partner


async def asked(house: House, authorization: str | None, path: str = "/v1/transactions") -> httpx.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    return await house.http.get(f"{house.base_url}{path}", headers=headers)


async def key_ids(house: House, partner: Partner) -> dict[str, str]:
    """Prefix → id of the partner's keys, from the operators' list."""
    return {key.prefix: ids.encode("key", key.id) for key in await house.desk.list_keys(partner.id)}


async def revoke(house: House, partner: Partner) -> None:
    prefix = partner.api_key.removeprefix("sk_test_")[:8]
    key_id = ids.decode("key", (await key_ids(house, partner))[prefix])
    assert key_id is not None
    await house.desk.revoke_key(key_id)


async def test_unknown_revoked_and_malformed_keys_get_the_same_answer(shared_house: House) -> None:
    gone = await shared_house.partner()
    await revoke(shared_house, gone)
    unknown = api_keys.issue(livemode=False).text
    answers = [
        await asked(shared_house, authorization)
        for authorization in (
            f"Bearer {gone.api_key}",
            f"Bearer {unknown}",
            f"Bearer {unknown[:-1]}{'A' if unknown[-1] != 'A' else 'B'}",
            f"Bearer {unknown.replace('test', 'live')}",
            "Bearer nonsense",
            "Bearer x",
            f"Basic {gone.api_key}",
            gone.api_key,
            None,
        )
    ]
    problems = [refused(answer, 401, "unauthenticated") for answer in answers]
    for problem in problems:
        problem.pop("request_id")
    assert all(problem == problems[0] for problem in problems)
    assert {answer.headers["www-authenticate"] for answer in answers} == {'Bearer realm="paygate"'}


async def test_a_revoked_key_is_refused_and_the_partners_other_key_is_not(shared_house: House) -> None:
    first = await shared_house.partner()
    second = await shared_house.key_of(first.id)
    assert await listed(first) == await listed(second) == []
    await revoke(shared_house, first)

    async def ask() -> httpx.Response:
        return await first.get("/v1/transactions")

    refused(await until(ask, lambda answer: answer.status_code != 200), 401, "unauthenticated")
    assert await listed(second) == []


async def test_an_inactive_partner_is_refused(shared_house: House) -> None:
    partner = await shared_house.partner()
    assert await listed(partner) == []
    await shared_house.desk.deactivate_partner(partner.id)

    async def ask() -> httpx.Response:
        return await partner.get("/v1/transactions")

    refused(await until(ask, lambda answer: answer.status_code != 200), 403, "partner_inactive")
    problem = refused(await partner.charge(), 403, "partner_inactive")
    assert (problem["money_moved"], problem["safe_to_retry"]) == ("unknown", False)


@pytest.mark.parametrize("missing", ALL_SCOPES)
async def test_a_key_does_only_what_its_scopes_allow(shared_house: House, missing: str) -> None:
    partner = await shared_house.partner(scopes=tuple(scope for scope in ALL_SCOPES if scope != missing))
    document = (await shared_house.http.get(f"{shared_house.base_url}/openapi.json")).json()
    needed = {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if f"`{missing}`" in operation.get("description", "")
    }
    assert needed
    for method, path in needed:
        answer = await partner.client.request(method, path.replace("{id}", "txn_00000000000000000000000000"))
        assert refused(answer, 403, "insufficient_scope")["scope"] == missing


async def test_a_key_in_a_url_is_refused(shared_house: House) -> None:
    partner = await shared_house.partner()
    for path in (f"/v1/transactions?api_key={partner.api_key}", f"/v1/transactions/{partner.api_key}"):
        answer = await asked(shared_house, f"Bearer {partner.api_key}", path)
        refused(answer, 400, "key_in_url")
        assert partner.api_key not in answer.text


async def test_every_answer_tells_what_is_left_of_the_limit(shared_house: House) -> None:
    partner = await shared_house.partner(rate_limit=3)
    left = []
    for _ in range(3):
        answer = await partner.get("/v1/balance")
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"partner";q=3;w=60'
        found = re.fullmatch(r'"partner";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
        assert found
        left.append(int(found[1]))
        assert 0 < int(found[2]) <= 60
    assert left == [2, 1, 0]


async def test_more_than_the_limit_is_refused_for_all_keys_of_the_partner(shared_house: House) -> None:
    partner = await shared_house.partner(rate_limit=2)
    second = await shared_house.key_of(partner.id)
    await partner.get("/v1/balance")
    await second.get("/v1/balance")
    for key in (partner, second):
        answer = await key.charge(key="never-stored")
        problem = refused(answer, 429, "rate_limited")
        assert (problem["money_moved"], problem["safe_to_retry"]) == ("unknown", True)
        assert 0 < int(answer.headers["retry-after"]) <= 60
        assert answer.headers["ratelimit"].startswith('"partner";r=0;t=')
    found = "SELECT count(*) FROM idempotency_keys WHERE partner_id = $1"
    assert await shared_house.owner.fetchval(found, partner.id) == 0


async def test_one_partners_calls_do_not_count_for_another(shared_house: House) -> None:
    busy, idle = await shared_house.partner(rate_limit=1), await shared_house.partner(rate_limit=1)
    await busy.get("/v1/balance")
    refused(await busy.get("/v1/balance"), 429, "rate_limited")
    assert (await idle.get("/v1/balance")).status_code == 200


@pytest.fixture
async def wary_house(database_url: str) -> AsyncIterator[House]:
    """Five failed attempts a minute and address."""
    async with House.opened(database_url, failed_auth_per_minute=5) as opened:
        yield opened
        await opened.check_invariants()


async def test_failed_attempts_are_limited_more_strictly_and_valid_keys_still_open(wary_house: House) -> None:
    partner = await wary_house.partner()
    for _ in range(5):
        refused(await asked(wary_house, "Bearer nonsense"), 401, "unauthenticated")
    answer = await asked(wary_house, "Bearer nonsense")
    refused(answer, 429, "rate_limited")
    assert 0 < int(answer.headers["retry-after"]) <= 60
    assert await listed(partner) == []


async def test_a_request_id_of_the_client_comes_back(shared_house: House) -> None:
    partner = await shared_house.partner()
    for given, kept in (("order-1042.try:1", True), ("short", False), ("x" * 65, False), ("with space", False)):
        answer = await partner.client.get("/v1/balance", headers={"Request-Id": given})
        assert (answer.headers["request-id"] == given) == kept
        assert kept or answer.headers["request-id"].startswith("req_")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/docs"])
async def test_what_is_public_needs_no_key(shared_house: House, path: str) -> None:
    answer = await asked(shared_house, None, path)
    assert answer.status_code == 200, answer.text


async def test_metrics_are_not_on_the_public_port(shared_house: House) -> None:
    refused(await asked(shared_house, None, "/metrics"), 404, "not_found")


async def test_an_address_that_leads_nowhere_needs_a_key_to_say_so(shared_house: House) -> None:
    partner = await shared_house.partner()
    refused(await asked(shared_house, None, "/v1/nothing"), 401, "unauthenticated")
    refused(await partner.get("/v1/nothing"), 404, "not_found")


async def test_every_answer_carries_the_security_headers(shared_house: House) -> None:
    partner = await shared_house.partner()
    answers: list[httpx.Response] = [await partner.get("/v1/balance"), await asked(shared_house, None)]
    wanted: Json = {"x-content-type-options": "nosniff", "cache-control": "no-store"}
    for answer in answers:
        assert {name: answer.headers[name] for name in wanted} == wanted
        assert "max-age" in answer.headers["strict-transport-security"]
        assert "server" not in answer.headers
