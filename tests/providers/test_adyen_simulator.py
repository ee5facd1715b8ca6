"""The Adyen simulator keeps Adyen's rules, and our adapter understands them over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from providers import PROVIDERS, contract, http
from providers.contract import (
    ActionRequired,
    Approved,
    Declined,
    DisputeState,
    DisputeTold,
    NotSent,
    Operation,
    Unknown,
)
from providers.simulator import adyen as adyen_simulator
from providers.simulator.adyen_bank import Habits
from tests.providers.far_ends import Line, Switchboard, a_cancel, a_capture, a_charge, a_refund, a_sale, line_to

AMOUNT = {"currency": "EUR", "value": 1099}
SALE: dict[str, Any] = {
    "amount": AMOUNT,
    "merchantAccount": "PaygateTest",
    "paymentMethod": {"type": "scheme", "storedPaymentMethodId": "APPROVED"},
    "recurringProcessingModel": "CardOnFile",
    "reference": "at_1",
    "returnUrl": "https://shop.test/back",
    "shopperInteraction": "ContAuth",
    "shopperReference": "shopper_1",
}
MANUAL: dict[str, Any] = {"additionalData": {"manualCapture": "true"}}


@pytest.fixture
async def line(switchboard: Switchboard) -> AsyncIterator[Line]:
    async with line_to("adyen", switchboard) as line:
        yield line


async def call(line: Line, path: str, body: dict[str, Any], key: str | None = None) -> httpx.Response:
    headers = {"X-API-Key": "AQE_right"} | ({"Idempotency-Key": key} if key else {})
    return await line.control.post(f"/v71{path}", json=body, headers=headers)


async def pay(line: Line, stored: str = "APPROVED", key: str | None = None, **changed: Any) -> httpx.Response:
    method = {"paymentMethod": {"type": "scheme", "storedPaymentMethodId": stored}}
    return await call(line, "/payments", SALE | method | changed, key)


async def modify(line: Line, psp: str, what: str, **changed: Any) -> httpx.Response:
    amount = {"amount": AMOUNT} if what in ("captures", "refunds") else {}
    return await call(
        line, f"/payments/{psp}/{what}", {"merchantAccount": "PaygateTest", "reference": "m_1"} | amount | changed
    )


async def posted(line: Line) -> list[dict[str, Any]]:
    return [
        json.loads(notice.body)["notificationItems"][0]["NotificationRequestItem"] for notice in await line.notices()
    ]


async def events(line: Line) -> list[tuple[str, str]]:
    return [(item["eventCode"], item["success"]) for item in await posted(line)]


class TestKeys:
    async def test_the_first_answer_is_repeated_whatever_is_sent(self, line: Line) -> None:
        first, again = await pay(line, key="k1"), await pay(line, "DECLINED", key="k1", reference="at_2")

        assert first.json() == again.json()
        assert again.headers["Idempotency-Key"] == "k1"
        assert await line.moved("at_1", "captures") == (1, 1099)

    async def test_a_key_holds_for_the_company_at_every_address(self, line: Line) -> None:
        psp = (await pay(line, key="k1")).json()["pspReference"]
        refused = await call(line, f"/payments/{psp}/refunds", {}, "k1")

        assert refused.json()["resultCode"] == "Authorised"

    async def test_an_error_that_is_not_transient_is_kept(self, line: Line) -> None:
        refused, again = await pay(line, "IOEXCEPTION_RECEIVED", key="k1"), await pay(line, key="k1")

        assert (refused.status_code, again.status_code) == (500, 500)
        assert "Transient-Error" not in again.headers
        invalid, still = await pay(line, key="k2", returnUrl=""), await pay(line, key="k2")
        assert (invalid.status_code, still.status_code) == (422, 422)

    async def test_a_transient_error_is_forgotten(self, line: Line) -> None:
        refused, executed = await pay(line, "NO_CONNECTION_AVAILABLE", key="k1"), await pay(line, key="k1")

        assert refused.headers["Transient-Error"] == "true"
        assert executed.json()["resultCode"] == "Authorised"

    async def test_a_second_request_beside_the_first_is_told_so(self, line: Line) -> None:
        await line.order("act_late", seconds=60)
        first = asyncio.create_task(pay(line, key="k1"))
        await line.sees_call("at_1", "charge")
        second = await pay(line, key="k1")
        await line.release()

        assert (second.status_code, second.json()["errorCode"]) == (422, "704")
        assert (await first).status_code == 200

    async def test_a_key_is_not_too_long(self, line: Line) -> None:
        assert (await pay(line, key="k" * 65)).status_code == 422


class TestTransientErrors:
    """The two cases that an orchestrator must keep apart."""

    async def test_no_connection_proves_that_nothing_was_executed(self, line: Line) -> None:
        adapter = line.adapter()
        outcome = await adapter.send(adapter.prepare(a_charge("shopper_1/NO_CONNECTION_AVAILABLE", "at_1")), key="k1")

        assert isinstance(outcome, NotSent)
        assert outcome.reason is contract.NotSentReason.UNAVAILABLE

    async def test_a_lost_message_does_not(self, line: Line) -> None:
        adapter = line.adapter()
        prepared = adapter.prepare(a_charge("shopper_1/IOEXCEPTION_RECEIVED", "at_1"))

        assert isinstance(await adapter.send(prepared, key="k1"), Unknown)
        assert isinstance(await adapter.send(prepared, key="k1"), Unknown)


class TestRules:
    @pytest.mark.parametrize(
        ("changed", "status", "code"),
        [
            ({"amount": {"currency": "EUR", "value": 0}}, 422, "137"),
            ({"amount": {"currency": "EUR", "value": "1"}}, 422, "137"),
            ({"amount": {"currency": "eur", "value": 1}}, 422, "138"),
            ({"returnUrl": ""}, 422, "14_030"),
            ({"reference": "x" * 81}, 422, "130"),
            ({"colour": "blue"}, 422, "702"),
            ({"captureDelayHours": 673}, 422, "702"),
            ({"shopperReference": ""}, 422, "14_0408"),
            ({"recurringProcessingModel": ""}, 422, "14_0408"),
            ({"paymentMethod": {"type": "scheme", "storedPaymentMethodId": "NOBODY"}}, 422, "803"),
            ({"paymentMethod": {"type": "scheme", "storedPaymentMethodId": "NOT_CONFIGURED"}}, 500, "905"),
        ],
    )
    async def test_a_payment_is_refused_in_adyens_words(
        self, line: Line, changed: dict[str, Any], status: int, code: str
    ) -> None:
        refused = await call(line, "/payments", SALE | changed)

        assert (refused.status_code, refused.json()["errorCode"]) == (status, code)
        assert await line.moved("at_1", "charges") == (0, 0)

    async def test_so_is_what_is_not_json(self, line: Line) -> None:
        for content in (b"", b"{", b"[]"):
            refused = await line.control.post("/v71/payments", content=content, headers={"X-API-Key": "AQE_right"})
            assert (refused.status_code, refused.json()["errorCode"]) == (400, "702")

    @pytest.mark.parametrize(
        "magic",
        [
            {"additionalData": {"RequestedTestAcquirerResponseCode": "NOT_ENOUGH_BALANCE"}},
            {
                "paymentMethod": {
                    "type": "scheme",
                    "storedPaymentMethodId": "8416038790273850",
                    "holderName": "not enough balance : 51 : Insuff Funds",
                }
            },
        ],
    )
    async def test_magic_values_work_wherever_adyen_reads_them(self, line: Line, magic: dict[str, Any]) -> None:
        refused = (await call(line, "/payments", SALE | magic)).json()

        assert (refused["resultCode"], refused["refusalReasonCode"]) == ("Refused", "12")

    async def test_a_modification_is_always_received_and_only_told_to_have_failed(self, line: Line) -> None:
        psp = (await pay(line)).json()["pspReference"]
        more = {"amount": AMOUNT | {"value": 1100}}
        answers = [await modify(line, psp, "refunds", **more), await modify(line, psp, "cancels")]

        assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(201, "received")] * 2
        assert await events(line) == [("AUTHORISATION", "true"), ("REFUND", "false"), ("CANCELLATION", "false")]
        assert await line.moved("m_1", "refunds") == (0, 0)

    async def test_capturing_what_is_captured_already_moves_nothing(self, line: Line) -> None:
        psp = (await pay(line)).json()["pspReference"]
        await modify(line, psp, "captures")

        assert await line.moved("at_1", "captures") == (1, 1099)
        assert (await events(line))[-1] == ("CAPTURE", "false")

    async def test_an_unknown_payment_or_another_merchants_is_refused_at_once(self, line: Line) -> None:
        psp = (await pay(line)).json()["pspReference"]

        assert (await modify(line, "A" * 16, "captures")).status_code == 422
        assert (await modify(line, psp, "refunds", merchantAccount="Other")).status_code == 403

    @pytest.mark.parametrize(
        ("stored", "expected"),
        [
            ("CAPTURE_FAILED", ["CAPTURE", "CAPTURE_FAILED"]),
            ("APPROVED", ["CAPTURE"]),
            ("CHARGEBACK", ["CAPTURE", "NOTIFICATION_OF_CHARGEBACK", "CHARGEBACK"]),
        ],
    )
    async def test_a_capture_has_its_sequel(self, line: Line, stored: str, expected: list[str]) -> None:
        psp = (await pay(line, stored, **MANUAL)).json()["pspReference"]
        await modify(line, psp, "captures", amount=AMOUNT | {"value": 600})

        assert [code for code, _ in (await events(line))[1:]] == expected
        assert await line.moved("at_1", "captures") == ((0, 0) if stored == "CAPTURE_FAILED" else (1, 600))

    async def test_a_refund_may_fail_after_all(self, line: Line) -> None:
        psp = (await pay(line, "REFUND_FAILED")).json()["pspReference"]
        await modify(line, psp, "refunds")
        refund, failed = (await posted(line))[1:]

        assert (refund["eventCode"], failed["eventCode"]) == ("REFUND", "REFUND_FAILED")
        assert refund["pspReference"] == failed["pspReference"]
        assert await line.moved("m_1", "refund_failures") == (1, 1099)

    @pytest.mark.parametrize(("manual", "action"), [(True, "cancel"), (False, "refund")])
    async def test_a_reversal_does_what_is_right(self, line: Line, manual: bool, action: str) -> None:
        psp = (await pay(line, **(MANUAL if manual else {}))).json()["pspReference"]
        await modify(line, psp, "reversals")
        reversal = (await posted(line))[-1]

        assert reversal["eventCode"] == "CANCEL_OR_REFUND"
        assert reversal["additionalData"]["modification.action"] == action
        with pytest.raises(contract.Unreadable):
            await line.told()

    async def test_a_pending_payment_is_decided_later(self, line: Line) -> None:
        pending = (await pay(line, "PENDING")).json()
        assert (pending["resultCode"], await events(line)) == ("Received", [])
        await line.control.post(f"/_simulator/payments/{pending['pspReference']}/settle")

        assert await events(line) == [("AUTHORISATION", "true")]
        assert await line.moved("at_1", "captures") == (1, 1099)

    async def test_an_authorization_expires(self, line: Line) -> None:
        psp = (await pay(line, **MANUAL)).json()["pspReference"]
        await line.control.post(f"/_simulator/payments/{psp}/expire")
        await modify(line, psp, "captures")

        assert await line.moved("at_1", "voids") == (1, 1099)
        assert [code for code, _ in await events(line)] == ["AUTHORISATION", "EXPIRE", "CAPTURE"]
        released = (await line.told())[1]
        assert isinstance(released, contract.AttemptTold)
        assert (released.operation, released.provider_transaction_id) == (Operation.CANCEL, psp)

    async def test_part_of_the_money_may_be_held(self, line: Line) -> None:
        adapter = line.adapter()
        prepared = adapter.prepare(a_charge("shopper_1/PARTIALLY_APPROVED", "at_1"))
        outcome = await adapter.send(prepared, key="k1")

        assert isinstance(outcome, Unknown)
        assert outcome.reason == "partially_authorised"
        assert await line.moved("at_1", "charges") == (1, 550)

    @pytest.mark.parametrize("tells", [True, False])
    async def test_whether_automatic_captures_are_told_of_is_the_accounts(
        self, switchboard: Switchboard, line: Line, tells: bool
    ) -> None:
        switchboard.app = app = adyen_simulator.create(habits=Habits(tells_automatic_captures=tells))
        app.state.notifier.url = line.far_end.app.state.notifier.url
        await pay(line)
        await app.state.notifier.settled()
        await app.state.notifier.aclose()

        assert [code for code, _ in await events(line)] == ["AUTHORISATION", "CAPTURE"][: 1 + tells]

    @pytest.mark.parametrize(("names", "reference"), [(True, "m_1"), (False, "at_1")])
    async def test_whether_a_modification_is_told_of_by_its_own_reference_is_left_open(
        self, switchboard: Switchboard, line: Line, names: bool, reference: str
    ) -> None:
        switchboard.app = app = adyen_simulator.create(hmac_key="ab" * 32, habits=Habits(names_modifications=names))
        app.state.notifier.url = line.far_end.app.state.notifier.url
        sale = (await pay(line)).json()
        await modify(line, sale["pspReference"], "refunds")
        await app.state.notifier.settled()
        await app.state.notifier.aclose()

        refunded = (await line.told())[-1]
        assert isinstance(refunded, contract.AttemptTold)
        assert (refunded.operation, refunded.reference) == (Operation.REFUND, reference)
        assert refunded.provider_transaction_id == sale["pspReference"]


class TestCancellingWhatHasNoIdYet:
    """Adyen's technical cancel: by the charge's own reference, whatever became of its answer."""

    async def test_a_hold_whose_answer_was_lost_is_released(self, line: Line) -> None:
        adapter = line.adapter()
        prepared = adapter.prepare(a_charge(line.far_end.approved, "at_1", capture=False))
        await line.order("act_then_lose_answer", reference="at_1")
        assert isinstance(await adapter.send(prepared, key="k1"), Unknown)

        sent_reference = json.loads(prepared.body)["reference"]
        outcome = await line.settled(adapter, a_cancel(sent_reference), key="k2")

        assert isinstance(outcome, Approved)
        assert await line.moved("at_1", "voids") == (1, 1099)

    async def test_what_never_arrived_cannot_be(self, line: Line) -> None:
        outcome = await line.settled(line.adapter(), a_cancel("at_1"), key="k2")

        assert isinstance(outcome, Declined)
        assert outcome.code == "cancel_refused"


class TestThePage:
    """Where the customer of a bank or wallet pays, and of a card authenticates."""

    async def go(self, line: Line, prepared: contract.Prepared, decision: str) -> tuple[ActionRequired, dict[str, str]]:
        adapter = line.adapter()
        action = await adapter.send(prepared, key="k1")
        assert isinstance(action, ActionRequired)
        page = await line.control.get(action.url)
        assert page.headers["Content-Type"].startswith("text/html")
        assert "1099 EUR" in page.text
        back = await line.customer_decides(action.url, decision)
        assert back.status_code == 303
        assert (await line.control.get(action.url)).status_code == 404
        return action, dict(httpx.URL(back.headers["Location"]).params)

    def a_wallet(self, line: Line, method: str = "e_wallet") -> contract.Prepared:
        charge = contract.Charge(
            reference="at_1",
            amount=a_charge("", "at_1").amount,
            currency="EUR",
            method=method,
            token=None,
            capture=True,
            return_url="https://shop.test/back?n=1",
        )
        return line.adapter().prepare(charge)

    @pytest.mark.parametrize("method", ["e_wallet", "bank_transfer"])
    async def test_a_wallet_pays_at_once_and_the_return_tells(self, line: Line, method: str) -> None:
        prepared = self.a_wallet(line, method)
        action, returned = await self.go(line, prepared, "approve")

        assert action.provider_id == "at_1"
        assert returned["n"] == "1"
        assert await line.moved("at_1", "captures") == (1, 1099)
        outcome = await line.adapter().proceed(prepared, key="k1", provider_id=action.provider_id, returned=returned)
        assert isinstance(outcome, Approved)
        assert (outcome.captured, outcome.card) == (True, None)
        assert await line.moved("at_1", "captures") == (1, 1099)

    async def test_who_never_comes_back_is_told_of(self, line: Line) -> None:
        prepared = self.a_wallet(line)
        await self.go(line, prepared, "approve")
        told = await line.found(line.adapter(), prepared)

        assert isinstance(told, Approved)

    async def test_who_refuses_has_cancelled(self, line: Line) -> None:
        prepared = self.a_wallet(line)
        action, returned = await self.go(line, prepared, "refuse")
        outcome = await line.adapter().proceed(prepared, key="k1", provider_id=action.provider_id, returned=returned)

        assert isinstance(outcome, Declined)
        assert outcome.code == "shopper_cancelled"

    async def test_an_authenticated_card_may_still_be_refused(self, line: Line) -> None:
        token = "shopper_1/CHALLENGE_NOT_ENOUGH_BALANCE"
        prepared = line.adapter().prepare(a_charge(token, "at_1", return_url="https://shop.test/back"))
        action, returned = await self.go(line, prepared, "approve")
        outcome = await line.adapter().proceed(prepared, key="k1", provider_id=action.provider_id, returned=returned)

        assert isinstance(outcome, Declined)
        assert outcome.code == "insufficient_funds"

    async def test_a_forged_return_does_not_spoil_the_true_one(self, line: Line) -> None:
        token = line.far_end.needs_customer
        prepared = line.adapter().prepare(a_charge(token, "at_1", capture=False, return_url="https://shop.test/back"))
        action, returned = await self.go(line, prepared, "approve")

        async def proceed(returned: dict[str, str]) -> contract.Outcome:
            return await line.adapter().proceed(prepared, key="k1", provider_id=action.provider_id, returned=returned)

        assert isinstance(await proceed({"redirectResult": "forged"}), Unknown)
        outcome = await proceed(returned)
        assert isinstance(outcome, Approved)
        assert not outcome.captured

    @pytest.mark.parametrize("kind", ["act_then_lose_answer", "error_without_acting", "throttle", "garbage"])
    async def test_a_lost_answer_on_the_way_back_is_unknown_and_asked_again(self, line: Line, kind: str) -> None:
        token = line.far_end.needs_customer
        prepared = line.adapter().prepare(a_charge(token, "at_1", return_url="https://shop.test/back"))
        action, returned = await self.go(line, prepared, "approve")
        await line.order(kind, operation="details")
        first, second = [
            await line.adapter().proceed(prepared, key="k1", provider_id=action.provider_id, returned=returned)
            for _ in range(2)
        ]

        assert isinstance(first, Unknown)
        assert isinstance(second, Approved)
        assert await line.moved("at_1", "captures") == (1, 1099)

    async def test_a_cancelled_payment_has_no_page_any_more(self, line: Line) -> None:
        prepared = self.a_wallet(line)
        action = await line.adapter().send(prepared, key="k1")
        assert isinstance(action, ActionRequired)
        assert isinstance(await line.settled(line.adapter(), a_cancel(action.provider_id), key="k2"), Approved)

        assert (await line.customer_decides(action.url, "approve")).status_code == 404
        assert await line.moved("at_1", "charges") == (0, 0)


class TestDisputes:
    async def test_each_stage_is_told_in_order_and_moves_the_money(self, line: Line) -> None:
        await a_sale(line, "shopper_1/SECOND_CHARGEBACK")
        told = [one for one in await line.told() if isinstance(one, DisputeTold)]

        assert [(one.state, one.funds_withdrawn) for one in told] == [
            (DisputeState.OPENED, None),
            (DisputeState.OPENED, True),
            (DisputeState.WON, False),
            (DisputeState.LOST, True),
        ]
        assert [one.reference for one in told] == [None, None, "at_1", None]
        assert await line.moved("at_1", "disputes") == (2, 2198)
        assert await line.moved("at_1", "dispute_reversals") == (1, 1099)


class TestNotifications:
    async def test_a_refund_takes_its_time_and_is_told_in_the_end(self, line: Line) -> None:
        adapter = line.adapter()
        payment = await a_sale(line, line.far_end.refund_pends)
        pending = await adapter.send(adapter.prepare(a_refund(payment)), key="k2")
        assert isinstance(pending, contract.Pending)
        await line.control.post(f"/_simulator/refunds/{pending.provider_id}/settle")

        told = (await line.told())[-1]
        assert isinstance(told, contract.AttemptTold)
        assert (told.provider_id, told.provider_transaction_id) == (pending.provider_id, payment)
        assert await line.moved("rf_1", "refunds") == (1, 1099)

    async def test_a_lost_answer_and_its_repeat_are_told_of_once(self, line: Line) -> None:
        adapter = line.adapter()
        payment = await a_sale(line, line.far_end.approved)
        await line.order("act_then_lose_answer", reference="rf_1")
        prepared = adapter.prepare(a_refund(payment))
        await adapter.send(prepared, key="k2")
        await adapter.send(prepared, key="k2")

        assert [code for code, _ in await events(line)] == ["AUTHORISATION", "REFUND"]

    async def test_a_capture_may_be_told_before_its_payment(self, line: Line) -> None:
        await line.order("webhook_reorder", event="AUTHORISATION")
        adapter = line.adapter()
        held = await adapter.send(adapter.prepare(a_charge(line.far_end.approved, "at_1", capture=False)), key="k1")
        assert isinstance(held, Approved)
        await adapter.send(adapter.prepare(a_capture(held.provider_id)), key="k2")

        assert [code for code, _ in await events(line)] == ["CAPTURE", "AUTHORISATION"]

    async def test_a_password_may_go_with_each(self, switchboard: Switchboard, line: Line) -> None:
        switchboard.app = app = adyen_simulator.create(hmac_key="ab" * 32, webhook_login=("adyen", "sesame"))
        app.state.notifier.url = line.far_end.app.state.notifier.url
        await pay(line)
        await app.state.notifier.settled()
        await app.state.notifier.aclose()
        (notice,) = line.received
        guarded = {"webhook_username": "adyen", "webhook_password": "sesame"}
        async with http.Doorway() as doorway:
            adapter = PROVIDERS["adyen"].open(
                {**line.far_end.credentials, **guarded}, base_url=None, livemode=False, doorway=doorway
            )
            assert len(await adapter.verify_webhook(notice.headers, notice.body, now=0.0)) == 1
            with pytest.raises(contract.Forged):
                await adapter.verify_webhook({}, notice.body, now=0.0)
