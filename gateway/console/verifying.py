"""Holding history against its seals because somebody asked: one at a time in a process, and how the last ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from db.audit_seals import TABLES
from db.database import Database
from gateway import sealing
from gateway.sealing import Report


@dataclass(slots=True)
class Verifying:
    """`reports`: of the last that came to its end."""

    running_since: datetime | None = None
    finished_at: datetime | None = None
    reports: Sequence[Report] = ()

    def begin(self, at: datetime) -> bool:
        """False where one is under way."""
        if self.running_since is not None:
            return False
        self.running_since = at
        return True

    async def run(self, database: Database) -> Sequence[Report]:
        """As an operator, piece by piece: a long history takes minutes."""
        try:
            self.reports = [await sealing.verify(database, table) for table in TABLES]
        finally:
            self.running_since = None
        return self.reports
