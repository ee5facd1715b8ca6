"""Promise: a client may vanish at any byte; what it began is ended, and its key tells how."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.acceptance.steps import calls, listed, moved, until
from tests.faults.wires import ONE_SALE, Wires
from tests.house import Partner, new_key
from tests.proxy import Toxic, ToxicKind


async def test_half_a_request_leaves_nothing_and_its_key_unused(wires: Wires, partner: Partner, shop: Partner) -> None:
    key = new_key()
    wires.front.add(Toxic(ToxicKind.RESET, times=1, about=b"half-a-request"))
    with pytest.raises(httpx.TransportError):
        await shop.charge(key=key, reference="half-a-request")
    assert wires.front.counts[ToxicKind.RESET] == 1
    assert await listed(partner) == []
    whole = await partner.charge(key=key, reference="half-a-request")
    assert whole.status_code == 201
    assert "idempotent-replayed" not in whole.headers
    assert await moved(wires.house, "half-a-request") == ONE_SALE


async def test_what_was_begun_goes_on_to_its_end_without_its_caller(
    wires: Wires, partner: Partner, shop: Partner
) -> None:
    key = new_key()
    await wires.house.fault("answer_late", operation="charge", reference="hung-up", seconds=60)
    asking = asyncio.create_task(shop.charge(key=key, reference="hung-up"))
    await wires.at_the_psp("charge", "hung-up")
    wires.front.cut()
    with pytest.raises(httpx.TransportError):
        await asking
    await wires.psp_goes_on()

    async def statuses() -> list[str]:
        return [shown["status"] for shown in await listed(partner)]

    await until(statuses, lambda found: found == ["completed"])
    answer = await partner.charge(key=key, reference="hung-up")
    assert (answer.status_code, answer.headers["idempotent-replayed"]) == (201, "true")
    assert await moved(wires.house, "hung-up") == ONE_SALE
    assert (await calls(wires.house, "hung-up"))["charge"] == 1


async def test_an_answer_lost_on_its_way_is_given_again_to_the_byte(
    wires: Wires, partner: Partner, shop: Partner
) -> None:
    key = new_key()
    wires.front.add(Toxic(ToxicKind.DROP_AFTER_REPLY, times=1, about=b"never-heard"))
    with pytest.raises(httpx.TransportError):
        await shop.charge(key=key, reference="never-heard")
    answers = [await one.charge(key=key, reference="never-heard") for one in (shop, partner)]
    assert [(one.status_code, one.headers["idempotent-replayed"]) for one in answers] == [(201, "true")] * 2
    assert answers[0].content == answers[1].content
    assert await moved(wires.house, "never-heard") == ONE_SALE
