"""A simulated market: payments one after the other, accounts that approve at planted rates, and rules that choose.

Nothing here but the market is ours to make up: the decisions and what they learn are the gateway's own. The same seed
gives the same payments and the same luck under every rule, so that what differs is the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

from db import ids
from gateway.routing import decisions, rules
from gateway.routing.decisions import Account, Fees
from gateway.routing.learning import Knowledge
from gateway.routing.rules import Payment, RuleSet

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)

ADAPTIVE = rules.read([{"name": "learn", "then": {"adaptive": []}}])
PRIORITY = RuleSet(version=None, rules=())


def an_account(number: int, provider: str, fees: Fees | None = None) -> Account:
    account_id = UUID(int=number)
    return Account(id=account_id, name=ids.encode("pac", account_id), provider=provider, priority=number, fees=fees)


Rates = Callable[[Payment], Sequence[float]]
"""The share that each account approves of payments like this one, in the order of the accounts."""


def always(*rates: float) -> Rates:
    return lambda _payment: rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """`segments`: what payments differ by, and how often each comes."""

    accounts: Sequence[Account]
    rates: Rates
    every: timedelta = timedelta(minutes=1)
    segments: Sequence[tuple[Mapping[str, Any], int]] = field(default_factory=lambda: [({}, 1)])

    def payments(self, seed: int, count: int, *, since: datetime = BEGIN) -> Iterator[tuple[Payment, float]]:
        """Each with its luck: an account approves it where its rate is above."""
        chance = Random(seed)
        kinds, weights = zip(*self.segments, strict=True)
        for number in range(count):
            (kind,) = chance.choices(kinds, weights)
            given = {"amount": Decimal(chance.randint(500, 15_000)) / 100, "currency": "EUR", "method": "card"} | kind
            at = since + number * self.every
            yield Payment(id=UUID(int=chance.getrandbits(128)), at=at, **given), chance.random()


@dataclass(frozen=True, slots=True)
class Charged:
    payment: Payment
    account: Account
    approved: bool
    rates: Sequence[float]
    """What each account's chance was."""
    chosen: int

    @property
    def regret(self) -> float:
        """Approvals given away, in expectation, against the best account."""
        return max(self.rates) - self.rates[self.chosen]


def charged(
    market: Market, rule_set: RuleSet, seed: int, count: int, *, since: datetime = BEGIN, known: Knowledge | None = None
) -> Iterator[Charged]:
    """What the rules make of this traffic, learning on the way."""
    knowledge = Knowledge() if known is None else known
    places = {account.id: number for number, account in enumerate(market.accounts)}
    for payment, luck in market.payments(seed, count, since=since):
        account = decisions.decide(payment, market.accounts, rule_set, knowledge).order[0]
        rates, chosen = market.rates(payment), places[account.id]
        approved = luck < rates[chosen]
        knowledge.learn(account.id, payment, approved=approved)
        yield Charged(payment, account, approved, rates, chosen)
