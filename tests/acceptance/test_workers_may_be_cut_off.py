"""A worker that is cut off, or overtaken by another, in the middle of a round loses nothing and invents nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from types import ModuleType

import pytest

from db import embedded, failpoints, ids
from gateway.transactions import provider_events, reconciler, recovery, watchdog
from tests.acceptance.steps import until
from tests.acceptance.test_no_notification_is_lost import WAITING_FOR_A_LOCK
from tests.acceptance.test_recovery_finds_the_truth import reconciled, tampered, the_id
from tests.conftest import cloned
from tests.house import House, Json, Partner


class Once:
    """Something is done when a point is reached for the first time."""

    def __init__(self, point: str, deed: Callable[[], Awaitable[object]]) -> None:
        self._point, self._deed = point, deed
        self.done = False

    async def reached(self, name: str) -> None:
        if name == self._point and not self.done:
            self.done = True
            await self._deed()


@pytest.fixture(scope="module")
async def quiet(postgres: embedded.Server, template: str) -> AsyncIterator[House]:
    """No loop of the worker runs and no PSP notifies: only what a test does, happens."""
    async with cloned(postgres, template) as url, House.opened(url, working=False) as opened:
        await opened.silence()
        yield opened
        await opened.check_invariants()


async def test_two_workers_that_apply_one_notification_do_not_contradict_each_other(quiet: House) -> None:
    partner = await quiet.partner()
    charged = (await partner.charge(capture="manual")).json()
    url = f"{quiet.simulators['stripe']}/_simulator/payments/{charged['provider_transaction_id']}/expire"
    assert (await quiet.http.post(url)).is_success
    (told,) = [one for one in quiet.notifiers["stripe"].remembered if one.event == "payment_intent.canceled"]
    headers = told.headers(time.time()) if callable(told.headers) else told.headers
    assert (await quiet.notify(told.body, headers)).is_success

    async def applied_by_another() -> None:
        await quiet.owner.execute("UPDATE provider_events SET next_try_at = now()")
        await provider_events.apply_due(quiet.background)

    overtaken = Once("gateway.transactions.provider_events._noted/begin.sending", applied_by_another)
    with failpoints.armed(overtaken):
        await provider_events.apply_due(quiet.background)
    assert overtaken.done
    ended = (await partner.get(f"/v1/transactions/{charged['id']}")).json()
    assert (ended["status"], ended["needs_review"]) == ("failed", False)


@pytest.mark.parametrize("finder", [watchdog, reconciler], ids=["watchdog", "reconciler"])
async def test_who_is_cut_off_with_a_finding_in_hand_leaves_it_to_be_found_again(
    quiet: House, finder: ModuleType
) -> None:
    partner = await quiet.partner()
    made = (await partner.charge()).json()
    await tampered(quiet, made, "9.99")
    with (
        pytest.raises(asyncio.CancelledError),
        failpoints.armed(Once("gateway.transactions.journal.flag/begin.sending", cut_off)),
    ):
        await looked_at(quiet, finder, partner, made)
    assert not (await partner.get(f"/v1/transactions/{made['id']}")).json()["needs_review"]
    await looked_at(quiet, finder, partner, made)
    assert (await partner.get(f"/v1/transactions/{made['id']}")).json()["needs_review"]
    await tampered(quiet, made, "19.99")


async def test_who_waits_for_a_transaction_does_not_hold_its_attempt_meanwhile(quiet: House) -> None:
    """Every write locks the transaction and then the attempt; the other way round two would wait for each other."""
    partner = await quiet.partner()
    await quiet.fault("act_then_lose_answer", operation="charge", times=2)
    made = (await partner.charge()).json()
    attempt_id = ids.decode("att", made["attempts"][0]["id"])
    assert attempt_id is not None

    async def waiting() -> int:
        return int(await quiet.owner.fetchval(WAITING_FOR_A_LOCK))

    async with quiet.owner.transaction():
        await quiet.owner.execute("SELECT FROM transactions WHERE id = $1 FOR UPDATE", the_id(made))
        asking = asyncio.create_task(recovery.resolve(quiet.background, partner.id, the_id(made), attempt_id))
        await until(waiting, lambda count: count > 0)
        await quiet.owner.execute("SELECT FROM attempts WHERE id = $1 FOR UPDATE NOWAIT", attempt_id)
    assert (await asking).transaction.status == "completed"


async def cut_off() -> None:
    raise asyncio.CancelledError


async def looked_at(house: House, finder: ModuleType, partner: Partner, transaction: Json) -> None:
    if finder is watchdog:
        await watchdog.look_at(house.background, partner.id, [the_id(transaction)])
    else:
        await reconciled(house)
