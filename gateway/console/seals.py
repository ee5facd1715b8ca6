"""Whether history is as it was: how far it is sealed, what the nightly passes found, and verifying it now."""

from __future__ import annotations

import logging

from starlette.responses import Response

from db import audit, audit_verifications
from gateway import telemetry
from gateway.console.visits import Visit

PATH = "/console/audit/seals"


async def show(visit: Visit) -> Response:
    async with visit.console.reading.as_system() as connection:
        states = await audit_verifications.states(connection)
    return visit.page("seals.html", states=states, now=visit.console.verifying)


async def verify(visit: Visit) -> Response:
    """In the background: nobody's browser waits for it."""
    runtime = visit.console.acting
    if not visit.console.verifying.begin(runtime.clock()):
        return await visit.back(PATH, "It is being verified already.")
    _ = runtime.begin(_verify(visit))
    return await visit.back(PATH)


async def _verify(visit: Visit) -> None:
    verifying = visit.console.verifying
    try:
        reports = await verifying.run(visit.console.operating)
        verifying.finished_at = visit.console.acting.clock()
        told = {one.table_name: {"seals": one.seals, "rows": one.rows, "faults": len(one.faults)} for one in reports}
        act = visit.act("history.verified", "seals", found=told)
        async with visit.console.reading.as_system() as connection:
            await audit.append(connection, act)
    except Exception as error:  # noqa: BLE001 - nobody waits for it: what went wrong is in the log
        telemetry.log("history not verified", level=logging.ERROR, error=error, request_id=visit.request_id)
