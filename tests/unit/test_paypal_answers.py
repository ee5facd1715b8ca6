"""What an answer of PayPal's proves. The answers are written by hand after its interface documents."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import contract, paypal_answers, paypal_requests
from providers.contract import Absent, Approved, Declined, DeclineKind, NotSent, NotSentReason, Operation, Unknown
from providers.paypal_outcomes import Answer, Ready, Settled

MONEY = {"currency_code": "EUR", "value": "10.99"}
PARTIAL = {"currency_code": "EUR", "value": "6.00"}
CAPTURED: dict[str, Any] = {"id": "3C67", "status": "COMPLETED", "amount": MONEY, "custom_id": "at_1"}
HELD: dict[str, Any] = {"id": "9AU7", "status": "CREATED", "amount": MONEY, "custom_id": "at_1"}
TAKEN: dict[str, Any] = {"id": "3C68", "status": "COMPLETED", "amount": PARTIAL, "invoice_id": "cp_1"}
GIVEN: dict[str, Any] = {"id": "1JU0", "status": "COMPLETED", "amount": PARTIAL, "custom_id": "rf_1"}
LINKS = [{"rel": "payer-action", "href": "https://paypal.test/checkoutnow?token=5O19", "method": "GET"}]
CARD = {"card": {"brand": "VISA", "last_digits": "4242"}}


def a_charge(**changed: Any) -> contract.Prepared:
    asked: dict[str, Any] = {
        "reference": "at_1",
        "amount": Decimal("10.99"),
        "currency": "EUR",
        "method": "card",
        "token": "vault_1",
        "capture": True,
        "return_url": "https://shop.test/back",
    }
    return paypal_requests.build_charge(contract.Charge(**asked | changed))


_TARGET: dict[str, Any] = {"provider_transaction_id": "5O19", "currency": "EUR"}
SALE = a_charge()
ALONE = a_charge(return_url=None)
AUTHORIZE = a_charge(capture=False)
WALLET = a_charge(method="e_wallet", token=None)
CAPTURE = paypal_requests.build_capture(contract.Capture(reference="cp_1", amount=Decimal("6.00"), **_TARGET))
CANCEL = paypal_requests.build_cancel(contract.Cancel(reference="cn_1", amount=Decimal("10.99"), **_TARGET))
GIVE_BACK = paypal_requests.build_refund(
    contract.Refund(reference="rf_1", amount=Decimal("6.00"), reason="other", **_TARGET)
)
ALL = (SALE, AUTHORIZE, WALLET, CAPTURE, CANCEL, GIVE_BACK)


def order(status: str = "COMPLETED", /, **changed: Any) -> dict[str, Any]:
    unit: dict[str, Any] = {"reference_id": "default", "custom_id": "at_1", "amount": MONEY}
    payments = {name: changed.pop(name) for name in ("captures", "authorizations", "refunds") if name in changed}
    unit |= changed.pop("unit", {})
    shown = {"id": "5O19", "intent": "CAPTURE", "status": status, "payment_source": CARD}
    return shown | {"purchase_units": [unit | ({"payments": payments} if payments else {})]} | changed


def read(body: object, prepared: contract.Prepared = SALE, *, status: int = 201, retry_after: str = "") -> Any:
    answer = Answer(status, {"Paypal-Debug-Id": "d1", "Retry-After": retry_after}, body)
    if prepared.operation is Operation.CHARGE:
        return paypal_answers.read_charge(answer, prepared)
    return paypal_answers.read_follow_up(answer, prepared, "5O19")


def look(body: object, prepared: contract.Prepared = SALE, *, status: int = 200) -> Any:
    return paypal_answers.read_look_up(Answer(status, {}, body), prepared)


def refuse(issue: str, prepared: contract.Prepared = SALE, *, status: int = 422, **detail: str) -> Any:
    body = {"name": "UNPROCESSABLE_ENTITY", "message": "No.", "details": [{"issue": issue} | detail]}
    return read(body, prepared, status=status)


def reason(outcome: object) -> str:
    assert isinstance(outcome, Unknown)
    return outcome.reason


class TestASale:
    def test_that_was_captured_is_approved(self) -> None:
        assert read(order(captures=[CAPTURED])) == Approved(
            provider_id="5O19",
            captured=True,
            card=contract.Card(brand="visa", last4="4242"),
            trace=contract.Trace(http_status=201, provider_request_id="d1", provider_status="COMPLETED"),
        )

    @pytest.mark.parametrize("status", ["COMPLETED", "PARTIALLY_REFUNDED", "REFUNDED"])
    def test_stays_approved_whatever_is_given_back_later(self, status: str) -> None:
        assert isinstance(read(order(captures=[CAPTURED | {"status": status}])), Approved)

    def test_of_a_wallet_shows_no_card(self) -> None:
        outcome = read(order(captures=[CAPTURED], payment_source={"paypal": {"account_id": "X"}}))

        assert isinstance(outcome, Approved)
        assert outcome.card is None

    def test_that_paypal_reviews_is_pending(self) -> None:
        assert isinstance(read(order(captures=[CAPTURED | {"status": "PENDING"}])), contract.Pending)

    def test_that_the_processor_declined_is_declined_although_the_order_is_complete(self) -> None:
        told = {"response_code": "5120", "payment_advice_code": "02"}
        outcome = read(order(captures=[CAPTURED | {"status": "DECLINED", "processor_response": told}]))

        assert isinstance(outcome, Declined)
        assert (outcome.code, outcome.kind, outcome.provider_code) == ("insufficient_funds", DeclineKind.SOFT, "5120")
        assert outcome.provider_id == "5O19"
        assert outcome.card == contract.Card(brand="visa", last4="4242")

    def test_declined_once_and_then_captured_is_approved(self) -> None:
        assert isinstance(read(order(captures=[CAPTURED | {"status": "DECLINED"}, CAPTURED])), Approved)

    @pytest.mark.parametrize("code", ["1000", "PPIF"])
    def test_declined_for_no_proven_reason_is_unknown(self, code: str) -> None:
        declined = CAPTURED | {"status": "DECLINED", "processor_response": {"response_code": code}}

        assert reason(read(order(captures=[declined]))) == f"processor_{code}"

    @pytest.mark.parametrize(
        ("unit", "capture", "why"),
        [
            ({"custom_id": "at_2"}, {}, "reference_mismatch"),
            ({"custom_id": None}, {}, "reference_mismatch"),
            ({"custom_id": "given-up.at_1"}, {}, "reference_mismatch"),
            ({"amount": {"currency_code": "EUR", "value": "11.00"}}, {}, "amount_mismatch"),
            ({"amount": {"currency_code": "USD", "value": "10.99"}}, {}, "currency_mismatch"),
            ({"amount": {"currency_code": "EUR", "value": 10.99}}, {}, "amount_mismatch"),
            ({"amount": None}, {}, "amount_mismatch"),
            ({}, {"amount": {"currency_code": "EUR", "value": "1.00"}}, "amount_mismatch"),
            ({}, {"amount": {"currency_code": "USD", "value": "10.99"}}, "currency_mismatch"),
            ({}, {"status": "TELEPORTED"}, "unexpected_status"),
            ({}, {"status": None}, "unexpected_status"),
        ],
    )
    def test_that_does_not_agree_is_never_believed(self, unit: Any, capture: Any, why: str) -> None:
        assert reason(read(order(unit=unit, captures=[CAPTURED | capture]))) == why

    def test_of_another_intent_is_never_believed(self) -> None:
        assert reason(read(order(captures=[CAPTURED], intent="AUTHORIZE"))) == "intent_mismatch"

    def test_of_a_complete_order_without_captures_is_never_believed(self) -> None:
        assert reason(read(order())) == "unexpected_status"

    @pytest.mark.parametrize(
        "body", [None, [], "ok", 7, {}, {"id": "5O19"}, order(id=None), order(id="../x"), {"purchase_units": [7]}]
    )
    def test_that_is_no_order_is_never_believed(self, body: object) -> None:
        assert reason(read(body)) == "unreadable_answer"


class TestAnAuthorization:
    @pytest.mark.parametrize("status", ["CREATED", "CAPTURED", "PARTIALLY_CAPTURED"])
    def test_that_holds_or_held_the_amount_is_approved(self, status: str) -> None:
        outcome = read(order(authorizations=[HELD | {"status": status}], intent="AUTHORIZE"), AUTHORIZE)

        assert isinstance(outcome, Approved)
        assert not outcome.captured

    @pytest.mark.parametrize(
        ("status", "expected"), [("PENDING", contract.Pending), ("DENIED", Declined), ("VOIDED", Declined)]
    )
    def test_is_else_what_its_status_says(self, status: str, expected: type[object]) -> None:
        outcome = read(order(authorizations=[HELD | {"status": status}], intent="AUTHORIZE"), AUTHORIZE)

        assert isinstance(outcome, expected)

    def test_of_another_amount_is_never_believed(self) -> None:
        other = order(authorizations=[HELD | {"amount": PARTIAL}], intent="AUTHORIZE")

        assert reason(read(other, AUTHORIZE)) == "amount_mismatch"


class TestAnOpenOrder:
    def test_leads_the_customer_to_paypal(self) -> None:
        outcome = read(order("PAYER_ACTION_REQUIRED", links=LINKS))

        assert isinstance(outcome, contract.ActionRequired)
        assert (outcome.provider_id, outcome.url) == ("5O19", LINKS[0]["href"])

    def test_may_call_the_link_approve(self) -> None:
        outcome = read(order("CREATED", links=[LINKS[0] | {"rel": "approve"}]), WALLET)

        assert isinstance(outcome, contract.ActionRequired)

    def test_without_a_way_back_is_declined(self) -> None:
        outcome = read(order("PAYER_ACTION_REQUIRED", links=LINKS), ALONE)

        assert isinstance(outcome, Declined)
        assert (outcome.code, outcome.kind) == ("authentication_required", DeclineKind.AUTHENTICATION)
        assert outcome.provider_id == "5O19"

    def test_that_was_approved_waits_for_us(self) -> None:
        assert isinstance(read(order("APPROVED"), WALLET), Ready)
        assert isinstance(look(order("APPROVED"), WALLET), Ready)

    def test_of_a_vaulted_card_that_paypal_only_created_waits_for_us(self) -> None:
        assert isinstance(read(order("CREATED", links=[LINKS[0] | {"rel": "approve"}])), Ready)

    @pytest.mark.parametrize(
        ("status", "expected"),
        [("Y", Ready), ("A", Ready), ("N", Declined), ("R", Declined), ("C", None), (None, None)],
    )
    def test_goes_where_the_authentication_leads(self, status: str | None, expected: type[object] | None) -> None:
        told = {"authentication_result": {"three_d_secure": {"authentication_status": status}}}
        source = {"card": CARD["card"] | told}
        outcome = look(order("PAYER_ACTION_REQUIRED", payment_source=source, links=LINKS))

        assert isinstance(outcome, expected or contract.ActionRequired)

    def test_that_was_voided_is_over(self) -> None:
        outcome = look(order("VOIDED"))

        assert isinstance(outcome, Declined)
        assert outcome.code == "cancelled"

    def test_that_we_gave_up_is_over(self) -> None:
        outcome = look(order("APPROVED", unit={"custom_id": "given-up.at_1"}))

        assert isinstance(outcome, Declined)
        assert outcome.code == "cancelled"

    def test_without_a_link_is_unknown(self) -> None:
        assert reason(read(order("PAYER_ACTION_REQUIRED"))) == "unexpected_status"


class TestTaking:
    READY = Ready("5O19", "https://paypal.test/again", contract.NO_TRACE)

    def taking(self, body: object, status: int = 201, prepared: contract.Prepared = WALLET) -> Any:
        return paypal_answers.read_taking(Answer(status, {}, body), prepared, self.READY)

    def refused(self, issue: str, status: int = 422) -> Any:
        return self.taking({"name": "UNPROCESSABLE_ENTITY", "details": [{"issue": issue}]}, status)

    def test_that_captures_is_approved(self) -> None:
        assert isinstance(self.taking(order(captures=[CAPTURED])), Approved)

    @pytest.mark.parametrize(
        "issue", ["ORDER_NOT_APPROVED", "PAYER_ACTION_REQUIRED", "REDIRECT_PAYER_FOR_ALTERNATE_FUNDING"]
    )
    def test_too_early_sends_the_customer_back(self, issue: str) -> None:
        outcome = self.refused(issue)

        assert isinstance(outcome, contract.ActionRequired)
        assert outcome.url == "https://paypal.test/again"

    @pytest.mark.parametrize("issue", ["ORDER_ALREADY_CAPTURED", "ORDER_COMPLETION_IN_PROGRESS"])
    def test_too_late_is_read_from_the_order(self, issue: str) -> None:
        assert isinstance(self.refused(issue), Settled)

    def test_with_a_declining_instrument_is_declined(self) -> None:
        outcome = self.refused("INSTRUMENT_DECLINED")

        assert isinstance(outcome, Declined)
        assert (outcome.code, outcome.may_fail_over, outcome.provider_id) == ("generic_decline", False, "5O19")

    @pytest.mark.parametrize("status", [401, 403, 409, 429, 500, 503])
    def test_never_proves_that_nothing_was_executed(self, status: int) -> None:
        outcome = self.taking({"name": "X"}, status)

        assert isinstance(outcome, Unknown)
        assert outcome.provider_id == "5O19"


class TestAnError:
    @pytest.mark.parametrize("status", [401, 403])
    @pytest.mark.parametrize("prepared", ALL, ids=lambda prepared: prepared.operation)
    def test_of_credentials_proves_that_nothing_was_executed(self, status: int, prepared: contract.Prepared) -> None:
        outcome = refuse("PERMISSION_DENIED", prepared, status=status)

        assert isinstance(outcome, NotSent)
        assert outcome.reason is NotSentReason.CREDENTIALS

    @pytest.mark.parametrize(("retry_after", "seconds"), [("7", 7), ("", None), ("soon", None), ("-1", None)])
    def test_of_too_many_requests_says_when_to_come_back(self, retry_after: str, seconds: int | None) -> None:
        outcome = read({"name": "RATE_LIMIT_REACHED"}, status=429, retry_after=retry_after)

        assert isinstance(outcome, NotSent)
        assert (outcome.reason, outcome.retry_after_seconds) == (NotSentReason.THROTTLED, seconds)

    @pytest.mark.parametrize("status", [0, 100, 302, 402, 408, 409, 410, 418, 500, 502, 503, 504, 999])
    @pytest.mark.parametrize("prepared", ALL, ids=lambda prepared: prepared.operation)
    def test_of_any_other_status_is_unknown(self, status: int, prepared: contract.Prepared) -> None:
        assert isinstance(refuse("WHATEVER", prepared, status=status), Unknown)

    @pytest.mark.parametrize("body", [None, "<html>", [], {"details": "x"}, {"details": [{"issue": 7}]}])
    @pytest.mark.parametrize("status", [400, 404, 422])
    def test_without_paypals_words_is_unknown(self, status: int, body: object) -> None:
        assert isinstance(read(body, status=status), Unknown)

    @pytest.mark.parametrize("status", [400, 404])
    def test_of_parameters_is_a_rejection(self, status: int) -> None:
        outcome = refuse("INVALID_PARAMETER_VALUE", status=status)

        assert isinstance(outcome, contract.Rejected)
        assert (outcome.provider_code, outcome.may_fail_over) == ("INVALID_PARAMETER_VALUE", False)

    @pytest.mark.parametrize(
        ("issue", "status"),
        [
            ("PAYEE_ACCOUNT_RESTRICTED", 422),
            ("PAYEE_ACCOUNT_LOCKED_OR_CLOSED", 422),
            ("TRANSACTION_RECEIVING_LIMIT_EXCEEDED", 422),
            ("CURRENCY_NOT_SUPPORTED_FOR_CARD_TYPE", 422),
            ("NOT_ENABLED_FOR_CARD_PROCESSING", 422),
            ("NOT_ENABLED_FOR_CARD_PROCESSING", 403),
        ],
    )
    def test_of_this_accounts_limits_may_be_tried_elsewhere_when_charging_only(self, issue: str, status: int) -> None:
        charged = refuse(issue, status=status)
        assert isinstance(charged, contract.Rejected)
        assert charged.may_fail_over

        captured = refuse(issue, CAPTURE, status=status)
        assert not getattr(captured, "may_fail_over", False)

    @pytest.mark.parametrize(
        ("issue", "code", "kind"),
        [
            ("INSTRUMENT_DECLINED", "generic_decline", DeclineKind.SOFT),
            ("TRANSACTION_REFUSED", "risk_blocked", DeclineKind.RISK),
            ("COMPLIANCE_VIOLATION", "compliance", DeclineKind.HARD),
            ("CARD_EXPIRED", "expired_card", DeclineKind.FIX_DATA),
            ("TOKEN_ID_NOT_FOUND", "revoked", DeclineKind.HARD),
        ],
    )
    def test_that_declines_is_a_decline(self, issue: str, code: str, kind: DeclineKind) -> None:
        outcome = refuse(issue)

        assert isinstance(outcome, Declined)
        assert (outcome.code, outcome.kind, outcome.provider_code) == (code, kind, issue)

    def test_of_an_invoice_seen_before_proves_nothing(self) -> None:
        assert reason(refuse("DUPLICATE_INVOICE_ID")) == "duplicate_invoice_id"

    def test_of_something_never_heard_of_is_a_rejection(self) -> None:
        outcome = refuse("COFFEE_TOO_HOT")

        assert isinstance(outcome, contract.Rejected)
        assert not outcome.may_fail_over

    def test_message_never_repeats_the_token(self) -> None:
        outcome = refuse("INVALID_PARAMETER_VALUE", status=400, description="No such vault_1 here", value="vault_1")

        assert isinstance(outcome, contract.Rejected)
        assert outcome.message == outcome.trace.message == "No such … here"
        assert "vault_1" not in repr(outcome)


class TestACapture:
    def test_of_the_amount_asked_is_approved_under_its_own_id(self) -> None:
        outcome = read(TAKEN, CAPTURE)

        assert isinstance(outcome, Approved)
        assert outcome.provider_id == "3C68"

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"amount": MONEY}, "amount_mismatch"),
            ({"amount": {"currency_code": "USD", "value": "6.00"}}, "currency_mismatch"),
            ({"invoice_id": "cp_2"}, "reference_mismatch"),
            ({"id": None}, "reference_mismatch"),
            ({"status": "TELEPORTED"}, "unexpected_status"),
        ],
    )
    def test_that_does_not_agree_is_never_believed(self, change: dict[str, Any], why: str) -> None:
        assert reason(read(TAKEN | change, CAPTURE)) == why

    @pytest.mark.parametrize(
        ("status", "expected"), [("PENDING", contract.Pending), ("DECLINED", Declined), ("FAILED", Declined)]
    )
    def test_is_else_what_its_status_says(self, status: str, expected: type[object]) -> None:
        assert isinstance(read(TAKEN | {"status": status}, CAPTURE), expected)

    @pytest.mark.parametrize("issue", ["AUTHORIZATION_VOIDED", "AUTHORIZATION_EXPIRED", "AUTHORIZATION_DENIED"])
    def test_of_what_is_gone_is_declined(self, issue: str) -> None:
        outcome = refuse(issue, CAPTURE)

        assert isinstance(outcome, Declined)
        assert (outcome.code, outcome.kind) == ("expired_authorization", DeclineKind.HARD)

    @pytest.mark.parametrize("issue", ["AUTHORIZATION_ALREADY_CAPTURED", "DUPLICATE_INVOICE_ID"])
    def test_done_before_is_read_from_the_order(self, issue: str) -> None:
        assert isinstance(refuse(issue, CAPTURE), Settled)

    def test_beyond_the_authorization_is_rejected(self) -> None:
        assert isinstance(refuse("MAX_CAPTURE_AMOUNT_EXCEEDED", CAPTURE), contract.Rejected)

    @pytest.mark.parametrize(
        ("captures", "status", "expected"),
        [
            ([TAKEN], "CAPTURED", Approved),
            ([TAKEN | {"amount": MONEY}], "CAPTURED", Unknown),
            ([], "CREATED", Absent),
            ([], "PENDING", Absent),
            ([], "VOIDED", Declined),
            ([TAKEN | {"invoice_id": "somebody else's"}], "CAPTURED", Unknown),
        ],
    )
    def test_is_found_in_its_order(self, captures: Any, status: str, expected: type[object]) -> None:
        shown = order(authorizations=[HELD | {"status": status}], captures=captures, intent="AUTHORIZE")

        assert isinstance(look(shown, CAPTURE), expected)

    def test_is_never_looked_for_in_another_order(self) -> None:
        assert reason(look(order(id="6P20", captures=[TAKEN]), CAPTURE)) == "reference_mismatch"


class TestACancel:
    @pytest.mark.parametrize(("status", "body"), [(204, None), (200, HELD | {"status": "VOIDED"})])
    def test_that_voids_is_approved(self, status: int, body: object) -> None:
        assert isinstance(read(body, CANCEL, status=status), Approved)

    def test_that_leaves_it_as_it_was_is_unknown(self) -> None:
        assert reason(read(HELD, CANCEL, status=200)) == "unexpected_status"

    @pytest.mark.parametrize("issue", ["PREVIOUSLY_VOIDED", "AUTHORIZATION_VOIDED"])
    def test_of_what_is_voided_already_is_approved(self, issue: str) -> None:
        assert isinstance(refuse(issue, CANCEL), Approved)

    @pytest.mark.parametrize("issue", ["PREVIOUSLY_CAPTURED", "CANNOT_BE_VOIDED", "AUTHORIZATION_ALREADY_CAPTURED"])
    def test_of_what_is_taken_already_is_read_from_the_order(self, issue: str) -> None:
        outcome = refuse(issue, CANCEL)

        assert isinstance(outcome, Settled)
        assert isinstance(outcome.otherwise, Declined)
        assert outcome.otherwise.code == "cancel_refused"

    @pytest.mark.parametrize(
        ("shown", "expected"),
        [
            (order(authorizations=[HELD | {"status": "VOIDED"}]), Approved),
            (order(authorizations=[HELD]), Absent),
            (order(authorizations=[HELD | {"status": "CAPTURED"}], captures=[TAKEN]), Declined),
            (order(captures=[CAPTURED]), Declined),
            (order(captures=[CAPTURED | {"status": "DECLINED"}]), Absent),
            (order("PAYER_ACTION_REQUIRED"), Absent),
            (order("VOIDED"), Approved),
            (order("APPROVED", unit={"custom_id": "given-up.at_1"}), Approved),
        ],
    )
    def test_is_found_in_its_order(self, shown: object, expected: type[object]) -> None:
        assert isinstance(look(shown, CANCEL), expected)

    @pytest.mark.parametrize(
        ("status", "issue", "expected"),
        [
            (204, "", Approved),
            (422, "NOT_PATCHABLE", Approved),
            (404, "INVALID_RESOURCE_ID", Approved),
            (422, "ORDER_ALREADY_COMPLETED", Unknown),
            (500, "", Unknown),
            (401, "", NotSent),
        ],
    )
    def test_by_a_mark_needs_no_obedience(self, status: int, issue: str, expected: type[object]) -> None:
        answer = Answer(status, {}, {"name": "X", "details": [{"issue": issue}]})

        assert isinstance(paypal_answers.read_mark(answer, CANCEL, "5O19"), expected)


class TestARefund:
    def test_that_was_paid_is_approved_under_its_own_id(self) -> None:
        outcome = read(GIVEN, GIVE_BACK)

        assert isinstance(outcome, Approved)
        assert outcome.provider_id == "1JU0"

    @pytest.mark.parametrize(
        ("status", "expected"),
        [("PENDING", contract.Pending), ("FAILED", Declined), ("CANCELLED", Declined), ("TELEPORTED", Unknown)],
    )
    def test_is_else_what_its_status_says(self, status: str, expected: type[object]) -> None:
        outcome = read(GIVEN | {"status": status}, GIVE_BACK)

        assert outcome.provider_id == "1JU0"
        assert isinstance(outcome, expected)

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"custom_id": "rf_2"}, "reference_mismatch"),
            ({"custom_id": None}, "reference_mismatch"),
            ({"amount": MONEY}, "amount_mismatch"),
            ({"id": None}, "unreadable_answer"),
        ],
    )
    def test_that_does_not_agree_is_never_believed(self, change: dict[str, Any], why: str) -> None:
        assert reason(read(GIVEN | change, GIVE_BACK)) == why

    @pytest.mark.parametrize("issue", ["REFUND_NOT_ALLOWED", "TRANSACTION_DISPUTED", "PENDING_CAPTURE"])
    def test_that_paypal_refuses_is_declined(self, issue: str) -> None:
        outcome = refuse(issue, GIVE_BACK)

        assert isinstance(outcome, Declined)
        assert (outcome.code, outcome.provider_id) == ("refund_refused", None)

    @pytest.mark.parametrize("issue", ["CAPTURE_FULLY_REFUNDED", "REFUND_AMOUNT_EXCEEDED", "DUPLICATE_INVOICE_ID"])
    def test_that_may_be_ours_already_is_read_from_the_order(self, issue: str) -> None:
        assert isinstance(refuse(issue, GIVE_BACK), Settled)

    def test_is_found_in_its_order(self) -> None:
        assert isinstance(look(order(captures=[CAPTURED], refunds=[GIVEN]), GIVE_BACK), Approved)
        other = GIVEN | {"custom_id": "rf_2"}
        assert isinstance(look(order(captures=[CAPTURED], refunds=[other]), GIVE_BACK), Absent)

    def test_is_found_by_its_id(self) -> None:
        assert isinstance(paypal_answers.read_refund_look_up(Answer(200, {}, GIVEN), GIVE_BACK), Approved)
        assert isinstance(paypal_answers.read_refund_look_up(Answer(404, {}, None), GIVE_BACK), Unknown)


class TestALookUp:
    @pytest.mark.parametrize("status", [400, 401, 403, 409, 429, 500, 503])
    @pytest.mark.parametrize("prepared", ALL, ids=lambda prepared: prepared.operation)
    def test_that_fails_proves_nothing(self, status: int, prepared: contract.Prepared) -> None:
        assert reason(look({"name": "X"}, prepared, status=status)) == "look_up_failed"

    def test_of_an_order_that_disappeared_finds_nothing(self) -> None:
        assert isinstance(look({"name": "RESOURCE_NOT_FOUND"}, WALLET, status=404), Absent)

    @pytest.mark.parametrize(
        ("status", "body", "expected"),
        [
            (404, {"name": "RESOURCE_NOT_FOUND"}, contract.Rejected),
            (401, {}, NotSent),
            (429, {}, NotSent),
            (500, {}, NotSent),
            (200, None, NotSent),
        ],
    )
    def test_that_a_follow_up_needs_and_cannot_have_stops_it(
        self, status: int, body: object, expected: type[object]
    ) -> None:
        assert isinstance(paypal_answers.read_missing_order(Answer(status, {}, body), CAPTURE), expected)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from([MONEY, CAPTURED, "COMPLETED"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "status", "purchase_units", "payments", "captures", "amount", "details", "issue", "links"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(body=JSON, status=st.sampled_from([200, 201, 204, 400, 404, 422]), prepared=st.sampled_from(ALL))
def test_no_json_makes_a_reader_stumble_or_believe(body: object, status: int, prepared: contract.Prepared) -> None:
    for outcome in (read(body, prepared, status=status), look(body, prepared, status=status)):
        assert not isinstance(outcome, Approved) or status == 204


def test_money_is_compared_as_a_number() -> None:
    whole = replace(SALE, amount=Decimal(10))
    shown = {"currency_code": "EUR", "value": "10.00"}

    assert isinstance(read(order(unit={"amount": shown}, captures=[CAPTURED | {"amount": shown}]), whole), Approved)
