"""What faults strike. An act is done by the process that is struck; then, as a client repeats its request and a worker
its rounds, by the one that takes over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx

from db import ids
from db.reviews import ReviewVerdict
from gateway import worker
from gateway.transactions import offline, provider_events, reconciler, recovery, reviews, watchdog
from gateway.transactions.commands import NotFound
from tests.failpoints.stage import Process, Scene, deliver
from tests.house import WAIT_SECONDS, Json

Act = Callable[[Scene, Process], Awaitable[object]]

TOKENS = {
    "stripe": ("pm_card_visa", "pm_card_visa_chargeDeclined", "pm_card_threeDSecure2Required"),
    "adyen": ("ada/APPROVED", "ada/NOT_ENOUGH_BALANCE", "ada/CHALLENGE"),
    "paypal": ("vault_card_visa", "vault_CCREJECT-IF", "vault_3ds"),
}
"""Magic values of each simulator: approved, declined, the customer is asked."""
APPROVED, DECLINED, CHALLENGED = range(3)
ALICE, BOB = "operator:alice", "operator:bob"


# ── What a client asks for ──────────────────────────────────────────────────────────────────────────────────────────


async def charge(
    scene: Scene,
    process: Process,
    provider: str = "stripe",
    token: int | str = APPROVED,
    *,
    name: str = "",
    **members: Any,
) -> None:
    named = TOKENS[provider][token] if isinstance(token, int) else token
    body = {
        "amount": "19.99",
        "currency": "USD",
        "payment_method": {"type": "card", "tokens": {provider: named}},
        "reference": scene.reference,
    }
    if token == CHALLENGED:
        body["return_url"] = "https://shop.example/return"
    await _create(scene, process, body | members, name)


async def charge_offline(scene: Scene, process: Process) -> None:
    method = {"type": "bank_transfer"}
    body = {"amount": "50.00", "currency": "EUR", "payment_method": method, "provider": "manual"}
    await _create(scene, process, body | {"reference": scene.reference})


async def _create(scene: Scene, process: Process, body: Json, name: str = "") -> None:
    answer = await scene.post(process, "/v1/transactions", body, name=name)
    if answer.is_success:
        scene.made = answer.json()


async def follow(scene: Scene, process: Process, step: str, amount: str | None = None) -> None:
    """A capture, cancel or refund."""
    await scene.post(process, f"/v1/transactions/{scene.made['id']}/{step}", {"amount": amount} if amount else {})


async def look(scene: Scene, process: Process) -> httpx.Response:
    return await scene.get(process, f"/v1/transactions/{scene.made['id']}")


# ── What others do ──────────────────────────────────────────────────────────────────────────────────────────────────


async def customer_returns(scene: Scene, process: Process) -> None:
    await scene.come_back(process)


async def psp_tells(scene: Scene, process: Process, provider: str = "stripe") -> None:
    for notification in scene.notifications(provider):
        await scene.notify(process, provider, notification)


async def notifications_applied(_scene: Scene, process: Process) -> None:
    await provider_events.apply_due(process.worker)


async def due_resolved(_scene: Scene, process: Process) -> None:
    await recovery.resolve_due(process.worker)


async def delivered(_scene: Scene, process: Process) -> None:
    await deliver(process.deliverer())


async def reconciled(scene: Scene, process: Process) -> None:
    """What the PSP lists since the scene began, held against our books."""
    since, until = scene.began + reconciler.SKEW, process.worker.clock()
    await reconciler.reconcile(process.worker, account_id(scene), since=since, until=until)


async def reconciled_yesterday(scene: Scene, process: Process) -> None:
    """What we booked a day ago, of which the PSP's list of that day holds nothing."""
    since, until = scene.began - 1.5 * reconciler.WINDOW_MAX, scene.began - 0.5 * reconciler.WINDOW_MAX
    await reconciler.reconcile(process.worker, account_id(scene), since=since, until=until)


async def watched(scene: Scene, process: Process) -> None:
    """A round of the watchdog over the scene's own transactions."""
    await watchdog.Rounds((scene.partner_id, UUID(int=0))).watch(process.worker)


async def decided_offline(scene: Scene, process: Process) -> None:
    try:
        await offline.decide(
            process.worker, transaction_id(scene), approved=True, refund_id=None, actor=ALICE, note="seen"
        )
    except (offline.NothingOpen, NotFound):
        return  # it was decided before


async def asked_by_people(scene: Scene, process: Process) -> None:
    try:
        await reviews.ask(process.worker, transaction_id(scene), actor=ALICE)
    except (reviews.NothingOpen, NotFound):
        return


async def cancelled_by_people(scene: Scene, process: Process) -> None:
    try:
        await reviews.cancel(process.worker, transaction_id(scene), actor=ALICE)
    except (reviews.NothingOpen, reviews.Refused, NotFound):
        return


async def decided_by_people(scene: Scene, process: Process, verdict: ReviewVerdict = ReviewVerdict.FAILED) -> None:
    """Alice asks for it and Bob approves; both again where what they decided was not done."""
    evidence = "it is in the PSP's dashboard, ticket 4711"
    try:
        await reviews.request(
            process.worker,
            transaction_id(scene),
            verdict,
            attempt_id=None,
            provider_id=None,
            evidence=evidence,
            actor=ALICE,
        )
        await reviews.approve(process.worker, transaction_id(scene), actor=BOB)
    except (reviews.NothingOpen, reviews.Refused, NotFound):
        return


async def worked(scene: Scene, process: Process) -> None:
    """Every loop of the worker until the charge is settled and told, or for a moment where one of them was struck."""
    heard = ["transaction.created", "transaction.processing", "transaction.completed"]
    stop = asyncio.Event()
    working = asyncio.create_task(worker.work(process.worker, process.deliverer(), stop))
    try:
        async with asyncio.timeout(1.0):
            while len(scene.stage.endpoint.came) < len(heard):  # noqa: ASYNC110 - nobody else would set an event
                await asyncio.sleep(0.01)
    except TimeoutError:
        pass
    finally:
        stop.set()
        await working
        await process.worker.drain(WAIT_SECONDS)


def job(name: str) -> Act:
    """One of the worker's jobs, to its end."""

    async def act(_scene: Scene, process: Process) -> None:
        (work,) = [work for work, _ in worker.jobs() if job_name(work) == name]
        await work(process.worker)
        await process.worker.drain(WAIT_SECONDS)

    return act


def job_name(work: worker.Job) -> str:
    return work.__qualname__.rpartition("<locals>.")[2].strip("_")


def account_id(scene: Scene, provider: str = "stripe") -> UUID:
    found = ids.decode("pac", scene.stage.accounts[provider])
    assert found is not None
    return found


def transaction_id(scene: Scene) -> UUID:
    found = ids.decode("txn", scene.made["id"])
    assert found is not None
    return found
