"""What an answer of Stripe's proves. The answers are written by hand after its interface document."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import contract, currency, stripe, stripe_answers
from providers.contract import Absent, Approved, Declined, DeclineKind, NotSent, NotSentReason, Operation, Unknown

PAYMENT: dict[str, Any] = {
    "id": "pi_1",
    "object": "payment_intent",
    "amount": 1099,
    "amount_capturable": 0,
    "amount_received": 1099,
    "currency": "eur",
    "status": "succeeded",
    "metadata": {"gateway_reference": "at_1", "merchant_reference": "order-1"},
    "latest_charge": {"id": "ch_1", "payment_method_details": {"card": {"brand": "visa", "last4": "4242"}}},
    "last_payment_error": None,
    "next_action": None,
}
REFUND: dict[str, Any] = {
    "id": "re_1",
    "object": "refund",
    "amount": 500,
    "currency": "eur",
    "payment_intent": "pi_1",
    "status": "succeeded",
    "metadata": {"gateway_reference": "rf_1"},
}
HELD = {"status": "requires_capture", "amount_received": 0, "amount_capturable": 1099}

CHARGE = stripe.build_charge(
    contract.Charge(
        reference="at_1", amount=Decimal("10.99"), currency="EUR", method="card", token="pm_card_visa", capture=True
    ),
    currency.STRIPE,
)
_TARGET: dict[str, Any] = {"provider_transaction_id": "pi_1", "currency": "EUR"}
CAPTURE = stripe.build_capture(contract.Capture(reference="cp_1", amount=Decimal("6.00"), **_TARGET), currency.STRIPE)
CANCEL = stripe.build_cancel(contract.Cancel(reference="cn_1", amount=Decimal("10.99"), **_TARGET))
GIVE_BACK = stripe.build_refund(
    contract.Refund(reference="rf_1", amount=Decimal("5.00"), reason="other", **_TARGET), currency.STRIPE
)
ALL = (CHARGE, CAPTURE, CANCEL, GIVE_BACK)


def read(
    body: object, prepared: contract.Prepared = CHARGE, *, status: int = 200, headers: dict[str, str] | None = None
) -> contract.Outcome:
    answer = stripe_answers.Answer(status, {"Request-Id": "req_1"} | (headers or {}), body)
    return stripe_answers.read(answer, prepared, currency.STRIPE)


def refuse(status: int, prepared: contract.Prepared = CHARGE, **error: object) -> contract.Outcome:
    kind = "card_error" if status == 402 else "invalid_request_error"
    return read({"error": {"type": kind, "message": "No."} | error}, prepared, status=status)


def look_up(body: object, prepared: contract.Prepared = CHARGE) -> contract.Outcome | stripe_answers.MoreAfter:
    return stripe_answers.read_look_up(stripe_answers.Answer(200, {}, body), prepared, currency.STRIPE)


def reason(outcome: contract.Outcome | stripe_answers.MoreAfter) -> str:
    assert isinstance(outcome, Unknown)
    return outcome.reason


class TestACharge:
    def test_that_succeeded_is_approved_and_captured(self) -> None:
        assert read(PAYMENT) == Approved(
            provider_id="pi_1",
            captured=True,
            card=contract.Card(brand="visa", last4="4242"),
            trace=contract.Trace(http_status=200, provider_request_id="req_1", provider_status="succeeded"),
        )

    def test_that_holds_the_amount_is_approved_and_not_captured(self) -> None:
        outcome = read(PAYMENT | HELD)

        assert isinstance(outcome, Approved)
        assert not outcome.captured

    def test_with_an_unexpanded_charge_has_no_card(self) -> None:
        outcome = read(PAYMENT | {"latest_charge": "ch_1"})

        assert isinstance(outcome, Approved)
        assert outcome.card is None

    def test_that_wants_the_customer_gives_the_address(self) -> None:
        action = {"type": "redirect_to_url", "redirect_to_url": {"url": "https://bank.test/3ds"}}
        outcome = read(PAYMENT | {"status": "requires_action", "amount_received": 0, "next_action": action})

        assert isinstance(outcome, contract.ActionRequired)
        assert (outcome.provider_id, outcome.url) == ("pi_1", "https://bank.test/3ds")

    def test_that_wants_stripes_browser_code_is_declined_and_remembered(self) -> None:
        action = {"type": "use_stripe_sdk", "use_stripe_sdk": {}}
        outcome = read(PAYMENT | {"status": "requires_action", "amount_received": 0, "next_action": action})

        assert isinstance(outcome, Declined)
        assert (outcome.code, outcome.kind) == ("authentication_required", DeclineKind.AUTHENTICATION)
        assert outcome.provider_id == "pi_1"

    def test_in_processing_is_pending(self) -> None:
        assert isinstance(read(PAYMENT | {"status": "processing", "amount_received": 0}), contract.Pending)

    def test_that_was_cancelled_is_declined(self) -> None:
        outcome = read(PAYMENT | {"status": "canceled", "amount_received": 0})

        assert isinstance(outcome, Declined)
        assert outcome.code == "cancelled"

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"amount": 1100}, "amount_mismatch"),
            ({"amount": "1099"}, "amount_mismatch"),
            ({"amount": None}, "amount_mismatch"),
            ({"amount_received": 1000}, "unexpected_status"),
            ({"amount_received": 0}, "unexpected_status"),
            (HELD | {"amount_capturable": 1}, "unexpected_status"),
            ({"currency": "usd"}, "currency_mismatch"),
            ({"currency": None}, "currency_mismatch"),
            ({"metadata": {"gateway_reference": "at_2"}}, "reference_mismatch"),
            ({"metadata": {}}, "reference_mismatch"),
            ({"metadata": "at_1"}, "reference_mismatch"),
            ({"status": "teleported"}, "unexpected_status"),
            ({"status": None}, "unexpected_status"),
            ({"status": "requires_confirmation"}, "unexpected_status"),
            ({"status": "requires_payment_method"}, "unexpected_status"),
            ({"id": None}, "unreadable_answer"),
        ],
    )
    def test_that_does_not_agree_is_never_believed(self, change: dict[str, Any], why: str) -> None:
        assert reason(read(PAYMENT | change)) == why

    @pytest.mark.parametrize("body", [None, [], "ok", 7, {}, {"object": "list", "data": []}])
    def test_that_is_no_payment_is_never_believed(self, body: object) -> None:
        assert reason(read(body)) == "unreadable_answer"


class TestADecline:
    def test_carries_code_card_and_payment(self) -> None:
        outcome = refuse(
            402,
            code="card_declined",
            decline_code="insufficient_funds",
            advice_code="try_again_later",
            payment_intent=PAYMENT | {"status": "requires_payment_method", "latest_charge": "ch_1"},
            payment_method={"card": {"brand": "visa", "last4": "9995"}},
        )

        assert isinstance(outcome, Declined)
        assert (outcome.code, outcome.kind) == ("insufficient_funds", DeclineKind.SOFT)
        assert (outcome.provider_code, outcome.provider_id) == ("insufficient_funds", "pi_1")
        assert outcome.card == contract.Card(brand="visa", last4="9995")
        assert outcome.trace.provider_request_id == "req_1"

    def test_found_on_a_payment_reads_the_same(self) -> None:
        error = {"type": "card_error", "code": "card_declined", "decline_code": "lost_card", "message": "No."}
        refused = PAYMENT | {"status": "requires_payment_method", "amount_received": 0, "last_payment_error": error}
        outcome = look_up(refused)

        assert isinstance(outcome, Declined)
        assert (outcome.code, outcome.kind, outcome.provider_id) == ("lost_card", DeclineKind.HARD, "pi_1")

    def test_of_another_payment_is_never_believed(self) -> None:
        other = PAYMENT | {"metadata": {"gateway_reference": "at_2"}}

        assert reason(refuse(402, code="card_declined", payment_intent=other)) == "reference_mismatch"

    def test_without_a_card_error_is_never_believed(self) -> None:
        assert reason(read({"error": {"type": "api_error"}}, status=402)) == "http_402"


class TestAnError:
    @pytest.mark.parametrize("status", [401, 403])
    def test_of_credentials_proves_that_nothing_was_executed(self, status: int) -> None:
        outcome = refuse(status)

        assert isinstance(outcome, NotSent)
        assert outcome.reason is NotSentReason.CREDENTIALS

    @pytest.mark.parametrize(("retry_after", "seconds"), [("7", 7), ("", None), ("soon", None), ("-1", None)])
    def test_of_too_many_requests_says_when_to_come_back(self, retry_after: str, seconds: int | None) -> None:
        outcome = read({}, status=429, headers={"Retry-After": retry_after})

        assert isinstance(outcome, NotSent)
        assert (outcome.reason, outcome.retry_after_seconds) == (NotSentReason.THROTTLED, seconds)

    @pytest.mark.parametrize("status", [0, 100, 302, 408, 409, 410, 418, 500, 502, 503, 504, 999])
    @pytest.mark.parametrize("prepared", ALL, ids=lambda prepared: prepared.operation)
    def test_of_any_other_status_is_unknown(self, status: int, prepared: contract.Prepared) -> None:
        assert isinstance(refuse(status, prepared), Unknown)

    def test_of_a_key_used_for_other_parameters_is_unknown(self) -> None:
        assert reason(refuse(400, type="idempotency_error")) == "key_conflict"

    @pytest.mark.parametrize("status", [400, 404])
    def test_of_parameters_is_a_rejection(self, status: int) -> None:
        outcome = refuse(status, code="parameter_unknown", message="Received unknown parameter: x")

        assert isinstance(outcome, contract.Rejected)
        assert (outcome.provider_code, outcome.may_fail_over) == ("parameter_unknown", False)

    @pytest.mark.parametrize("body", [None, "<html>", [], {"error": "invalid"}, {"error": {"type": "api_error"}}])
    @pytest.mark.parametrize("status", [400, 402, 404])
    def test_without_stripes_words_is_unknown(self, status: int, body: object) -> None:
        assert isinstance(read(body, status=status), Unknown)

    @pytest.mark.parametrize(
        "code",
        [
            "amount_too_large",
            "amount_too_small",
            "card_not_supported",
            "currency_not_supported",
            "payment_method_not_available",
        ],
    )
    def test_of_this_psps_limits_may_be_tried_elsewhere_when_charging_only(self, code: str) -> None:
        charged, refunded = refuse(400, code=code), refuse(400, GIVE_BACK, code=code)

        assert isinstance(charged, contract.Rejected)
        assert charged.may_fail_over
        assert isinstance(refunded, contract.Rejected)
        assert not refunded.may_fail_over

    def test_message_repeats_no_token_and_no_key(self) -> None:
        told = "No such PaymentMethod: 'pm_1AbC_2'; customer cus_9; Invalid API Key provided: sk_test_***x1"
        outcome = refuse(400, message=told)

        assert isinstance(outcome, contract.Rejected)
        assert outcome.message == outcome.trace.message
        assert outcome.message == "No such PaymentMethod: 'pm_…'; customer cus_…; Invalid API Key provided: sk_…"


class TestACapture:
    def test_of_the_amount_asked_is_approved(self) -> None:
        assert isinstance(read(PAYMENT | {"amount_received": 600}, CAPTURE), Approved)

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({}, "amount_mismatch"),
            ({"amount_received": 600, "currency": "usd"}, "currency_mismatch"),
            ({"amount_received": 600, "id": "pi_2"}, "reference_mismatch"),
            (HELD, "unexpected_status"),
        ],
    )
    def test_that_does_not_agree_is_never_believed(self, change: dict[str, Any], why: str) -> None:
        assert reason(read(PAYMENT | change, CAPTURE)) == why

    @pytest.mark.parametrize("code", ["capture_charge_authorization_expired", "charge_expired_for_capture"])
    def test_of_an_expired_authorization_is_declined_for_good(self, code: str) -> None:
        outcome = refuse(400, CAPTURE, code=code)

        assert isinstance(outcome, Declined)
        assert (outcome.code, outcome.kind) == ("expired_authorization", DeclineKind.HARD)

    def test_refused_because_it_was_done_before_is_approved(self) -> None:
        done = PAYMENT | {"amount_received": 600}
        outcome = refuse(400, CAPTURE, code="payment_intent_unexpected_state", payment_intent=done)

        assert isinstance(outcome, Approved)

    def test_refused_because_another_amount_was_captured_is_not_believed(self) -> None:
        outcome = refuse(400, CAPTURE, code="payment_intent_unexpected_state", payment_intent=PAYMENT)

        assert reason(outcome) == "amount_mismatch"

    def test_not_reached_yet_is_absent_when_looked_up(self) -> None:
        assert isinstance(look_up(PAYMENT | HELD, CAPTURE), Absent)


class TestACancel:
    def test_that_cancelled_is_approved(self) -> None:
        assert isinstance(read(PAYMENT | {"status": "canceled"}, CANCEL), Approved)

    def test_of_a_captured_payment_is_refused(self) -> None:
        outcome = refuse(400, CANCEL, code="payment_intent_unexpected_state", payment_intent=PAYMENT)

        assert isinstance(outcome, Declined)
        assert outcome.code == "cancel_refused"

    def test_refused_without_showing_the_payment_is_unknown(self) -> None:
        assert isinstance(refuse(400, CANCEL, code="payment_intent_unexpected_state"), Unknown)

    @pytest.mark.parametrize("status", ["requires_capture", "requires_action", "processing"])
    def test_not_reached_yet_is_absent_when_looked_up(self, status: str) -> None:
        assert isinstance(look_up(PAYMENT | {"status": status}, CANCEL), Absent)


class TestARefund:
    @pytest.mark.parametrize(
        ("status", "outcome"),
        [
            ("succeeded", Approved),
            ("pending", contract.Pending),
            ("requires_action", contract.Pending),
            ("failed", Declined),
            ("canceled", Declined),
            ("teleported", Unknown),
        ],
    )
    def test_is_read_by_its_status(self, status: str, outcome: type[contract.Outcome]) -> None:
        assert isinstance(read(REFUND | {"status": status}, GIVE_BACK), outcome)

    def test_that_failed_says_why(self) -> None:
        outcome = read(REFUND | {"status": "failed", "failure_reason": "lost_or_stolen_card"}, GIVE_BACK)

        assert isinstance(outcome, Declined)
        assert (outcome.code, outcome.provider_code) == ("refund_failed", "lost_or_stolen_card")

    @pytest.mark.parametrize(
        "change", [{"amount": 501}, {"currency": "usd"}, {"metadata": {}}, {"metadata": {"gateway_reference": "rf_2"}}]
    )
    def test_that_does_not_agree_is_never_believed(self, change: dict[str, Any]) -> None:
        assert isinstance(read(REFUND | change, GIVE_BACK), Unknown)

    @pytest.mark.parametrize(
        "error", [{"code": "charge_already_refunded"}, {"param": "amount"}, {"code": "charge_disputed"}, {}]
    )
    def test_beyond_what_is_left_is_refused(self, error: dict[str, object]) -> None:
        outcome = refuse(400, GIVE_BACK, **error)

        assert isinstance(outcome, Declined)
        assert outcome.code == "refund_refused"


class TestLookingUp:
    def test_finds_ours_among_many(self) -> None:
        others = [PAYMENT | {"id": f"pi_{n}", "metadata": {"gateway_reference": f"at_{n}"}} for n in range(2, 5)]
        page = {"object": "list", "data": [*others, PAYMENT], "has_more": True}

        assert isinstance(look_up(page), Approved)

    def test_turns_the_page_while_there_are_more(self) -> None:
        other = PAYMENT | {"id": "pi_9", "metadata": {}}

        assert look_up({"object": "list", "data": [other], "has_more": True}) == stripe_answers.MoreAfter("pi_9")
        assert isinstance(look_up({"object": "list", "data": [other], "has_more": False}), Absent)

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500])
    def test_that_fails_proves_nothing(self, status: int) -> None:
        answer = stripe_answers.Answer(status, {}, {"error": {"type": "invalid_request_error"}})

        assert isinstance(stripe_answers.read_look_up(answer, CHARGE, currency.STRIPE), Unknown)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*PAYMENT, "error", "data", "type", "code", "card"]), inner, max_size=6)
    ),
    max_leaves=12,
)


@given(json_values, st.sampled_from(ALL), st.integers(min_value=0, max_value=999))
def test_no_answer_makes_a_reader_raise_or_approve(body: object, prepared: contract.Prepared, status: int) -> None:
    assert not isinstance(read(body, prepared, status=status), Approved)
    look_up(body, prepared)


@given(st.dictionaries(st.sampled_from(sorted(PAYMENT)), json_values), st.sampled_from(ALL))
def test_an_approval_needs_every_field_right(change: dict[str, object], prepared: contract.Prepared) -> None:
    right = REFUND if prepared.operation is Operation.REFUND else PAYMENT
    outcome = read(right | change, prepared)
    if isinstance(outcome, Approved) and prepared.operation is Operation.CHARGE:
        assert outcome == replace(outcome, provider_id=str((right | change)["id"]))
        assert (right | change)["amount"] == 1099
