"""The gateway as it runs in production: processes of the command `paygate`, each ended by its process id."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from db import embedded
from tests.acceptance.steps import until
from tests.house import WAIT_SECONDS, Json

PAYGATE = str(Path(sys.executable).with_name("paygate"))


@dataclass(slots=True)
class Process:
    popen: subprocess.Popen[bytes]
    url: str
    errors: Path
    """What it wrote to standard error: its log."""

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    async def stopped(self) -> int:
        """Asks it to stop, as a service manager does; the exit status."""
        self.popen.send_signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        return await asyncio.to_thread(self.popen.wait, WAIT_SECONDS)


@dataclass(slots=True)
class Town:
    """One database, one PSP, and whatever processes are started."""

    database_url: str
    folder: Path
    api_key: str = ""
    psp: str = ""
    processes: list[Process] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.variables = {
            "PAYGATE_DATABASE_URL": self.database_url,
            "PAYGATE_SECRET_KEYS": f"1:{base64.b64encode(os.urandom(32)).decode()}",
            "PAYGATE_METRICS_PORT": "0",
            "PAYGATE_LEASE_SECONDS": "30",
            "PAYGATE_SHUTDOWN_SECONDS": "5",
            "PAYGATE_LOG_LEVEL": "DEBUG",
            "PAYGATE_WEBHOOK_ALLOW_LOOPBACK": "true",
        }

    async def run(self, *arguments: str) -> Any:
        """A command to its end; what it says on standard output as one line of JSON."""
        process = await asyncio.create_subprocess_exec(
            PAYGATE, *arguments, "--json", env=os.environ | self.variables, stdout=subprocess.PIPE
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, arguments
        (line,) = said.decode().splitlines()
        return json.loads(line)

    def start(self, *arguments: str, port: int = 0) -> Process:
        number = len(self.processes)
        errors = self.folder / f"{number}-{arguments[0]}.log"
        with errors.open("wb") as log:
            popen = subprocess.Popen(
                [PAYGATE, *arguments],
                env=os.environ | self.variables | {"PAYGATE_PORT": str(port or 1)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        process = Process(popen, f"http://127.0.0.1:{port}", errors)
        self.processes.append(process)
        return process

    async def serving(self) -> Process:
        """The API, once it is ready."""
        process = self.start("serve", port=free_port())
        await answering(process, "/readyz")
        return process

    async def simulating(self, provider: str = "stripe") -> Process:
        port = free_port()
        process = self.start("simulator", provider, "--port", str(port), port=port)
        await answering(process, "/_simulator/ledger")
        return process

    async def fault(self, kind: str, **members: Any) -> None:
        async with httpx.AsyncClient(base_url=self.psp) as client:
            answer = await client.post("/_simulator/faults", json={"kind": kind, **members})
        assert answer.status_code == 204

    async def let_held_calls_go_on(self) -> None:
        async with httpx.AsyncClient(base_url=self.psp) as client:
            assert (await client.delete("/_simulator/faults")).status_code == 204

    async def books(self, reference: str) -> Json:
        async with httpx.AsyncClient(base_url=self.psp) as client:
            ledger = (await client.get("/_simulator/ledger")).json()
        account: Json = ledger["merchant_references"].get(reference, {"calls": {}})
        return account

    async def called(self, operation: str, reference: str) -> None:
        """Until the PSP has seen the call."""

        async def ask() -> Json:
            return await self.books(reference)

        await until(ask, lambda account: account["calls"].get(operation, 0) > 0)

    def end(self) -> None:
        for process in self.processes:
            process.kill()


@asynccontextmanager
async def built(postgres: embedded.Server, folder: Path) -> AsyncIterator[Town]:
    """A town set up as an operator would: with the command line alone."""
    name = f"town_{secrets.token_hex(6)}"
    owner = await asyncpg.connect(postgres.url("postgres"))
    await owner.execute(f"CREATE DATABASE {name}")
    town = Town(postgres.url(name), folder)
    try:
        town.psp = (await town.simulating()).url
        await town.run("migrate")
        shop = ("--name", "Shop", "--email", "shop@test.example", "--rate-limit", "1000000")
        partner = await town.run("partners", "create", *shop)
        credentials = folder / "credentials.json"
        credentials.write_text(json.dumps({"api_key": "sk_test_simulated"}))
        key, _ = await asyncio.gather(
            town.run("keys", "create", "--partner", partner["id"], "--mode", "test"),
            town.run(
                *("accounts", "add", "--provider", "stripe", "--mode", "test"),
                *("--credentials", str(credentials), "--base-url", town.psp),
            ),
        )
        town.api_key = key["api_key"]
        yield town
    finally:
        town.end()
        await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await owner.close()


START_SECONDS = 120.0
"""Bound on a start, on a busy machine and with a database that is itself being started again."""


async def answering(process: Process, path: str) -> None:
    async with httpx.AsyncClient(base_url=process.url) as client:

        async def ask() -> int:
            assert process.popen.poll() is None, process.errors.read_text()
            try:
                return (await client.get(path)).status_code
            except httpx.TransportError:
                return 0

        await until(ask, lambda status: status == 200, START_SECONDS)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
