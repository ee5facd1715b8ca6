"""Charging: decide, write it down, send it, write down what came of it.

    key claimed, transaction and attempt stored (tx A) ─► PSP ─► outcome recorded (tx B) ─► answer
                                                   ▲                │
                                                   └── failed over ─┘  only where it is certain that no money moved

A process that dies anywhere after tx A leaves an attempt that the next call with the key, or recovery, concludes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from db import ids, transactions
from db.database import CommitUncertain, Connection, Unavailable
from db.records import Attempt, Transaction, TransactionEventType, TransactionStatus
from gateway import telemetry
from gateway.routing import breaker, decisions
from gateway.routing.decisions import Account, Exclusion, NoEligibleProvider
from gateway.routing.rules import Payment
from gateway.routing.switchboard import Routes
from gateway.runtime import Runtime
from gateway.transactions import changes, idempotency, journal, recovery, sending, steps
from gateway.transactions.changes import Happened, Snapshot
from gateway.transactions.commands import Caller, Charge
from gateway.transactions.idempotency import Answered
from providers import contract
from providers.contract import Outcome, Prepared, Provider


class ProviderUnavailable(Exception):
    """No PSP could be reached: nothing was sent, the key is free again. The failed transaction tells of the try."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__("the payment service provider could not be reached")
        self.snapshot = snapshot


@dataclass(frozen=True, slots=True)
class _Try:
    """One account that can take the charge, with the request it would get."""

    account: Account
    adapter: Provider
    attempt_id: UUID
    request: Prepared


async def charge(runtime: Runtime, caller: Caller, command: Charge) -> Answered:
    """Charge, or tell what the same request led to before.

    Raises `decisions.NoEligibleProvider`, `idempotency.KeyReused`, `idempotency.InProgress`, `ProviderUnavailable`,
    `db.database.Unavailable`.
    """
    try:
        plan = await _planned(runtime, caller, command)
    except NoEligibleProvider:
        # A repeat is answered as before, even where the account it went to is gone since.
        if (again := await answered_before(runtime, caller)) is not None:
            return again
        raise
    snapshot = _opened(runtime, caller, command, plan)
    lines = _opening_lines(plan.first.account, snapshot)
    try:
        begun = await _begin(runtime, caller, snapshot, changes.opened(snapshot, lines, at=runtime.clock()))
    except journal.KeyTaken:
        again = await answered_before(runtime, caller)
        if again is None:  # who held the key has just given it back: nothing was sent
            raise idempotency.InProgress(1) from None
        return again
    runtime.published(1)
    return await _pursued(runtime, caller, plan, begun)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """`others`: where the charge may go after `first`, made ready one by one."""

    payment: Payment
    first: _Try
    others: Iterator[_Try]
    routing: Mapping[str, Any]
    """The decision, as it is stamped on the first attempt."""


async def _planned(runtime: Runtime, caller: Caller, command: Charge) -> _Plan:
    """Raises `NoEligibleProvider`."""
    routes = await runtime.switchboard.routes(caller.scope)
    payment = _payment(command, at=runtime.clock())
    able, excluded = decisions.eligible(payment, runtime.switchboard.candidates(routes, command.method))
    decision = decisions.decide(payment, able, routes.live, routes.knowledge)
    others = _tries(runtime, caller, command, _Places(routes, decision.order, excluded))
    first = next(others, None)
    if first is None:
        raise NoEligibleProvider(tuple(excluded))
    told = decisions.explained(decision, excluded)
    if routes.shadow is not None:
        shadow = decisions.decide(payment, able, routes.shadow, routes.knowledge)
        told["shadow"] = decisions.compared(shadow, decision)
    return _Plan(payment=payment, first=first, others=others, routing=told)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where a charge may go, in order. An account that turns out to be unable joins `excluded`."""

    routes: Routes
    order: tuple[Account, ...]
    excluded: list[Exclusion]


def _tries(runtime: Runtime, caller: Caller, command: Charge, places: _Places) -> Iterator[_Try]:
    for account in places.order:
        adapter = runtime.accounts.able(places.routes.accounts[account.id])
        if adapter is None:
            places.excluded.append(Exclusion(account, "cannot be opened"))
            continue
        attempt_id = ids.new()
        reference = runtime.reference(caller.scope.partner_id, attempt_id)
        try:
            request = adapter.prepare(_ask(runtime, command, account.provider, reference))
        except contract.Unsupported as unsupported:
            places.excluded.append(Exclusion(account, f"{unsupported.field}: {unsupported.message}"))
            continue
        yield _Try(account, adapter, attempt_id, request)


def _opened(runtime: Runtime, caller: Caller, command: Charge, plan: _Plan) -> Snapshot:
    """The transaction and its first attempt as they will be stored."""
    transaction = _transaction(caller, command, plan, runtime.clock())
    attempt = _attempt(runtime, caller, transaction, plan.first, number=1)
    attempt = replace(attempt, routing=plan.routing)
    return Snapshot(transaction=transaction, attempts=(attempt,), attempt_id=attempt.id)


def _attempt(runtime: Runtime, caller: Caller, transaction: Transaction, one: _Try, *, number: int) -> Attempt:
    there = replace(transaction, provider=one.account.provider, provider_account_id=one.account.id)
    return journal.attempt(runtime, caller, there, one.request, attempt_id=one.attempt_id, number=number)


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


async def _pursued(runtime: Runtime, caller: Caller, plan: _Plan, begun: Snapshot) -> Answered:
    """Send, and go on to the next account as long as it is certain that no money moved and the request has time."""
    clock = asyncio.get_running_loop().time
    until = clock() + sending.TOTAL_SECONDS
    chosen: _Try | None = plan.first
    while True:
        assert chosen is not None
        outcome = await _exchanged(runtime, plan.payment, chosen, begun, within=until - clock())
        chosen = None
        if decisions.may_fail_over(outcome) and until - clock() >= sending.SECOND_TRY_SECONDS:
            chosen = _next(plan, begun)
        if chosen is None:
            return await _concluded(runtime, caller, begun, outcome)
        following = _attempt(runtime, caller, begun.transaction, chosen, number=len(begun.attempts) + 1)
        following = replace(following, routing=_passed_on(plan, begun.attempt))
        try:
            recorded = await journal.fail_over(runtime, caller, begun, outcome, following)
        except (Unavailable, CommitUncertain):
            return standing(runtime, begun)
        if not recorded.written:  # somebody else has concluded it meanwhile
            return await _concluded(runtime, caller, begun, outcome)
        telemetry.failovers.labels(begun.attempt.provider, following.provider).inc()
        begun = recorded.snapshot


async def _exchanged(runtime: Runtime, payment: Payment, chosen: _Try, begun: Snapshot, *, within: float) -> Outcome:
    """Send, and let the switchboard know how that went."""
    clock = asyncio.get_running_loop().time
    began = clock()
    runtime.switchboard.sent(chosen.account, payment.method)
    outcome = await sending.send(chosen.adapter, begun.attempt, within=within)
    outage = breaker.is_outage(outcome, clock() - began)
    runtime.switchboard.saw(chosen.account.id, payment.method, outage=outage)
    return outcome


def _next(plan: _Plan, begun: Snapshot) -> _Try | None:
    """A token belongs to one account: where it was tried, no other account of that provider knows it."""
    if len(begun.attempts) == decisions.ATTEMPTS_MAX:
        return None
    spent = {attempt.provider for attempt in begun.attempts} & plan.payment.tokens
    return next((one for one in plan.others if one.account.provider not in spent), None)


def _passed_on(plan: _Plan, before: Attempt) -> dict[str, Any]:
    because = {"because": "failover", "after": ids.encode("att", before.id)}
    return because | {name: plan.routing[name] for name in ("rule", "version")}


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


async def answered_before(runtime: Runtime, caller: Caller) -> Answered | None:
    """What the caller's key led to before; None where it is free."""
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


def _payment(command: Charge, *, at: datetime) -> Payment:
    return Payment(
        id=ids.new(),
        amount=command.amount,
        currency=command.currency,
        method=command.method,
        brand=command.brand,
        country=command.country,
        business_unit=command.business_unit,
        metadata=command.metadata,
        tokens=frozenset(command.tokens),
        provider=command.provider,
        at=at,
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


def _transaction(caller: Caller, command: Charge, plan: _Plan, at: datetime) -> Transaction:
    return Transaction(
        partner_id=caller.scope.partner_id,
        id=plan.payment.id,
        livemode=caller.scope.livemode,
        version=0,
        published=0,
        idempotency_key=caller.key,
        status=TransactionStatus.PROCESSING,
        amount=command.amount,
        currency=command.currency,
        capture=command.capture,
        payment_method=command.method,
        stored_payment_method_id=command.stored_payment_method_id,
        card_brand=command.brand,
        card_country=command.country,
        provider=plan.first.account.provider,
        provider_account_id=plan.first.account.id,
        customer_id=command.customer.id,
        customer_email=command.customer.email,
        customer_name=command.customer.name,
        customer_phone=command.customer.phone,
        business_unit=command.business_unit,
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
