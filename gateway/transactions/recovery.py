"""Finding out: what became of an attempt whose sender died, got no answer, or was told to wait.

Nothing here starts a second attempt. An attempt is taken under a new epoch, asked about at its PSP (by the same bytes
under the same key while the PSP surely knows the key, else by a look-up) and recorded like any other outcome.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from uuid import UUID

from db import transactions
from db.database import CommitUncertain, Unavailable
from db.records import Attempt, AttemptOperation, AttemptState
from gateway import telemetry
from gateway.runtime import Runtime
from gateway.transactions import journal, outcomes, sending
from gateway.transactions.changes import Snapshot
from gateway.transactions.commands import Caller, NotFound
from gateway.transactions.idempotency import Unanswered
from providers.contract import Outcome, Provider, Unknown

ACTOR = "paygate:recovery"
BATCH = 20
"""Attempts looked into in one round: each may take a PSP's whole deadline."""


async def resolve(runtime: Runtime, partner_id: UUID, transaction_id: UUID, attempt_id: UUID) -> Snapshot:
    """Learn the attempt's outcome if nobody else is at it; returns how the transaction stands after."""
    async with runtime.database.as_partner(partner_id) as connection:
        taken = await transactions.take(
            connection, partner_id, attempt_id, lease_seconds=runtime.settings.lease_seconds
        )
        snapshot = await journal.load(connection, partner_id, transaction_id, attempt_id)
        resend = await transactions.may_resend(connection, partner_id, attempt_id)
        adapter = await runtime.accounts.adapter(connection, snapshot.attempt.account_id)
    if taken is None:
        return snapshot
    outcome = await _in_time(_ask(adapter, taken, resend=resend))
    telemetry.recoveries.labels(outcomes.NAMES[type(outcome)]).inc()
    recorded = await journal.record(runtime, snapshot, outcome, actor=ACTOR)
    return recorded.snapshot


async def resolve_for(runtime: Runtime, caller: Caller, earlier: Unanswered) -> Snapshot:
    """For a caller who repeats its key. Raises `CommitUncertain` where the database is away: money may have moved."""
    try:
        return await resolve(runtime, caller.scope.partner_id, earlier.transaction_id, earlier.attempt_id)
    except Unavailable as error:
        raise CommitUncertain("an earlier attempt under this key has no outcome yet") from error


async def come_back(runtime: Runtime, partner_id: UUID, attempt_id: UUID, returned: Mapping[str, str]) -> Snapshot:
    """The customer is back from the PSP's page: carry the charge on. Raises `NotFound`."""
    async with runtime.database.as_partner(partner_id) as connection:
        attempt = await transactions.attempt(connection, partner_id, attempt_id)
        if attempt is None or attempt.operation is not AttemptOperation.CHARGE:
            raise NotFound
        taken = await transactions.take(
            connection, partner_id, attempt_id, lease_seconds=runtime.settings.lease_seconds
        )
        snapshot = await journal.load(connection, partner_id, attempt.transaction_id, attempt_id)
        adapter = await runtime.accounts.adapter(connection, attempt.account_id)
    if taken is None:  # over, or somebody is at it
        return snapshot
    outcome = await _in_time(sending.proceed(adapter, taken, returned))
    recorded = await journal.record(runtime, snapshot, outcome, actor="customer")
    return recorded.snapshot


async def resolve_due(runtime: Runtime) -> int:
    """One round of the worker over all partners; the number of attempts looked into."""
    async with runtime.database.as_system() as connection:
        due = await transactions.due_attempts(connection, BATCH)
    for partner_id, attempt_id in due:
        try:
            async with runtime.database.as_partner(partner_id) as connection:
                attempt = await transactions.attempt(connection, partner_id, attempt_id)
            if attempt is not None:
                await resolve(runtime, partner_id, attempt.transaction_id, attempt_id)
        except (Unavailable, CommitUncertain):
            raise
        except Exception as error:  # noqa: BLE001 - one attempt must not keep the others from being settled
            telemetry.log("attempt not resolved", level=logging.ERROR, error=error, attempt_id=attempt_id)
    return len(due)


async def _in_time(asking: Awaitable[Outcome]) -> Outcome:
    """Within the lease: what is learned after it could no longer be written."""
    try:
        async with asyncio.timeout(sending.TOTAL_SECONDS):
            return await asking
    except TimeoutError:
        return Unknown(reason="no answer in time")


async def _ask(adapter: Provider, attempt: Attempt, *, resend: bool) -> Outcome:
    if attempt.state is AttemptState.WAITING:
        # It waits for the customer or for the PSP: a send could not tell more, but an approval may be carried on.
        if attempt.operation is AttemptOperation.CHARGE:
            return await sending.proceed(adapter, attempt, {})
        return await sending.look_up(adapter, attempt)
    if resend:
        again = await sending.send_again(adapter, attempt)
        if not isinstance(again, Unknown):
            return again
    # A PSP may keep its own failure under the key and repeat it for ever (Stripe's stored 500): what it did tells more.
    return await sending.look_up(adapter, attempt)
