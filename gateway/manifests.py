"""The worker's round of manifests: each endpoint's days that are over are counted, written and told."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import date, timedelta

from db import ids, manifests
from db.database import CommitUncertain, Unavailable
from db.manifests import Due, Manifest
from db.records import PublishedEvent
from gateway import telemetry
from gateway.api.manifests import manifest_body
from gateway.runtime import Runtime
from gateway.transactions import representation

BATCH = 100
DAYS_MAX = 31
"""Of one endpoint in one round; the next goes on."""


async def close_due(runtime: Runtime) -> int:
    """The number of manifests written, each in a transaction of its own. Days that nobody closed are caught up."""
    until = manifests.last_closed(runtime.clock())
    closed, last = 0, None
    while found := await _due(runtime, until, last):
        for one in found:
            closed += await _catch_up(runtime, one, until)
        last = found[-1]
    runtime.published(closed)
    return closed


async def _due(runtime: Runtime, until: date, last: Due | None) -> list[Due]:
    async with runtime.database.as_system() as connection:
        return await manifests.due(connection, until, after=last, limit=BATCH)


async def _catch_up(runtime: Runtime, one: Due, until: date) -> int:
    closed = 0
    try:
        for later in range(min((until - one.day).days + 1, DAYS_MAX)):
            closed += await close(runtime, replace(one, day=one.day + timedelta(days=later)))
    except (Unavailable, CommitUncertain) as loss:
        telemetry.log(
            "manifest not written", level=logging.WARNING, endpoint_id=one.endpoint_id, reason=type(loss).__name__
        )
    except Exception as error:  # noqa: BLE001 - one endpoint must not keep the others from their manifests
        telemetry.log("manifest not written", level=logging.ERROR, endpoint_id=one.endpoint_id, error=error)
    return closed


async def close(runtime: Runtime, one: Due) -> bool:
    """Whether this call wrote the manifest: another worker may be at it, or have been."""
    async with runtime.database.as_system() as connection:
        if not await manifests.take(connection, one):
            return False
        count, digest = await manifests.count(connection, one)
        manifest = Manifest(
            partner_id=one.partner_id,
            endpoint_id=one.endpoint_id,
            day=one.day,
            count=count,
            digest=digest,
            event_id=ids.new(),
            created_at=runtime.clock(),
        )
        return await manifests.write(connection, manifest, _told(manifest, livemode=one.livemode))


def _told(manifest: Manifest, *, livemode: bool) -> PublishedEvent:
    return PublishedEvent(
        partner_id=manifest.partner_id,
        id=manifest.event_id,
        livemode=livemode,
        type=manifests.EVENT_TYPE,
        transaction_id=None,
        sequence=None,
        body=representation.event_text(
            manifest.event_id,
            manifests.EVENT_TYPE,
            at=manifest.created_at,
            sequence=None,
            data=representation.encode(manifest_body(manifest)),
        ),
        created_at=manifest.created_at,
    )
