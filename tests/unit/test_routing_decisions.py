"""Which accounts can take a payment, in which order they are tried, and how that is told."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from db import ids
from db.routing_records import Tally
from gateway.routing import decisions, learning, rules
from gateway.routing.breaker import Standing
from gateway.routing.decisions import Account, Candidate, Decision, Fees
from gateway.routing.learning import Knowledge
from gateway.routing.rules import Payment, RuleSet
from providers.contract import (
    Absent,
    Approved,
    Capabilities,
    Declined,
    DeclineKind,
    NotSent,
    NotSentReason,
    Outcome,
    Pending,
    Rejected,
    Unknown,
)

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


def rule_set(*thens: dict[str, Any], **first: Any) -> RuleSet:
    """Rules `r0`, `r1`, … that do these; `first`: more members of the first."""
    document = [{"name": f"r{number}", "then": then} for number, then in enumerate(thens)]
    return rules.read([document[0] | first, *document[1:]], 3)


def known(*counts: tuple[Account, float, float], **members: Any) -> Knowledge:
    given: dict[str, Any] = {"method": "card", "currency": "USD", "brand": "", "as_of": AT} | members
    return Knowledge(Tally(account_id=one.id, approved=yes, declined=no, **given) for one, yes, no in counts)


def decided(
    accounts: list[Account], rules_: RuleSet | None, knowledge: Knowledge | None = None, **members: Any
) -> Decision:
    return decisions.decide(a_payment(**members), accounts, rules_, knowledge or Knowledge())


STRIPE, OTHER_STRIPE, ADYEN = an_account(), an_account(), an_account("adyen")


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


# ── Rules ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_rule_that_holds_decides() -> None:
    live = rule_set({"priority": ["stripe"]}, {"priority": ["adyen"]}, when={"currency": ["EUR"]})
    for currency, rule, order in (("EUR", "r0", (STRIPE,)), ("USD", "r1", (ADYEN,))):
        decision = decided([STRIPE, ADYEN], live, currency=currency)
        assert (decision.rule, decision.version, decision.order) == (rule, 3, order)
        assert (decision.way, decision.because, decision.scores) == ("priority", "the rule's own order", {})
        assert (decision.passed_over, {*decision.order, *decision.unnamed}) == ((), {STRIPE, ADYEN})


def test_a_rule_that_names_no_able_account_is_passed_over() -> None:
    live = rule_set({"priority": ["paypal"]}, {"split": {"paypal": 1}}, {"priority": ["stripe"]})
    decision = decided([STRIPE], live)
    assert (decision.rule, decision.passed_over, decision.unnamed) == ("r2", ("r0", "r1"), ())
    assert decisions.explained(decision, [])["passed_over"] == ["r0", "r1"]


def test_where_no_rule_decides_the_accounts_own_priority_does() -> None:
    live = rule_set({"priority": ["paypal"]}, {"adaptive": ["stripe"]})
    decision = decided([ADYEN], live)
    assert (decision.rule, decision.version, decision.way, decision.order) == (None, 3, "priority", (ADYEN,))
    assert decision.because == "no rule holds: the accounts' own priority decides"
    assert (decision.passed_over, decision.unnamed) == (("r0", "r1"), ())
    assert decided([ADYEN], None).because == "the accounts' own priority decides"


def test_a_rules_order_names_providers_with_all_their_accounts_or_one_account() -> None:
    able = [STRIPE, OTHER_STRIPE, ADYEN]
    assert decided(able, rule_set({"priority": ["adyen", "stripe"]})).order == (ADYEN, STRIPE, OTHER_STRIPE)
    one_first = decided(able, rule_set({"priority": [OTHER_STRIPE.name, "paypal", "stripe"]}))
    assert (one_first.order, one_first.unnamed) == ((OTHER_STRIPE, STRIPE), (ADYEN,))


@pytest.mark.parametrize(
    "rules_",
    [None, rule_set({"priority": ["stripe", "adyen"]}), rule_set({"priority": ["adyen"]}, when={"country": ["X"]})],
)
def test_an_open_breaker_goes_last_and_half_open_stays(rules_: RuleSet | None) -> None:
    open_, trial = an_account(standing=Standing.OPEN), an_account(standing=Standing.HALF_OPEN)
    assert decided([open_, trial, ADYEN], rules_).order == (trial, ADYEN, open_)
    assert decided([open_], rules_).order == (open_,)


# ── Splits ──────────────────────────────────────────────────────────────────────────────────────────────────────────

SHARE = rule_set({"split": {"stripe": 70, "adyen": 20, "paypal": 10}})
PAYPAL = an_account("paypal")
IDS = [UUID(int=number << 64 | 7) for number in range(4_000)]


def firsts(able: list[Account], live: RuleSet = SHARE) -> list[str]:
    return [decided(able, live, id=one).order[0].provider for one in IDS]


def test_a_split_keeps_its_proportions_and_its_word() -> None:
    able = [STRIPE, ADYEN, PAYPAL]
    shares = Counter(firsts(able))
    expected = {"stripe": 2_800, "adyen": 800, "paypal": 400}
    assert sum((shares[name] - count) ** 2 / count for name, count in expected.items()) < 13.8  # χ², 1 in 1,000
    assert firsts(able) == firsts(able[::-1])
    decision = decided(able, SHARE)
    assert (decision.way, decision.because) == ("split", "the payment's own share of the split")
    assert set(decision.order) == {*able}


def test_a_payment_keeps_its_place_where_another_target_is_missing() -> None:
    with_all, without = firsts([STRIPE, ADYEN, PAYPAL]), firsts([STRIPE, PAYPAL])
    assert all(before == after for before, after in zip(with_all, without, strict=True) if before != "adyen")
    moved = Counter(after for before, after in zip(with_all, without, strict=True) if before == "adyen")
    assert moved["stripe"] / moved.total() == pytest.approx(7 / 8, abs=0.04)  # in their own proportion


def test_a_larger_weight_only_draws_payments_towards_it() -> None:
    able = [STRIPE, ADYEN, PAYPAL]
    before = firsts(able)
    after = firsts(able, rule_set({"split": {"stripe": 70, "adyen": 60, "paypal": 10}}))
    assert {new for old, new in zip(before, after, strict=True) if old != new} == {"adyen"}


def test_a_turn_is_the_same_today_and_tomorrow() -> None:
    """Published behaviour: another hash would move payments that are repeated across a release."""
    drawn = [decisions._turn(UUID(int=5), target, 10) for target in ("stripe", "adyen")]
    assert drawn == pytest.approx([0.191795138968, 0.075635697619])


# ── Learning ────────────────────────────────────────────────────────────────────────────────────────────────────────

LEARN = rule_set({"adaptive": []})


def test_with_little_data_priority_decides_and_says_so() -> None:
    decision = decided([STRIPE, ADYEN], LEARN, known((STRIPE, 0, 15), (ADYEN, 14, 0)))
    assert (decision.way, decision.order, decision.scores) == ("adaptive", (STRIPE, ADYEN), {})
    assert decision.because == "too little is known yet: in the order of priority"
    enough = decided([STRIPE, ADYEN], LEARN, known((STRIPE, 0, 15), (ADYEN, 15, 0)))
    assert (enough.way, enough.because) == ("adaptive", "learned approval rates")
    assert enough.order == (ADYEN, STRIPE)


def test_adaptive_chooses_among_its_targets_only() -> None:
    knowledge = known((STRIPE, 10, 90), (ADYEN, 90, 10), (PAYPAL, 99, 1))
    decision = decided([STRIPE, ADYEN, PAYPAL], rule_set({"adaptive": ["adyen", "stripe"]}), knowledge)
    assert (decision.order, decision.unnamed) == ((ADYEN, STRIPE), (PAYPAL,))
    little = decided([STRIPE, ADYEN], rule_set({"adaptive": ["adyen", "stripe"]}))
    assert little.order == (ADYEN, STRIPE)


def test_a_learned_order_is_by_what_was_drawn_and_shows_what_is_believed() -> None:
    able, knowledge = [STRIPE, ADYEN], known((STRIPE, 80, 20), (ADYEN, 40, 10))
    payment = a_payment()
    beliefs = knowledge.beliefs(payment, [one.id for one in able])
    drawn = learning.draws(payment, beliefs)
    decision = decisions.decide(payment, able, LEARN, knowledge)
    assert decision == decisions.decide(payment, able, LEARN, knowledge)
    assert decision.scores == {
        one.id: decisions.Score(expected=draw, approval_rate=belief.mean, observed=belief.observed)
        for one, draw, belief in zip(able, drawn, beliefs, strict=True)
    }
    assert decision.order == tuple(sorted(able, key=lambda one: -decision.scores[one.id].expected))


CHEAP, DEAR = Fees(percent=Decimal(1)), Fees(percent=Decimal(3), fixed={"USD": Decimal("0.30")})


def test_fees_count_where_all_have_them() -> None:
    dear, cheap, unknown = an_account(fees=DEAR), an_account("adyen", fees=CHEAP), an_account("adyen")
    counts = [(one, 9e6, 1e6) for one in (dear, cheap, unknown)]
    decision = decided([dear, cheap], LEARN, known(*counts))
    assert (decision.order, decision.because) == ((cheap, dear), "learned approval rates and fees")
    assert decision.scores[dear.id].expected == pytest.approx(0.9 * 0.94, abs=0.001)
    assert decision.scores[cheap.id].expected == pytest.approx(0.9 * 0.99, abs=0.001)
    assert decision.scores[dear.id].approval_rate == pytest.approx(0.9)
    without = decided([dear, unknown], LEARN, known(*counts))
    assert without.because == "learned approval rates"
    assert [without.scores[one.id].expected for one in (dear, unknown)] == pytest.approx([0.9, 0.9], abs=0.001)


def test_fees_are_a_percentage_and_a_fixed_part_in_the_payments_currency() -> None:
    assert DEAR.of(a_payment()) == Decimal("0.60")
    assert DEAR.of(a_payment(currency="EUR")) == Decimal("0.30")
    assert Fees().of(a_payment()) == 0


# ── What becomes of a decision ──────────────────────────────────────────────────────────────────────────────────────


def declined(*, may_fail_over: bool) -> Declined:
    return Declined(code="x", kind=DeclineKind.SOFT, may_fail_over=may_fail_over, provider_code=None, message="No.")


@pytest.mark.parametrize(
    ("outcome", "may"),
    [
        (NotSent(reason=NotSentReason.UNREACHABLE), True),
        (declined(may_fail_over=True), True),
        (declined(may_fail_over=False), False),
        (Rejected(provider_code=None, message="No.", may_fail_over=True), True),
        (Rejected(provider_code=None, message="No."), False),
        (Unknown(reason="no answer"), False),
        (Approved(provider_id="pi_1"), False),
        (Pending(provider_id="pi_1"), False),
        (Absent(), False),
    ],
)
def test_only_what_certainly_moved_no_money_may_fail_over(outcome: Outcome, *, may: bool) -> None:
    assert decisions.may_fail_over(outcome) is may


def test_a_decision_by_rule_explains_itself() -> None:
    slow = an_account("adyen", standing=Standing.OPEN)
    payment = a_payment(brand="visa", country="DE", business_unit="shop")
    live = rule_set({"adaptive": ["adyen", STRIPE.name]})
    knowledge = known((STRIPE, 80, 20), (slow, 80, 20.06))
    decision = decisions.decide(payment, [OTHER_STRIPE, STRIPE, slow], live, knowledge)
    drawn = {one: round(score.expected, 4) for one, score in decision.scores.items()}
    believed = {one: round(score.approval_rate, 4) for one, score in decision.scores.items()}
    assert decisions.explained(decision, [decisions.Exclusion(PAYPAL, "is disabled")]) == {
        "rule": "r0",
        "version": 3,
        "way": "adaptive",
        "because": "learned approval rates",
        "candidates": [
            {
                "account": STRIPE.name,
                "provider": "stripe",
                "score": drawn[STRIPE.id],
                "approval_rate": believed[STRIPE.id],
                "observed": 100.0,
            },
            {
                "account": slow.name,
                "provider": "adyen",
                "breaker": "open",
                "score": drawn[slow.id],
                "approval_rate": believed[slow.id],
                "observed": 100.1,
            },
        ],
        "exclusions": [
            {"account": PAYPAL.name, "provider": "paypal", "reason": "is disabled"},
            {"account": OTHER_STRIPE.name, "provider": "stripe", "reason": "is not named by the rule"},
        ],
        "payment": {"brand": "visa", "country": "DE", "business_unit": "shop"},
    }


@pytest.mark.parametrize("fact", ["brand", "country", "business_unit"])
@pytest.mark.parametrize("rules_", [None, rule_set({"priority": ["stripe"]})])
def test_a_fact_that_is_not_known_is_not_told(fact: str, rules_: RuleSet | None) -> None:
    decision = decisions.decide(a_payment(**{fact: "one"}), [STRIPE], rules_, Knowledge())
    assert decisions.explained(decision, [])["payment"] == {fact: "one"}


def test_a_shadow_agrees_where_it_would_have_tried_the_same_account_first() -> None:
    live = decided([STRIPE, ADYEN], None)
    same, other = (decided([STRIPE, ADYEN], rule_set({"priority": [name]})) for name in ("stripe", "adyen"))
    told = {"rule": "r0", "version": 3, "account": STRIPE.name, "agrees": True}
    assert decisions.compared(same, live) == told
    assert decisions.compared(other, live) == told | {"account": ADYEN.name, "agrees": False}
    nowhere = decided([], None)
    assert decisions.compared(nowhere, live) == {"rule": None, "version": None, "account": None, "agrees": False}
    assert decisions.compared(nowhere, nowhere)["agrees"] is False
