"""How far exports are, in the process that writes them. Lost with it: the file a person waits for is lost then, too."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from uuid import UUID

RUNNING_MAX = 5
"""Exports that a process writes at once: each is work for the database."""
KEPT_SECONDS = 3600.0


@dataclass(slots=True, kw_only=True)
class Progress:
    """`about`: how many rows there will be, where that is known."""

    listing: str
    person_id: UUID
    about: int | None
    rows: int = 0
    ended: bool = False
    complete: bool = False
    """The file holds all that was asked for."""
    touched: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Register:
    _exports: dict[UUID, Progress] = field(default_factory=dict)

    def begin(self, export_id: UUID, progress: Progress) -> bool:
        """False where enough is under way, or this one is already."""
        self._forget()
        busy = sum(not one.ended for one in self._exports.values())
        if busy >= RUNNING_MAX or export_id in self._exports:
            return False
        self._exports[export_id] = progress
        return True

    def of(self, export_id: UUID, person_id: UUID) -> Progress | None:
        """Only to whom it belongs."""
        found = self._exports.get(export_id)
        return found if found is not None and found.person_id == person_id else None

    def _forget(self) -> None:
        now = time.monotonic()
        self._exports = {
            export_id: one
            for export_id, one in self._exports.items()
            if not one.ended or now - one.touched < KEPT_SECONDS
        }
