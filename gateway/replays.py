"""The worker's round of replays: each running one queues what it has room for."""

from __future__ import annotations

import logging
from uuid import UUID

from db import replays
from db.database import CommitUncertain, Unavailable
from gateway import telemetry
from gateway.runtime import Runtime


async def replay_due(runtime: Runtime) -> int:
    """The number of deliveries queued; each replay in a transaction of its own."""
    async with runtime.database.as_system() as connection:
        running = await replays.all_running(connection)
    queued = 0
    for partner_id, replay_id in running:
        try:
            queued += await advance(runtime, partner_id, replay_id)
        except (Unavailable, CommitUncertain) as loss:
            telemetry.log(
                "replay not advanced", level=logging.WARNING, partner_id=partner_id, reason=type(loss).__name__
            )
        except Exception as error:  # noqa: BLE001 - one replay must not keep the others from theirs
            telemetry.log("replay not advanced", level=logging.ERROR, partner_id=partner_id, error=error)
    return queued


async def advance(runtime: Runtime, partner_id: UUID, replay_id: UUID) -> int:
    async with runtime.database.as_system() as connection:
        queued = await replays.advance(connection, partner_id, replay_id)
    runtime.published(queued)
    return queued
