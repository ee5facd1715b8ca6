"""Giving back what a charge took after it was over: a success that came late, after its payment had failed or moved on.

late charge ─► compensating (tx A: booked in suspense, with the attempt that gives it back) ─► PSP ─► compensated

The PSP is asked before anything is believed; a process that dies in between leaves an attempt that recovery concludes.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from db import ids
from db.records import Attempt, AttemptOperation, AttemptState, Scope
from gateway import telemetry
from gateway.runtime import Runtime
from gateway.transactions import journal, sending, unasked
from gateway.transactions.changes import Snapshot
from gateway.transactions.commands import Caller
from providers import contract
from providers.contract import Approved, Outcome, Provider

OVER = frozenset(
    {
        AttemptState.DECLINED,
        AttemptState.FAILED_NOT_SENT,
        AttemptState.ABSENT_CONFIRMED,
        AttemptState.CANCELLED_CONFIRMED,
    }
)
"""States of a charge from which a success is a late one."""


def is_late(attempt: Attempt, outcome: Outcome) -> bool:
    """Whether the PSP tells of money that our books do not expect."""
    charged = attempt.operation is AttemptOperation.CHARGE and isinstance(outcome, Approved)
    return charged and attempt.state in OVER


async def confirmed(runtime: Runtime, snapshot: Snapshot, told: Outcome) -> Outcome:
    """What the PSP itself says of the charge; what was told, where it has no call that says more."""
    async with runtime.database.as_partner(snapshot.transaction.partner_id) as connection:
        adapter = await runtime.accounts.adapter(connection, snapshot.attempt.account_id)
    if not adapter.capabilities.readable:
        return told
    about = snapshot.attempt
    if about.provider_id is None and isinstance(told, Approved) and told.provider_id:
        about = replace(about, provider_id=told.provider_id)
    return await sending.look_up(adapter, about)


async def compensate(
    runtime: Runtime, partner_id: UUID, transaction_id: UUID, attempt_id: UUID, told: Approved
) -> Snapshot:
    """Refund or void the late charge. Again, or where somebody else is at it: nothing happens.

    Raises `contract.Unsupported` where the PSP's answer names nothing that could be given back.
    """
    async with runtime.database.as_partner(partner_id) as connection:
        snapshot = await journal.load(connection, partner_id, transaction_id, attempt_id)
        late = snapshot.attempt
        if not is_late(late, told):
            return snapshot
        adapter = await runtime.accounts.adapter(connection, late.account_id)
        caller = Caller(
            scope=Scope(partner_id, snapshot.transaction.livemode), actor="paygate:recovery", key=None, fingerprint=b""
        )
        back = _attempt(runtime, caller, adapter, snapshot, told)
        opened = replace(snapshot, attempts=(*snapshot.attempts, back), attempt_id=back.id)
        change = unasked.late_success(opened, told, at=runtime.clock())
        begun = await journal.begin(runtime, connection, caller, opened, change)
    telemetry.late_successes.labels(late.provider).inc()
    telemetry.log("late success found", transaction_id=transaction_id, attempt_id=attempt_id, provider=late.provider)
    outcome = await sending.send(adapter, begun.attempt)
    recorded = await journal.record(runtime, begun, outcome, actor=caller.actor)
    return recorded.snapshot


def _attempt(runtime: Runtime, caller: Caller, adapter: Provider, snapshot: Snapshot, told: Approved) -> Attempt:
    """A refund of what was captured, a cancel of what was only held."""
    transaction, late, attempt_id = snapshot.transaction, snapshot.attempt, ids.new()
    reference = runtime.reference(transaction.partner_id, attempt_id)
    ask: contract.Refund | contract.Cancel
    if told.captured:
        ask = contract.Refund(
            reference=reference,
            provider_transaction_id=told.provider_id,
            amount=late.amount,
            currency=transaction.currency,
            reason="duplicate",
        )
    else:
        ask = contract.Cancel(
            reference=reference,
            provider_transaction_id=told.provider_id,
            amount=late.amount,
            currency=transaction.currency,
        )
    at_account = replace(transaction, provider=late.provider, provider_account_id=late.account_id)
    number = len(snapshot.attempts) + 1
    attempt = journal.attempt(runtime, caller, at_account, adapter.prepare(ask), attempt_id=attempt_id, number=number)
    return replace(
        attempt,
        operation=AttemptOperation.COMPENSATE,
        provider_key=runtime.provider_key(attempt_id, AttemptOperation.COMPENSATE, late.account_id),
        compensates=late.id,
        routing={"because": "late_success", "captured": told.captured},
    )
