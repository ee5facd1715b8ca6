"""Sessions of the support console. The token is known to the browser only; the database holds its hash."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from uuid import UUID

from db import shapes
from db.database import Connection
from db.support_users import SupportUser

IDLE_SECONDS = 15 * 60
"""PCI DSS 8.2.8: whoever was away for 15 minutes signs in anew."""
LIFE_SECONDS = 12 * 3600
ACROSS_SECONDS = 3600
"""How long a reason to read across partners holds."""
_SEEN_SECONDS = 60
"""A session's last use is written down at most this often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportSession:
    id: UUID
    user_id: UUID
    verified: bool
    """With the second factor; without it nothing but that can be done."""
    livemode: bool
    partner_id: UUID | None
    partner_name: str | None
    across_reason: str | None
    """Why payments of all partners are read; None as soon as that has run out."""
    across_until: datetime | None
    told: str | None
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession:
    """As its owner sees it in a list."""

    id: UUID
    verified: bool
    ip_address: IPv4Address | IPv6Address | None
    user_agent: str | None
    created_at: datetime
    seen_at: datetime


_COLUMNS = ", ".join(
    "p.name AS partner_name" if column == "partner_name" else f"s.{column}" for column in SupportSession.__slots__
)
_USER_COLUMNS = ", ".join(f"u.{column} AS user_{column}" for column in SupportUser.__slots__)


async def begin(
    connection: Connection,
    session_id: UUID,
    *,
    token_hash: bytes,
    user_id: UUID,
    verified: bool,
    livemode: bool,
    ip_address: str | None,
    user_agent: str | None,
) -> None:
    await connection.execute(
        """INSERT INTO support_sessions (id, token_hash, user_id, verified, livemode, ip_address, user_agent,
                                         expires_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8))""",
        session_id,
        token_hash,
        user_id,
        verified,
        livemode,
        ip_address,
        user_agent,
        LIFE_SECONDS,
    )


async def use(connection: Connection, token_hash: bytes) -> tuple[SupportSession, SupportUser] | None:
    """The session and its person; None where it ended, ran out, was idle too long, or the person is disabled."""
    row = await connection.fetchrow(
        f"""SELECT {_COLUMNS}, {_USER_COLUMNS}, s.seen_at < now() - make_interval(secs => $3) AS unseen,
                   s.across_until <= now() AS across_over
            FROM support_sessions s JOIN support_users u ON u.id = s.user_id LEFT JOIN partners p ON p.id = s.partner_id
            WHERE s.token_hash = $1 AND s.ended_at IS NULL AND s.expires_at > now()
              AND s.seen_at > now() - make_interval(secs => $2) AND u.disabled_at IS NULL""",
        token_hash,
        IDLE_SECONDS,
        _SEEN_SECONDS,
    )
    if row is None:
        return None
    if row["unseen"] or row["told"] or row["across_over"]:
        await connection.execute(
            """UPDATE support_sessions SET seen_at = now(), told = NULL,
                      across_reason = CASE WHEN across_until > now() THEN across_reason END,
                      across_until = CASE WHEN across_until > now() THEN across_until END
               WHERE id = $1""",
            row["id"],
        )
    found = dict(row)
    if row["across_over"]:
        found["across_reason"] = found["across_until"] = None
    user = {column: row[f"user_{column}"] for column in SupportUser.__slots__}
    return shapes.read(SupportSession, found), shapes.read(SupportUser, user)


async def tell(connection: Connection, session_id: UUID, told: str) -> None:
    """The next page shows it, once."""
    await connection.execute("UPDATE support_sessions SET told = $2 WHERE id = $1", session_id, told)


async def look_at(connection: Connection, session_id: UUID, *, partner_id: UUID | None, livemode: bool) -> None:
    """One partner's payments in one mode from now on."""
    await connection.execute(
        """UPDATE support_sessions SET partner_id = $2, livemode = $3, across_reason = NULL, across_until = NULL
           WHERE id = $1""",
        session_id,
        partner_id,
        livemode,
    )


async def look_across(connection: Connection, session_id: UUID, *, reason: str, livemode: bool) -> None:
    """All partners' payments, for an hour."""
    await connection.execute(
        """UPDATE support_sessions SET partner_id = NULL, livemode = $3, across_reason = $2,
                  across_until = now() + make_interval(secs => $4)
           WHERE id = $1""",
        session_id,
        reason,
        livemode,
        ACROSS_SECONDS,
    )


async def end(connection: Connection, session_id: UUID) -> bool:
    """Whether it was still going on."""
    ended = await connection.fetchval(
        "UPDATE support_sessions SET ended_at = now() WHERE id = $1 AND ended_at IS NULL RETURNING true", session_id
    )
    return bool(ended)


async def end_all(connection: Connection, user_id: UUID, *, but: UUID | None = None) -> int:
    """Every session of this person, wherever it was begun; how many."""
    ended = await connection.fetch(
        """UPDATE support_sessions SET ended_at = now()
           WHERE user_id = $1 AND ended_at IS NULL AND id IS DISTINCT FROM $2 RETURNING 1""",
        user_id,
        but,
    )
    return len(ended)


async def open_ones(connection: Connection, user_id: UUID) -> list[OpenSession]:
    """Those of one person, newest first."""
    rows = await connection.fetch(
        f"""SELECT {shapes.columns(OpenSession)} FROM support_sessions
            WHERE user_id = $1 AND ended_at IS NULL AND expires_at > now()
              AND seen_at > now() - make_interval(secs => $2)
            ORDER BY id DESC""",
        user_id,
        IDLE_SECONDS,
    )
    return [shapes.read(OpenSession, row) for row in rows]


async def forget(connection: Connection, limit: int) -> int:
    """Delete what has been over for a month, as the worker; how many."""
    gone = await connection.fetch(
        """DELETE FROM support_sessions WHERE id IN (
               SELECT id FROM support_sessions WHERE expires_at < now() - interval '1 month' LIMIT $1)
           RETURNING 1""",
        limit,
    )
    return len(gone)
