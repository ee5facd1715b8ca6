"""The people of the support console: how they prove who they are, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import asyncpg

from db import shapes
from db.database import Connection


class SupportRole(StrEnum):
    """Each may do what those before it may."""

    VIEWER = "viewer"
    SUPPORT = "support"
    FINANCE = "finance"
    ADMIN = "admin"

    def reaches(self, needed: SupportRole) -> bool:
        ranks = list(SupportRole)
        return ranks.index(self) >= ranks.index(needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportUser:
    """Without the password's hash and the second factor's secret: those leave the database to be checked only."""

    id: UUID
    email: str
    name: str
    role: SupportRole
    password_changed_at: datetime | None
    """None: the password is still the one that was handed over."""
    locked_until: datetime | None
    created_by: str
    created_at: datetime
    disabled_at: datetime | None


class EmailTaken(Exception):
    """Another person has this e-mail address."""


_COLUMNS = shapes.columns(SupportUser)


async def insert(
    connection: Connection,
    user_id: UUID,
    *,
    email: str,
    name: str,
    role: SupportRole,
    password: str,
    created_by: str,
) -> SupportUser:
    """`password` as argon2 wrote it. Raises `EmailTaken`."""
    try:
        row = await connection.fetchrow(
            f"""INSERT INTO support_users (id, email, name, role, password, created_by)
                VALUES ($1, $2, $3, $4, $5, $6) RETURNING {_COLUMNS}""",
            user_id,
            email,
            name,
            role,
            password,
            created_by,
        )
    except asyncpg.UniqueViolationError:
        raise EmailTaken(email) from None
    return shapes.read(SupportUser, row)


async def find(connection: Connection, user_id: UUID) -> SupportUser | None:
    row = await connection.fetchrow(f"SELECT {_COLUMNS} FROM support_users WHERE id = $1", user_id)
    return None if row is None else shapes.read(SupportUser, row)


async def all_users(connection: Connection, limit: int) -> list[SupportUser]:
    rows = await connection.fetch(f"SELECT {_COLUMNS} FROM support_users ORDER BY lower(email) LIMIT $1", limit)
    return [shapes.read(SupportUser, row) for row in rows]
