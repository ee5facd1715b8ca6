"""What every adapter promises the gateway, tried against its PSP's simulator over real HTTP."""

from __future__ import annotations

import asyncio
import logging

import httpx
import pytest

from providers import contract, http
from providers.contract import Absent, Approved, Declined, DeclineKind, NotSent, NotSentReason, Unknown
from tests.providers.far_ends import (
    DECLINES_BY_KIND,
    Line,
    a_cancel,
    a_capture,
    a_charge,
    a_refund,
    a_sale,
    an_authorization,
    free_port,
)

BREAKING = ["act_then_lose_answer", "truncate", "error_after_acting", "garbage", "wrong_amount", "wrong_currency"]
SILENT = ["lose_request", "error_without_acting"]


class TestLifeOfAPayment:
    async def test_a_sale_is_approved_and_the_money_taken(self, line: Line, adapter: contract.Provider) -> None:
        outcome = await adapter.send(adapter.prepare(a_charge(line.far_end.approved, "at_1")), key="k1")

        assert isinstance(outcome, Approved)
        assert outcome.captured
        assert outcome.card == contract.Card(brand="visa", last4="4242")
        assert outcome.trace.http_status in {200, 201}
        assert await line.moved("at_1", "captures") == (1, 1099)

    async def test_an_authorization_is_captured_in_part_and_the_rest_let_go(self, line: Line) -> None:
        payment = await an_authorization(line)
        assert await line.moved("at_1", "captures") == (0, 0)

        adapter = line.adapter()
        outcome = await line.settled(adapter, a_capture(payment, "6.00"), key="k2")

        assert isinstance(outcome, Approved)
        assert outcome.provider_id
        assert await line.moved("at_1", "captures") == (1, 600)

    async def test_an_authorization_is_cancelled(self, line: Line, adapter: contract.Provider) -> None:
        payment = await an_authorization(line)
        outcome = await line.settled(adapter, a_cancel(payment), key="k2")

        assert isinstance(outcome, Approved)
        assert await line.moved("at_1", "voids") == (1, 1099)

    async def test_cancelling_again_under_another_key_is_approved_and_moves_nothing(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        cancel = a_cancel(await an_authorization(line))
        await line.settled(adapter, cancel, key="k2")

        assert isinstance(await line.settled(adapter, cancel, key="k3"), Approved)
        assert await line.moved("at_1", "voids") == (1, 1099)

    async def test_a_captured_payment_cannot_be_cancelled(self, line: Line, adapter: contract.Provider) -> None:
        payment = await a_sale(line, line.far_end.approved)
        outcome = await line.settled(adapter, a_cancel(payment), key="k2")

        assert isinstance(outcome, Declined)
        assert outcome.code == "cancel_refused"

    async def test_a_cancelled_authorization_cannot_be_captured(self, line: Line, adapter: contract.Provider) -> None:
        payment = await an_authorization(line)
        await adapter.send(adapter.prepare(a_cancel(payment)), key="k2")
        outcome = await line.settled(adapter, a_capture(payment), key="k3")

        assert isinstance(outcome, Declined)
        assert (outcome.code, outcome.kind) == (line.far_end.uncapturable, DeclineKind.HARD)

    async def test_a_sale_is_refunded_in_parts_but_never_beyond(self, line: Line, adapter: contract.Provider) -> None:
        payment = await a_sale(line, line.far_end.approved)
        first = await line.settled(adapter, a_refund(payment, "rf_1", "10.00"), key="k2")
        beyond = await line.settled(adapter, a_refund(payment, "rf_2", "1.00"), key="k3")
        rest = await line.settled(adapter, a_refund(payment, "rf_3", "0.99"), key="k4")
        nothing_left = await line.settled(adapter, a_refund(payment, "rf_4", "0.01"), key="k5")

        assert isinstance(first, Approved)
        assert first.provider_id != payment
        assert isinstance(rest, Approved)
        for refused in (beyond, nothing_left):
            assert isinstance(refused, Declined)
            assert refused.code == "refund_refused"
        assert await line.moved("rf_1", "refunds") == (1, 1000)
        assert await line.moved("rf_3", "refunds") == (1, 99)

    async def test_a_refund_may_take_its_time(self, line: Line, adapter: contract.Provider) -> None:
        payment = await a_sale(line, line.far_end.refund_pends)
        outcome = await adapter.send(adapter.prepare(a_refund(payment)), key="k2")

        assert isinstance(outcome, contract.Pending)
        assert await line.moved("rf_1", "refunds") == (0, 0)


class TestRefusals:
    @pytest.mark.parametrize("kind", DECLINES_BY_KIND)
    async def test_each_kind_of_decline_is_told_apart(
        self, line: Line, adapter: contract.Provider, kind: DeclineKind
    ) -> None:
        token, code = line.far_end.declines[kind]
        outcome = await adapter.send(adapter.prepare(a_charge(token, "at_1")), key="k1")

        assert isinstance(outcome, Declined)
        assert (outcome.code, outcome.kind, outcome.may_fail_over) == (code, kind, False)
        assert outcome.provider_id is not None
        assert await line.moved("at_1", "charges") == (0, 0)

    async def test_an_unknown_token_is_rejected_without_being_repeated(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        token = line.far_end.unheard_of
        outcome = await adapter.send(adapter.prepare(a_charge(token, "at_1")), key="k1")

        assert isinstance(outcome, contract.Rejected)
        assert not outcome.may_fail_over
        assert token not in repr(outcome)

    async def test_what_only_this_psp_cannot_do_may_be_tried_elsewhere(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        beyond = {"token": line.far_end.approved, **line.far_end.beyond}
        outcome = await adapter.send(adapter.prepare(a_charge(**beyond, reference="at_1")), key="k1")

        assert isinstance(outcome, contract.Rejected)
        assert outcome.may_fail_over

    async def test_wrong_credentials_prove_that_nothing_was_executed(self, line: Line) -> None:
        adapter = line.adapter(credentials=line.far_end.wrong_credentials)
        outcome = await adapter.send(adapter.prepare(a_charge(line.far_end.approved, "at_1")), key="k1")

        assert isinstance(outcome, NotSent)
        assert outcome.reason is NotSentReason.CREDENTIALS

    async def test_too_many_requests_prove_that_nothing_was_executed(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        await line.order("throttle", reference="at_1")
        outcome = await adapter.send(adapter.prepare(a_charge(line.far_end.approved, "at_1")), key="k1")

        assert isinstance(outcome, NotSent)
        assert (outcome.reason, outcome.retry_after_seconds) == (NotSentReason.THROTTLED, 2)
        assert await line.moved("at_1", "charges") == (0, 0)

    async def test_what_cannot_be_represented_is_refused_before_anything_is_sent(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        with pytest.raises(contract.Unsupported) as refused:
            adapter.prepare(a_charge(line.far_end.approved, "at_1", amount="10.999"))

        assert refused.value.field == "amount"
        assert line.recorder.requests == []


class TestTheCustomer:
    async def test_the_customer_approves_and_a_look_up_finds_the_payment_made(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        if not line.far_end.reads:
            pytest.skip("this PSP cannot be asked")
        prepared = adapter.prepare(
            a_charge(line.far_end.needs_customer, "at_1", return_url="https://shop.test/back?n=1")
        )
        action = await adapter.send(prepared, key="k1")
        assert isinstance(action, contract.ActionRequired)
        assert await line.moved("at_1", "charges") == (0, 0)

        back = await line.customer_decides(action.url, "approve")
        assert back.headers["Location"].startswith("https://shop.test/back?n=1&")
        # At some PSPs an approval moves no money until we say so.
        await adapter.proceed(prepared, key="k1", provider_id=action.provider_id, returned={})
        outcome = await adapter.look_up(prepared, provider_id=action.provider_id)

        assert isinstance(outcome, Approved)
        assert outcome.provider_id == action.provider_id
        assert await line.moved("at_1", "captures") == (1, 1099)

    async def test_the_customer_refuses_and_a_look_up_finds_a_decline(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        if not line.far_end.reads:
            pytest.skip("this PSP cannot be asked")
        prepared = adapter.prepare(a_charge(line.far_end.needs_customer, "at_1", return_url="https://shop.test/back"))
        action = await adapter.send(prepared, key="k1")
        assert isinstance(action, contract.ActionRequired)
        assert isinstance(await adapter.look_up(prepared, provider_id=action.provider_id), contract.ActionRequired)

        await line.customer_decides(action.url, "refuse")
        outcome = await adapter.look_up(prepared, provider_id=action.provider_id)

        assert isinstance(outcome, Declined)
        assert (outcome.code, outcome.kind) == ("authentication_failed", DeclineKind.AUTHENTICATION)

    @pytest.mark.parametrize(("decision", "outcome"), [("approve", Approved), ("refuse", Declined)])
    async def test_the_customer_comes_back_and_the_charge_goes_on(
        self, line: Line, adapter: contract.Provider, decision: str, outcome: type[contract.Outcome]
    ) -> None:
        prepared = adapter.prepare(a_charge(line.far_end.needs_customer, "at_1", return_url="https://shop.test/back"))
        action = await adapter.send(prepared, key="k1")
        assert isinstance(action, contract.ActionRequired)

        back = httpx.URL((await line.customer_decides(action.url, decision)).headers["Location"])
        returned, provider_id = dict(back.params), action.provider_id
        first, again = [
            await adapter.proceed(prepared, key="k2", provider_id=provider_id, returned=returned) for _ in range(2)
        ]

        assert isinstance(first, outcome)
        assert isinstance(again, outcome)
        assert (await line.moved("at_1", "captures"))[0] == (1 if outcome is Approved else 0)

    async def test_what_the_customer_comes_back_with_is_not_believed(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        prepared = adapter.prepare(a_charge(line.far_end.needs_customer, "at_1", return_url="https://shop.test/back"))
        action = await adapter.send(prepared, key="k1")
        assert isinstance(action, contract.ActionRequired)

        forged = {"redirect_status": "succeeded", "redirectResult": "authorised", "token": "x", "PayerID": "x"}
        outcome = await adapter.proceed(prepared, key="k2", provider_id=action.provider_id, returned=forged)

        assert not isinstance(outcome, Approved | contract.Pending)
        assert await line.moved("at_1", "charges") == (0, 0)

    async def test_a_payment_that_waits_for_the_customer_can_be_cancelled(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        prepared = adapter.prepare(a_charge(line.far_end.needs_customer, "at_1", return_url="https://shop.test/back"))
        action = await adapter.send(prepared, key="k1")
        assert isinstance(action, contract.ActionRequired)

        assert isinstance(await line.settled(adapter, a_cancel(action.provider_id), key="k2"), Approved)
        if line.far_end.reads:
            ended = await adapter.look_up(prepared, provider_id=action.provider_id)
            assert isinstance(ended, Declined)
            assert ended.code == "cancelled"


class TestTheNetwork:
    async def test_a_refused_connection_proves_that_nothing_was_sent(self, line: Line) -> None:
        adapter = line.adapter(base_url=f"http://127.0.0.1:{free_port()}")
        outcome = await adapter.send(adapter.prepare(a_charge(line.far_end.approved, "at_1")), key="k1")

        assert isinstance(outcome, NotSent)
        assert outcome.reason is NotSentReason.UNREACHABLE

    @pytest.mark.parametrize("kind", BREAKING)
    async def test_an_answer_lost_or_unbelievable_is_unknown_and_resending_never_charges_twice(
        self, line: Line, adapter: contract.Provider, kind: str
    ) -> None:
        await line.order(kind, reference="at_1")
        prepared = adapter.prepare(a_charge(line.far_end.approved, "at_1"))

        assert isinstance(await adapter.send(prepared, key="k1"), Unknown)
        assert await line.moved("at_1", "captures") == (1, 1099)

        await adapter.send(prepared, key="k1")
        assert isinstance(await line.found(adapter, prepared), Approved)
        assert await line.calls("at_1", "charge") == 2
        assert await line.moved("at_1", "captures") == (1, 1099)

    @pytest.mark.parametrize("kind", BREAKING)
    async def test_a_refund_whose_answer_is_lost_is_found_again_and_paid_once(
        self, line: Line, adapter: contract.Provider, kind: str
    ) -> None:
        prepared = adapter.prepare(a_refund(await a_sale(line, line.far_end.approved), amount="5.00"))
        await line.order(kind, reference="rf_1")

        assert isinstance(await adapter.send(prepared, key="k2"), Unknown)
        await adapter.send(prepared, key="k2")
        assert isinstance(await line.found(adapter, prepared), Approved)
        assert await line.moved("rf_1", "refunds") == (1, 500)

    @pytest.mark.parametrize("kind", SILENT)
    async def test_a_request_that_never_arrived_is_unknown_and_resending_charges_once(
        self, line: Line, adapter: contract.Provider, kind: str
    ) -> None:
        await line.order(kind, reference="at_1")
        prepared = adapter.prepare(a_charge(line.far_end.approved, "at_1"))

        assert isinstance(await adapter.send(prepared, key="k1"), Unknown)
        assert isinstance(await line.found(adapter, prepared), Absent)
        assert isinstance(await adapter.send(prepared, key="k1"), Approved)
        assert await line.moved("at_1", "captures") == (1, 1099)

    @pytest.mark.parametrize("kind", ["answer_late", "slow_drip"])
    async def test_an_answer_after_the_deadline_is_unknown(self, line: Line, kind: str) -> None:
        await line.order(kind, reference="at_1", seconds=60)
        async with http.Doorway(deadline_seconds=0.3) as impatient:
            adapter = line.adapter(doorway=impatient)
            prepared = adapter.prepare(a_charge(line.far_end.approved, "at_1"))

            assert isinstance(await adapter.send(prepared, key="k1"), Unknown)

        await line.release()
        assert isinstance(await line.found(line.adapter(), prepared), Approved)
        assert await line.moved("at_1", "captures") == (1, 1099)

    async def test_a_resend_while_the_first_is_still_running_is_unknown_and_charges_once(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        await line.order("act_late", reference="at_1", seconds=60)
        prepared = adapter.prepare(a_charge(line.far_end.approved, "at_1"))
        first = asyncio.create_task(adapter.send(prepared, key="k1"))
        await line.sees_call("at_1", "charge")

        second = await adapter.send(prepared, key="k1")
        await line.release()

        assert isinstance(second, Unknown)
        assert isinstance(await first, Approved)
        assert await line.moved("at_1", "captures") == (1, 1099)

    async def test_a_cancelled_caller_is_cancelled(self, line: Line, adapter: contract.Provider) -> None:
        await line.order("act_late", reference="at_1", seconds=60)
        prepared = adapter.prepare(a_charge(line.far_end.approved, "at_1"))
        sending = asyncio.create_task(adapter.send(prepared, key="k1"))
        await line.sees_call("at_1", "charge")
        sending.cancel()

        with pytest.raises(asyncio.CancelledError):
            await sending


class TestKeys:
    async def test_the_attempts_key_travels_unchanged(self, line: Line, adapter: contract.Provider) -> None:
        await adapter.send(adapter.prepare(a_charge(line.far_end.approved, "at_1")), key="at_0123456789:charge")

        assert line.recorder.requests[0].headers[line.far_end.key_header] == "at_0123456789:charge"

    async def test_the_same_request_and_key_again_sends_the_same_bytes_and_charges_once(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        prepared = adapter.prepare(a_charge(line.far_end.approved, "at_1"))
        stored = contract.Prepared.from_json(prepared.to_json())
        first = await adapter.send(prepared, key="k1")
        again = await line.adapter().send(stored, key="k1")

        assert isinstance(first, Approved)
        assert isinstance(again, Approved)
        assert again.provider_id == first.provider_id
        one, other = line.recorder.requests
        assert (one.url, one.content) == (other.url, other.content)
        assert await line.moved("at_1", "captures") == (1, 1099)

    async def test_a_key_used_for_something_else_is_unknown(self, line: Line, adapter: contract.Provider) -> None:
        await adapter.send(adapter.prepare(a_charge(line.far_end.approved, "at_1")), key="k1")
        other = adapter.prepare(a_charge(line.far_end.approved, "at_2", amount="20.00"))
        outcome = await adapter.send(other, key="k1")

        assert isinstance(outcome, Unknown)
        assert await line.moved("at_2", "charges") == (0, 0)

    def test_preparing_is_deterministic(self, line: Line, adapter: contract.Provider) -> None:
        charge = a_charge(line.far_end.approved, "at_1", return_url="https://shop.test/back")

        assert adapter.prepare(charge) == line.adapter().prepare(charge)


class TestLookingUp:
    async def test_a_failed_look_up_proves_nothing(self, line: Line, adapter: contract.Provider) -> None:
        payment = await a_sale(line, line.far_end.approved)
        prepared = adapter.prepare(a_charge(line.far_end.approved, "at_1"))
        for kind in ("throttle", "error_without_acting", "lose_request", "garbage"):
            await line.order(kind, operation="look_up", times=2)  # the HTTP client may repeat a GET, never a POST

            assert isinstance(await adapter.look_up(prepared, provider_id=payment), Unknown)
            await line.release()

        unreachable = line.adapter(base_url=f"http://127.0.0.1:{free_port()}")
        assert isinstance(await unreachable.look_up(prepared, provider_id=payment), Unknown)
        misconfigured = line.adapter(credentials=line.far_end.wrong_credentials)
        assert isinstance(await misconfigured.look_up(prepared, provider_id=payment), Unknown)

    async def test_another_payment_is_never_taken_for_ours(self, line: Line, adapter: contract.Provider) -> None:
        other = await a_sale(line, line.far_end.approved, "at_other")
        prepared = adapter.prepare(a_charge(line.far_end.approved, "at_1"))

        assert isinstance(await adapter.look_up(prepared, provider_id=other), Unknown)
        assert isinstance(await line.found(adapter, prepared), Absent)

    async def test_captures_and_cancels_are_looked_up_by_their_payment(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        if not line.far_end.reads:
            pytest.skip("this PSP cannot be asked")
        payment = await an_authorization(line)
        capture, cancel = adapter.prepare(a_capture(payment, "6.00")), adapter.prepare(a_cancel(payment))
        assert isinstance(await adapter.look_up(capture, provider_id=payment), Absent)
        assert isinstance(await adapter.look_up(cancel, provider_id=payment), Absent)

        await adapter.send(capture, key="k2")

        assert isinstance(await adapter.look_up(capture, provider_id=payment), Approved)
        refused = await adapter.look_up(cancel, provider_id=payment)
        assert isinstance(refused, Declined)
        other_amount = await adapter.look_up(adapter.prepare(a_capture(payment, "5.00")), provider_id=payment)
        assert isinstance(other_amount, Unknown)


class TestSecrets:
    async def test_no_secret_and_no_token_in_logs_or_outcomes(
        self, line: Line, adapter: contract.Provider, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        told = [repr(adapter)]
        for number, token in enumerate((line.far_end.approved, line.far_end.unheard_of)):
            prepared = adapter.prepare(a_charge(token, f"at_{number}"))
            told.append(repr(await adapter.send(prepared, key=f"k{number}")))
        wrong = line.adapter(credentials=line.far_end.wrong_credentials)
        refused = await wrong.send(wrong.prepare(a_charge(line.far_end.approved, "at_9")), key="k9")
        told += [repr(wrong), repr(refused), caplog.text]

        for secret in (*line.far_end.secrets, line.far_end.approved, line.far_end.unheard_of):
            assert not any(secret in text for text in told)

    def test_what_is_stored_of_a_request_holds_no_credential(self, line: Line, adapter: contract.Provider) -> None:
        stored = adapter.prepare(a_charge(line.far_end.approved, "at_1")).to_json()

        assert not any(secret in stored for secret in line.far_end.secrets)
