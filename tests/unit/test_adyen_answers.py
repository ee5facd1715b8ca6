"""What an answer of Adyen's proves. The answers are written by hand after its interface document."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import adyen_answers, adyen_requests, contract
from providers.contract import (
    ActionRequired,
    Approved,
    Declined,
    DeclineKind,
    NotSent,
    NotSentReason,
    Pending,
    Rejected,
    Unknown,
)

PSP, MODIFICATION = "NC6HT9CRT65ZGN82", "QFQTPCQ8HXSKGK82"
ACCOUNT = adyen_requests.Account(
    endpoint="https://adyen.test/v71",
    merchant_account="TestMerchant",
    shopper_reference="paygate",
    recurring_model="CardOnFile",
    payment_methods={"bank_transfer": "ideal"},
)
ASK: dict[str, Any] = {"amount": Decimal("10.99"), "currency": "EUR", "method": "card", "token": "shopper_1/M5N7TQ4TG5"}
TARGET: dict[str, Any] = {"provider_transaction_id": PSP, "amount": Decimal("6.00"), "currency": "EUR"}
CHARGE = adyen_requests.build_charge(contract.Charge(reference="at_1", capture=True, **ASK), ACCOUNT)
HOLD = adyen_requests.build_charge(contract.Charge(reference="at_1", capture=False, **ASK), ACCOUNT)
CAPTURE = adyen_requests.build_capture(contract.Capture(reference="cp_1", **TARGET), ACCOUNT)
CANCEL = adyen_requests.build_cancel(contract.Cancel(reference="cn_1", **TARGET), ACCOUNT)
UNSEEN = adyen_requests.build_cancel(
    contract.Cancel(reference="cn_1", **TARGET | {"provider_transaction_id": "at_1"}), ACCOUNT
)
REFUND = adyen_requests.build_refund(contract.Refund(reference="rf_1", reason="other", **TARGET), ACCOUNT)
ALL = (CHARGE, HOLD, CAPTURE, CANCEL, UNSEEN, REFUND)

PAYMENT: dict[str, Any] = {
    "additionalData": {"cardSummary": "1142", "paymentMethod": "visa"},
    "amount": {"currency": "EUR", "value": 1099},
    "merchantReference": "at_1",
    "pspReference": PSP,
    "resultCode": "Authorised",
}
REFUSED = {"resultCode": "Refused", "refusalReason": "Not enough balance", "refusalReasonCode": "12"}
REDIRECT = {
    "resultCode": "RedirectShopper",
    "action": {"type": "redirect", "method": "GET", "url": "https://bank.test/pay?x=1"},
}
RECEIVED: dict[str, Any] = {
    "amount": {"currency": "EUR", "value": 600},
    "merchantAccount": "TestMerchant",
    "paymentPspReference": PSP,
    "pspReference": MODIFICATION,
    "status": "received",
}


def answer(body: object, status: int = 200, headers: dict[str, str] | None = None) -> adyen_answers.Answer:
    return adyen_answers.Answer.of(status, headers or {}, json.dumps(body).encode())


def read(
    body: object, prepared: contract.Prepared = CHARGE, *, status: int = 200, headers: dict[str, str] | None = None
) -> contract.Outcome:
    return adyen_answers.read(answer(body, status, headers), prepared)


def refuse(status: int, prepared: contract.Prepared = CHARGE, *, transient: bool = False, **error: object) -> Any:
    body = {"status": status, "errorCode": "130", "message": "No.", "errorType": "validation"} | error
    return read(body, prepared, status=status, headers={"Transient-Error": "true"} if transient else {})


class TestPayments:
    def test_authorised_is_approved_and_captured_where_nothing_else_was_asked(self) -> None:
        assert read(PAYMENT) == Approved(
            provider_id=PSP,
            captured=True,
            card=contract.Card(brand="visa", last4="1142"),
            trace=contract.Trace(http_status=200, provider_request_id=PSP, provider_status="Authorised"),
        )

    def test_authorised_is_a_hold_where_one_was_asked(self) -> None:
        outcome = read(PAYMENT | {"merchantReference": "at_1-hold"}, HOLD)

        assert isinstance(outcome, Approved)
        assert not outcome.captured

    @pytest.mark.parametrize(("theirs", "ours"), [("mc", "mastercard"), ("amex", "amex"), ("cup", "unionpay")])
    def test_brands_have_one_name_at_all_psps(self, theirs: str, ours: str) -> None:
        outcome = read(PAYMENT | {"paymentMethod": {"type": "scheme", "brand": theirs}})

        assert isinstance(outcome, Approved)
        assert outcome.card == contract.Card(brand=ours, last4="1142")

    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            ({"merchantReference": "at_2"}, "reference_mismatch"),
            ({"merchantReference": "at_1-hold"}, "reference_mismatch"),
            ({"merchantReference": ["at_1"]}, "reference_mismatch"),
            ({"merchantReference": None}, "reference_missing"),
            ({"amount": {"currency": "EUR", "value": 1098}}, "amount_mismatch"),
            ({"amount": {"currency": "EUR", "value": True}}, "amount_mismatch"),
            ({"amount": {"currency": "USD", "value": 1099}}, "currency_mismatch"),
            ({"amount": None}, "amount_mismatch"),
            ({"pspReference": None}, "unexpected_status"),
            ({"pspReference": "../../x"}, "unexpected_status"),
            (
                {"resultCode": "PartiallyAuthorised", "amount": {"currency": "EUR", "value": 500}},
                "partially_authorised",
            ),
            ({"resultCode": "Success"}, "unexpected_status"),
            ({"resultCode": "AuthenticationFinished"}, "unexpected_status"),
            ({"resultCode": "RedirectShopper"}, "unexpected_status"),
            ({"resultCode": None}, "unreadable_answer"),
        ],
    )
    def test_what_cannot_be_believed_is_unknown(self, changed: dict[str, Any], reason: str) -> None:
        outcome = read(PAYMENT | changed)

        assert isinstance(outcome, Unknown)
        assert outcome.reason == reason

    def test_a_payment_that_says_nothing_of_its_amount_has_the_one_we_asked_for(self) -> None:
        unsaid = {name: value for name, value in PAYMENT.items() if name != "amount"}

        assert isinstance(read(unsaid), Approved)

    def test_money_held_in_part_keeps_its_id_for_who_looks_after_it(self) -> None:
        outcome = read(PAYMENT | {"resultCode": "PartiallyAuthorised"})

        assert isinstance(outcome, Unknown)
        assert outcome.provider_id == PSP

    @pytest.mark.parametrize("result", ["Pending", "Received"])
    def test_what_is_decided_later_is_pending(self, result: str) -> None:
        outcome = read({"merchantReference": "at_1", "pspReference": PSP, "resultCode": result})

        assert isinstance(outcome, Pending)
        assert outcome.provider_id == PSP

    def test_what_has_no_id_yet_goes_by_our_reference(self) -> None:
        outcome = read({"merchantReference": "at_1-hold", "resultCode": "Received"}, HOLD)

        assert isinstance(outcome, Pending)
        assert outcome.provider_id == "at_1-hold"


class TestRefusals:
    def test_refused_is_declined_though_the_status_is_200(self) -> None:
        outcome = read(PAYMENT | REFUSED)

        assert isinstance(outcome, Declined)
        assert (outcome.code, outcome.kind, outcome.may_fail_over) == ("insufficient_funds", DeclineKind.SOFT, False)
        assert (outcome.provider_code, outcome.message) == ("12", "Not enough balance")
        assert (outcome.provider_id, outcome.trace.provider_code) == (PSP, "12")

    @pytest.mark.parametrize(
        ("result", "code", "ours"),
        [
            ("Refused", "2", "generic_decline"),
            ("Refused", "777", "unknown"),
            ("Refused", None, "unknown"),
            ("Error", "4", "processing_error"),
            ("Error", "0", "unknown"),
            ("Error", None, "processing_error"),
            ("Cancelled", "22", "risk_blocked"),
            ("Cancelled", None, "shopper_cancelled"),
        ],
    )
    def test_each_final_no_is_a_decline(self, result: str, code: str | None, ours: str) -> None:
        outcome = read(PAYMENT | {"resultCode": result, "refusalReasonCode": code})

        assert isinstance(outcome, Declined)
        assert outcome.code == ours

    def test_the_schemes_advice_wins(self) -> None:
        advised = {"additionalData": {"merchantAdviceCode": "03 : Do not try again"}}
        outcome = read(PAYMENT | REFUSED | {"refusalReasonCode": "2"} | advised)

        assert isinstance(outcome, Declined)
        assert (outcome.kind, outcome.may_fail_over) == (DeclineKind.HARD, False)

    @pytest.mark.parametrize("changed", [{"merchantReference": "at_2"}, {"merchantReference": None}])
    def test_a_refusal_of_another_payment_is_not_ours(self, changed: dict[str, Any]) -> None:
        assert isinstance(read(PAYMENT | REFUSED | changed), Unknown)

    def test_a_refusals_amount_does_not_matter(self) -> None:
        assert isinstance(read(PAYMENT | REFUSED | {"amount": {"currency": "EUR", "value": 0}}), Declined)


class TestActions:
    def test_a_redirect_by_get_is_an_address_for_the_customer(self) -> None:
        outcome = read({"merchantReference": "at_1", "pspReference": PSP} | REDIRECT)

        assert isinstance(outcome, ActionRequired)
        assert (outcome.provider_id, outcome.url) == (PSP, "https://bank.test/pay?x=1")

    def test_without_an_id_it_goes_by_our_reference(self) -> None:
        outcome = read(REDIRECT)

        assert isinstance(outcome, ActionRequired)
        assert outcome.provider_id == "at_1"

    def test_another_payments_redirect_is_not_ours(self) -> None:
        assert isinstance(read(REDIRECT | {"merchantReference": "at_2"}), Unknown)

    @pytest.mark.parametrize(
        ("result", "action"),
        [
            ("IdentifyShopper", {"type": "threeDS2", "subtype": "fingerprint", "token": "x"}),
            ("ChallengeShopper", {"type": "threeDS2", "subtype": "challenge", "token": "x"}),
            (
                "RedirectShopper",
                {"type": "redirect", "method": "POST", "url": "https://bank.test", "data": {"MD": "x"}},
            ),
            ("RedirectShopper", {"type": "redirect", "method": "GET", "url": "javascript:alert(1)"}),
            ("RedirectShopper", {"type": "redirect", "method": "GET"}),
            ("Pending", {"type": "qrCode", "qrCodeData": "x"}),
            ("PresentToShopper", {"type": "voucher", "reference": "x"}),
            ("Pending", {"type": "sdk", "sdkData": {}}),
        ],
    )
    def test_what_no_address_can_express_is_declined(self, result: str, action: dict[str, Any]) -> None:
        outcome = read({"resultCode": result, "action": action})

        assert isinstance(outcome, Declined)
        assert (outcome.code, outcome.kind) == ("authentication_required", DeclineKind.AUTHENTICATION)
        assert outcome.provider_code == action["type"]
        assert not outcome.may_fail_over

    def test_waiting_for_the_customers_app_is_pending(self) -> None:
        assert isinstance(read({"resultCode": "Pending", "action": {"type": "await"}, "pspReference": PSP}), Pending)


class TestComingBack:
    def details(self, body: object, known: str | None = PSP, status: int = 200) -> contract.Outcome:
        return adyen_answers.read_details(answer(body, status), CHARGE, known)

    def test_what_follows_is_read_like_a_payment(self) -> None:
        assert isinstance(self.details(PAYMENT), Approved)
        assert isinstance(self.details(PAYMENT | REFUSED), Declined)
        assert isinstance(self.details(PAYMENT | REDIRECT), ActionRequired)
        assert isinstance(self.details(PAYMENT | {"merchantReference": "at_2"}), Unknown)

    def test_the_id_we_know_stands_for_our_reference(self) -> None:
        outcome = self.details({"resultCode": "Authorised", "pspReference": PSP})

        assert isinstance(outcome, Approved)
        assert isinstance(self.details({"resultCode": "Authorised", "pspReference": MODIFICATION}), Unknown)
        assert isinstance(self.details({"resultCode": "Authorised", "pspReference": PSP}, "at_1"), Unknown)
        assert isinstance(self.details({"resultCode": "Authorised"}, None), Unknown)

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500, 503])
    def test_an_error_says_nothing_of_the_charge(self, status: int) -> None:
        outcome = self.details({"status": status, "errorCode": "905"}, status=status)

        assert isinstance(outcome, Unknown)
        assert (outcome.reason, outcome.provider_id) == ("return_not_accepted", PSP)

    def test_a_second_return_beside_the_first_waits(self) -> None:
        outcome = self.details({"status": 422, "errorCode": "704"}, status=422)

        assert isinstance(outcome, Unknown)
        assert outcome.reason == "in_progress"


class TestModifications:
    @pytest.mark.parametrize("prepared", [CAPTURE, CANCEL, REFUND])
    def test_received_is_pending_under_its_own_id(self, prepared: contract.Prepared) -> None:
        outcome = read(RECEIVED | {"reference": prepared.reference}, prepared, status=201)

        assert isinstance(outcome, Pending)
        assert outcome.provider_id == MODIFICATION

    def test_so_is_a_cancel_by_our_reference(self) -> None:
        unseen = {name: value for name, value in RECEIVED.items() if name != "paymentPspReference"}

        assert isinstance(read(unseen | {"paymentReference": "at_1"}, UNSEEN, status=201), Pending)
        for other in (unseen, RECEIVED, unseen | {"paymentReference": "at_2"}):
            assert isinstance(read(other, UNSEEN, status=201), Unknown)

    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            ({"status": "done"}, "unexpected_status"),
            ({"pspReference": ""}, "unreadable_answer"),
            ({"reference": "rf_2"}, "reference_mismatch"),
            ({"paymentPspReference": MODIFICATION}, "reference_mismatch"),
            ({"paymentPspReference": None}, "reference_mismatch"),
            ({"paymentReference": "at_1"}, "reference_mismatch"),
            ({"merchantAccount": "Other"}, "merchant_account_mismatch"),
            ({"amount": {"currency": "EUR", "value": 601}}, "amount_mismatch"),
            ({"amount": {"currency": "USD", "value": 600}}, "currency_mismatch"),
            ({"amount": None}, "amount_mismatch"),
        ],
    )
    def test_what_repeats_something_else_is_unknown(self, changed: dict[str, Any], reason: str) -> None:
        outcome = read(RECEIVED | changed, REFUND, status=201)

        assert isinstance(outcome, Unknown)
        assert outcome.reason == reason


class TestErrors:
    @pytest.mark.parametrize("status", [401, 403])
    def test_a_refused_key_proves_that_nothing_was_executed(self, status: int) -> None:
        assert refuse(status, errorCode="901").reason is NotSentReason.CREDENTIALS

    def test_so_do_too_many_requests(self) -> None:
        outcome = read({"status": 429}, status=429, headers={"Retry-After": "7"})

        assert isinstance(outcome, NotSent)
        assert (outcome.reason, outcome.retry_after_seconds) == (NotSentReason.THROTTLED, 7)

    @pytest.mark.parametrize("status", [409, 422, 500, 503])
    def test_so_does_a_transient_error(self, status: int) -> None:
        assert refuse(status, transient=True).reason is NotSentReason.UNAVAILABLE

    def test_so_does_a_memory_of_keys_that_was_down(self) -> None:
        assert refuse(503, errorCode="703").reason is NotSentReason.UNAVAILABLE

    @pytest.mark.parametrize("status", [409, 422])
    @pytest.mark.parametrize("transient", [True, False])
    def test_a_request_in_progress_is_unknown_whatever_the_header_says(self, status: int, transient: bool) -> None:
        outcome = refuse(status, transient=transient, errorCode="704")

        assert isinstance(outcome, Unknown)
        assert outcome.reason == "in_progress"

    @pytest.mark.parametrize("status", [400, 404, 422])
    @pytest.mark.parametrize("prepared", ALL)
    def test_an_invalid_request_was_not_executed(self, status: int, prepared: contract.Prepared) -> None:
        outcome = refuse(status, prepared, errorCode="14_030", message="Return URL is missing.")

        assert isinstance(outcome, Rejected)
        assert (outcome.provider_code, outcome.message) == ("14_030", "Return URL is missing.")
        assert not outcome.may_fail_over

    def test_problem_documents_are_errors_too(self) -> None:
        problem = {"type": "https://adyen.test/e", "title": "Invalid", "status": 422, "detail": "No such field"}
        outcome = read(problem, status=422)

        assert isinstance(outcome, Rejected)
        assert outcome.message == "No such field"

    def test_what_the_account_is_not_configured_for_another_psp_may_do(self) -> None:
        assert refuse(500, errorCode="905", errorType="configuration").may_fail_over
        assert not refuse(500, REFUND, errorCode="905", errorType="configuration").may_fail_over

    @pytest.mark.parametrize("status", [302, 408, 409, 418, 500, 502, 503, 504])
    def test_every_other_error_may_have_been_executed(self, status: int) -> None:
        outcome = refuse(status)

        assert isinstance(outcome, Unknown)
        assert outcome.reason == f"http_{status}"

    @pytest.mark.parametrize("status", [400, 404, 422])
    def test_an_error_that_is_not_adyens_proves_nothing(self, status: int) -> None:
        assert isinstance(read("<html>", status=status), Unknown)

    def test_token_and_shopper_are_not_repeated(self) -> None:
        outcome = refuse(422, errorCode="803", message="PaymentDetail not found: M5N7TQ4TG5 of shopper_1")

        assert outcome.message == "PaymentDetail not found: … of …"
        assert "M5N7TQ4TG5" not in repr(outcome)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
SPOILT = st.builds(
    lambda base, name, value: base | {name: value},
    st.sampled_from([PAYMENT, PAYMENT | REFUSED, PAYMENT | REDIRECT, RECEIVED, {"errorCode": "130"}]),
    st.sampled_from(sorted(PAYMENT | REFUSED | REDIRECT | RECEIVED | {"errorCode": "", "message": "", "title": ""})),
    JSON,
)


@given(
    body=JSON | SPOILT,
    status=st.sampled_from([200, 201, 302, 400, 401, 403, 404, 409, 422, 429, 500, 503]),
    prepared=st.sampled_from(ALL),
)
def test_no_answer_makes_a_reader_raise(body: object, status: int, prepared: contract.Prepared) -> None:
    adyen_answers.read(answer(body, status), prepared)
    adyen_answers.read_details(answer(body, status), prepared, PSP)


@given(body=JSON, status=st.sampled_from([200, 201, 302, 500]), prepared=st.sampled_from(ALL))
def test_nonsense_is_never_more_than_unknown(body: object, status: int, prepared: contract.Prepared) -> None:
    assert isinstance(adyen_answers.read(answer(body, status), prepared), Unknown)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 10_000])
def test_what_is_not_json_is_unknown(content: bytes) -> None:
    for status in (200, 422, 500):
        assert isinstance(adyen_answers.read(adyen_answers.Answer.of(status, {}, content), CHARGE), Unknown)
