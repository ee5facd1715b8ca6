from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from providers import contract, http, paypal, paypal_requests
from providers.contract import Operation

NOWHERE = http.Doorway(transport=httpx.MockTransport(lambda _request: httpx.Response(500)))
BACK = "https://shop.test/back"
CREDENTIALS: Mapping[str, object] = {"client_id": "AbC-1", "client_secret": "EdF-2", "webhook_id": "1AB"}


def build(**changed: Any) -> contract.Prepared:
    asked: dict[str, Any] = {
        "reference": "at_1",
        "amount": Decimal("10.99"),
        "currency": "EUR",
        "method": "card",
        "token": "vault_1",
        "capture": True,
    }
    return paypal_requests.build_charge(contract.Charge(**asked | changed))


def body(prepared: contract.Prepared) -> Any:
    return json.loads(prepared.body)


class TestACharge:
    def test_of_a_vaulted_card_by_the_merchant_alone(self) -> None:
        prepared = build()

        assert (prepared.method, prepared.path) == ("POST", "/v2/checkout/orders")
        assert prepared.headers == {"Prefer": "return=representation"}
        assert body(prepared) == {
            "intent": "CAPTURE",
            "purchase_units": [
                {
                    "reference_id": "default",
                    "custom_id": "at_1",
                    "invoice_id": "at_1",
                    "amount": {"currency_code": "EUR", "value": "10.99"},
                }
            ],
            "payment_source": {
                "card": {
                    "vault_id": "vault_1",
                    "stored_credential": {
                        "payment_initiator": "MERCHANT",
                        "payment_type": "UNSCHEDULED",
                        "usage": "SUBSEQUENT",
                    },
                }
            },
        }

    def test_with_a_customer_who_may_be_asked(self) -> None:
        card = body(build(return_url=BACK))["payment_source"]["card"]

        assert card["stored_credential"]["payment_initiator"] == "CUSTOMER"
        assert card["stored_credential"]["payment_type"] == "ONE_TIME"
        assert card["experience_context"] == {"return_url": BACK, "cancel_url": BACK}

    def test_of_a_vaulted_wallet(self) -> None:
        assert body(build(method="e_wallet"))["payment_source"] == {"paypal": {"vault_id": "vault_1"}}

    def test_that_the_customer_approves_at_paypal(self) -> None:
        context = body(build(method="e_wallet", token=None, return_url=BACK, capture=False))

        assert context["intent"] == "AUTHORIZE"
        assert context["payment_source"]["paypal"]["experience_context"] == {
            "return_url": BACK,
            "cancel_url": BACK,
            "user_action": "PAY_NOW",
            "shipping_preference": "NO_SHIPPING",
        }

    def test_says_what_the_payer_reads_within_paypals_limits(self) -> None:
        unit = body(build(description="d" * 200, statement_descriptor="s" * 30, merchant_reference="m" * 200))
        unit = unit["purchase_units"][0]

        assert (len(unit["description"]), len(unit["soft_descriptor"])) == (127, 22)
        assert len(unit["invoice_id"]) == 127
        assert unit["invoice_id"].endswith(" at_1")

    def test_has_another_invoice_for_each_attempt_at_the_same_thing(self) -> None:
        first, second = (
            body(build(reference=reference, merchant_reference="order-1")) for reference in ("at_1", "at_2")
        )

        assert first["purchase_units"][0]["invoice_id"] == "order-1 at_1"
        assert second["purchase_units"][0]["invoice_id"] == "order-1 at_2"

    @pytest.mark.parametrize(
        ("amount", "currency", "value"),
        [("1000", "JPY", "1000"), ("10", "HUF", "10"), ("10.00", "TWD", "10"), ("0.01", "USD", "0.01")],
    )
    def test_spells_money_as_paypal_does(self, amount: str, currency: str, value: str) -> None:
        unit = body(build(amount=Decimal(amount), currency=currency))["purchase_units"][0]

        assert unit["amount"] == {"currency_code": currency, "value": value}

    @pytest.mark.parametrize(
        ("changed", "field"),
        [
            ({"token": None}, "payment_method"),
            ({"token": "vault 1"}, "payment_method"),
            ({"token": "x" * 256}, "payment_method"),
            ({"method": "crypto"}, "payment_method"),
            ({"method": "e_wallet", "token": None}, "return_url"),
            ({"amount": Decimal("10.999")}, "amount"),
            ({"amount": Decimal("10.50"), "currency": "HUF"}, "amount"),
            ({"currency": "KWD"}, "currency"),
        ],
    )
    def test_that_paypal_cannot_do_is_refused(self, changed: dict[str, Any], field: str) -> None:
        with pytest.raises(contract.Unsupported) as refused:
            build(**changed)

        assert refused.value.field == field


class TestWhatFollows:
    target: Mapping[str, Any] = {"provider_transaction_id": "5O19", "amount": Decimal("6.00"), "currency": "EUR"}

    def test_is_addressed_to_the_order(self) -> None:
        asks: list[contract.Ask] = [
            contract.Capture(reference="cp_1", **self.target),
            contract.Cancel(reference="cn_1", **self.target),
            contract.Refund(reference="rf_1", reason="other", **self.target),
        ]
        adapter = paypal.PayPal.open(CREDENTIALS, base_url=None, livemode=False, doorway=NOWHERE)

        assert {adapter.prepare(ask).path for ask in asks} == {"/v2/checkout/orders/5O19"}

    def test_a_capture_is_the_last_one(self) -> None:
        prepared = paypal_requests.build_capture(contract.Capture(reference="cp_1", **self.target))

        assert prepared.operation is Operation.CAPTURE
        assert body(prepared) == {
            "amount": {"currency_code": "EUR", "value": "6.00"},
            "final_capture": True,
            "invoice_id": "cp_1",
        }

    def test_a_cancel_has_no_body(self) -> None:
        assert paypal_requests.build_cancel(contract.Cancel(reference="cn_1", **self.target)).body == ""

    def test_a_refund_carries_our_reference(self) -> None:
        refund = contract.Refund(reference="rf_1", reason="other", **self.target)

        assert body(paypal_requests.build_refund(refund)) == {
            "amount": {"currency_code": "EUR", "value": "6.00"},
            "custom_id": "rf_1",
            "invoice_id": "rf_1",
        }

    @pytest.mark.parametrize("order", ["", "pi_1", "5O19/../../v1", "5O19?x=1", "5O19Ü", "X" * 37])
    def test_never_reaches_another_path(self, order: str) -> None:
        with pytest.raises(contract.Unsupported):
            paypal_requests.build_cancel(
                contract.Cancel(reference="cn_1", **{**self.target, "provider_transaction_id": order})
            )

    @pytest.mark.parametrize(("intent", "turned"), [("CAPTURE", "AUTHORIZE"), ("AUTHORIZE", "CAPTURE")])
    def test_an_order_given_up_is_marked_and_turned_away_from_what_we_would_ask_of_it(
        self, intent: str, turned: str
    ) -> None:
        order = {"intent": intent, "purchase_units": [{"reference_id": "default", "custom_id": "at_1"}]}

        assert json.loads(paypal_requests.build_mark(order)) == [
            {"op": "replace", "path": "/intent", "value": turned},
            {
                "op": "replace",
                "path": "/purchase_units/@reference_id=='default'/custom_id",
                "value": "given-up.at_1",
            },
        ]


class TestWhereToLook:
    def test_for_a_charge_among_the_events_around_its_sending(self) -> None:
        noon = datetime(2026, 11, 20, 12, tzinfo=UTC)

        assert paypal_requests.window(noon) == {
            "page_size": "100",
            "start_time": "2026-11-20T11:55:00Z",
            "end_time": "2026-11-20T13:00:00Z",
        }
        assert paypal_requests.window(None) == {"page_size": "100"}

    @pytest.mark.parametrize(
        ("href", "path"),
        [
            ("https://api.paypal.com/v1/notifications/webhooks-events?page=2", "?page=2"),
            ("https://evil.test/v1/notifications/webhooks-events?page=2", "?page=2"),
            ("https://api.paypal.com/v1/payouts?page=2", None),
            ("https://api.paypal.com/v1/notifications/webhooks-events", None),
            (None, None),
        ],
    )
    def test_a_next_page_is_always_paypals_own(self, href: str | None, path: str | None) -> None:
        assert paypal_requests.next_page(href) == (path and f"/v1/notifications/webhooks-events{path}")


class TestCredentials:
    @pytest.mark.parametrize("name", ["client_id", "client_secret", "webhook_id"])
    @pytest.mark.parametrize("value", [None, "", 7, "a b", "a\nb", "ä"])
    def test_that_cannot_be_right_are_refused_by_name_only(self, name: str, value: object) -> None:
        with pytest.raises(contract.BadCredentials) as refused:
            paypal.PayPal.open({**CREDENTIALS, name: value}, base_url=None, livemode=False, doorway=NOWHERE)

        assert refused.value.field == name
        assert "AbC-1" not in str(refused.value)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("webhook_verification", "hope"),
            ("webhook_age_seconds_max", 0),
            ("webhook_age_seconds_max", True),
            ("webhook_age_seconds_max", "300"),
        ],
    )
    def test_with_odd_settings_are_refused(self, name: str, value: object) -> None:
        with pytest.raises(contract.BadCredentials) as refused:
            paypal.PayPal.open({**CREDENTIALS, name: value}, base_url=None, livemode=False, doorway=NOWHERE)

        assert refused.value.field == name

    @pytest.mark.parametrize(
        ("livemode", "base_url", "where"),
        [
            (False, None, "https://api-m.sandbox.paypal.com"),
            (True, None, "https://api-m.paypal.com"),
            (False, "http://127.0.0.1:9/", "http://127.0.0.1:9"),
        ],
    )
    def test_that_fit_open_the_adapter_and_stay_out_of_its_repr(
        self, where: str, base_url: str | None, *, livemode: bool
    ) -> None:
        adapter = paypal.PayPal.open(CREDENTIALS, base_url=base_url, livemode=livemode, doorway=NOWHERE)

        assert adapter.session.base_url == where
        assert repr(adapter) == "PayPal()"
