"""Recorded decisions, read again: what a draft would have made of them, and how a shadow did.

Pages are short reads of their own, and whoever else has work for this process gets a turn every few milliseconds.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from db import ids, routing_history
from db.database import Database
from db.provider_accounts import ProviderAccount
from db.records import AttemptState, Scope
from db.routing_history import Decided
from gateway.routing import backtest
from gateway.routing.backtest import Backtest, Recorded, Report, Segment
from gateway.routing.decisions import Account
from gateway.routing.rules import Payment, RuleSet
from gateway.routing.switchboard import account_of

DECISIONS_MAX = 100_000
"""Of one window, the oldest."""
PAGE = 500
TURN = 50
"""Decisions from one turn of the others to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Decisions of one partner and mode from `since` until before `until`."""

    scope: Scope
    since: datetime
    until: datetime


@dataclass(slots=True)
class Reading:
    """How far it came: `complete` once the window was read to its end."""

    decisions: int = 0
    complete: bool = False


async def backtested(
    database: Database, window: Window, draft: RuleSet, accounts: Mapping[UUID, ProviderAccount]
) -> tuple[Report, Reading]:
    """`accounts`: all that the partner may use, as they are configured now."""
    test, reading = Backtest(draft), Reading()
    known = {account_id: account_of(row) for account_id, row in accounts.items()}
    by_name = {account.name: account for account in known.values()}
    async for one in _decided(database, window, reading):
        test.add(_recorded(one, known, by_name))
    return test.report(), reading


async def shadowed(database: Database, window: Window, version: int) -> tuple[Counter[tuple[Segment, bool]], Reading]:
    """Decisions beside which this version stood as the shadow, by whether it agreed."""
    counts: Counter[tuple[Segment, bool]] = Counter()
    reading = Reading()
    async for one in _decided(database, window, reading):
        shadow = one.routing.get("shadow", {})
        if shadow.get("version") == version:
            payment = _payment(one)
            counts[Segment(payment.method, payment.currency, payment.brand), shadow["agrees"]] += 1
    return counts, reading


async def _decided(database: Database, window: Window, reading: Reading) -> AsyncIterator[Decided]:
    after, before, read = ids.earliest(window.since), ids.earliest(window.until), 0
    while read < DECISIONS_MAX and not reading.complete:
        async with database.as_partner(window.scope.partner_id) as connection:
            page = await routing_history.page(connection, window.scope, after=after, before=before, limit=PAGE)
        for one in page:
            if read % TURN == 0:
                await asyncio.sleep(0)
            read += 1
            if "way" in one.routing:
                reading.decisions += 1
                yield one
        reading.complete = len(page) < PAGE
        after = page[-1].id if page else after


def _recorded(one: Decided, accounts: Mapping[UUID, Account], by_name: Mapping[str, Account]) -> Recorded:
    return Recorded(
        payment=_payment(one),
        able=backtest.able_then(one.routing, by_name),
        tried=accounts[one.account_id],
        approved=_VERDICTS.get(one.state),
    )


def _payment(one: Decided) -> Payment:
    """As the decision saw it, but for its tokens: they had their say in which accounts were able."""
    return Payment(
        id=one.id,
        amount=one.amount,
        currency=one.currency,
        method=one.payment_method,
        metadata=one.metadata,
        at=one.created_at,
        **one.routing.get("payment", {}),
    )


_VERDICTS = {AttemptState.SUCCEEDED: True, AttemptState.DECLINED: False}
