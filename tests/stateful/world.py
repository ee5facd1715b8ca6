"""The house as the state machine drives it: no worker runs, no notification comes and no time passes by itself."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from gateway import telemetry
from gateway.app import create_app
from gateway.transactions import followups, provider_events, recovery
from tests.acceptance.steps import refused, until
from tests.house import House, Json, Partner

T = TypeVar("T")

PROVIDERS = ("adyen", "paypal", "stripe")
PATIENCE = timedelta(hours=1)
"""No PSP holds a call for longer than this."""
HELD_SECONDS = 300
DRAIN = (*(timedelta(seconds=40),) * 3, timedelta(minutes=10), timedelta(hours=5), *(timedelta(days=1),) * 8)
"""Enough for every check there is, short of the week for which Adyen remembers a key."""

TIME_PASSES = (
    """UPDATE attempts SET lease_until = lease_until - $1::interval, next_check_at = next_check_at - $1::interval,
       resend_until = resend_until - $1::interval WHERE finished_at IS NULL""",
    "UPDATE provider_events SET next_try_at = next_try_at - $1::interval WHERE state = 'received'",
)
RECEIVED_NOW = "ALTER TABLE provider_events ALTER received_at SET DEFAULT now()"
"""What the database dates, and the gateway compares with its own clock."""
CUSTOMERS_STAY_AWAY = (
    "UPDATE attempts SET created_at = now() - interval '2 days' WHERE operation = 'charge' AND state = 'waiting'"
)
UNSETTLED = """
    SELECT t.reference, t.status::text, a.operation::text, a.state::text, a.provider FROM attempts a
    JOIN transactions t ON t.partner_id = a.partner_id AND t.id = a.transaction_id
    WHERE a.finished_at IS NULL AND NOT t.needs_review AND t.status <> 'requires_action'"""
UNAPPLIED = "SELECT provider, state::text, reason FROM provider_events WHERE state IN ('received', 'parked')"


@dataclass(slots=True)
class Clock:
    """Everybody's but the database's own, from whose point of view it is what it compares with that moves."""

    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass(slots=True)
class World:
    house: House
    clock: Clock
    partners: list[Partner]
    log: io.StringIO
    armed: set[str] = field(default_factory=set)
    """PSPs that were told to misbehave; `holding`: that hold a call whose caller has died."""
    holding: set[str] = field(default_factory=set)

    @classmethod
    @asynccontextmanager
    async def opened(cls, database: AbstractAsyncContextManager[str]) -> AsyncIterator[World]:
        clock, log = Clock(), io.StringIO()
        telemetry._sink.stream = log
        async with database as url, House.opened(url, working=False, clock=clock.now) as house:
            for provider in PROVIDERS:
                await house.silence(provider)
            partners = [await house.partner() for _ in range(2)]
            for partner in partners:
                await house.subscribed(partner)
            yield cls(house, clock, partners, log)
            for provider in PROVIDERS:
                await house.calm(provider)
        telemetry._sink.stream = None

    async def oracles(self, providers: set[str]) -> dict[str, Json]:
        return {provider: await self.house.oracle(provider) for provider in providers}

    # --- What a partner sees ---

    async def list(self, owner: int, path: str) -> list[Json]:
        page = (await self.partners[owner].get(path, limit=100)).json()
        assert not page["has_more"], "too many for one page: let fewer steps make payments"
        rows: list[Json] = page["data"]
        return rows

    async def change_key(self, owner: int) -> None:
        """A new key for the partner, and the old one revoked."""
        old = self.partners[owner]
        prefix = old.api_key.removeprefix("sk_test_")[:8]
        (key,) = [key for key in await self.house.desk.list_keys(old.id) if key.prefix == prefix]
        self.partners[owner] = await self.house.key_of(old.id)
        await self.house.desk.revoke_key(key.id)
        self.house.app = create_app(self.house.runtime)  # another process: this one read the old key a moment ago
        refused(await old.charge(reference="revoked"), 401, "unauthenticated")

    # --- What customers and PSPs do ---

    async def act(self, url: str, action: str, *, back: bool) -> None:
        """A customer decides on the PSP's page, and comes back to ours or closes the window."""
        left = await self.house.http.post(url, data={"action": action})
        assert left.status_code in {303, 404, 409}, left.text
        if back and left.status_code == 303:
            returned = await self.house.http.get(left.headers["location"])
            assert returned.status_code == 303, returned.text

    async def notify(self, provider: str, index: int) -> bool:
        """Whether there was one to bring; counted from the newest, round and round."""
        remembered = self.house.notifiers[provider].remembered
        if not remembered:
            return False
        notification = remembered[-1 - index % len(remembered)]
        made = notification.headers
        headers = made(self.clock.now().timestamp()) if callable(made) else made
        answer = await self.house.notify(notification.body, headers, provider)
        assert (answer.status_code, answer.text) == (200, "[accepted]")
        return True

    async def fail(self, provider: str, **fault: Any) -> None:
        self.armed.add(provider)
        await self.house.fault(provider=provider, **fault)

    async def recover(self, provider: str) -> None:
        """It does as it should again, and goes on with the calls that it held."""
        self.armed.discard(provider)
        self.holding.discard(provider)
        await self.house.calm(provider)

    # --- What befalls the gateway ---

    async def cut_short(self, provider: str, operation: str, when: str, work: Awaitable[T]) -> T | None:
        """Kill API and worker while the PSP holds the call. What `work` gave, where it did not come to a call."""
        await self.recover(provider)
        await self.house.fault(when, provider=provider, operation=operation, seconds=HELD_SECONDS)
        before, task = await self._calls(provider, operation), asyncio.ensure_future(work)

        async def called() -> bool:
            return task.done() or await self._calls(provider, operation) > before

        await until(called, bool)
        if task.done():
            await self.recover(provider)
            return task.result()
        await self.house.crash()
        self.holding.add(provider)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return None

    async def _calls(self, provider: str, operation: str) -> int:
        accounts = (await self.house.oracle(provider))["gateway_references"].values()
        return sum(account["calls"].get(operation, 0) for account in accounts)

    async def pass_time(self, passed: timedelta) -> None:
        if passed >= PATIENCE:
            for provider in tuple(self.holding):
                await self.recover(provider)
        self.clock.ahead += passed
        await self.house.owner.execute(f"{RECEIVED_NOW} + interval '{self.clock.ahead.total_seconds()} s'")
        for update in TIME_PASSES:
            await self.house.owner.execute(update, passed)

    async def give_up_on_customers(self) -> None:
        await self.house.owner.execute(CUSTOMERS_STAY_AWAY)
        await followups.expire_due(self.house.background)

    async def find_out(self) -> None:
        await recovery.resolve_due(self.house.background)

    async def apply_notifications(self) -> None:
        await provider_events.apply_due(self.house.background)

    async def drain(self) -> None:
        """The faults stop, every notification comes and time goes on: nothing stays open but what is for a person."""
        for provider in PROVIDERS:
            await self.recover(provider)
        for passed in DRAIN:
            if passed < PATIENCE:
                for provider in PROVIDERS:
                    for index in range(len(self.house.notifiers[provider].remembered)):
                        await self.notify(provider, -1 - index)
            await self.apply_notifications()
            await self.pass_time(passed)
            await self.find_out()
        assert not (left := await self.house.owner.fetch(UNSETTLED)), left
        assert not (left := await self.house.owner.fetch(UNAPPLIED)), left
