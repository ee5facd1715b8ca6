"""Promise: operators' acts take effect within a second, leave a trace, and no secret is kept in clear."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import asyncpg
import httpx
import pytest

from db import endpoints, ids, provider_accounts, signing_keys
from db.database import Database, Role
from db.partners import Partner
from db.records import Scope
from db.vault import Vault
from gateway import api_keys, runtime
from gateway.api.routes import ROUTES
from gateway.app import create_app
from gateway.config import Settings
from gateway.partners import Desk, NotFound, Refused
from gateway.runtime import Runtime
from tests.integration.commands import paygate, told

STRIPE = {"api_key": "sk_test_canary_of_a_psp", "webhook_secrets": ["whsec_Y2FuYXJ5"]}
LOOK_UP = "/v1/payment-method-types"


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(database_url=database_url, secret_keys={1: os.urandom(32)}, failed_auth_per_minute=5)


@pytest.fixture
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    database = await Database.open(settings.database_url, Role.OPERATOR)
    yield Desk(database, Vault(settings.secret_keys), "test")
    await database.close()


@pytest.fixture
async def opened(settings: Settings) -> AsyncIterator[Runtime]:
    async with runtime.opened(settings, Role.APP) as value:
        yield value


@pytest.fixture
async def partner(desk: Desk) -> Partner:
    return await desk.create_partner(name="Ada", email="ada@example.com", rate_limit_per_minute=100_000)


@asynccontextmanager
async def client(
    opened: Runtime, key: str | None = None, address: str = "192.0.2.1"
) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(opened), raise_app_exceptions=False, client=(address, 1))
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test", headers=headers) as value:
        yield value


async def audit_actions(settings: Settings) -> list[str]:
    connection = await asyncpg.connect(settings.database_url)
    try:
        return [row["action"] for row in await connection.fetch("SELECT action FROM audit_logs ORDER BY id")]
    finally:
        await connection.close()


# ── Keys ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_issued_key_opens_the_api(desk: Desk, opened: Runtime, partner: Partner) -> None:
    issued = await desk.issue_key(partner.id, livemode=False)
    async with client(opened, issued.text) as api:
        answer = await api.get(LOOK_UP)
    assert answer.status_code == 200
    assert answer.headers["RateLimit-Policy"] == '"partner";q=100000;w=60'
    assert answer.headers["RateLimit"] == '"partner";r=99999;t=60'


async def test_no_part_of_the_database_holds_a_key_in_clear(desk: Desk, settings: Settings, partner: Partner) -> None:
    issued = await desk.issue_key(partner.id, livemode=True)
    await desk.add_account(provider="stripe", livemode=False, credentials=STRIPE)
    connection = await asyncpg.connect(settings.database_url)
    for table in ("api_keys", "audit_logs", "provider_accounts", "partners"):
        rows = await connection.fetch(f"SELECT t::text FROM {table} t")
        assert rows
        for row in rows:
            for secret in (issued.text, issued.text[16:], *STRIPE["webhook_secrets"], str(STRIPE["api_key"])):
                assert secret not in row["t"]
                assert secret.encode().hex() not in row["t"]
    await connection.close()


async def test_every_act_leaves_its_line(desk: Desk, settings: Settings, partner: Partner) -> None:
    issued = await desk.issue_key(partner.id, livemode=False)
    rotated = await desk.rotate_key(issued.key.id)
    await desk.revoke_key(rotated.key.id)
    await desk.revoke_key(rotated.key.id)
    account = await desk.add_account(provider="stripe", livemode=False, credentials=STRIPE)
    await desk.disable_account(account.id)
    await desk.deactivate_partner(partner.id)
    assert await audit_actions(settings) == [
        "partner.created",
        "api_key.issued",
        "api_key.issued",
        "api_key.rotated",
        "api_key.revoked",
        "provider_account.added",
        "provider_account.disabled",
        "partner.deactivated",
    ]


async def seconds_until(api: httpx.AsyncClient, status: int) -> float:
    began = time.monotonic()
    while (await api.get(LOOK_UP)).status_code != status:
        assert time.monotonic() - began < 5, "it never came"
    return time.monotonic() - began


async def test_a_revoked_key_opens_nothing_within_a_second(desk: Desk, opened: Runtime, partner: Partner) -> None:
    issued = await desk.issue_key(partner.id, livemode=False)
    async with client(opened, issued.text) as api:
        assert (await api.get(LOOK_UP)).status_code == 200
        await desk.revoke_key(issued.key.id)
        assert await seconds_until(api, 401) <= 1.0


async def test_a_deactivated_partner_is_told_so_within_a_second(desk: Desk, opened: Runtime, partner: Partner) -> None:
    issued = await desk.issue_key(partner.id, livemode=False)
    async with client(opened, issued.text) as api:
        assert (await api.get(LOOK_UP)).status_code == 200
        await desk.deactivate_partner(partner.id)
        assert await seconds_until(api, 403) <= 1.0
        assert (await api.get(LOOK_UP)).json()["code"] == "partner_inactive"


async def test_rotation_lets_both_keys_work_and_then_one(desk: Desk, opened: Runtime, partner: Partner) -> None:
    old = await desk.issue_key(partner.id, livemode=False, scopes=["refunds:write"], name="till")
    new = await desk.rotate_key(old.key.id)
    assert (new.key.scopes, new.key.name, new.key.livemode) == (old.key.scopes, "till", False)
    for text in (old.text, new.text):
        async with client(opened, text) as api:
            assert (await api.get(LOOK_UP)).status_code == 200
    await desk.rotate_key(old.key.id, overlap=timedelta(0))
    async with client(opened, old.text) as api:
        assert (await api.get(LOOK_UP)).status_code == 401


async def test_an_expired_key_is_as_good_as_none(desk: Desk, opened: Runtime, partner: Partner) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    issued = await desk.issue_key(partner.id, livemode=False, expires_at=past)
    async with client(opened, issued.text) as api:
        assert (await api.get(LOOK_UP)).status_code == 401


async def test_unknown_revoked_expired_and_malformed_keys_get_one_answer(
    desk: Desk, opened: Runtime, partner: Partner
) -> None:
    revoked = await desk.issue_key(partner.id, livemode=False)
    await desk.revoke_key(revoked.key.id)
    expired = await desk.issue_key(partner.id, livemode=False, expires_at=datetime.now(UTC) - timedelta(days=1))
    answers = []
    for text in (api_keys.issue(livemode=False).text, revoked.text, expired.text, "sk_test_short", None):
        async with client(opened, text) as api:
            answer = await api.get(LOOK_UP, headers={"Request-Id": "the-same-for-all"})
            answers.append((answer.status_code, answer.content, answer.headers["WWW-Authenticate"]))
    assert len(set(answers)) == 1
    assert answers[0][0] == 401


async def test_a_key_that_is_none_of_ours_costs_no_database_read(settings: Settings) -> None:
    async with runtime.opened(settings, Role.APP) as value:
        gone = value
    valid = api_keys.issue(livemode=False).text
    async with client(gone, valid[:-1] + ("a" if valid[-1] != "a" else "b")) as api:
        assert (await api.get(LOOK_UP)).status_code == 401  # the database is closed: asking it would be a 503
    async with client(gone, valid) as api:
        assert (await api.get(LOOK_UP)).status_code == 503


async def test_a_key_in_the_url_is_refused_even_where_the_header_holds_one(
    desk: Desk, opened: Runtime, partner: Partner
) -> None:
    issued = await desk.issue_key(partner.id, livemode=False)
    async with client(opened, issued.text) as api:
        for path in (f"{LOOK_UP}?key={issued.text}", f"{LOOK_UP}?key=%73k_test_x", f"/v1/transactions/{issued.text}"):
            answer = await api.get(path)
            assert (answer.status_code, answer.json()["code"]) == (400, "key_in_url")
            assert issued.text not in answer.text


async def test_a_key_does_what_its_scopes_name_and_no_more(desk: Desk, opened: Runtime, partner: Partner) -> None:
    issued = await desk.issue_key(partner.id, livemode=False, scopes=["webhooks:write"])
    async with client(opened, issued.text) as api:
        for route in ROUTES:
            if route.scope not in {None, "webhooks:write"}:
                answer = await api.request(route.method, route.path.replace("{", "").replace("}", ""))
                assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
                assert answer.json()["scope"] == route.scope
                assert ("money_moved" in answer.json()) == route.money


async def test_an_address_that_keeps_failing_is_told_to_wait_but_locks_nobody_out(
    desk: Desk, opened: Runtime, partner: Partner
) -> None:
    issued = await desk.issue_key(partner.id, livemode=False)
    async with client(opened) as api:
        statuses = []
        for _ in range(10):
            bad = {"Authorization": f"Bearer {api_keys.issue(livemode=False).text}"}
            statuses.append((await api.get(LOOK_UP, headers=bad)).status_code)
        assert statuses == [401] * 5 + [429] * 5
        refused = await api.get(LOOK_UP)
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        good = {"Authorization": f"Bearer {issued.text}"}
        assert (await api.get(LOOK_UP, headers=good)).status_code == 200


async def test_concurrent_requests_with_one_key_read_it_once(desk: Desk, opened: Runtime, partner: Partner) -> None:
    issued = await desk.issue_key(partner.id, livemode=False)
    async with client(opened, issued.text) as api:
        answers = await asyncio.gather(*(api.get("/v1/currencies") for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert opened.database.in_use == 0


async def test_a_key_stored_under_an_older_pepper_still_opens(desk: Desk, settings: Settings, partner: Partner) -> None:
    issued = await desk.issue_key(partner.id, livemode=False)
    rotated = replace(settings, secret_keys={**settings.secret_keys, 2: os.urandom(32)})
    async with runtime.opened(rotated, Role.APP) as value, client(value, issued.text) as api:
        assert (await api.get(LOOK_UP)).status_code == 200


async def test_more_calls_than_the_limit_are_refused_with_the_time_to_wait(desk: Desk, opened: Runtime) -> None:
    partner = await desk.create_partner(name="Small", email="small@example.com", rate_limit_per_minute=3)
    issued = await desk.issue_key(partner.id, livemode=False)
    async with client(opened, issued.text) as api:
        answers = [await api.get(LOOK_UP) for _ in range(4)]
        money = await api.post("/v1/transactions")
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["RateLimit"] for answer in answers][2:] == ['"partner";r=0;t=60'] * 2
    assert answers[3].headers["Retry-After"] == "60"
    assert (money.json()["money_moved"], money.json()["safe_to_retry"]) == ("unknown", True)


# ── Partners and accounts ───────────────────────────────────────────────────────────────────────────────────────────


async def test_amount_limits_are_kept_exactly(desk: Desk) -> None:
    limits = {"EUR": Decimal("5000.50"), "JPY": Decimal(1000)}
    partner = await desk.create_partner(name="B", email="b@example.com", amount_limits=limits)
    assert partner.amount_limits == limits
    assert (await desk.list_partners())[0] == partner
    for named in ("B@EXAMPLE", ids.encode("prt", partner.id)):
        assert await desk.list_partners(named) == [partner]


async def test_an_email_address_belongs_to_one_partner(desk: Desk, partner: Partner) -> None:
    with pytest.raises(Refused):
        await desk.create_partner(name="Other", email=partner.email)


async def test_credentials_are_tried_before_they_are_stored(desk: Desk) -> None:
    with pytest.raises(Refused) as caught:
        await desk.add_account(provider="stripe", livemode=True, credentials=STRIPE)
    assert str(STRIPE["api_key"]) not in str(caught.value)
    with pytest.raises(Refused):
        await desk.add_account(provider="nobody", livemode=False, credentials={})
    assert await desk.list_accounts() == []


async def test_a_disabled_account_is_another_version_of_itself(desk: Desk) -> None:
    account = await desk.add_account(provider="stripe", livemode=False, credentials=STRIPE)
    disabled = await desk.disable_account(account.id)
    assert (disabled.enabled, disabled.version) == (False, 2)
    assert (await desk.disable_account(account.id)).version == 2


async def test_what_does_not_exist_is_not_found(desk: Desk, partner: Partner) -> None:
    for act in (
        desk.issue_key(ids.new(), livemode=False),
        desk.revoke_key(partner.id),
        desk.disable_account(ids.new()),
    ):
        with pytest.raises(NotFound):
            await act


# ── The command line ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_operator_sets_a_partner_up_from_the_command_line(
    settings: Settings, opened: Runtime, tmp_path: Path
) -> None:
    partner = await told(settings, "partners", "create", "--name", "Ada", "--email", "ada@example.com")
    assert partner["id"].startswith("prt_")
    key = await told(settings, "keys", "create", "--partner", partner["id"], "--mode", "test")
    async with client(opened, key["api_key"]) as api:
        assert (await api.get(LOOK_UP)).status_code == 200
    (listed,) = await told(settings, "keys", "list", "--partner", partner["id"])
    assert listed["id"] == key["id"]
    assert "api_key" not in listed
    rotated = await told(settings, "keys", "rotate", key["id"])
    assert rotated["api_key"] != key["api_key"]
    assert (await told(settings, "keys", "revoke", key["id"]))["revoked_at"]
    (tmp_path / "stripe.json").write_text(json.dumps(STRIPE))
    file = str(tmp_path / "stripe.json")
    account = await told(settings, "accounts", "add", "--provider", "stripe", "--mode", "test", "--credentials", file)
    assert [row["id"] for row in await told(settings, "accounts", "list")] == [account["id"]]
    assert (await told(settings, "accounts", "disable", account["id"]))["enabled"] is False
    dear = await told(settings, "partners", "update", partner["id"], "--review-above", "EUR=900")
    assert dear["review_above"] == {"EUR": "900"}
    assert (await told(settings, "partners", "update", partner["id"], "--no-review-above"))["review_above"] == {}
    assert (await told(settings, "partners", "deactivate", partner["id"]))["is_active"] is False
    assert len(await told(settings, "partners", "list")) == 1


async def test_findings_are_listed_lifted_and_closed_from_the_command_line(
    settings: Settings, partner: Partner
) -> None:
    connection = await asyncpg.connect(settings.database_url)
    await connection.execute(
        "INSERT INTO findings (id, source, kind, subject, partner_id)"
        " VALUES (uuid_v7(), 'watchdog', 'charged_twice', 'txn_1', $1)",
        partner.id,
    )
    (found,) = await told(settings, "findings", "list")
    assert (found["kind"], found["partner_id"], found["stops_refunds"]) == (
        "charged_twice",
        ids.encode("prt", partner.id),
        True,
    )
    assert not (await told(settings, "findings", "lift", found["id"], "--because", "ticket 4711"))["stops_refunds"]
    assert (await told(settings, "findings", "close", found["id"], "--because", "row mended"))["closed_at"]
    assert await told(settings, "findings", "list") == []
    again = await asyncio.to_thread(paygate, settings, "findings", "lift", found["id"], "--because", "again")
    assert (again.returncode, again.stderr) == (1, "Error: no such finding is open, or it cannot be answered so\n")
    silent = await asyncio.to_thread(paygate, settings, "findings", "close", found["id"], "--because", " ")
    assert silent.stderr.startswith("Error: say why")
    acts = await connection.fetch(
        "SELECT action, partner_id, changes->>'because' AS because FROM audit_logs WHERE action LIKE 'finding.%'"
        " ORDER BY id"
    )
    assert [tuple(row) for row in acts] == [
        ("finding.lifted", partner.id, "ticket 4711"),
        ("finding.closed", partner.id, "row mended"),
    ]
    await connection.close()


async def test_what_goes_wrong_is_one_line_and_status_1_or_2(settings: Settings) -> None:
    unknown = "prt_" + "0" * 26
    cases: list[tuple[int, list[str], dict[str, str]]] = [
        (1, ["keys", "list", "--partner", unknown], {}),
        (1, ["partners", "list"], {"PAYGATE_SECRET_KEYS": "1:c2hvcnQ="}),
        (1, ["partners", "list"], {"PAYGATE_DATABASE_URL": "postgresql://127.0.0.1:1/none"}),
        (2, ["keys", "list", "--partner", "ada"], {}),
        (2, ["keys", "create"], {}),
    ]
    for status, arguments, environ in cases:
        done = await asyncio.to_thread(paygate, settings, *arguments, **environ)
        assert (done.returncode, done.stdout) == (status, "")
        assert "Traceback" not in done.stderr
        if status == 1:
            assert len(done.stderr.splitlines()) == 1


async def test_the_doctor_finds_a_sound_installation_sound(settings: Settings) -> None:
    findings = await told(settings, "doctor")
    wrong = [finding for finding in findings if not finding["ok"] and finding["weight"] == "fatal"]
    assert wrong == []


async def test_the_doctor_names_the_table_whose_policies_are_not_forced(settings: Settings) -> None:
    connection = await asyncpg.connect(settings.database_url)
    await connection.execute("ALTER TABLE customers NO FORCE ROW LEVEL SECURITY")
    await connection.close()
    done = await asyncio.to_thread(paygate, settings, "doctor")
    assert done.returncode == 1
    assert "not forced on customers" in done.stdout


async def test_new_credentials_take_the_old_ones_place(database_url: str) -> None:
    database = await Database.open(database_url, Role.OPERATOR)
    vault = Vault({1: bytes(range(32))})
    at = Desk(database, vault, "operator:test")
    account = await at.add_account(provider="stripe", livemode=False, credentials={"api_key": "sk_test_1"})
    changed = await at.change_account(account.id, credentials={"api_key": "sk_test_2", "webhook_secrets": ["whsec_a"]})
    opened = vault.open(changed.credentials, provider_accounts.credentials_context(account.id))
    assert json.loads(opened)["api_key"] == "sk_test_2"
    assert changed.version == account.version + 1
    with pytest.raises(Refused, match="webhook_secretz"):
        await at.change_account(account.id, credentials={"api_key": "sk_test_3", "webhook_secretz": ["whsec_a"]})
    await database.close()


async def test_secrets_move_to_a_new_key_and_the_old_one_may_go(database_url: str) -> None:
    old, new = os.urandom(32), os.urandom(32)
    database = await Database.open(database_url, Role.OPERATOR)
    before = Desk(database, Vault({1: old}), "operator:test")
    partner = await before.create_partner(name="Shop", email="reseal@shop.example")
    account = await before.add_account(provider="stripe", livemode=False, credentials={"api_key": "sk_test_1"})
    app = await Database.open(database_url, Role.APP)
    scope, endpoint_id = Scope(partner.id, livemode=False), ids.new()
    async with app.as_partner(partner.id) as connection:
        await endpoints.create(
            connection,
            scope,
            endpoint_id,
            url="https://shop.example/hooks",
            event_types=["*"],
            description=None,
            secret="whsec_a",
            vault=before.vault,
        )
        await endpoints.set_headers(connection, scope, endpoint_id, {"x-key": "a"}, vault=before.vault)
    signing = await before.rotate_signing_key(overlap=timedelta(hours=24))
    after = Desk(database, Vault({2: new, 1: old}), "operator:test")
    protected = ("provider account", "signing key", "webhook headers", "webhook secret")
    assert [(version, what) for version, what, _ in await after.secrets_in_use()] == [(1, what) for what in protected]
    assert await after.reseal() == 3
    assert [(version, what) for version, what, _ in await after.secrets_in_use()] == [(2, what) for what in protected]
    assert await after.reseal() == 0
    alone = Vault({2: new})
    [moved] = await after.list_accounts()
    assert json.loads(alone.open(moved.credentials, provider_accounts.credentials_context(account.id)))
    async with app.as_partner(partner.id) as connection:
        sealed = await connection.fetchrow("SELECT secret, headers FROM webhook_endpoints WHERE id = $1", endpoint_id)
    assert sealed is not None
    assert endpoints.open_secret(alone, sealed[0], partner_id=partner.id, endpoint_id=endpoint_id) == "whsec_a"
    assert endpoints.open_headers(alone, sealed[1], partner_id=partner.id, endpoint_id=endpoint_id) == {"x-key": "a"}
    async with database.as_system() as connection:
        [(key_id, private)] = await signing_keys.private_keys(connection)
    opened = signing_keys.open_key(alone, private, key_id=key_id)
    assert opened.public_key().public_bytes_raw() == signing.public_key
    await app.close()
    await database.close()
