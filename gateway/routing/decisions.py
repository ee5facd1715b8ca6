"""Which accounts a charge should try, in which order, and why. Pure: live, shadow and backtest call the same `decide`.

candidates ─► eligible (and the others' reasons) ─► the first rule that holds ─► its order ─► what is out goes last
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, assert_never
from uuid import UUID

from gateway.routing import learning
from gateway.routing.breaker import Standing
from gateway.routing.learning import Knowledge
from gateway.routing.rules import Adaptive, Payment, Priority, RuleSet, Split
from providers.contract import Capabilities, Declined, NotSent, Outcome, Rejected

ATTEMPTS_MAX = 3
"""Accounts that one charge tries at most: more would keep the customer waiting for what is hardly different."""
UNNAMED = "is not named by the rule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fees:
    """What a PSP keeps of an approved charge: a percentage, and an amount in the payment's currency (major units)."""

    percent: Decimal = Decimal(0)
    fixed: dict[str, Decimal] = field(default_factory=dict)

    def of(self, payment: Payment) -> Decimal:
        return payment.amount * self.percent / 100 + self.fixed.get(payment.currency, Decimal(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account that a charge could go to. Lower `priority` goes first."""

    id: UUID
    name: str
    """As partners know it: `pac_…`."""
    provider: str
    priority: int = 0
    fees: Fees | None = None
    standing: Standing = Standing.CLOSED

    def answers_to(self, target: str) -> bool:
        return target in (self.provider, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An account of the right mode, with what decides whether it can take a charge at all."""

    account: Account
    capabilities: Capabilities
    enabled: bool = True
    switched_off: bool = False
    """An operator holds the account's breaker open."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    account: Account
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """`expected`: the share of the amount that arrives, by the approval rate that was drawn and the account's fees."""

    expected: float
    approval_rate: float
    observed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Accounts to try, best first. `rule` is None where the accounts' own priority decided."""

    order: tuple[Account, ...]
    way: str
    because: str
    rule: str | None = None
    version: int | None = None
    passed_over: tuple[str, ...] = ()
    """Rules that held, but named no account that can take the payment."""
    unnamed: tuple[Account, ...] = ()
    """Accounts that could take it, which the rule left aside."""
    facts: dict[str, str] = field(default_factory=dict)
    """What rules can ask about the payment and its transaction does not keep."""
    scores: dict[UUID, Score] = field(default_factory=dict)


class NoEligibleProvider(Exception):
    """No account can take this charge; each says why. Nothing was stored or sent."""

    def __init__(self, exclusions: tuple[Exclusion, ...]) -> None:
        super().__init__("no provider account can take this charge")
        self.exclusions = exclusions


def eligible(payment: Payment, candidates: Iterable[Candidate]) -> tuple[list[Account], list[Exclusion]]:
    """By priority, then by age; and of the others, why not. A token is valid at one PSP only, so it decides too."""
    able: list[Account] = []
    excluded: list[Exclusion] = []
    for candidate in sorted(candidates, key=lambda one: (one.account.priority, one.account.id)):
        reason = _why_not(payment, candidate)
        if reason is None:
            able.append(candidate.account)
        else:
            excluded.append(Exclusion(candidate.account, reason))
    return able, excluded


def decide(payment: Payment, accounts: Sequence[Account], rules: RuleSet | None, knowledge: Knowledge) -> Decision:
    """The order in which `accounts` (by priority, all of them able) should be tried."""
    version, passed_over = rules.version if rules else None, list[str]()
    for rule in rules.rules if rules else ():
        if not rule.holds(payment):
            continue
        found = _ordered(payment, accounts, rule.then, knowledge)
        if found.order:
            return Decision(
                order=_what_is_out_last(found.order),
                way=found.way,
                because=found.because,
                rule=rule.name,
                version=version,
                passed_over=tuple(passed_over),
                unnamed=_others(accounts, found.order),
                facts=_facts(payment),
                scores=found.scores,
            )
        passed_over.append(rule.name)
    return Decision(
        order=_what_is_out_last(tuple(accounts)),
        way="priority",
        because="no rule holds: the accounts' own priority decides" if rules else "the accounts' own priority decides",
        version=version,
        passed_over=tuple(passed_over),
        facts=_facts(payment),
    )


def may_fail_over(outcome: Outcome) -> bool:
    """Whether it is certain that no money moved and none will, and another account may say otherwise."""
    match outcome:
        case NotSent():
            return True
        case Declined() | Rejected():
            return outcome.may_fail_over
        case _:
            return False


def explained(decision: Decision, exclusions: Iterable[Exclusion]) -> dict[str, Any]:
    """What is stamped on the attempt, so that the decision can be told, and judged, later."""
    left = (*exclusions, *(Exclusion(account, UNNAMED) for account in decision.unnamed))
    told: dict[str, Any] = {
        "rule": decision.rule,
        "version": decision.version,
        "way": decision.way,
        "because": decision.because,
        "candidates": [_candidate(account, decision.scores.get(account.id)) for account in decision.order],
        "exclusions": [
            {"account": one.account.name, "provider": one.account.provider, "reason": one.reason} for one in left
        ],
    }
    told |= {"passed_over": list(decision.passed_over)} if decision.passed_over else {}
    return told | ({"payment": decision.facts} if decision.facts else {})


def compared(other: Decision, decision: Decision) -> dict[str, Any]:
    """What a draft would have done, beside what was done."""
    would = other.order[0].name if other.order else None
    agrees = bool(decision.order) and decision.order[0].name == would
    return {"rule": other.rule, "version": other.version, "account": would, "agrees": agrees}


def _facts(payment: Payment) -> dict[str, str]:
    known = {"brand": payment.brand, "country": payment.country, "business_unit": payment.business_unit}
    return {name: value for name, value in known.items() if value is not None}


def _candidate(account: Account, score: Score | None) -> dict[str, Any]:
    told: dict[str, Any] = {"account": account.name, "provider": account.provider}
    if account.standing is not Standing.CLOSED:
        told["breaker"] = account.standing.value
    if score is not None:
        told |= {
            "score": round(score.expected, 4),
            "approval_rate": round(score.approval_rate, 4),
            "observed": round(score.observed, 1),
        }
    return told


def _why_not(payment: Payment, candidate: Candidate) -> str | None:
    able, provider = candidate.capabilities, candidate.account.provider
    reasons = (
        (not candidate.enabled, "is disabled"),
        (candidate.switched_off, "is switched off by an operator"),
        (payment.provider not in (None, provider), f"the request names {payment.provider}"),
        (able.offline and payment.provider is None, "takes offline payments, which a request must name"),
        (payment.method not in able.methods, f"does not take {payment.method}"),
        (
            able.currencies is not None and payment.currency not in able.currencies,
            f"does not take {payment.currency}",
        ),
        (
            provider not in payment.tokens and payment.method not in able.tokenless_methods,
            "no token for this provider",
        ),
    )
    return next((reason for holds, reason in reasons if holds), None)


@dataclass(frozen=True, slots=True)
class _Ordered:
    order: tuple[Account, ...]
    way: str
    because: str
    scores: dict[UUID, Score] = field(default_factory=dict)


def _ordered(
    payment: Payment, accounts: Sequence[Account], way: Priority | Split | Adaptive, knowledge: Knowledge
) -> _Ordered:
    match way:
        case Priority():
            return _Ordered(_named(accounts, way.targets), "priority", "the rule's own order")
        case Split():
            turns = sorted(way.weights, key=lambda target: _turn(payment.id, target, way.weights[target]))
            return _Ordered(_named(accounts, turns), "split", "the payment's own share of the split")
        case Adaptive():
            return _learned(payment, _named(accounts, way.targets) if way.targets else tuple(accounts), knowledge)
        case _:
            assert_never(way)


def _named(accounts: Sequence[Account], targets: Iterable[str]) -> tuple[Account, ...]:
    order = {one.id: one for target in targets for one in accounts if one.answers_to(target)}
    return tuple(order.values())


def _others(accounts: Sequence[Account], order: Sequence[Account]) -> tuple[Account, ...]:
    if len(order) == len(accounts):
        return ()
    named = {one.id for one in order}
    return tuple(one for one in accounts if one.id not in named)


def _turn(payment_id: UUID, target: str, weight: int) -> float:
    """Exponential with rate `weight`: the smallest of several belongs to each in proportion to its weight."""
    drawn = hashlib.blake2b(target.encode(), key=payment_id.bytes, digest_size=8).digest()
    return -math.log1p(-(int.from_bytes(drawn) >> 11) / 2**53) / weight


def _learned(payment: Payment, accounts: tuple[Account, ...], knowledge: Knowledge) -> _Ordered:
    beliefs = knowledge.beliefs(payment, [one.id for one in accounts])
    if not learning.is_enough(beliefs):
        return _Ordered(accounts, "adaptive", "too little is known yet: in the order of priority")
    fees = [one.fees.of(payment) if one.fees else None for one in accounts]
    by_cost = None not in fees
    scores = {
        account.id: Score(
            expected=drawn * (1 - float(fee / payment.amount) if by_cost and fee is not None else 1.0),
            approval_rate=belief.mean,
            observed=belief.observed,
        )
        for account, belief, drawn, fee in zip(accounts, beliefs, learning.draws(payment, beliefs), fees, strict=True)
    }
    order = tuple(sorted(accounts, key=lambda one: -scores[one.id].expected))
    told = "learned approval rates and fees" if by_cost else "learned approval rates"
    return _Ordered(order, "adaptive", told, scores)


def _what_is_out_last(order: tuple[Account, ...]) -> tuple[Account, ...]:
    """An open breaker moves an account to the end; it does not refuse, where there is nothing better."""
    return tuple(sorted(order, key=lambda one: one.standing is Standing.OPEN))
