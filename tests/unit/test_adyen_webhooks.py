"""Which of Adyen's notifications are genuine, and what each says. Written by hand after its interface document."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from providers import adyen_webhooks, contract
from providers.contract import (
    Approved,
    AttemptTold,
    Declined,
    DisputeState,
    DisputeTold,
    Irrelevant,
    Operation,
    Pending,
)

KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
PAYMENT, MODIFICATION = "NC6HT9CRT65ZGN82", "QFQTPCQ8HXSKGK82"
WATCH = adyen_webhooks.Watch(merchant_account="TestMerchant", livemode=False, hmac_keys=(bytes.fromhex(KEY),))

VECTOR: dict[str, Any] = {
    "pspReference": "7914073381342284",
    "merchantAccountCode": "TestMerchant",
    "merchantReference": "TestPayment-1407325143704",
    "amount": {"value": 1130, "currency": "EUR"},
    "eventCode": "AUTHORISATION",
    "success": "true",
}
VECTOR_SIGNATURE = "coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="


def an_item(event: str, **changed: Any) -> dict[str, Any]:
    item = {
        "amount": {"currency": "EUR", "value": 1099},
        "eventCode": event,
        "eventDate": "2026-11-20T12:00:00+01:00",
        "merchantAccountCode": "TestMerchant",
        "merchantReference": "at_1",
        "originalReference": PAYMENT,
        "paymentMethod": "visa",
        "pspReference": MODIFICATION,
        "reason": "",
        "success": "true",
    }
    return {name: value for name, value in (item | changed).items() if value is not None}


def signed(item: dict[str, Any], key: str = KEY) -> dict[str, Any]:
    """Signed as Adyen says, not as our verifier does."""
    amount = item["amount"]
    parts = [item.get(name, "") for name in ("pspReference", "originalReference", "merchantAccountCode")]
    parts += [item.get("merchantReference", ""), str(amount["value"]), amount["currency"]]
    parts += [item["eventCode"], item["success"]]
    digest = hmac.new(bytes.fromhex(key), ":".join(parts).encode(), hashlib.sha256).digest()
    return item | {"additionalData": {"hmacSignature": base64.b64encode(digest).decode()}}


def posted(*items: dict[str, Any], live: object = "false") -> bytes:
    return json.dumps(
        {"live": live, "notificationItems": [{"NotificationRequestItem": item} for item in items]}
    ).encode()


def verify(
    body: bytes, watch: adyen_webhooks.Watch = WATCH, headers: dict[str, str] | None = None
) -> list[contract.Received]:
    return adyen_webhooks.verify(headers or {}, body, watch)


def forged(body: bytes, watch: adyen_webhooks.Watch = WATCH, headers: dict[str, str] | None = None) -> bool:
    try:
        verify(body, watch, headers)
    except contract.Forged:
        return True
    return False


def read(event: str, **changed: Any) -> contract.Told:
    return adyen_webhooks.read(json.dumps(an_item(event, **changed)).encode())


class TestSignatures:
    def test_adyens_own_example(self) -> None:
        item = VECTOR | {"additionalData": {"hmacSignature": VECTOR_SIGNATURE}}
        (received,) = verify(posted(item))

        assert received.dedupe_key == "AUTHORISATION:7914073381342284:true"
        assert json.loads(received.body) == item
        assert signed(VECTOR) == item

    def test_each_item_stands_for_itself(self) -> None:
        items = [signed(an_item("CAPTURE")), signed(an_item("REFUND", success="false"))]
        keys = [received.dedupe_key for received in verify(posted(*items))]

        assert keys == [f"CAPTURE:{MODIFICATION}:true", f"REFUND:{MODIFICATION}:false"]

    def test_one_bad_item_spoils_all(self) -> None:
        good, bad = signed(an_item("CAPTURE")), an_item("REFUND")

        for items in ((good, bad), (bad, good), (good, good | {"success": "false"}), (good, {})):
            assert forged(posted(*items))

    def test_every_key_of_the_account_is_tried(self) -> None:
        rotating = adyen_webhooks.Watch(
            merchant_account="TestMerchant", livemode=False, hmac_keys=(b"\0" * 32, bytes.fromhex(KEY))
        )

        assert verify(posted(signed(an_item("CAPTURE"))), rotating)

    @pytest.mark.parametrize("keys", [(), (b"\0" * 32,)])
    def test_without_the_right_key_nothing_is_genuine(self, keys: tuple[bytes, ...]) -> None:
        watch = adyen_webhooks.Watch(merchant_account="TestMerchant", livemode=False, hmac_keys=keys)

        assert forged(posted(signed(an_item("CAPTURE"))), watch)

    @pytest.mark.parametrize("live", ["true", "", "False", False, None, ["false"]])
    def test_the_other_mode_is_refused(self, live: object) -> None:
        assert forged(posted(signed(an_item("CAPTURE")), live=live))

    def test_a_live_account_takes_live_ones_only(self) -> None:
        live = adyen_webhooks.Watch(merchant_account="TestMerchant", livemode=True, hmac_keys=(bytes.fromhex(KEY),))
        item = signed(an_item("CAPTURE"))

        assert verify(posted(item, live="true"), live)
        assert forged(posted(item), live)

    def test_another_merchant_account_is_refused_though_rightly_signed(self) -> None:
        assert forged(posted(signed(an_item("CAPTURE", merchantAccountCode="OtherMerchant"))))

    @pytest.mark.parametrize(
        "changed",
        [
            {"success": True},
            {"amount": {"currency": "EUR", "value": "1099"}},
            {"amount": {"currency": "EUR", "value": 1099.0}},
            {"amount": {"currency": "EUR", "value": True}},
            {"amount": None},
            {"amount": []},
            {"additionalData": None},
            {"additionalData": {"hmacSignature": None}},
            {"additionalData": {"hmacSignature": "\ud800"}},
            {"merchantReference": "\ud800"},
            {"pspReference": ["QFQTPCQ8HXSKGK82"]},
        ],
    )
    def test_fields_of_the_wrong_kind_are_refused(self, changed: dict[str, Any]) -> None:
        assert forged(posted(signed(an_item("CAPTURE")) | changed))

    def test_a_text_that_two_items_share_is_good_for_one_of_them_only(self) -> None:
        genuine = signed(an_item("CAPTURE", merchantReference="order:7:EUR"))
        shifted = genuine | {"originalReference": f"{PAYMENT}:TestMerchant", "merchantAccountCode": "order"}

        assert verify(posted(genuine))
        assert forged(posted(shifted))
        assert forged(posted(signed(an_item("CAPTURE", pspReference="A:B"))))

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"null",
            b"[]",
            b"{}",
            b'{"live": "false", "notificationItems": []}',
            b'{"live": "false", "notificationItems": {}}',
            b'{"live": "false", "notificationItems": [7]}',
            b'{"live": "false", "notificationItems": [{"NotificationRequestItem": []}]}',
            b"[" * 100_000,
            b"\xff",
        ],
    )
    def test_garbage_is_refused(self, body: bytes) -> None:
        assert forged(body)

    def test_not_one_of_a_thousand_changes_of_what_is_signed_passes(self) -> None:
        random, genuine = Random(20261120), signed(an_item("CAPTURE"))
        names = [name for name in genuine if name not in ("eventDate", "paymentMethod", "reason")]
        for _ in range(1_000):
            name = random.choice(names)
            changed = genuine | {name: _changed(random, genuine[name])}
            assert changed != genuine
            assert forged(posted(changed))


def _changed(random: Random, genuine: Any) -> Any:
    if isinstance(genuine, dict):
        name = random.choice(sorted(genuine))
        return genuine | {name: _changed(random, genuine[name])}
    if isinstance(genuine, int):
        return genuine + random.choice((-1, 1)) * random.randrange(1, 10**6)
    at, letter = random.randrange(len(genuine)), chr(random.randrange(32, 127))
    changed = random.choice(
        (genuine[:at], genuine[:at] + letter + genuine[at + 1 :], genuine[:at] + letter + genuine[at:])
    )
    return changed if changed != genuine else genuine + letter


class TestPassword:
    """Adyen may show a user name and password with every notification."""

    WATCH = adyen_webhooks.Watch(
        merchant_account="TestMerchant",
        livemode=False,
        hmac_keys=(bytes.fromhex(KEY),),
        authorization=b"Basic " + base64.b64encode(b"adyen:sesame"),
    )

    def test_it_must_be_shown_where_the_account_has_one(self) -> None:
        body = posted(signed(an_item("CAPTURE")))
        shown = {"authorization": "Basic " + base64.b64encode(b"adyen:sesame").decode()}

        assert verify(body, self.WATCH, shown)
        for wrong in ({}, {"authorization": "Basic x"}, {"authorization": "\udcff"}, {"authorization": "é"}):
            assert forged(body, self.WATCH, wrong)
        assert forged(posted(an_item("CAPTURE")), self.WATCH, shown)


class TestCharges:
    def test_authorised(self) -> None:
        told = read("AUTHORISATION", originalReference=None, pspReference=PAYMENT)

        assert isinstance(told, AttemptTold)
        assert (told.operation, told.reference) == (Operation.CHARGE, "at_1")
        assert (told.provider_transaction_id, told.provider_id) == (PAYMENT, PAYMENT)
        assert (told.amount, told.currency) == (Decimal("10.99"), "EUR")
        assert isinstance(told.outcome, Approved)
        assert told.outcome.captured

    def test_authorised_to_be_captured_later(self) -> None:
        told = read("AUTHORISATION", merchantReference="at_1-hold", originalReference=None)

        assert isinstance(told, AttemptTold)
        assert told.reference == "at_1"
        assert isinstance(told.outcome, Approved)
        assert not told.outcome.captured

    def test_refused(self) -> None:
        told = read("AUTHORISATION", success="false", reason="Not enough balance", originalReference=None)

        assert isinstance(told, AttemptTold)
        assert isinstance(told.outcome, Declined)
        assert (told.outcome.code, told.outcome.provider_code) == ("insufficient_funds", "12")
        assert not told.outcome.may_fail_over

    def test_given_up_by_the_customer(self) -> None:
        told = read("OFFER_CLOSED", originalReference=None)

        assert isinstance(told, AttemptTold)
        assert told.operation is Operation.CHARGE
        assert isinstance(told.outcome, Declined)
        assert told.outcome.code == "shopper_cancelled"

    @pytest.mark.parametrize("original", [None, PAYMENT])
    def test_an_authorization_that_expires_is_released(self, original: str | None) -> None:
        told = read("EXPIRE", originalReference=original, pspReference=MODIFICATION if original else PAYMENT)

        assert isinstance(told, AttemptTold)
        assert (told.operation, told.provider_transaction_id, told.provider_id) == (Operation.CANCEL, PAYMENT, None)
        assert isinstance(told.outcome, Approved)


class TestModifications:
    @pytest.mark.parametrize(
        ("event", "success", "operation", "code"),
        [
            ("CAPTURE", "true", Operation.CAPTURE, None),
            ("CAPTURE", "false", Operation.CAPTURE, "capture_refused"),
            ("CAPTURE_FAILED", "true", Operation.CAPTURE, "capture_failed"),
            ("CANCELLATION", "true", Operation.CANCEL, None),
            ("CANCELLATION", "false", Operation.CANCEL, "cancel_refused"),
            ("REFUND", "true", Operation.REFUND, None),
            ("REFUND", "false", Operation.REFUND, "refund_refused"),
            ("REFUND_FAILED", "true", Operation.REFUND, "refund_failed"),
            ("REFUND_FAILED", "false", Operation.REFUND, "refund_failed"),
            ("REFUNDED_REVERSED", "true", Operation.REFUND, "refund_failed"),
        ],
    )
    @pytest.mark.parametrize("named", ["at_1", "at_1-hold"])
    def test_each_names_itself_its_payment_and_what_we_called_one_of_them(
        self, event: str, success: str, operation: Operation, code: str | None, named: str
    ) -> None:
        told = read(event, success=success, merchantReference=named)

        assert isinstance(told, AttemptTold)
        assert (told.operation, told.reference, told.ask) == (operation, "at_1", False)
        assert (told.provider_transaction_id, told.provider_id) == (PAYMENT, MODIFICATION)
        if code is None:
            assert isinstance(told.outcome, Approved)
            assert told.outcome.provider_id == MODIFICATION
        else:
            assert isinstance(told.outcome, Declined)
            assert (told.outcome.code, told.outcome.may_fail_over) == (code, False)
        assert told.amount == (None if operation is Operation.CANCEL else Decimal("10.99"))

    @pytest.mark.parametrize(("success", "outcome"), [("true", Approved), ("false", Declined)])
    def test_a_technical_cancel_names_the_charge_it_is_of(self, success: str, outcome: type[contract.Outcome]) -> None:
        told = read("TECHNICAL_CANCEL", success=success, merchantReference="at_1-hold")

        assert isinstance(told, AttemptTold)
        assert (told.operation, told.reference, told.ask) == (Operation.CANCEL, "at_1", False)
        assert (told.provider_transaction_id, told.provider_id) == (PAYMENT, MODIFICATION)
        assert isinstance(told.outcome, outcome)
        assert told.amount is None

    def test_a_refund_that_waits_for_the_capture_is_pending(self) -> None:
        told = read("POSTPONED_REFUND")

        assert isinstance(told, AttemptTold)
        assert isinstance(told.outcome, Pending)

    def test_a_reversal_that_somebody_else_asked_for_needs_a_person(self) -> None:
        with pytest.raises(contract.Unreadable):
            read("CANCEL_OR_REFUND", additionalData={"modification.action": "refund"})
        assert isinstance(read("CANCEL_OR_REFUND", success="false"), Irrelevant)


class TestDisputes:
    @pytest.mark.parametrize(
        ("event", "state", "funds_withdrawn"),
        [
            ("REQUEST_FOR_INFORMATION", DisputeState.OPENED, None),
            ("NOTIFICATION_OF_CHARGEBACK", DisputeState.OPENED, None),
            ("CHARGEBACK", DisputeState.OPENED, True),
            ("CHARGEBACK_REVERSED", DisputeState.WON, False),
            ("SECOND_CHARGEBACK", DisputeState.LOST, True),
            ("DISPUTE_DEFENSE_PERIOD_ENDED", DisputeState.LOST, None),
            ("PREARBITRATION_LOST", DisputeState.LOST, None),
            ("PREARBITRATION_WON", DisputeState.WON, None),
        ],
    )
    def test_each_stage(self, event: str, state: DisputeState, funds_withdrawn: bool | None) -> None:
        told = read(event, reason="Other Fraud-Card Absent Environment")

        assert told == DisputeTold(
            dispute_id=MODIFICATION,
            provider_transaction_id=PAYMENT,
            reference=None,
            state=state,
            reason="Other Fraud-Card Absent Environment",
            amount=Decimal("10.99"),
            currency="EUR",
            funds_withdrawn=funds_withdrawn,
        )

    def test_one_that_does_not_name_its_payment_names_our_reference(self) -> None:
        told = read("CHARGEBACK_REVERSED", originalReference=None, merchantReference="at_1-hold")

        assert isinstance(told, DisputeTold)
        assert (told.provider_transaction_id, told.reference) == (None, "at_1")

    def test_a_long_reason_is_cut(self) -> None:
        told = read("CHARGEBACK", reason="x" * 500)

        assert isinstance(told, DisputeTold)
        assert told.reason == "x" * 100


@pytest.mark.parametrize(
    "event",
    [
        "REPORT_AVAILABLE",
        "RECURRING_CONTRACT",
        "MANUAL_REVIEW_ACCEPT",
        "MANUAL_REVIEW_REJECT",
        "REFUND_WITH_DATA",
        "VOID_PENDING_REFUND",
        "INFORMATION_SUPPLIED",
        "ISSUER_COMMENTS",
        "NOTIFICATION_OF_FRAUD",
        "NEVER_HEARD_OF",
    ],
)
def test_other_events_change_nothing_here(event: str) -> None:
    told = read(event, amount={"currency": "EUR", "value": 0}, pspReference="report.csv")

    assert isinstance(told, Irrelevant)
    assert told.reason


@pytest.mark.parametrize(
    "changed",
    [
        {"success": "maybe"},
        {"success": None},
        {"pspReference": ""},
        {"eventCode": None},
        {"amount": {"currency": "EUR"}},
        {"amount": {"currency": "EUR", "value": True}},
        {"amount": {"currency": "EUR", "value": -1}},
        {"amount": {"currency": "EUR", "value": 10**30}},
        {"amount": {"currency": "euro", "value": 1}},
    ],
)
def test_what_makes_no_sense_is_parked(changed: dict[str, Any]) -> None:
    with pytest.raises(contract.Unreadable):
        read("CAPTURE", **changed)


def test_what_is_not_signed_decides_nothing_about_money() -> None:
    told = read(
        "REFUND", additionalData={"modification.action": "cancel", "amount": "1"}, paymentMethod="x", reason="no"
    )

    assert isinstance(told, AttemptTold)
    assert isinstance(told.outcome, Approved)
    assert told.amount == Decimal("10.99")
