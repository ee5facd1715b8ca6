"""What approvals and declines teach about accounts: a Beta–Bernoulli bandit with forgetting. Pure.

    account, method ─► account, method, currency ─► account, method, currency, brand

Each finer level starts from what the coarser one says, so that little data shrinks towards more. An account of which
nothing is known starts from the average of the others with a wide spread: that is how it comes to be tried.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from uuid import UUID

from db.routing_records import Tally
from gateway.routing.rules import Payment

HALF_LIFE_SECONDS = 72 * 3_600.0
"""Accounts change with their issuers and contracts: what is a week old counts a fifth."""
ENOUGH = 30.0
"""Verdicts in the payment's method and currency, at all targets together; before that nothing was learned."""
PRIOR = 2.0
"""How many verdicts the average of all targets is worth at an account of its own."""
INHERITED_MAX = 10.0
"""How many verdicts of a coarser level a finer one takes over at most."""


@dataclass(slots=True)
class _Counts:
    """Decayed to `as_of`, in seconds since the epoch."""

    approved: float
    declined: float
    as_of: float


@dataclass(frozen=True, slots=True)
class Belief:
    """A Beta distribution over an account's approval rate, and the verdicts in the method and currency behind it."""

    alpha: float
    beta: float
    observed: float

    @property
    def mean(self) -> float:
        return self.alpha / (self.alpha + self.beta)


_Key = tuple[UUID | str, ...]


class Knowledge:
    """All that was learned, at every level."""

    def __init__(self, tallies: Iterable[Tally] = ()) -> None:
        self._counts: dict[_Key, _Counts] = {}
        for tally in tallies:
            at = tally.as_of.timestamp()
            for key in _levels(tally.account_id, tally.method, tally.currency, tally.brand):
                self._add(key, tally.approved, tally.declined, at)

    def learn(self, account_id: UUID, payment: Payment, *, approved: bool) -> None:
        at = payment.at.timestamp()
        for key in _levels(account_id, payment.method, payment.currency, payment.brand):
            self._add(key, float(approved), float(not approved), at)

    def beliefs(self, payment: Payment, account_ids: Sequence[UUID]) -> list[Belief]:
        """In the order of `account_ids`."""
        at = payment.at.timestamp()
        whole = [self._decayed((one, payment.method), at) for one in account_ids]
        approved, verdicts = sum(a for a, _ in whole), sum(a + d for a, d in whole)
        average = (approved + 1) / (verdicts + 2)
        return [self._belief(one, payment, average, at) for one in account_ids]

    def _belief(self, account_id: UUID, payment: Payment, average: float, at: float) -> Belief:
        levels = _levels(account_id, payment.method, payment.currency, payment.brand)
        counts = [self._decayed(key, at) for key in levels]
        alpha, beta = average * PRIOR, (1 - average) * PRIOR
        for approved, declined in counts:
            inherited = min(1.0, INHERITED_MAX / (alpha + beta))
            alpha, beta = alpha * inherited + approved, beta * inherited + declined
        return Belief(alpha, beta, observed=sum(counts[1]))

    def _add(self, key: _Key, approved: float, declined: float, at: float) -> None:
        known = self._counts.get(key)
        if known is None:
            self._counts[key] = _Counts(approved, declined, at)
            return
        later = max(at, known.as_of)
        kept, share = _kept(known.as_of, later), _kept(at, later)
        known.approved = known.approved * kept + approved * share
        known.declined = known.declined * kept + declined * share
        known.as_of = later

    def _decayed(self, key: _Key, at: float) -> tuple[float, float]:
        known = self._counts.get(key)
        if known is None:
            return 0.0, 0.0
        kept = _kept(known.as_of, at)
        return known.approved * kept, known.declined * kept


def is_enough(beliefs: Iterable[Belief]) -> bool:
    return sum(belief.observed for belief in beliefs) >= ENOUGH


def draws(payment: Payment, beliefs: Iterable[Belief]) -> list[float]:
    """An approval rate drawn from each belief (Thompson sampling); always the same for the same payment."""
    chance = Random(payment.id.int)  # noqa: S311 - exploration, no secret
    return [chance.betavariate(belief.alpha, belief.beta) for belief in beliefs]


def _kept(since: float, at: float) -> float:
    """The share of what was counted at `since` that counts at `at`."""
    return math.exp2(min(since - at, 0.0) / HALF_LIFE_SECONDS)


def _levels(account_id: UUID, method: str, currency: str, brand: str | None) -> Iterator[_Key]:
    yield account_id, method
    yield account_id, method, currency
    if brand:
        yield account_id, method, currency, brand
