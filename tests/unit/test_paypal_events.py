"""What PayPal's notifications say. The events are written by hand after its documents."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from providers import contract, paypal_events
from providers.contract import Approved, AttemptTold, Declined, DisputeState, DisputeTold, Irrelevant, Operation

MONEY = {"currency_code": "EUR", "value": "10.99"}
OF_ORDER = {"supplementary_data": {"related_ids": {"order_id": "5O19"}}}
OF_AUTHORIZATION = {"supplementary_data": {"related_ids": {"order_id": "5O19", "authorization_id": "9AU7"}}}
CAPTURE: dict[str, Any] = {"id": "3C67", "amount": MONEY, "custom_id": "at_1", "invoice_id": "order-1 at_1"} | OF_ORDER
REFUND: dict[str, Any] = {
    "id": "1JU0",
    "amount": MONEY,
    "custom_id": "rf_1",
    "status": "COMPLETED",
    "links": [{"rel": "up", "href": "https://api.paypal.com/v2/payments/captures/3C67"}],
}
ORDER = {"id": "5O19", "purchase_units": [{"custom_id": "at_1", "amount": MONEY}]}
DISPUTE: dict[str, Any] = {
    "dispute_id": "PP-D-1",
    "disputed_transactions": [{"seller_transaction_id": "3C67", "custom": "at_1"}],
    "dispute_amount": MONEY,
    "reason": "UNAUTHORISED",
}


def event(kind: str, resource: object) -> bytes:
    return json.dumps({"id": "WH-1", "event_type": kind, "resource": resource}).encode()


def read(kind: str, resource: object) -> Any:
    return paypal_events.read(event(kind, resource))


class TestOrders:
    def test_an_approval_asks_us_to_go_on(self) -> None:
        assert read("CHECKOUT.ORDER.APPROVED", ORDER) == AttemptTold(
            operation=Operation.CHARGE,
            reference="at_1",
            provider_transaction_id="5O19",
            provider_id="5O19",
            outcome=contract.Pending(provider_id="5O19"),
            amount=Decimal("10.99"),
            currency="EUR",
            ask=True,
        )

    @pytest.mark.parametrize(
        ("kind", "resource"),
        [
            ("CHECKOUT.ORDER.VOIDED", ORDER),
            ("CHECKOUT.PAYMENT-APPROVAL.REVERSED", {"order_id": "5O19", "purchase_units": [{"custom_id": "at_1"}]}),
        ],
    )
    def test_an_end_without_payment_is_asked_about(self, kind: str, resource: object) -> None:
        told = read(kind, resource)

        assert isinstance(told.outcome, Declined)
        assert (told.provider_transaction_id, told.reference, told.ask) == ("5O19", "at_1", True)


class TestMoney:
    @pytest.mark.parametrize(
        ("kind", "outcome"),
        [
            ("COMPLETED", Approved),
            ("PENDING", contract.Pending),
            ("DECLINED", Declined),
            ("DENIED", Declined),
        ],
    )
    def test_a_sale_is_found_by_its_charge(self, kind: str, outcome: type[object]) -> None:
        told = read(f"PAYMENT.CAPTURE.{kind}", CAPTURE)

        assert isinstance(told.outcome, outcome)
        assert (told.operation, told.reference) == (Operation.CHARGE, "at_1")
        assert (told.provider_transaction_id, told.provider_id) == ("5O19", "5O19")
        assert (told.amount, told.currency, told.ask) == (Decimal("10.99"), "EUR", True)

    def test_a_capture_is_found_by_its_own_reference(self) -> None:
        told = read("PAYMENT.CAPTURE.COMPLETED", CAPTURE | {"invoice_id": "cp_1"} | OF_AUTHORIZATION)

        assert (told.operation, told.reference) == (Operation.CAPTURE, "cp_1")
        assert (told.provider_transaction_id, told.provider_id) == ("5O19", "3C67")

    def test_a_decline_keeps_the_processors_word(self) -> None:
        told = read("PAYMENT.CAPTURE.DECLINED", CAPTURE | {"processor_response": {"response_code": "9520"}})

        assert (told.outcome.code, told.outcome.provider_code) == ("lost_card", "9520")

    def test_an_authorization_is_held(self) -> None:
        told = read("PAYMENT.AUTHORIZATION.CREATED", CAPTURE | {"id": "9AU7"})

        assert told.operation is Operation.CHARGE
        assert told.outcome == Approved(provider_id="5O19", captured=False)

    def test_a_voided_authorization_is_a_cancel_of_the_charges_payment(self) -> None:
        told = read("PAYMENT.AUTHORIZATION.VOIDED", CAPTURE | {"id": "9AU7"})

        assert (told.operation, told.reference, told.provider_transaction_id) == (Operation.CANCEL, "at_1", "5O19")
        assert isinstance(told.outcome, Approved)

    def test_what_names_no_order_is_found_by_our_reference(self) -> None:
        told = read("PAYMENT.CAPTURE.COMPLETED", CAPTURE | {"supplementary_data": None})

        assert (told.reference, told.provider_transaction_id) == ("at_1", None)
        assert isinstance(told.outcome, contract.Unknown)


class TestRefunds:
    @pytest.mark.parametrize(
        ("kind", "outcome"),
        [
            ("PAYMENT.CAPTURE.REFUNDED", Approved),
            ("PAYMENT.CAPTURE.REVERSED", Approved),
            ("PAYMENT.REFUND.PENDING", contract.Pending),
            ("PAYMENT.REFUND.FAILED", Declined),
        ],
    )
    def test_the_resource_is_the_refund(self, kind: str, outcome: type[object]) -> None:
        told = read(kind, REFUND)

        assert isinstance(told.outcome, outcome)
        assert (told.operation, told.reference, told.provider_id) == (Operation.REFUND, "rf_1", "1JU0")
        assert told.provider_transaction_id == "3C67"
        assert told.ask


class TestDisputes:
    def test_one_is_opened(self) -> None:
        assert read("CUSTOMER.DISPUTE.CREATED", DISPUTE) == DisputeTold(
            dispute_id="PP-D-1",
            provider_transaction_id="3C67",
            reference="at_1",
            state=DisputeState.OPENED,
            reason="UNAUTHORISED",
            amount=Decimal("10.99"),
            currency="EUR",
        )

    @pytest.mark.parametrize(
        ("outcome", "state", "withdrawn"),
        [
            ("RESOLVED_SELLER_FAVOUR", DisputeState.WON, None),
            ("RESOLVED_BUYER_FAVOUR", DisputeState.LOST, True),
            ("RESOLVED_WITH_PAYOUT", DisputeState.WON, None),
            ("CANCELED_BY_BUYER", DisputeState.WON, None),
            ("ACCEPTED", DisputeState.LOST, True),
            ("DENIED", DisputeState.WON, None),
            ("NONE", DisputeState.WON, None),
        ],
    )
    def test_one_ends(self, outcome: str, state: DisputeState, *, withdrawn: bool | None) -> None:
        told = read("CUSTOMER.DISPUTE.RESOLVED", DISPUTE | {"dispute_outcome": {"outcome_code": outcome}})

        assert (told.state, told.funds_withdrawn) == (state, withdrawn)


@pytest.mark.parametrize("kind", ["CHECKOUT.ORDER.COMPLETED", "BILLING.PLAN.CREATED", "VAULT.PAYMENT-TOKEN.CREATED"])
def test_the_rest_changes_nothing(kind: str) -> None:
    assert isinstance(read(kind, ORDER), Irrelevant)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        event("CHECKOUT.ORDER.APPROVED", None),
        event("CHECKOUT.ORDER.APPROVED", {"id": "../x"}),
        event("PAYMENT.CAPTURE.COMPLETED", CAPTURE | {"amount": {"value": "-1", "currency_code": "EUR"}}),
        event("PAYMENT.CAPTURE.COMPLETED", {"id": "3C67", "amount": MONEY}),
        event("PAYMENT.CAPTURE.REFUNDED", REFUND | {"id": None}),
        event("CUSTOMER.DISPUTE.CREATED", DISPUTE | {"dispute_id": None}),
        event("CUSTOMER.DISPUTE.CREATED", DISPUTE | {"dispute_amount": {"value": "NaN"}}),
        event("CUSTOMER.DISPUTE.RESOLVED", DISPUTE),
    ],
)
def test_what_makes_no_sense_is_unreadable(body: bytes) -> None:
    with pytest.raises(contract.Unreadable):
        paypal_events.read(body)


def test_an_event_is_the_same_at_every_repeat() -> None:
    headers = {"paypal-transmission-id": "t-1"}

    assert paypal_events.dedupe_key(headers, event("X", {})) == "WH-1"
    assert paypal_events.dedupe_key(headers, b"{}") == "transmission:t-1"


class TestTheListOfEvents:
    def test_one_has_the_key_and_the_meaning_of_its_notification(self) -> None:
        posted = event("PAYMENT.CAPTURE.COMPLETED", CAPTURE)
        listed = paypal_events.listed(json.loads(posted))

        assert listed.dedupe_key == paypal_events.dedupe_key({"paypal-transmission-id": "t-1"}, posted) == "WH-1"
        assert paypal_events.read(listed.body) == paypal_events.read(posted)

    def test_one_without_an_id_is_not_passed_over(self) -> None:
        with pytest.raises(contract.CannotList):
            paypal_events.listed({"event_type": "PAYMENT.CAPTURE.COMPLETED", "resource": CAPTURE})
