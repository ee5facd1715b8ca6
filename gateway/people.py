"""The people of the support console: their passwords, second factors and roles. Each act leaves its audit line."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from db import audit, ids, support_users
from db.database import Database
from db.support_users import SupportRole, SupportUser

_HASHER = PasswordHasher()
"""Argon2id with the library's parameters (RFC 9106, second choice): 64 MiB, 3 rounds."""


@dataclass(frozen=True, slots=True)
class Invited:
    """A new person: the only moment the first password is known."""

    person: SupportUser
    password: str = field(repr=False)


async def invite(database: Database, *, email: str, name: str, role: SupportRole, actor: str) -> Invited:
    """As `Role.OPERATOR` or `Role.CONSOLE`. Raises `db.support_users.EmailTaken`."""
    password = secrets.token_urlsafe(15)
    hashed = await asyncio.to_thread(_HASHER.hash, password)
    async with database.as_system() as connection:
        person = await support_users.insert(
            connection, ids.new(), email=email, name=name, role=role, password=hashed, created_by=actor
        )
        act = audit.Act(
            actor=actor,
            action="support_user.invited",
            resource_type="support_user",
            resource_id=ids.encode("sup", person.id),
            changes={"role": role.value},
        )
        await audit.append(connection, act)
    return Invited(person, password)


async def recognize(database: Database, email: str, password: str) -> SupportUser | None:
    """Who gave this password; None where nobody did."""
    async with database.as_system() as connection:
        row = await connection.fetchrow(
            "SELECT id, password FROM support_users WHERE lower(email) = lower($1) AND disabled_at IS NULL", email
        )
        if row is None:
            return None
        try:
            await asyncio.to_thread(_HASHER.verify, row["password"], password)
        except VerifyMismatchError:
            return None
        return await support_users.find(connection, row["id"])
