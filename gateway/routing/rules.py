"""A partner's routing rules: which accounts a payment should try, and in which order. Pure.

    {"name": "large", "when": {"currency": ["EUR"], "amount": {"gte": "500.00"}}, "then": {"priority": ["adyen"]}}

The first rule that holds and names an account that can take the payment decides. A document is validated where it comes
in (`gateway.api.rule_documents`), stored as it is, and read here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """All that a decision may depend on. Splits and exploration follow from `id`: a repeat decides the same."""

    id: UUID
    amount: Decimal
    currency: str
    method: str
    brand: str | None = None
    country: str | None = None
    business_unit: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    tokens: frozenset[str] = frozenset()
    """The providers for which it brings a token."""
    provider: str | None = None
    """The one that it must go to."""
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """From `since` until before `until`, by the clock on a wall there; over midnight where `until` is not later."""

    since: time
    until: time
    zone: str

    def contain(self, at: datetime) -> bool:
        there = at.astimezone(_zone(self.zone)).time()
        if self.since < self.until:
            return self.since <= there < self.until
        return there >= self.since or there < self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """Holds where every condition that is given holds. A fact that is not known meets no condition."""

    at_least: Decimal | None = None
    below: Decimal | None = None
    facts: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """`Payment`'s field → the values of which it must be one."""
    metadata: Mapping[str, frozenset[str]] = field(default_factory=dict)
    hours: Hours | None = None

    def holds(self, payment: Payment) -> bool:
        for name, values in self.facts.items():
            if getattr(payment, name) not in values:
                return False
        for key, values in self.metadata.items():
            if payment.metadata.get(key) not in values:
                return False
        if self.at_least is not None and payment.amount < self.at_least:
            return False
        if self.below is not None and payment.amount >= self.below:
            return False
        return self.hours is None or self.hours.contain(payment.at)


@dataclass(frozen=True, slots=True)
class Priority:
    """One after the other. A target is a provider, with all its accounts, or one account (`pac_…`)."""

    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """By chance in these proportions, always the same for the same payment; the others follow in the same manner."""

    weights: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Adaptive:
    """By what was learned of approvals and costs; every account that can take the payment where `targets` is empty."""

    targets: tuple[str, ...]


Way = Priority | Split | Adaptive


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    name: str
    when: Clause
    unless: Clause | None
    then: Way

    def holds(self, payment: Payment) -> bool:
        return self.when.holds(payment) and (self.unless is None or not self.unless.holds(payment))


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """Ordered rules under one version. `version` None is a draft that was never stored."""

    version: int | None
    rules: tuple[Rule, ...]


_FACTS = {
    "currency": "currency",
    "payment_method": "method",
    "card_brand": "brand",
    "country": "country",
    "business_unit": "business_unit",
}
"""A document's condition → `Payment`'s field."""


def read(document: Sequence[Mapping[str, Any]], version: int | None = None) -> RuleSet:
    """The rules of a validated document."""
    return RuleSet(version=version, rules=tuple(_rule(given) for given in document))


def _rule(given: Mapping[str, Any]) -> Rule:
    unless = given.get("unless")
    return Rule(
        name=given["name"],
        when=_clause(given.get("when") or {}),
        unless=_clause(unless) if unless else None,
        then=_way(given["then"]),
    )


def _clause(given: Mapping[str, Any]) -> Clause:
    amount, hours = given.get("amount") or {}, given.get("time_of_day")
    return Clause(
        at_least=Decimal(amount["gte"]) if amount.get("gte") else None,
        below=Decimal(amount["lt"]) if amount.get("lt") else None,
        facts={fact: frozenset(given[name]) for name, fact in _FACTS.items() if given.get(name)},
        metadata={key: frozenset(values) for key, values in (given.get("metadata") or {}).items()},
        hours=_hours(hours) if hours else None,
    )


def _hours(given: Mapping[str, str]) -> Hours:
    return Hours(
        since=time.fromisoformat(given["from"]), until=time.fromisoformat(given["to"]), zone=given["time_zone"]
    )


def _way(given: Mapping[str, Any]) -> Way:
    if "priority" in given:
        return Priority(tuple(given["priority"]))
    if "split" in given:
        return Split(dict(given["split"]))
    return Adaptive(tuple(given["adaptive"]))


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
