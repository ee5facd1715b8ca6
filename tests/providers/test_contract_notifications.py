"""What every adapter promises about its PSP's notifications, tried on those its simulator really posts."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import TypeVar

import httpx
import pytest

from providers import contract
from providers.contract import Approved, AttemptTold, DisputeState, DisputeTold, Forged, Operation, Pending
from tests.providers.far_ends import (
    Line,
    Notice,
    a_cancel,
    a_capture,
    a_charge,
    a_refund,
    a_sale,
    an_authorization,
    read,
)

FORGERIES = 1_000

GARBAGE = [
    b"",
    b"{",
    b"null",
    b"7",
    b"[]",
    b"[[[]]]",
    b"{}",
    b'{"id": "x", "type": "y", "data": []}',
    b'{"event_type": "x", "resource": 7}',
    b'{"notificationItems": [{"NotificationRequestItem": 7}], "live": "false"}',
    b"\xff\xfe",
    b"[" * 100_000,
    b"9" * 10_000,
    "Ω".encode() * 1_000,
]

Some = TypeVar("Some")


async def told_of(line: Line, operation: Operation) -> AttemptTold:
    """The last that was told of an operation, once it was told decided."""
    told = [one for one in await line.told() if isinstance(one, AttemptTold) and one.operation is operation]
    decided = [one for one in told if isinstance(one.outcome, Approved)]
    assert decided, told
    return decided[-1]


def agrees(told: AttemptTold, amount: str) -> bool:
    return (told.amount, told.currency) == (Decimal(amount), "EUR")


async def sent(line: Line, ask: contract.Ask, key: str) -> contract.Outcome:
    adapter = line.adapter()
    return await adapter.send(adapter.prepare(ask), key=key)


class TestWhatIsTold:
    async def test_of_a_sale(self, line: Line) -> None:
        payment = await a_sale(line, line.far_end.approved)
        told = await told_of(line, Operation.CHARGE)

        assert told.reference == "at_1"
        assert told.provider_transaction_id == payment
        assert agrees(told, "10.99")

    async def test_of_an_authorization_and_its_capture(self, line: Line) -> None:
        payment = await an_authorization(line)
        held = await told_of(line, Operation.CHARGE)
        assert held.reference == "at_1"
        assert isinstance(held.outcome, Approved)
        assert not held.outcome.captured
        assert agrees(held, "10.99")

        capture = await sent(line, a_capture(payment, "6.00"), "k2")
        told = await told_of(line, Operation.CAPTURE)
        assert isinstance(capture, Approved | Pending)
        assert (told.provider_transaction_id, told.provider_id) == (payment, capture.provider_id)
        assert agrees(told, "6.00")

    async def test_of_a_cancel(self, line: Line) -> None:
        payment = await an_authorization(line)
        await sent(line, a_cancel(payment), "k2")
        told = await told_of(line, Operation.CANCEL)

        assert told.provider_transaction_id == payment

    async def test_of_a_refund(self, line: Line) -> None:
        payment = await a_sale(line, line.far_end.approved)
        refund = await sent(line, a_refund(payment, "rf_1", "4.00"), "k2")
        told = await told_of(line, Operation.REFUND)

        assert isinstance(refund, Approved | Pending)
        assert told.provider_id == refund.provider_id
        assert told.reference == "rf_1" or (told.reference, told.provider_transaction_id) == (None, payment)
        assert agrees(told, "4.00")

    async def test_of_a_customer_who_approves(self, line: Line, adapter: contract.Provider) -> None:
        prepared = adapter.prepare(a_charge(line.far_end.needs_customer, "at_1", return_url="https://shop.test/back"))
        action = await adapter.send(prepared, key="k1")
        assert isinstance(action, contract.ActionRequired)
        back = httpx.URL((await line.customer_decides(action.url, "approve")).headers["Location"])
        await adapter.proceed(prepared, key="k2", provider_id=action.provider_id, returned=dict(back.params))
        told = await told_of(line, Operation.CHARGE)

        assert told.reference == "at_1"
        assert agrees(told, "10.99")

    async def test_of_a_payer_who_contests(self, line: Line) -> None:
        if line.far_end.disputed is None:
            pytest.skip("no payer of this simulator contests")
        payment = await a_sale(line, line.far_end.disputed)
        told = [one for one in await line.told() if isinstance(one, DisputeTold)]

        assert {one.state for one in told} == {DisputeState.OPENED}
        assert len({one.dispute_id for one in told}) == 1
        assert all(payment == one.provider_transaction_id or one.reference == "at_1" for one in told)
        assert all((one.amount, one.currency) == (Decimal("10.99"), "EUR") for one in told)


class TestTheSameAgain:
    async def test_has_the_same_key_and_nothing_else_has_it(self, line: Line, adapter: contract.Provider) -> None:
        await line.order("webhook_duplicate", times=100)
        payment = await a_sale(line, line.far_end.approved)
        await sent(line, a_refund(payment, amount="1.00"), "k2")
        await sent(line, a_refund(payment, "rf_2", "1.00"), "k3")
        notices = await line.notices()
        keys = [
            item.dedupe_key
            for notice in notices
            for item in await adapter.verify_webhook(notice.headers, notice.body, now=time.time())
        ]

        assert len(keys) == 2 * len(set(keys)) > 2
        assert len({notice.body for notice in notices}) == len(set(keys))


class TestForgeries:
    async def test_not_one_in_a_thousand_is_accepted(self, line: Line, adapter: contract.Provider) -> None:
        notice, random = await genuine(line), Random(20261120)
        for _ in range(FORGERIES):
            forged = line.far_end.forge(random, notice)
            assert forged != notice
            with pytest.raises((Forged, contract.CannotVerify, contract.Unreadable)):
                await adapter.verify_webhook(forged.headers, forged.body, now=time.time())

    async def test_one_without_a_signature_is_refused(self, line: Line, adapter: contract.Provider) -> None:
        for body in (*GARBAGE, (await genuine(line)).body.replace(b"Signature", b"Sig")):
            with pytest.raises((Forged, contract.Unreadable)):
                await adapter.verify_webhook({}, body, now=time.time())

    async def test_garbage_beneath_a_signature_is_refused(self, line: Line, adapter: contract.Provider) -> None:
        notice = await genuine(line)
        for body in GARBAGE:
            with pytest.raises((Forged, contract.Unreadable)):
                await adapter.verify_webhook(notice.headers, body, now=time.time())

    async def test_a_genuine_one_for_somebody_else_is_refused(self, line: Line) -> None:
        notice, other = await genuine(line), line.adapter(credentials=line.far_end.wrong_credentials)

        with pytest.raises((Forged, contract.CannotVerify)):
            await other.verify_webhook(notice.headers, notice.body, now=time.time())

    @pytest.mark.parametrize("direction", [-1, 1])
    async def test_one_from_long_ago_or_from_the_future_is_refused(
        self, line: Line, adapter: contract.Provider, direction: int
    ) -> None:
        if line.far_end.window_seconds is None:
            pytest.skip("this PSP signs no time")
        notice, window = await genuine(line), line.far_end.window_seconds
        await adapter.verify_webhook(notice.headers, notice.body, now=time.time() + direction * (window - 30))

        with pytest.raises(Forged):
            await adapter.verify_webhook(notice.headers, notice.body, now=time.time() + direction * (window + 30))

    async def test_while_secrets_are_rotated_both_are_good(self, line: Line) -> None:
        if line.far_end.rotating is None:
            pytest.skip("this PSP has no secret to rotate")
        notice = await genuine(line)

        assert await read(line.adapter(credentials=line.far_end.rotating), notice)


class TestReading:
    async def test_what_makes_no_sense_is_unreadable_or_irrelevant(
        self, line: Line, adapter: contract.Provider
    ) -> None:
        random, bodies = Random(1), [*GARBAGE]
        for notice in (await genuine(line), await contested(line)):
            bodies += [line.far_end.forge(random, notice).body for _ in range(FORGERIES)]
        for body in bodies:
            told = readable(adapter.read_webhook, body)
            assert told is None or isinstance(told, contract.AttemptTold | DisputeTold | contract.Irrelevant)
        assert not any(isinstance(readable(adapter.read_webhook, body), AttemptTold) for body in GARBAGE)

    async def test_no_secret_is_repeated(self, line: Line, adapter: contract.Provider) -> None:
        await contested(line)
        told = repr([await line.told(), adapter])

        assert not any(secret in told for secret in line.far_end.secrets)


def readable(reader: Callable[[bytes], Some], body: bytes) -> Some | None:
    try:
        return reader(body)
    except contract.Unreadable:
        return None


async def genuine(line: Line) -> Notice:
    await a_sale(line, line.far_end.approved)
    notice = (await line.notices())[-1]
    assert await read(line.adapter(), notice)
    return notice


async def contested(line: Line) -> Notice:
    await a_sale(line, line.far_end.disputed or line.far_end.approved, "at_2")
    return (await line.notices())[-1]
