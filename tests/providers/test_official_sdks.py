"""The PSPs' own libraries take our simulators for the real thing: their requests pass, they understand every answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import Adyen  # type: ignore[import-untyped]  # ships no types
import pytest
import stripe
from apimatic_core.exceptions.auth_validation_exception import (  # type: ignore[import-untyped]  # ships no types
    AuthValidationException,
)
from paypalserversdk.configuration import Configuration, Environment, Server  # type: ignore[import-untyped]  # ships no types
from paypalserversdk.exceptions.error_exception import ErrorException  # type: ignore[import-untyped]  # ships no types
from paypalserversdk.http.auth.o_auth_2 import ClientCredentialsAuthCredentials  # type: ignore[import-untyped]  # ships no types
from paypalserversdk.models.amount_with_breakdown import AmountWithBreakdown  # type: ignore[import-untyped]  # ships no types
from paypalserversdk.models.capture_request import CaptureRequest  # type: ignore[import-untyped]  # ships no types
from paypalserversdk.models.card_request import CardRequest  # type: ignore[import-untyped]  # ships no types
from paypalserversdk.models.money import Money  # type: ignore[import-untyped]  # ships no types
from paypalserversdk.models.order_request import OrderRequest  # type: ignore[import-untyped]  # ships no types
from paypalserversdk.models.payment_source import PaymentSource  # type: ignore[import-untyped]  # ships no types
from paypalserversdk.models.purchase_unit_request import PurchaseUnitRequest  # type: ignore[import-untyped]  # ships no types
from paypalserversdk.models.refund_request import RefundRequest  # type: ignore[import-untyped]  # ships no types
from paypalserversdk.paypal_serversdk_client import PaypalServersdkClient  # type: ignore[import-untyped]  # ships no types

from tests.providers.far_ends import Line, Switchboard, line_to

ask = asyncio.to_thread
"""The libraries wait in the calling thread, and the simulator is served by this one."""


@pytest.fixture
async def line(request: pytest.FixtureRequest, switchboard: Switchboard, no_proxy: None) -> AsyncIterator[Line]:
    async with line_to(request.cls.provider, switchboard) as line:
        yield line


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """All three go through the proxy of the environment, even to this machine."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


class TestStripe:
    provider = "stripe"

    @pytest.fixture
    def payments(self, client: stripe.StripeClient) -> stripe.PaymentIntentService:
        return client.v1.payment_intents

    @pytest.fixture
    def client(self, line: Line) -> stripe.StripeClient:
        return stripe.StripeClient("sk_test_right", base_addresses={"api": line.base_url}, max_network_retries=0)

    async def test_a_payment_is_created_confirmed_and_captured(
        self, payments: stripe.PaymentIntentService, line: Line
    ) -> None:
        made = await ask(payments.create, an_intent(capture_method="manual"))
        confirmed = await ask(payments.confirm, made.id, {"payment_method": "pm_card_visa"})
        captured = await ask(payments.capture, made.id, {"amount_to_capture": 500})
        assert [made.status, confirmed.status] == ["requires_payment_method", "requires_capture"]
        assert (captured.status, captured.amount_received) == ("succeeded", 500)
        assert await line.moved("at_1", "captures") == (1, 500)

    async def test_a_payment_is_cancelled(self, payments: stripe.PaymentIntentService, line: Line) -> None:
        held = await ask(payments.create, a_confirmed_intent(capture_method="manual"))
        cancelled = await ask(payments.cancel, held.id, {"cancellation_reason": "requested_by_customer"})
        assert (cancelled.status, cancelled.cancellation_reason) == ("canceled", "requested_by_customer")
        assert await line.moved("at_1", "voids") == (1, 1099)

    async def test_a_payment_is_refunded_and_retrieved(self, client: stripe.StripeClient, line: Line) -> None:
        paid = await ask(client.v1.payment_intents.create, a_confirmed_intent())
        asked: Any = {"payment_intent": paid.id, "amount": 99, "metadata": {"gateway_reference": "rfd_1"}}
        refund = await ask(client.v1.refunds.create, asked)
        again = await ask(client.v1.refunds.retrieve, refund.id)
        shown = await ask(client.v1.payment_intents.retrieve, paid.id, {"expand": ["latest_charge"]})
        assert (again.status, again.amount, again.payment_intent) == ("succeeded", 99, paid.id)
        assert isinstance(shown.latest_charge, stripe.Charge)
        assert (shown.status, shown.latest_charge.amount_refunded) == ("succeeded", 99)
        assert await line.moved("rfd_1", "refunds") == (1, 99)

    async def test_payments_and_refunds_are_listed_page_after_page(self, client: stripe.StripeClient) -> None:
        made = [(await ask(client.v1.payment_intents.create, a_confirmed_intent())).id for _ in range(3)]
        refund = await ask(client.v1.refunds.create, {"payment_intent": made[0]})
        first = await ask(client.v1.payment_intents.list, {"limit": 2})
        every = await ask(lambda: [one.id for one in first.auto_paging_iter()])
        refunds = await ask(client.v1.refunds.list, {"payment_intent": made[0]})
        assert (len(first.data), every) == (2, made[::-1])
        assert [one.id for one in refunds.data] == [refund.id]

    async def test_a_key_executes_once(self, payments: stripe.PaymentIntentService, line: Line) -> None:
        key: stripe.RequestOptions = {"idempotency_key": "k1"}
        first, again = [await ask(payments.create, a_confirmed_intent(), key) for _ in range(2)]
        assert first.id == again.id
        assert await line.moved("at_1", "captures") == (1, 1099)

    async def test_refusals_are_told_apart(self, payments: stripe.PaymentIntentService, line: Line) -> None:
        with pytest.raises(stripe.CardError) as declined:
            await ask(payments.create, a_confirmed_intent(payment_method="pm_card_visa_chargeDeclinedStolenCard"))
        with pytest.raises(stripe.InvalidRequestError) as unknown:
            await ask(payments.retrieve, "pi_unheardOf")
        stranger = stripe.StripeClient("sk_live_x", base_addresses={"api": line.base_url}, max_network_retries=0)
        with pytest.raises(stripe.AuthenticationError):
            await ask(stranger.v1.payment_intents.retrieve, "pi_1")
        assert declined.value.error is not None
        assert (declined.value.code, declined.value.error.decline_code) == ("card_declined", "stolen_card")
        assert unknown.value.code == "resource_missing"

    async def test_notifications_are_genuine_and_forged_ones_are_not(
        self, payments: stripe.PaymentIntentService, client: stripe.StripeClient, line: Line
    ) -> None:
        paid = await ask(payments.create, a_confirmed_intent())
        notices = await line.notices()
        events = [
            client.construct_event(notice.body, notice.headers["stripe-signature"], "whsec_quiet") for notice in notices
        ]
        assert ("payment_intent.succeeded", paid.id) in [(event.type, event.data.object["id"]) for event in events]
        with pytest.raises(stripe.SignatureVerificationError):
            client.construct_event(notices[0].body + b" ", notices[0].headers["stripe-signature"], "whsec_quiet")


def an_intent(**changed: Any) -> stripe.params.PaymentIntentCreateParams:
    made: Any = {
        "amount": 1099,
        "currency": "eur",
        "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        "metadata": {"gateway_reference": "at_1"},
    }
    params: stripe.params.PaymentIntentCreateParams = made | changed
    return params


def a_confirmed_intent(**changed: Any) -> stripe.params.PaymentIntentCreateParams:
    return an_intent(**{"confirm": True, "payment_method": "pm_card_visa"} | changed)


class TestPayPal:
    provider = "paypal"

    @pytest.fixture
    def client(self, line: Line) -> Any:
        return paypal_client(line, "secret_right")

    async def test_an_order_with_a_vaulted_card_is_taken_at_once(self, client: Any, line: Line) -> None:
        answer = await ask(client.orders.create_order, an_order("CAPTURE", "vault_card_visa"))
        shown = (await ask(client.orders.get_order, {"id": answer.body.id})).body
        (capture,) = shown.purchase_units[0].payments.captures
        found = (await ask(client.payments.get_captured_payment, {"capture_id": capture.id})).body
        assert (answer.status_code, answer.body.status, shown.intent) == (201, "COMPLETED", "CAPTURE")
        assert (found.status, found.amount.value, found.custom_id) == ("COMPLETED", "10.99", "at_1")
        assert await line.moved("at_1", "captures") == (1, 1099)

    async def test_an_approved_order_is_captured(self, client: Any, line: Line) -> None:
        order = await approved(client, line, "CAPTURE")
        taken = (await ask(client.orders.capture_order, {"id": order, "prefer": "return=representation"})).body
        assert (taken.status, taken.purchase_units[0].payments.captures[0].status) == ("COMPLETED", "COMPLETED")
        assert await line.moved("at_1", "captures") == (1, 1099)

    async def test_an_authorization_is_captured(self, client: Any, line: Line) -> None:
        authorization = await authorized(client, line)
        body = CaptureRequest(amount=Money("EUR", "5.00"), final_capture=True)
        captured = (
            await ask(
                client.payments.capture_authorized_payment, {"authorization_id": authorization.id, "body": body} | WHOLE
            )
        ).body
        shown = (await ask(client.payments.get_authorized_payment, {"authorization_id": authorization.id})).body
        assert (captured.status, captured.amount.value, captured.final_capture) == ("COMPLETED", "5.00", True)
        assert (authorization.status, shown.status) == ("CREATED", "CAPTURED")
        assert await line.moved("at_1", "captures") == (1, 500)

    @pytest.mark.parametrize("prefer", ["return=representation", "return=minimal"])
    async def test_an_authorization_is_voided(self, client: Any, line: Line, prefer: str) -> None:
        authorization = await authorized(client, line)
        named = {"authorization_id": authorization.id}
        answer = await ask(client.payments.void_payment, named | {"prefer": prefer})
        shown = (await ask(client.payments.get_authorized_payment, named)).body
        assert answer.status_code == (200 if prefer == "return=representation" else 204)
        assert shown.status == "VOIDED"
        assert await line.moved("at_1", "voids") == (1, 1099)

    async def test_a_capture_is_refunded(self, client: Any, line: Line) -> None:
        made = (await ask(client.orders.create_order, an_order("CAPTURE", "vault_card_visa") | WHOLE)).body
        capture = made.purchase_units[0].payments.captures[0]
        part = {"capture_id": capture.id, "body": RefundRequest(amount=Money("EUR", "0.99"))}
        refund = (await ask(client.payments.refund_captured_payment, part | WHOLE)).body
        rest = (await ask(client.payments.refund_captured_payment, {"capture_id": capture.id} | WHOLE)).body
        shown = (await ask(client.payments.get_refund, {"refund_id": refund.id})).body
        assert (shown.status, shown.amount.value, rest.amount.value) == ("COMPLETED", "0.99", "10.00")
        assert await line.moved("at_1", "refunds") == (2, 1099)

    async def test_a_request_id_executes_once(self, client: Any, line: Line) -> None:
        first, again = [
            (await ask(client.orders.create_order, an_order("CAPTURE", "vault_card_visa"))).body.id for _ in range(2)
        ]
        assert first == again
        assert await line.moved("at_1", "captures") == (1, 1099)

    async def test_refusals_are_told_apart(self, client: Any, line: Line) -> None:
        with pytest.raises(ErrorException) as refused:
            await ask(client.orders.create_order, an_order("CAPTURE", "vault_refuse-TRANSACTION_REFUSED"))
        with pytest.raises(ErrorException) as unknown:
            await ask(client.payments.get_refund, {"refund_id": "UNHEARDOF"})
        with pytest.raises(AuthValidationException):
            await ask(paypal_client(line, "secret_wrong").orders.get_order, {"id": "X"})
        assert (refused.value.response_code, refused.value.details[0].issue) == (422, "TRANSACTION_REFUSED")
        assert (refused.value.name, bool(refused.value.debug_id)) == ("UNPROCESSABLE_ENTITY", True)
        assert (unknown.value.response_code, unknown.value.name) == (404, "RESOURCE_NOT_FOUND")


WHOLE = {"prefer": "return=representation"}


def paypal_client(line: Line, secret: str) -> Any:
    credentials = ClientCredentialsAuthCredentials(o_auth_client_id="client_right", o_auth_client_secret=secret)
    config = Configuration(environment=Environment.SANDBOX, client_credentials_auth_credentials=credentials)
    config.environments = {Environment.SANDBOX: {Server.DEFAULT: line.base_url}}
    return PaypalServersdkClient(config=config)


def an_order(intent: str, vault_id: str | None = None) -> dict[str, Any]:
    unit = PurchaseUnitRequest(amount=AmountWithBreakdown("EUR", "10.99"), custom_id="at_1")
    order = OrderRequest(intent=intent, purchase_units=[unit])
    if vault_id is not None:
        order.payment_source = PaymentSource(card=CardRequest(vault_id=vault_id))
    return {"body": order, "paypal_request_id": "k1"}


async def approved(client: Any, line: Line, intent: str) -> str:
    """The id of an order that its customer approved on PayPal's page."""
    asked = an_order(intent)
    context = {"return_url": "https://shop.test/back", "cancel_url": "https://shop.test/back"}
    asked["body"].payment_source = {"paypal": {"experience_context": context}}
    order = (await ask(client.orders.create_order, asked)).body
    (url,) = [link.href for link in order.links if link.rel == "payer-action"]
    assert (await line.customer_decides(url, "approve")).status_code == 303
    return str(order.id)


async def authorized(client: Any, line: Line) -> Any:
    order = await approved(client, line, "AUTHORIZE")
    answer = await ask(client.orders.authorize_order, {"id": order} | WHOLE)
    return answer.body.purchase_units[0].payments.authorizations[0]


class TestAdyen:
    provider = "adyen"

    @pytest.fixture
    def checkout(self, line: Line) -> Any:
        return adyen_checkout(line, "AQE_right")

    async def test_a_payment_is_authorised_and_captured(self, checkout: Any, line: Line) -> None:
        paid = await ask(checkout.payments_api.payments, HELD)
        captured = await modified(checkout.modifications_api.capture_authorised_payment, paid.psp, amount=AMOUNT)
        assert (paid.status_code, paid.message["resultCode"]) == (200, "Authorised")
        assert (captured["status"], captured["paymentPspReference"]) == ("received", paid.psp)
        assert ("CAPTURE", captured["pspReference"]) in await told(line)
        assert await line.moved("at_1", "captures") == (1, 1099)

    async def test_a_payment_is_cancelled(self, checkout: Any, line: Line) -> None:
        paid = await ask(checkout.payments_api.payments, HELD)
        cancelled = await modified(checkout.modifications_api.cancel_authorised_payment_by_psp_reference, paid.psp)
        assert cancelled["status"] == "received"
        assert ("CANCELLATION", cancelled["pspReference"]) in await told(line)
        assert await line.moved("at_1", "voids") == (1, 1099)

    async def test_a_payment_is_cancelled_by_its_reference(self, checkout: Any, line: Line) -> None:
        await ask(checkout.payments_api.payments, HELD)
        body = {"merchantAccount": "PaygateTest", "reference": "m_1", "paymentReference": "at_1"}
        cancelled = (await ask(checkout.modifications_api.cancel_authorised_payment, body)).message
        assert (cancelled["status"], cancelled["paymentReference"]) == ("received", "at_1")
        assert ("TECHNICAL_CANCEL", cancelled["pspReference"]) in await told(line)

    async def test_a_payment_is_refunded(self, checkout: Any, line: Line) -> None:
        paid = await ask(checkout.payments_api.payments, SALE)
        part = AMOUNT | {"value": 99}
        refund = await modified(
            checkout.modifications_api.refund_captured_payment, paid.psp, amount=part, reference="rfd_1"
        )
        assert (refund["status"], refund["amount"], refund["reference"]) == ("received", part, "rfd_1")
        assert ("REFUND", refund["pspReference"]) in await told(line)
        assert await line.moved("rfd_1", "refunds") == (1, 99)

    async def test_a_captured_payment_is_reversed(self, checkout: Any, line: Line) -> None:
        paid = await ask(checkout.payments_api.payments, SALE)
        reversal = await modified(checkout.modifications_api.refund_or_cancel_payment, paid.psp)
        assert reversal["status"] == "received"
        assert ("CANCEL_OR_REFUND", reversal["pspReference"]) in await told(line)

    async def test_a_customer_authenticates(self, checkout: Any, line: Line) -> None:
        waiting = await ask(checkout.payments_api.payments, a_payment("CHALLENGE"))
        assert (waiting.message["resultCode"], waiting.message["action"]["type"]) == ("RedirectShopper", "redirect")
        left = await line.customer_decides(waiting.message["action"]["url"], "approve")
        assert left.next_request is not None
        details = {"details": {"redirectResult": left.next_request.url.params["redirectResult"]}}
        done = await ask(checkout.payments_api.payments_details, details)
        assert (done.message["resultCode"], done.message["merchantReference"]) == ("Authorised", "at_1")

    async def test_a_key_executes_once(self, checkout: Any, line: Line) -> None:
        first, again = [await ask(checkout.payments_api.payments, SALE, "k1") for _ in range(2)]
        assert first.psp == again.psp
        assert await line.moved("at_1", "captures") == (1, 1099)

    async def test_refusals_are_told_apart(self, checkout: Any, line: Line) -> None:
        refused = await ask(checkout.payments_api.payments, a_payment("NOT_ENOUGH_BALANCE"))
        with pytest.raises(Adyen.AdyenAPIUnprocessableEntity) as invalid:
            await ask(checkout.payments_api.payments, SALE | {"amount": AMOUNT | {"value": -1}})
        with pytest.raises(Adyen.AdyenAPIAuthenticationError):
            await ask(adyen_checkout(line, "AQE_wrong").payments_api.payments, SALE)
        assert (refused.message["resultCode"], refused.message["refusalReasonCode"]) == ("Refused", "12")
        assert (invalid.value.status_code, invalid.value.error_code) == (422, "137")

    async def test_notifications_are_genuine_and_forged_ones_are_not(self, checkout: Any, line: Line) -> None:
        paid = await ask(checkout.payments_api.payments, HELD)
        await modified(checkout.modifications_api.capture_authorised_payment, paid.psp, amount=AMOUNT)
        notifications = [json.loads(notice.body) for notice in await line.notices()]
        assert len(notifications) == 2
        for notification in notifications:
            assert Adyen.util.is_valid_hmac_notification(notification, "ab" * 32)
            assert not Adyen.util.is_valid_hmac_notification(notification, "cd" * 32)
            notification["notificationItems"][0]["NotificationRequestItem"]["amount"]["value"] += 1
            assert not Adyen.util.is_valid_hmac_notification(notification, "ab" * 32)


AMOUNT = {"currency": "EUR", "value": 1099}


def a_payment(stored: str, **changed: Any) -> dict[str, Any]:
    return {
        "amount": AMOUNT,
        "merchantAccount": "PaygateTest",
        "paymentMethod": {"type": "scheme", "storedPaymentMethodId": stored},
        "recurringProcessingModel": "CardOnFile",
        "reference": "at_1",
        "returnUrl": "https://shop.test/back",
        "shopperInteraction": "ContAuth",
        "shopperReference": "shopper_1",
    } | changed


SALE = a_payment("APPROVED")
HELD = a_payment("APPROVED", additionalData={"manualCapture": "true"})


def adyen_checkout(line: Line, api_key: str) -> Any:
    checkout = Adyen.Adyen(xapikey=api_key, platform="test").checkout
    for api in (checkout.payments_api, checkout.modifications_api):
        api.baseUrl = f"{line.base_url}/v71"
    return checkout


async def modified(modify: Callable[..., Any], psp_reference: str, **members: Any) -> Any:
    body = {"merchantAccount": "PaygateTest", "reference": "m_1"} | members
    answer = await ask(modify, body, psp_reference)
    assert answer.status_code == 201
    return answer.message


async def told(line: Line) -> list[tuple[str, str]]:
    """Of each notification what it is about."""
    items = [
        json.loads(notice.body)["notificationItems"][0]["NotificationRequestItem"] for notice in await line.notices()
    ]
    return [(item["eventCode"], item["pspReference"]) for item in items]
