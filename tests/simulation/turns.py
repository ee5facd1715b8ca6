"""One database for all simulated processes, in turns: at any moment at most one transaction is under way.

Virtual time stands still during a turn and nobody else's statement runs, so what is found in the database depends on
the seed and never on real speed. What only overlapping transactions can show is for the other harnesses.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from db import database
from db.database import Role
from tests.simulation import postgresql
from tests.simulation.machine import Process, VirtualLoop

_WRITES = re.compile(r"\b(INSERT|UPDATE|DELETE|journal_write|publish)\b")


class Turns:
    """First come, first served; whoever is dead or frozen is passed over. The town itself looks as process None."""

    def __init__(self, loop: VirtualLoop, owner: asyncpg.Connection[asyncpg.Record]) -> None:
        self.loop, self.owner = loop, owner
        self.down = False
        self.touched = asyncio.Event()
        """Set after each turn in which a process wrote: something may have become due."""
        self._wrote = False
        self._busy = False
        self._holder: Process | None = None
        self._waiting: list[tuple[Process | None, asyncio.Future[None]]] = []

    async def take(self, process: Process | None) -> None:
        granted: asyncio.Future[None] = self.loop.create_future()
        self._waiting.append((process, granted))
        self.offer()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.give_back()
            raise

    def give_back(self) -> None:
        if self._wrote:
            self.touched.set()
        self._wrote = False
        self._busy = self.loop.database_busy = False
        self._holder = None
        self.offer()

    def offer(self) -> None:
        """To whoever is next; also after a thaw."""
        self._waiting = [one for one in self._waiting if not one[1].done() and not (one[0] and one[0].dead)]
        if self._busy:
            return
        for place, (process, granted) in enumerate(self._waiting):
            if process is None or not process.frozen:
                del self._waiting[place]
                self._busy = self.loop.database_busy = True
                self._holder = process
                granted.set_result(None)
                return

    def see(self, query: str) -> None:
        """A statement of whoever's turn it is."""
        self._wrote = self._wrote or _WRITES.search(query) is not None

    def held_by(self, process: Process) -> bool:
        return self._holder is process

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """The database as its owner, past every policy. For tasks of the town's: a process can die with a turn."""
        await self.take(None)
        try:
            await self.owner.execute(postgresql.time_told(self.loop.wall()))
            yield self.owner
        finally:
            self.give_back()


class _Timed:
    """A connection for one turn, which tells the server the time before, or with, its first statement."""

    def __init__(self, line: Line, connection: Any, told: str) -> None:
        self._line, self._connection, self._told = line, connection, told
        self._turns = line.turns

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> Any:  # noqa: ARG002, ASYNC109 - asyncpg's
        """`timeout` is the driver's, in real seconds: here none is over before the server has answered."""
        if args:
            return await self._first(query, self._connection.execute, *args)
        told, self._told = self._told, ""
        self._turns.see(query)
        if query == "ROLLBACK":
            self._line.forget_time()
        return await self._connection.execute(told + query)

    async def fetch(self, query: str, *args: object) -> Any:
        return await self._first(query, self._connection.fetch, *args)

    async def fetchrow(self, query: str, *args: object) -> Any:
        return await self._first(query, self._connection.fetchrow, *args)

    async def fetchval(self, query: str, *args: object) -> Any:
        return await self._first(query, self._connection.fetchval, *args)

    def is_closed(self) -> bool:
        return self._line.broken

    async def _first(self, query: str, ask: Callable[..., Awaitable[Any]], *args: object) -> Any:
        self._turns.see(query)
        if self._told:
            told, self._told = self._told, ""
            await self._connection.execute(told)
        return await ask(query, *args)


class _Session(database._Session):
    """What is cancelled here the server carries out to its end: whether it would have heard in time is real chance."""

    __slots__ = ()

    def _cancel_current_command(
        self, waiter: asyncio.Future[None], _cancel_waiter: asyncio.Future[None] | None = None
    ) -> None:
        waiter.set_result(None)


class Line:
    """A process's only connection, in the place of its pool: what `db.database.Database` asks of one."""

    def __init__(self, turns: Turns, process: Process, url: str, role: Role) -> None:
        self.turns, self.process = turns, process
        self._url, self._role = url, role
        self._connection: Any = None
        self._told_at = -1.0

    @property
    def broken(self) -> bool:
        return self._connection is None

    async def acquire(self) -> _Timed:
        if self.turns.down:
            raise ConnectionRefusedError("the database is down")
        await self.turns.take(self.process)
        try:
            if self._connection is None:
                self._connection, self._told_at = await self._connected(), -1.0
        except BaseException:
            self.turns.give_back()
            raise
        untold = self._told_at != self.turns.loop.elapsed
        self._told_at = self.turns.loop.elapsed
        return _Timed(self, self._connection, postgresql.time_told(self.turns.loop.wall()) if untold else "")

    async def release(self, _connection: _Timed, **_options: object) -> None:
        """As a pool does: what was cancelled has come to its end, and what is open is rolled back."""
        try:
            if self._connection is not None:
                await self._connection._protocol._wait_for_cancellation()
                if self._connection.is_in_transaction():
                    self.forget_time()
                await self._connection._reset()
        finally:
            self.turns.give_back()

    def forget_time(self) -> None:
        """What is rolled back takes the time along that was told at its beginning."""
        self._told_at = -1.0

    async def cut(self) -> None:
        """The connection breaks, within a turn. Returns when the server has noticed and rolled back."""
        if self._connection is not None:
            broken, self._connection = self._connection, None
            server_process = broken.get_server_pid()
            broken.terminate()
            await self.turns.owner.execute("SELECT pg_terminate_backend($1, 5000)", server_process)

    async def abandon(self) -> None:
        """The process was killed, perhaps in the middle of a transaction."""
        if not self.turns.held_by(self.process):
            await self.turns.take(None)
        try:
            await self.cut()
        finally:
            self.turns.give_back()

    async def _connected(self) -> asyncpg.Connection[asyncpg.Record]:
        """As the pool of `Database.open` makes them."""
        connection = await asyncpg.connect(
            self._url,
            connection_class=_Session,
            command_timeout=database.ANSWER_SECONDS,
            server_settings=database._SETTINGS | {"role": self._role.value},
        )
        await database._prepare_connection(connection)
        return connection
