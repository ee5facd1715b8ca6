"""The invariants watchdog: holds every promise about money against the tables, in production, all the time.

Each round looks at what changed lately and at a further piece of everything, so that the whole is gone through over and
over at a bounded cost. A breach is a finding, a metric, an error in the log, a line of audit, and a review.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from uuid import UUID

from db import audit, findings, ids, watchdog
from gateway import telemetry
from gateway.runtime import Runtime
from gateway.transactions import journal

SOURCE = "watchdog"
LATELY_SECONDS = 180.0
"""Three rounds: what one that failed did not see, the next ones do."""
LATELY_MAX = 20_000
PIECE = 2_000
START = (UUID(int=0), UUID(int=0))


@dataclass(slots=True)
class Rounds:
    _after: tuple[UUID, UUID] = START

    async def watch(self, runtime: Runtime) -> int:
        """One round over all partners; the number of breaches seen."""
        async with runtime.database.as_system() as connection:
            lately = await watchdog.changed_lately(connection, LATELY_SECONDS, LATELY_MAX)
            piece, after = await watchdog.next_places(connection, self._after, PIECE)
        by_partner: defaultdict[UUID, set[UUID]] = defaultdict(set)
        for partner_id, transaction_id in (*lately, *piece):
            by_partner[partner_id].add(transaction_id)
        seen = 0
        for partner_id, transaction_ids in by_partner.items():
            seen += await look_at(runtime, partner_id, sorted(transaction_ids))
        self._after = after or START
        async with runtime.database.as_system() as connection:
            for kind, count in await findings.counts(connection):
                telemetry.breaches.labels(kind).set(count)
        return seen


async def look_at(runtime: Runtime, partner_id: UUID, transaction_ids: list[UUID]) -> int:
    """Check these transactions; the number of breaches. What is whole again is no finding any more."""
    async with runtime.database.as_partner(partner_id) as connection:
        broken = await watchdog.breaches(connection, partner_id, transaction_ids)
    async with runtime.database.as_system() as connection:
        subjects = [ids.encode("txn", one) for one in transaction_ids]
        await findings.settle(connection, SOURCE, subjects, kept=[ids.encode("txn", one) for _, one in broken])
    for kind, transaction_id in broken:
        await _found(runtime, partner_id, kind, transaction_id)
    return len(broken)


async def _found(runtime: Runtime, partner_id: UUID, kind: str, transaction_id: UUID) -> None:
    """The alarm comes before what keeps it from being raised again: it may come twice, but not never."""
    subject = ids.encode("txn", transaction_id)
    async with runtime.database.as_system() as connection:
        known = await findings.is_open(connection, kind, subject)
    if not known:
        await _alarm(runtime, partner_id, kind, transaction_id)
    async with runtime.database.as_system() as connection:
        await findings.report(connection, source=SOURCE, kind=kind, subject=subject, partner_id=partner_id, data={})


async def _alarm(runtime: Runtime, partner_id: UUID, kind: str, transaction_id: UUID) -> None:
    telemetry.log("invariant broken", level=logging.CRITICAL, reason=kind, transaction_id=transaction_id)
    async with runtime.database.as_partner(partner_id) as connection:
        act = audit.Act(
            actor="paygate:watchdog",
            action="invariant.broken",
            resource_type="transaction",
            resource_id=ids.encode("txn", transaction_id),
            partner_id=partner_id,
            changes={"kind": kind},
        )
        await audit.append(connection, act)
    await journal.try_to_flag(runtime, partner_id, transaction_id, {"reason": kind}, actor="paygate:watchdog")
