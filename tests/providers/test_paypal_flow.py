"""What is PayPal's alone: approval by redirect, orders that wait for us, money found in its order; over real HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from providers import PROVIDERS, contract, http
from providers.contract import Absent, ActionRequired, Approved, AttemptTold, Declined, DisputeTold, Pending, Unknown
from providers.simulator import paypal as paypal_simulator
from tests.providers.far_ends import (
    Line,
    Recorder,
    Switchboard,
    a_cancel,
    a_capture,
    a_charge,
    a_refund,
    line_to,
    read,
)

BACK = "https://shop.test/back?n=1"


@pytest.fixture
async def line(switchboard: Switchboard) -> AsyncIterator[Line]:
    async with line_to("paypal", switchboard) as line:
        yield line


@pytest.fixture
def adapter(line: Line) -> contract.Provider:
    return line.adapter()


def by_wallet(adapter: contract.Provider, reference: str = "at_1", **changed: Any) -> contract.Prepared:
    fields = {"method": "e_wallet", "return_url": BACK, "description": "Two <books>"} | changed
    return adapter.prepare(a_charge(None, reference, **fields))  # type: ignore[arg-type]  # fields by name


async def sent(adapter: contract.Provider, ask: contract.Ask, key: str) -> contract.Outcome:
    return await adapter.send(adapter.prepare(ask), key=key)


async def waiting(adapter: contract.Provider, prepared: contract.Prepared, key: str = "k1") -> ActionRequired:
    action = await adapter.send(prepared, key=key)
    assert isinstance(action, ActionRequired)
    return action


async def went_on(
    adapter: contract.Provider, prepared: contract.Prepared, action: ActionRequired, **returned: str
) -> contract.Outcome:
    return await adapter.proceed(prepared, key="k1", provider_id=action.provider_id, returned=returned)


class TestApprovalByRedirect:
    async def test_a_person_finds_a_page_and_comes_back(self, line: Line, adapter: contract.Provider) -> None:
        action = await waiting(adapter, by_wallet(adapter))
        page = await line.control.get(action.url)
        back = await line.customer_decides(action.url, "approve")

        assert "10.99 EUR" in page.text
        assert "Two &lt;books&gt;" in page.text
        assert back.headers["Location"].startswith(f"{BACK}&token={action.provider_id}&PayerID=")

    async def test_an_approved_order_is_taken_once_however_often_we_go_on(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        prepared = by_wallet(adapter)
        action = await waiting(adapter, prepared)
        await line.customer_decides(action.url, "approve")
        assert isinstance(await adapter.look_up(prepared, provider_id=action.provider_id), Pending)
        assert await line.moved("at_1", "charges") == (0, 0)

        outcomes = [await went_on(adapter, prepared, action) for _ in range(3)]

        assert all(isinstance(outcome, Approved) for outcome in outcomes)
        assert await line.moved("at_1", "captures") == (1, 1099)
        posts = [request for request in line.recorder.requests if request.method == "POST"]
        assert [request.headers["PayPal-Request-Id"] for request in posts] == ["k1", "k1-capture"]

    async def test_sending_the_order_again_finds_it_approved_and_takes_it(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        prepared = by_wallet(adapter)
        action = await waiting(adapter, prepared)
        await line.customer_decides(action.url, "approve")

        assert isinstance(await adapter.send(prepared, key="k1"), Approved)
        assert await line.moved("at_1", "captures") == (1, 1099)

    async def test_an_authorization_by_redirect_lives_like_any_other(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        prepared = by_wallet(adapter, capture=False)
        action = await waiting(adapter, prepared)
        await line.customer_decides(action.url, "approve")
        held = await went_on(adapter, prepared, action)
        assert isinstance(held, Approved)
        assert not held.captured

        assert isinstance(await sent(adapter, a_capture(held.provider_id, "6.00"), "k2"), Approved)
        assert isinstance(await sent(adapter, a_refund(held.provider_id, "rf_1", "6.00"), "k3"), Approved)
        assert await line.moved("at_1", "captures") == (1, 600)
        assert await line.moved("rf_1", "refunds") == (1, 600)

    @pytest.mark.parametrize("decision", ["", "refuse"])
    async def test_without_approval_the_customer_is_still_awaited(
        self, line: Line, adapter: contract.Provider, decision: str
    ) -> None:
        prepared = by_wallet(adapter)
        action = await waiting(adapter, prepared)
        if decision:
            back = await line.customer_decides(action.url, decision)
            assert "PayerID" not in back.headers["Location"]

        assert isinstance(await went_on(adapter, prepared, action, PayerID="X"), ActionRequired)
        assert await line.moved("at_1", "charges") == (0, 0)

    async def test_a_declining_instrument_is_a_decline_and_another_may_be_chosen(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        prepared = by_wallet(adapter)
        action = await waiting(adapter, prepared)
        await line.customer_decides(action.url, "approve_declining")
        declined = await went_on(adapter, prepared, action)
        assert isinstance(declined, Declined)
        assert (declined.code, declined.provider_code) == ("generic_decline", "INSTRUMENT_DECLINED")

    async def test_an_order_found_by_what_the_customer_brings_must_be_ours(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        ours, theirs = by_wallet(adapter), by_wallet(adapter, "at_2")
        action, other = await waiting(adapter, ours), await waiting(adapter, theirs, "k2")
        for one in (action, other):
            await line.customer_decides(one.url, "approve")

        stolen = await adapter.proceed(ours, key="k1", provider_id=None, returned={"token": other.provider_id})
        assert isinstance(stolen, Unknown)
        assert await line.moved("at_2", "charges") == (0, 0)

        brought = await adapter.proceed(ours, key="k1", provider_id=None, returned={"token": action.provider_id})
        assert isinstance(brought, Approved)
        assert await line.moved("at_1", "captures") == (1, 1099)

    async def test_an_order_whose_id_nobody_knows_is_found_once_it_was_approved(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        prepared = by_wallet(adapter)
        action = await waiting(adapter, prepared)
        odd = {"token": "../../x"}
        assert isinstance(await adapter.proceed(prepared, key="k1", provider_id=None, returned=odd), Absent)
        await line.customer_decides(action.url, "approve")

        assert isinstance(await adapter.proceed(prepared, key="k1", provider_id=None, returned=odd), Approved)

    async def test_a_cancelled_order_is_nobodys_even_if_the_customer_approves_late(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        prepared = by_wallet(adapter)
        action = await waiting(adapter, prepared)
        for key in ("k2", "k3"):
            assert isinstance(await sent(adapter, a_cancel(action.provider_id), key), Approved)
        await line.customer_decides(action.url, "approve")

        for outcome in (await went_on(adapter, prepared, action), await adapter.send(prepared, key="k1")):
            assert isinstance(outcome, Declined)
            assert outcome.code == "cancelled"
        assert await line.moved("at_1", "charges") == (0, 0)

    async def test_an_answer_without_a_body_has_no_amount_to_falsify(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        action = await waiting(adapter, by_wallet(adapter))
        await line.order("wrong_amount", operation="cancel")

        assert isinstance(await sent(adapter, a_cancel(action.provider_id), "k2"), Approved)


class TestTwoCallsInOne:
    async def test_an_order_that_paypal_only_creates_is_captured_at_once(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        assert isinstance(await sent(adapter, a_charge("vault_uncaptured", "at_1"), "k1"), Approved)
        assert [request.url.path.rpartition("/")[2] for request in line.recorder.requests] == ["orders", "capture"]

    @pytest.mark.parametrize("kind", ["act_then_lose_answer", "truncate", "error_after_acting", "wrong_amount"])
    async def test_a_lost_second_answer_is_unknown_with_the_orders_id_and_found_there(
        self, line: Line, adapter: contract.Provider, kind: str
    ) -> None:
        await line.order(kind, operation="take")
        prepared = adapter.prepare(a_charge("vault_uncaptured", "at_1"))
        lost = await adapter.send(prepared, key="k1")

        assert isinstance(lost, Unknown)
        assert isinstance(await adapter.look_up(prepared, provider_id=lost.provider_id), Approved)
        assert isinstance(await adapter.send(prepared, key="k1"), Approved)
        assert await line.moved("at_1", "captures") == (1, 1099)

    async def test_not_to_reach_paypal_the_second_time_is_no_proof(self, line: Line) -> None:
        class Breaking(http.AiohttpTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                if request.url.path.endswith("/capture"):
                    raise httpx.ConnectError("no", request=request)
                return await super().handle_async_request(request)

        async with http.Doorway(transport=Breaking()) as doorway:
            adapter = line.adapter(doorway=doorway)
            outcome = await sent(adapter, a_charge("vault_uncaptured", "at_1"), "k1")

        assert isinstance(outcome, Unknown)
        assert outcome.provider_id is not None


class TestWhatAnOrderRemembers:
    async def test_a_capture_or_refund_under_another_key_is_found_and_not_repeated(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        held = await sent(adapter, a_charge("vault_card_visa", "at_1", capture=False), "k1")
        assert isinstance(held, Approved)
        captures = [await sent(adapter, a_capture(held.provider_id, "6.00"), f"c{number}") for number in range(3)]
        refunds = [await sent(adapter, a_refund(held.provider_id, "rf_1", "6.00"), f"r{number}") for number in range(3)]

        assert len({outcome.provider_id for outcome in captures if isinstance(outcome, Approved)}) == 1
        assert len({outcome.provider_id for outcome in refunds if isinstance(outcome, Approved)}) == 1
        assert await line.moved("at_1", "captures") == (1, 600)
        assert await line.moved("rf_1", "refunds") == (1, 600)

    async def test_after_paypal_forgot_the_key_a_second_order_is_refused_by_its_invoice(
        self, switchboard: Switchboard
    ) -> None:
        now = [1_800_000_000.0]
        switchboard.app = paypal_simulator.create(clock=lambda: now[0])
        credentials = {"client_id": "c", "client_secret": "s", "webhook_id": "W"}
        recorder = Recorder()
        async with http.Doorway(transport=recorder) as doorway:
            adapter = PROVIDERS["paypal"].open(
                credentials, base_url=switchboard.base_url, livemode=False, doorway=doorway
            )
            prepared = adapter.prepare(a_charge("vault_card_visa", "at_1"))
            first = await adapter.send(prepared, key="k1")
            now[0] += 7 * 3600
            again = await adapter.send(prepared, key="k1")

            assert isinstance(first, Approved)
            assert isinstance(again, Unknown)
            assert again.reason == "duplicate_invoice_id"
            assert isinstance(await adapter.look_up(prepared, provider_id=None), Approved)

    async def test_a_charge_is_found_on_a_later_page_of_events(self, line: Line, adapter: contract.Provider) -> None:
        prepared = adapter.prepare(a_charge("vault_card_visa", "at_ours"))
        await adapter.send(prepared, key="k")
        for number in range(55):  # each tells of a capture and of its order
            await sent(adapter, a_charge("vault_card_visa", f"at_{number}"), f"k{number}")

        assert isinstance(await adapter.look_up(prepared, provider_id=None), Approved)
        pages = [request for request in line.recorder.requests if request.url.path.endswith("webhooks-events")]
        assert len(pages) == 2

    @pytest.mark.parametrize(("ending", "expected"), [("settle", Approved), ("deny", Declined)])
    async def test_a_capture_under_review_ends_one_way_or_the_other(
        self, line: Line, adapter: contract.Provider, ending: str, expected: type[object]
    ) -> None:
        prepared = adapter.prepare(a_charge("vault_pendingCapture", "at_1"))
        pending = await adapter.send(prepared, key="k1")
        assert isinstance(pending, Pending)
        assert isinstance(
            await adapter.proceed(prepared, key="k1", provider_id=pending.provider_id, returned={}), Pending
        )

        capture = await the_capture(line)
        (await line.control.post(f"/_simulator/captures/{capture}/{ending}")).raise_for_status()
        assert isinstance(await adapter.look_up(prepared, provider_id=pending.provider_id), expected)
        assert await line.moved("at_1", "captures") == ((1, 1099) if expected is Approved else (0, 0))

    async def test_a_refund_may_come_back_days_later(self, line: Line, adapter: contract.Provider) -> None:
        sale = await sent(adapter, a_charge("vault_refundFail", "at_1"), "k1")
        assert isinstance(sale, Approved)
        prepared = adapter.prepare(a_refund(sale.provider_id))
        refund = await adapter.send(prepared, key="k2")
        assert isinstance(refund, Approved)
        (await line.control.post(f"/_simulator/refunds/{refund.provider_id}/settle")).raise_for_status()

        for provider_id in (refund.provider_id, None):
            failed = await adapter.look_up(prepared, provider_id=provider_id)
            assert isinstance(failed, Declined)
            assert failed.code == "refund_failed"
        told = [one for one in await line.told() if isinstance(one, AttemptTold) and one.reference == "rf_1"]
        assert [type(one.outcome) for one in told] == [Approved, Declined]

    async def test_a_follow_up_whose_order_cannot_be_read_was_not_sent(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        held = await sent(adapter, a_charge("vault_card_visa", "at_1", capture=False), "k1")
        assert isinstance(held, Approved)
        await line.order("lose_request", operation="look_up", times=2)

        outcome = await sent(adapter, a_capture(held.provider_id), "k2")
        assert isinstance(outcome, contract.NotSent)
        assert await line.moved("at_1", "captures") == (0, 0)

    async def test_a_declined_sale_has_nothing_to_refund(self, adapter: contract.Provider) -> None:
        declined = await sent(adapter, a_charge("vault_CCREJECT-IF", "at_1"), "k1")
        assert isinstance(declined, Declined)
        assert declined.provider_id is not None

        assert isinstance(await sent(adapter, a_refund(declined.provider_id), "k2"), contract.Rejected)


class TestNotifications:
    async def test_an_approval_is_told_so_that_we_go_on_without_the_customer(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        prepared = by_wallet(adapter)
        action = await waiting(adapter, prepared)
        await line.customer_decides(action.url, "approve")
        (told,) = await line.told()

        assert isinstance(told, AttemptTold)
        assert (told.reference, told.provider_id, told.ask) == ("at_1", action.provider_id, True)
        assert (told.amount, told.currency) == (Decimal("10.99"), "EUR")
        assert isinstance(await went_on(adapter, prepared, action), Approved)

    async def test_a_dispute_ends(self, line: Line, adapter: contract.Provider) -> None:
        await sent(adapter, a_charge("vault_dispute", "at_1"), "k1")
        (opened,) = [one for one in await line.told() if isinstance(one, DisputeTold)]
        path = f"/_simulator/disputes/{opened.dispute_id}/resolve"
        (await line.control.post(path, json={"outcome_code": "RESOLVED_BUYER_FAVOUR"})).raise_for_status()
        lost = (await line.told())[-1]

        assert isinstance(lost, DisputeTold)
        assert (lost.dispute_id, lost.state, lost.funds_withdrawn) == (
            opened.dispute_id,
            contract.DisputeState.LOST,
            True,
        )

    async def test_paypal_itself_can_be_asked_about_a_signature(self, line: Line, adapter: contract.Provider) -> None:
        await sent(adapter, a_charge("vault_card_visa", "at_1"), "k1")
        notice = (await line.notices())[-1]
        asking = line.adapter(credentials={**line.far_end.credentials, "webhook_verification": "api"})
        assert await read(asking, notice)

        changed = notice.body.replace(b"at_1", b"at_2")
        assert changed != notice.body
        with pytest.raises(contract.Forged):
            await asking.verify_webhook(notice.headers, changed, now=1_000_000_000_000)
        with pytest.raises(contract.Forged):
            await read(asking, type(notice)(notice.headers, changed))


async def the_capture(line: Line) -> str:
    """The id of the last capture that PayPal told of."""
    bodies = [json.loads(notice.body) for notice in await line.notices()]
    return str(next(body["resource"]["id"] for body in reversed(bodies) if "CAPTURE" in body["event_type"]))
