"""Promise: whoever asks the audit log gets what they asked for, the newest first, page by page, at a bounded cost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TypeAlias
from uuid import UUID

import asyncpg
import pytest

from db import audit, embedded, ids
from db.audit import AuditLog, Wanted
from db.database import Database, Role
from tests.conftest import cloned

Owner: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
PARTNERS = [ids.new() for _ in range(4)]
ROWS = 20_000
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
async def url(postgres: embedded.Server, template: str) -> AsyncIterator[str]:
    """Of a log in which one charge in a thousand is a person's act."""
    async with cloned(postgres, template) as url:
        owner: Owner = await asyncpg.connect(url)
        for partner_id in PARTNERS:
            await owner.execute(
                "INSERT INTO partners (id, name, email) VALUES ($1, 'Shop', $2)",
                partner_id,
                f"{partner_id}@test.example",
            )
        await owner.execute(
            "INSERT INTO audit_logs (id, partner_id, actor, action, resource_type, resource_id, ip_address)"
            " SELECT uuid_v7(), ($1::uuid[])[1 + n % 4], CASE WHEN n % 1000 = 0 THEN 'cli:ada' ELSE 'partner:key' END,"
            " CASE WHEN n % 1000 = 0 THEN 'partner.updated' ELSE 'transaction.charge' END,"
            " CASE WHEN n % 1000 = 0 THEN 'partner' ELSE 'transaction' END, 'txn_' || n / 2, '10.0.0.1'"
            f" FROM generate_series(1, {ROWS}) n",
            PARTNERS,
        )
        await owner.execute("ANALYZE audit_logs")
        await owner.close()
        yield url


@pytest.fixture
async def operator(url: str) -> AsyncIterator[Database]:
    database = await Database.open(url, Role.OPERATOR)
    yield database
    await database.close()


async def page(operator: Database, wanted: Wanted, *, before: UUID | None = None, limit: int = ROWS) -> list[AuditLog]:
    async with operator.as_system() as connection:
        return await audit.page(connection, wanted, before=before, limit=limit)


ASKED = [
    (Wanted(partner_id=PARTNERS[1]), ROWS // 4),
    (Wanted(actor="cli:ada"), ROWS // 1000),
    (Wanted(action="partner.updated"), ROWS // 1000),
    (Wanted(actor="cli:ada", action="transaction.charge"), 0),
    (Wanted(resource_type="transaction", resource_id="txn_77"), 2),
    (Wanted(resource_type="partner"), ROWS // 1000),
    (Wanted(partner_id=PARTNERS[0], action="partner.updated"), ROWS // 1000),
    (Wanted(partner_id=PARTNERS[2], action="partner.updated"), 0),
    (Wanted(since=NOW - timedelta(hours=1)), ROWS),
    (Wanted(until=NOW - timedelta(hours=1)), 0),
    (Wanted(since=datetime.min.replace(tzinfo=UTC), until=datetime.max.replace(tzinfo=UTC)), ROWS),
    (Wanted(), ROWS),
]


@pytest.mark.parametrize(("wanted", "count"), ASKED)
async def test_a_question_is_answered_with_all_that_fits_and_nothing_else(
    operator: Database, wanted: Wanted, count: int
) -> None:
    found = await page(operator, wanted)
    assert len(found) == count
    assert [one.id for one in found] == sorted((one.id for one in found), reverse=True)
    for name in ("partner_id", "actor", "action", "resource_type", "resource_id"):
        if (value := getattr(wanted, name)) is not None:
            assert {getattr(one, name) for one in found} <= {value}
    assert {one.ip_address for one in found} <= {"10.0.0.1"}


async def test_pages_follow_on_each_other_without_a_gap(operator: Database) -> None:
    wanted = Wanted(partner_id=PARTNERS[3])
    whole = await page(operator, wanted, limit=100)
    first = await page(operator, wanted, limit=60)
    assert first + await page(operator, wanted, before=first[-1].id, limit=40) == whole


async def test_time_is_that_of_the_row_to_the_microsecond(operator: Database) -> None:
    (newest,) = await page(operator, Wanted(), limit=1)
    at = newest.created_at
    assert newest in await page(operator, Wanted(since=at))
    assert newest not in await page(operator, Wanted(since=at + timedelta(microseconds=1)))
    assert newest not in await page(operator, Wanted(until=at))


@pytest.mark.parametrize("wanted", [wanted for wanted, _ in ASKED if not wanted.resource_type or wanted.resource_id])
async def test_no_question_reads_the_whole_log(operator: Database, wanted: Wanted) -> None:
    async with operator.as_system() as connection:
        statement, values = audit.question(wanted, before=None, limit=50)
        plan = await connection.fetch(f"EXPLAIN {statement}", *values)
    assert not [row[0] for row in plan if f"Seq Scan on audit_logs_{NOW:%Y_%m}" in row[0]]
