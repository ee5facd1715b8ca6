"""Finding out: what became of an attempt whose sender died, got no answer, or was told to wait.

Nothing here starts a second attempt. An attempt is taken under a new epoch, asked about at its PSP (by the same bytes
under the same key while the PSP surely knows the key, else by a look-up; a charge that can no longer be sent and is
nowhere to be found is ruled out) and recorded like any other outcome.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Mapping
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID

from db import recovery as stored
from db import transactions
from db.database import CommitUncertain, Unavailable
from db.provider_calls import CallPurpose
from db.records import Attempt, AttemptOperation, AttemptState
from db.recovery import Due
from gateway import telemetry
from gateway.runtime import Runtime
from gateway.transactions import journal, outcomes, sending, unasked
from gateway.transactions.changes import Snapshot
from gateway.transactions.commands import Caller, NotFound
from gateway.transactions.idempotency import Unanswered
from gateway.transactions.lanes import Lanes
from providers.contract import Absent, Outcome, Provider, Unknown

ACTOR = "paygate:recovery"
LANE_WIDTH = 4
"""Attempts asked about at one account at a time: what an outage left behind must not be the next outage."""
BROUGHT_FORWARD_MAX = 1_000
OVERDUE_MAX = 50
RIPE_AFTER = timedelta(seconds=5)
"""Who looks again and again asks the PSP no more often than this."""

Answer = tuple[Outcome, CallPurpose]


async def resolve(runtime: Runtime, partner_id: UUID, transaction_id: UUID, attempt_id: UUID) -> Snapshot:
    """Learn the attempt's outcome if nobody else is at it; returns how the transaction stands after."""
    async with runtime.database.as_partner(partner_id) as connection:
        taken, snapshot = await journal.take(runtime, connection, partner_id, transaction_id, attempt_id)
        resend = await transactions.may_resend(connection, partner_id, attempt_id)
        adapter = await runtime.accounts.adapter(connection, snapshot.attempt.account_id)
    if taken is None:
        return snapshot
    key = rule_out_key(runtime, taken)
    outcome, purpose = await _in_time(_ask(adapter, taken, resend=resend, rule_out_key=key))
    telemetry.recoveries.labels(outcomes.NAMES[type(outcome)]).inc()
    recorded = await journal.record(runtime, snapshot, outcome, actor=ACTOR, purpose=purpose)
    return recorded.snapshot


async def resolve_for(runtime: Runtime, caller: Caller, earlier: Unanswered) -> Snapshot:
    """For a caller who repeats its key. Raises `CommitUncertain` where the database is away: money may have moved."""
    try:
        return await resolve(runtime, caller.scope.partner_id, earlier.transaction_id, earlier.attempt_id)
    except Unavailable as error:
        raise CommitUncertain("an earlier attempt under this key has no outcome yet") from error


async def look_again(runtime: Runtime, partner_id: UUID, attempts: Iterable[Attempt], *, wait_seconds: float) -> bool:
    """Ask at once about those without an outcome; whether there were any. Later answers are recorded all the same."""
    ripe = [one for one in attempts if _ripe(one, runtime.clock())]
    if not ripe:
        return False
    asking = [runtime.begin(_logged(runtime, partner_id, one.transaction_id, one.id)) for one in ripe]
    await asyncio.wait(asking, timeout=wait_seconds)
    return True


async def come_back(runtime: Runtime, partner_id: UUID, attempt_id: UUID, returned: Mapping[str, str]) -> Snapshot:
    """The customer is back from the PSP's page: carry the charge on. Raises `NotFound`."""
    async with runtime.database.as_partner(partner_id) as connection:
        attempt = await transactions.attempt(connection, partner_id, attempt_id)
        if attempt is None or attempt.operation is not AttemptOperation.CHARGE:
            raise NotFound
        taken, snapshot = await journal.take(runtime, connection, partner_id, attempt.transaction_id, attempt_id)
        adapter = await runtime.accounts.adapter(connection, attempt.account_id)
    if taken is None:  # over, or somebody is at it
        return snapshot
    outcome, purpose = await _in_time(_proceed(adapter, taken, returned))
    recorded = await journal.record(runtime, snapshot, outcome, actor="customer", purpose=purpose)
    return recorded.snapshot


async def resolve_due(runtime: Runtime) -> int:
    """One whole round over all partners, as the worker; the number of attempts asked about."""
    lanes = Lanes()
    count = await begin_due(runtime, lanes)
    await lanes.finish()
    return count


async def begin_due(runtime: Runtime, lanes: Lanes) -> int:
    """The same without waiting for the answers, and leaving out accounts that are still asked."""
    async with runtime.database.as_system() as connection:
        due = await stored.due(connection, busy=lanes.busy(), per_account=LANE_WIDTH)
    for account_id, ours in groupby(due, key=lambda one: one.account_id):
        lanes.begin(runtime, account_id, _lane(runtime, account_id, list(ours)))
    return len(due)


def rule_out_key(runtime: Runtime, attempt: Attempt) -> str:
    """Another one for each round: a PSP may repeat under one key what it answered in the round before."""
    return runtime.provider_key(attempt.id, f"{CallPurpose.RULE_OUT}-{attempt.checks}", attempt.account_id)


async def flag_overdue(runtime: Runtime) -> int:
    """A person must look at what has had no outcome for too long, even where asking about it fails on our side."""
    async with runtime.database.as_system() as connection:
        found = await stored.overdue(connection, OVERDUE_MAX)
    for one in found:
        async with runtime.database.as_partner(one.partner_id) as connection:
            snapshot = await journal.load(connection, one.partner_id, one.transaction_id, one.id)
            change = unasked.silent(snapshot, at=runtime.clock())
            if change is not None:
                await journal.note(runtime, connection, snapshot, change, actor=ACTOR)
    runtime.published(len(found))
    return len(found)


async def _lane(runtime: Runtime, account_id: UUID, due: list[Due]) -> None:
    """Ask about each; where an account that was silent answers, everything that waits for it is asked about next."""
    found = await asyncio.gather(*(_logged(runtime, one.partner_id, one.transaction_id, one.id) for one in due))
    spoke = [
        snapshot is not None and not (snapshot.attempt.finished_at is None and stored.silent(snapshot.attempt.outcome))
        for snapshot in found
    ]
    if not any(one.silent and answered for one, answered in zip(due, spoke, strict=True)):
        return
    async with runtime.database.as_system() as connection:
        waiting = await stored.waiting_for(connection, account_id, BROUGHT_FORWARD_MAX)
    for partner_id, attempt_ids in waiting.items():
        async with runtime.database.as_partner(partner_id) as connection:
            await stored.bring_forward(connection, partner_id, attempt_ids)


async def _logged(runtime: Runtime, partner_id: UUID, transaction_id: UUID, attempt_id: UUID) -> Snapshot | None:
    """One attempt must not keep the others from being settled; None where it could not be asked about."""
    try:
        return await resolve(runtime, partner_id, transaction_id, attempt_id)
    except (Unavailable, CommitUncertain) as loss:
        telemetry.log("database lost", level=logging.WARNING, reason=type(loss).__name__)
    except Exception as error:  # noqa: BLE001 - logged; its next check, and `flag_overdue`, see to it
        telemetry.log("attempt not resolved", level=logging.ERROR, error=error, attempt_id=attempt_id)
    return None


def _ripe(attempt: Attempt, at: datetime) -> bool:
    """Without an outcome, nobody at it, and not asked about just now."""
    abandoned = attempt.state is AttemptState.SENDING and attempt.lease_until is not None and attempt.lease_until < at
    return (attempt.state is AttemptState.UNKNOWN or abandoned) and attempt.updated_at <= at - RIPE_AFTER


async def _in_time(asking: Awaitable[Answer]) -> Answer:
    """Within the lease: what is learned after it could no longer be written."""
    try:
        async with asyncio.timeout(sending.TOTAL_SECONDS):
            return await asking
    except TimeoutError:
        return Unknown(reason="no answer in time"), CallPurpose.LOOK_UP


async def _ask(adapter: Provider, attempt: Attempt, *, resend: bool, rule_out_key: str) -> Answer:
    if attempt.state is AttemptState.WAITING:
        # It waits for the customer or for the PSP: a send could not tell more, but an approval may be carried on.
        if attempt.operation is AttemptOperation.CHARGE:
            return await _proceed(adapter, attempt, {})
        return await sending.look_up(adapter, attempt), CallPurpose.LOOK_UP
    if resend:
        again = await sending.send_again(adapter, attempt)
        if not isinstance(again, Unknown):
            return again, CallPurpose.RESEND
    # A PSP may keep its own failure under the key and repeat it for ever (Stripe's stored 500): what it did tells more.
    found = await sending.look_up(adapter, attempt)
    nowhere = isinstance(found, Absent) or not adapter.capabilities.readable
    if resend or attempt.operation is not AttemptOperation.CHARGE or not nowhere:
        return found, CallPurpose.LOOK_UP
    return await sending.rule_out(adapter, attempt, rule_out_key), CallPurpose.RULE_OUT


async def _proceed(adapter: Provider, attempt: Attempt, returned: Mapping[str, str]) -> Answer:
    return await sending.proceed(adapter, attempt, returned), CallPurpose.PROCEED
