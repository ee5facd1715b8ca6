"""Facts about the database that decide whether it is safe to work on it. Reads only the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from db import feed, schema
from db.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    role: str
    role_bypasses_policies: bool
    login: str
    login_is_superuser: bool
    tables_without_forced_policies: list[str]
    now: datetime
    server_version: int
    """As PostgreSQL counts: 150018 is 15.18."""
    revision: str | None
    moved: bool
    """See `feed.moved`; not asked at another revision."""
    search_is_blind: bool
    """The views that searches look into belong to another role, as after a dump without owners; not asked either."""


async def facts(connection: Connection) -> Facts:
    row = await connection.fetchrow(
        """SELECT current_user::text AS role, r.rolsuper OR r.rolbypassrls AS role_bypasses_policies,
                  session_user::text AS login, s.rolsuper AS login_is_superuser,
                  ARRAY(SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
                        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
                          AND a.attname = 'partner_id' AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
                        ORDER BY 1) AS tables_without_forced_policies,
                  clock_timestamp() AS now, current_setting('server_version_num')::integer AS server_version
           FROM pg_roles r, pg_roles s WHERE r.rolname = current_user AND s.rolname = session_user"""
    )
    assert row is not None, "who asks has a role"
    revision = await schema.current(connection)
    current = revision == schema.HEAD
    moved = current and await feed.moved(connection)
    search_is_blind = current and await connection.fetchval("SELECT search_is_blind()")
    return Facts(**row, revision=revision, moved=moved, search_is_blind=search_is_blind)
