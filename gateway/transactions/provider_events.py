"""Applying what PSPs told us: find what it is about, compare, and let the journal write it like any other outcome.

received ─► applied    it changed something, or asked the PSP
         ├► ignored    nothing new
         ├► received   not ours yet (it came before our own commit, or before an earlier one), or its PSP does not
         │             confirm it: tried again
         └► parked     for a person: unreadable, nothing of ours after an hour, or of ours and not settled in a day:
                       then the person is called to the transaction
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from db import disputes, ids, inbox, transactions
from db import recovery as stored
from db.database import CommitUncertain, Unavailable
from db.records import (
    Attempt,
    AttemptOperation,
    AttemptState,
    Dispute,
    DisputeState,
    ProviderEvent,
    ProviderEventState,
)
from gateway import telemetry
from gateway.runtime import Runtime
from gateway.transactions import changes, compensation, journal, readings, recovery, sending, unasked
from gateway.transactions.changes import Snapshot
from gateway.transactions.lanes import Lanes
from providers.contract import (
    Absent,
    Approved,
    AttemptTold,
    Declined,
    DeclineKind,
    DisputeTold,
    Irrelevant,
    Outcome,
    Pending,
    Told,
    Unknown,
    Unreadable,
    ruled_out,
)

BATCH = 50
PARK_AFTER = timedelta(hours=1)
"""How long a notification may wait for what it is about; our own commit takes seconds."""
PARK_OURS_AFTER = changes.REVIEW_AFTER
"""And one that is ours or may be, for a PSP that is away, or an outcome or id that is not known yet."""
EXPIRED = Declined(
    code="action_expired",
    kind=DeclineKind.SOFT,
    may_fail_over=False,
    provider_code=None,
    message="The payment ended at the provider before the customer completed it.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of an event. `state` RECEIVED: not yet; it is tried again."""

    state: ProviderEventState
    reason: str
    partner_id: UUID | None = None
    transaction_id: UUID | None = None
    """What it is about: found by the event's id, and shown to a person should it never be applied."""


def _applied(reason: str, about: Snapshot) -> Verdict:
    return _verdict(ProviderEventState.APPLIED, reason, about)


def _ignored(reason: str, about: Snapshot | None = None) -> Verdict:
    return _verdict(ProviderEventState.IGNORED, reason, about)


def _later(reason: str, about: Snapshot | None = None) -> Verdict:
    return _verdict(ProviderEventState.RECEIVED, reason, about)


def _verdict(state: ProviderEventState, reason: str, about: Snapshot | None) -> Verdict:
    if about is None:
        return Verdict(state=state, reason=reason)
    transaction = about.transaction
    return Verdict(state=state, reason=reason, partner_id=transaction.partner_id, transaction_id=transaction.id)


async def apply_due(runtime: Runtime) -> int:
    """One whole round, as the worker; the number of events looked at."""
    lanes = Lanes()
    count = await begin_due(runtime, lanes)
    await lanes.finish()
    return count


async def begin_due(runtime: Runtime, lanes: Lanes) -> int:
    """The same without waiting for its end, and leaving out accounts whose events are still being applied."""
    async with runtime.database.as_system() as connection:
        due = await inbox.take_due(connection, BATCH, busy=lanes.busy())
    by_account: defaultdict[UUID, list[ProviderEvent]] = defaultdict(list)
    for event in due:
        by_account[event.account_id].append(event)
    for account_id, events in by_account.items():
        lanes.begin(runtime, account_id, _apply_in_order(runtime, events))
    return len(due)


async def _apply_in_order(runtime: Runtime, events: Sequence[ProviderEvent]) -> None:
    for event in events:
        may_be_ours = await _may_be_ours(runtime, event)  # asked first: what learns its id after this is found
        verdict = await _judged(runtime, event)
        patience = PARK_OURS_AFTER if may_be_ours or verdict.partner_id is not None else PARK_AFTER
        if verdict.state is ProviderEventState.RECEIVED and runtime.clock() - event.received_at > patience:
            verdict = await _parked(runtime, event, verdict)
        telemetry.provider_events.labels(event.provider, verdict.state).inc()
        if verdict.state is not ProviderEventState.RECEIVED:
            async with runtime.database.as_system() as connection:
                await inbox.finish(
                    connection,
                    event,
                    verdict.state,
                    reason=verdict.reason,
                    partner_id=verdict.partner_id,
                    transaction_id=verdict.transaction_id,
                )
    runtime.notified.set()  # more of this account may have come meanwhile


async def _parked(runtime: Runtime, event: ProviderEvent, verdict: Verdict) -> Verdict:
    """Nobody will try it again: what it is about, where that is known, is shown to a person."""
    if verdict.partner_id is not None and verdict.transaction_id is not None:
        data = {"reason": f"not applied: {verdict.reason}", "provider_event": str(event.id)}
        actor = f"provider:{event.provider}"
        await journal.try_to_flag(runtime, verdict.partner_id, verdict.transaction_id, data, actor=actor)
    return replace(verdict, state=ProviderEventState.PARKED)


async def _may_be_ours(runtime: Runtime, event: ProviderEvent) -> bool:
    """Of an old one: it may name a payment by an id that we have not learned in all this time."""
    if runtime.clock() - event.received_at <= PARK_AFTER:
        return False
    async with runtime.database.as_system() as connection:
        return await stored.has_nameless(connection, event.account_id)


async def _judged(runtime: Runtime, event: ProviderEvent) -> Verdict:
    """One event never keeps the others from being applied."""
    try:
        told = await _read(runtime, event)
        match told:
            case Irrelevant():
                return _ignored(told.reason)
            case AttemptTold():
                return await _apply(runtime, event, told)
            case DisputeTold():
                return await _dispute(runtime, event, told)
    except Unreadable as error:
        return Verdict(state=ProviderEventState.PARKED, reason=f"unreadable: {error}")
    except (Unavailable, CommitUncertain):
        raise
    except Exception as error:  # noqa: BLE001 - logged; the event stays and is parked after its time
        telemetry.log("provider event not applied", level=logging.ERROR, error=error, provider=event.provider)
        return _later(f"failed: {type(error).__name__}")


async def _read(runtime: Runtime, event: ProviderEvent) -> Told:
    async with runtime.database.as_system() as connection:
        adapter = await runtime.accounts.adapter(connection, event.account_id)
    return adapter.read_webhook(event.body)


async def _apply(runtime: Runtime, event: ProviderEvent, told: AttemptTold) -> Verdict:
    place = await _place(runtime, event, told.reference, (told.provider_id, told.provider_transaction_id))
    if place is None:
        return _later("nothing of ours")
    partner_id, transaction_id, attempt_id = place
    async with runtime.database.as_partner(partner_id) as connection:
        snapshot = await journal.load(connection, partner_id, transaction_id, attempt_id)
        subject = readings.subject(snapshot, told, attempt_id)
        if subject is not None and subject.id != attempt_id:
            snapshot = await journal.load(connection, partner_id, transaction_id, subject.id)
    if subject is not None and compensation.is_late(subject, told.outcome):
        return await _apply_late(runtime, event, snapshot, told)
    if subject is None or subject.finished_at is not None:
        return await _apply_unasked(runtime, event, snapshot, told, subject)
    if readings.differs(snapshot, told):
        return await _contradict(runtime, event, snapshot, "amount or currency differs")
    if told.ask or isinstance(told.outcome, Unknown):
        await recovery.resolve(runtime, partner_id, transaction_id, snapshot.attempt_id)
        return _applied("asked the provider", snapshot)
    return await _recorded(runtime, event, snapshot, told.outcome, "recorded")


async def _recorded(
    runtime: Runtime, event: ProviderEvent, snapshot: Snapshot, outcome: Outcome, reason: str
) -> Verdict:
    recorded = await journal.record(runtime, snapshot, outcome, actor=f"provider:{event.provider}")
    if not recorded.written and recorded.snapshot.attempt.finished_at is None:
        # Which may tell nothing: this is not to be lost.
        return _later("the attempt is being looked into", snapshot)
    return _applied(reason, snapshot)


async def _apply_unasked(
    runtime: Runtime, event: ProviderEvent, snapshot: Snapshot, told: AttemptTold, subject: Attempt | None
) -> Verdict:
    """No attempt waits for this: it repeats what we know, or the PSP acted by itself."""
    if (verdict := _at_once(snapshot, told, subject)) is not None:
        return verdict
    if told.ask:
        asked = await _asked(runtime, snapshot, told)
        if asked is None:
            return _later("the provider does not tell", snapshot)
        told = asked
        if readings.known(snapshot, told, subject):
            return _ignored("the provider says otherwise", snapshot)
    charge = readings.open_charge(snapshot)
    if charge is not None and told.operation.value == AttemptOperation.CANCEL:
        # The PSP ended a payment that still waited for the customer, or whose outcome it had not told.
        about = replace(snapshot, attempt_id=charge.id, refund=None)
        ended = EXPIRED if charge.state is AttemptState.WAITING else ruled_out(charge.provider_id)
        return await _recorded(runtime, event, about, ended, "ended by the provider")
    return await _noted(runtime, event, snapshot, told, subject)


async def _apply_late(runtime: Runtime, event: ProviderEvent, snapshot: Snapshot, told: AttemptTold) -> Verdict:
    """Money was taken of a charge that was over: it is given back, once the PSP itself says so."""
    partner_id, attempt = snapshot.transaction.partner_id, snapshot.attempt
    if readings.differs(snapshot, told):
        return await _contradict(runtime, event, snapshot, "amount or currency differs")
    outcome = await compensation.confirmed(runtime, snapshot, told.outcome)
    match outcome:
        case Approved():
            await compensation.compensate(runtime, partner_id, attempt.transaction_id, attempt.id, outcome)
            return _applied("a late success is given back", snapshot)
        case Unknown():
            return _later("the provider does not tell", snapshot)
        case _:
            return _ignored("the provider says otherwise", snapshot)


def _at_once(snapshot: Snapshot, told: AttemptTold, subject: Attempt | None) -> Verdict | None:
    """What needs no change: it says what we know, or is about something whose outcome or id we have not learned."""
    if subject is None and told.operation.value == AttemptOperation.REFUND and readings.nameless_refund(snapshot):
        return _later("a refund of this payment has not learned its id yet", snapshot)
    if (
        subject is None
        and told.operation.value == AttemptOperation.CAPTURE
        and readings.open_charge(snapshot) is not None
    ):
        return _later("the charge has no outcome yet", snapshot)
    if readings.known(snapshot, told, subject):
        return _ignored("nothing new", snapshot)
    return None


async def _asked(runtime: Runtime, snapshot: Snapshot, told: AttemptTold) -> AttemptTold | None:
    """What the PSP itself says, for a notification that proves nothing alone; None where it does not say."""
    attempt = snapshot.attempt
    async with runtime.database.as_partner(snapshot.transaction.partner_id) as connection:
        adapter = await runtime.accounts.adapter(connection, attempt.account_id)
    answer = await sending.look_up(adapter, attempt)
    if isinstance(answer, Unknown):
        return None
    if told.operation.value == AttemptOperation.CANCEL and attempt.operation is AttemptOperation.CHARGE:
        # Asked about the charge itself: the end of it reads as a refusal.
        ended = isinstance(answer, Declined | Absent)
        return replace(told, outcome=told.outcome if ended else Pending(provider_id=attempt.provider_id or ""))
    return replace(told, outcome=answer)


async def _dispute(runtime: Runtime, event: ProviderEvent, told: DisputeTold) -> Verdict:
    place = await _place(runtime, event, told.reference, (told.provider_transaction_id,))
    if place is None:
        return _later("nothing of ours")
    partner_id, transaction_id, attempt_id = place
    async with runtime.database.as_partner(partner_id) as connection:
        snapshot = await journal.load(connection, partner_id, transaction_id, attempt_id)
        known = await disputes.find(connection, partner_id, transaction_id, told.dispute_id)
        if snapshot.transaction.amount_captured == 0:
            return _later("nothing was captured yet", snapshot)
        after = _dispute_after(snapshot, known, told, runtime.clock())
        change = unasked.disputed(snapshot, known, told, after, at=runtime.clock())
        if told.currency == snapshot.transaction.currency and change is not None:
            await journal.note(runtime, connection, snapshot, change, actor=f"provider:{event.provider}")
    if told.currency != snapshot.transaction.currency:
        return await _contradict(runtime, event, snapshot, "currency differs")
    if change is None:
        return _ignored("nothing new", snapshot)
    runtime.published(1)
    return _applied("dispute recorded", snapshot)


def _dispute_after(snapshot: Snapshot, known: Dispute | None, told: DisputeTold, at: datetime) -> Dispute:
    """A dispute that ended may end otherwise later, but does not open again; the funds are where the PSP says."""
    state = DisputeState(told.state.value)
    withdrawn = known.amount_withdrawn if known else Decimal(0)
    if told.funds_withdrawn is not None:
        withdrawn = told.amount if told.funds_withdrawn else Decimal(0)
    if known is not None:
        state = known.state if state is DisputeState.OPENED else state
        return replace(
            known, state=state, reason=told.reason or known.reason, amount_withdrawn=withdrawn, updated_at=at
        )
    return Dispute(
        partner_id=snapshot.transaction.partner_id,
        id=ids.new(),
        transaction_id=snapshot.transaction.id,
        livemode=snapshot.transaction.livemode,
        provider_dispute_id=told.dispute_id,
        state=state,
        reason=told.reason,
        amount=told.amount,
        currency=told.currency,
        amount_withdrawn=withdrawn,
        created_at=at,
        updated_at=at,
    )


async def _place(
    runtime: Runtime, event: ProviderEvent, reference: str | None, provider_ids: Sequence[str | None]
) -> tuple[UUID, UUID, UUID] | None:
    """(partner, transaction, attempt): by our reference, which names its shard, else by the PSP's ids.

    What belongs to another account than the one that signed is not found.
    """
    named = runtime.parse_reference(reference)
    if named is not None:
        partner_id, attempt_id = named
        async with runtime.database.as_partner(partner_id) as connection:
            attempt = await transactions.attempt(connection, partner_id, attempt_id)
        if attempt is not None and attempt.account_id == event.account_id:
            return partner_id, attempt.transaction_id, attempt_id
    async with runtime.database.as_system() as connection:
        for provider_id in provider_ids:
            if provider_id is not None:
                found = await inbox.attempt_by_provider_id(connection, event.account_id, provider_id)
                if found is not None:
                    return found
    return None


async def _noted(
    runtime: Runtime, event: ProviderEvent, snapshot: Snapshot, told: AttemptTold, subject: Attempt | None
) -> Verdict:
    """What follows is written under the transaction's lock; what our books have no place for is for a person."""
    partner_id = snapshot.transaction.partner_id
    async with runtime.database.as_partner(partner_id) as connection:
        fresh = await journal.load(connection, partner_id, snapshot.transaction.id, snapshot.attempt_id)
        if fresh.transaction.version != snapshot.transaction.version:
            return _later("the transaction changed meanwhile")  # it may have been this, applied by another worker
        change = readings.change(fresh, told, subject, runtime.clock())
        if change is not None:
            await journal.note(runtime, connection, fresh, change, actor=f"provider:{event.provider}")
    if change is None:
        return await _contradict(runtime, event, snapshot, "contradicts our books")
    runtime.published(1)
    return _applied("the provider acted by itself", snapshot)


async def _contradict(runtime: Runtime, event: ProviderEvent, snapshot: Snapshot, reason: str) -> Verdict:
    """Our books cannot hold it: a person must look."""
    transaction, data = snapshot.transaction, {"reason": reason, "provider_event": str(event.id)}
    await journal.flag(runtime, transaction.partner_id, transaction.id, data, actor=f"provider:{event.provider}")
    return _applied(reason, snapshot)
