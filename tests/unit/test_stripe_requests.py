"""What we ask of Stripe, byte for byte, and which credentials open the adapter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from providers import contract, currency, http, stripe
from providers.contract import Operation

NOWHERE = http.Doorway(transport=httpx.MockTransport(lambda _request: httpx.Response(500)))


def a_charge(**changed: Any) -> contract.Charge:
    fields: dict[str, Any] = {
        "reference": "at_1",
        "amount": Decimal("10.99"),
        "currency": "EUR",
        "method": "card",
        "token": "pm_card_visa",
        "capture": True,
    }
    return contract.Charge(**fields | changed)


def params(prepared: contract.Prepared) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(prepared.body)
    return read


def build(**changed: Any) -> contract.Prepared:
    return stripe.build_charge(a_charge(**changed), currency.STRIPE)


class TestACharge:
    def test_as_a_sale(self) -> None:
        prepared = build()

        assert (prepared.method, prepared.path) == ("POST", "/v1/payment_intents")
        assert params(prepared) == {
            "amount": 1099,
            "automatic_payment_methods": {"allow_redirects": "never", "enabled": True},
            "capture_method": "automatic",
            "confirm": True,
            "currency": "eur",
            "expand": ["latest_charge"],
            "metadata": {"gateway_reference": "at_1"},
            "payment_method": "pm_card_visa",
        }

    def test_as_an_authorization_with_everything(self) -> None:
        asked = params(
            build(
                capture=False,
                return_url="https://shop.test/back",
                description="Two books",
                statement_descriptor="BOOKS",
                merchant_reference="order-1",
            )
        )

        assert asked["capture_method"] == "manual"
        assert asked["automatic_payment_methods"] == {"allow_redirects": "always", "enabled": True}
        assert asked["return_url"] == "https://shop.test/back"
        assert asked["description"] == "Two books"
        assert asked["statement_descriptor_suffix"] == "BOOKS"
        assert asked["metadata"] == {"gateway_reference": "at_1", "merchant_reference": "order-1"}

    def test_is_kept_with_the_api_version_it_was_made_for(self) -> None:
        assert build().headers == {"Stripe-Version": stripe.VERSION}

    def test_survives_storage(self) -> None:
        assert contract.Prepared.from_json(build().to_json()) == build()

    @pytest.mark.parametrize(
        ("changed", "field"),
        [
            ({"token": None}, "payment_method"),
            ({"method": "crypto"}, "payment_method"),
            ({"amount": Decimal("10.999")}, "amount"),
            ({"currency": "IQD"}, "currency"),
        ],
    )
    def test_that_stripe_cannot_do_is_refused(self, changed: dict[str, Any], field: str) -> None:
        with pytest.raises(contract.Unsupported) as refused:
            build(**changed)

        assert refused.value.field == field


class TestWhatFollows:
    target: Mapping[str, Any] = {"provider_transaction_id": "pi_1", "amount": Decimal("6.00"), "currency": "EUR"}

    def test_a_capture(self) -> None:
        prepared = stripe.build_capture(contract.Capture(reference="cp_1", **self.target), currency.STRIPE)

        assert (prepared.operation, prepared.path) == (Operation.CAPTURE, "/v1/payment_intents/pi_1/capture")
        assert params(prepared) == {"amount_to_capture": 600, "expand": ["latest_charge"]}

    def test_a_cancel(self) -> None:
        prepared = stripe.build_cancel(contract.Cancel(reference="cn_1", **self.target))

        assert (prepared.operation, prepared.path) == (Operation.CANCEL, "/v1/payment_intents/pi_1/cancel")
        assert params(prepared) == {"cancellation_reason": "requested_by_customer"}

    @pytest.mark.parametrize(("reason", "told"), [("duplicate", {"reason": "duplicate"}), ("other", {})])
    def test_a_refund(self, reason: str, told: dict[str, str]) -> None:
        refund = contract.Refund(reference="rf_1", reason=reason, **self.target)
        prepared = stripe.build_refund(refund, currency.STRIPE)

        assert (prepared.operation, prepared.path) == (Operation.REFUND, "/v1/refunds")
        assert (
            params(prepared)
            == {
                "amount": 600,
                "metadata": {"gateway_reference": "rf_1"},
                "payment_intent": "pi_1",
            }
            | told
        )

    @pytest.mark.parametrize("payment", ["", "ch_1", "pi_1/../../v1/payouts", "pi_1?x=1", "pi_ü"])
    def test_never_reaches_another_path(self, payment: str) -> None:
        with pytest.raises(contract.Unsupported):
            stripe.build_cancel(
                contract.Cancel(reference="cn_1", **{**self.target, "provider_transaction_id": payment})
            )


class TestWhereToLook:
    sent_at = datetime(2026, 11, 20, 12, tzinfo=UTC)

    def test_for_a_charge_of_known_id(self) -> None:
        assert stripe.where(build(), "pi_1", None) == ("/v1/payment_intents/pi_1", {"expand": ["latest_charge"]})

    def test_for_a_charge_among_those_created_around_its_sending(self) -> None:
        path, query = stripe.where(build(), None, self.sent_at)

        assert path == "/v1/payment_intents"
        noon = int(self.sent_at.timestamp())
        assert query["created"] == {"gte": noon - 300, "lte": noon + 3600}
        assert "created" not in stripe.where(build(), None, None)[1]

    def test_for_a_refund_among_those_of_its_payment(self) -> None:
        refund = contract.Refund(reference="rf_1", reason="other", **TestWhatFollows.target)
        prepared = stripe.build_refund(refund, currency.STRIPE)

        assert stripe.where(prepared, "re_1", None) == ("/v1/refunds/re_1", {})
        assert stripe.where(prepared, None, None) == ("/v1/refunds", {"limit": 100, "payment_intent": "pi_1"})


class TestCredentials:
    @pytest.mark.parametrize(
        ("credentials", "livemode", "field"),
        [
            ({}, False, "api_key"),
            ({"api_key": None}, False, "api_key"),
            ({"api_key": "pk_test_x"}, False, "api_key"),
            ({"api_key": "sk_live_x"}, False, "api_key"),
            ({"api_key": "sk_test_x"}, True, "api_key"),
            ({"api_key": "sk_test_x\r\nX: y"}, False, "api_key"),
            ({"api_key": "sk_test_x", "webhook_secrets": "whsec_x"}, False, "webhook_secrets"),
            ({"api_key": "sk_test_x", "webhook_secrets": ["x"]}, False, "webhook_secrets"),
            ({"api_key": "sk_test_x", "webhook_secrets": [7]}, False, "webhook_secrets"),
        ],
    )
    def test_that_cannot_be_right_are_refused_by_name_only(
        self, credentials: dict[str, object], livemode: bool, field: str
    ) -> None:
        with pytest.raises(contract.BadCredentials) as refused:
            stripe.Stripe.open(credentials, base_url=None, livemode=livemode, doorway=NOWHERE)

        assert refused.value.field == field
        assert not any(str(value) in str(refused.value) for value in credentials.values() if value)

    @pytest.mark.parametrize(
        ("api_key", "livemode"), [("sk_test_x", False), ("rk_test_x", False), ("sk_live_x", True), ("rk_live_x", True)]
    )
    def test_that_fit_open_the_adapter_and_stay_out_of_its_repr(self, api_key: str, livemode: bool) -> None:
        credentials = {"api_key": api_key, "webhook_secrets": ["whsec_a", "whsec_b"]}
        adapter = stripe.Stripe.open(credentials, base_url=None, livemode=livemode, doorway=NOWHERE)

        assert adapter.webhook_secrets == ("whsec_a", "whsec_b")
        assert repr(adapter) == "Stripe()"

    def test_ugx_is_spelled_as_the_account_wants(self) -> None:
        switched = {"api_key": "sk_test_x", "ugx_hundredfold": False}
        adapter = stripe.Stripe.open(switched, base_url=None, livemode=False, doorway=NOWHERE)

        assert params(adapter.prepare(a_charge(amount=Decimal(500), currency="UGX")))["amount"] == 500
        assert params(build(amount=Decimal(500), currency="UGX"))["amount"] == 50000
