"""What the console works with: three narrow database roles, and the use cases' runtime."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from db.database import Database, Role
from gateway import runtime
from gateway.api.rate_limit import LocalLimiter
from gateway.config import Settings
from gateway.console.progress import Register
from gateway.console.verifying import Verifying
from gateway.partners import Desk
from gateway.runtime import Runtime

POOL_MAX = 8
"""Connections of each pool: people click more slowly than programs call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    reading: Database
    """As `Role.CONSOLE`: everything is read, and sessions, approvals and notes are written, as this."""
    acting: Runtime
    """As `Role.WORKER`: what changes payments goes through the use cases under this."""
    operating: Database
    """As `Role.OPERATOR`: partners, keys, accounts, findings, and notifications that are put back."""
    failures: LocalLimiter = field(default_factory=LocalLimiter)
    """Of signing in, by client address."""
    exports: Register = field(default_factory=Register)
    """Files that this process writes."""
    verifying: Verifying = field(default_factory=Verifying)

    @property
    def settings(self) -> Settings:
        return self.acting.settings

    def operator(self, actor: str) -> Desk:
        """The operators' use cases, in this person's name."""
        return Desk(self.operating, self.acting.vault, actor)


@asynccontextmanager
async def opened(acting: Runtime) -> AsyncIterator[Console]:
    """Around a runtime that was opened as `Role.WORKER`. Raises `db.database.Unavailable`."""
    url = acting.settings.database_url
    reading = await Database.open(url, Role.CONSOLE, pool_max=POOL_MAX)
    try:
        operating = await Database.open(url, Role.OPERATOR, pool_max=POOL_MAX)
        try:
            yield Console(reading=reading, acting=acting, operating=operating)
        finally:
            await operating.close()
    finally:
        await reading.close()


@asynccontextmanager
async def alone(settings: Settings) -> AsyncIterator[Console]:
    """A console in a process of its own."""
    async with runtime.opened(settings, Role.WORKER) as acting, opened(acting) as console:
        yield console
