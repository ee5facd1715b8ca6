"""A set of rules that is taken is read as it was meant. What is refused: tests/acceptance/test_routing_rules.py."""

from __future__ import annotations

from datetime import time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from db import ids
from db.currencies import Currency
from gateway.api import rule_documents
from gateway.api.rule_documents import CreateRoutingRules
from gateway.routing import rules
from gateway.routing.rules import Adaptive, Clause, Hours, Priority, Rule, Split

EURO = Currency(
    code="EUR",
    name="Euro",
    symbol="€",
    decimal_places=2,
    amount_min=Decimal("0.01"),
    amount_max=Decimal(1_000_000),
    is_active=True,
)
ACCOUNT = ids.new()
NAME = ids.encode("pac", ACCOUNT)


def taken(*given: Any) -> tuple[Rule, ...]:
    """As they are stored, and read again."""
    document = CreateRoutingRules.model_validate({"rules": list(given)})
    return rules.read(rule_documents.document(document, {"EUR": EURO}, {ACCOUNT})).rules


def test_every_condition_is_read_as_it_was_written() -> None:
    when = {
        "currency": ["EUR"],
        "amount": {"gte": "0.10", "lt": "500"},
        "payment_method": ["card", "e_wallet"],
        "card_brand": ["visa"],
        "country": ["DE", "AT"],
        "business_unit": ["shop-7"],
        "metadata": {"channel": ["app", "web"]},
        "time_of_day": {"from": "22:00", "to": "06:30", "time_zone": "Europe/Berlin"},
    }
    clause = Clause(
        at_least=Decimal("0.10"),
        below=Decimal(500),
        facts={
            "currency": frozenset({"EUR"}),
            "method": frozenset({"card", "e_wallet"}),
            "brand": frozenset({"visa"}),
            "country": frozenset({"DE", "AT"}),
            "business_unit": frozenset({"shop-7"}),
        },
        metadata={"channel": frozenset({"app", "web"})},
        hours=Hours(since=time(22), until=time(6, 30), zone="Europe/Berlin"),
    )
    (rule,) = taken({"name": "all of it", "when": when, "unless": when, "then": {"priority": ["stripe"]}})
    assert rule == Rule(name="all of it", when=clause, unless=clause, then=Priority(("stripe",)))


def test_what_is_left_out_or_null_is_no_condition() -> None:
    nothing = {"currency": None, "amount": None, "time_of_day": None}
    bare, null = taken(
        {"name": "bare", "then": {"adaptive": []}}, {"name": "null", "when": nothing, "then": {"adaptive": []}}
    )
    assert (bare.when, bare.unless) == (null.when, null.unless) == (Clause(), None)


def test_every_way_is_read_as_it_was_written() -> None:
    ways = ({"priority": [NAME, "stripe"]}, {"split": {"stripe": 3, NAME: 1}}, {"adaptive": ["stripe"]})
    assert [rule.then for rule in taken(*({"name": str(way), "then": way} for way in ways))] == [
        Priority((NAME, "stripe")),
        Split({"stripe": 3, NAME: 1}),
        Adaptive(("stripe",)),
    ]


def test_every_time_zone_that_is_taken_can_be_opened() -> None:
    assert {"Europe/Berlin", "Asia/Kathmandu", "UTC"} <= rule_documents._zones()
    for name in rule_documents._zones():
        assert ZoneInfo(name).key == name
