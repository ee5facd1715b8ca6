"""What a draft would have made of payments that were decided before, and what can be expected of it. Pure.

    recorded decision ─► the draft's, on the same payment and accounts ─► from → to, per segment
    verdicts ─► what each account is believed to approve in the segment ─► what the draft can expect there

It rests on one assumption: within a segment an account does as well with the payments that would come to it as with
its own. A segment is what learning tells apart too: method, currency and card brand.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from gateway.routing import decisions
from gateway.routing.breaker import Standing
from gateway.routing.decisions import UNNAMED, Account
from gateway.routing.learning import Knowledge
from gateway.routing.rules import Adaptive, Payment, RuleSet

ENOUGH = 30
"""Verdicts of one account in a segment; of fewer nothing is foretold."""
_WIDTH = 2.0
"""Standard deviations to either side: about 95 % of what may come. The normal 1.96 holds less, for rates are skewed."""


class Segment(NamedTuple):
    method: str
    currency: str
    brand: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A payment as it was decided. `able`: by priority, as their breakers stood then."""

    payment: Payment
    able: Sequence[Account]
    tried: Account
    approved: bool | None
    """The first account's verdict; None where it gave none."""

    @property
    def segment(self) -> Segment:
        return Segment(self.payment.method, self.payment.currency, self.payment.brand)


@dataclass(frozen=True, slots=True)
class Foretold:
    """What to expect of a like amount of the same traffic: 95 % of what may come lies from `low` to `high`."""

    expected: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Cost:
    observed: Decimal
    foretold: Foretold


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What was, beside what the draft can expect. `foretold` is a share of `judged`; None where too little is known."""

    decisions: int = 0
    moved: int = 0
    judged: int = 0
    approved: int = 0
    foretold: Foretold | None = None
    costs: Mapping[str, Cost] = field(default_factory=dict)
    """By currency, where every account concerned has fees."""


@dataclass(frozen=True, slots=True)
class Move:
    """Payments that the draft would have sent elsewhere."""

    origin: Account
    target: Account
    decisions: int


@dataclass(frozen=True, slots=True)
class TooLittle:
    """An account that the draft wants, and how many verdicts there are of it."""

    account: Account
    verdicts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    segment: Segment
    compared: Compared
    moves: Sequence[Move]
    too_little: Sequence[TooLittle]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`total` is about the segments of which enough is known; the decisions of the others are `left_out`."""

    parts: Sequence[Part]
    total: Compared
    left_out: int


class Backtest:
    """Give it the decisions in the order of their time: an adaptive draft learns from their verdicts as it goes."""

    def __init__(self, draft: RuleSet) -> None:
        self._draft, self._knowledge = draft, Knowledge()
        self._learns = any(isinstance(rule.then, Adaptive) for rule in draft.rules)
        self._accounts: dict[UUID, Account] = {}
        self._segments: defaultdict[Segment, _Segment] = defaultdict(_Segment)

    def add(self, one: Recorded) -> None:
        would = decisions.decide(one.payment, one.able, self._draft, self._knowledge).order[0]
        self._accounts[would.id], self._accounts[one.tried.id] = would, one.tried
        self._segments[one.segment].add(one, would)
        if self._learns and one.approved is not None:
            self._knowledge.learn(one.tried.id, one.payment, approved=one.approved)

    def report(self) -> Report:
        """The largest segments first."""
        ordered = sorted(self._segments.items(), key=_by_size)
        known = [(segment.currency, found) for segment, found in ordered if found.is_known]
        return Report(
            parts=[self._part(segment, found) for segment, found in ordered],
            total=_compared(known),
            left_out=sum(found.decisions for _, found in ordered if not found.is_known),
        )

    def _part(self, segment: Segment, found: _Segment) -> Part:
        named = self._accounts
        return Part(
            segment=segment,
            compared=_compared([(segment.currency, found)]),
            moves=[Move(named[origin], named[target], n) for (origin, target), n in found.moves.most_common()],
            too_little=[TooLittle(named[account_id], n) for account_id, n in found.too_little()],
        )


def able_then(routing: Mapping[str, Any], accounts: Mapping[str, Account]) -> list[Account]:
    """Who could take a payment, by what its first attempt was stamped with; priorities and fees are today's."""
    told = {one["account"]: one for one in routing["candidates"]}
    for one in routing["exclusions"]:
        if one["reason"] == UNNAMED:
            told[one["account"]] = one
        else:
            told.pop(one["account"], None)  # it was chosen, and then could not be opened
    able = [_as_it_stood(accounts[name], one.get("breaker")) for name, one in told.items() if name in accounts]
    return sorted(able, key=lambda account: (account.priority, account.id))


def _by_size(item: tuple[Segment, _Segment]) -> tuple[int, str, str, str]:
    (method, currency, brand), found = item
    return -found.decisions, method, currency, brand or ""


def _as_it_stood(account: Account, breaker: str | None) -> Account:
    return replace(account, standing=Standing(breaker)) if breaker else account


@dataclass(slots=True)
class _Verdicts:
    """An account's own, and what the approved ones cost."""

    approved: int = 0
    declined: int = 0
    fees: Decimal | None = Decimal(0)

    @property
    def count(self) -> int:
        return self.approved + self.declined


@dataclass(slots=True)
class _Sent:
    """Payments with a verdict that the draft sends to an account, and what they would cost there if approved."""

    payments: int = 0
    fees: float | None = 0.0
    squares: float = 0.0


@dataclass(frozen=True, slots=True)
class _Spread:
    """A sum of much that is uncertain: about normal."""

    mean: float = 0.0
    variance: float = 0.0

    def __add__(self, other: _Spread) -> _Spread:
        return _Spread(self.mean + other.mean, self.variance + other.variance)

    def told(self, *, most: float = math.inf, per: float = 1.0) -> Foretold:
        reach = _WIDTH * math.sqrt(self.variance)
        low, high = max(self.mean - reach, 0.0), min(self.mean + reach, most)
        return Foretold(self.mean / per, low / per, high / per)


@dataclass(slots=True)
class _Segment:
    decisions: int = 0
    moves: Counter[tuple[UUID, UUID]] = field(default_factory=Counter)
    verdicts: defaultdict[UUID, _Verdicts] = field(default_factory=lambda: defaultdict(_Verdicts))
    sent: defaultdict[UUID, _Sent] = field(default_factory=lambda: defaultdict(_Sent))

    def add(self, one: Recorded, would: Account) -> None:
        self.decisions += 1
        if would.id != one.tried.id:
            self.moves[one.tried.id, would.id] += 1
        sent = self.sent[would.id]
        if one.approved is None:
            return
        sent.payments += 1
        if would.fees is None or sent.fees is None:
            sent.fees = None
        else:
            fee = float(would.fees.of(one.payment))
            sent.fees, sent.squares = sent.fees + fee, sent.squares + fee**2
        self._judge(one)

    def _judge(self, one: Recorded) -> None:
        own = self.verdicts[one.tried.id]
        if not one.approved:
            own.declined += 1
            return
        own.approved += 1
        fee = one.tried.fees.of(one.payment) if one.tried.fees else None
        own.fees = None if fee is None or own.fees is None else own.fees + fee

    def too_little(self) -> list[tuple[UUID, int]]:
        counts = ((account_id, self.verdicts[account_id].count) for account_id in self.sent)
        return [(account_id, count) for account_id, count in counts if count < ENOUGH]

    @property
    def is_known(self) -> bool:
        return not self.too_little()

    def approvals(self) -> Iterator[_Spread]:
        for target, one in self.sent.items():
            yield _spread(one.payments, one.payments, self.verdicts[target])

    def costs(self) -> tuple[Decimal, _Spread] | None:
        """Observed, and to expect; None where an account has no fees."""
        observed, expected = Decimal(0), _Spread()
        for own in self.verdicts.values():
            if own.fees is None:
                return None
            observed += own.fees
        for target, one in self.sent.items():
            if one.fees is None:
                return None
            expected += _spread(one.fees, one.squares, self.verdicts[target])
        return observed, expected


def _together(spreads: Iterable[_Spread]) -> _Spread:
    return sum(spreads, _Spread())


def _spread(sizes: float, squares: float, own: _Verdicts) -> _Spread:
    """What comes of payments of these sizes (their sum, and the sum of their squares), each approved or not.

    Of the rate we know a Beta distribution (Jeffreys' prior), and each payment adds its own chance.
    """
    alpha, beta = own.approved + 0.5, own.declined + 0.5
    verdicts = alpha + beta
    mean = alpha / verdicts
    uncertain = mean * (1 - mean) / (verdicts + 1)
    return _Spread(sizes * mean, squares * (mean * (1 - mean) - uncertain) + sizes**2 * uncertain)


def _compared(found: Iterable[tuple[str, _Segment]]) -> Compared:
    segments = list(found)
    owns = [own for _, one in segments for own in one.verdicts.values()]
    judged = sum(own.count for own in owns)
    known = bool(segments) and all(one.is_known for _, one in segments)
    approvals = _together(spread for _, one in segments for spread in one.approvals())
    return Compared(
        decisions=sum(one.decisions for _, one in segments),
        moved=sum(one.moves.total() for _, one in segments),
        judged=judged,
        approved=sum(own.approved for own in owns),
        foretold=approvals.told(most=judged, per=judged) if known else None,
        costs=_costs(segments) if known else {},
    )


def _costs(segments: Iterable[tuple[str, _Segment]]) -> dict[str, Cost]:
    found: defaultdict[str, list[tuple[Decimal, _Spread] | None]] = defaultdict(list)
    for currency, segment in segments:
        found[currency].append(segment.costs())
    return {currency: _cost([one for one in costs if one]) for currency, costs in found.items() if None not in costs}


def _cost(costs: Sequence[tuple[Decimal, _Spread]]) -> Cost:
    return Cost(Decimal(sum(observed for observed, _ in costs)), _together(spread for _, spread in costs).told())
