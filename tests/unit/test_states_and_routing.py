"""The table of statuses, and the choice of an account."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from db import ids
from db.records import TransactionStatus
from gateway.transactions import routing, states
from gateway.transactions.commands import Charge
from gateway.transactions.routing import Candidate
from providers.contract import Capabilities

RANK = ["pending", "processing", "requires_action", "authorized", "completed", "partially_refunded", "refunded"]


def test_every_status_has_its_row() -> None:
    assert set(states.TRANSITIONS) == set(TransactionStatus)


@pytest.mark.parametrize("status", TransactionStatus)
def test_nothing_leads_backwards(status: TransactionStatus) -> None:
    for to in states.TRANSITIONS[status]:
        if to in {"failed", "cancelled"} or (status, to) == ("requires_action", "processing"):
            continue
        assert RANK.index(to) > RANK.index(status)


@pytest.mark.parametrize("status", ["completed", "partially_refunded", "refunded"])
def test_money_that_was_taken_is_never_called_failed_or_cancelled(status: str) -> None:
    assert not states.TRANSITIONS[TransactionStatus(status)] & {TransactionStatus.FAILED, TransactionStatus.CANCELLED}


@pytest.mark.parametrize("current", TransactionStatus)
@pytest.mark.parametrize("to", TransactionStatus)
def test_the_ways_back_are_few_and_never_ways_forward(current: TransactionStatus, to: TransactionStatus) -> None:
    back = {
        ("completed", "failed"),
        ("partially_refunded", "completed"),
        ("refunded", "partially_refunded"),
        ("refunded", "completed"),
    }
    if current == to or (current, to) in back:
        assert states.go_back(current, to) is to
        assert to not in states.TRANSITIONS[current]
    else:
        with pytest.raises(states.InvalidState):
            states.go_back(current, to)


def test_an_impossible_step_names_where_the_transaction_stands() -> None:
    with pytest.raises(states.InvalidState) as caught:
        states.advance(TransactionStatus.REFUNDED, TransactionStatus.COMPLETED)
    assert caught.value.status is TransactionStatus.REFUNDED
    assert caught.value.message == str(caught.value) == "a refunded transaction cannot become completed"


def test_an_impossible_way_back_names_where_the_transaction_stands() -> None:
    with pytest.raises(states.InvalidState) as caught:
        states.go_back(TransactionStatus.FAILED, TransactionStatus.COMPLETED)
    assert caught.value.status is TransactionStatus.FAILED
    assert caught.value.message == "a failed transaction cannot go back to completed"


def a_candidate(provider: str = "stripe", priority: int = 100, **members: Any) -> Candidate:
    able: dict[str, Any] = {
        "methods": frozenset({"card"}),
        "currencies": None,
        "tokenless_methods": frozenset({"e_wallet"}),
        "key_lifetime_seconds": 86_400,
    } | members
    return Candidate(account_id=ids.new(), provider=provider, priority=priority, capabilities=Capabilities(**able))


def a_charge(**members: Any) -> Charge:
    given: dict[str, Any] = {
        "amount": Decimal(10),
        "currency": "USD",
        "method": "card",
        "tokens": {"stripe": "t", "adyen": "t"},
    }
    return Charge(**given | members)


def test_lower_priority_goes_first_then_the_older_account() -> None:
    first, second, third = a_candidate(priority=100), a_candidate(priority=100), a_candidate("adyen", 50)
    first, second = sorted((first, second), key=lambda one: one.account_id)  # ids of one millisecond have no order
    plan = routing.plan(a_charge(), [second, first, third])
    assert [one.account_id for one in plan.order] == [third.account_id, first.account_id, second.account_id]


@pytest.mark.parametrize(
    ("charge", "candidate", "reason"),
    [
        (a_charge(provider="adyen"), a_candidate(), "the request names adyen"),
        (a_charge(method="crypto"), a_candidate(), "does not take crypto"),
        (a_charge(currency="KWD"), a_candidate(currencies=frozenset({"USD"})), "does not take KWD"),
        (a_charge(tokens={"adyen": "t"}), a_candidate(), "no token for this provider"),
    ],
)
def test_an_account_that_cannot_take_a_charge_says_why(charge: Charge, candidate: Candidate, reason: str) -> None:
    plan = routing.plan(charge, [candidate])
    assert plan.order == ()
    excluded = routing.Exclusion(account_id=candidate.account_id, provider="stripe", reason=reason)
    assert plan.exclusions == (excluded,)


def test_an_offline_account_is_taken_only_where_the_request_names_it() -> None:
    offline = a_candidate("manual", tokenless_methods=frozenset({"card"}), offline=True)
    (excluded,) = routing.plan(a_charge(tokens={}), [offline]).exclusions
    assert excluded.reason == "takes offline payments, which a request must name"
    assert routing.plan(a_charge(tokens={}, provider="manual"), [offline]).order == (offline,)


def test_a_redirect_method_needs_no_token() -> None:
    able = a_candidate(methods=frozenset({"e_wallet"}))
    assert routing.plan(a_charge(method="e_wallet", tokens={}), [able]).order == (able,)


def test_a_plan_explains_itself() -> None:
    first, second, other = a_candidate(), a_candidate("adyen"), a_candidate("paypal")
    plan = routing.plan(a_charge(), [first, second, other])
    assert plan.explained() == {
        "rule": "priority",
        "candidates": [ids.encode("pac", one.account_id) for one in plan.order],
        "exclusions": [
            {
                "account": ids.encode("pac", other.account_id),
                "provider": "paypal",
                "reason": "no token for this provider",
            }
        ],
    }
    assert {one.account_id for one in plan.order} == {first.account_id, second.account_id}


def test_where_no_account_is_eligible_each_says_why() -> None:
    exclusions = routing.plan(a_charge(method="crypto"), [a_candidate()]).exclusions
    nobody = routing.NoEligibleProvider(exclusions)
    assert (nobody.exclusions, str(nobody)) == (exclusions, "no provider account can take this charge")
