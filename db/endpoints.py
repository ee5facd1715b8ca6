"""Webhook endpoints: where a partner wants its events. Signing secrets are sealed here and opened here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from uuid import UUID

from db import shapes
from db.database import Connection
from db.records import Endpoint, Scope
from db.vault import Vault

MOVED_MAX = 10_000
"""Deliveries moved with their endpoint at once, within the statement timeout; `deliveries.claim` and `.release` meet
the others as they come due."""
_OVERLAP = "24 hours"
_ENDPOINT = shapes.columns(Endpoint)


async def create(
    connection: Connection,
    scope: Scope,
    endpoint_id: UUID,
    *,
    url: str,
    event_types: Sequence[str],
    description: str | None,
    secret: str,
    vault: Vault,
) -> Endpoint:
    """Raises `asyncpg.CheckViolationError` for an empty list of event types or one of more than 50."""
    row = await connection.fetchrow(
        "INSERT INTO webhook_endpoints (partner_id, id, livemode, url, event_types, description, secret)"
        f" VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING {_ENDPOINT}",
        scope.partner_id,
        endpoint_id,
        scope.livemode,
        url,
        event_types,
        description,
        vault.seal(secret.encode(), _context(scope.partner_id, endpoint_id)),
    )
    return shapes.read(Endpoint, row)


async def page(connection: Connection, scope: Scope, *, before: UUID | None, limit: int) -> list[Endpoint]:
    rows = await connection.fetch(
        f"SELECT {_ENDPOINT} FROM webhook_endpoints WHERE partner_id = $1 AND livemode = $2 AND deleted_at IS NULL"
        " AND ($3::uuid IS NULL OR id < $3) ORDER BY id DESC LIMIT $4",
        scope.partner_id,
        scope.livemode,
        before,
        limit,
    )
    return [shapes.read(Endpoint, row) for row in rows]


async def get(connection: Connection, scope: Scope, endpoint_id: UUID) -> Endpoint | None:
    row = await connection.fetchrow(
        f"SELECT {_ENDPOINT} FROM webhook_endpoints"
        " WHERE partner_id = $1 AND id = $2 AND livemode = $3 AND deleted_at IS NULL",
        scope.partner_id,
        endpoint_id,
        scope.livemode,
    )
    return None if row is None else shapes.read(Endpoint, row)


async def update(connection: Connection, endpoint: Endpoint) -> Endpoint | None:
    """Store what a partner may change but for its headers; None where the endpoint is gone."""
    row = await connection.fetchrow(
        "UPDATE webhook_endpoints SET url = $4, event_types = $5, description = $6, rate_limit_per_second = $7,"
        " ed25519 = $8 WHERE partner_id = $1 AND id = $2 AND livemode = $3 AND deleted_at IS NULL"
        f" RETURNING {_ENDPOINT}",
        endpoint.partner_id,
        endpoint.id,
        endpoint.livemode,
        endpoint.url,
        endpoint.event_types,
        endpoint.description,
        endpoint.rate_limit_per_second,
        endpoint.ed25519,
    )
    return None if row is None else shapes.read(Endpoint, row)


async def set_headers(
    connection: Connection, scope: Scope, endpoint_id: UUID, headers: Mapping[str, str], *, vault: Vault
) -> Endpoint | None:
    """What every delivery carries beside our own, in the place of what it carried; None where the endpoint is gone."""
    text = json.dumps(headers).encode()
    row = await connection.fetchrow(
        "UPDATE webhook_endpoints SET headers = $4, header_names = $5"
        " WHERE partner_id = $1 AND id = $2 AND livemode = $3 AND deleted_at IS NULL"
        f" RETURNING {_ENDPOINT}",
        scope.partner_id,
        endpoint_id,
        scope.livemode,
        vault.seal(text, _headers_context(scope.partner_id, endpoint_id)) if headers else None,
        sorted(headers),
    )
    return None if row is None else shapes.read(Endpoint, row)


async def delete(connection: Connection, scope: Scope, endpoint_id: UUID) -> bool:
    """What was not delivered yet is cancelled; the history stays."""
    deleted = await connection.fetchval(
        "UPDATE webhook_endpoints SET deleted_at = now(), secret = '', previous_secret = NULL,"
        " headers = NULL, header_names = '{}', probe_at = NULL"
        " WHERE partner_id = $1 AND id = $2 AND livemode = $3 AND deleted_at IS NULL RETURNING true",
        scope.partner_id,
        endpoint_id,
        scope.livemode,
    )
    if deleted:
        await _stop_deliveries(connection, scope.partner_id, endpoint_id, to="cancelled")
    return bool(deleted)


async def rotate_secret(
    connection: Connection, scope: Scope, endpoint_id: UUID, *, secret: str, vault: Vault
) -> Endpoint | None:
    """From now on `secret` signs; the one it replaces signs beside it for 24 hours."""
    row = await connection.fetchrow(
        "UPDATE webhook_endpoints SET previous_secret = secret, secret = $4,"
        f" previous_secret_expires_at = now() + interval '{_OVERLAP}'"
        " WHERE partner_id = $1 AND id = $2 AND livemode = $3 AND deleted_at IS NULL"
        f" RETURNING {_ENDPOINT}",
        scope.partner_id,
        endpoint_id,
        scope.livemode,
        vault.seal(secret.encode(), _context(scope.partner_id, endpoint_id)),
    )
    return None if row is None else shapes.read(Endpoint, row)


async def enable(connection: Connection, scope: Scope, endpoint_id: UUID) -> Endpoint | None:
    """What was held meanwhile becomes due at once, with all its tries before it."""
    row = await connection.fetchrow(
        "UPDATE webhook_endpoints SET state = 'enabled', disabled_reason = NULL, consecutive_failures = 0,"
        " failing_since = NULL, probe_at = NULL, probes = 0"
        " WHERE partner_id = $1 AND id = $2 AND livemode = $3 AND deleted_at IS NULL"
        f" RETURNING {_ENDPOINT}",
        scope.partner_id,
        endpoint_id,
        scope.livemode,
    )
    if row is None:
        return None
    await connection.execute(
        "UPDATE webhook_deliveries d SET state = 'pending', next_attempt_at = now(), attempts = 0"
        " FROM (SELECT id FROM webhook_deliveries WHERE partner_id = $1 AND endpoint_id = $2 AND state = 'held'"
        "       ORDER BY id LIMIT $3) held WHERE d.partner_id = $1 AND d.id = held.id AND d.state = 'held'",
        scope.partner_id,
        endpoint_id,
        MOVED_MAX,
    )
    return shapes.read(Endpoint, row)


async def disable(connection: Connection, scope: Scope, endpoint_id: UUID, *, reason: str) -> Endpoint | None:
    """What is not delivered yet, and what comes, is held until it is enabled again, whatever a probe would find."""
    row = await connection.fetchrow(
        "UPDATE webhook_endpoints SET state = 'disabled', disabled_reason = $4, probe_at = NULL, probes = 0"
        " WHERE partner_id = $1 AND id = $2 AND livemode = $3 AND deleted_at IS NULL"
        f" RETURNING {_ENDPOINT}",
        scope.partner_id,
        endpoint_id,
        scope.livemode,
        reason,
    )
    if row is None:
        return None
    await hold_deliveries(connection, scope.partner_id, endpoint_id)
    return shapes.read(Endpoint, row)


async def hold_deliveries(connection: Connection, partner_id: UUID, endpoint_id: UUID) -> None:
    await _stop_deliveries(connection, partner_id, endpoint_id, to="held")


async def reseal(connection: Connection, vault: Vault) -> int:
    """Seal with the vault's sealing key what another version sealed, as the operator; how many endpoints."""
    rows = await connection.fetch(
        "SELECT partner_id, id, secret, previous_secret, headers FROM webhook_endpoints WHERE deleted_at IS NULL"
        " AND (get_byte(secret, 0) <> $1 OR get_byte(previous_secret, 0) <> $1 OR get_byte(headers, 0) <> $1)"
        " FOR UPDATE",
        vault.sealing,
    )
    for row in rows:
        key = row["partner_id"], row["id"]
        columns = {"secret": _context(*key), "previous_secret": _context(*key), "headers": _headers_context(*key)}
        await connection.execute(
            "UPDATE webhook_endpoints SET secret = $3, previous_secret = $4, headers = $5"
            " WHERE partner_id = $1 AND id = $2",
            *key,
            *(row[name] and vault.seal(vault.open(row[name], context), context) for name, context in columns.items()),
        )
    return len(rows)


def open_secret(vault: Vault, sealed: bytes, *, partner_id: UUID, endpoint_id: UUID) -> str:
    """Raises `vault.CannotOpen`."""
    return vault.open(sealed, _context(partner_id, endpoint_id)).decode()


def open_headers(vault: Vault, sealed: bytes | None, *, partner_id: UUID, endpoint_id: UUID) -> Mapping[str, str]:
    """Raises `vault.CannotOpen`."""
    if sealed is None:
        return {}
    headers: dict[str, str] = json.loads(vault.open(sealed, _headers_context(partner_id, endpoint_id)))
    return headers


def _context(partner_id: UUID, endpoint_id: UUID) -> str:
    # Not the column: a secret moves from one column to the other when the next one takes its place.
    return f"webhook_endpoints.secret/{partner_id}/{endpoint_id}"


def _headers_context(partner_id: UUID, endpoint_id: UUID) -> str:
    return f"webhook_endpoints.headers/{partner_id}/{endpoint_id}"


async def _stop_deliveries(connection: Connection, partner_id: UUID, endpoint_id: UUID, *, to: str) -> None:
    """Leases stay as they are: a try under way is recorded when it ends."""
    await connection.execute(
        "UPDATE webhook_deliveries d SET state = $3::delivery_state, next_attempt_at = NULL"
        " FROM (SELECT id FROM webhook_deliveries WHERE partner_id = $1 AND endpoint_id = $2"
        "       AND state IN ('pending', 'held') ORDER BY id LIMIT $4) waiting"
        " WHERE d.partner_id = $1 AND d.id = waiting.id AND d.state IN ('pending', 'held')",
        partner_id,
        endpoint_id,
        to,
        MOVED_MAX,
    )
