"""Promise: each rule of the schema is needed: left out, something passes that it alone refuses, or is seen.

A rule without an example fails, so a migration brings its examples along.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg
import pytest

from db import embedded
from db.database import Role
from tests import schema_rules
from tests.conftest import cloned
from tests.integration import rows
from tests.integration.rows import ACCOUNTS, ALICE, BOB, KEY_HASHES
from tests.integration.rule_examples import EXAMPLES
from tests.schema_rules import Rule

Owner: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@pytest.fixture(scope="module")
async def owner(postgres: embedded.Server, template: str) -> AsyncIterator[Owner]:
    """Past every policy, in a database with a row in every table."""
    async with cloned(postgres, template) as url:
        connection = await asyncpg.connect(url)
        await rows.write(connection)
        yield connection
        await connection.close()


@asynccontextmanager
async def trying(owner: Owner, *statements: str) -> AsyncIterator[None]:
    """After these statements, all of which is undone."""
    undone = owner.transaction()
    await undone.start()
    try:
        for statement in filter(None, statements):
            await owner.execute(statement)
        yield
    finally:
        await undone.rollback()


async def examined(owner: Owner) -> list[Rule]:
    """The rules that refuse a statement. `updated_at` refuses nothing, and has a test of its own."""
    found = await schema_rules.rules(owner, "constraint", "index", "trigger")
    return [rule for rule in found if rule.name != "updated_at"]


async def test_every_rule_has_its_example(owner: Owner) -> None:
    known = {(table, name) for table, examples in EXAMPLES.items() for name in examples}
    assert {(rule.table, rule.name) for rule in await examined(owner)} == known


@pytest.mark.parametrize(
    ("table", "name"), [(table, name) for table, examples in EXAMPLES.items() for name in examples]
)
async def test_what_a_rule_refuses_passes_without_it_and_only_then(owner: Owner, table: str, name: str) -> None:
    example = EXAMPLES[table][name]
    (rule,) = [rule for rule in await examined(owner) if (rule.table, rule.name) == (table, name)]
    refused, aside = (text.replace("{table}", table) for text in (example.sql, example.aside))
    if rule.kind == "trigger":
        refused += "; SET CONSTRAINTS ALL IMMEDIATE"  # what looks at a whole step does so now
    async with trying(owner, aside):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await owner.execute(refused)
    async with trying(owner, aside, rule.left_out):
        await owner.execute(refused)


# ── What never changes ──────────────────────────────────────────────────────────────────────────────────────────────

FROZEN = {
    "attempts": (
        *(
            "partner_id = uuid_v7()",
            "id = uuid_v7()",
            "transaction_id = uuid_v7()",
            "operation = 'cancel'",
            "amount = 1",
        ),
        *("account_id = uuid_v7()", "provider_key = 'another'", "request = 'another'", "epoch = epoch - 1"),
    ),
    "transactions": (
        *("partner_id = uuid_v7()", "id = uuid_v7()", "livemode = true", "amount = 11", "currency = 'EUR'"),
        *("capture = 'manual'", "payment_method = 'crypto'", "created_at = now()"),
        *("version = version - 1", "status = 'refunded'"),
    ),
    "provider_events": (
        *("id = uuid_v7()", "account_id = uuid_v7()", "provider = 'adyen'", "dedupe_key = 'another'"),
        *("headers = '{\"a\": 1}'", "body = 'another'", "received_at = now()"),
    ),
    "review_decisions": (
        *("partner_id = uuid_v7()", "id = uuid_v7()", "transaction_id = uuid_v7()", "attempt_id = uuid_v7()"),
        *("verdict = 'succeeded'", "provider_id = 'another'", "evidence = 'another story'", "version = 2"),
        *("requested_by = 'grace'", "requested_at = now()", "expires_at = now() + interval '1 year'"),
    ),
}
OPEN = {"attempts": "UPDATE attempts SET finished_at = NULL"}
"""How rows get into the state in which they may still change otherwise."""


@pytest.mark.parametrize(
    ("table", "change"), [(table, change) for table, changes in FROZEN.items() for change in changes]
)
async def test_what_a_guard_holds_never_changes(owner: Owner, table: str, change: str) -> None:
    unguarded = (
        f"ALTER TABLE {table} DISABLE TRIGGER guard; {OPEN.get(table, '')}; ALTER TABLE {table} ENABLE TRIGGER guard"
    )
    async with trying(owner, unguarded):
        await owner.execute(f"UPDATE {table} SET {change.partition(' ')[0]} = {change.partition(' ')[0]}")
        with pytest.raises(asyncpg.RestrictViolationError):
            await owner.execute(f"UPDATE {table} SET {change}")


async def test_a_decision_is_approved_once_and_before_it_expires(owner: Owner) -> None:
    approve = "UPDATE review_decisions SET approved_by = 'grace', approved_at = now()"
    expire = (
        "ALTER TABLE review_decisions DISABLE TRIGGER guard; UPDATE review_decisions SET expires_at = now();"
        "ALTER TABLE review_decisions ENABLE TRIGGER guard"
    )
    for before in (approve, expire):
        async with trying(owner, before):
            with pytest.raises(asyncpg.RestrictViolationError):
                await owner.execute(approve)


async def test_a_new_month_is_guarded_as_the_months_before(owner: Owner) -> None:
    partitions = (
        "SELECT relname AS name, inhparent::regclass::text AS parent, relrowsecurity AND relforcerowsecurity AS own"
        " FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE relkind = 'r'"
    )
    async with trying(owner):
        before = await owner.fetch(partitions)
        await owner.execute("SELECT create_partitions(4)")
        made = [row for row in await owner.fetch(partitions) if row not in before]
        assert {row["parent"] for row in made} == {row["parent"] for row in before}
        assert all(row["own"] for row in made)
        for row in made:
            if "append_only_truncate" in EXAMPLES.get(row["parent"], {}):
                with pytest.raises(asyncpg.RestrictViolationError):
                    async with owner.transaction():
                        await owner.execute(f"TRUNCATE {row['name']}")


# ── Who sees what ───────────────────────────────────────────────────────────────────────────────────────────────────

WHO: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "nobody": ("paygate_app", {}),
    "alice": ("paygate_app", {"app.current_partner_id": str(ALICE)}),
    "alice's key": ("paygate_app", {"app.key_hash": KEY_HASHES[ALICE][2:]}),
    "alice's psp": ("paygate_app", {"app.current_account_id": str(ACCOUNTS[ALICE])}),
    "the worker": ("paygate_worker", {}),
    "the worker for alice": ("paygate_worker", {"app.current_partner_id": str(ALICE)}),
    "an operator": ("paygate_operator", {}),
    "a search": ("paygate_search", {}),
    "a console": ("paygate_console", {}),
    "a console for alice": ("paygate_console", {"app.current_partner_id": str(ALICE)}),
    "a console for all": ("paygate_console", {"app.across_partners": "on"}),
}
_PARTNERS = {"alice": "a", "the worker for alice": "a", "an operator": "ab"}
_CONSOLE = {"a console for alice": "a", "a console for all": "ab"}
_OWN = _PARTNERS | _CONSOLE
_WORKERS = _OWN | {"the worker": "ab", "the worker for alice": "ab"}
_PEOPLES = ("an operator", "a console", "a console for alice", "a console for all")
_NOBODYS = dict.fromkeys(("the worker", "the worker for alice", *_PEOPLES), "p")
_SEALED = _OWN | {"the worker": "ab"}
SEEN: Mapping[str, Mapping[str, str]] = {
    "api_keys": _PARTNERS | {"alice's key": "a"},
    "approvals": _OWN,
    "attempts": _WORKERS,
    "audit_logs": _SEALED,
    "audit_logs_other": _PARTNERS,
    "audit_seals": _NOBODYS,
    "audit_verifications": _NOBODYS,
    "charge_counts": _PARTNERS | {"the worker": "ab", "the worker for alice": "ab", "a console for alice": "a"},
    "customers": _PARTNERS,
    "disputes": _OWN,
    "events": _WORKERS,
    "findings": _WORKERS,
    "idempotency_keys": _PARTNERS | {"the worker": "b", "the worker for alice": "ab"},
    "ledger_accounts": _OWN,
    "ledger_entries": _SEALED,
    "partners": _OWN | {"a console": "ab", "a console for alice": "ab"},
    "provider_accounts": dict.fromkeys(WHO, "abp")
    | {"nobody": "", "alice": "ap", "alice's key": "", "alice's psp": "a"}
    | {"a search": "", "a console": "p", "a console for alice": "ap"},
    "provider_calls": _OWN,
    "provider_calls_other": _PARTNERS,
    "provider_events": _CONSOLE | {"the worker": "ab", "the worker for alice": "ab", "an operator": "ab"},
    "refunds": _OWN,
    "review_decisions": _OWN,
    "routing_activations": _OWN,
    "routing_rules": _OWN,
    "routing_tallies": _PARTNERS,
    "stored_payment_methods": _PARTNERS,
    "support_sessions": {"the worker": "b", "the worker for alice": "b"} | dict.fromkeys(_PEOPLES, "ab"),
    "support_users": dict.fromkeys(_PEOPLES, "p"),
    "transaction_events": _OWN,
    "transaction_events_other": _PARTNERS,
    "transaction_notes": _OWN,
    "transactions": _OWN | {"a search": "ab", "the worker": "b", "the worker for alice": "ab"},
    "webhook_attempts": _WORKERS,
    "webhook_deliveries": _WORKERS,
    "webhook_deliveries_other": _PARTNERS,
    "webhook_endpoints": _WORKERS,
    "webhook_manifests": _PARTNERS | {"the worker": "ab", "the worker for alice": "ab"},
    "webhook_replays": _WORKERS,
}
"""Whose rows the policies show to whom: alice's, bob's, the platform's; to everybody else none.

Grants are set aside: they may only take away from this.
"""


async def seen(owner: Owner, table: str, *changes: str) -> dict[str, str]:
    """Whose rows each of WHO sees, after some changes of the schema."""
    found = {}
    column = {"partners": "id", "support_users": "NULL::uuid"}.get(table, "partner_id")
    column = "NULL::uuid" if SEEN[table] is _NOBODYS else column
    for who, (role, settings) in WHO.items():
        identity = (f"SET LOCAL {name} = '{value}'" for name, value in settings.items())
        granted = f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
        async with trying(owner, *changes, granted, f"SET LOCAL ROLE {role}", *identity):
            owners = {row[0] for row in await owner.fetch(f"SELECT DISTINCT {column} FROM {table}")}
        found[who] = "".join(sorted({ALICE: "a", BOB: "b", None: "p"}[one] for one in owners))
    return found


@pytest.mark.parametrize("table", SEEN)
async def test_everybody_sees_what_is_theirs_to_see(owner: Owner, table: str) -> None:
    assert await seen(owner, table) == dict.fromkeys(WHO, "") | dict(SEEN[table])


async def test_every_table_with_policies_is_among_them(owner: Owner) -> None:
    assert {rule.table for rule in await schema_rules.rules(owner, "row level", "policy")} == SEEN.keys()


@pytest.mark.parametrize("table", SEEN)
async def test_without_any_one_policy_somebody_sees_less(owner: Owner, table: str) -> None:
    before = await seen(owner, table)
    for rule in await schema_rules.rules(owner, "policy"):
        if rule.table == table and rule.name not in WRITES:
            assert await seen(owner, table, rule.left_out) != before, rule


WRITES = frozenset({"receive", "retry", "console_writes"})
"""Policies that show nothing and let something be written."""


async def test_a_notification_is_let_in_as_received_and_as_nothing_else(owner: Owner) -> None:
    (receive,) = [rule for rule in await schema_rules.rules(owner, "policy") if rule.name == "receive"]
    stored = (
        "INSERT INTO provider_events (id, account_id, provider, dedupe_key, headers, body, state)"
        f" VALUES (uuid_v7(), '{ACCOUNTS[ALICE]}', 'stripe', 'told', '{{}}', '', 'received')"
    )
    async with trying(owner, "SET LOCAL ROLE paygate_app"):
        await owner.execute(stored)
    for changes, statement in (([], stored.replace("received", "applied")), ([receive.left_out], stored)):
        async with trying(owner, *changes, "SET LOCAL ROLE paygate_app"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await owner.execute(statement)


async def test_an_operator_has_a_parked_notification_tried_again_and_does_nothing_else_to_one(owner: Owner) -> None:
    (retry,) = [rule for rule in await schema_rules.rules(owner, "policy") if rule.name == "retry"]
    move = "UPDATE provider_events SET state = '{}' WHERE state = '{}' RETURNING id"
    parked = "UPDATE provider_events SET state = 'parked'"
    async with trying(owner, parked, "SET LOCAL ROLE paygate_operator"):
        assert await owner.fetch(move.format("received", "parked"))
        assert not await owner.fetch(move.format("parked", "received"))
    async with trying(owner, parked, "SET LOCAL ROLE paygate_operator"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await owner.fetch(move.format("applied", "parked"))
    async with trying(owner, parked, retry.left_out, "SET LOCAL ROLE paygate_operator"):
        assert await owner.fetch(move.format("applied", "parked"))


async def test_what_the_console_writes_of_nobodys_is_let_in_by_its_policy(owner: Owner) -> None:
    (writes,) = [rule for rule in await schema_rules.rules(owner, "policy") if rule.name == "console_writes"]
    act = (
        "INSERT INTO audit_logs (id, actor, action, resource_type, resource_id)"
        " VALUES (uuid_v7(), 'support:sup_1', 'test', 'test', 'test')"
    )
    async with trying(owner, "SET LOCAL ROLE paygate_console"):
        await owner.execute(act)
    async with trying(owner, writes.left_out, "SET LOCAL ROLE paygate_console"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await owner.execute(act)


# ── Who may delete ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_nothing_is_deleted_but_idempotency_keys_and_sessions(owner: Owner) -> None:
    found = await owner.fetch(
        "SELECT grantee, table_name FROM information_schema.table_privileges"
        " WHERE table_schema = 'public' AND grantee = ANY ($1) AND privilege_type IN ('DELETE', 'TRUNCATE')",
        list(Role),
    )
    assert {tuple(row) for row in found} == {
        *((role, "idempotency_keys") for role in (Role.APP, Role.WORKER)),
        (Role.WORKER, "support_sessions"),
    }
