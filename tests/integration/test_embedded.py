"""The embedded PostgreSQL survives what happens to programs on a developer's machine."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from db import embedded

WAIT_SECONDS = 20
STARTER = """
import sys, time, pathlib
from db import embedded
server = embedded.start(pathlib.Path(sys.argv[1]), durable=False)
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a server has stored the number 7 and stopped: initdb is paid for once."""
    folder = tmp_path_factory.mktemp("prepared") / "postgresql"
    server = embedded.start(folder, durable=False)
    psql(server, "CREATE TABLE kept AS SELECT 7 AS number")
    server.stop()
    return folder


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    subprocess.run(["cp", "-a", prepared, tmp_path / "postgresql"], check=True)
    return tmp_path / "postgresql"


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[embedded.Server]:
    server = embedded.start(folder, durable=False)
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def started_by_another_process(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-c", STARTER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        try:
            yield starter, int(starter.stdout.readline())
        finally:
            starter.kill()


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def kept_number(server: embedded.Server) -> object:
    async with connected(server.url()) as connection:
        return await connection.fetchval("SELECT number FROM kept")


def psql(server: embedded.Server, sql: str) -> None:
    program = embedded._find_programs(server.directory).folder / "psql"
    subprocess.run([program, "-Xq", "-d", server.url(), "-c", sql], check=True)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "not within the time a test waits"
        time.sleep(0.01)


def pid_file(folder: Path) -> Path:
    return folder / "data" / "postmaster.pid"


async def test_the_first_start_makes_a_database_that_both_addresses_reach(tmp_path: Path) -> None:
    lines: list[str] = []
    server = embedded.start(tmp_path / "new" / "postgresql", progress=lines.append)
    try:
        for url in (server.url(), server.tcp_url()):
            async with connected(url) as connection:
                assert await connection.fetchval("SELECT current_database()") == "paygate"
                assert await connection.fetchval("SHOW fsync") == "on"
                assert await connection.fetchval("SHOW data_checksums") == "on"
                assert await connection.fetchval("SHOW server_encoding") == "UTF8"
    finally:
        server.stop()
    assert [line.split(" in ")[0] for line in lines] == ["initialising PostgreSQL 18.6", "starting PostgreSQL 18.6"]


async def test_a_later_start_finds_what_was_stored(folder: Path) -> None:
    with serving(folder) as server:
        assert await kept_number(server) == 7


async def test_over_tcp_the_password_is_asked_for_and_its_file_is_private(folder: Path) -> None:
    with serving(folder) as server:
        password = folder / "password"
        assert stat.S_IMODE(password.stat().st_mode) == 0o600
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.tcp_url().replace(password.read_text(), "guessed"))


def test_stopping_leaves_no_process_and_may_be_repeated(folder: Path) -> None:
    server = embedded.start(folder, durable=False)
    server.stop()
    server.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(folder: Path) -> None:
    with serving(folder) as server:
        assert os.getsid(server.pid) == server.pid != os.getsid(0)


async def test_a_server_whose_starter_was_killed_is_adopted(folder: Path) -> None:
    with started_by_another_process(folder) as (starter, pid):
        starter.kill()
    with serving(folder) as server:
        assert server.pid == pid
        assert await kept_number(server) == 7
    eventually(lambda: not embedded._is_running(pid))


async def test_a_server_that_is_less_durable_than_asked_for_is_replaced(folder: Path) -> None:
    with started_by_another_process(folder) as (starter, pid):
        starter.kill()
    server = embedded.start(folder)
    try:
        assert server.pid != pid
        async with connected(server.url()) as connection:
            assert await connection.fetchval("SHOW fsync") == "on"
    finally:
        server.stop()


async def test_a_killed_server_is_recovered_with_everything_committed(folder: Path) -> None:
    with serving(folder) as killed:
        async with connected(killed.url()) as connection:
            await connection.execute("UPDATE kept SET number = 8")
        os.kill(killed.pid, signal.SIGKILL)
    with serving(folder) as recovered:
        assert recovered.pid != killed.pid
        assert await kept_number(recovered) == 8


async def test_an_adopted_server_that_was_killed_is_recovered_too(folder: Path) -> None:
    with started_by_another_process(folder) as (starter, pid):
        starter.kill()
    os.kill(pid, signal.SIGKILL)
    with serving(folder) as recovered:
        assert recovered.pid != pid
        assert await kept_number(recovered) == 7


async def test_a_pid_file_that_names_no_process_is_no_obstacle(folder: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    pid_file(folder).write_text(stale_lines(ended.pid, folder))
    with serving(folder) as server:
        assert await kept_number(server) == 7


async def test_a_pid_file_that_names_another_program_by_now_is_no_obstacle(folder: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as other:
        pid_file(folder).write_text(stale_lines(other.pid, folder))
        with serving(folder) as server:
            assert await kept_number(server) == 7
        assert other.poll() is None, "the other program was left alone"
        other.kill()


async def test_the_server_of_another_folder_is_not_adopted(folder: Path, prepared: Path) -> None:
    with serving(prepared) as stranger:
        pid_file(folder).write_text(pid_file(prepared).read_text())
        with serving(folder) as server:
            assert server.pid != stranger.pid
            assert await kept_number(server) == 7
        assert await kept_number(stranger) == 7


def stale_lines(pid: int, folder: Path) -> str:
    return f"{pid}\n{folder}/data\n1700000000\n5432\n{folder}/data\n127.0.0.1\n  123 456\nready   \n"


async def test_a_first_start_that_died_half_way_is_started_over(tmp_path: Path) -> None:
    unfinished = tmp_path / "unfinished-1"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    with serving(tmp_path) as server:
        async with connected(server.url()) as connection:
            assert await connection.fetchval("SELECT 1") == 1
    assert not unfinished.exists()


@pytest.mark.parametrize("name", ["thesis.txt", "data"])
def test_a_folder_with_something_else_in_it_is_refused_and_left_as_it_was(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(embedded.EmbeddedError, match=f"holds something else .{name}"):
        embedded.start(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_files_of_another_version_are_refused_with_both_versions_named(folder: Path) -> None:
    (folder / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(embedded.EmbeddedError, match=r"(?s)version 17.*18\.6"):
        embedded.start(folder)


def test_a_second_process_is_refused_and_told_which_one_holds_the_folder(folder: Path) -> None:
    with started_by_another_process(folder) as (starter, _):
        with pytest.raises(embedded.EmbeddedError, match=f"in use by process {starter.pid}"):
            embedded.start(folder)
        starter.kill()
        starter.wait(WAIT_SECONDS)
        embedded.start(folder).stop()


async def test_a_path_too_long_for_a_socket_gets_a_short_one_that_adoption_finds(folder: Path) -> None:
    deep = folder.parent / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    folder = folder.rename(deep / "postgresql")
    with started_by_another_process(folder) as (starter, pid):
        starter.kill()
    with serving(folder) as server:
        assert server.pid == pid
        assert stat.S_IMODE(server.sockets.stat().st_mode) == 0o700
        assert await kept_number(server) == 7
    assert not server.sockets.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder that the server's account may not enter")
async def test_root_may_keep_it_below_a_folder_closed_to_everybody_else(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with serving(closed / "postgresql") as server:
        async with connected(server.url()) as connection:
            assert await connection.fetchval("SELECT 1") == 1
        assert Path(f"/proc/{server.pid}").stat().st_uid != 0
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert closed.stat().st_uid == 0
