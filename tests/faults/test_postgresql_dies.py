"""Promise: PostgreSQL may be killed under its writers or run out of disk: nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx
import pytest

from db import embedded, schema
from tests.acceptance.steps import leases_run_out, listed, until
from tests.faults.wires import Wires, wired
from tests.house import Partner, new_key

WRITERS = 8
KILLS = 2
CHARGES_BETWEEN_KILLS = 20
CHARGES_MAX = 1_000
"""Far more than fit into what PostgreSQL has set aside."""
DISK_MEGABYTES = 200


@dataclass(slots=True)
class Shopping:
    """A house on a PostgreSQL of its own, which may die, and a partner who insists on each charge."""

    server: embedded.Server
    wires: Wires
    partner: Partner
    acknowledged: set[str] = field(default_factory=set)
    """Order numbers."""
    over: bool = False

    async def shop(self, number: int) -> None:
        for count in itertools.count():
            if self.over:
                return
            await self.insist(new_key(), f"order-{number}-{count}")

    async def insist(self, key: str, reference: str) -> None:
        """Again under the same key, for as long as the answer says that this is safe."""

        async def charge() -> httpx.Response:
            answer = await self.partner.charge(key=key, reference=reference)
            if answer.status_code == 409:  # stored, but whoever stored it lost the database over it
                await self.time_passes()
            return answer

        def is_acknowledged(answer: httpx.Response) -> bool:
            assert answer.status_code in {201, 202} or answer.json()["safe_to_retry"], answer.text
            return answer.status_code in {201, 202}

        await until(charge, is_acknowledged)
        self.acknowledged.add(reference)

    async def time_passes(self) -> None:
        with suppress(OSError, asyncpg.PostgresError):  # it is down: later, then
            owner = await asyncpg.connect(self.server.url())
            await leases_run_out(owner)
            await owner.close()

    async def until_more(self, count: int) -> None:
        wanted = len(self.acknowledged) + count

        async def made() -> int:
            return len(self.acknowledged)

        await until(made, lambda made: made >= wanted)

    async def kill_and_restart(self) -> None:
        os.kill(self.server.pid, signal.SIGKILL)
        self.server.lock.close()
        self.server = await asyncio.to_thread(embedded.start, self.server.directory, durable=False)
        self.wires.database.upstream = (str(self.server.sockets), self.server.port)

    async def all_is_there(self) -> None:
        """Each order that was acknowledged is stored, settled, and was paid once."""
        house = self.wires.house
        await house.owner.close()
        house.owner = await asyncpg.connect(self.server.url())
        await self.time_passes()

        async def unsettled() -> int:
            return int(await house.owner.fetchval("SELECT count(*) FROM attempts WHERE finished_at IS NULL"))

        await until(unsettled, lambda count: count == 0)
        rows = await house.owner.fetch("SELECT reference FROM transactions WHERE status = 'completed'")
        assert self.acknowledged <= {row["reference"] for row in rows}
        books = (await house.oracle())["merchant_references"]
        assert {books[reference]["captures"]["count"] for reference in self.acknowledged} == {1}
        await house.check_invariants()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small one where this account may mount it, else a folder of the usual one."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    yield folder
    if mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="module")
async def shopping(disk: Path) -> AsyncIterator[Shopping]:
    server = embedded.start(disk / "postgres", durable=False)
    try:
        await schema.migrate(server.url())
        async with wired(server.url()) as wires:
            shopping = Shopping(server, wires, await wires.house.partner())
            yield shopping
            server = shopping.server
    finally:
        server.stop()


async def test_a_server_killed_under_its_writers_keeps_what_was_acknowledged(shopping: Shopping) -> None:
    async with asyncio.TaskGroup() as writers:
        for number in range(WRITERS):
            writers.create_task(shopping.shop(number))
        for _ in range(KILLS):
            await shopping.until_more(CHARGES_BETWEEN_KILLS)
            await shopping.kill_and_restart()
        await shopping.until_more(CHARGES_BETWEEN_KILLS)
        shopping.over = True
    await shopping.all_is_there()


@pytest.mark.usefixtures("impatient_journal")
async def test_a_full_disk_stops_new_charges_and_nothing_else(shopping: Shopping, disk: Path) -> None:
    if not disk.is_mount():
        pytest.skip("a disk of its own needs the right to mount one")
    fill(disk / "ballast")
    for count in range(CHARGES_MAX):
        key, reference = new_key(), f"full-{count}"
        answer = await shopping.partner.charge(key=key, reference=reference)
        if answer.status_code != 201:
            break
    else:
        pytest.fail("the disk was not full")
    assert answer.status_code in {202, 503}, answer.text  # the intent, or only the outcome, could not be written
    assert await listed(shopping.partner)
    (disk / "ballast").unlink()
    await shopping.insist(key, reference)
    await shopping.all_is_there()


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as ballast, suppress(OSError):
        while ballast.write(bytes(1_000_000)):
            pass
