"""The people of the support console: how they prove who they are, and what they may do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import asyncpg

from db import shapes
from db.database import Connection
from db.vault import Vault

FAILURES_MAX = 10
LOCK_SECONDS = 30 * 60
"""PCI DSS 8.3.4: ten tries, then half an hour."""
_SINCE = "CASE WHEN locked_until <= now() THEN 0 ELSE failures END"
"""Failures that count: a lock that is over forgives them."""


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
    second_factor: bool
    locked_until: datetime | None
    """May be over."""
    signed_in_at: datetime | None
    created_by: str
    created_at: datetime
    disabled_at: datetime | None

    def state(self, now: datetime) -> str:
        if self.disabled_at:
            return "disabled"
        if self.locked_until and self.locked_until > now:
            return "locked"
        return "active" if self.password_changed_at else "invited"


@dataclass(frozen=True, slots=True)
class Try:
    """One of the few that a person has to prove who they are. It counts as failed until it is known not to be."""

    user: SupportUser
    password: str | None = field(default=None, repr=False)
    """As argon2 wrote it; None: whatever is tried, nothing opens now."""
    totp_secret: bytes | None = field(default=None, repr=False)
    """Sealed."""
    is_last: bool = False
    """If it fails, nothing opens for `LOCK_SECONDS`."""


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
    settled: bool,
    created_by: str,
) -> SupportUser:
    """`password` as argon2 wrote it; unless `settled` it must be changed at once. Raises `EmailTaken`."""
    try:
        row = await connection.fetchrow(
            f"""INSERT INTO support_users (id, email, name, role, password, password_changed_at, created_by)
                VALUES ($1, $2, $3, $4, $5, CASE WHEN $6 THEN now() END, $7) RETURNING {_COLUMNS}""",
            user_id,
            email,
            name,
            role,
            password,
            settled,
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


async def newest(connection: Connection, limit: int, *, before: UUID | None = None) -> list[SupportUser]:
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM support_users WHERE $2::uuid IS NULL OR id < $2 ORDER BY id DESC LIMIT $1",
        limit,
        before,
    )
    return [shapes.read(SupportUser, row) for row in rows]


async def names(connection: Connection, user_ids: Sequence[UUID]) -> dict[UUID, str]:
    rows = await connection.fetch("SELECT id, name FROM support_users WHERE id = ANY($1)", user_ids)
    return {row["id"]: row["name"] for row in rows}


async def lock(connection: Connection, user_id: UUID) -> SupportUser | None:
    """The person as they are now, held until this transaction ends; and who the admins are does not change either."""
    rows = await connection.fetch(
        f"""SELECT {_COLUMNS} FROM support_users WHERE id = $1 OR (role = 'admin' AND disabled_at IS NULL)
            ORDER BY id FOR UPDATE""",
        user_id,
    )
    return next((shapes.read(SupportUser, row) for row in rows if row["id"] == user_id), None)


async def admins(connection: Connection) -> set[UUID]:
    """Who may grant roles."""
    rows = await connection.fetch("SELECT id FROM support_users WHERE role = 'admin' AND disabled_at IS NULL")
    return {row["id"] for row in rows}


async def set_role(connection: Connection, user_id: UUID, role: SupportRole) -> None:
    await connection.execute("UPDATE support_users SET role = $2 WHERE id = $1", user_id, role)


async def set_disabled(connection: Connection, user_id: UUID, *, disabled: bool) -> None:
    await connection.execute(
        "UPDATE support_users SET disabled_at = CASE WHEN $2 THEN now() END WHERE id = $1", user_id, disabled
    )


async def reset(connection: Connection, user_id: UUID, password: str) -> None:
    """As if newly invited: a password that was handed over, no second factor, no failures."""
    await connection.execute(
        """UPDATE support_users SET password = $2, password_changed_at = NULL, totp_secret = NULL, totp_step = 0,
                  failures = 0, locked_until = NULL
           WHERE id = $1""",
        user_id,
        password,
    )


# ── Proving who one is ──────────────────────────────────────────────────────────────────────────────────────────────


async def take_try(connection: Connection, *, email: str | None = None, user_id: UUID | None = None) -> Try | None:
    """None: there is no such person. To be committed before anything is compared.

    Counted before it is known how it ends, so that of any number of guesses at once only ten are looked at.
    """
    row = await connection.fetchrow(
        f"""UPDATE support_users SET failures = {_SINCE} + 1,
                   locked_until = CASE WHEN {_SINCE} + 1 >= $3 THEN now() + make_interval(secs => $4) END
            WHERE (lower(email) = lower($1) OR id = $2) AND disabled_at IS NULL
              AND (locked_until IS NULL OR locked_until <= now())
            RETURNING {_COLUMNS}, password, totp_secret, failures""",
        email,
        user_id,
        FAILURES_MAX,
        LOCK_SECONDS,
    )
    if row is not None:
        is_last = row["failures"] >= FAILURES_MAX
        return Try(shapes.read(SupportUser, row), row["password"], row["totp_secret"], is_last)
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM support_users WHERE lower(email) = lower($1) OR id = $2", email, user_id
    )
    return None if row is None else Try(shapes.read(SupportUser, row))


async def give_back(connection: Connection, user_id: UUID, password: str) -> bool:
    """The try was none: this password was right. False where it is another one by now."""
    given = await connection.fetchval(
        """UPDATE support_users SET failures = greatest(failures - 1, 0),
                  locked_until = CASE WHEN failures > $3 THEN locked_until END
           WHERE id = $1 AND password = $2 AND disabled_at IS NULL RETURNING true""",
        user_id,
        password,
        FAILURES_MAX,
    )
    return bool(given)


async def use_step(connection: Connection, user_id: UUID, totp_secret: bytes, step: int) -> bool:
    """Whether this step's code of this secret is used for the first time, and no later one was."""
    used = await connection.fetchval(
        """UPDATE support_users SET totp_step = $3
           WHERE id = $1 AND totp_secret = $2 AND totp_step < $3 AND disabled_at IS NULL RETURNING true""",
        user_id,
        totp_secret,
        step,
    )
    return bool(used)


async def signed_in(connection: Connection, user_id: UUID) -> None:
    """All that was asked for was given."""
    await connection.execute(
        "UPDATE support_users SET signed_in_at = now(), failures = 0, locked_until = NULL WHERE id = $1", user_id
    )


async def password_of(connection: Connection, user_id: UUID) -> str:
    """As argon2 wrote it."""
    found: str = await connection.fetchval("SELECT password FROM support_users WHERE id = $1", user_id)
    return found


async def change_password(connection: Connection, user_id: UUID, old: str, new: str) -> bool:
    """Both as argon2 wrote them. False where the old one was changed meanwhile."""
    changed = await connection.fetchval(
        """UPDATE support_users SET password = $3, password_changed_at = now() WHERE id = $1 AND password = $2
           RETURNING true""",
        user_id,
        old,
        new,
    )
    return bool(changed)


async def change_hash(connection: Connection, user_id: UUID, fresh: str) -> None:
    """Of the same password, with today's parameters."""
    await connection.execute("UPDATE support_users SET password = $2 WHERE id = $1", user_id, fresh)


async def enrol(connection: Connection, user_id: UUID, secret: bytes, step: int, *, vault: Vault) -> None:
    """`step`: that of the code which proved that the person has the secret."""
    await connection.execute(
        "UPDATE support_users SET totp_secret = $2, totp_step = $3 WHERE id = $1",
        user_id,
        vault.seal(secret, _context(user_id)),
        step,
    )


def open_secret(vault: Vault, sealed: bytes, *, user_id: UUID) -> bytes:
    """Raises `vault.CannotOpen`."""
    return vault.open(sealed, _context(user_id))


async def reseal(connection: Connection, vault: Vault) -> int:
    """Seal with the vault's sealing key what another version sealed, as the operator; how many second factors."""
    rows = await connection.fetch(
        "SELECT id, totp_secret FROM support_users WHERE get_byte(totp_secret, 0) <> $1 FOR UPDATE", vault.sealing
    )
    for row in rows:
        sealed = vault.seal(open_secret(vault, row["totp_secret"], user_id=row["id"]), _context(row["id"]))
        await connection.execute("UPDATE support_users SET totp_secret = $2 WHERE id = $1", row["id"], sealed)
    return len(rows)


def _context(user_id: UUID) -> str:
    return f"support_users.totp_secret/{user_id}"
