"""Which accounts can take a payment, in which order they are tried, and how that is told."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from db import ids
from gateway.routing import decisions
from gateway.routing.decisions import Account, Candidate
from gateway.routing.learning import Knowledge
from gateway.routing.rules import Payment
from providers.contract import Capabilities

AT = datetime(2026, 11, 27, 12, tzinfo=UTC)


def an_account(provider: str = "stripe", priority: int = 100, **members: Any) -> Account:
    account_id = ids.new()
    return Account(id=account_id, name=ids.encode("pac", account_id), provider=provider, priority=priority, **members)


def a_candidate(
    provider: str = "stripe", priority: int = 100, *, enabled: bool = True, switched_off: bool = False, **members: Any
) -> Candidate:
    able: dict[str, Any] = {
        "methods": frozenset({"card"}),
        "currencies": None,
        "tokenless_methods": frozenset({"e_wallet"}),
        "key_lifetime_seconds": 86_400,
    } | members
    return Candidate(
        account=an_account(provider, priority),
        capabilities=Capabilities(**able),
        enabled=enabled,
        switched_off=switched_off,
    )


def a_payment(**members: Any) -> Payment:
    given: dict[str, Any] = {
        "id": ids.new(),
        "amount": Decimal(10),
        "currency": "USD",
        "method": "card",
        "tokens": frozenset({"stripe", "adyen"}),
        "at": AT,
    }
    return Payment(**given | members)


def test_lower_priority_goes_first_then_the_older_account() -> None:
    first, second, third = a_candidate(), a_candidate(), a_candidate("adyen", 50)
    first, second = sorted((first, second), key=lambda one: one.account.id)  # ids of one millisecond have no order
    able, excluded = decisions.eligible(a_payment(), [second, first, third])
    assert (able, excluded) == ([third.account, first.account, second.account], [])
    decision = decisions.decide(a_payment(), able, None, Knowledge())
    assert decision.order == tuple(able)
    assert (decision.rule, decision.version, decision.way) == (None, None, "priority")


@pytest.mark.parametrize(
    ("payment", "candidate", "reason"),
    [
        (a_payment(), a_candidate(enabled=False), "is disabled"),
        (a_payment(), a_candidate(switched_off=True), "is switched off by an operator"),
        (a_payment(provider="adyen"), a_candidate(), "the request names adyen"),
        (a_payment(method="crypto"), a_candidate(), "does not take crypto"),
        (a_payment(currency="KWD"), a_candidate(currencies=frozenset({"USD"})), "does not take KWD"),
        (a_payment(tokens=frozenset({"adyen"})), a_candidate(), "no token for this provider"),
    ],
)
def test_an_account_that_cannot_take_a_payment_says_why(payment: Payment, candidate: Candidate, reason: str) -> None:
    able, (excluded,) = decisions.eligible(payment, [candidate])
    assert able == []
    assert excluded == decisions.Exclusion(candidate.account, reason)


def test_an_offline_account_is_taken_only_where_the_request_names_it() -> None:
    offline = a_candidate("manual", tokenless_methods=frozenset({"card"}), offline=True)
    _, (excluded,) = decisions.eligible(a_payment(tokens=frozenset()), [offline])
    assert excluded.reason == "takes offline payments, which a request must name"
    named = a_payment(tokens=frozenset(), provider="manual")
    assert decisions.eligible(named, [offline]) == ([offline.account], [])


def test_a_redirect_method_needs_no_token() -> None:
    able = a_candidate(methods=frozenset({"e_wallet"}))
    assert decisions.eligible(a_payment(method="e_wallet", tokens=frozenset()), [able]) == ([able.account], [])


def test_a_decision_explains_itself() -> None:
    first, other = a_candidate(), a_candidate("paypal")
    able, excluded = decisions.eligible(a_payment(), [first, other])
    decision = decisions.decide(a_payment(), able, None, Knowledge())
    assert decisions.explained(decision, excluded) == {
        "rule": None,
        "version": None,
        "way": "priority",
        "because": "the accounts' own priority decides",
        "candidates": [{"account": first.account.name, "provider": "stripe"}],
        "exclusions": [
            {"account": other.account.name, "provider": "paypal", "reason": "no token for this provider"},
        ],
    }


def test_where_no_account_is_eligible_each_says_why() -> None:
    _, excluded = decisions.eligible(a_payment(method="crypto"), [a_candidate()])
    nobody = decisions.NoEligibleProvider(tuple(excluded))
    assert (nobody.exclusions, str(nobody)) == (tuple(excluded), "no provider account can take this charge")
