"""What we ask of Adyen, byte for byte, and which credentials open the adapter."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import httpx
import pytest

from providers import adyen, adyen_requests, contract, http
from providers.contract import Operation, Unknown

NOWHERE = http.Doorway(transport=httpx.MockTransport(lambda _request: httpx.Response(500)))
CREDENTIALS: dict[str, object] = {"api_key": "AQE_x", "merchant_account": "TestMerchant", "hmac_keys": ["ab" * 32]}
PSP = "NC6HT9CRT65ZGN82"
TARGET: dict[str, Any] = {"provider_transaction_id": PSP, "amount": Decimal("6.00"), "currency": "EUR"}


def opened(*, livemode: bool = False, base_url: str | None = None, **changed: object) -> adyen.Adyen:
    return adyen.Adyen.open(CREDENTIALS | changed, base_url=base_url, livemode=livemode, doorway=NOWHERE)


def a_charge(**changed: Any) -> contract.Charge:
    fields: dict[str, Any] = {
        "reference": "at_1",
        "amount": Decimal("10.99"),
        "currency": "EUR",
        "method": "card",
        "token": "shopper_1/M5N7TQ4TG5PFWR50",
        "capture": True,
    }
    return contract.Charge(**fields | changed)


def build(**changed: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(opened().prepare(a_charge(**changed)).body)
    return body


class TestCharges:
    def test_a_sale(self) -> None:
        prepared = opened().prepare(a_charge())

        assert (prepared.operation, prepared.method) == (Operation.CHARGE, "POST")
        assert prepared.path == "https://checkout-test.adyen.com/v71/payments"
        assert prepared.headers == {}
        assert json.loads(prepared.body) == {
            "amount": {"currency": "EUR", "value": 1099},
            "authenticationData": {"attemptAuthentication": "never"},
            "captureDelayHours": 0,
            "merchantAccount": "TestMerchant",
            "paymentMethod": {"type": "scheme", "storedPaymentMethodId": "M5N7TQ4TG5PFWR50"},
            "recurringProcessingModel": "CardOnFile",
            "reference": "at_1",
            "returnUrl": "https://return.invalid/",
            "shopperInteraction": "ContAuth",
            "shopperReference": "shopper_1",
        }

    def test_a_hold_says_so_and_is_named_so(self) -> None:
        body = build(capture=False)

        assert body["additionalData"] == {"manualCapture": "true"}
        assert body["reference"] == "at_1-hold"
        assert "captureDelayHours" not in body

    def test_with_a_way_back_the_customer_is_redirected_never_asked_by_code_in_the_page(self) -> None:
        body = build(return_url="https://shop.test/back")

        assert body["returnUrl"] == "https://shop.test/back"
        assert body["authenticationData"] == {"threeDSRequestData": {"nativeThreeDS": "disabled"}}

    def test_what_else_there_is_to_say(self) -> None:
        body = build(statement_descriptor="BOOKS", merchant_reference="order-1", description="Two books")

        assert body["shopperStatement"] == "BOOKS"
        assert body["metadata"] == {"merchant_reference": "order-1"}

    def test_a_merchants_reference_beyond_adyens_limit_is_left_out(self) -> None:
        assert "metadata" not in build(merchant_reference="x" * 81)

    @pytest.mark.parametrize(
        ("token", "shopper", "stored"),
        [
            ("cust_9/8416038790273850", "cust_9", "8416038790273850"),
            ("8416038790273850", "paygate", "8416038790273850"),
            ("a/b/c/M5N7", "a/b/c", "M5N7"),
        ],
    )
    def test_a_token_names_its_shopper_or_is_the_accounts(self, token: str, shopper: str, stored: str) -> None:
        body = build(token=token)

        assert (body["shopperReference"], body["paymentMethod"]["storedPaymentMethodId"]) == (shopper, stored)

    @pytest.mark.parametrize("token", [None, "", "cust_9/", "ab/M5N7", "cust_9/M5 N7", f"{'x' * 257}/M5N7", "é"])
    def test_any_other_token_is_refused_without_being_repeated(self, token: str | None) -> None:
        with pytest.raises(contract.Unsupported) as refused:
            build(token=token)

        assert refused.value.field == "payment_method"
        assert not token or token not in refused.value.message

    def test_redirect_methods_need_no_token(self) -> None:
        body = build(method="bank_transfer", token=None, return_url="https://shop.test/back")

        assert body["paymentMethod"] == {"type": "ideal"}
        assert not {"shopperReference", "shopperInteraction", "authenticationData"} & body.keys()

    @pytest.mark.parametrize(
        ("changed", "field"),
        [
            ({"token": "x/y"}, "payment_method"),
            ({"return_url": None}, "return_url"),
            ({"capture": False}, "capture"),
            ({"method": "crypto"}, "payment_method"),
        ],
    )
    def test_but_a_way_back_and_no_hold(self, changed: dict[str, Any], field: str) -> None:
        usual = {"method": "e_wallet", "token": None, "return_url": "https://shop.test/back"}
        with pytest.raises(contract.Unsupported) as refused:
            build(**usual | changed)

        assert refused.value.field == field

    @pytest.mark.parametrize(
        ("amount", "currency", "value"),
        [("12.30", "ISK", None), ("12", "ISK", 1200), ("12", "CLP", 1200), ("5", "IDR", 5), ("1.234", "KWD", 1234)],
    )
    def test_amounts_are_spelled_adyens_way(self, amount: str, currency: str, value: int | None) -> None:
        if value is None:
            with pytest.raises(contract.Unsupported):
                build(amount=Decimal(amount), currency=currency)
        else:
            assert build(amount=Decimal(amount), currency=currency)["amount"]["value"] == value


class TestModifications:
    def test_a_capture(self) -> None:
        prepared = opened().prepare(contract.Capture(reference="cp_1", **TARGET))

        assert prepared.path.endswith(f"/v71/payments/{PSP}/captures")
        assert json.loads(prepared.body) == {
            "amount": {"currency": "EUR", "value": 600},
            "merchantAccount": "TestMerchant",
            "reference": "cp_1",
        }

    def test_a_cancel(self) -> None:
        prepared = opened().prepare(contract.Cancel(reference="cn_1", **TARGET))

        assert prepared.path.endswith(f"/v71/payments/{PSP}/cancels")
        assert json.loads(prepared.body) == {"merchantAccount": "TestMerchant", "reference": "cn_1"}

    def test_a_cancel_of_what_has_no_id_yet(self) -> None:
        ask = contract.Cancel(reference="cn_1", **TARGET | {"provider_transaction_id": "pg1_a_b-hold"})
        prepared = opened().prepare(ask)

        assert prepared.path.endswith("/v71/cancels")
        assert json.loads(prepared.body)["paymentReference"] == "pg1_a_b-hold"

    @pytest.mark.parametrize("capture", [True, False])
    def test_a_technical_cancel_names_the_charge_as_it_was_sent_and_goes_where_it_went(self, *, capture: bool) -> None:
        charge = opened(livemode=True, live_prefix="1797-Shop").prepare(a_charge(capture=capture))
        prepared = adyen_requests.build_rule_out(charge)

        assert prepared.path == "https://1797-Shop-checkout-live.adyenpayments.com/checkout/v71/cancels"
        assert (prepared.operation, prepared.reference) == (Operation.CANCEL, "at_1")
        assert json.loads(prepared.body) == {
            "merchantAccount": "TestMerchant",
            "paymentReference": json.loads(charge.body)["reference"],
            "reference": "at_1",
        }

    @pytest.mark.parametrize(
        ("reason", "theirs"),
        [
            ("requested_by_customer", "CUSTOMER REQUEST"),
            ("duplicate", "DUPLICATE"),
            ("fraudulent", "FRAUD"),
            ("other", "OTHER"),
        ],
    )
    def test_a_refund(self, reason: str, theirs: str) -> None:
        prepared = opened().prepare(contract.Refund(reference="rf_1", reason=reason, **TARGET))

        assert prepared.path.endswith(f"/v71/payments/{PSP}/refunds")
        assert json.loads(prepared.body)["merchantRefundReason"] == theirs

    @pytest.mark.parametrize("payment", ["", "pi_1", "../../x", "nc6ht9crt65zgn82", f"{PSP}/captures", f"{PSP}\n"])
    def test_what_is_no_payment_of_adyens_never_becomes_part_of_an_address(self, payment: str) -> None:
        target = TARGET | {"provider_transaction_id": payment}
        for ask in (
            contract.Capture(reference="cp_1", **target),
            contract.Refund(reference="rf_1", reason="other", **target),
        ):
            with pytest.raises(contract.Unsupported):
                opened().prepare(ask)
        if not payment.isidentifier():
            with pytest.raises(contract.Unsupported):
                opened().prepare(contract.Cancel(reference="cn_1", **target))


class TestCredentials:
    def test_each_mode_has_its_own_address(self) -> None:
        assert opened().account.endpoint == "https://checkout-test.adyen.com/v71"
        live = opened(livemode=True, live_prefix="1797a841fbb37ca7-Shop").account
        assert live.endpoint == "https://1797a841fbb37ca7-Shop-checkout-live.adyenpayments.com/checkout/v71"
        assert opened(livemode=True, base_url="https://proxy.test").account.endpoint == "https://proxy.test/v71"

    @pytest.mark.parametrize(
        ("changed", "field"),
        [
            ({"api_key": ""}, "api_key"),
            ({"api_key": "with blank"}, "api_key"),
            ({"merchant_account": None}, "merchant_account"),
            ({"merchant_account": "a/b"}, "merchant_account"),
            ({"hmac_keys": "ab" * 32}, "hmac_keys"),
            ({"hmac_keys": ["xyz"]}, "hmac_keys"),
            ({"hmac_keys": ["ab"]}, "hmac_keys"),
            ({"shopper_reference": "ab"}, "shopper_reference"),
            ({"recurring_model": "Sometimes"}, "recurring_model"),
            ({"payment_methods": ["ideal"]}, "payment_methods"),
            ({"payment_methods": {"card": "bcmc"}}, "payment_methods"),
            ({"payment_methods": {"e_wallet": "a b"}}, "e_wallet"),
            ({"webhook_username": "adyen"}, "webhook_password"),
            ({"webhook_username": "a:b", "webhook_password": "x"}, "webhook_username"),
        ],
    )
    def test_wrong_ones_are_named_but_not_repeated(self, changed: dict[str, Any], field: str) -> None:
        with pytest.raises(contract.BadCredentials) as refused:
            opened(**changed)

        assert refused.value.field == field
        assert "with blank" not in refused.value.message

    @pytest.mark.parametrize("prefix", [None, "", "evil.test/", "a.b"])
    def test_a_live_account_needs_the_prefix_of_its_address(self, prefix: str | None) -> None:
        with pytest.raises(contract.BadCredentials) as refused:
            opened(livemode=True, live_prefix=prefix)

        assert refused.value.field == "live_prefix"

    def test_what_depends_on_the_account_can_be_said(self) -> None:
        adapter = opened(
            shopper_reference="shop", recurring_model="Subscription", payment_methods={"e_wallet": "paypal"}
        )
        body = json.loads(adapter.prepare(a_charge(token="M5N7")).body)
        wallet = json.loads(
            adapter.prepare(a_charge(method="e_wallet", token=None, return_url="https://shop.test")).body
        )

        assert (body["shopperReference"], body["recurringProcessingModel"]) == ("shop", "Subscription")
        assert wallet["paymentMethod"] == {"type": "paypal"}

    def test_none_is_shown(self) -> None:
        adapter = opened(webhook_username="adyen", webhook_password="sesame")

        for secret in ("AQE_x", "ab" * 32, "sesame", "\\xab"):
            assert secret not in repr(adapter)


class TestTheEndpoint:
    """Each of Adyen's regions remembers keys for itself."""

    async def test_a_request_is_never_sent_to_another_than_it_was_prepared_for(self) -> None:
        prepared = opened(base_url="https://one.test").prepare(a_charge())
        seen: list[httpx.Request] = []

        def answers(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return httpx.Response(500)

        doorway = http.Doorway(transport=httpx.MockTransport(answers))
        for base_url in ("https://other.test", "https://one.test.evil.test", "https://one.tes"):
            moved = adyen.Adyen.open(CREDENTIALS, base_url=base_url, livemode=False, doorway=doorway)
            sent = await moved.send(prepared, key="k1")
            returned = {"redirectResult": "x"}
            went_on = await moved.proceed(prepared, key="k1", provider_id=PSP, returned=returned)

            assert sent == Unknown(reason="endpoint_changed")
            assert went_on == Unknown(reason="endpoint_changed", provider_id=PSP)
        assert seen == []


class TestComingBack:
    async def exchange(self, *returned: str) -> list[httpx.Request]:
        seen: list[httpx.Request] = []

        def answers(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return httpx.Response(422, json={"errorCode": "14_006"})

        doorway = http.Doorway(transport=httpx.MockTransport(answers))
        adapter = adyen.Adyen.open(CREDENTIALS, base_url=None, livemode=False, doorway=doorway)
        prepared = adapter.prepare(a_charge(return_url="https://shop.test"))
        for result in returned:
            query = {"redirectResult": result, "resultCode": "authorised"}
            outcome = await adapter.proceed(prepared, key="k" * 43, provider_id=PSP, returned=query)
            assert isinstance(outcome, Unknown)
        return seen

    async def test_only_the_result_is_handed_on(self) -> None:
        (request,) = await self.exchange("X6XtfGC3!Y")

        assert request.url == "https://checkout-test.adyen.com/v71/payments/details"
        assert json.loads(request.content) == {"details": {"redirectResult": "X6XtfGC3!Y"}}
        assert request.headers["X-API-Key"] == "AQE_x"

    async def test_each_result_has_a_key_of_its_own_the_same_at_a_repeat(self) -> None:
        keys = [request.headers["Idempotency-Key"] for request in await self.exchange("a", "forged", "a")]

        assert keys[0] == keys[2] != keys[1]
        assert all(len(key) <= 64 and key != "k" * 43 for key in keys)

    @pytest.mark.parametrize("returned", [{}, {"redirectResult": ""}, {"payload": "x"}])
    async def test_with_nothing_nothing_is_asked(self, returned: dict[str, str]) -> None:
        adapter = opened()
        outcome = await adapter.proceed(adapter.prepare(a_charge()), key="k1", provider_id=PSP, returned=returned)

        assert outcome == Unknown(reason="nothing_returned", provider_id=PSP)


async def test_a_look_up_sends_nothing_and_proves_nothing() -> None:
    adapter = opened()
    for provider_id in (None, PSP):
        outcome = await adapter.look_up(adapter.prepare(a_charge()), provider_id=provider_id)
        assert outcome == Unknown(reason="no_read_call", provider_id=provider_id)
