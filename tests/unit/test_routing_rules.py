"""What a rule's conditions say of a payment, and how a stored document is read."""

from __future__ import annotations

from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

import pytest

from db import ids
from gateway.routing import rules
from gateway.routing.rules import Adaptive, Clause, Hours, Payment, Priority, Rule, Split

AT = datetime(2026, 11, 27, 12, tzinfo=UTC)
THEN = {"priority": ["adyen"]}


def a_payment(**members: Any) -> Payment:
    given: dict[str, Any] = {"id": ids.new(), "amount": Decimal(10), "currency": "USD", "method": "card", "at": AT}
    return Payment(**given | members)


def holds(when: dict[str, Any], **members: Any) -> bool:
    (rule,) = rules.read([{"name": "one", "when": when, "then": THEN}]).rules
    return rule.holds(a_payment(**members))


@pytest.mark.parametrize(
    ("condition", "fact"),
    [
        ("currency", "currency"),
        ("payment_method", "method"),
        ("card_brand", "brand"),
        ("country", "country"),
        ("business_unit", "business_unit"),
    ],
)
def test_a_fact_must_be_one_of_the_values(condition: str, fact: str) -> None:
    assert holds({condition: ["one", "two"]}, **{fact: "two"})
    assert not holds({condition: ["one", "two"]}, **{fact: "three"})
    assert not holds({condition: ["one"]}) or fact in {"currency", "method"}  # what is not known meets no condition


def test_every_condition_of_a_clause_must_hold() -> None:
    when = {"currency": ["USD"], "card_brand": ["visa"]}
    assert holds(when, brand="visa")
    assert not holds(when, brand="visa", currency="EUR")
    assert not holds(when, brand="amex")


def test_metadata_must_hold_one_of_the_values_under_each_name() -> None:
    when = {"metadata": {"tier": ["gold", "silver"], "shop": ["a"]}}
    assert holds(when, metadata={"tier": "silver", "shop": "a", "more": "b"})
    assert not holds(when, metadata={"tier": "gold"})
    assert not holds(when, metadata={"tier": "bronze", "shop": "a"})


@pytest.mark.parametrize(
    ("bounds", "amount", "held"),
    [
        ({"gte": "10.00"}, "10", True),
        ({"gte": "10.00"}, "9.99", False),
        ({"lt": "10.00"}, "10", False),
        ({"lt": "10.00"}, "9.99", True),
        ({"gte": "5", "lt": "10"}, "5", True),
        ({"gte": "5", "lt": "10"}, "4.99", False),
        ({"gte": "5", "lt": "10"}, "10", False),
    ],
)
def test_an_amount_lies_from_one_bound_to_below_the_other(bounds: dict[str, str], amount: str, *, held: bool) -> None:
    assert holds({"amount": bounds}, amount=Decimal(amount)) is held


@pytest.mark.parametrize(
    ("since", "until", "clock", "held"),
    [
        ("09:00", "17:00", "09:00", True),
        ("09:00", "17:00", "08:59", False),
        ("09:00", "17:00", "16:59", True),
        ("09:00", "17:00", "17:00", False),
        ("22:00", "06:00", "22:00", True),
        ("22:00", "06:00", "21:59", False),
        ("22:00", "06:00", "05:59", True),
        ("22:00", "06:00", "06:00", False),
        ("22:00", "06:00", "12:00", False),
        ("08:00", "08:00", "08:00", True),
        ("08:00", "08:00", "07:59", True),
    ],
)
def test_hours_run_from_one_time_until_before_the_other(since: str, until: str, clock: str, *, held: bool) -> None:
    given = {"time_of_day": {"from": since, "to": until, "time_zone": "UTC"}}
    at = datetime.combine(AT.date(), time.fromisoformat(clock), UTC)
    assert holds(given, at=at) is held


@pytest.mark.parametrize(
    ("at", "held"),
    [
        (datetime(2026, 7, 1, 7, 30, tzinfo=UTC), True),  # 9:30 in Berlin's summer
        (datetime(2026, 1, 1, 7, 30, tzinfo=UTC), False),  # 8:30 in its winter
        (datetime(2026, 3, 29, 0, 59, tzinfo=UTC), False),
    ],
)
def test_hours_are_those_of_a_clock_on_a_wall_there(at: datetime, *, held: bool) -> None:
    hours = {"from": "09:00", "to": "17:00", "time_zone": "Europe/Berlin"}
    assert holds({"time_of_day": hours}, at=at) is held


def test_hours_combine_with_the_other_conditions() -> None:
    when = {"time_of_day": {"from": "09:00", "to": "17:00", "time_zone": "UTC"}, "currency": ["EUR"]}
    assert not holds(when)
    assert holds(when, currency="EUR")


def test_a_clause_without_conditions_always_holds() -> None:
    assert holds({})
    (rule,) = rules.read([{"name": "all", "then": THEN}]).rules
    assert rule.holds(a_payment())


def test_an_exception_takes_back_what_the_conditions_gave() -> None:
    given = {"name": "one", "when": {"currency": ["USD"]}, "unless": {"country": ["DE"]}, "then": THEN}
    (rule,) = rules.read([given]).rules
    assert rule.holds(a_payment())
    assert rule.holds(a_payment(country="FR"))
    assert not rule.holds(a_payment(country="DE"))
    assert not rule.holds(a_payment(currency="EUR"))


@pytest.mark.parametrize("empty", [None, {}])
def test_an_exception_without_conditions_is_none(empty: dict[str, Any] | None) -> None:
    (rule,) = rules.read([{"name": "one", "when": None, "unless": empty, "then": THEN}]).rules
    assert rule.unless is None
    assert rule.holds(a_payment())


def test_a_document_is_read_as_it_is_written() -> None:
    document = [
        {
            "name": "large",
            "when": {
                "currency": ["EUR"],
                "card_brand": [],
                "amount": {"gte": "500.00", "lt": "1000"},
                "metadata": {"tier": ["gold"]},
                "time_of_day": {"from": "22:00", "to": "06:30", "time_zone": "Asia/Tokyo"},
            },
            "unless": {"country": ["DE", "AT"], "amount": None, "metadata": None, "time_of_day": None},
            "then": {"priority": ["adyen", "stripe"]},
        },
        {"name": "share", "then": {"split": {"stripe": 70, "adyen": 30}}},
        {"name": "rest", "then": {"adaptive": ["adyen"]}},
    ]
    assert rules.read(document, 7) == rules.RuleSet(
        version=7,
        rules=(
            Rule(
                name="large",
                when=Clause(
                    at_least=Decimal(500),
                    below=Decimal(1000),
                    facts={"currency": frozenset({"EUR"})},
                    metadata={"tier": frozenset({"gold"})},
                    hours=Hours(since=time(22), until=time(6, 30), zone="Asia/Tokyo"),
                ),
                unless=Clause(facts={"country": frozenset({"DE", "AT"})}),
                then=Priority(("adyen", "stripe")),
            ),
            Rule(name="share", when=Clause(), unless=None, then=Split({"stripe": 70, "adyen": 30})),
            Rule(name="rest", when=Clause(), unless=None, then=Adaptive(("adyen",))),
        ),
    )


def test_a_draft_has_no_version() -> None:
    assert rules.read([]) == rules.RuleSet(version=None, rules=())
