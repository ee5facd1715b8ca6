"""The simulated town's PostgreSQL: a real server, whose databases go by the virtual clock and draw nothing by chance.

The schema `simulated` shadows `now()`, `clock_timestamp()` and `gen_random_uuid()`, so every statement, trigger,
default and policy of the migrations runs as it is, at the time that its session was told last.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg

from db import schema

Urls = Callable[[str], str]
"""From the name of a database to its owner's address."""

SEARCH_PATH = "simulated, pg_catalog, public"
TEMPLATE = "template_simulated"

_SHADOWS = """
    CREATE SCHEMA simulated;
    GRANT USAGE ON SCHEMA simulated TO PUBLIC;
    CREATE SEQUENCE simulated.draws;
    GRANT USAGE ON SEQUENCE simulated.draws TO PUBLIC;
    CREATE FUNCTION simulated.now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
        RETURN current_setting('simulated.now')::timestamptz;
    CREATE FUNCTION simulated.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
        RETURN current_setting('simulated.now')::timestamptz;
    CREATE FUNCTION simulated.gen_random_uuid() RETURNS uuid LANGUAGE sql VOLATILE
        RETURN md5(nextval('simulated.draws')::text)::uuid;
"""

_SHADOWED = r"\m(now|clock_timestamp|gen_random_uuid)\("
# What was bound to pg_catalog's functions when it was made, as statements that bind it anew. Functions whose bodies are
# text look their functions up when they run; those with a search path of their own are given ours.
_REBINDINGS = f"""
    SELECT format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', d.adrelid::regclass, a.attname,
                  pg_get_expr(d.adbin, d.adrelid))
    FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    WHERE pg_get_expr(d.adbin, d.adrelid) ~ '{_SHADOWED}'
    UNION ALL
    SELECT format('ALTER POLICY %I ON %s USING (%s)', polname, polrelid::regclass, pg_get_expr(polqual, polrelid))
    FROM pg_policy WHERE pg_get_expr(polqual, polrelid) ~ '{_SHADOWED}'
    UNION ALL
    SELECT format('ALTER FUNCTION %s SET search_path = {SEARCH_PATH}, pg_temp', p.oid::regprocedure)
    FROM pg_proc p WHERE pronamespace = 'public'::regnamespace AND array_to_string(proconfig, ' ') ~ 'search_path'
"""
# Seen through our search path, only what is still bound to the originals needs their schema's name.
_LEFT_BEHIND = r"""
    SELECT pg_get_expr(adbin, adrelid) AS asks FROM pg_attrdef
    UNION ALL SELECT concat(pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) FROM pg_policy
    UNION ALL SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c'
    UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND prokind IN ('f', 'p')
    UNION ALL SELECT pg_get_viewdef(oid) FROM pg_class WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace
"""
_ORIGINAL = (
    r"~* '(pg_catalog\.(now|clock_timestamp|gen_random_uuid)\()|current_(timestamp|date)|localtime|statement_timestamp'"
)


async def settle_down(urls: Urls) -> None:
    """Nothing works in the background of this server any more, or runs would differ."""
    async with connected(urls, "postgres") as owner:
        for setting in ("autovacuum = off", "synchronous_commit = off"):
            await owner.execute(f"ALTER SYSTEM SET {setting}")
        await owner.execute("SELECT pg_reload_conf()")


async def prepare(urls: Urls) -> None:
    """Make the template: migrated, on virtual time."""
    async with connected(urls, "postgres") as owner:
        await owner.execute(f"CREATE DATABASE {TEMPLATE}")
    await schema.migrate(urls(TEMPLATE))
    async with connected(urls, TEMPLATE) as owner:
        await owner.execute(_SHADOWS)
        rebindings = [row[0] for row in await owner.fetch(_REBINDINGS)]
        await owner.execute(f"ALTER DATABASE {TEMPLATE} SET search_path = {SEARCH_PATH}")
        await owner.execute(f"SET search_path = {SEARCH_PATH}")
        for rebinding in rebindings:
            await owner.execute(rebinding)
        left = await left_behind(owner)
        assert not left, f"still on the real clock: {left}"


async def left_behind(owner: asyncpg.Connection[asyncpg.Record]) -> list[str]:
    """What of this database still asks the real clock, or real chance."""
    return [row[0] for row in await owner.fetch(f"SELECT * FROM ({_LEFT_BEHIND}) AS seen WHERE seen.asks {_ORIGINAL}")]


async def clone(urls: Urls, name: str) -> None:
    """A fresh database. A clone does not take its template's settings along."""
    async with connected(urls, "postgres") as owner:
        await owner.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await owner.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
        await owner.execute(f"ALTER DATABASE {name} SET search_path = {SEARCH_PATH}")


async def drop(urls: Urls, name: str) -> None:
    async with connected(urls, "postgres") as owner:
        await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def connected(urls: Urls, database: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(urls(database))
    try:
        yield connection
    finally:
        await connection.close()


def time_told(now: float) -> str:
    """The statement that makes `now()` say this in its session from here on. `now`: seconds since the epoch."""
    return f"SET simulated.now = '{datetime.fromtimestamp(now, UTC).isoformat()}';"
