"""What every kind of test may ask for: a real PostgreSQL, a fresh database in it, and the whole house around one."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from db import embedded, schema
from tests import support_desk
from tests.house import House
from tests.support_desk import SupportDesk

pytest_plugins = ["tests.shared_run"]
MEMORY, ROOM = Path("/dev/shm"), 2 << 30  # noqa: S108 - where Linux keeps files in memory


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--failpoints", choices=("slice", "whole"), default="slice", help="how much of the matrix")
    parser.addoption("--failpoints-report", metavar="PATH", help="write what the matrix counted, as JSON")
    parser.addoption("--stateful-report", metavar="PATH", help="write what the state machine saw, as JSON")


def pytest_configure() -> None:
    """Temporary files in memory where it has room for them: on disk a clone of a database costs ten times as much."""
    if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Server]:
    """One server for the whole run, or for each process of it: the same PostgreSQL the demo runs."""
    server = embedded.start(tmp_path_factory.mktemp("postgres") / "data", durable=False)
    guard = ["/bin/sh", "-c", 'read -r _; kill -QUIT "$0"', str(server.pid)]  # it reads until this process ends
    with subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True) as guarding:
        yield server
        server.stop()
        guarding.kill()
    shutil.rmtree(server.directory / "data")  # pytest keeps the folders of three runs, perhaps in memory


@pytest.fixture(scope="session")
async def template(postgres: embedded.Server) -> str:
    """A migrated database to clone: a clone costs a twentieth of a migration."""
    async with _owner(postgres) as owner:
        await owner.execute("CREATE DATABASE template_paygate")
    await schema.migrate(postgres.url("template_paygate"))
    return "template_paygate"


@pytest.fixture
async def database_url(postgres: embedded.Server, template: str) -> AsyncIterator[str]:
    """A fresh database of the schema's owner, gone after the test."""
    async with cloned(postgres, template) as url:
        yield url


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    """API, worker, simulators and a receiver over one database; the money is counted when the test ends."""
    async with House.opened(database_url) as opened:
        yield opened
        await opened.check_invariants()


@pytest.fixture(scope="module")
async def shared_house(postgres: embedded.Server, template: str) -> AsyncIterator[House]:
    """One for all tests of a file that do not need an empty one; the money is counted after the last."""
    async with cloned(postgres, template) as url, House.opened(url) as opened:
        yield opened
        await opened.check_invariants()


@pytest.fixture
async def support(house: House) -> AsyncIterator[SupportDesk]:
    """The support console beside the house."""
    async with support_desk.opened(house) as opened:
        yield opened


@pytest.fixture(scope="module")
async def shared_support(shared_house: House) -> AsyncIterator[SupportDesk]:
    """The same beside the house that the tests of one file share."""
    async with support_desk.opened(shared_house) as opened:
        yield opened


@asynccontextmanager
async def cloned(postgres: embedded.Server, template: str) -> AsyncIterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    async with _owner(postgres) as owner:
        await owner.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield postgres.url(name)
    finally:
        async with _owner(postgres) as owner:
            await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _owner(postgres: embedded.Server) -> _Owner:
    return _Owner(postgres.url("postgres"))


class _Owner:
    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> asyncpg.Connection[asyncpg.Record]:
        self._connection = await asyncpg.connect(self._url)
        return self._connection

    async def __aexit__(self, *_error: object) -> None:
        await self._connection.close()
