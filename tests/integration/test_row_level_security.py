"""Promise: PostgreSQL itself keeps partners apart and history unchanged, whatever statement our code might send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import pytest

from db import ids
from db.database import Database, Role
from tests.acceptance.steps import until
from tests.house import House

Owner: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
HISTORY = (
    *("transaction_events", "ledger_entries", "ledger_accounts", "events", "audit_logs"),
    *("webhook_attempts", "webhook_manifests", "transaction_notes"),
)
KEPT = ("attempts", "provider_events")
"""Rows may change as their state does; none may go."""
_QUIET = """
    SELECT (SELECT count(DISTINCT partner_id) FROM routing_tallies WHERE partner_id = ANY ($1)) = cardinality($1)
        AND NOT EXISTS (SELECT FROM webhook_deliveries WHERE partner_id = ANY ($1) AND state <> 'delivered')"""
"""What is written after the answer is written: nothing changes these partners' rows any more."""
REFUSED = (asyncpg.InsufficientPrivilegeError, asyncpg.RestrictViolationError, asyncpg.CheckViolationError)


@asynccontextmanager
async def as_role(url: str, role: str, partner_id: UUID | None = None) -> AsyncIterator[Owner]:
    """A session as the processes have it, with the partner set or not."""
    settings = {"role": role} | ({"app.current_partner_id": str(partner_id)} if partner_id else {})
    connection = await asyncpg.connect(url, server_settings=settings)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture(scope="module")
async def busy(shared_house: House) -> tuple[House, UUID, UUID]:
    """A database in which two partners have rows in every table that holds rows of partners."""
    partners = [await shared_house.partner() for _ in range(2)]
    for partner in partners:
        await shared_house.subscribed(partner)
        customer = (await partner.post("/v1/customers", {"email": "ada@example.com"})).json()
        stored = {"type": "card", "tokens": {"stripe": "pm_card_visa"}, "customer": customer["id"]}
        method = (await partner.post("/v1/payment-methods", stored)).json()
        sale = (await partner.charge(payment_method={"id": method["id"]})).json()
        refund = (await partner.post(f"/v1/transactions/{sale['id']}/refunds")).json()
        await shared_house.receiver.event("refund.completed", refund["id"])
        await shared_house.desk.add_account(
            provider="stripe",
            livemode=False,
            credentials={"api_key": "sk_test_own"},
            base_url=shared_house.simulators["stripe"],
            partner_id=partner.id,
        )
    mine = [partner.id for partner in partners]
    await until(partial(shared_house.owner.fetchval, _QUIET, mine), bool)
    return shared_house, partners[0].id, partners[1].id


def url_of(house: House) -> str:
    return house.runtime.settings.database_url


async def tables(owner: Owner, *, column: str | None = None) -> list[str]:
    """Every ordinary and partitioned table and partition; with `column`, those that have it."""
    rows = await owner.fetch(
        """SELECT c.relname FROM pg_class c
           WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
             AND ($1::text IS NULL OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = $1))
           ORDER BY 1""",
        column,
    )
    return [row["relname"] for row in rows]


async def readable(owner: Owner, role: str, privilege: str = "SELECT") -> list[str]:
    return [
        table
        for table in await tables(owner, column="partner_id")
        if await owner.fetchval("SELECT has_table_privilege($1, $2, $3)", role, table, privilege)
    ]


async def test_every_table_with_partners_forces_row_level_security(busy: tuple[House, UUID, UUID]) -> None:
    rows = await busy[0].owner.fetch(
        """SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'partner_id'
           WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
             AND NOT (c.relrowsecurity AND c.relforcerowsecurity)"""
    )
    assert rows == []
    partners = await busy[0].owner.fetchrow(
        "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = 'partners'::regclass"
    )
    assert partners is not None
    assert tuple(partners) == (True, True)


async def test_the_partner_leads_every_key_that_a_partner_could_fill(busy: tuple[House, UUID, UUID]) -> None:
    # Else a violation would tell one partner of another's value.
    rows = await busy[0].owner.fetch(
        """SELECT i.indexrelid::regclass::text AS name FROM pg_index i
           JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = 'partner_id'
           JOIN pg_class c ON c.oid = i.indrelid
           WHERE i.indisunique AND c.relnamespace = 'public'::regnamespace AND i.indkey[0] <> a.attnum
             AND c.relkind IN ('r', 'p') AND NOT c.relispartition"""
    )
    random_or_ours = {"api_keys_hash_key", "provider_accounts_pkey", "audit_logs_pkey", "provider_events_pkey"}
    random_or_ours |= {"findings_pkey", "findings_open"}  # which no partner writes or reads
    random_or_ours |= {"support_sessions_pkey", "support_sessions_token_hash_key"}
    assert {row["name"] for row in rows} - random_or_ours <= {"provider_events_account_id_dedupe_key_key"}


async def test_foreign_keys_between_partners_rows_name_the_partner(busy: tuple[House, UUID, UUID]) -> None:
    # The checks of foreign keys pass by row-level security.
    rows = await busy[0].owner.fetch(
        """SELECT k.conname, k.conrelid::regclass::text AS source, k.confrelid::regclass::text AS target
           FROM pg_constraint k
           JOIN pg_attribute s ON s.attrelid = k.conrelid AND s.attname = 'partner_id'
           JOIN pg_attribute t ON t.attrelid = k.confrelid AND t.attname = 'partner_id'
           WHERE k.contype = 'f' AND k.conparentid = 0
             AND NOT (k.conkey[1] = s.attnum AND k.confkey[1] = t.attnum)"""
    )
    assert {row["target"] for row in rows} <= {"provider_accounts"}, rows  # the platform's own have no partner


async def test_no_role_of_a_process_can_pass_the_policies(busy: tuple[House, UUID, UUID]) -> None:
    rows = await busy[0].owner.fetch(
        """SELECT rolname FROM pg_roles WHERE rolname = ANY ($1::text[])
           AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication OR rolcanlogin)""",
        [role.value for role in Role],
    )
    assert rows == []
    owned = "SELECT relname FROM pg_class WHERE pg_get_userbyid(relowner) = ANY ($1::text[])"
    assert await busy[0].owner.fetch(owned, [role.value for role in Role]) == []


async def test_functions_that_act_as_their_owner_fix_where_they_look(busy: tuple[House, UUID, UUID]) -> None:
    rows = await busy[0].owner.fetch(
        """SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef
           AND NOT coalesce(array_to_string(proconfig, ','), '') LIKE '%search_path=pg_catalog%'"""
    )
    assert rows == []


async def test_without_a_partner_no_table_shows_a_row(busy: tuple[House, UUID, UUID]) -> None:
    house, _, _ = busy
    async with as_role(url_of(house), "paygate_app") as app:
        for table in await readable(house.owner, "paygate_app"):
            assert await app.fetchval(f"SELECT count(*) FROM {table}") == 0, table
        assert await app.fetchval("SELECT count(*) FROM partners") == 0


async def test_an_empty_partner_is_no_partner(busy: tuple[House, UUID, UUID]) -> None:
    house, _, _ = busy
    async with as_role(url_of(house), "paygate_app") as app:
        await app.execute("SELECT set_config('app.current_partner_id', '', false)")
        assert await app.fetchval("SELECT count(*) FROM transactions") == 0


async def test_a_partner_sees_its_own_rows_in_every_table_and_no_others(busy: tuple[House, UUID, UUID]) -> None:
    house, alice, bob = busy
    seen = set()
    async with as_role(url_of(house), "paygate_app", alice) as app:
        for table in await readable(house.owner, "paygate_app"):
            owners = await app.fetch(f"SELECT DISTINCT partner_id FROM {table}")
            assert {row["partner_id"] for row in owners} <= {alice, None}, table
            assert await app.fetchval(f"SELECT count(*) FROM {table} WHERE partner_id = $1", bob) == 0
            if owners:
                seen.add(table)
        assert [row["id"] for row in await app.fetch("SELECT id FROM partners")] == [alice]
    assert {"transactions", "attempts", "refunds", "events", "ledger_entries", "webhook_endpoints"} <= seen
    assert {"customers", "stored_payment_methods"} <= seen


async def test_a_partner_changes_and_deletes_no_row_of_another(busy: tuple[House, UUID, UUID]) -> None:
    house, alice, bob = busy
    before = await fingerprint(house.owner, bob)
    async with as_role(url_of(house), "paygate_app", alice) as app:
        for table in await tables(house.owner, column="partner_id"):
            for statement in (
                f"UPDATE {table} SET partner_id = partner_id WHERE partner_id = $1",
                f"DELETE FROM {table} WHERE partner_id = $1",
            ):
                try:
                    status = await app.execute(statement, bob)
                except REFUSED:
                    continue
                assert status.endswith(" 0"), (statement, status)
    assert await fingerprint(house.owner, bob) == before


async def test_no_row_is_given_to_another_partner(busy: tuple[House, UUID, UUID]) -> None:
    house, alice, bob = busy
    async with as_role(url_of(house), "paygate_app", alice) as app:
        for table in await readable(house.owner, "paygate_app", "UPDATE"):
            try:
                status = await app.execute(f"UPDATE {table} SET partner_id = $1", bob)
            except REFUSED:
                continue
            assert status.endswith(" 0"), table


async def test_no_row_is_inserted_for_another_partner(busy: tuple[House, UUID, UUID]) -> None:
    house, alice, bob = busy
    async with as_role(url_of(house), "paygate_app", alice) as app:
        for table in await readable(house.owner, "paygate_app", "INSERT"):
            row = await house.owner.fetchval(f"SELECT to_jsonb(t) FROM {table} t WHERE partner_id = $1 LIMIT 1", bob)
            if row is None:
                continue
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await app.execute(
                    f"INSERT INTO {table} SELECT r.* FROM jsonb_populate_record(NULL::{table}, $1::jsonb) r", row
                )


@pytest.mark.parametrize(
    ("table", "column", "target"),
    [
        ("refunds", "transaction_id", "transactions"),
        ("attempts", "transaction_id", "transactions"),
        ("attempts", "refund_id", "refunds"),
        ("events", "transaction_id", "transactions"),
        ("webhook_deliveries", "endpoint_id", "webhook_endpoints"),
        ("webhook_deliveries", "event_id", "events"),
        ("transaction_events", "transaction_id", "transactions"),
        ("transactions", "customer_id", "customers"),
        ("transactions", "stored_payment_method_id", "stored_payment_methods"),
        ("stored_payment_methods", "customer_id", "customers"),
    ],
)
async def test_no_row_is_linked_to_another_partners(
    busy: tuple[House, UUID, UUID], table: str, column: str, target: str
) -> None:
    house, alice, bob = busy
    foreign = await house.owner.fetchval(f"SELECT id FROM {target} WHERE partner_id = $1 LIMIT 1", bob)
    query = f"SELECT to_jsonb(t) || $2::jsonb FROM {table} t WHERE partner_id = $1 AND {column} IS NOT NULL LIMIT 1"
    change = f'{{"{column}": "{foreign}", "id": "{ids.new()}", "idempotency_key": null, "state": "pending"}}'
    if table == "attempts":
        change = change.replace('"state": "pending"', '"state": "declined"')
    row = await house.owner.fetchval(query, alice, change)
    async with as_role(url_of(house), "paygate_app", alice) as app:
        with pytest.raises((asyncpg.ForeignKeyViolationError, asyncpg.CheckViolationError)):
            await app.execute(
                f"INSERT INTO {table} SELECT r.* FROM jsonb_populate_record(NULL::{table}, $1::jsonb) r", row
            )


async def test_a_partners_money_function_writes_only_for_the_partner_it_is_called_for(
    busy: tuple[House, UUID, UUID],
) -> None:
    house, alice, bob = busy
    theirs = await house.owner.fetchval("SELECT to_jsonb(t) FROM transactions t WHERE partner_id = $1 LIMIT 1", bob)
    async with as_role(url_of(house), "paygate_app") as app:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.fetchval("SELECT journal_write($1, jsonb_build_object('transaction', $2::jsonb))", alice, theirs)


@pytest.mark.parametrize("role", ["paygate_app", "paygate_worker", "paygate_operator", None])
async def test_history_is_never_changed_not_even_by_the_owner(busy: tuple[House, UUID, UUID], role: str | None) -> None:
    house, alice, _ = busy
    connection: Owner
    for table in await with_partitions(house.owner, HISTORY):
        for statement in (
            f"UPDATE {table} SET partner_id = partner_id",
            f"DELETE FROM {table}",
            f"TRUNCATE {table} CASCADE",
        ):
            if role is None:
                await refused(house.owner, statement)
            else:
                async with as_role(url_of(house), role, alice) as connection:
                    await refused(connection, statement)


async def refused(connection: Owner, statement: str) -> None:
    """Refused, or (a partition without rows) there was nothing to change."""
    try:
        status = await connection.execute(statement)
    except REFUSED:
        return
    assert status in ("UPDATE 0", "DELETE 0"), statement


@pytest.mark.parametrize("role", ["paygate_app", "paygate_worker", None])
async def test_what_was_asked_of_and_told_by_a_provider_is_never_deleted(
    busy: tuple[House, UUID, UUID], role: str | None
) -> None:
    house, alice, _ = busy
    for table in KEPT:
        for statement in (f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
            if role is None:
                await refused(house.owner, statement)
            else:
                async with as_role(url_of(house), role, alice) as connection:
                    await refused(connection, statement)
    assert await house.owner.fetchval("SELECT count(*) FROM attempts") == 4


async def with_partitions(owner: Owner, parents: tuple[str, ...]) -> list[str]:
    rows = await owner.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent::regclass::text = ANY ($1::text[])"
        " AND EXISTS (SELECT FROM pg_class c WHERE c.oid = inhrelid AND c.relkind = 'r')",
        list(parents),
    )
    return [*parents, *(row["name"] for row in rows)]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (a int)",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA mine",
        "ALTER TABLE transactions DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE transactions NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY own_partner ON transactions",
        "CREATE POLICY mine ON transactions USING (true)",
        "ALTER TABLE events DISABLE TRIGGER append_only",
        "DROP TABLE transactions CASCADE",
        "CREATE INDEX mine ON transactions (amount)",
        "ALTER ROLE paygate_app BYPASSRLS",
    ],
)
async def test_only_the_owner_may_change_the_schema(busy: tuple[House, UUID, UUID], statement: str) -> None:
    house, alice, _ = busy
    for role in Role:
        async with as_role(url_of(house), role.value, alice) as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


async def test_the_partner_does_not_stay_on_a_connection_that_goes_back_to_the_pool(
    busy: tuple[House, UUID, UUID],
) -> None:
    house, alice, bob = busy
    database = await Database.open(url_of(house), Role.APP, pool_max=1)
    setting = "SELECT current_setting('app.current_partner_id', true)"
    try:
        for partner_id in (alice, bob):
            async with database.as_partner(partner_id) as connection:
                assert await connection.fetchval(setting) == str(partner_id)
            async with database.as_system() as connection:
                assert not await connection.fetchval(setting)
                assert await connection.fetchval("SELECT count(*) FROM transactions") == 0
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with database.as_partner(alice) as connection:
                await connection.fetchval("SELECT 1 / 0")
        async with database.statement() as connection:
            assert not await connection.fetchval(setting)
            await connection.fetchval("SELECT journal_write($1, '{}'::jsonb)", alice)
            await connection.fetch("SELECT * FROM authenticate($1)", bytes(32))
        async with database.statement() as connection:
            assert not await connection.fetchval(setting)
            assert not await connection.fetchval("SELECT current_setting('app.key_hash', true)")
            assert await connection.fetchval("SELECT count(*) FROM transactions") == 0
    finally:
        await database.close()


async def test_the_partner_does_not_stay_after_a_cancelled_request(busy: tuple[House, UUID, UUID]) -> None:
    house, alice, _ = busy
    database = await Database.open(url_of(house), Role.APP, pool_max=1)

    async def slow() -> None:
        async with database.as_partner(alice) as connection:
            inside.set()
            await connection.fetchval("SELECT pg_sleep(30)")

    try:
        inside = asyncio.Event()
        task = asyncio.create_task(slow())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with database.as_system() as connection:
            assert not await connection.fetchval("SELECT current_setting('app.current_partner_id', true)")
            assert await connection.fetchval("SELECT count(*) FROM transactions") == 0
    finally:
        await database.close()


async def test_the_worker_finds_due_work_of_all_and_reads_the_rest_as_one_partner(
    busy: tuple[House, UUID, UUID],
) -> None:
    house, alice, bob = busy
    wide = {
        *("attempts", "provider_accounts", "provider_events"),
        *("webhook_endpoints", "events", "webhook_deliveries", "webhook_attempts"),
        *("webhook_replays", "webhook_manifests", "signing_keys"),
    }
    sealed = ("audit_logs", "ledger_entries")
    async with as_role(url_of(house), "paygate_worker") as worker:
        for table in await readable(house.owner, "paygate_worker"):
            if table not in sealed and not any(table.startswith(name) for name in wide):
                assert await worker.fetchval(f"SELECT count(*) FROM {table}") == 0, table
    async with as_role(url_of(house), "paygate_worker", alice) as worker:
        for table in ("transactions", *sealed):
            assert await worker.fetchval(f"SELECT count(*) FROM {table} WHERE partner_id = $1", bob) == 0
        for statement in ("UPDATE api_keys SET name = 'x'", "DELETE FROM api_keys", "DELETE FROM transactions"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await worker.execute(statement)


async def fingerprint(owner: Owner, partner_id: UUID) -> dict[str, Any]:
    """All rows of a partner, in a form that can be compared."""

    query = "SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM {} t WHERE partner_id = $1"
    names = await tables(owner, column="partner_id")
    return {name: await owner.fetchval(query.format(name), partner_id) for name in names}
