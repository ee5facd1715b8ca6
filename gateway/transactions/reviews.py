"""What recovery could not settle: people look at everything that is known, ask again, cancel at the PSP, or decide.

A decision needs evidence and two people, and is bound to the transaction as the first of them saw it. As `Role.WORKER`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from db import audit, ids, provider_calls, refunds, reviews, transactions
from db.database import Connection
from db.provider_calls import CallPurpose, ProviderCall
from db.records import (
    Attempt,
    AttemptOperation,
    AttemptState,
    CaptureMode,
    Refund,
    Transaction,
    TransactionEvent,
)
from db.reviews import ReviewDecision, ReviewVerdict
from gateway.runtime import Runtime
from gateway.transactions import conclusions, journal, recovery, sending, states, unasked
from gateway.transactions.changes import Snapshot
from gateway.transactions.commands import NotFound
from providers.contract import Approved, Declined, DeclineKind, Outcome

EVIDENCE_MIN, EVIDENCE_MAX = 10, 4_000


class NothingOpen(Exception):
    """No attempt of this transaction waits for an outcome, or none of the kind that was named."""


class Refused(Exception):
    """The decision cannot be taken like this; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that is known of a transaction: what was sent, when, and every answer."""

    transaction: Transaction
    attempts: Sequence[Attempt]
    refunds: Sequence[Refund]
    history: Sequence[TransactionEvent]
    calls: Sequence[ProviderCall]
    decisions: Sequence[ReviewDecision]


async def case(runtime: Runtime, transaction_id: UUID) -> Case:
    """Raises `NotFound` where no person is asked to look at it."""
    partner_id = await _owner(runtime, transaction_id)
    async with runtime.database.as_partner(partner_id) as connection:
        transaction = await transactions.lock(connection, partner_id, transaction_id)
        assert transaction is not None
        return Case(
            transaction=transaction,
            attempts=await transactions.attempts(connection, partner_id, [transaction_id]),
            refunds=await refunds.of_transaction(connection, partner_id, transaction_id),
            history=await transactions.events(connection, partner_id, transaction_id),
            calls=await provider_calls.of_transaction(connection, partner_id, transaction_id),
            decisions=await reviews.of_transaction(connection, partner_id, transaction_id),
        )


async def ask(runtime: Runtime, transaction_id: UUID, *, actor: str) -> Transaction:
    """Ask the PSP once more about everything that is open. Raises `NotFound`, `NothingOpen`."""
    found = await case(runtime, transaction_id)
    await _note_act(runtime, found.transaction, "review.asked", actor, {})
    for attempt in _open(found.attempts):
        await recovery.resolve(runtime, attempt.partner_id, transaction_id, attempt.id)
    return await _now(runtime, found.transaction)


async def cancel(runtime: Runtime, transaction_id: UUID, *, actor: str) -> Transaction:
    """Cancel a charge without an outcome at its PSP, so that it takes no money. Raises `NotFound`, `NothingOpen`."""
    found = await case(runtime, transaction_id)
    (charge,) = _open(one for one in found.attempts if one.operation is AttemptOperation.CHARGE)
    await _note_act(runtime, found.transaction, "review.cancelled", actor, {"attempt": ids.encode("att", charge.id)})
    async with runtime.database.as_partner(charge.partner_id) as connection:
        taken, snapshot = await journal.take(runtime, connection, charge.partner_id, transaction_id, charge.id)
        adapter = await runtime.accounts.adapter(connection, charge.account_id)
    if taken is None:
        raise Refused("it is being looked into at this moment: try again in a minute")
    outcome = await sending.rule_out(adapter, taken, recovery.rule_out_key(runtime, taken))
    await journal.record(runtime, snapshot, outcome, actor=actor, purpose=CallPurpose.RULE_OUT)
    return await _now(runtime, found.transaction)


async def request(
    runtime: Runtime,
    transaction_id: UUID,
    verdict: ReviewVerdict,
    *,
    attempt_id: UUID | None,
    provider_id: str | None,
    evidence: str,
    actor: str,
) -> ReviewDecision:
    """The first person's word; nothing changes yet. Raises `NotFound`, `NothingOpen`, `Refused`."""
    evidence = evidence.strip()
    if not EVIDENCE_MIN <= len(evidence) <= EVIDENCE_MAX:
        raise Refused(f"the evidence must have {EVIDENCE_MIN} to {EVIDENCE_MAX} characters")
    found = await case(runtime, transaction_id)
    attempt = None if verdict is ReviewVerdict.SETTLED else _the_open_one(found.attempts, attempt_id)
    if verdict is ReviewVerdict.SUCCEEDED and not (provider_id or (attempt and attempt.provider_id)):
        raise Refused("what succeeded has an id at the provider: name it")
    async with runtime.database.as_partner(found.transaction.partner_id) as connection:
        decision = await reviews.request(
            connection,
            ids.new(),
            found.transaction,
            attempt_id=attempt.id if attempt else None,
            verdict=verdict,
            provider_id=provider_id,
            evidence=evidence,
            requested_by=actor,
        )
        await audit.append(connection, _act(found.transaction, "review.requested", actor, {"verdict": verdict.value}))
    return decision


async def approve(runtime: Runtime, transaction_id: UUID, *, actor: str) -> Transaction:
    """The second person's word: what was decided last is done. Raises `NotFound`, `Refused`.

    Where a crash came between approval and deed, the same again does the deed.
    """
    found = await case(runtime, transaction_id)
    if not found.decisions:
        raise Refused("nobody has decided anything about it yet")
    decision = found.decisions[0]
    if decision.version != found.transaction.version:
        raise Refused("it changed since this was decided: look at it and decide anew")
    partner_id = decision.partner_id
    async with runtime.database.as_partner(partner_id) as connection:
        if decision.approved_at is None:
            await _approved(connection, found.transaction, decision, actor)
        if decision.verdict is ReviewVerdict.SETTLED:
            snapshot = await journal.load(connection, partner_id, transaction_id, found.attempts[0].id)
            change = unasked.reviewed(snapshot, _grounds(decision, actor), at=runtime.clock())
            if change is not None:
                await journal.note(runtime, connection, snapshot, change, actor=actor)
    if decision.attempt_id is not None:
        await _conclude(runtime, decision, actor)
    return await _now(runtime, found.transaction)


async def _approved(connection: Connection, transaction: Transaction, decision: ReviewDecision, actor: str) -> None:
    try:
        await reviews.approve(connection, decision, actor)
    except asyncpg.CheckViolationError:
        raise Refused("who decided cannot approve: a second person must") from None
    except asyncpg.RestrictViolationError:
        raise Refused("the decision has expired: decide anew") from None
    await audit.append(connection, _act(transaction, "review.approved", actor, {"verdict": decision.verdict.value}))


async def _conclude(runtime: Runtime, decision: ReviewDecision, actor: str) -> None:
    """Write the attempt's outcome as people established it; a PSP that tells otherwise later is dealt with as ever."""
    assert decision.attempt_id is not None
    partner_id, transaction_id = decision.partner_id, decision.transaction_id
    async with runtime.database.as_partner(partner_id) as connection:
        attempt_id = decision.attempt_id
        taken, snapshot = await journal.take(runtime, connection, partner_id, transaction_id, attempt_id)
    if taken is None:
        raise Refused("it is being looked into at this moment: try again in a minute")
    outcome = _succeeded(snapshot, decision) if decision.verdict is ReviewVerdict.SUCCEEDED else _FAILED
    recorded = await journal.record(runtime, snapshot, outcome, actor=actor)
    if not recorded.written:
        raise Refused("it changed at this moment: look at it and decide anew")
    async with runtime.database.as_partner(partner_id) as connection:
        after = await journal.load(connection, partner_id, transaction_id, decision.attempt_id)
        change = unasked.reviewed(after, _grounds(decision, actor), at=runtime.clock())
        if change is not None:
            await journal.note(runtime, connection, after, change, actor=actor)


_FAILED: Outcome = Declined(
    code=conclusions.ABSENT,
    kind=DeclineKind.SOFT,
    may_fail_over=False,
    provider_code="established_by_support",
    message="Two people established that nothing was done.",
)


def _succeeded(snapshot: Snapshot, decision: ReviewDecision) -> Outcome:
    attempt = snapshot.attempt
    holds = attempt.operation is AttemptOperation.CHARGE and snapshot.transaction.capture is CaptureMode.MANUAL
    return Approved(provider_id=decision.provider_id or attempt.provider_id or "", captured=not holds)


def _grounds(decision: ReviewDecision, actor: str) -> dict[str, object]:
    return {
        "verdict": decision.verdict.value,
        "evidence": decision.evidence,
        "requested_by": decision.requested_by,
        "approved_by": decision.approved_by or actor,
    }


def _open(attempts: Iterable[Attempt]) -> list[Attempt]:
    found = [one for one in attempts if one.state in states.LIVE_ATTEMPTS]
    if not found:
        raise NothingOpen
    return found


def _the_open_one(attempts: Sequence[Attempt], attempt_id: UUID | None) -> Attempt:
    found = [one for one in _open(attempts) if attempt_id in (None, one.id)]
    if not found:
        raise NothingOpen
    if len(found) > 1:
        raise Refused("more than one attempt is open: name the one that is meant")
    if found[0].state is AttemptState.SENDING:
        raise Refused("it is being sent at this moment: try again in a minute")
    return found[0]


async def _owner(runtime: Runtime, transaction_id: UUID) -> UUID:
    async with runtime.database.as_system() as connection:
        partner_id = await reviews.owner(connection, transaction_id)
    if partner_id is None:
        raise NotFound
    return partner_id


async def _now(runtime: Runtime, before: Transaction) -> Transaction:
    async with runtime.database.as_partner(before.partner_id) as connection:
        after = await transactions.lock(connection, before.partner_id, before.id)
    assert after is not None
    return after


async def _note_act(
    runtime: Runtime, transaction: Transaction, action: str, actor: str, changes: dict[str, object]
) -> None:
    async with runtime.database.as_partner(transaction.partner_id) as connection:
        await audit.append(connection, _act(transaction, action, actor, changes))


def _act(transaction: Transaction, action: str, actor: str, changes: dict[str, object]) -> audit.Act:
    return audit.Act(
        actor=actor,
        action=action,
        resource_type="transaction",
        resource_id=ids.encode("txn", transaction.id),
        partner_id=transaction.partner_id,
        changes=changes,
    )
