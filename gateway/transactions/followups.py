"""What follows a charge: capture, cancel, refund. The same rooms as a charge, under the transaction's row lock.

What a follow-up needs (an amount to capture, a share of what is refundable) is reserved in tx A, so that parallel
requests cannot promise the same money twice; only a definite refusal gives it back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import asyncpg

from db import ids, refunds, transactions
from db.database import CommitUncertain, Unavailable
from db.records import (
    Attempt,
    AttemptOperation,
    AttemptState,
    Refund,
    RefundStatus,
    Scope,
    Transaction,
    TransactionEventType,
)
from gateway import telemetry
from gateway.runtime import Runtime
from gateway.transactions import (
    changes,
    commands,
    idempotency,
    journal,
    recovery,
    representation,
    sending,
    states,
    steps,
)
from gateway.transactions.changes import Change, Happened, Snapshot
from gateway.transactions.charge import ProviderUnavailable
from gateway.transactions.commands import Caller, NotFound
from gateway.transactions.idempotency import Answered
from providers import contract
from providers.contract import Provider


class AmountExceeded(Exception):
    """More than is there to capture or refund. `available` is what is, in major units."""

    def __init__(self, code: str, available: Decimal, *, currency: str, places: int) -> None:
        super().__init__(code)
        self.code = code
        self.available = available
        self.currency = currency
        self.places = places


class Refused(Exception):
    """The PSP definitely refused a capture or cancel; the transaction stands as it did."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__("the payment service provider refused")
        self.snapshot = snapshot


class NeedsApproval(Exception):
    """More than one person may give back of this payment; `before` is what one person did. Nothing was sent."""

    def __init__(self, before: Decimal) -> None:
        super().__init__("a second person must approve this refund")
        self.before = before


SETTLE_SECONDS = 5.0
"""How long a follow-up waits for the PSP to tell what is in its way; with its own call it stays within 30 s."""
EXPIRE_MAX = 20
"""Abandoned charges ended in one round: each is a call to a PSP."""

Begun = tuple[Snapshot, Provider]
Opening = Callable[[Transaction, tuple[Attempt, ...], Provider], tuple[Snapshot, Change]]


async def capture(runtime: Runtime, caller: Caller, command: commands.Capture) -> Answered:
    """Take an authorized amount. Raises `NotFound`, `states.InvalidState`, `AmountExceeded`, `Refused`."""

    def opening(transaction: Transaction, attempts: tuple[Attempt, ...], adapter: Provider) -> tuple[Snapshot, Change]:
        _demand(transaction, states.CAPTURABLE, "captured")
        _nothing_open(transaction, attempts)
        amount = command.amount or transaction.amount
        if amount > transaction.amount:
            raise _exceeded(runtime, "capture_exceeds_authorized", transaction.amount, transaction)
        attempt_id = ids.new()
        ask = contract.Capture(
            reference=runtime.reference(transaction.partner_id, attempt_id),
            provider_transaction_id=_provider_id(transaction),
            amount=amount,
            currency=transaction.currency,
        )
        request = adapter.prepare(ask)
        number = len(attempts) + 1
        attempt = journal.attempt(runtime, caller, transaction, request, attempt_id=attempt_id, number=number)
        reserved = replace(transaction, capture_pending=amount)
        return _opened(runtime, reserved, attempts, attempt, TransactionEventType.CAPTURE_INITIATED)

    return await _follow(runtime, caller, command.transaction_id, opening)


async def cancel(runtime: Runtime, caller: Caller, command: commands.Cancel) -> Answered:
    """Release an authorization or give up on the customer. Raises `NotFound`, `states.InvalidState`, `Refused`."""

    def opening(transaction: Transaction, attempts: tuple[Attempt, ...], adapter: Provider) -> tuple[Snapshot, Change]:
        # What a person decides can be called off as long as no person has decided.
        waits = states.PENDING_OFFLINE if adapter.capabilities.offline else frozenset()
        _demand(transaction, states.CANCELLABLE | waits, "cancelled")
        _nothing_open(transaction, attempts)
        attempt_id = ids.new()
        ask = contract.Cancel(
            reference=runtime.reference(transaction.partner_id, attempt_id),
            provider_transaction_id=_provider_id(transaction),
            amount=transaction.amount,
            currency=transaction.currency,
        )
        request = adapter.prepare(ask)
        number = len(attempts) + 1
        attempt = journal.attempt(runtime, caller, transaction, request, attempt_id=attempt_id, number=number)
        attempt = replace(attempt, routing={"because": command.because})
        return _opened(runtime, transaction, attempts, attempt, TransactionEventType.CANCEL_INITIATED)

    return await _follow(runtime, caller, command.transaction_id, opening)


async def expire_due(runtime: Runtime) -> int:
    """Give up charges whose customer did not come back in time, as the worker; the number looked at."""
    async with runtime.database.as_system() as connection:
        due = await transactions.abandoned(connection, runtime.settings.action_seconds, EXPIRE_MAX)
    for partner_id, transaction_id, livemode in due:
        caller = Caller(scope=Scope(partner_id, livemode), actor="paygate:expiry", key=None, fingerprint=b"")
        command = commands.Cancel(transaction_id=transaction_id, because="expired")
        try:
            await cancel(runtime, caller, command)
        except (states.InvalidState, NotFound, Refused, ProviderUnavailable) as error:
            # It moved on meanwhile, or the PSP cannot be told now: the next round looks again.
            telemetry.log("not expired", transaction_id=transaction_id, reason=type(error).__name__)
    return len(due)


async def refund(runtime: Runtime, caller: Caller, command: commands.Refund) -> Answered:
    """Give money back. The sum of completed and pending refunds never exceeds what was captured, under any race.

    Raises `NotFound`, `states.InvalidState`, `AmountExceeded`, `NeedsApproval`, `transactions.RefundsStopped`.
    """

    def opening(transaction: Transaction, attempts: tuple[Attempt, ...], adapter: Provider) -> tuple[Snapshot, Change]:
        _demand(transaction, states.REFUNDABLE, "refunded")
        amount = transaction.amount_refundable if command.amount is None else command.amount
        if amount <= 0 or amount > transaction.amount_refundable:
            raise _exceeded(runtime, "refund_exceeds_captured", transaction.amount_refundable, transaction)
        _approved(command, amount, attempts)
        attempt_id, refund_id = ids.new(), ids.new()
        ask = contract.Refund(
            reference=runtime.reference(transaction.partner_id, attempt_id),
            provider_transaction_id=_provider_id(transaction),
            amount=amount,
            currency=transaction.currency,
            reason=command.reason,
        )
        request = adapter.prepare(ask)
        number = len(attempts) + 1
        attempt = journal.attempt(runtime, caller, transaction, request, attempt_id=attempt_id, number=number)
        attempt = replace(attempt, refund_id=refund_id)
        reserved = replace(transaction, refund_reserved=transaction.refund_reserved + amount)
        asked = _refund(caller, command, transaction, refund_id, attempt)
        return _opened(runtime, reserved, attempts, attempt, TransactionEventType.REFUND_INITIATED, asked)

    return await _follow(runtime, caller, command.transaction_id, opening)


async def _follow(runtime: Runtime, caller: Caller, transaction_id: UUID, opening: Opening) -> Answered:
    """Tx A under the row lock, the PSP, tx B."""
    begun: Begun | Answered | idempotency.Unanswered | None
    try:
        begun = await _begin_settled(runtime, caller, transaction_id, opening)
    except (journal.KeyTaken, asyncpg.UniqueViolationError):
        begun = await _earlier(runtime, caller)
    if isinstance(begun, Answered):
        return begun
    if isinstance(begun, idempotency.Unanswered):
        resolved = _standing(runtime, await recovery.resolve_for(runtime, caller, begun))
        return await idempotency.lasting(runtime, caller, resolved)
    if begun is None:  # who held the key has just given it back: nothing was sent
        raise idempotency.InProgress(1)
    snapshot, adapter = begun
    runtime.published(1)
    outcome = await sending.send(adapter, snapshot.attempt)
    try:
        recorded = await journal.record(runtime, snapshot, outcome, actor=caller.actor)
    except (Unavailable, CommitUncertain):
        return _standing(runtime, snapshot)
    if recorded.released:
        raise ProviderUnavailable(recorded.snapshot)
    answered = _standing(runtime, recorded.snapshot)
    return answered if recorded.answer is not None else await idempotency.lasting(runtime, caller, answered)


async def _begin_settled(
    runtime: Runtime, caller: Caller, transaction_id: UUID, opening: Opening
) -> Begun | Answered | idempotency.Unanswered:
    """Where an unknown outcome is in the way, the PSP is asked about that first."""
    try:
        return await _begin(runtime, caller, transaction_id, opening)
    except (states.InvalidState, AmountExceeded):
        async with runtime.database.as_partner(caller.scope.partner_id) as connection:
            attempts = await transactions.attempts(connection, caller.scope.partner_id, [transaction_id])
        if not await recovery.look_again(runtime, caller.scope.partner_id, attempts, wait_seconds=SETTLE_SECONDS):
            raise
    return await _begin(runtime, caller, transaction_id, opening)


async def _begin(
    runtime: Runtime, caller: Caller, transaction_id: UUID, opening: Opening
) -> Begun | Answered | idempotency.Unanswered:
    partner_id = caller.scope.partner_id
    begun: Begun | None = None
    try:
        async with runtime.database.as_partner(partner_id) as connection:
            transaction = await transactions.lock(connection, partner_id, transaction_id)
            if transaction is None or transaction.livemode != caller.scope.livemode:
                raise NotFound
            # Under the lock, so that a repeat sees either nothing or the whole of the first request.
            before = await idempotency.earlier(connection, caller)
            if before is not None:
                return before
            attempts = tuple(await transactions.attempts(connection, partner_id, [transaction_id]))
            assert transaction.provider_account_id is not None
            adapter = await runtime.accounts.adapter(connection, transaction.provider_account_id)
            snapshot, change = opening(transaction, attempts, adapter)
            begun = await journal.begin(runtime, connection, caller, snapshot, change), adapter
    except CommitUncertain:
        if begun is None or not await journal.begun(runtime, caller, begun[0].attempt_id):
            raise
    return begun


async def _earlier(runtime: Runtime, caller: Caller) -> Answered | idempotency.Unanswered | None:
    async with runtime.database.as_partner(caller.scope.partner_id) as connection:
        before = await idempotency.earlier(connection, caller)
        if before is not None:
            return before
        late = await refunds.by_key(connection, caller.scope, caller.key) if caller.key else None
    if late is None:
        return None
    body = representation.refund_body(late, places=runtime.places(late.currency))
    return Answered(status=201, body=representation.encode(dict(body)))


def _standing(runtime: Runtime, snapshot: Snapshot) -> Answered:
    """The follow-up as it stands: its lasting answer once it is over, 202 before. Raises `Refused`."""
    status, body = steps.lasting_answer(runtime, snapshot)
    attempt = snapshot.attempt
    if attempt.state in states.LIVE_ATTEMPTS:
        return Answered(status=202, body=body, location=_location(snapshot), retry_after_seconds=5)
    settled = snapshot.transaction.status not in states.CANCELLABLE
    if attempt.state is AttemptState.DECLINED and attempt.refund_id is None and not settled:
        raise Refused(snapshot)
    return Answered(status=status, body=body)


def _location(snapshot: Snapshot) -> str:
    if snapshot.refund is not None:
        return f"/v1/refunds/{ids.encode('rfd', snapshot.refund.id)}"
    return f"/v1/transactions/{ids.encode('txn', snapshot.transaction.id)}"


def _opened(
    runtime: Runtime,
    reserved: Transaction,
    attempts: tuple[Attempt, ...],
    attempt: Attempt,
    event_type: TransactionEventType,
    asked: Refund | None = None,
) -> tuple[Snapshot, Change]:
    snapshot = Snapshot(transaction=reserved, attempts=(*attempts, attempt), attempt_id=attempt.id, refund=asked)
    line = Happened(
        event_type=event_type,
        status=reserved.status,
        data={"attempt": ids.encode("att", attempt.id), "amount": str(attempt.amount), "provider": attempt.provider},
        published=("refund.created",) if asked else (),
    )
    return snapshot, changes.opened(snapshot, (line,), at=runtime.clock())


def _refund(
    caller: Caller, command: commands.Refund, transaction: Transaction, refund_id: UUID, attempt: Attempt
) -> Refund:
    return Refund(
        partner_id=transaction.partner_id,
        id=refund_id,
        transaction_id=transaction.id,
        livemode=transaction.livemode,
        idempotency_key=caller.key,
        amount=attempt.amount,
        currency=transaction.currency,
        reason=command.reason,
        note=command.note,
        status=RefundStatus.PENDING,
        created_at=attempt.created_at,
        updated_at=attempt.created_at,
    )


def _demand(transaction: Transaction, allowed: frozenset[states.S], done: str) -> None:
    if transaction.status not in allowed:
        raise states.InvalidState(transaction.status, f"a transaction that is {transaction.status} cannot be {done}")


def _approved(command: commands.Refund, amount: Decimal, attempts: tuple[Attempt, ...]) -> None:
    """Under the transaction's lock, so that neither several small refunds nor parallel ones go round the limit."""
    before = sum((one.amount for one in attempts if _given_alone(one)), Decimal(0))
    if command.alone_up_to is not None and before + amount > command.alone_up_to:
        raise NeedsApproval(before)


def _given_alone(attempt: Attempt) -> bool:
    refund = attempt.operation is AttemptOperation.REFUND and (attempt.idempotency_key or "").startswith(commands.ALONE)
    return refund and attempt.state in states.LIVE_ATTEMPTS | {AttemptState.SUCCEEDED}


def _exceeded(runtime: Runtime, code: str, available: Decimal, transaction: Transaction) -> AmountExceeded:
    places = runtime.places(transaction.currency)
    return AmountExceeded(code, available, currency=transaction.currency, places=places)


def _nothing_open(transaction: Transaction, attempts: tuple[Attempt, ...]) -> None:
    """One capture or cancel at a time: while one has no outcome, another could contradict it."""
    open_ones = {AttemptOperation.CAPTURE, AttemptOperation.CANCEL}
    if any(one.operation in open_ones and one.state in states.LIVE_ATTEMPTS for one in attempts):
        raise states.InvalidState(transaction.status, "an earlier capture or cancel has no outcome yet")


def _provider_id(transaction: Transaction) -> str:
    if transaction.provider_transaction_id is None:
        raise states.InvalidState(transaction.status, "the provider has not told its id of this payment yet")
    return transaction.provider_transaction_id
