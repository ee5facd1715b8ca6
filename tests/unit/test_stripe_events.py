"""Which of Stripe's notifications are genuine, and what they say. Written by hand after its interface document."""

from __future__ import annotations

import hashlib
import hmac
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import stripe as sdk
from hypothesis import given
from hypothesis import strategies as st

from providers import contract, currency, stripe_events
from providers.contract import (
    ActionRequired,
    Approved,
    AttemptTold,
    Declined,
    DisputeState,
    DisputeTold,
    Irrelevant,
    Operation,
    Pending,
    Unknown,
)

SAMPLES = sorted((Path(__file__).parents[3] / "shared" / "psp-specs" / "webhook-samples-stripe").glob("*.json"))

NOW = 1_790_000_000
SECRET = "whsec_right"

PAYMENT: dict[str, Any] = {
    "id": "pi_1",
    "object": "payment_intent",
    "amount": 1099,
    "amount_capturable": 0,
    "amount_received": 1099,
    "capture_method": "automatic",
    "cancellation_reason": None,
    "currency": "eur",
    "status": "succeeded",
    "metadata": {"gateway_reference": "at_1"},
    "latest_charge": "ch_1",
    "last_payment_error": None,
    "next_action": None,
}
HELD = {"status": "requires_capture", "amount_received": 0, "amount_capturable": 1099, "capture_method": "manual"}
NOTHING_YET = {"amount_received": 0}
REFUND: dict[str, Any] = {
    "id": "re_1",
    "object": "refund",
    "amount": 500,
    "charge": "ch_1",
    "currency": "eur",
    "payment_intent": "pi_1",
    "status": "succeeded",
    "metadata": {"gateway_reference": "rf_1"},
}
DISPUTE: dict[str, Any] = {
    "id": "du_1",
    "object": "dispute",
    "amount": 1099,
    "charge": "ch_1",
    "currency": "eur",
    "payment_intent": "pi_1",
    "reason": "fraudulent",
    "status": "needs_response",
}


def envelope(event_type: str, subject: object, **changed: object) -> bytes:
    event = {
        "id": "evt_1",
        "object": "event",
        "livemode": False,
        "request": {"id": "req_1", "idempotency_key": "k1"},
        "type": event_type,
        "data": {"object": subject},
    }
    return json.dumps(event | changed).encode()


def read(event_type: str, subject: object, **changed: object) -> contract.Told:
    return stripe_events.read(envelope(event_type, subject, **changed), currency.STRIPE)


def attempt(event_type: str, subject: object) -> AttemptTold:
    told = read(event_type, subject)
    assert isinstance(told, AttemptTold)
    return told


def dispute(event_type: str, **changed: object) -> DisputeTold:
    told = read(f"charge.dispute.{event_type}", DISPUTE | changed)
    assert isinstance(told, DisputeTold)
    return told


# --- Genuine? ---


def sign(body: bytes, *secrets: str, at: float = NOW) -> dict[str, str]:
    signatures = [hmac.new(one.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest() for one in secrets]
    return {"stripe-signature": ",".join([f"t={at}", *(f"v1={signature}" for signature in signatures)])}


def verify(
    headers: dict[str, str], body: bytes, *secrets: str, livemode: bool = False, now: float = NOW
) -> contract.Received:
    return stripe_events.verify(headers, body, secrets=secrets or (SECRET,), livemode=livemode, now=now)


BODY = envelope("payment_intent.succeeded", PAYMENT)


class TestAGenuineOne:
    def test_is_received_under_its_events_id(self) -> None:
        assert verify(sign(BODY, SECRET), BODY) == contract.Received(dedupe_key="evt_1", body=BODY)

    def test_is_also_what_the_official_sdk_signs(self) -> None:
        header = sdk.WebhookSignature.generate_signature_header(BODY.decode(), SECRET, timestamp=NOW)

        assert verify({"stripe-signature": header}, BODY).body == BODY

    @pytest.mark.parametrize("secrets", [("whsec_old", SECRET), (SECRET, "whsec_new")])
    def test_may_be_signed_with_either_of_two_secrets(self, secrets: tuple[str, str]) -> None:
        assert verify(sign(BODY, SECRET), BODY, *secrets).body == BODY
        assert verify(sign(BODY, *secrets), BODY).body == BODY

    def test_may_carry_other_schemes_too(self) -> None:
        header = sign(BODY, SECRET)["stripe-signature"]

        assert verify({"stripe-signature": f"{header},v0=abc"}, BODY).body == BODY

    @pytest.mark.parametrize("now", [NOW - 300, NOW + 300])
    def test_may_be_five_minutes_off(self, now: float) -> None:
        assert verify(sign(BODY, SECRET), BODY, now=now).body == BODY

    @pytest.mark.parametrize("body", [b"garbage", b"[7]", envelope("x", {}, id="evt_" + "1" * 500)])
    def test_is_received_under_its_bytes_where_it_has_no_id(self, body: bytes) -> None:
        assert verify(sign(body, SECRET), body).dedupe_key == f"sha256:{hashlib.sha256(body).hexdigest()}"


class TestAForgedOne:
    @pytest.mark.parametrize("now", [NOW - 301, NOW + 301])
    def test_is_from_another_time(self, now: float) -> None:
        with pytest.raises(contract.Forged):
            verify(sign(BODY, SECRET), BODY, now=now)

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"stripe-signature": ""},
            {"stripe-signature": f"t={NOW}"},
            {"stripe-signature": "v1=00"},
            {"stripe-signature": sign(BODY, SECRET)["stripe-signature"].replace("v1=", "v0=")},
            {"stripe-signature": sign(BODY, SECRET)["stripe-signature"].upper()},
            {"stripe-signature": sign(BODY, SECRET)["stripe-signature"] + ","},
            {"stripe-signature": sign(BODY, SECRET)["stripe-signature"] + f",t={NOW + 1}"},
            {"stripe-signature": sign(BODY, SECRET)["stripe-signature"].replace("t=", "t=0")},
            {"stripe-signature": sign(BODY, SECRET)["stripe-signature"].replace("t=", "t=+")},
            {"stripe-signature": sign(BODY, SECRET, at=NOW + 0.5)["stripe-signature"]},
            {"stripe-signature": f"t={NOW},v1=é"},
            {"stripe-signature": f"t={NOW},v1=\udcff"},
            {"stripe-signature": f"t={NOW}" + ",v1=00" * 10_000},
            sign(BODY, "whsec_wrong"),
            sign(BODY + b" ", SECRET),
        ],
    )
    def test_is_not_signed_as_stripe_signs(self, headers: dict[str, str]) -> None:
        with pytest.raises(contract.Forged):
            verify(headers, BODY)

    def test_is_any_while_no_secret_is_known(self) -> None:
        with pytest.raises(contract.Forged):
            stripe_events.verify(sign(BODY, ""), BODY, secrets=(), livemode=False, now=NOW)

    @pytest.mark.parametrize("livemode", [True, None, "false", 0])
    def test_is_of_the_other_mode(self, livemode: object) -> None:
        body = envelope("payment_intent.succeeded", PAYMENT, livemode=livemode)
        with pytest.raises(contract.Forged):
            verify(sign(body, SECRET), body)


# --- What it says ---


class TestAPayment:
    def test_that_succeeded_is_a_charge_taken_whose_card_must_be_asked_for(self) -> None:
        assert attempt("payment_intent.succeeded", PAYMENT) == AttemptTold(
            operation=Operation.CHARGE,
            reference="at_1",
            provider_transaction_id="pi_1",
            provider_id="pi_1",
            outcome=Approved(
                provider_id="pi_1",
                captured=True,
                trace=contract.Trace(provider_request_id="req_1", provider_status="succeeded"),
            ),
            amount=Decimal("10.99"),
            currency="EUR",
            ask=True,
        )

    def test_that_shows_its_card_needs_no_asking(self) -> None:
        latest = {"id": "ch_1", "payment_method_details": {"card": {"brand": "visa", "last4": "4242"}}}
        told = attempt("payment_intent.succeeded", PAYMENT | {"latest_charge": latest})

        assert isinstance(told.outcome, Approved)
        assert told.outcome.card == contract.Card(brand="visa", last4="4242")
        assert not told.ask

    def test_that_holds_the_amount_is_a_charge_authorized(self) -> None:
        told = attempt("payment_intent.amount_capturable_updated", PAYMENT | HELD)

        assert isinstance(told.outcome, Approved)
        assert (told.operation, told.outcome.captured, told.amount) == (Operation.CHARGE, False, Decimal("10.99"))

    def test_that_succeeded_after_a_hold_is_its_capture(self) -> None:
        captured = PAYMENT | {"capture_method": "manual", "amount_received": 600}
        told = attempt("payment_intent.succeeded", captured)

        assert isinstance(told.outcome, Approved)
        assert (told.operation, told.amount, told.ask) == (Operation.CAPTURE, Decimal("6.00"), False)
        assert (told.reference, told.provider_transaction_id, told.provider_id) == ("at_1", "pi_1", "pi_1")

    def test_that_failed_is_declined_with_the_reason(self) -> None:
        error = {"code": "card_declined", "decline_code": "insufficient_funds", "message": "No pm_card_visa."}
        failed = {"status": "requires_payment_method", "last_payment_error": error} | NOTHING_YET
        told = attempt("payment_intent.payment_failed", PAYMENT | failed)

        assert isinstance(told.outcome, Declined)
        assert (told.operation, told.outcome.code, told.ask) == (Operation.CHARGE, "insufficient_funds", False)
        assert "pm_card_visa" not in repr(told)

    def test_that_wants_the_customer_or_takes_its_time(self) -> None:
        action = {"type": "redirect_to_url", "redirect_to_url": {"url": "https://bank.test/3ds"}}
        waiting = attempt(
            "payment_intent.requires_action",
            PAYMENT | NOTHING_YET | {"status": "requires_action", "next_action": action},
        )
        slow = attempt("payment_intent.processing", PAYMENT | NOTHING_YET | {"status": "processing"})

        assert isinstance(waiting.outcome, ActionRequired)
        assert waiting.outcome.url == "https://bank.test/3ds"
        assert isinstance(slow.outcome, Pending)
        assert {waiting.operation, slow.operation} == {Operation.CHARGE}
        assert (waiting.amount, slow.amount) == (Decimal("10.99"), Decimal("10.99"))

    @pytest.mark.parametrize("reason", ["requested_by_customer", "abandoned", "automatic", "expired", None])
    def test_that_was_cancelled_by_whomever_is_a_cancel(self, reason: str | None) -> None:
        cancelled = {"status": "canceled", "cancellation_reason": reason} | NOTHING_YET
        told = attempt("payment_intent.canceled", PAYMENT | cancelled)

        assert isinstance(told.outcome, Approved)
        assert (told.operation, told.amount, told.ask) == (Operation.CANCEL, Decimal("10.99"), False)
        assert told.outcome.trace.provider_code == reason

    @pytest.mark.parametrize(
        ("event_type", "changed"),
        [
            ("payment_intent.succeeded", {"status": "processing"}),
            ("payment_intent.succeeded", {"amount_received": 1}),
            ("payment_intent.amount_capturable_updated", {"status": "succeeded"}),
            ("payment_intent.payment_failed", {"status": "requires_payment_method"}),
            ("payment_intent.canceled", {}),
            ("payment_intent.canceled", {"cancellation_reason": "automatic"}),
            ("payment_intent.processing", {}),
            ("payment_intent.requires_action", {"status": None}),
        ],
    )
    def test_that_does_not_show_what_its_event_says_must_be_asked_about(
        self, event_type: str, changed: dict[str, Any]
    ) -> None:
        told = attempt(event_type, PAYMENT | changed)

        assert isinstance(told.outcome, Unknown)
        assert told.ask

    def test_without_our_reference_is_somebody_elses(self) -> None:
        assert isinstance(read("payment_intent.succeeded", PAYMENT | {"metadata": {}}), Irrelevant)

    @pytest.mark.parametrize(
        ("code", "units", "amount"), [("jpy", 500, "500"), ("isk", 50000, "500.00"), ("kwd", 1230, "1.230")]
    )
    def test_is_told_in_major_units(self, code: str, units: int, amount: str) -> None:
        told = attempt("payment_intent.succeeded", PAYMENT | {"currency": code, "amount_received": units})

        assert (told.amount, told.currency) == (Decimal(amount), code.upper())


class TestARefund:
    @pytest.mark.parametrize(
        ("event_type", "status", "outcome", "ask"),
        [
            ("refund.created", "pending", Pending, False),
            ("refund.created", "succeeded", Approved, False),
            ("refund.updated", "succeeded", Approved, False),
            ("refund.updated", "canceled", Declined, False),
            ("refund.failed", "failed", Declined, False),
            ("charge.refund.updated", "failed", Declined, False),
            ("refund.updated", "teleported", Unknown, True),
        ],
    )
    def test_is_told_by_its_status(
        self, event_type: str, status: str, outcome: type[contract.Outcome], ask: bool
    ) -> None:
        told = attempt(event_type, REFUND | {"status": status})

        assert isinstance(told.outcome, outcome)
        assert (told.operation, told.reference) == (Operation.REFUND, "rf_1")
        assert (told.provider_transaction_id, told.provider_id) == ("pi_1", "re_1")
        assert (told.amount, told.currency, told.ask) == (Decimal("5.00"), "EUR", ask)

    def test_made_elsewhere_on_our_payment_is_told_without_a_reference(self) -> None:
        told = attempt("refund.created", REFUND | {"metadata": {}, "payment_intent": {"id": "pi_1"}})

        assert (told.reference, told.provider_transaction_id) == (None, "pi_1")

    def test_of_no_payment_is_somebody_elses(self) -> None:
        assert isinstance(read("refund.created", REFUND | {"payment_intent": None}), Irrelevant)


class TestADispute:
    @pytest.mark.parametrize(
        ("event_type", "status", "state", "withdrawn"),
        [
            ("created", "needs_response", DisputeState.OPENED, None),
            ("created", "warning_needs_response", DisputeState.OPENED, None),
            ("updated", "under_review", DisputeState.OPENED, None),
            ("updated", "appeal_pending", DisputeState.OPENED, None),
            ("funds_withdrawn", "needs_response", DisputeState.OPENED, True),
            ("funds_reinstated", "won", DisputeState.WON, False),
            ("closed", "won", DisputeState.WON, None),
            ("closed", "warning_closed", DisputeState.WON, None),
            ("closed", "lost", DisputeState.LOST, None),
            ("closed", "prevented", DisputeState.LOST, None),
        ],
    )
    def test_is_told_by_its_status_and_its_money_by_events_of_their_own(
        self, event_type: str, status: str, state: DisputeState, withdrawn: bool | None
    ) -> None:
        assert dispute(event_type, status=status) == DisputeTold(
            dispute_id="du_1",
            provider_transaction_id="pi_1",
            reference=None,
            state=state,
            reason="fraudulent",
            amount=Decimal("10.99"),
            currency="EUR",
            funds_withdrawn=withdrawn,
        )

    def test_of_no_payment_is_somebody_elses(self) -> None:
        assert isinstance(read("charge.dispute.created", DISPUTE | {"payment_intent": None}), Irrelevant)


class TestTheRest:
    @pytest.mark.parametrize(
        "event_type", ["payment_intent.created", "charge.refunded", "charge.expired", "payout.paid"]
    )
    def test_is_irrelevant(self, event_type: str) -> None:
        assert isinstance(read(event_type, PAYMENT), Irrelevant)

    @pytest.mark.parametrize(
        ("event_type", "subject"),
        [
            ("payment_intent.succeeded", {}),
            ("payment_intent.succeeded", PAYMENT | {"id": "../x"}),
            ("payment_intent.succeeded", PAYMENT | {"amount_received": "1099"}),
            ("payment_intent.succeeded", PAYMENT | {"amount_received": True}),
            ("payment_intent.succeeded", PAYMENT | {"amount_received": -1}),
            ("payment_intent.succeeded", PAYMENT | {"amount_received": 10**30}),
            ("payment_intent.succeeded", PAYMENT | {"currency": "€"}),
            ("refund.created", REFUND | {"id": None}),
            ("refund.created", REFUND | {"amount": None}),
            ("charge.dispute.created", DISPUTE | {"id": None}),
            ("charge.dispute.created", DISPUTE | {"status": None}),
        ],
    )
    def test_is_unreadable(self, event_type: str, subject: dict[str, Any]) -> None:
        with pytest.raises(contract.Unreadable):
            read(event_type, subject)

    def test_is_no_event(self) -> None:
        for body in (b"", b"[]", b"{}", b"[" * 100_000, b"\xff", envelope("x", PAYMENT, object="list")):
            with pytest.raises(contract.Unreadable):
                stripe_events.read(body, currency.STRIPE)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*PAYMENT, "id", "code"]), inner, max_size=6)
    ),
    max_leaves=12,
)


@given(st.sampled_from(sorted(stripe_events.READERS)), json_values)
def test_no_event_makes_the_reader_raise_anything_else(event_type: str, subject: object) -> None:
    try:
        read(event_type, subject)
    except contract.Unreadable:
        return


@given(
    st.sampled_from(sorted(stripe_events.READERS)),
    st.sampled_from([PAYMENT, REFUND, DISPUTE]),
    st.dictionaries(st.sampled_from([*PAYMENT, *REFUND]), json_values, max_size=3),
)
def test_an_approval_always_comes_with_its_amount(
    event_type: str, subject: dict[str, Any], change: dict[str, object]
) -> None:
    try:
        told = read(event_type, subject | change)
    except contract.Unreadable:
        return
    if isinstance(told, AttemptTold) and isinstance(told.outcome, Approved):
        assert told.amount is not None
        assert told.currency is not None
        assert told.provider_transaction_id is not None


@pytest.mark.skipif(not SAMPLES, reason="Stripe's samples are not at hand")
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
def test_stripes_own_samples_are_understood(sample: Path) -> None:
    event = json.loads(sample.read_text())
    told = stripe_events.read(json.dumps(event).encode(), currency.STRIPE)
    event["data"]["object"]["metadata"] = {"gateway_reference": "at_1"}
    ours = stripe_events.read(json.dumps(event).encode(), currency.STRIPE)

    expected = {"payment_intent": AttemptTold, "refund": AttemptTold, "dispute": DisputeTold, "charge": Irrelevant}
    if event["type"] == "payment_intent.created":
        assert isinstance(ours, Irrelevant)
    else:
        assert isinstance(ours, expected[event["data"]["object"]["object"]])
    assert isinstance(told, Irrelevant) or type(told) is type(ours)
