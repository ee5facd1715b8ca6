"""Processes that a benchmark starts and that end with it."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PORTS = {"serve": "PAYGATE_PORT", "console": "PAYGATE_CONSOLE_PORT"}


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    port: int


@contextmanager
def paygate(command: str, database_url: str, secret: bytes, directory: Path, **environment: str) -> Iterator[Process]:
    """`paygate serve` or `paygate console` with its log in a file, as in production."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    known = {
        "PAYGATE_DATABASE_URL": database_url,
        "PAYGATE_SECRET_KEYS": f"1:{base64.b64encode(secret).decode()}",
        _PORTS[command]: str(port),
    }
    line = [sys.executable, "-c", "from gateway.cli import main; main()", command]
    with (
        (directory / f"{command}.log").open("wb") as log,
        _ended(subprocess.Popen(line, env=os.environ | known | environment, stderr=log)) as started,
    ):
        _wait_for(port)
        yield Process(started.pid, port)


@contextmanager
def python(module: str, *arguments: str) -> Iterator[Process]:
    """A module of this package that prints its port once it serves."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
    with _ended(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) as started:
        assert started.stdout is not None
        yield Process(started.pid, int(started.stdout.readline()))


@contextmanager
def _ended(started: subprocess.Popen[Any]) -> Iterator[subprocess.Popen[Any]]:
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(10)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError("the process did not come up")
