"""The one way money facts are written: an attempt is begun (tx A) and its outcome recorded (tx B).

The direct answer, the PSP's notification and the look-up all end in `record`. Each write is one statement that
PostgreSQL applies whole or not at all, guarded by the transaction's version and the attempt's epoch.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from db import idempotency, refunds, shapes, transactions
from db.database import CommitUncertain, Connection, Unavailable
from db.provider_calls import CallPurpose
from db.records import (
    Attempt,
    AttemptOperation,
    AttemptState,
    Refund,
    Scope,
    Transaction,
)
from db.routing_records import Tally
from gateway import telemetry
from gateway.runtime import Runtime
from gateway.transactions import changes, conclusions, states, steps, unasked
from gateway.transactions.changes import Change, Snapshot
from gateway.transactions.commands import Caller
from providers.contract import Outcome, Prepared

KEEP_ANSWERS = timedelta(days=30)
"""How long a key's answer is repeated byte for byte; after that the transaction still remembers the key."""
LOST_RACES_MAX = 20
"""How often a write is computed anew because another one came first; more means a loop, not contention."""
RETRY_SECONDS = (0.05, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Waits while the database is away: an outcome in hand is worth waiting for."""
RECORD_SECONDS = 12.0
"""No new try after this: with a PSP's 25 s it stays within the lease, and somebody waits for an answer."""


class KeyTaken(Exception):
    """Another request holds or held this idempotency key; nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What stands after an outcome was recorded, by us or by whoever came first."""

    snapshot: Snapshot
    written: bool
    """False where somebody else holds the attempt or has concluded it: the outcome given was not used."""
    released: bool = False
    answer: str | None = None
    """The lasting answer's text, where this very call stored it."""


def attempt(
    runtime: Runtime, caller: Caller, transaction: Transaction, request: Prepared, *, attempt_id: UUID, number: int
) -> Attempt:
    """What will be sent, with the key it will be sent under: written by `begin` before anything leaves."""
    account_id, operation, at = transaction.provider_account_id, AttemptOperation(request.operation), runtime.clock()
    assert account_id is not None
    assert transaction.provider is not None
    return Attempt(
        partner_id=transaction.partner_id,
        id=attempt_id,
        transaction_id=transaction.id,
        number=number,
        operation=operation,
        amount=request.amount,
        account_id=account_id,
        provider=transaction.provider,
        state=AttemptState.SENDING,
        provider_key=runtime.provider_key(attempt_id, operation, account_id),
        request=request.to_json(),
        idempotency_key=caller.key,
        review_after=min(
            changes.REVIEW_AFTER, timedelta(seconds=runtime.accounts.resend_seconds(transaction.provider))
        ),
        created_at=at,
        updated_at=at,
    )


async def begin(
    runtime: Runtime, connection: Connection, caller: Caller, snapshot: Snapshot, change: Change
) -> Snapshot:
    """Write what is about to be sent, together with the claim of the caller's key. Raises `KeyTaken`."""
    change = changes.checked_by(change, _lease_ends_at(runtime))
    after = snapshot.after(change)
    step = steps.rows(runtime, after, change, actor=caller.actor)
    step["attempts"][0] |= _under_way(runtime, after.attempt)
    if caller.key is not None:
        step["claim"] = _claim(runtime, caller, after)
    step["audit"] = [shapes.row(steps.audit(caller, after))]
    if snapshot.transaction.version:
        step["guard"] = {"transaction_id": after.transaction.id, "version": snapshot.transaction.version}
    if await transactions.journal_write(connection, caller.scope.partner_id, step) == "claimed":
        raise KeyTaken
    return after


def _under_way(runtime: Runtime, attempt: Attempt) -> dict[str, float]:
    """What the database's clock makes of an attempt that is sent now."""
    return {
        "lease_seconds": runtime.settings.lease_seconds,
        "check_in_seconds": runtime.settings.lease_seconds,
        "resend_seconds": runtime.accounts.resend_seconds(attempt.provider),
    }


def _lease_ends_at(runtime: Runtime) -> datetime:
    return runtime.clock() + timedelta(seconds=runtime.settings.lease_seconds)


def _claim(runtime: Runtime, caller: Caller, after: Snapshot) -> dict[str, Any]:
    return {
        "livemode": caller.scope.livemode,
        "key": caller.key,
        "fingerprint": f"\\x{caller.fingerprint.hex()}",
        "transaction_id": after.transaction.id,
        "refund_id": after.refund.id if after.refund else None,
        "attempt_id": after.attempt.id,
        "expires_at": runtime.clock() + KEEP_ANSWERS,
    }


async def begun(runtime: Runtime, caller: Caller, attempt_id: UUID) -> bool:
    """After a lost acknowledgement: did our `begin` reach the disk? Asked of a fresh connection, never re-inserted.

    False proves nothing: the server may still be at it. Raises `CommitUncertain` where it cannot be asked.
    """
    if caller.key is None:
        return False
    try:
        async with runtime.database.as_partner(caller.scope.partner_id) as connection:
            found = await idempotency.find(connection, caller.scope, caller.key)
    except Unavailable as error:
        raise CommitUncertain("what was begun may have been stored") from error
    return found is not None and found.attempt_id == attempt_id


async def record(
    runtime: Runtime, snapshot: Snapshot, outcome: Outcome, *, actor: str, purpose: CallPurpose | None = None
) -> Recorded:
    """Write what was learned of the attempt. Waits out a short loss of the database, then raises `Unavailable`.

    If somebody else took or concluded the attempt meanwhile, theirs stands and is returned. `purpose` says why the PSP
    was asked again: an answer that changes nothing is kept beside the history.
    """
    for _ in range(LOST_RACES_MAX):
        change = _concluded(runtime, snapshot, outcome)
        step = steps.rows(runtime, snapshot.after(change), change, actor=actor)
        step["guard"] = _guard(snapshot)
        if purpose is not None and not change.happened and change.attempts[0].outcome != snapshot.attempt.outcome:
            step["calls"] = [shapes.row(steps.call(runtime, change.attempts[0], purpose))]
        if await _written(runtime, snapshot.transaction.partner_id, step):
            runtime.published(len([name for line in change.happened for name in line.published]))
            if change.transaction.status is not snapshot.transaction.status:
                telemetry.transactions.labels(change.transaction.status).inc()
            _judged(runtime, change)
            answer = step.get("answer", {}).get("body")
            return Recorded(snapshot=snapshot.after(change), written=True, released=change.release, answer=answer)
        mine = snapshot.attempt.epoch
        snapshot = await read(runtime, snapshot)
        if snapshot.attempt.finished_at is not None or snapshot.attempt.epoch != mine:
            return Recorded(snapshot=snapshot, written=False, released=snapshot.attempt.state == "failed_not_sent")
    raise Unavailable(f"attempt {snapshot.attempt_id} changed {LOST_RACES_MAX} times while its outcome was recorded")


async def fail_over(
    runtime: Runtime, caller: Caller, snapshot: Snapshot, outcome: Outcome, following: Attempt
) -> Recorded:
    """The attempt is over without money, and the one at the next account begins: one write. Raises `Unavailable`.

    The snapshot returned is seen from the new attempt. Where somebody else came first, nothing is begun.
    """
    change = conclusions.failed_over(snapshot, outcome, following, at=runtime.clock())
    change = changes.checked_by(change, _lease_ends_at(runtime))
    step = steps.rows(runtime, snapshot.after(change), change, actor=caller.actor)
    step["guard"] = _guard(snapshot)
    step["attempts"][1] |= _under_way(runtime, following)
    if caller.key is not None:
        step["handed_on"] = {"livemode": caller.scope.livemode, "key": caller.key, "attempt_id": following.id}
    if await _written(runtime, snapshot.transaction.partner_id, step):
        _judged(runtime, change)
        return Recorded(snapshot=replace(snapshot.after(change), attempt_id=following.id), written=True)
    now = await read(runtime, snapshot)
    # It may be this very write whose acknowledgement was lost.
    if any(one.id == following.id for one in now.attempts):
        return Recorded(snapshot=replace(now, attempt_id=following.id), written=True)
    return Recorded(snapshot=now, written=False)


def _guard(snapshot: Snapshot) -> dict[str, Any]:
    """What must still hold when the outcome of the snapshot's attempt is written."""
    return {
        "transaction_id": snapshot.transaction.id,
        "version": snapshot.transaction.version,
        "attempt_id": snapshot.attempt_id,
        "epoch": snapshot.attempt.epoch,
    }


def _judged(runtime: Runtime, change: Change) -> None:
    """A first attempt's verdict teaches routing; a later one's payment was harder to begin with."""
    transaction, attempt = change.transaction, change.attempts[0]
    if attempt.operation is not AttemptOperation.CHARGE or attempt.number > 1 or attempt.state not in _VERDICTS:
        return
    approved = attempt.state is AttemptState.SUCCEEDED
    # The brand as it was known before: some PSPs tell it of approvals only.
    known = (attempt.routing or {}).get("payment", {})
    verdict = Tally(
        account_id=attempt.account_id,
        method=transaction.payment_method,
        currency=transaction.currency,
        brand=known.get("brand", ""),
        approved=float(approved),
        declined=float(not approved),
        as_of=transaction.updated_at,
    )
    runtime.switchboard.judged(transaction.partner_id, verdict)


_VERDICTS = frozenset({AttemptState.SUCCEEDED, AttemptState.DECLINED})


async def note(runtime: Runtime, connection: Connection, snapshot: Snapshot, change: Change, *, actor: str) -> Snapshot:
    """Write what a PSP did unasked, in the transaction that holds the snapshot's lock (see `load`)."""
    after = snapshot.after(change)
    step = steps.rows(runtime, after, change, actor=actor)
    step["guard"] = {"transaction_id": snapshot.transaction.id, "version": snapshot.transaction.version}
    written = await transactions.journal_write(connection, snapshot.transaction.partner_id, step)
    assert written == "written", "the lock holds the version"
    return after


async def flag(
    runtime: Runtime, partner_id: UUID, transaction_id: UUID, data: Mapping[str, object], *, actor: str
) -> None:
    """Our books cannot hold what was found: a person must look. Nothing changes where one is asked for already."""
    async with runtime.database.as_partner(partner_id) as connection:
        (first, *_) = await transactions.attempts(connection, partner_id, [transaction_id])
        snapshot = await load(connection, partner_id, transaction_id, first.id)
        change = unasked.contradicting(snapshot, data, at=runtime.clock())
        if change is not None:
            await note(runtime, connection, snapshot, change, actor=actor)
            runtime.published(1)


async def try_to_flag(
    runtime: Runtime, partner_id: UUID, transaction_id: UUID, data: Mapping[str, object], *, actor: str
) -> None:
    """The same of rows that break a promise, and so may refuse the next step: then the log must do."""
    try:
        await flag(runtime, partner_id, transaction_id, data, actor=actor)
    except (Unavailable, CommitUncertain):
        raise
    except Exception as error:  # noqa: BLE001 - logged; whoever found it reports it all the same
        telemetry.log("broken transaction not flagged", level=logging.ERROR, error=error, transaction_id=transaction_id)


async def read(runtime: Runtime, snapshot: Snapshot) -> Snapshot:
    """The same transaction as the database holds it now."""
    partner_id = snapshot.transaction.partner_id
    async with runtime.database.as_partner(partner_id) as connection:
        return await load(connection, partner_id, snapshot.transaction.id, snapshot.attempt_id)


async def load(connection: Connection, partner_id: UUID, transaction_id: UUID, attempt_id: UUID) -> Snapshot:
    """The transaction, its attempts and the attempt's refund, read under one lock so that they agree."""
    transaction = await transactions.lock(connection, partner_id, transaction_id)
    attempts = tuple(await transactions.attempts(connection, partner_id, [transaction_id]))
    assert transaction is not None
    refund: Refund | None = None
    refund_id = next(attempt.refund_id for attempt in attempts if attempt.id == attempt_id)
    if refund_id is not None:
        refund = await refunds.get(connection, Scope(partner_id, transaction.livemode), refund_id)
    return Snapshot(transaction=transaction, attempts=attempts, attempt_id=attempt_id, refund=refund)


async def take(
    runtime: Runtime, connection: Connection, partner_id: UUID, transaction_id: UUID, attempt_id: UUID
) -> tuple[Attempt | None, Snapshot]:
    """Become the one who may conclude the attempt, None where it is over or somebody is at it; how all of it stands.

    The transaction is locked first, as every write does: who held the attempt and waited for it would block that write.
    """
    snapshot = await load(connection, partner_id, transaction_id, attempt_id)
    lease_seconds = runtime.settings.lease_seconds
    taken = await transactions.take(connection, partner_id, attempt_id, lease_seconds=lease_seconds)
    if taken is not None:
        attempts = tuple(taken if one.id == attempt_id else one for one in snapshot.attempts)
        snapshot = replace(snapshot, attempts=attempts)
    return taken, snapshot


def _concluded(runtime: Runtime, snapshot: Snapshot, outcome: Outcome) -> Change:
    try:
        return conclusions.concluded(snapshot, outcome, at=runtime.clock())
    except states.InvalidState:
        return conclusions.contradicted(snapshot, outcome, at=runtime.clock())


async def _written(runtime: Runtime, partner_id: UUID, step: dict[str, Any]) -> bool:
    """False where a guard failed: also after a lost acknowledgement, so nothing is ever written twice."""
    clock = asyncio.get_running_loop().time
    until = clock() + RECORD_SECONDS
    for wait in (*RETRY_SECONDS, None):
        try:
            async with runtime.database.statement() as connection:
                return await transactions.journal_write(connection, partner_id, step) == "written"
        except (Unavailable, CommitUncertain) as error:
            if wait is None or clock() + wait > until:
                raise Unavailable("the outcome could not be recorded") from error
            await asyncio.sleep(wait)
    raise AssertionError("unreachable")
