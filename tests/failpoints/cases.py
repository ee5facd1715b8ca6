"""One case: an operation, struck at one point by one fault; then everything heals, the client repeats, and we count."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from db import failpoints, ids
from db.database import CommitUncertain, Unavailable
from providers.simulator.ledger import Account, Ledger
from tests.failpoints.operations import Operation
from tests.failpoints.stage import ROUNDS_MAX, Process, Scene, Stage, deliver, recover
from tests.failpoints.strikes import Fault, Point, Recorder, Strike
from tests.house import WAIT_SECONDS

REPEATS_MAX = 2
_ASK_AGAIN = {202, 409, 503}
Ending = dict[str, Any]
"""What must be the same, whatever struck: statuses, amounts, attempts, movements at the PSP, what partners are told."""

_TRANSACTIONS = """
    SELECT status::text, amount_captured, amount_refunded, refund_reserved, capture_pending, needs_review
    FROM transactions WHERE partner_id = $1 ORDER BY id"""
# A charge that was ended is called declined or cancelled: it depends on who tells of it first.
_ATTEMPTS = """
    SELECT operation::text, CASE state WHEN 'cancelled_confirmed' THEN 'declined' ELSE state::text END
    FROM attempts WHERE partner_id = $1 ORDER BY number, id"""
_REFUNDS = "SELECT status::text, amount FROM refunds WHERE partner_id = $1 ORDER BY id"
_TOLD = """
    SELECT type FROM events WHERE partner_id = $1 AND type <> 'transaction.processing'
    ORDER BY transaction_id, sequence, id"""
# People do not ask about or cancel what has settled itself.
_AUDIT = """
    SELECT DISTINCT action FROM audit_logs WHERE partner_id = $1 AND action NOT IN ('review.asked', 'review.cancelled')
    ORDER BY action"""
_EVENTS = "SELECT id FROM events WHERE partner_id = $1"
_IDS = """
    SELECT 'txn' AS prefix, id FROM transactions WHERE partner_id = $1
    UNION SELECT 'rfd', id FROM refunds WHERE partner_id = $1
    UNION SELECT 'whe', id FROM webhook_endpoints WHERE partner_id = $1"""
_UNDELIVERED = """
    SELECT d.event_type, d.state::text FROM webhook_deliveries d JOIN webhook_endpoints w
        ON w.partner_id = d.partner_id AND w.id = d.endpoint_id AND w.state = 'enabled'
    WHERE d.partner_id = $1 AND d.state <> 'delivered'"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """An operation that nothing struck."""

    points: list[Point]
    lines: set[tuple[str, int]]
    ending: Ending


class Recordings:
    """Each operation is recorded once."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._made: dict[str, Recording] = {}

    async def endings_of(self, operation: Operation) -> list[Ending]:
        """How it may end: undisturbed, and what else is right."""
        also = [operation.otherwise] if operation.otherwise else []
        return [(await self.of(one)).ending for one in (operation, *also)]

    async def of(self, operation: Operation) -> Recording:
        if operation.name not in self._made:
            self._made[operation.name] = await undisturbed(self._stage, operation)
        return self._made[operation.name]


async def undisturbed(stage: Stage, operation: Operation) -> Recording:
    scene = await _set(stage, operation, "undisturbed")
    recorder = Recorder()
    with failpoints.armed(recorder):
        await _over(asyncio.create_task(_acted(operation, scene, stage.victim)))
    points = [point for point in recorder.points if operation.strikes(point)]
    await settle(scene, operation)
    found = await wrongs(scene)
    assert not found, found
    ended = await ending(scene, operation)
    await operation.mend(scene)
    return Recording(points=points, lines=recorder.lines, ending=ended)


async def disturbed(
    stage: Stage, operation: Operation, point: Point, fault: Fault, endings: Sequence[Ending]
) -> tuple[list[str], Recorder]:
    """What is wrong in the end, which must be one of `endings`."""
    scene = await _set(stage, operation, f"{fault} at {point}")
    strike = Strike(stage, point, fault)
    with failpoints.armed(strike):
        acting = asyncio.create_task(_acted(operation, scene, stage.victim))
    await _struck(strike, acting)
    if not strike.struck.is_set():
        return ["the point was not reached"], strike
    match fault:
        case Fault.CRASH:
            await _buried(strike, acting, stage.victim)
        case Fault.DELAY:
            await stage.cut(only_open=True)  # what idles in a transaction for 10 s is ended: leases are longer
            await settle(scene, operation)
            strike.go_on.set()
            await _over(acting)
        case _:
            await _over(acting)
    await settle(scene, operation)
    ended, found = await ending(scene, operation), await wrongs(scene)
    await operation.mend(scene)
    wanted = next((one for one in endings if one["transactions"] == ended["transactions"]), endings[0])
    found += [f"{name}: {ended[name]} instead of {wanted[name]}" for name in wanted if ended[name] != wanted[name]]
    return found, strike


async def settle(scene: Scene, operation: Operation) -> None:
    """Time passes, recovery does its work, and the client repeats until it hears the end."""
    await _recovered(scene, operation)
    for _ in range(REPEATS_MAX):
        await _acted(operation, scene, scene.stage.heir)
        await _recovered(scene, operation)
        if scene.last().status_code not in _ASK_AGAIN:
            break


async def _recovered(scene: Scene, operation: Operation) -> None:
    stage = scene.stage
    for _ in range(ROUNDS_MAX):
        await scene.time_passes()
        if operation.told:
            await _told(scene)
        if not await scene.open_count():
            break
        await recover(stage.heir)
    await deliver(stage.heir.deliverer())


async def wrongs(scene: Scene) -> list[str]:
    """What no fault excuses: a lost answer, two answers to one key, an event that nobody heard of."""
    return [*await _answers(scene), *await _events(scene)]


async def ending(scene: Scene, operation: Operation) -> Ending:
    owner, partner_id = scene.stage.owner, scene.partner_id
    return {
        "transactions": [tuple(row) for row in await owner.fetch(_TRANSACTIONS, partner_id)],
        "attempts": [tuple(row) for row in await owner.fetch(_ATTEMPTS, partner_id)],
        "refunds": [tuple(row) for row in await owner.fetch(_REFUNDS, partner_id)],
        "told": [row["type"] for row in await owner.fetch(_TOLD, partner_id)],
        "audit": [row["action"] for row in await owner.fetch(_AUDIT, partner_id)],
        "moved": _moved(scene.stage.ledgers[operation.provider], scene.reference),
        "answers": {
            key.removeprefix(scene.reference): (answers[-1].status_code, answers[-1].json().get("status"))
            for key, answers in scene.seen.items()
        },
    }


async def _set(stage: Stage, operation: Operation, what: str) -> Scene:
    scene = await stage.scene(f"{operation.name}: {what}")
    await operation.prepare(scene)
    stage.victim.forget()
    return scene


async def _acted(operation: Operation, scene: Scene, process: Process) -> None:
    try:
        await operation.act(scene, process)
    except (Unavailable, CommitUncertain):
        return  # as in the worker's loops: there is a next round


async def _struck(strike: Strike, acting: asyncio.Task[None]) -> None:
    """Until the point was reached, or the operation is over."""
    striking = asyncio.create_task(strike.struck.wait())
    async with asyncio.timeout(WAIT_SECONDS):
        await asyncio.wait({acting, striking}, return_when=asyncio.FIRST_COMPLETED)
    striking.cancel()


async def _over(acting: asyncio.Task[None]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        await asyncio.wait({acting})
    if not acting.cancelled() and (error := acting.exception()):
        raise error


async def _buried(strike: Strike, acting: asyncio.Task[None], victim: Process) -> None:
    """What never went on is taken away: it has no connection left that it could do anything with."""
    assert strike.task is not None
    tasks = (strike.task, acting)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await victim.born()


async def _told(scene: Scene) -> None:
    for provider in scene.stage.simulators:
        for notification in scene.notifications(provider):
            await scene.notify(scene.stage.heir, provider, notification)


async def _answers(scene: Scene) -> list[str]:
    rows = await scene.stage.owner.fetch(_IDS, scene.partner_id)
    known = {ids.encode(row["prefix"], row["id"]) for row in rows}
    found = []
    for key, answers in scene.seen.items():
        good = [answer for answer in answers if answer.is_success]
        found += [f"{key} was answered {one.text}" for one in answers if one.status_code == 500]
        found += [
            f"{key} was told of {lost}, which is not there" for lost in {one.json()["id"] for one in good} - known
        ]
        if len({answer.json()["id"] for answer in good}) > 1:
            found.append(f"{key} led to two things")
        if len({answer.content for answer in good if answer.status_code != 202}) > 1:
            found.append(f"{key} got two different final answers")
    return found


async def _events(scene: Scene) -> list[str]:
    owner, came = scene.stage.owner, set(scene.stage.endpoint.came)
    events = [ids.encode("evt", row["id"]) for row in await owner.fetch(_EVENTS, scene.partner_id)]
    found = [f"{event} was not heard of" for event in events if event not in came]
    return found + [f"delivery of {tuple(row)}" for row in await owner.fetch(_UNDELIVERED, scene.partner_id)]


def _moved(ledger: Ledger, reference: str) -> dict[str, tuple[int, int]]:
    account = ledger.merchant.get(reference, Account())
    return {movement.value: (count, account.amounts[movement]) for movement, count in account.counts.items()}
