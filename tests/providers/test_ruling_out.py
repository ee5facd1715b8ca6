"""What is each PSP's alone in ruling a charge out.

Adyen only takes note, Stripe keeps its refusals under a key, and PayPal knows no cancel of an order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from providers import contract
from providers.contract import Approved, Declined, Pending, Unknown
from tests.providers.far_ends import Line, Switchboard, a_capture, a_charge, line_to


def is_ruled_out(outcome: contract.Outcome) -> bool:
    return isinstance(outcome, Declined) and outcome.code == contract.RULED_OUT


class TestAdyen:
    @pytest.fixture
    async def line(self, switchboard: Switchboard) -> AsyncIterator[Line]:
        async with line_to("adyen", switchboard) as line:
            yield line

    async def test_what_is_waited_for_is_the_charge_not_the_cancel(self, line: Line) -> None:
        adapter = line.adapter()
        prepared = adapter.prepare(a_charge("shopper_1/PENDING", "at_1", capture=False))
        nameless = await adapter.rule_out(prepared, key="k2", provider_id=None)
        sent = await adapter.send(prepared, key="k1")
        assert isinstance(sent, Pending)
        known = await adapter.rule_out(prepared, key="k3", provider_id=sent.provider_id)

        assert isinstance(nameless, Pending)
        assert nameless.provider_id == "at_1-hold"  # as it was sent: what a cancel may name it by
        assert isinstance(known, Pending)
        assert known.provider_id == sent.provider_id

    async def test_a_charge_prepared_for_another_endpoint_is_cancelled_nowhere(self, line: Line) -> None:
        prepared = line.adapter(base_url="http://elsewhere.test").prepare(a_charge("shopper_1/APPROVED", "at_1"))
        outcome = await line.adapter().rule_out(prepared, key="k2", provider_id=None)

        assert isinstance(outcome, Unknown)
        assert outcome.reason == "endpoint_changed"
        assert line.recorder.requests == []


class TestStripe:
    @pytest.fixture
    async def line(self, switchboard: Switchboard) -> AsyncIterator[Line]:
        async with line_to("stripe", switchboard) as line:
            yield line

    async def test_a_refusal_that_stripe_keeps_is_not_mistaken_for_how_things_stand_now(self, line: Line) -> None:
        adapter = line.adapter()
        prepared = adapter.prepare(a_charge("pm_usBankAccount_success", "at_1", capture=False))
        sent = await adapter.send(prepared, key="k1")
        assert isinstance(sent, Pending)
        payment = sent.provider_id

        too_early = await adapter.rule_out(prepared, key="k2", provider_id=payment)
        await line.control.post(f"/_simulator/payments/{payment}/settle")
        later = await adapter.rule_out(prepared, key="k2", provider_id=payment)

        assert isinstance(too_early, Pending)
        assert is_ruled_out(later)
        assert await line.moved("at_1", "voids") == (1, 1099)

    async def test_a_declined_payment_is_closed_too_so_that_nobody_can_confirm_it_again(self, line: Line) -> None:
        adapter = line.adapter()
        prepared = adapter.prepare(a_charge("pm_card_visa_chargeDeclinedStolenCard", "at_1"))
        declined = await adapter.send(prepared, key="k1")
        assert isinstance(declined, Declined)

        outcome = await adapter.rule_out(prepared, key="k2", provider_id=declined.provider_id)
        again = await line.control.post(
            f"/v1/payment_intents/{declined.provider_id}/confirm",
            data={"payment_method": "pm_card_visa"},
            headers={"Authorization": "Bearer sk_test_right"},
        )

        assert isinstance(outcome, Declined)
        assert (outcome.code, outcome.may_fail_over) == ("stolen_card", False)
        assert again.json()["error"]["code"] == "payment_intent_unexpected_state"
        assert await line.moved("at_1", "charges") == (0, 0)


class TestPayPal:
    @pytest.fixture
    async def line(self, switchboard: Switchboard) -> AsyncIterator[Line]:
        async with line_to("paypal", switchboard) as line:
            yield line

    @pytest.fixture(params=[True, False], ids=["sale", "hold"])
    def wallet(self, request: pytest.FixtureRequest, line: Line) -> contract.Prepared:
        ask = a_charge(
            None,  # type: ignore[arg-type]  # fields by name
            "at_1",
            method="e_wallet",
            return_url="https://shop.test/back",
            capture=request.param,
        )
        return line.adapter().prepare(ask)

    async def test_a_call_still_under_way_finds_the_order_turned_away(
        self, line: Line, wallet: contract.Prepared
    ) -> None:
        adapter = line.adapter()
        action = await adapter.send(wallet, key="k1")
        assert isinstance(action, contract.ActionRequired)
        await line.customer_decides(action.url, "approve")
        await line.order("act_late", operation="take", seconds=60)
        taking = asyncio.create_task(adapter.proceed(wallet, key="k1", provider_id=action.provider_id, returned={}))
        await line.sees_call("at_1", "take")

        outcome = await adapter.rule_out(wallet, key="k2", provider_id=action.provider_id)
        await line.release()

        assert is_ruled_out(outcome)
        assert not isinstance(await taking, Approved | Pending)
        assert await line.moved("at_1", "charges") == (0, 0)

    async def test_an_order_that_paypal_will_not_turn_away_is_not_ruled_out(
        self, line: Line, wallet: contract.Prepared
    ) -> None:
        adapter = line.adapter()
        action = await adapter.send(wallet, key="k1")
        assert isinstance(action, contract.ActionRequired)
        await line.order("throttle", operation="cancel")

        outcome = await adapter.rule_out(wallet, key="k2", provider_id=action.provider_id)

        assert isinstance(outcome, Unknown)
        assert outcome.reason == "not_cancelled"

    async def test_a_hold_that_was_captured_cannot_be_let_go(self, line: Line) -> None:
        adapter = line.adapter()
        prepared = adapter.prepare(a_charge("vault_card_visa", "at_1", capture=False))
        held = await adapter.send(prepared, key="k1")
        assert isinstance(held, Approved)
        await adapter.send(adapter.prepare(a_capture(held.provider_id, "6.00")), key="k2")

        assert isinstance(await adapter.rule_out(prepared, key="k3", provider_id=held.provider_id), Approved)
        assert await line.moved("at_1", "voids") == (0, 0)

    async def test_a_capture_under_review_is_waited_for(self, line: Line) -> None:
        adapter = line.adapter()
        prepared = adapter.prepare(a_charge("vault_pendingCapture", "at_1"))
        sent = await adapter.send(prepared, key="k1")
        assert isinstance(sent, Pending)

        assert isinstance(await adapter.rule_out(prepared, key="k2", provider_id=sent.provider_id), Pending)
