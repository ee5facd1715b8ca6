"""Charging: plan, write it down, send it once, write down what came of it.

    key claimed, transaction and attempt stored (tx A) ─► PSP ─► outcome recorded (tx B) ─► answer

A process that dies anywhere after tx A leaves an attempt that the next call with the key, or recovery, concludes.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import asyncpg

from db import ids, transactions
from db.database import CommitUncertain, Connection, Unavailable
from db.records import Transaction, TransactionEventType, TransactionStatus
from gateway.runtime import Account, Runtime
from gateway.transactions import changes, idempotency, journal, recovery, routing, sending, steps
from gateway.transactions.changes import Happened, Snapshot
from gateway.transactions.commands import Caller, Charge
from gateway.transactions.idempotency import Answered
from providers import contract


class ProviderUnavailable(Exception):
    """No PSP could be reached: nothing was sent, the key is free again. The failed transaction tells of the try."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__("the payment service provider could not be reached")
        self.snapshot = snapshot


async def charge(runtime: Runtime, caller: Caller, command: Charge) -> Answered:
    """Charge, or tell what the same request led to before.

    Raises `routing.NoEligibleProvider`, `idempotency.KeyReused`, `idempotency.InProgress`, `ProviderUnavailable`,
    `db.database.Unavailable`.
    """
    try:
        snapshot, account = await _opened(runtime, caller, command)
    except routing.NoEligibleProvider:
        # A repeat is answered as before, even where the account it went to is gone since.
        if (again := await _answered_before(runtime, caller)) is not None:
            return again
        raise
    at = runtime.clock()
    lines = _opening_lines(account, snapshot)
    try:
        begun = await _begin(runtime, caller, snapshot, changes.opened(snapshot, lines, at=at))
    except journal.KeyTaken:
        again = await _answered_before(runtime, caller)
        if again is None:  # who held the key has just given it back: nothing was sent
            raise idempotency.InProgress(1) from None
        return again
    runtime.published(1)
    outcome = await sending.send(account.adapter, begun.attempt)
    return await _concluded(runtime, caller, begun, outcome)


def standing(runtime: Runtime, snapshot: Snapshot, body: str | None = None) -> Answered:
    """The transaction as it stands: 201 once its outcome is known, else 202 and when to ask again.

    `body`: its text, where it is at hand.
    """
    transaction = snapshot.transaction
    if body is None:
        body = steps.transaction_text(runtime, snapshot)
    if transaction.status is not TransactionStatus.PROCESSING:
        return Answered(status=201, body=body)
    location = f"/v1/transactions/{ids.encode('txn', transaction.id)}"
    return Answered(status=202, body=body, location=location, retry_after_seconds=5)


async def _opened(runtime: Runtime, caller: Caller, command: Charge) -> tuple[Snapshot, Account]:
    """The transaction and its first attempt as they will be stored. Raises `routing.NoEligibleProvider`."""
    accounts = {account.id: account for account in await runtime.accounts.open_to(caller.scope)}
    plan = routing.plan(command, [_candidate(account) for account in accounts.values()])
    attempt_id, at = ids.new(), runtime.clock()
    exclusions = list(plan.exclusions)
    for candidate in plan.order:
        account = accounts[candidate.account_id]
        reference = runtime.reference(caller.scope.partner_id, attempt_id)
        try:
            prepared = account.adapter.prepare(_ask(runtime, command, candidate.provider, reference))
        except contract.Unsupported as unsupported:
            reason = f"{unsupported.field}: {unsupported.message}"
            exclusions.append(routing.Exclusion(account_id=account.id, provider=account.provider, reason=reason))
            continue
        transaction = _transaction(caller, command, account, at)
        decided = routing.Plan(order=plan.order, exclusions=tuple(exclusions))
        attempt = journal.attempt(runtime, caller, transaction, prepared, attempt_id=attempt_id, number=1)
        attempt = replace(attempt, routing=decided.explained())
        return Snapshot(transaction=transaction, attempts=(attempt,), attempt_id=attempt_id), account
    raise routing.NoEligibleProvider(tuple(exclusions))


async def _begin(runtime: Runtime, caller: Caller, snapshot: Snapshot, change: changes.Change) -> Snapshot:
    """Tx A, in one round trip."""
    try:
        async with runtime.database.statement() as connection:
            return await journal.begin(runtime, connection, caller, snapshot, change)
    except asyncpg.UniqueViolationError:
        # The key's answer was forgotten after its time, but the transaction still remembers the key.
        raise journal.KeyTaken from None
    except CommitUncertain:
        if await journal.begun(runtime, caller, snapshot.attempt_id):
            return snapshot.after(change)
        raise


async def _concluded(runtime: Runtime, caller: Caller, begun: Snapshot, outcome: contract.Outcome) -> Answered:
    """Tx B. Where the database stays away, the answer is what is certain: it was sent and will be settled."""
    try:
        recorded = await journal.record(runtime, begun, outcome, actor=caller.actor)
    except (Unavailable, CommitUncertain):
        return standing(runtime, begun)
    if recorded.released:
        raise ProviderUnavailable(recorded.snapshot)
    answered = standing(runtime, recorded.snapshot, recorded.answer)
    return answered if recorded.answer is not None else await idempotency.lasting(runtime, caller, answered)


async def _answered_before(runtime: Runtime, caller: Caller) -> Answered | None:
    async with runtime.database.as_partner(caller.scope.partner_id) as connection:
        before = await idempotency.earlier(connection, caller)
        if before is None:
            return await _late_repeat(runtime, connection, caller)
    if isinstance(before, Answered):
        return before
    resolved = standing(runtime, await recovery.resolve_for(runtime, caller, before))
    return await idempotency.lasting(runtime, caller, resolved)


async def _late_repeat(runtime: Runtime, connection: Connection, caller: Caller) -> Answered | None:
    assert caller.key is not None
    transaction = await transactions.by_key(connection, caller.scope, caller.key)
    if transaction is None:
        return None
    attempts = await transactions.attempts(connection, caller.scope.partner_id, [transaction.id])
    snapshot = Snapshot(transaction=transaction, attempts=tuple(attempts), attempt_id=attempts[0].id)
    return standing(runtime, snapshot)


def _candidate(account: Account) -> routing.Candidate:
    return routing.Candidate(
        account_id=account.id,
        provider=account.provider,
        priority=account.priority,
        capabilities=account.adapter.capabilities,
    )


def _ask(runtime: Runtime, command: Charge, provider: str, reference: str) -> contract.Charge:
    return contract.Charge(
        reference=reference,
        amount=command.amount,
        currency=command.currency,
        method=command.method,
        token=command.tokens.get(provider),
        capture=command.capture == "automatic",
        # The customer comes back through us: some PSPs have to be told to go on.
        return_url=runtime.return_url(reference) if command.return_url else None,
        description=command.description,
        statement_descriptor=command.statement_descriptor,
        merchant_reference=command.reference,
    )


def _transaction(caller: Caller, command: Charge, account: Account, at: datetime) -> Transaction:
    return Transaction(
        partner_id=caller.scope.partner_id,
        id=ids.new(),
        livemode=caller.scope.livemode,
        version=0,
        published=0,
        idempotency_key=caller.key,
        status=TransactionStatus.PROCESSING,
        amount=command.amount,
        currency=command.currency,
        capture=command.capture,
        payment_method=command.method,
        provider=account.provider,
        provider_account_id=account.id,
        customer_id=command.customer.id,
        customer_email=command.customer.email,
        customer_name=command.customer.name,
        customer_phone=command.customer.phone,
        reference=command.reference,
        description=command.description,
        statement_descriptor=command.statement_descriptor,
        metadata=command.metadata,
        return_url=command.return_url,
        created_at=at,
        updated_at=at,
    )


def _opening_lines(account: Account, snapshot: Snapshot) -> tuple[Happened, ...]:
    attempt = {"attempt": ids.encode("att", snapshot.attempt_id), "provider": account.provider}
    return (
        Happened(
            event_type=TransactionEventType.CREATED,
            status=TransactionStatus.PENDING,
            data={},
            published=("transaction.created",),
        ),
        Happened(event_type=TransactionEventType.PAYMENT_INITIATED, status=TransactionStatus.PROCESSING, data=attempt),
    )
