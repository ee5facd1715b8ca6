"""Monthly partitions of the history, made ahead of their month."""

from __future__ import annotations

from db.database import Connection


async def create(connection: Connection, months_ahead: int) -> int:
    """As the worker; the number of partitions that were missing."""
    made: int = await connection.fetchval("SELECT create_partitions($1)", months_ahead)
    return made
