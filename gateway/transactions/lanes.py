"""One lane per account at a PSP, so that one that is silent holds up nobody else's work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from uuid import UUID

from gateway import telemetry
from gateway.runtime import Runtime


@dataclass(slots=True)
class Lanes:
    """Of one worker's loop. What is under way at an account is to end before more is begun there."""

    _under_way: dict[UUID, asyncio.Task[None]] = field(default_factory=dict)

    def busy(self) -> list[UUID]:
        """The accounts to leave alone this round."""
        self._under_way = {account: lane for account, lane in self._under_way.items() if not lane.done()}
        return list(self._under_way)

    def begin(self, runtime: Runtime, account_id: UUID, work: Coroutine[None, None, None]) -> None:
        lane = runtime.begin(work)
        lane.add_done_callback(_ended)  # at once: when the worker stops, nobody looks at a lane again
        self._under_way[account_id] = lane

    async def finish(self) -> None:
        """Until every lane is empty. Raises what ended one early."""
        await asyncio.gather(*self._under_way.values())


def _ended(lane: asyncio.Task[None]) -> None:
    if not lane.cancelled() and (error := lane.exception()) is not None:
        telemetry.log("lane ended early", level=logging.WARNING, error=error)
