"""The worker's round of counting: charges by the hour, for the console's overview."""

from __future__ import annotations

from db import charge_counts
from gateway.runtime import Runtime


async def count_due(runtime: Runtime) -> int:
    """The number of hours counted, of each partner. What is behind is caught up, one transaction a step."""
    counted, behind = 0, True
    while behind:
        hours, behind = await _step(runtime)
        counted += hours
    return counted


async def _step(runtime: Runtime) -> tuple[int, bool]:
    """How many hours were counted, and whether there is more to catch up with."""
    async with runtime.database.as_system() as connection:
        taken = await charge_counts.take(connection)
        if taken is None:
            return 0, False
        since, until = taken
        hours = await charge_counts.changed(connection, since, until)
        for partner_id, begins in hours.items():
            await charge_counts.count(connection, partner_id, begins)
        await charge_counts.total(connection, {begin for begins in hours.values() for begin in begins})
        await charge_counts.reach(connection, until)
    return sum(map(len, hours.values())), until - since >= charge_counts.STEP
