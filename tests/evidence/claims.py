"""What is claimed of learning and of the backtest, as figures of simulated markets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import mean

from gateway.routing import rules
from gateway.routing.backtest import Backtest, Recorded, Report
from gateway.routing.rules import RuleSet
from tests.evidence.market import ADAPTIVE, BEGIN, PRIORITY, Market, always, an_account, charged

STRIPE, ADYEN = an_account(1, "stripe"), an_account(2, "adyen")
BLOCK = 1_000
"""Payments that are looked at together."""
HALF = BEGIN + timedelta(minutes=6_000)

MARKETS = {
    "the second is better, 0.80 and 0.90": Market(accounts=(STRIPE, ADYEN), rates=always(0.80, 0.90)),
    "the second is a little better, 0.88 and 0.90": Market(accounts=(STRIPE, ADYEN), rates=always(0.88, 0.90)),
    "the first is better, 0.92 and 0.85": Market(accounts=(STRIPE, ADYEN), rates=always(0.92, 0.85)),
    "each is better at one brand, 0.92 and 0.80": Market(
        accounts=(STRIPE, ADYEN),
        rates=lambda payment: (0.92, 0.80) if payment.brand == "visa" else (0.80, 0.92),
        segments=(({"brand": "visa"}, 3), ({"brand": "amex"}, 1)),
    ),
    "the first falls from 0.92 to 0.70 halfway, beside 0.88": Market(
        accounts=(STRIPE, ADYEN), rates=lambda payment: (0.92, 0.88) if payment.at < HALF else (0.70, 0.88)
    ),
    "the loser, 0.50 beside 0.92, rises to 0.97 halfway": Market(
        accounts=(STRIPE, ADYEN), rates=lambda payment: (0.92, 0.50) if payment.at < HALF else (0.92, 0.97)
    ),
    "little traffic: 0.80 and 0.90, one payment in 2 hours": Market(
        accounts=(STRIPE, ADYEN), rates=always(0.80, 0.90), every=timedelta(hours=2)
    ),
}


@dataclass(frozen=True, slots=True)
class Learned:
    """`best`: the share of each block that went to the better account. Regret: approvals given away by then."""

    best: Sequence[float]
    regret: Sequence[float]
    priority_regret: float


def learned(market: Market, seed: int, payments: int) -> Learned:
    run = list(charged(market, ADAPTIVE, seed, payments))
    blocks = [run[start : start + BLOCK] for start in range(0, payments, BLOCK)]
    regrets = [sum(one.regret for one in block) for block in blocks]
    return Learned(
        best=[mean(one.regret == 0 for one in block) for block in blocks],
        regret=[sum(regrets[: number + 1]) for number in range(len(blocks))],
        priority_regret=sum(one.regret for one in charged(market, PRIORITY, seed, payments)),
    )


FORETOLD = Market(
    accounts=(STRIPE, ADYEN),
    rates=lambda payment: (0.85, 0.93) if payment.brand == "visa" else (0.78, 0.70),
    segments=(({"brand": "visa"}, 3), ({"brand": "amex"}, 1)),
)
"""Where the backtest is held against what comes: past and future are the same market with other luck."""
PAST = rules.read([{"name": "past", "then": {"split": {"stripe": 4, "adyen": 1}}}])
DRAFTS = {
    "all to the other": rules.read([{"name": "draft", "then": {"priority": ["adyen"]}}]),
    "half and half": rules.read([{"name": "draft", "then": {"split": {"stripe": 1, "adyen": 1}}}]),
    "by brand": rules.read(
        [
            {"name": "amex", "when": {"card_brand": ["amex"]}, "then": {"priority": ["stripe"]}},
            {"name": "rest", "then": {"priority": ["adyen"]}},
        ]
    ),
}


@dataclass(frozen=True, slots=True)
class Held:
    """The total that was foretold of a draft, and what then came."""

    low: float
    expected: float
    high: float
    came: float

    @property
    def inside(self) -> bool:
        return self.low <= self.came <= self.high


def held(draft: RuleSet, seed: int, payments: int) -> Held:
    """Of the segments of which enough is known."""
    report = backtested(draft, seed, payments)
    known = {part.segment.brand for part in report.parts if part.compared.foretold is not None}
    foretold = report.total.foretold
    assert foretold is not None
    future = charged(FORETOLD, draft, 1_000_000 + seed, payments)  # other ids and other luck
    came = mean(one.approved for one in future if one.payment.brand in known)
    return Held(foretold.low, foretold.expected, foretold.high, came)


def backtested(draft: RuleSet, seed: int, payments: int) -> Report:
    test = Backtest(draft)
    for one in charged(FORETOLD, PAST, seed, payments):
        test.add(Recorded(payment=one.payment, able=FORETOLD.accounts, tried=one.account, approved=one.approved))
    return test.report()
