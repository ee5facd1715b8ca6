"""The pool, and the identities a transaction can have. Nobody else opens a connection or begins a transaction.

asyncpg alone carries every statement; Alembic runs the migrations.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, Self, TypeAlias
from uuid import UUID

import asyncpg
from pydantic_core import to_json

from db import failpoints

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"


class Role(StrEnum):
    """Which of the schema's identities a process takes; see the migrations for what each may do."""

    APP = "paygate_app"
    WORKER = "paygate_worker"
    OPERATOR = "paygate_operator"
    CONSOLE = "paygate_console"


class Unavailable(Exception):
    """The database did not take the work: nothing was committed. Answer 503; the same call may be made again."""


class CommitUncertain(Exception):
    """The connection broke while the work was under way: whether it was committed only a fresh look can tell."""


POOL_MAX = 20
"""Connections of one pool: none is held during a PSP call, so few serve many."""
ACQUIRE_SECONDS = 2.0
"""How long a request waits for a connection before it is answered 503."""
ANSWER_SECONDS = 6.0
"""How long an answer is waited for. The server's own `statement_timeout` comes first, where there is a server."""
RELEASE_SECONDS = 1.0
"""How long a statement that was given up may take to end before its connection is thrown away."""
_SETTINGS = {
    "application_name": "paygate",
    "statement_timeout": "5s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
    "jit": "off",  # every hot statement is short: compiling one costs more than running it
    "timezone": "UTC",
}
_REFUSED = (
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
)
_BROKEN = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # seen when the server dies mid-statement
    OSError,
)


class Database:
    """One pool under one role. Transactions set row-level security's identity with `set_config(…, true)` only."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    @classmethod
    async def open(cls, url: str, role: Role, *, pool_max: int = POOL_MAX) -> Self:
        """Connect at once, so that a wrong address or a missing role is known at start. Raises `Unavailable`."""
        try:
            pool = await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=pool_max,
                max_inactive_connection_lifetime=30.0,
                max_queries=1_000_000,
                connection_class=_Session,
                init=_prepare_connection,
                reset=_no_reset,
                timeout=5.0,
                command_timeout=ANSWER_SECONDS,
                server_settings=_SETTINGS | {"role": role.value},
            )
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            raise Unavailable(f"cannot connect to the database: {error}") from error
        return cls(pool)

    async def close(self) -> None:
        """Wait for work under way, at most 10 s, then cut it off."""
        try:
            await asyncio.wait_for(self._pool.close(), 10)
        except TimeoutError:
            self._pool.terminate()

    @property
    def in_use(self) -> int:
        return self._pool.get_size() - self._pool.get_idle_size()

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[Connection]:
        """A connection for single statements that set their own identity (`journal_write`, `authenticate`)."""
        async with self._connection() as connection:
            with _Translated():
                yield connection

    @asynccontextmanager
    async def as_partner(self, partner_id: UUID) -> AsyncIterator[Connection]:
        """A transaction that sees and writes this partner's rows only."""
        async with self._connection() as connection:
            with _Translated():
                # One round trip: a UUID's text holds nothing that SQL could read as more than a value.
                async with _begun(connection, f"BEGIN; SET LOCAL app.current_partner_id = '{partner_id}'"):
                    yield connection

    @asynccontextmanager
    async def as_system(self, settings: str = "") -> AsyncIterator[Connection]:
        """A transaction with no partner: it sees what the role's own policies show (nothing, for `paygate_app`).

        `settings` for this transaction go along: `SET LOCAL …; SET LOCAL …`.
        """
        async with self._connection() as connection:
            with _Translated():
                async with _begun(connection, f"BEGIN; {settings}" if settings else "BEGIN"):
                    yield connection

    @asynccontextmanager
    async def across(self) -> AsyncIterator[Connection]:
        """A transaction of `Role.CONSOLE` that reads the rows of all partners: see `support_sessions.across_reason`."""
        async with self._connection() as connection:
            with _Translated():
                async with _begun(connection, "BEGIN; SET LOCAL app.across_partners = 'on'"):
                    yield connection

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        await failpoints.reach("acquiring")
        try:
            async with asyncio.timeout(ACQUIRE_SECONDS):  # asyncpg's own timeout costs a task for each acquire
                connection = await self._pool.acquire()
        except (TimeoutError, *_REFUSED, *_BROKEN) as error:
            raise Unavailable(f"no database connection: {type(error).__name__}") from error
        try:
            yield connection
        finally:
            await self._release(connection)

    async def _release(self, connection: Connection) -> None:
        try:
            await self._pool.release(connection, timeout=RELEASE_SECONDS)
        except (*_BROKEN, TimeoutError):  # it was broken before: the pool replaces it
            return


class _Translated:
    """Turn what asyncpg raises for a lost or refusing server into the two cases callers tell apart."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, _REFUSED):
            raise Unavailable(type(error).__name__) from error
        if isinstance(error, _BROKEN):
            raise CommitUncertain(type(error).__name__) from error


class _Session(asyncpg.Connection):
    """A connection whose every statement lies between two failpoints."""

    __slots__ = ()

    async def execute(self, query: str, *args: object, **options: Any) -> str:
        await failpoints.reach("sending")
        status = await super().execute(query, *args, **options)
        await failpoints.reach("answered")
        return status

    async def fetch(self, query: str, *args: object, **options: Any) -> list[Any]:
        await failpoints.reach("sending")
        rows: list[Any] = await super().fetch(query, *args, **options)
        await failpoints.reach("answered")
        return rows

    async def fetchrow(self, query: str, *args: object, **options: Any) -> Any:
        await failpoints.reach("sending")
        row = await super().fetchrow(query, *args, **options)
        await failpoints.reach("answered")
        return row

    async def fetchval(self, query: str, *args: object, **options: Any) -> Any:
        await failpoints.reach("sending")
        value = await super().fetchval(query, *args, **options)
        await failpoints.reach("answered")
        return value


@asynccontextmanager
async def _begun(connection: Connection, begin: str) -> AsyncIterator[None]:
    try:
        await _begin(connection, begin)
        yield
    except BaseException:  # cancelled while it began, it may have begun
        if not connection.is_closed():
            await _rollback(connection)
        raise
    await _commit(connection)


# One function each: a failpoint bears its name.
async def _begin(connection: Connection, begin: str) -> None:
    await connection.execute(begin)


async def _commit(connection: Connection) -> None:
    await connection.execute("COMMIT")


async def _rollback(connection: Connection) -> None:
    await connection.execute("ROLLBACK")


async def _prepare_connection(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    await connection.set_type_codec("jsonb", encoder=_dump, decoder=json.loads, schema="pg_catalog")


async def _no_reset(_connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Asyncpg has rolled back what was open; nothing else is ever set on a session, so `RESET ALL` is not paid for."""


def _dump(value: Mapping[str, Any] | list[Any] | str) -> str:
    # A third of what the standard library takes; ids, times and Decimals become text that PostgreSQL reads exactly.
    return value if isinstance(value, str) else to_json(value).decode()
