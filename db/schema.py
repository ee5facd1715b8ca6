"""Migrations: which revision a database has, which this code needs, and the way from one to the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncpg
from alembic import command, op
from alembic.config import Config
from sqlalchemy import Connection, pool, util
from sqlalchemy.ext.asyncio import create_async_engine

HEAD = "0012"
"""The revision this code is written for; a test compares it with the newest file in migrations/versions."""

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 0x7061_7967
"""Advisory lock ("payg") held while migrating, so that two processes starting at once do it once."""


async def current(connection: Any) -> str | None:
    """The database's revision; None for an empty one."""
    try:
        revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return None
    return revision


async def migrate(url: str) -> None:
    """Bring the database at `url` (as its owner) to `HEAD`, and settle what came from another server: feed, views.

    Safe to call from several processes at once.
    """

    async def connect() -> asyncpg.Connection[asyncpg.Record]:
        return await asyncpg.connect(url, timeout=10)

    probe = await connect()
    try:
        # Alembic's run costs a third of a second even where nothing is to be done.
        if await current(probe) != HEAD:
            engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=pool.NullPool)
            async with engine.connect() as connection:
                await connection.run_sync(_upgrade)
            await engine.dispose()
        if await probe.fetchval("SELECT feed_moved()"):
            await probe.execute("CALL settle_feed()")
        if await probe.fetchval("SELECT search_is_blind()"):
            await probe.execute("CALL give_search_its_views()")
    finally:
        await probe.close()


def run_script(name: str) -> None:
    """Run a hand-written file of several statements inside the migration's transaction."""
    script = (_MIGRATIONS / "versions" / name).read_text(encoding="utf-8")
    driver: Any = op.get_bind().connection.driver_connection
    util.await_only(driver.execute(script))


def _upgrade(connection: Connection) -> None:
    connection.exec_driver_sql(f"SELECT pg_advisory_lock({_LOCK})")
    connection.commit()
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.commit()
    connection.exec_driver_sql(f"SELECT pg_advisory_unlock({_LOCK})")
    connection.commit()
