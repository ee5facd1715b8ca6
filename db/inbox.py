"""What PSPs tell us, as they told it: stored before it is acknowledged, applied by the worker.

received ─► applied | ignored | parked (for a person, who may have it tried again: received)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from db import ids, queues, shapes
from db.database import Connection
from db.provider_accounts import ProviderAccount
from db.records import ProviderEvent, ProviderEventState


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One as people look at it: without its body, which may be long."""

    id: UUID
    account_id: UUID
    provider: str
    dedupe_key: str
    """What the PSP calls it."""
    state: ProviderEventState
    reason: str | None
    tries: int
    partner_id: UUID | None
    transaction_id: UUID | None
    received_at: datetime


_EVENT = shapes.columns(ProviderEvent)
_NOTIFICATION = shapes.columns(Notification)
_TRIES_SECONDS = "least(5 * 2 ^ least(tries, 7), 600)"
"""Seconds between tries of what cannot be applied yet: from 5, doubling, at most 10 minutes, however many they are."""


async def store(
    connection: Connection, account: ProviderAccount, *, dedupe_key: str, headers: Mapping[str, str], body: bytes
) -> None:
    """Keep it once; a repeat changes nothing."""
    await connection.execute(
        "INSERT INTO provider_events (id, account_id, provider, dedupe_key, headers, body)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        ids.new(),
        account.id,
        account.provider,
        dedupe_key,
        dict(headers),
        body,
    )


async def take_due(connection: Connection, limit: int, *, busy: Sequence[UUID] = ()) -> list[ProviderEvent]:
    """Events to apply now, oldest first, as the worker; of the accounts that are not `busy`.

    Each try is counted before it is made, and sets the next one: what kills its process waits its turn.
    """
    rows = await connection.fetch(
        f"UPDATE provider_events SET tries = tries + 1, next_try_at = now() + make_interval(secs => {_TRIES_SECONDS})"
        " WHERE id IN (SELECT id FROM provider_events WHERE state = 'received' AND next_try_at <= now()"
        "              AND account_id <> ALL ($2) ORDER BY next_try_at, id LIMIT $1 FOR UPDATE SKIP LOCKED)"
        f" RETURNING {_EVENT}",
        limit,
        busy,
    )
    return sorted((shapes.read(ProviderEvent, row) for row in rows), key=lambda event: event.id)


async def finish(
    connection: Connection,
    event: ProviderEvent,
    state: ProviderEventState,
    *,
    reason: str,
    partner_id: UUID | None = None,
    transaction_id: UUID | None = None,
) -> None:
    """What became of this try. Nothing changes where it was taken once more since: that try tells."""
    await connection.execute(
        "UPDATE provider_events SET state = $3, reason = $4, partner_id = $5, transaction_id = $6, next_try_at = NULL"
        " WHERE id = $1 AND tries = $2",
        event.id,
        event.tries,
        state.value,
        reason[:255],
        partner_id,
        transaction_id,
    )


async def find(connection: Connection, event_id: UUID) -> Notification | None:
    row = await connection.fetchrow(f"SELECT {_NOTIFICATION} FROM provider_events WHERE id = $1", event_id)
    return None if row is None else shapes.read(Notification, row)


async def body(connection: Connection, event_id: UUID) -> bytes | None:
    """As the PSP wrote it: names and addresses of customers included."""
    found: bytes | None = await connection.fetchval("SELECT body FROM provider_events WHERE id = $1", event_id)
    return found


async def parked(connection: Connection, limit: int, *, after: UUID | None = None) -> list[Notification]:
    """What waits for a person, the oldest first; in a transaction."""
    await queues.read_indexes(connection)
    rows = await connection.fetch(
        f"SELECT {_NOTIFICATION} FROM (SELECT * FROM provider_events WHERE state = 'parked' OFFSET 0) AS waiting"
        " WHERE $2::uuid IS NULL OR id > $2 ORDER BY id LIMIT $1",
        limit,
        after,
    )
    return [shapes.read(Notification, row) for row in rows]


async def of_transaction(connection: Connection, partner_id: UUID, transaction_id: UUID) -> list[Notification]:
    """What was told of a payment and applied, ignored or parked, the newest first."""
    rows = await connection.fetch(
        f"SELECT {_NOTIFICATION} FROM provider_events WHERE partner_id = $1 AND transaction_id = $2"
        " ORDER BY received_at DESC, id DESC LIMIT 100",
        partner_id,
        transaction_id,
    )
    return [shapes.read(Notification, row) for row in rows]


async def put_back(connection: Connection, event_id: UUID) -> bool:
    """To be applied now; as an operator. False where it is not parked."""
    put: bool | None = await connection.fetchval(
        "UPDATE provider_events SET state = 'received', next_try_at = now() WHERE id = $1 AND state = 'parked'"
        " RETURNING true",
        event_id,
    )
    return bool(put)


async def attempt_by_provider_id(
    connection: Connection, account_id: UUID, provider_id: str
) -> tuple[UUID, UUID, UUID] | None:
    """(partner, transaction, attempt) that the PSP knows by this id, as the worker; the newest where there are more."""
    row = await connection.fetchrow(
        "SELECT partner_id, transaction_id, id FROM attempts WHERE account_id = $1 AND provider_id = $2"
        " ORDER BY id DESC LIMIT 1",
        account_id,
        provider_id,
    )
    return None if row is None else (row["partner_id"], row["transaction_id"], row["id"])


async def backlog(connection: Connection) -> list[tuple[str, str, int]]:
    """(provider, state, count) of what is not applied yet."""
    rows = await connection.fetch(
        "SELECT provider, state::text, count(*) FROM provider_events WHERE state IN ('received', 'parked')"
        " GROUP BY provider, state"
    )
    return [(row["provider"], row["state"], row["count"]) for row in rows]
