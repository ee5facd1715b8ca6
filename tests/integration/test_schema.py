"""Promise: the schema is what the code takes it for, and refuses at commit what must not be, whoever asks."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import pytest

import db
from db import (
    api_keys,
    approvals,
    audit,
    ids,
    partitions,
    payment_methods,
    provider_calls,
    records,
    reviews,
    routing_records,
    schema,
    shapes,
    support_sessions,
    support_users,
)
from db.database import Database, Role
from gateway.transactions import recovery
from tests.acceptance.steps import checks_fall_due
from tests.house import House

Owner: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
MIGRATIONS = Path(db.__file__).parent / "migrations" / "versions"
PARTITIONED = ("transaction_events", "audit_logs", "webhook_deliveries", "provider_calls")


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[Owner]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
async def sold(shared_house: House) -> asyncpg.Record:
    """A sale of 19.99 USD, as its row."""
    partner = await shared_house.partner()
    await partner.charge()
    row = await shared_house.owner.fetchrow("SELECT * FROM transactions")
    assert row is not None
    return row


async def inserted(owner: Owner, table: str, row: asyncpg.Record, **changes: object) -> None:
    """A copy of the row with changes."""
    names = ", ".join(row.keys())
    values = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    given = dict(row) | changes
    await owner.execute(f"INSERT INTO {table} ({names}) VALUES ({values})", *given.values())


# ── What the code takes the schema for ──────────────────────────────────────────────────────────────────────────────


def stored_enums() -> dict[str, type[StrEnum]]:
    """Every StrEnum of the modules that name columns, by the name PostgreSQL would give it."""
    found = [
        value
        for module in (approvals, records, api_keys, provider_calls, reviews, routing_records, support_users)
        for value in vars(module).values()
        if isinstance(value, type)
    ]
    return {
        re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower(): kind
        for kind in found
        if issubclass(kind, StrEnum) and kind is not StrEnum
    }


async def test_enumerations_are_the_same_in_python_and_in_postgresql(owner: Owner) -> None:
    rows = await owner.fetch(
        "SELECT t.typname, array_agg(e.enumlabel ORDER BY e.enumsortorder) AS labels FROM pg_enum e"
        " JOIN pg_type t ON t.oid = e.enumtypid GROUP BY t.typname"
    )
    assert {row["typname"]: row["labels"] for row in rows} == {
        name: [member.value for member in kind] for name, kind in stored_enums().items()
    }


@pytest.mark.parametrize(
    ("table", "record"),
    [
        ("transactions", records.Transaction),
        ("attempts", records.Attempt),
        ("refunds", records.Refund),
        ("transaction_events", records.TransactionEvent),
        ("ledger_entries", records.LedgerEntry),
        ("audit_logs", audit.AuditLog),
        ("events", records.PublishedEvent),
        ("stored_payment_methods", payment_methods.StoredMethod),
        ("support_users", support_users.SupportUser),
        ("support_sessions", support_sessions.OpenSession),
    ],
)
async def test_every_field_of_a_record_is_a_column(owner: Owner, table: str, record: type) -> None:
    rows = await owner.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped", table
    )
    assert {name.strip() for name in shapes.columns(record).split(",")} <= {row["attname"] for row in rows}


async def test_amounts_are_exact_and_moments_know_their_zone(owner: Owner) -> None:
    rows = await owner.fetch(
        "SELECT table_name, column_name, data_type, numeric_precision, numeric_scale FROM information_schema.columns"
        " WHERE table_schema = 'public'"
    )
    floats = {row["table_name"] for row in rows if row["data_type"] in ("real", "double precision", "money")}
    assert floats == {"provider_health", "routing_tallies"}  # decayed counts, no amounts
    assert not [row for row in rows if row["data_type"] == "timestamp without time zone"]
    amounts = [row for row in rows if row["data_type"] == "numeric"]
    assert amounts
    assert {(row["numeric_precision"], row["numeric_scale"]) for row in amounts} == {(19, 4)}
    assert not [row for row in rows if row["column_name"].endswith("_at") and "time" not in row["data_type"]]


def test_the_code_needs_the_newest_migration() -> None:
    revisions = sorted(path.stem.partition("_")[0] for path in MIGRATIONS.glob("*.py"))
    assert revisions[-1] == schema.HEAD
    assert revisions == sorted(set(revisions))


async def test_a_migrated_database_is_at_the_newest_revision(owner: Owner, database_url: str) -> None:
    assert await schema.current(owner) == schema.HEAD
    await schema.migrate(database_url)
    assert await schema.current(owner) == schema.HEAD


@pytest.mark.parametrize("role", list(Role))
async def test_every_process_can_see_which_revision_the_database_has(database_url: str, role: Role) -> None:
    database = await Database.open(database_url, role, pool_max=1)
    try:
        async with database.as_system() as connection:
            assert await schema.current(connection) == schema.HEAD
    finally:
        await database.close()


async def test_updated_at_is_kept_by_the_database(owner: Owner) -> None:
    rows = await owner.fetch(
        """SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'updated_at'
           WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
             AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'updated_at')"""
    )
    assert rows == []


# ── Partitions ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def months(owner: Owner, table: str) -> list[str]:
    rows = await owner.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = $1::regclass ORDER BY 1", table
    )
    return [row["name"].removeprefix(f"{table}_") for row in rows if not row["name"].endswith("_other")]


def month(ahead: int) -> str:
    now = datetime.now(UTC)
    years, months = divmod(now.month - 1 + ahead, 12)
    return f"{now.year + years}_{months + 1:02}"


@pytest.mark.parametrize("table", PARTITIONED)
async def test_this_month_and_the_next_three_have_their_partitions(owner: Owner, table: str) -> None:
    assert set(await months(owner, table)) >= {month(ahead) for ahead in range(4)}


async def test_the_worker_makes_partitions_ahead_and_may_do_so_again(database_url: str, owner: Owner) -> None:
    database = await Database.open(database_url, Role.WORKER, pool_max=1)
    try:
        async with database.as_system() as connection:
            assert await partitions.create(connection, 5) == 2 * len(PARTITIONED)
            assert await partitions.create(connection, 5) == 0
    finally:
        await database.close()
    assert month(5) in await months(owner, "audit_logs")


async def test_only_the_worker_makes_partitions(database_url: str) -> None:
    for role in (Role.APP, Role.OPERATOR):
        database = await Database.open(database_url, role, pool_max=1)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with database.as_system() as connection:
                await partitions.create(connection, 1)
        await database.close()


@pytest.mark.parametrize("table", PARTITIONED)
async def test_rows_lie_in_the_month_of_their_id(shared_house: House, sold: asyncpg.Record, table: str) -> None:
    partner_id = sold["partner_id"]
    if table == "webhook_deliveries":
        partner = await shared_house.key_of(partner_id)
        await shared_house.subscribed(partner)
        await partner.charge()
    if table == "provider_calls":
        partner = await shared_house.key_of(partner_id)
        await shared_house.fault("lose_request", operation="charge", times=3)
        await partner.charge()
        await checks_fall_due(shared_house.owner)
        await recovery.resolve_due(shared_house.background)
    found = await shared_house.owner.fetch(f"SELECT DISTINCT tableoid::regclass::text AS place FROM {table}")
    assert {row["place"] for row in found} == {f"{table}_{month(0)}"}


# ── What PostgreSQL refuses ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_status_without_its_event_is_refused_at_commit(shared_house: House, sold: asyncpg.Record) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="without an event"):
        async with shared_house.owner.transaction():
            await shared_house.owner.execute(
                "UPDATE transactions SET status = 'refunded', version = version + 1 WHERE id = $1", sold["id"]
            )


async def test_a_status_without_a_new_version_is_refused(shared_house: House, sold: asyncpg.Record) -> None:
    with pytest.raises(asyncpg.RestrictViolationError):
        await shared_house.owner.execute("UPDATE transactions SET status = 'refunded' WHERE id = $1", sold["id"])


async def test_a_transaction_without_its_first_event_is_refused_at_commit(
    shared_house: House, sold: asyncpg.Record
) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="without an event"):
        await inserted(shared_house.owner, "transactions", sold, id=ids.new(), idempotency_key=None, metadata="{}")


@pytest.mark.parametrize(
    "change", ["amount = amount + 1", "currency = 'EUR'", "livemode = NOT livemode", "capture = 'manual'"]
)
async def test_what_was_agreed_of_a_transaction_never_changes(
    shared_house: House, sold: asyncpg.Record, change: str
) -> None:
    with pytest.raises(asyncpg.RestrictViolationError):
        await shared_house.owner.execute(f"UPDATE transactions SET {change} WHERE id = $1", sold["id"])


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("amount_captured = amount + 0.01", "captured_within_authorized"),
        ("capture_pending = 0.01", "captured_within_authorized"),
        ("amount_refunded = amount_captured + 0.01", "refunded_within_captured"),
        ("refund_reserved = amount_captured + 0.01", "refunded_within_captured"),
        ("amount_refunded = 10, refund_reserved = 10", "refunded_within_captured"),
    ],
)
async def test_totals_beyond_what_there_is_are_refused(
    shared_house: House, sold: asyncpg.Record, change: str, constraint: str
) -> None:
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await shared_house.owner.execute(f"UPDATE transactions SET {change} WHERE id = $1", sold["id"])
    assert refused.value.constraint_name == constraint


async def test_a_refund_that_the_totals_do_not_know_is_refused_at_commit(
    shared_house: House, sold: asyncpg.Record
) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="do not agree"):
        await shared_house.owner.execute(
            "INSERT INTO refunds (partner_id, id, transaction_id, livemode, amount, currency, reason, status,"
            " created_at, updated_at) VALUES ($1, $2, $3, false, 1, 'USD', 'other', 'completed', now(), now())",
            sold["partner_id"],
            ids.new(),
            sold["id"],
        )


async def test_totals_that_no_refund_explains_are_refused_at_commit(shared_house: House, sold: asyncpg.Record) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await shared_house.owner.execute("UPDATE transactions SET refund_reserved = 5 WHERE id = $1", sold["id"])


@pytest.mark.parametrize(
    ("amounts", "currencies"), [([5, -4], ["USD", "USD"]), ([5], ["USD"]), ([5, -5], ["USD", "EUR"])]
)
async def test_a_posting_that_does_not_balance_in_one_currency_is_refused_at_commit(
    shared_house: House, sold: asyncpg.Record, amounts: list[int], currencies: list[str]
) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="does not balance"):
        await posted(shared_house.owner, sold, list(zip(("fees", "suspense"), amounts, currencies, strict=False)))


async def posted(owner: Owner, sold: asyncpg.Record, entries: list[tuple[str, int, str]]) -> None:
    """The entries as one posting of the transaction's first event."""
    async with owner.transaction():
        for account, amount, currency in entries:
            await owner.execute(
                "INSERT INTO ledger_accounts (partner_id, currency, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                sold["partner_id"],
                currency,
                account,
            )
            await owner.execute(
                "INSERT INTO ledger_entries (partner_id, transaction_id, sequence, account, currency, amount, id,"
                " livemode, created_at) VALUES ($1, $2, 1, $3, $4, $5, $6, false, now())",
                *(sold["partner_id"], sold["id"], account, currency, amount, ids.new()),
            )


async def test_an_entry_of_an_event_that_never_was_is_refused_at_commit(
    shared_house: House, sold: asyncpg.Record
) -> None:
    row = await shared_house.owner.fetchrow("SELECT * FROM ledger_entries LIMIT 1")
    assert row is not None
    with pytest.raises((asyncpg.ForeignKeyViolationError, asyncpg.CheckViolationError)):
        await inserted(shared_house.owner, "ledger_entries", row, sequence=99, id=ids.new())


async def test_an_account_that_is_none_of_the_books_is_refused(owner: Owner) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await owner.execute("INSERT INTO ledger_accounts VALUES ($1, 'USD', 'my pocket')", ids.new())


async def attempt_of(shared_house: House, sold: asyncpg.Record) -> asyncpg.Record:
    row = await shared_house.owner.fetchrow("SELECT * FROM attempts WHERE transaction_id = $1", sold["id"])
    assert row is not None
    return row


@pytest.mark.parametrize("state", ["created", "sending", "waiting", "unknown", "resolving", "succeeded"])
async def test_a_second_live_charge_of_a_transaction_is_refused(
    shared_house: House, sold: asyncpg.Record, state: str
) -> None:
    attempt = await attempt_of(shared_house, sold)
    with pytest.raises(asyncpg.UniqueViolationError) as refused:
        await inserted(shared_house.owner, "attempts", attempt, id=ids.new(), number=2, state=state, finished_at=None)
    assert refused.value.constraint_name == "one_live_charge"


@pytest.mark.parametrize(("first", "second"), [("capture", "capture"), ("capture", "cancel"), ("cancel", "cancel")])
async def test_a_second_open_capture_or_cancel_is_refused(
    shared_house: House, sold: asyncpg.Record, first: str, second: str
) -> None:
    attempt = await attempt_of(shared_house, sold)

    async def both() -> None:
        async with shared_house.owner.transaction():
            for number, operation in enumerate((first, second), 2):
                changes = {"operation": operation, "state": "sending", "finished_at": None}
                await inserted(shared_house.owner, "attempts", attempt, id=ids.new(), number=number, **changes)

    with pytest.raises(asyncpg.UniqueViolationError) as refused:
        await both()
    assert refused.value.constraint_name == "one_live_followup"


@pytest.mark.parametrize(
    "change", ["state = 'declined'", "amount = 1", "provider_key = 'x'", "request = '{}'", "epoch = epoch - 1"]
)
async def test_a_finished_attempt_is_history(shared_house: House, sold: asyncpg.Record, change: str) -> None:
    with pytest.raises(asyncpg.RestrictViolationError):
        await shared_house.owner.execute(f"UPDATE attempts SET {change}")


async def test_an_events_sequence_is_used_once(shared_house: House, sold: asyncpg.Record) -> None:
    for table in ("events", "transaction_events"):
        row: Any = await shared_house.owner.fetchrow(
            f"SELECT * FROM {table} WHERE transaction_id = $1 LIMIT 1", sold["id"]
        )
        with pytest.raises(asyncpg.UniqueViolationError):
            await inserted(shared_house.owner, table, row, **({"id": ids.new()} if table == "events" else {}))


async def test_a_key_belongs_to_one_transaction_of_a_partner_and_mode(
    shared_house: House, sold: asyncpg.Record
) -> None:
    with pytest.raises(asyncpg.UniqueViolationError) as refused:
        await inserted(shared_house.owner, "transactions", sold, id=ids.new(), metadata="{}")
    assert refused.value.constraint_name == "one_transaction_per_key"


@pytest.mark.parametrize("amount", ["0", "-1"])
async def test_no_amount_is_zero_or_less(shared_house: House, sold: asyncpg.Record, amount: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await inserted(
            shared_house.owner,
            "transactions",
            sold,
            id=ids.new(),
            idempotency_key=None,
            metadata="{}",
            amount=int(amount),
        )


async def test_a_live_account_has_no_address_of_its_own(shared_house: House) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await shared_house.owner.execute("UPDATE provider_accounts SET livemode = true")


async def test_ids_made_by_the_database_are_version_7_and_in_order_of_time(owner: Owner) -> None:
    made: list[UUID] = [await owner.fetchval("SELECT uuid_v7()") for _ in range(3)]
    assert {one.version for one in made} == {7}
    assert [one.int >> 80 for one in made] == sorted(one.int >> 80 for one in made)
    assert made[0].int >> 80 <= ids.new().int >> 80
