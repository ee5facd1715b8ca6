"""What a draft would have made of recorded payments: who moves, what to expect, and of what too little is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from db import ids
from gateway.routing import backtest, decisions, rules
from gateway.routing.backtest import Backtest, Compared, Foretold, Move, Recorded, Segment, TooLittle
from gateway.routing.breaker import Standing
from gateway.routing.decisions import Account, Exclusion, Fees
from gateway.routing.learning import Knowledge
from gateway.routing.rules import Payment, RuleSet

AT = datetime(2026, 11, 27, 12, tzinfo=UTC)
CARD = Segment("card", "EUR", None)


def an_account(number: int, provider: str, **members: Any) -> Account:
    account_id = UUID(int=number)
    given: dict[str, Any] = {"name": ids.encode("pac", account_id), "priority": number}
    return Account(id=account_id, provider=provider, **given | members)


STRIPE, ADYEN, PAYPAL = an_account(1, "stripe"), an_account(2, "adyen"), an_account(3, "paypal")


def a_payment(number: int = 0, **members: Any) -> Payment:
    given: dict[str, Any] = {"amount": Decimal(10), "currency": "EUR", "method": "card", "at": AT}
    return Payment(id=UUID(int=number), **given | members)


def recorded(
    tried: Account, approved: bool | None, count: int, *, able: Iterable[Account] = (), **members: Any
) -> list[Recorded]:
    return [
        Recorded(payment=a_payment(number, **members), able=[*able] or [STRIPE, ADYEN], tried=tried, approved=approved)
        for number in range(count)
    ]


def to(*targets: str) -> RuleSet:
    return rules.read([{"name": "one", "then": {"priority": list(targets)}}])


def judged(draft: RuleSet, *groups: list[Recorded]) -> backtest.Report:
    test = Backtest(draft)
    for group in groups:
        for one in group:
            test.add(one)
    return test.report()


def about(expected: float, low: float, high: float) -> Foretold:
    told = [pytest.approx(value, abs=5e-7) for value in (expected, low, high)]
    return Foretold(*told)  # type: ignore[arg-type]


def test_what_moves_is_expected_to_do_as_the_targets_own() -> None:
    report = judged(
        to("adyen"),
        recorded(STRIPE, True, 60),
        recorded(STRIPE, False, 40),
        recorded(ADYEN, True, 89),
        recorded(ADYEN, False, 10),
    )
    (part,) = report.parts
    # 199 payments at a rate of which Beta(89.5, 10.5) is known: mean 0.895; of 199 payments together
    # 199 × 0.895 × 0.105 × (199 + 100) / (100 + 1) is the variance of approvals
    reach = 2 * (199 * 0.895 * 0.105 * 299 / 101) ** 0.5 / 199
    assert part.compared == Compared(
        decisions=199,
        moved=100,
        judged=199,
        approved=149,
        foretold=about(0.895, 0.895 - reach, 0.895 + reach),
    )
    assert (part.segment, part.moves, part.too_little) == (CARD, [Move(STRIPE, ADYEN, 100)], [])
    assert (report.total, report.left_out) == (part.compared, 0)


def test_what_stays_is_foretold_too() -> None:
    report = judged(to("stripe"), recorded(STRIPE, True, 60), recorded(STRIPE, False, 39))
    assert report.total.moved == 0
    assert report.total.foretold is not None
    assert report.total.foretold.expected == pytest.approx(60.5 / 100)


def test_a_share_lies_between_none_and_all() -> None:
    all_ = judged(to("stripe"), recorded(STRIPE, True, 30)).total.foretold
    none = judged(to("stripe"), recorded(STRIPE, False, 30)).total.foretold
    assert all_ is not None
    assert none is not None
    assert (all_.high, none.low) == (1.0, 0.0)
    assert all_.low == pytest.approx(1 - none.high)


def test_too_little_is_named_with_what_there_is() -> None:
    report = judged(to("adyen"), recorded(STRIPE, True, 100), recorded(ADYEN, True, 20), recorded(ADYEN, False, 9))
    (part,) = report.parts
    assert part.too_little == [TooLittle(ADYEN, 29)]
    assert part.compared == Compared(decisions=129, moved=100, judged=129, approved=120)
    assert (report.total, report.left_out) == (Compared(), 129)
    (enough,) = judged(to("adyen"), recorded(STRIPE, True, 9), recorded(ADYEN, True, 30)).parts
    assert enough.too_little == []
    assert enough.compared.foretold is not None


def test_who_the_draft_does_not_want_needs_no_verdicts() -> None:
    (part,) = judged(to("adyen"), recorded(STRIPE, True, 1), recorded(ADYEN, True, 30)).parts
    assert part.too_little == []


def test_what_got_no_verdict_moves_but_is_not_judged() -> None:
    report = judged(to("adyen"), recorded(STRIPE, None, 7), recorded(ADYEN, True, 40), recorded(ADYEN, None, 3))
    assert (report.total.decisions, report.total.moved) == (50, 7)
    assert (report.total.judged, report.total.approved) == (40, 40)
    (unjudged,) = judged(to("adyen"), recorded(STRIPE, None, 7)).parts
    assert (unjudged.compared.foretold, unjudged.too_little) == (None, [TooLittle(ADYEN, 0)])


def test_nothing_recorded_is_nothing_foretold() -> None:
    assert judged(to("adyen")) == backtest.Report(parts=[], total=Compared(), left_out=0)


@pytest.mark.parametrize("fact", [{"method": "e_wallet"}, {"currency": "USD"}, {"brand": "visa"}])
def test_segments_are_judged_apart_and_added_up(fact: dict[str, Any]) -> None:
    report = judged(
        to("stripe"),
        recorded(STRIPE, False, 50, **fact),
        recorded(STRIPE, True, 50, **fact),
        recorded(STRIPE, True, 60),
        recorded(PAYPAL, True, 7, able=[PAYPAL], brand="amex"),
    )
    assert [part.segment for part in report.parts] == [
        Segment(**{"method": "card", "currency": "EUR", "brand": None} | fact),
        CARD,
        Segment("card", "EUR", "amex"),
    ]
    assert [part.compared.approved for part in report.parts] == [50, 60, 7]
    assert report.parts[2].too_little == [TooLittle(PAYPAL, 7)]
    assert (report.total.decisions, report.total.judged, report.total.approved, report.left_out) == (160, 160, 110, 7)
    total = report.total.foretold
    assert total is not None
    assert total.expected == pytest.approx((100 * 0.5 + 60 * 60.5 / 61) / 160)
    apart = [part.compared.foretold for part in report.parts[:2]]
    variances = [((one.expected - one.low) * count) ** 2 for one, count in zip(apart, (100, 60), strict=True) if one]
    assert (total.expected - total.low) * 160 == pytest.approx(sum(variances) ** 0.5)


def test_what_a_draft_shares_among_accounts_is_added_up() -> None:
    pair = (DEAR, CHEAP)
    large: dict[str, Any] = {"amount": Decimal(40), "able": pair}
    small: dict[str, Any] = {"amount": Decimal(20), "able": pair}
    draft = rules.read(
        [{"name": "large", "when": {"currency": ["EUR"], "amount": {"gte": "30"}}, "then": {"priority": ["adyen"]}}]
    )
    report = judged(
        draft,
        recorded(DEAR, True, 30, **large),
        recorded(DEAR, False, 9, **small),
        recorded(CHEAP, True, 29, **small),
        recorded(CHEAP, False, 20, **large),
    )
    dear, cheap = 30.5 / 40, 29.5 / 50
    foretold = report.total.foretold
    assert foretold is not None
    assert foretold.expected == pytest.approx((38 * dear + 50 * cheap) / 88)
    variances = [38 * dear * (1 - dear) * (38 + 40) / 41, 50 * cheap * (1 - cheap) * (50 + 50) / 51]
    assert (foretold.high - foretold.expected) * 88 == pytest.approx(2 * sum(variances) ** 0.5)
    assert report.total.costs["EUR"].observed == Decimal("47.80")  # 30 × 1.40 + 29 × 0.20
    assert report.total.costs["EUR"].foretold.expected == pytest.approx(38 * 0.80 * dear + 50 * 0.40 * cheap)


def test_the_largest_segments_come_first_and_moves_by_number() -> None:
    able = [STRIPE, ADYEN, PAYPAL]
    report = judged(
        to("adyen"),
        recorded(STRIPE, True, 2, able=able, currency="CHF"),
        recorded(STRIPE, True, 2, able=able, currency="AUD", brand="A"),
        recorded(STRIPE, True, 2, able=able, currency="AUD"),
        recorded(STRIPE, True, 3, able=able),
        recorded(PAYPAL, True, 4, able=able),
    )
    ordered = [(part.segment.currency, part.segment.brand) for part in report.parts]
    assert ordered == [("EUR", None), ("AUD", None), ("AUD", "A"), ("CHF", None)]
    assert report.parts[0].moves == [Move(PAYPAL, ADYEN, 4), Move(STRIPE, ADYEN, 3)]


# ── Costs ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def with_fees(account: Account, percent: str, **fixed: str) -> Account:
    amounts = {currency: Decimal(amount) for currency, amount in fixed.items()}
    return replace(account, fees=Fees(percent=Decimal(percent), fixed=amounts))


DEAR, CHEAP = with_fees(STRIPE, "3", EUR="0.20"), with_fees(ADYEN, "1")


def test_only_what_is_approved_costs() -> None:
    pair = (DEAR, CHEAP)
    report = judged(
        to("adyen"),
        recorded(DEAR, True, 50, able=pair),
        recorded(DEAR, False, 10, able=pair),
        recorded(DEAR, None, 10, able=pair),
        recorded(CHEAP, True, 30, able=pair, amount=Decimal(50)),
        recorded(CHEAP, False, 9, able=pair),
    )
    cost = report.total.costs["EUR"]
    assert cost.observed == Decimal("40.00")  # 50 × 0.50 + 30 × 0.50
    # 69 fees of 0.10 and 30 of 0.50, each paid at a rate of which Beta(30.5, 9.5) is known
    sizes, squares, rate = 69 * 0.10 + 30 * 0.50, 69 * 0.01 + 30 * 0.25, 30.5 / 40
    uncertain = rate * (1 - rate) / 41
    reach = 2 * (squares * (rate * (1 - rate) - uncertain) + sizes**2 * uncertain) ** 0.5
    assert cost.foretold == about(sizes * rate, sizes * rate - reach, sizes * rate + reach)
    assert report.parts[0].compared.costs == report.total.costs


@pytest.mark.parametrize(("one", "other"), [(STRIPE, CHEAP), (DEAR, ADYEN)])
def test_a_cost_that_is_not_known_of_every_account_is_not_told(one: Account, other: Account) -> None:
    groups = recorded(one, True, 40, able=(one, other)), recorded(other, True, 40, able=(one, other))
    assert judged(to("adyen"), *groups).total.costs == {}
    assert judged(to("adyen"), *groups[::-1]).total.costs == {}


def test_costs_are_told_by_currency_where_all_of_its_segments_have_them() -> None:
    report = judged(
        to("stripe"),
        recorded(DEAR, True, 40, able=[DEAR]),
        recorded(DEAR, True, 30, able=[DEAR], brand="visa"),
        recorded(DEAR, True, 40, able=[DEAR], currency="USD"),
        recorded(PAYPAL, True, 40, able=[PAYPAL], currency="USD", brand="visa"),
        recorded(DEAR, True, 9, able=[DEAR], currency="EUR", brand="amex"),
    )
    assert {currency: cost.observed for currency, cost in report.total.costs.items()} == {"EUR": Decimal("35.00")}
    assert [set(part.compared.costs) for part in report.parts] == [{"EUR"}, {"USD"}, set(), {"EUR"}, set()]
    spent = [part.compared.costs["EUR"].foretold for part in report.parts if "EUR" in part.compared.costs]
    total = report.total.costs["EUR"].foretold
    assert total.expected == pytest.approx(sum(one.expected for one in spent))
    assert total.high - total.expected == pytest.approx(sum((one.high - one.expected) ** 2 for one in spent) ** 0.5)


def test_accounts_that_declined_everything_cost_nothing() -> None:
    pair = (STRIPE, CHEAP)
    report = judged(to("adyen"), recorded(STRIPE, False, 40, able=pair), recorded(CHEAP, True, 40, able=pair))
    assert report.total.costs["EUR"].observed == Decimal("4.00")


# ── What the draft sees ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_draft_decides_on_the_payment_and_the_accounts_as_they_stood() -> None:
    out = replace(ADYEN, standing=Standing.OPEN)
    draft = rules.read([{"name": "one", "when": {"country": ["DE"]}, "then": {"priority": ["adyen", "stripe"]}}])
    report = judged(
        draft,
        recorded(STRIPE, True, 5, country="DE", able=[STRIPE, out]),
        recorded(STRIPE, True, 4, country="DE"),
        recorded(STRIPE, True, 3, country="FR"),
    )
    assert report.parts[0].moves == [Move(STRIPE, ADYEN, 4)]


def test_an_adaptive_draft_learns_from_the_verdicts_before() -> None:
    learn = rules.read([{"name": "learn", "then": {"adaptive": []}}])
    rounds = [
        one
        for number in range(200)
        for tried, approved in ((STRIPE, False), (ADYEN, True), (STRIPE, None))
        for one in recorded(tried, approved, 1, at=AT + timedelta(seconds=number))
    ]
    rounds = [replace(one, payment=replace(one.payment, id=UUID(int=n))) for n, one in enumerate(rounds)]
    (part,) = judged(learn, rounds).parts
    first, second = part.moves
    assert (first.origin, first.target, second.origin, second.target) == (STRIPE, ADYEN, ADYEN, STRIPE)
    # with 15 verdicts of each account, 45 decisions, it begins to know; until then all go to the first
    assert 400 - 30 - 10 <= first.decisions <= 400 - 30
    assert 15 <= second.decisions <= 15 + 10
    (still,) = judged(to("stripe"), rounds).parts
    assert [move.decisions for move in still.moves] == [200]


def test_who_was_able_is_read_from_what_the_decision_stamped() -> None:
    trial, low = replace(ADYEN, standing=Standing.HALF_OPEN), replace(PAYPAL, priority=0)
    gone, shut = an_account(8, "adyen"), an_account(9, "adyen")
    draft = to("adyen", "stripe", gone.name)
    decided = decisions.decide(a_payment(), [STRIPE, trial, low, gone, shut], draft, Knowledge())
    excluded = [Exclusion(shut, "cannot be opened"), Exclusion(an_account(7, "stripe"), "is disabled")]
    stamped = decisions.explained(decided, excluded)
    today = {one.name: one for one in (STRIPE, ADYEN, with_fees(low, "1"), shut)}
    assert backtest.able_then(stamped, today) == [with_fees(low, "1"), STRIPE, trial]
