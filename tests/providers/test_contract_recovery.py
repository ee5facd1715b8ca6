"""What every adapter promises to who must find out what happened: to rule a charge out, and to list what it missed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

import pytest

from providers import PROVIDERS, contract
from providers.contract import Absent, Approved, Declined, DeclineKind, Operation, Pending, SeenState, Unknown
from tests.providers.far_ends import (
    Line,
    a_capture,
    a_charge,
    a_refund,
    a_sale,
    an_authorization,
    free_port,
)

HOUR = timedelta(hours=1)
NOT_LISTED = ["throttle", "error_without_acting", "lose_request", "garbage", "truncate"]

T = TypeVar("T")


def now() -> datetime:
    return datetime.now(UTC)


async def everything(listed: AsyncIterator[T]) -> list[T]:
    return [one async for one in listed]


async def lost(line: Line, prepared: contract.Prepared) -> None:
    """Send it; the PSP acts, and its answer is lost."""
    await line.order("act_then_lose_answer", operation="charge", reference=prepared.reference)
    assert isinstance(await line.adapter().send(prepared, key="k1"), Unknown)


async def ruled_out(
    line: Line, prepared: contract.Prepared, *, provider_id: str | None = None, key: str = "k2"
) -> contract.Outcome:
    """What becomes of the charge: at once, or by what the PSP tells of the cancel that it took note of."""
    outcome = await line.adapter().rule_out(prepared, key=key, provider_id=provider_id)
    if line.far_end.reads or not isinstance(outcome, Pending):
        return outcome
    told = [one for one in await line.told() if isinstance(one, contract.AttemptTold)]
    cancel = next(one for one in reversed(told) if one.operation is Operation.CANCEL)
    assert cancel.reference == prepared.reference
    if isinstance(cancel.outcome, Approved):
        return contract.ruled_out(outcome.provider_id)
    charges = [one.outcome for one in told if one.operation is Operation.CHARGE]
    return charges[-1] if charges else Absent()


def is_ruled_out(outcome: contract.Outcome) -> bool:
    return isinstance(outcome, Declined) and outcome.code == contract.RULED_OUT and outcome.may_fail_over


class TestRulingOut:
    @pytest.fixture
    def held(self, line: Line) -> contract.Prepared:
        return line.adapter().prepare(a_charge(line.far_end.approved, "at_1", capture=False))

    @pytest.fixture
    def sale(self, line: Line) -> contract.Prepared:
        return line.adapter().prepare(a_charge(line.far_end.approved, "at_1"))

    @pytest.fixture
    def waiting(self, line: Line) -> contract.Prepared:
        return line.adapter().prepare(
            a_charge(line.far_end.needs_customer, "at_1", return_url="https://shop.test/back")
        )

    async def test_a_hold_whose_answer_was_lost_is_released(self, line: Line, held: contract.Prepared) -> None:
        await lost(line, held)

        assert is_ruled_out(await ruled_out(line, held))
        assert await line.moved("at_1", "voids") == (1, 1099)
        assert await line.moved("at_1", "captures") == (0, 0)

    async def test_again_under_the_same_key_it_is_ruled_out_and_nothing_moves(
        self, line: Line, held: contract.Prepared
    ) -> None:
        await lost(line, held)

        assert is_ruled_out(await ruled_out(line, held))
        assert is_ruled_out(await ruled_out(line, held))
        assert await line.moved("at_1", "voids") == (1, 1099)

    async def test_a_customer_who_approves_too_late_pays_nothing(
        self, line: Line, adapter: contract.Provider, waiting: contract.Prepared
    ) -> None:
        action = await adapter.send(waiting, key="k1")
        assert isinstance(action, contract.ActionRequired)

        assert is_ruled_out(await ruled_out(line, waiting, provider_id=action.provider_id))
        await line.customer_decides(action.url, "approve")
        late = await adapter.proceed(waiting, key="k3", provider_id=action.provider_id, returned={})

        assert not isinstance(late, Approved | Pending)
        assert await line.moved("at_1", "charges") == (0, 0)

    async def test_a_payment_that_was_taken_is_approved_and_stays(self, line: Line, sale: contract.Prepared) -> None:
        await lost(line, sale)
        outcome = await ruled_out(line, sale)

        assert isinstance(outcome, Approved)
        assert outcome.captured
        assert await line.moved("at_1", "captures") == (1, 1099)
        assert await line.moved("at_1", "voids") == (0, 0)

    async def test_a_refused_card_stays_refused_for_its_own_reason(self, line: Line) -> None:
        token, code = line.far_end.declines[DeclineKind.HARD]
        prepared = line.adapter().prepare(a_charge(token, "at_1"))
        await lost(line, prepared)
        outcome = await ruled_out(line, prepared)

        assert isinstance(outcome, Declined)
        assert (outcome.code, outcome.may_fail_over) == (code, False)

    async def test_what_never_arrived_is_absent_and_not_ruled_out(self, line: Line, sale: contract.Prepared) -> None:
        assert isinstance(await ruled_out(line, sale), Absent)

    async def test_what_arrives_after_all_is_ruled_out_under_another_key(
        self, line: Line, adapter: contract.Provider, held: contract.Prepared
    ) -> None:
        assert isinstance(await ruled_out(line, held), Absent)
        await adapter.send(held, key="k1")

        assert is_ruled_out(await ruled_out(line, held, key="k3"))
        assert await line.moved("at_1", "voids") == (1, 1099)

    @pytest.mark.parametrize("kind", ["act_then_lose_answer", "truncate", "error_after_acting", "garbage"])
    async def test_a_cancel_whose_answer_is_lost_is_never_more_than_made(
        self, line: Line, held: contract.Prepared, kind: str
    ) -> None:
        await lost(line, held)
        await line.order(kind, operation="cancel")
        outcome = await line.adapter().rule_out(held, key="k2", provider_id=None)

        assert isinstance(outcome, Unknown) or is_ruled_out(outcome)
        assert getattr(outcome, "provider_id", None) is not None or not line.far_end.reads
        assert is_ruled_out(await ruled_out(line, held, key="k3"))
        assert await line.moved("at_1", "voids") == (1, 1099)

    @pytest.mark.parametrize("kind", ["throttle", "lose_request", "error_without_acting"])
    async def test_a_cancel_that_was_not_made_is_unknown_and_sent_again_in_the_same_bytes(
        self, line: Line, held: contract.Prepared, kind: str
    ) -> None:
        await lost(line, held)
        await line.order(kind, operation="cancel")
        assert isinstance(await line.adapter().rule_out(held, key="k2", provider_id=None), Unknown)
        assert await line.moved("at_1", "voids") == (0, 0)
        assert is_ruled_out(await ruled_out(line, held))

        cancels = [one for one in line.recorder.requests if one.method == "POST"][1:]
        first, again = [(str(one.url), one.content, one.headers[line.far_end.key_header]) for one in cancels]
        assert first == again

    async def test_where_the_psp_is_away_nothing_is_known(self, line: Line, held: contract.Prepared) -> None:
        nobody = line.adapter(base_url=f"http://127.0.0.1:{free_port()}")
        stored = nobody.prepare(a_charge(line.far_end.approved, "at_1", capture=False))

        assert isinstance(await nobody.rule_out(stored, key="k2", provider_id=None), Unknown)
        wrong = line.adapter(credentials=line.far_end.wrong_credentials)
        assert isinstance(await wrong.rule_out(held, key="k2", provider_id=None), Unknown)

    async def test_another_payment_is_never_cancelled(
        self, line: Line, adapter: contract.Provider, held: contract.Prepared
    ) -> None:
        other = await an_authorization(line, "at_other")
        outcome = await adapter.rule_out(held, key="k2", provider_id=other)
        await line.notices()

        assert isinstance(outcome, Unknown | Pending)
        assert await line.moved("at_other", "voids") == (0, 0)


class TestWhatWasMissed:
    @pytest.fixture(autouse=True)
    def _listed(self, line: Line) -> None:
        if PROVIDERS[line.name].capabilities.events_kept_seconds is None:
            pytest.skip("this PSP keeps no list of its events")

    async def test_what_was_never_posted_is_listed_under_the_key_it_would_have_come_with(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        await line.order("webhook_drop", operation="webhook", times=1_000)
        payment = await a_sale(line, line.far_end.approved)
        await adapter.send(adapter.prepare(a_refund(payment, "rf_1", "4.00")), key="k2")
        assert await line.notices() == []

        missed = await everything(adapter.missed(since=now() - HOUR))
        await line.release()
        await line.control.post("/_simulator/webhooks/resend")
        posted = [
            item
            for notice in await line.notices()
            for item in await adapter.verify_webhook(notice.headers, notice.body, now=now().timestamp())
        ]

        listed = {item.dedupe_key: adapter.read_webhook(item.body) for item in missed}
        told = {item.dedupe_key: adapter.read_webhook(item.body) for item in posted}
        assert len(listed) == len(missed)
        assert {key: one for key, one in told.items() if isinstance(one, contract.AttemptTold)} == {
            key: one for key, one in listed.items() if isinstance(one, contract.AttemptTold)
        }
        assert {one.operation for one in listed.values() if isinstance(one, contract.AttemptTold)} == {
            Operation.CHARGE,
            Operation.REFUND,
        }

    async def test_only_a_window_is_listed(self, line: Line, adapter: contract.Provider) -> None:
        await a_sale(line, line.far_end.approved)

        assert await everything(adapter.missed(since=now() - HOUR, until=now()))
        assert await everything(adapter.missed(since=now() + HOUR)) == []
        assert await everything(adapter.missed(since=now() - 2 * HOUR, until=now() - HOUR)) == []

    @pytest.mark.parametrize("kind", NOT_LISTED)
    async def test_a_list_that_cannot_be_read_is_no_empty_list(
        self, line: Line, adapter: contract.Provider, kind: str
    ) -> None:
        await a_sale(line, line.far_end.approved)
        await line.order(kind, operation="look_up", times=2)  # the HTTP client may repeat a GET

        with pytest.raises(contract.CannotList):
            await everything(adapter.missed(since=now() - HOUR))


class TestPayments:
    @pytest.fixture(autouse=True)
    def _listed(self, line: Line) -> None:
        if PROVIDERS[line.name].capabilities.payments_listed_after_seconds is None:
            pytest.skip("this PSP lists no payments")

    async def test_every_payment_and_refund_is_listed_under_our_reference(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        await a_sale(line, line.far_end.approved, "at_sale")
        held = await an_authorization(line, "at_held")
        await adapter.send(adapter.prepare(a_capture(held, "6.00")), key="k2")
        refund = await adapter.send(adapter.prepare(a_refund(held, "rf_1", "4.00")), key="k3")
        assert isinstance(refund, Approved | Pending)

        seen = {one.reference: one for one in await everything(adapter.payments(since=now() - HOUR, until=now()))}
        assert {reference: (one.kind, one.state, one.amount, one.currency) for reference, one in seen.items()} == {
            "at_sale": (Operation.CHARGE, SeenState.MOVED, Decimal("10.99"), "EUR"),
            "at_held": (Operation.CHARGE, SeenState.MOVED, Decimal("6.00"), "EUR"),
            "rf_1": (Operation.REFUND, SeenState.MOVED, Decimal("4.00"), "EUR"),
        }
        assert seen["rf_1"].provider_id == refund.provider_id
        assert all(now() - HOUR < one.created_at <= now() for one in seen.values())

    async def test_what_is_only_held_or_refused_has_not_moved(self, line: Line, adapter: contract.Provider) -> None:
        await an_authorization(line, "at_held")
        refused = line.far_end.declines[DeclineKind.SOFT][0]
        await adapter.send(adapter.prepare(a_charge(refused, "at_refused")), key="k2")
        seen = await everything(adapter.payments(since=now() - HOUR, until=now()))

        assert SeenState.MOVED not in {one.state for one in seen}

    async def test_only_a_window_is_listed(self, line: Line, adapter: contract.Provider) -> None:
        await a_sale(line, line.far_end.approved)

        assert await everything(adapter.payments(since=now() - 2 * HOUR, until=now() - HOUR)) == []

    async def test_a_list_goes_on_for_many_pages(self, line: Line, adapter: contract.Provider) -> None:
        for number in range(101):
            await a_sale(line, line.far_end.approved, f"at_{number}")
        names = {f"at_{number}" for number in range(101)}

        seen = await everything(adapter.payments(since=now() - HOUR, until=now()))
        assert {one.reference for one in seen} == names
        if PROVIDERS[line.name].capabilities.events_kept_seconds is None:
            return
        told = [adapter.read_webhook(one.body) for one in await everything(adapter.missed(since=now() - HOUR))]
        assert {one.reference for one in told if isinstance(one, contract.AttemptTold)} == names

    @pytest.mark.parametrize("kind", NOT_LISTED)
    async def test_a_list_that_cannot_be_read_is_no_empty_list(
        self, line: Line, adapter: contract.Provider, kind: str
    ) -> None:
        await a_sale(line, line.far_end.approved)
        await line.order(kind, operation="look_up", times=2)  # the HTTP client may repeat a GET

        with pytest.raises(contract.CannotList):
            await everything(adapter.payments(since=now() - HOUR, until=now()))


async def test_where_there_is_no_list_asking_for_one_is_refused(line: Line, adapter: contract.Provider) -> None:
    able = PROVIDERS[line.name].capabilities
    if able.events_kept_seconds is None:
        with pytest.raises(contract.CannotList):
            await everything(adapter.missed(since=now() - HOUR))
    if able.payments_listed_after_seconds is None:
        with pytest.raises(contract.CannotList):
            await everything(adapter.payments(since=now() - HOUR, until=now()))
