"""What PayPal's Transaction Search says. The entries are written by hand after its interface document."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import contract, paypal_reports
from providers.contract import Operation, SeenState
from providers.paypal_outcomes import Answer

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
CAPTURE: dict[str, Any] = {
    "transaction_id": "3C679366HH908993F",
    "transaction_event_code": "T0006",
    "transaction_initiation_date": "2026-11-20T12:00:00+0000",
    "transaction_amount": {"currency_code": "EUR", "value": "10.99"},
    "transaction_status": "S",
    "invoice_id": "order-1 at_1",
    "custom_field": "at_1",
}
REFUND: dict[str, Any] = CAPTURE | {
    "transaction_id": "1JU08902781691411",
    "transaction_event_code": "T1107",
    "transaction_amount": {"currency_code": "EUR", "value": "-4.00"},
    "paypal_reference_id": "3C679366HH908993F",
    "paypal_reference_id_type": "TXN",
    "custom_field": "rf_1",
}


def read(entry: dict[str, Any], **changed: Any) -> contract.Seen | None:
    return paypal_reports.read(entry | changed)


def a_page(*entries: dict[str, Any], status: int = 200, **changed: Any) -> tuple[list[contract.Seen], int]:
    body: dict[str, Any] = {
        "transaction_details": [{"transaction_info": entry} for entry in entries],
        "last_refreshed_datetime": "2026-11-20T13:00:00+0000",
        "total_items": len(entries),
        "total_pages": 1,
    }
    shown = {name: value for name, value in (body | changed).items() if value is not None}
    return paypal_reports.read_page(Answer(status, {}, shown), NOON)


class TestEntries:
    def test_a_capture_is_a_charge_under_its_orders_reference(self) -> None:
        assert read(CAPTURE) == contract.Seen(
            kind=Operation.CHARGE,
            reference="at_1",
            provider_id="3C679366HH908993F",
            provider_transaction_id=None,
            state=SeenState.MOVED,
            amount=Decimal("10.99"),
            currency="EUR",
            refunded=None,
            created_at=NOON,
        )

    def test_a_refund_names_the_capture_and_its_amount_is_positive(self) -> None:
        seen = read(REFUND)

        assert seen is not None
        assert (seen.kind, seen.reference, seen.amount) == (Operation.REFUND, "rf_1", Decimal("4.00"))
        assert (seen.provider_id, seen.provider_transaction_id) == ("1JU08902781691411", "3C679366HH908993F")

    @pytest.mark.parametrize(("status", "state"), [("P", SeenState.OPEN), ("D", SeenState.ENDED)])
    def test_money_that_is_pending_or_denied_has_not_moved(self, status: str, state: SeenState) -> None:
        seen = read(CAPTURE, transaction_status=status)

        assert seen is not None
        assert seen.state is state

    def test_what_was_reversed_was_taken_and_given_back(self) -> None:
        seen = read(CAPTURE, transaction_status="V")

        assert seen is not None
        assert (seen.state, seen.refunded) == (SeenState.MOVED, Decimal("10.99"))

    def test_money_taken_of_an_order_that_was_given_up_is_found_under_its_reference(self) -> None:
        seen = read(CAPTURE, custom_field="given-up.at_1")

        assert seen is not None
        assert seen.reference == "at_1"

    @pytest.mark.parametrize("code", ["T0106", "T0200", "T0400", "T1106", "T1201", "T1300", "", None])
    def test_fees_holds_transfers_and_disputes_are_passed_over(self, code: str | None) -> None:
        assert read(CAPTURE, transaction_event_code=code) is None

    def test_what_the_merchant_paid_or_was_refunded_itself_is_passed_over(self) -> None:
        assert read(CAPTURE, transaction_amount={"currency_code": "EUR", "value": "-10.99"}) is None
        assert read(REFUND, transaction_amount={"currency_code": "EUR", "value": "4.00"}) is None

    @pytest.mark.parametrize(
        "broken",
        [
            {"transaction_id": None},
            {"transaction_id": "a/b"},
            {"transaction_amount": None},
            {"transaction_amount": {"currency_code": "EUR", "value": "1e3"}},
            {"transaction_amount": {"currency_code": "", "value": "10.99"}},
            {"transaction_status": None},
            {"transaction_status": "X"},
            {"transaction_initiation_date": "noon"},
            {"transaction_initiation_date": "2026-11-20T12:00:00"},
        ],
    )
    def test_one_that_cannot_be_read_is_not_passed_over(self, broken: dict[str, Any]) -> None:
        with pytest.raises(contract.CannotList):
            read(CAPTURE, **broken)


class TestPages:
    def test_a_page_holds_what_moved_money(self) -> None:
        seen, pages = a_page(CAPTURE, CAPTURE | {"transaction_event_code": "T0106"}, REFUND)

        assert [one.reference for one in seen] == ["at_1", "rf_1"]
        assert pages == 1

    def test_an_empty_list_may_come_without_entries(self) -> None:
        assert a_page(transaction_details=None, total_items=0, total_pages=0) == ([], 0)

    def test_a_list_that_does_not_reach_as_far_is_no_list(self) -> None:
        with pytest.raises(contract.CannotList, match="until 2026-11-20T11:59:59"):
            a_page(CAPTURE, last_refreshed_datetime="2026-11-20T11:59:59+0000")

    @pytest.mark.parametrize(
        ("status", "changed"),
        [
            (403, {"name": "NOT_AUTHORIZED"}),
            (500, {}),
            (200, {"total_pages": None}),
            (200, {"total_pages": True}),
            (200, {"transaction_details": None}),
        ],
    )
    def test_what_is_no_page_is_no_empty_page(self, status: int, changed: dict[str, Any]) -> None:
        with pytest.raises(contract.CannotList):
            a_page(CAPTURE, status=status, **changed)

    def test_no_more_than_paypals_31_days_are_asked_for(self) -> None:
        assert paypal_reports.query(NOON - timedelta(days=31), NOON, 2) == {
            "start_date": "2026-10-20T12:00:00Z",
            "end_date": "2026-11-20T12:00:00Z",
            "fields": "transaction_info",
            "page_size": "100",
            "page": "2",
        }
        with pytest.raises(contract.CannotList):
            paypal_reports.query(NOON - timedelta(days=32), NOON, 1)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(REFUND)), inner, max_size=5),
    max_leaves=20,
)


@given(entry=st.dictionaries(st.sampled_from(sorted(REFUND)), ANYTHING))
def test_whatever_is_listed_is_read_or_refused(entry: dict[str, Any]) -> None:
    for shown in (entry, CAPTURE | entry, REFUND | entry):
        with suppress(contract.CannotList):
            read(shown)
    with suppress(contract.CannotList):
        a_page(entry, **entry)
