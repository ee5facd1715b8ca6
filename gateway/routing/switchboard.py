"""What this process routes by, kept fresh for a second, and what it saw, told to the others once a second.

A charge pays for none of it: it reads what is at hand. A process that dies takes a second of observations with it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from async_lru import alru_cache

from db import ids, routing
from db.database import CommitUncertain, Database, Unavailable
from db.provider_accounts import ProviderAccount
from db.records import Scope
from db.routing_records import BreakerOverride, Health, Tally
from gateway import telemetry
from gateway.routing import breaker, learning, rules
from gateway.routing.breaker import Seen, Standing
from gateway.routing.decisions import Account, Candidate, Fees
from gateway.routing.learning import Knowledge
from gateway.routing.rules import RuleSet
from providers import PROVIDERS

FRESH_SECONDS = 1.0
"""How long another process's change of an account, a rule or a breaker may go unseen here."""
TELL_SECONDS = 1.0
TRIAL = timedelta(seconds=10)
"""While one charge tries a half-open account, this process sends it no other."""

_Place = tuple[UUID, str]
"""An account and a payment method."""
_Cell = tuple[UUID, UUID, str, str, str]
"""A partner, and a tally's account, method, currency and brand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """What one partner's charges of one mode are routed by."""

    accounts: Mapping[UUID, ProviderAccount]
    health: Mapping[_Place, Health]
    knowledge: Knowledge
    live: RuleSet | None
    shadow: RuleSet | None


class Switchboard:
    """One per process. `clock` dates what it sees."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self._database = database
        self._seen: defaultdict[_Place, list[int]] = defaultdict(lambda: [0, 0])
        self._verdicts: dict[_Cell, Tally] = {}
        self._trials: dict[_Place, datetime] = {}
        self._telling: asyncio.Task[None] | None = None
        self._at_once = asyncio.Event()
        self.routes = alru_cache(maxsize=10_000, ttl=FRESH_SECONDS)(self._routes)

    def candidates(self, routes: Routes, method: str) -> Iterator[Candidate]:
        """The accounts as they stand at this moment for a payment of this method."""
        at = self.clock()
        for row in routes.accounts.values():
            if row.provider not in PROVIDERS:  # a newer version of this program knows it, and runs beside this one
                continue
            known = routes.health.get((row.id, method))
            yield Candidate(
                account=account_of(row, self._standing(row.id, method, known, at)),
                capabilities=PROVIDERS[row.provider].capabilities,
                enabled=row.enabled,
                switched_off=known is not None and known.override == BreakerOverride.OPEN,
            )

    def sent(self, account: Account, method: str) -> None:
        """A charge goes to this account now; where it is half open, that is its trial."""
        if account.standing is Standing.HALF_OPEN:
            self._trials[account.id, method] = self.clock() + TRIAL

    def saw(self, account_id: UUID, method: str, *, outage: bool) -> None:
        """How one exchange went."""
        self._seen[account_id, method][outage] += 1
        self._tell_soon()

    def judged(self, partner_id: UUID, verdict: Tally) -> None:
        """What became of a first attempt."""
        cell = (partner_id, verdict.account_id, verdict.method, verdict.currency, verdict.brand)
        before = self._verdicts.get(cell)
        if before is not None:
            approved, declined = before.approved + verdict.approved, before.declined + verdict.declined
            verdict = replace(verdict, approved=approved, declined=declined)
        self._verdicts[cell] = verdict
        self._tell_soon()

    def die(self) -> None:
        """As the process would: what was not told yet is forgotten."""
        if self._telling is not None:
            self._telling.cancel()
        self._seen.clear()
        self._verdicts.clear()

    async def aclose(self) -> None:
        """Tell what was not told yet, now. What is being told is not cut off: it would be forgotten."""
        if self._telling is not None:
            self._at_once.set()
            await asyncio.gather(self._telling, return_exceptions=True)
            self._at_once.clear()

    def _standing(self, account_id: UUID, method: str, known: Health | None, at: datetime) -> Standing:
        found = breaker.standing(known, at)
        on_trial = found is Standing.HALF_OPEN and self._trials.get((account_id, method), at) > at
        return Standing.OPEN if on_trial else found

    async def _routes(self, scope: Scope) -> Routes:
        async with self._database.as_partner(scope.partner_id) as connection:
            found = await routing.inputs(connection, livemode=scope.livemode)
        return Routes(
            accounts={row.id: row for row in found.accounts},
            health={(one.account_id, one.method): one for one in found.health},
            knowledge=Knowledge(found.tallies),
            live=rules.read(found.live.document, found.live.version) if found.live else None,
            shadow=rules.read(found.shadow.document, found.shadow.version) if found.shadow else None,
        )

    def _tell_soon(self) -> None:
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell_later())

    async def _tell_later(self) -> None:
        while self._seen or self._verdicts:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TELL_SECONDS):
                    await self._at_once.wait()
            await self._tell()

    async def _tell(self) -> None:
        """Once: what cannot be told now is forgotten, for it was about now."""
        seen, verdicts = dict(self._seen), dict(self._verdicts)
        self._seen.clear()
        self._verdicts.clear()
        with contextlib.suppress(Unavailable, CommitUncertain):
            for place, (answers, outages) in sorted(seen.items()):
                await self._tell_health(place, Seen(answers, outages))
            for cell in sorted(verdicts):
                await self._tell_verdicts(cell[0], verdicts[cell])

    async def _tell_health(self, place: _Place, seen: Seen) -> None:
        account_id, method = place
        at = self.clock()
        async with self._database.as_system() as connection:
            known = await routing.lock_health(connection, account_id, method)
            before = known or Health(account_id=account_id, method=method, as_of=at)
            after = breaker.step(before, seen, at)
            await routing.save_health(connection, after)
        standing = breaker.standing(after, at)
        if standing is not breaker.standing(before, at):
            telemetry.log("breaker moved", account_id=account_id, method=method, state=standing.value)

    async def _tell_verdicts(self, partner_id: UUID, verdicts: Tally) -> None:
        async with self._database.as_partner(partner_id) as connection:
            await routing.add_tally(connection, partner_id, verdicts, half_life_seconds=learning.HALF_LIFE_SECONDS)


def account_of(row: ProviderAccount, standing: Standing = Standing.CLOSED) -> Account:
    """An account as decisions see it."""
    name = ids.encode("pac", row.id)
    return Account(
        id=row.id, name=name, provider=row.provider, priority=row.priority, fees=_fees(row), standing=standing
    )


def _fees(row: ProviderAccount) -> Fees | None:
    if row.fees is None:
        return None
    fixed = {currency: Decimal(amount) for currency, amount in row.fees.get("fixed", {}).items()}
    return Fees(percent=Decimal(row.fees.get("percent", "0")), fixed=fixed)
