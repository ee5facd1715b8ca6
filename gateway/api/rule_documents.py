"""What a set of rules may say; every mistake is named where it stands. What it means: `gateway.routing.rules`.

The models judge each part by itself, `document` what depends on the other rules, on currencies and on accounts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, ClassVar, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from db import ids
from db.currencies import Currency
from gateway.api import amounts, fields
from gateway.api.body import RequestModel
from gateway.api.errors import Problem
from providers import PROVIDERS

RULES_MAX = 100
TARGETS_MAX = 20
VALUES_MAX = 100
KEYS_MAX = 10
WEIGHT_MAX = 1_000
_CLOCK = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
Error = tuple[str, str]
"""Where, and what is wrong there."""


def _time(value: str) -> str:
    if not re.fullmatch(_CLOCK.strip("^$"), value):
        raise ValueError('must be a time of day such as "09:30"')
    return value


def _time_zone(name: str) -> str:
    if name not in _zones():
        raise ValueError('must be a time zone of IANA\'s list, such as "Europe/Berlin"')
    return name


@cache
def _zones() -> frozenset[str]:
    """Those of the package, which every machine has, whatever else this one may have."""
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def _metadata_keys(given: dict[str, list[str]]) -> dict[str, list[str]]:
    if any(not 1 <= len(key) <= fields.METADATA_KEY_MAX for key in given):
        raise ValueError(f"must have keys of 1 to {fields.METADATA_KEY_MAX} characters")
    return given


_VALUES = Field(min_length=1, max_length=VALUES_MAX)
_KEYS = Field(min_length=1, max_length=KEYS_MAX)
MetadataValues = Annotated[list[Annotated[str, StringConstraints(max_length=fields.METADATA_VALUE_MAX)]], _VALUES]
Time = Annotated[str, AfterValidator(_time), WithJsonSchema({"type": "string", "pattern": _CLOCK})]
Weight = Annotated[int, Field(ge=1, le=WEIGHT_MAX)]


class RuleAmount(RequestModel):
    """From `gte` to less than `lt`, in the currency beside it."""

    gte: fields.Money | None = None
    lt: fields.Money | None = None

    @field_validator("lt")
    @classmethod
    def _above(cls, below: Decimal | None, info: ValidationInfo) -> Decimal | None:
        at_least = info.data.get("gte")
        if below is not None and below <= (at_least or 0):
            raise ValueError("must be more than gte" if at_least else "must be more than zero")
        return below

    @model_validator(mode="after")
    def _one_at_least(self) -> Self:
        if self.gte is None and self.lt is None:
            raise ValueError("give gte, lt or both")
        return self


class RuleHours(RequestModel):
    """From `from` until before `to`, over midnight where `to` is earlier."""

    since: Time = Field(alias="from", examples=["22:00"])
    to: Time = Field(examples=["06:00"])
    time_zone: Annotated[str, AfterValidator(_time_zone)] = Field(
        description="A name of the IANA list: the clock on a wall there, summer time included.",
        examples=["Europe/Berlin"],
    )

    @field_validator("to")
    @classmethod
    def _another(cls, to: str, info: ValidationInfo) -> str:
        if to == info.data.get("since"):
            raise ValueError("must not be the same as from")
        return to


class RuleConditions(RequestModel):
    """Holds where all that is given holds. A fact that is not known of a payment meets no condition."""

    currency: Annotated[list[fields.Currency], _VALUES] | None = None
    amount: RuleAmount | None = Field(default=None, description="Needs exactly one `currency` beside it.")
    payment_method: Annotated[list[fields.PaymentMethodType], _VALUES] | None = None
    card_brand: Annotated[list[fields.Brand], _VALUES] | None = None
    country: Annotated[list[fields.Country], _VALUES] | None = None
    business_unit: Annotated[list[fields.BusinessUnit], _VALUES] | None = None
    metadata: Annotated[dict[str, MetadataValues], _KEYS, AfterValidator(_metadata_keys)] | None = Field(
        default=None, description="Key → values, of which the payment's must be one."
    )
    time_of_day: RuleHours | None = None

    @field_validator("amount")
    @classmethod
    def _in_one_currency(cls, amount: RuleAmount | None, info: ValidationInfo) -> RuleAmount | None:
        if amount is not None and "currency" in info.data and len(set(info.data["currency"] or ())) != 1:
            raise ValueError("needs exactly one currency beside it")
        return amount


class RuleWay(RequestModel):
    """One of the three. A target is a provider, with all its accounts, or one account (`pac_…`)."""

    priority: Annotated[list[fields.Id], Field(min_length=1, max_length=TARGETS_MAX)] | None = Field(
        None, description="One after the other.", examples=[["stripe", "adyen"]]
    )
    split: Annotated[dict[str, Weight], Field(min_length=1, max_length=TARGETS_MAX)] | None = Field(
        None, description="Target → weight: by chance in these proportions, always the same for the same transaction."
    )
    adaptive: Annotated[list[fields.Id], Field(max_length=TARGETS_MAX)] | None = Field(
        None, description="By what was learned of approvals and costs; empty: among all accounts."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(given is not None for given in (self.priority, self.split, self.adaptive)) != 1:
            raise ValueError("give one of priority, split and adaptive")
        return self

    def targets(self) -> Iterator[tuple[str, str]]:
        """Each with where it stands."""
        for name, given in (("priority", self.priority), ("adaptive", self.adaptive)):
            yield from ((f"{name}.{index}", target) for index, target in enumerate(given or ()))
        yield from ((f"split.{target}", target) for target in self.split or ())


class RoutingRule(RequestModel):
    name: Annotated[fields.Line, StringConstraints(min_length=1, max_length=64)]
    when: RuleConditions = Field(default_factory=RuleConditions, description="Absent: always.")
    unless: RuleConditions | None = None
    then: RuleWay

    @field_validator("unless")
    @classmethod
    def _something(cls, unless: RuleConditions | None) -> RuleConditions | None:
        if unless == RuleConditions():
            raise ValueError("must hold a condition")
        return unless


class CreateRoutingRules(RequestModel):
    """The first rule that holds, and names an account that can take the payment, decides."""

    names_max: ClassVar[int] = 20 * RULES_MAX

    description: Annotated[fields.Line, StringConstraints(max_length=255)] | None = None
    rules: Annotated[list[RoutingRule], Field(min_length=1, max_length=RULES_MAX)]


def document(
    given: CreateRoutingRules, currencies: Mapping[str, Currency], accounts: Collection[UUID]
) -> list[dict[str, Any]]:
    """The rules as they are stored. Raises `Problem`. `accounts`: those that the partner may use."""
    errors = list(_errors(given.rules, currencies, accounts))
    if errors:
        raise Problem("invalid_request", errors=errors)
    return [rule.model_dump(mode="json", by_alias=True, exclude_none=True) for rule in given.rules]


def _errors(
    rules: Sequence[RoutingRule], currencies: Mapping[str, Currency], accounts: Collection[UUID]
) -> Iterator[Error]:
    names: dict[str, int] = {}
    for index, rule in enumerate(rules):
        place = f"rules.{index}"
        if (same := names.setdefault(rule.name, index)) != index:
            yield f"{place}.name", f"is the name of rule {same} already"
        yield from _clause_errors(f"{place}.when", rule.when, currencies)
        if rule.unless is not None:
            yield from _clause_errors(f"{place}.unless", rule.unless, currencies)
        for where, target in rule.then.targets():
            if wrong := _wrong_target(target, accounts):
                yield f"{place}.then.{where}", wrong


def _clause_errors(place: str, clause: RuleConditions, currencies: Mapping[str, Currency]) -> Iterator[Error]:
    known = {code: one for code, one in currencies.items() if one.is_active}
    for index, code in enumerate(clause.currency or ()):
        if code not in known:
            yield f"{place}.currency.{index}", "is not a currency this API supports"
    if clause.amount is None:
        return
    (code,) = set(clause.currency or ())
    for name, amount in (("gte", clause.amount.gte), ("lt", clause.amount.lt)):
        if amount is not None and code in known and (wrong := amounts.too_fine(amount, known[code])):
            yield f"{place}.amount.{name}", wrong


def _wrong_target(target: str, accounts: Collection[UUID]) -> str | None:
    if target in PROVIDERS:
        return None
    account_id = ids.decode("pac", target)
    if account_id is None:
        return f"must be a provider ({', '.join(sorted(PROVIDERS))}) or the id of an account, pac_…"
    return None if account_id in accounts else "is not an account that can be used here"
