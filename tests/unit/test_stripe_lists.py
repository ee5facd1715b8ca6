"""What Stripe's lists say, and that a page which cannot be read is no short page."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import contract, currency, stripe_events, stripe_lists
from providers.contract import Operation, SeenState
from providers.stripe_answers import Answer

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECONDS = int(NOON.timestamp())
PAYMENT: dict[str, Any] = {
    "id": "pi_1",
    "amount": 1099,
    "amount_capturable": 0,
    "amount_received": 600,
    "created": SECONDS,
    "currency": "eur",
    "status": "succeeded",
    "metadata": {"gateway_reference": "at_1"},
    "latest_charge": {"id": "ch_1", "amount_refunded": 200, "currency": "eur"},
}
REFUND: dict[str, Any] = {
    "id": "re_1",
    "amount": 200,
    "created": SECONDS,
    "currency": "eur",
    "metadata": {"gateway_reference": "rf_1"},
    "payment_intent": "pi_1",
    "status": "succeeded",
}
EVENT: dict[str, Any] = {
    "id": "evt_1",
    "object": "event",
    "livemode": False,
    "type": "payment_intent.succeeded",
    "data": {"object": PAYMENT},
}


def payment(**changed: Any) -> contract.Seen:
    return stripe_lists.read_payment(PAYMENT | changed, currency.STRIPE)


def refund(**changed: Any) -> contract.Seen:
    return stripe_lists.read_refund(REFUND | changed, currency.STRIPE)


class TestPayments:
    def test_a_payment_taken_in_part_and_refunded_in_part(self) -> None:
        assert payment() == contract.Seen(
            kind=Operation.CHARGE,
            reference="at_1",
            provider_id="pi_1",
            provider_transaction_id="pi_1",
            state=SeenState.MOVED,
            amount=Decimal("6.00"),
            currency="EUR",
            refunded=Decimal("2.00"),
            created_at=NOON,
        )

    @pytest.mark.parametrize(
        ("shown", "state", "amount"),
        [
            ({"status": "requires_capture", "amount_capturable": 1099}, SeenState.AUTHORIZED, "10.99"),
            ({"status": "canceled"}, SeenState.ENDED, "10.99"),
            ({"status": "requires_payment_method", "last_payment_error": {"code": "x"}}, SeenState.ENDED, "10.99"),
            ({"status": "requires_payment_method"}, SeenState.OPEN, "10.99"),
            ({"status": "requires_action"}, SeenState.OPEN, "10.99"),
            ({"status": "processing"}, SeenState.OPEN, "10.99"),
            ({"status": "of_tomorrow"}, SeenState.OPEN, "10.99"),
        ],
    )
    def test_each_status_is_how_the_money_stands(self, shown: dict[str, Any], state: SeenState, amount: str) -> None:
        seen = payment(**shown)

        assert (seen.state, seen.amount) == (state, Decimal(amount))

    def test_a_payment_made_elsewhere_has_no_reference(self) -> None:
        assert payment(metadata={}).reference is None

    def test_a_refund_names_its_payment(self) -> None:
        seen = refund()

        assert (seen.kind, seen.reference, seen.provider_id) == (Operation.REFUND, "rf_1", "re_1")
        assert (seen.provider_transaction_id, seen.state, seen.amount) == ("pi_1", SeenState.MOVED, Decimal("2.00"))

    @pytest.mark.parametrize(("status", "state"), [("pending", SeenState.OPEN), ("failed", SeenState.ENDED)])
    def test_a_refund_moves_money_only_when_it_succeeded(self, status: str, state: SeenState) -> None:
        assert refund(status=status).state is state

    @pytest.mark.parametrize(
        "broken",
        [
            {"id": None},
            {"id": "../x"},
            {"amount": "7"},
            {"amount": True},
            {"amount": -1},
            {"currency": None},
            {"created": None},
            {"created": "noon"},
            {"created": 10**30},
        ],
    )
    def test_one_that_cannot_be_read_is_not_passed_over(self, broken: dict[str, Any]) -> None:
        with pytest.raises(contract.CannotList):
            payment(status="processing", **broken)
        with pytest.raises(contract.CannotList):
            refund(**broken)


class TestEvents:
    def test_one_is_the_same_as_its_notification(self) -> None:
        item = stripe_lists.read_event(EVENT, livemode=False)

        assert item.dedupe_key == "evt_1"
        assert json.loads(item.body) == EVENT
        assert stripe_events.read(item.body, currency.STRIPE) == stripe_events.read(
            json.dumps(EVENT, indent=2).encode(), currency.STRIPE
        )

    @pytest.mark.parametrize("broken", [{"id": None}, {"id": "x"}, {"livemode": True}, {"livemode": None}])
    def test_one_without_an_id_or_of_the_other_mode_is_not_passed_over(self, broken: dict[str, Any]) -> None:
        with pytest.raises(contract.CannotList):
            stripe_lists.read_event(EVENT | broken, livemode=False)

    def test_only_what_is_read_is_asked_for_and_no_more_types_than_stripe_allows(self) -> None:
        query = stripe_lists.events(NOON, None)

        assert query["created"] == {"gte": SECONDS}
        assert set(query["types"]) == set(stripe_events.READERS)
        assert len(query["types"]) <= 20


class TestPages:
    def test_the_last_one_has_no_next(self) -> None:
        page = {"object": "list", "data": [PAYMENT], "has_more": False}

        assert stripe_lists.read_page(Answer(200, {}, page)) == ([PAYMENT], None)

    def test_another_begins_after_the_last_thing(self) -> None:
        page = {"object": "list", "data": [PAYMENT, REFUND], "has_more": True}

        assert stripe_lists.read_page(Answer(200, {}, page))[1] == "re_1"

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (401, {"error": {}}),
            (500, None),
            (200, None),
            (200, {"object": "list"}),
            (200, {"object": "payment_intent", "data": []}),
            (200, {"object": "list", "data": [], "has_more": True}),
            (200, {"object": "list", "data": ["x"], "has_more": True}),
        ],
    )
    def test_what_is_no_page_is_no_empty_page(self, status: int, body: object) -> None:
        with pytest.raises(contract.CannotList):
            stripe_lists.read_page(Answer(status, {}, body))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(PAYMENT)), inner, max_size=5),
    max_leaves=20,
)


@given(thing=st.dictionaries(st.sampled_from(sorted(PAYMENT | REFUND | EVENT)), ANYTHING))
def test_whatever_is_listed_is_read_or_refused(thing: dict[str, Any]) -> None:
    for read in (payment, refund):
        with suppress(contract.CannotList):
            read(**thing)
    with suppress(contract.CannotList):
        stripe_lists.read_event(thing, livemode=False)
    with suppress(contract.CannotList):
        stripe_lists.read_page(Answer(200, {}, {"object": "list", "data": [thing]} | thing))
