"""Operators' use cases for what asks for a person: findings, and notifications that nobody could apply.

Run under `Role.OPERATOR`. What needs a person about one payment: `gateway.transactions.reviews`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

from db import audit, findings, ids, inbox
from db.database import Connection, Database
from db.findings import Finding
from db.inbox import Notification
from gateway.partners import NotFound, Refused
from gateway.people import Whence, line

LIST_MAX = 1_000
REASON_MAX = 1_000
FindingAct = Callable[[Connection, UUID], Awaitable[Finding | None]]


@dataclass(frozen=True, slots=True)
class Attention:
    """Who gives it. Each act leaves its line in the audit log."""

    database: Database
    actor: str
    whence: Whence = field(default_factory=Whence)

    # ── Findings ────────────────────────────────────────────────────────────────────────────────────────────────

    async def open_findings(self) -> list[Finding]:
        async with self.database.as_system() as connection:
            return await findings.open_ones(connection, LIST_MAX)

    async def close_finding(self, finding_id: UUID, *, because: str) -> Finding:
        """It has been seen to. What is still at fault is found again. Raises `NotFound`, `Refused`."""
        return await self._answer(findings.close, "finding.closed", finding_id, because)

    async def lift_finding(self, finding_id: UUID, *, because: str) -> Finding:
        """It stands, and the partner's refunds go on. Once it is closed, the next one stops them anew."""
        return await self._answer(findings.lift, "finding.lifted", finding_id, because)

    async def accept_finding(self, finding_id: UUID, *, because: str) -> Finding:
        """Of rows that are not as they were sealed: they stay so. Found anew once they are otherwise."""
        return await self._answer(findings.accept, "finding.accepted", finding_id, because)

    async def _answer(self, act: FindingAct, action: str, finding_id: UUID, because: str) -> Finding:
        because = because.strip()
        if not 0 < len(because) <= REASON_MAX:
            raise Refused(f"say why, in 1 to {REASON_MAX} characters")
        async with self.database.as_system() as connection:
            answered = await act(connection, finding_id)
            if answered is None:
                raise NotFound("no such finding is open, or it cannot be answered so")
            told = {"kind": answered.kind, "subject": answered.subject, "because": because}
            if answered.accepted_at is not None:
                told["fingerprint"] = answered.data["fingerprint"]
            named = ids.encode("fnd", finding_id)
            written = line(action, self.actor, named, self.whence, changes=told, partner_id=answered.partner_id)
            await audit.append(connection, written)
        return answered

    # ── Notifications of PSPs ───────────────────────────────────────────────────────────────────────────────────

    async def parked_notifications(self) -> list[Notification]:
        async with self.database.as_system() as connection:
            return await inbox.parked(connection, LIST_MAX)

    async def retry_notification(self, notification_id: UUID) -> Notification:
        """Back to the worker, which applies it as ever; once, as its time is over. Raises `NotFound`.

        One that is not parked stays as it is.
        """
        async with self.database.as_system() as connection:
            retried = await inbox.put_back(connection, notification_id)
            found = await inbox.find(connection, notification_id)
            if found is None:
                raise NotFound(f"there is no notification {notification_id}")
            if retried:
                told = {"provider": found.provider}
                named = str(found.id)
                written = line(
                    "notification.retried", self.actor, named, self.whence, changes=told, partner_id=found.partner_id
                )
                await audit.append(connection, written)
        return found
