"""Promise: whatever knocks, the server answers what HTTP expects and gives nothing away."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest

from db.database import Database, Role
from db.vault import Vault
from gateway import runtime
from gateway.api.routes import ROUTES
from gateway.app import create_app
from gateway.config import Settings
from gateway.partners import Desk
from gateway.runtime import Runtime


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(database_url=database_url, secret_keys={1: os.urandom(32)}, failed_auth_per_minute=1_000)


@pytest.fixture
async def opened(settings: Settings) -> AsyncIterator[Runtime]:
    async with runtime.opened(settings, Role.APP) as value:
        yield value


async def key_of_a_partner(settings: Settings) -> str:
    database = await Database.open(settings.database_url, Role.OPERATOR)
    desk = Desk(database, Vault(settings.secret_keys), "test")
    partner = await desk.create_partner(name="Ada", email="ada@example.com", rate_limit_per_minute=100_000)
    issued = await desk.issue_key(partner.id, livemode=False)
    await database.close()
    return issued.text


@asynccontextmanager
async def client(opened: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(opened), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as value:
        yield value


async def test_no_route_opens_without_a_key(opened: Runtime) -> None:
    async with client(opened) as api:
        for route in ROUTES:
            answer = await api.request(route.method, route.path.replace("{", "").replace("}", ""))
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
            assert ("money_moved" in answer.json()) == route.money


async def test_a_body_that_is_no_object_is_invalid_everywhere(opened: Runtime, settings: Settings) -> None:
    headers = {"Authorization": f"Bearer {await key_of_a_partner(settings)}", "Content-Type": "application/json"}
    async with client(opened) as api:
        for route in ROUTES:
            if route.method in {"POST", "PUT", "PATCH"}:
                path = route.path.replace("{", "").replace("}", "")
                for text in (b"null", b"[]", b'""', b"1", b"true"):
                    key = {"Idempotency-Key": secrets.token_hex(8)}
                    answer = await api.request(route.method, path, content=text, headers=headers | key)
                    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), (path, text)


async def test_a_ready_process_says_so_and_one_without_its_database_does_not(settings: Settings) -> None:
    async with runtime.opened(settings, Role.APP) as value, client(value) as api:
        assert (await api.get("/readyz")).status_code == 200
    async with client(value) as api:
        assert (await api.get("/readyz")).status_code == 503
        assert (await api.get("/healthz")).status_code == 200


@pytest.mark.parametrize("path", ["/", "/healthz", "/docs", "/docs/errors", "/openapi.json", "/nowhere", "/v1/nowhere"])
async def test_every_answer_carries_the_security_fields(opened: Runtime, path: str) -> None:
    async with client(opened) as api:
        answer = await api.get(path)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "max-age=" in answer.headers["Strict-Transport-Security"]
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Request-Id"].startswith("req_")
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Server" not in answer.headers


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abcdefgh", True),
        ("a" * 64, True),
        ("short", False),
        ("a" * 65, False),
        ("has space", False),
        ("x<script>y", False),
    ],
)
async def test_a_clients_own_request_id_is_kept_where_it_is_safe(opened: Runtime, given: str, kept: bool) -> None:
    async with client(opened) as api:
        answer = await api.get("/healthz", headers={"Request-Id": given})
    assert (answer.headers["Request-Id"] == given) is kept


async def test_unknown_paths_and_methods_are_problems_too(opened: Runtime) -> None:
    async with client(opened) as api:
        for method, path, status in (("GET", "/x", 404), ("POST", "/healthz", 405), ("TRACE", "/healthz", 405)):
            answer = await api.request(method, path)
            assert answer.status_code == status
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["status"] == status
            assert ("Allow" in answer.headers) == (status == 405)


async def test_the_metrics_are_not_on_the_public_port(opened: Runtime) -> None:
    async with client(opened) as api:
        assert (await api.get("/metrics")).status_code == 404


async def test_a_host_that_is_not_ours_is_refused_except_for_health(opened: Runtime) -> None:
    opened.settings = replace(opened.settings, allowed_hosts=frozenset({"api.test"}))
    async with client(opened) as api:
        for host, status in (("api.test", 200), ("API.test:8080", 200), ("evil.test", 400), ("", 400)):
            assert (await api.get("/docs", headers={"Host": host})).status_code == status
        assert (await api.get("/healthz", headers={"Host": "10.0.0.7"})).status_code == 200


async def test_security_reports_have_an_address_where_one_was_configured(opened: Runtime) -> None:
    async with client(opened) as api:
        assert (await api.get("/.well-known/security.txt")).status_code == 404
    opened.settings = replace(opened.settings, security_contact="mailto:security@example.com")
    async with client(opened) as api:
        text = (await api.get("/.well-known/security.txt")).text
    assert text.startswith("Contact: mailto:security@example.com\nExpires: ")


async def test_what_was_begun_goes_on_after_its_caller_went_away(opened: Runtime) -> None:
    begun, answered = asyncio.Event(), asyncio.Event()

    async def work() -> str:
        begun.set()
        await answered.wait()
        return "written down"

    caller = asyncio.create_task(opened.carry_out(work()))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    (left,) = opened._tasks
    answered.set()
    await opened.drain(20)
    assert left.result() == "written down"
