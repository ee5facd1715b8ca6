"""Partners' endpoints, events that wait for them, and years of deliveries behind: written by the million."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

import asyncpg

from db import endpoints, ids, schema
from db.database import Database, Role
from db.records import Scope
from db.vault import Vault
from webhooks import signing

VAULT = Vault({1: bytes(32)})
MONTHS = 6
"""Of history: as many partitions."""
_FILLING = "x" * 900

Owner: TypeAlias = "asyncpg.Connection[asyncpg.Record]"  # the class takes parameters in its stubs alone

# Ids that carry a moment, as all of ours do; told apart by a number.
_ID = (
    "(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0')"
    " || '8' || left(md5($1 || n), 15))::uuid"
)


@dataclass(frozen=True, slots=True)
class Shop:
    """One partner with `endpoints` in a database of its own."""

    url: str
    scope: Scope
    endpoints: tuple[UUID, ...]
    secret: str


async def open_shop(url: str, urls: list[str]) -> Shop:
    """A migrated database with a partner that has an endpoint at each of `urls`."""
    await schema.migrate(url)
    scope, secret = Scope(ids.new(), livemode=False), signing.new_secret()
    owner = await asyncpg.connect(url)
    await owner.execute("INSERT INTO partners (id, name, email) VALUES ($1, 'B', 'b@bench.example')", scope.partner_id)
    await owner.close()
    app, made = await Database.open(url, Role.APP), list[UUID]()
    async with app.as_partner(scope.partner_id) as connection:
        for place in urls:
            made.append(ids.new())
            await endpoints.create(
                connection,
                scope,
                made[-1],
                url=place,
                event_types=["*"],
                description=None,
                secret=secret,
                vault=VAULT,
            )
    await app.close()
    return Shop(url, scope, tuple(made), secret)


async def publish(owner: Owner, shop: Shop, endpoint_ids: tuple[UUID, ...], count: int) -> float:
    """`count` events, each to one of the endpoints in turn, due at once; the moment at which they were committed."""
    async with owner.transaction():
        await owner.execute("SET LOCAL session_replication_role = replica")  # foreign keys are known to hold
        await owner.execute(
            "WITH told AS (INSERT INTO events (partner_id, id, livemode, type, body, created_at)"
            " SELECT $1, uuid_v7(), false, 'benchmark.' || n, json_build_object('at', $4::float8, 'filling', $5::text),"
            " now() FROM generate_series(0, $3 - 1) n RETURNING *)"
            " INSERT INTO webhook_deliveries (partner_id, id, endpoint_id, event_id, event_type, state,"
            " next_attempt_at, created_at, updated_at)"
            " SELECT partner_id, uuid_v7(), ($2::uuid[])[1 + substr(type, 11)::integer % cardinality($2::uuid[])], id,"
            " type, 'pending', now(), now(), now() FROM told",
            shop.scope.partner_id,
            endpoint_ids,
            count,
            time.time(),
            _FILLING,
        )
    return time.monotonic()


async def pending(owner: Owner) -> int:
    found: int = await owner.fetchval("SELECT count(*) FROM webhook_deliveries WHERE state = 'pending'")
    return found


async def remember(owner: Owner, shop: Shop, count: int) -> None:
    """`count` deliveries more that arrived at the first try, spread over the last months."""
    for month in range(MONTHS):
        async with owner.transaction():
            await _partition(owner, month)
            await owner.execute("SET LOCAL session_replication_role = replica")
            await owner.execute("DROP TABLE IF EXISTS history")
            await owner.execute(
                f"CREATE TEMP TABLE history ON COMMIT DROP AS SELECT {_ID} AS id, at, n FROM (SELECT n,"
                " date_trunc('month', now(), 'UTC') - make_interval(months => $2) + n * interval '27 days' / $3 AS at"
                " FROM generate_series(1, $3) n) AS told",
                str(ids.new()),
                month + 1,
                count // MONTHS,
            )
            await _copy(owner, shop)
    await owner.execute("CHECKPOINT")


async def _copy(owner: Owner, shop: Shop) -> None:
    await owner.execute(
        "INSERT INTO events (partner_id, id, livemode, type, body, created_at)"
        " SELECT $1, id, false, 'history', $2, at FROM history",
        shop.scope.partner_id,
        _FILLING,
    )
    await owner.execute(
        "INSERT INTO webhook_deliveries (partner_id, id, endpoint_id, event_id, event_type, state, attempts, epoch,"
        " last_status, created_at, updated_at, delivered_at)"
        " SELECT $1, id, ($2::uuid[])[1 + n % cardinality($2::uuid[])], id, 'history', 'delivered', 1, 1, 200, at, at,"
        " at FROM history",
        shop.scope.partner_id,
        shop.endpoints,
    )
    await owner.execute(
        "INSERT INTO webhook_attempts (partner_id, delivery_id, number, started_at, duration_ms, status_code)"
        " SELECT $1, id, 1, at, 12, 200 FROM history",
        shop.scope.partner_id,
    )


async def _partition(owner: Owner, month: int) -> None:
    name, begin, end = await owner.fetchrow(
        "SELECT to_char(at, '\"webhook_deliveries_\"YYYY_MM'), uuid_v7_floor(at AT TIME ZONE 'UTC')::text,"
        " uuid_v7_floor((at + interval '1 month') AT TIME ZONE 'UTC')::text FROM (SELECT"
        " date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => $1) AS at) AS told",
        month + 1,
    )  # type: ignore[misc]
    await owner.execute(
        f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF webhook_deliveries FOR VALUES FROM ('{begin}') TO ('{end}')"
    )
