"""What verdicts teach, how it fades, and how little data leans on more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import mean
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.routing_records import Tally
from gateway.routing import learning
from gateway.routing.learning import Belief, Knowledge
from gateway.routing.rules import Payment

AT = datetime(2026, 11, 27, 12, tzinfo=UTC)
ONE, OTHER = UUID(int=1), UUID(int=2)
HALF_LIFE = timedelta(hours=72)


def a_payment(**members: Any) -> Payment:
    given: dict[str, Any] = {"id": UUID(int=7), "amount": Decimal(10), "currency": "EUR", "method": "card", "at": AT}
    return Payment(**given | members)


def a_tally(account_id: UUID = ONE, approved: float = 0.0, declined: float = 0.0, **members: Any) -> Tally:
    given: dict[str, Any] = {"method": "card", "currency": "EUR", "brand": "", "as_of": AT}
    return Tally(account_id=account_id, approved=approved, declined=declined, **given | members)


def told(belief: Belief) -> tuple[float, float, float]:
    return tuple(pytest.approx(value) for value in (belief.alpha, belief.beta, belief.observed))  # type: ignore[return-value]


def test_where_nothing_is_known_every_rate_is_as_likely() -> None:
    assert Knowledge().beliefs(a_payment(), [ONE, OTHER]) == [Belief(1.0, 1.0, 0.0)] * 2
    assert Belief(3.0, 1.0, 0.0).mean == 0.75


def test_each_level_starts_from_the_one_above() -> None:
    knowledge = Knowledge([a_tally(approved=7, declined=1), a_tally(approved=1, declined=1, currency="USD")])
    # all together (8 + 1) of (10 + 2): a prior of 1.5 and 0.5, then 8 and 2 of the method …
    alpha, beta = 1.5 + 8, 0.5 + 2
    # … worth 10 verdicts at most in the currency, which adds its own 7 and 1
    (belief,) = knowledge.beliefs(a_payment(), [ONE])
    assert (belief.alpha, belief.beta, belief.observed) == told(Belief(10 * alpha / 12 + 7, 10 * beta / 12 + 1, 8.0))


def test_little_inherits_no_more_than_it_is() -> None:
    (belief,) = Knowledge([a_tally(approved=2, declined=0)]).beliefs(a_payment(), [ONE])
    # 3 of 4 is the average: 1.5 + 2 and 0.5 from above, all four verdicts' worth
    assert (belief.alpha, belief.beta, belief.observed) == told(Belief(3.5 + 2, 0.5, 2.0))


def test_a_brand_leans_on_its_currency_and_observed_counts_the_currency() -> None:
    tallies = [a_tally(approved=18, declined=2, brand="visa"), a_tally(approved=1, declined=9, brand="amex")]
    knowledge = Knowledge(tallies)
    (whole,) = knowledge.beliefs(a_payment(), [ONE])
    (amex,) = knowledge.beliefs(a_payment(brand="amex"), [ONE])
    assert (amex.alpha, amex.beta, amex.observed) == told(
        Belief(10 * whole.mean + 1, 10 * (1 - whole.mean) + 9, 30.0),
    )
    (other,) = knowledge.beliefs(a_payment(brand="diners"), [ONE])
    assert (other.alpha, other.beta) == told(Belief(10 * whole.mean, 10 * (1 - whole.mean), 0.0))[:2]
    assert whole.observed == 30.0


def test_an_unknown_account_starts_from_the_others_average_with_a_wide_spread() -> None:
    _, unknown = Knowledge([a_tally(approved=89, declined=9)]).beliefs(a_payment(), [ONE, OTHER])
    assert (unknown.alpha, unknown.beta, unknown.observed) == told(Belief(1.8, 0.2, 0.0))


def test_other_methods_and_currencies_of_an_account_are_kept_apart() -> None:
    knowledge = Knowledge([a_tally(approved=50), a_tally(approved=30, currency="USD"), a_tally(declined=9, method="x")])
    (belief,) = knowledge.beliefs(a_payment(), [ONE])
    assert belief.observed == 50.0
    assert belief.beta < 1
    (other,) = knowledge.beliefs(a_payment(method="x"), [ONE])
    assert other.observed == 9.0
    assert other.alpha < other.beta


def test_what_was_counted_fades_by_half_in_three_days() -> None:
    knowledge = Knowledge([a_tally(approved=40, declined=8)])
    (then,) = knowledge.beliefs(a_payment(at=AT + HALF_LIFE), [ONE])
    assert (then.alpha, then.beta, then.observed) == told(
        next(iter(Knowledge([a_tally(approved=20, declined=4)]).beliefs(a_payment(), [ONE])))
    )
    (earlier,) = knowledge.beliefs(a_payment(at=AT - HALF_LIFE), [ONE])
    assert earlier.observed == 48.0  # a clock that is behind


def test_verdicts_of_several_times_meet_at_the_latest() -> None:
    later = a_tally(approved=2, declined=6, as_of=AT + HALF_LIFE)
    payment = a_payment(at=AT + HALF_LIFE)
    for tallies in ([a_tally(approved=8, declined=4), later], [later, a_tally(approved=8, declined=4)]):
        (belief,) = Knowledge(tallies).beliefs(payment, [ONE])
        (at_once,) = Knowledge([a_tally(approved=6, declined=8, as_of=AT + HALF_LIFE)]).beliefs(payment, [ONE])
        assert (belief.alpha, belief.beta, belief.observed) == told(at_once)


def test_a_verdict_teaches_every_level() -> None:
    learned = Knowledge()
    for approved in (True, True, False):
        learned.learn(ONE, a_payment(brand="visa"), approved=approved)
    learned.learn(ONE, a_payment(), approved=False)
    tallied = Knowledge([a_tally(approved=2, declined=1, brand="visa"), a_tally(declined=1)])
    for payment in (a_payment(), a_payment(brand="visa"), a_payment(currency="USD")):
        assert learned.beliefs(payment, [ONE]) == tallied.beliefs(payment, [ONE])


def test_enough_is_thirty_verdicts_at_all_targets_together() -> None:
    assert learning.is_enough([Belief(1, 1, 10.0), Belief(1, 1, 20.0)])
    assert not learning.is_enough([Belief(1, 1, 10.0), Belief(1, 1, 19.9)])
    assert not learning.is_enough([])


def test_draws_follow_the_belief_and_repeat_for_the_same_payment() -> None:
    beliefs = [Belief(9.0, 1.0, 8.0), Belief(1.0, 4.0, 3.0)]
    drawn = [learning.draws(a_payment(id=UUID(int=number)), beliefs) for number in range(2_000)]
    assert drawn == [learning.draws(a_payment(id=UUID(int=number)), beliefs) for number in range(2_000)]
    assert mean(one for one, _ in drawn) == pytest.approx(0.9, abs=0.01)
    assert mean(other for _, other in drawn) == pytest.approx(0.2, abs=0.01)


@given(
    counts=st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e8)), min_size=1, max_size=6),
    brand=st.sampled_from([None, "visa"]),
)
def test_whatever_was_counted_a_belief_can_be_drawn_from(
    counts: list[tuple[float, float, float]], brand: str | None
) -> None:
    tallies = [a_tally(ONE, a, d, as_of=AT - timedelta(seconds=age)) for a, d, age in counts]
    payment = a_payment(brand=brand)
    beliefs = Knowledge(tallies).beliefs(payment, [ONE, OTHER])
    assert all(0 <= drawn <= 1 for drawn in learning.draws(payment, beliefs))
