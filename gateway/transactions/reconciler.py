"""The reconciler: a PSP's own list of payments held against our attempts, both ways.

theirs → ours   what we wait for is asked about; what we call over is given back; what we do not know is found
ours → theirs   what we booked and the PSP neither lists nor confirms is found

A PSP that cannot be asked (Adyen) says in its list all that it says: what waits there for a notification is concluded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from db import account_readings, findings, ids, provider_accounts, reconciliation, transactions
from db.account_readings import Due, Reading
from db.database import CommitUncertain, Unavailable
from db.provider_accounts import ProviderAccount
from db.records import Attempt, AttemptOperation, AttemptState, CaptureMode, RefundStatus
from gateway import telemetry
from gateway.runtime import Runtime
from gateway.transactions import compensation, journal, recovery, sending, states
from gateway.transactions.changes import Snapshot
from providers import PROVIDERS
from providers.contract import (
    Absent,
    Approved,
    CannotList,
    Declined,
    DeclineKind,
    Operation,
    Outcome,
    Provider,
    Seen,
    SeenState,
    Unknown,
    ruled_out,
)

SOURCE = "reconciler"
AGAIN_SECONDS = 3_600.0
WINDOW_MAX = timedelta(hours=24)
SETTLED = timedelta(minutes=15)
"""After this an attempt has its outcome or is being looked into; and the PSP's clock may differ from ours."""
SKEW = timedelta(minutes=5)
BOOKED_LATER = timedelta(hours=24)
"""How long a PSP that cannot be asked may take to write down what it has confirmed."""
REFUND_FAILED = Declined(
    code="refund_failed",
    kind=DeclineKind.HARD,
    may_fail_over=False,
    provider_code=None,
    message="The money could not be returned.",
)
_TAKEN = frozenset({SeenState.MOVED, SeenState.AUTHORIZED})
READING_SECONDS = 600.0
ACCOUNTS_MAX = 5


async def reconcile_due(runtime: Runtime) -> int:
    """One round of the worker; the number of accounts held against our books."""
    lag = {
        name: seconds
        for name, adapter in PROVIDERS.items()
        if (seconds := adapter.capabilities.payments_listed_after_seconds) is not None
    }
    async with runtime.database.as_system() as connection:
        await account_readings.begin(connection, list(lag))
        due = await account_readings.take_due(
            connection, Reading.PAYMENTS, list(lag), again_seconds=AGAIN_SECONDS, limit=ACCOUNTS_MAX
        )
    for one in due:
        until = min(runtime.clock() - SETTLED - timedelta(seconds=lag[one.provider]), one.until + WINDOW_MAX)
        shortest = timedelta(seconds=PROVIDERS[one.provider].capabilities.payments_listed_every_seconds)
        if until - one.until >= max(shortest, timedelta(seconds=1)):
            await _logged(runtime, one, until)
    return len(due)


async def _logged(runtime: Runtime, due: Due, until: datetime) -> None:
    try:
        async with asyncio.timeout(READING_SECONDS):
            await reconcile(runtime, due.account_id, since=due.until, until=until)
    except (CannotList, TimeoutError) as error:  # the next round begins where this one did
        telemetry.log("payments not listed", provider=due.provider, account_id=due.account_id, error=error)
        return
    except (Unavailable, CommitUncertain):
        raise
    except Exception as error:  # noqa: BLE001 - one account must not keep the others from being reconciled
        telemetry.log("account not reconciled", level=logging.ERROR, account_id=due.account_id, error=error)
        return
    async with runtime.database.as_system() as connection:
        await account_readings.read_until(connection, Reading.PAYMENTS, due.account_id, until)


async def reconcile(runtime: Runtime, account_id: UUID, *, since: datetime, until: datetime) -> int:
    """Hold a window of the PSP's list against our attempts; the number of payments listed. Raises `CannotList`."""
    async with runtime.database.as_system() as connection:
        row = await provider_accounts.find(connection, account_id)
    assert row is not None
    adapter = runtime.accounts.opened(row)
    listed = set()
    later = SKEW if adapter.capabilities.readable else SKEW + BOOKED_LATER
    async for seen in adapter.payments(since=since - SKEW, until=until + later):
        listed.add(seen.reference)
        await _theirs(runtime, row, adapter, seen)
    async with runtime.database.as_system() as connection:
        booked = await reconciliation.booked(connection, account_id, since=since, until=until)
    for partner_id, transaction_id, attempt_id in booked:
        if runtime.reference(partner_id, attempt_id) not in listed:
            await _ours(runtime, adapter, partner_id, transaction_id, attempt_id)
    return len(listed)


async def _theirs(runtime: Runtime, row: ProviderAccount, adapter: Provider, seen: Seen) -> None:
    """One payment or refund of the PSP's list. What carries no reference of ours was not made through this gateway."""
    named = runtime.parse_reference(seen.reference)
    if named is None:
        return
    partner_id, attempt_id = named
    async with runtime.database.as_partner(partner_id) as connection:
        attempt = await transactions.attempt(connection, partner_id, attempt_id)
        if attempt is not None and attempt.account_id == row.id:
            snapshot = await journal.load(connection, partner_id, attempt.transaction_id, attempt_id)
        else:
            snapshot = None
    if snapshot is not None:
        await _compare(runtime, adapter, snapshot, seen)
    elif seen.state in _TAKEN:
        await _found(runtime, "unknown_payment", seen.provider_id, row.id, None, _data(seen))


async def _compare(runtime: Runtime, adapter: Provider, snapshot: Snapshot, seen: Seen) -> None:
    readable = adapter.capabilities.readable
    if _open(snapshot.attempt):
        attempt = snapshot.attempt
        snapshot = await recovery.resolve(runtime, attempt.partner_id, attempt.transaction_id, attempt.id)
        if readable or not _open(snapshot.attempt):
            return
    if not readable and (waiting := _waiting(snapshot, seen)) is not None:
        await _believe(runtime, waiting, seen)
    elif seen.state in _TAKEN and snapshot.attempt.state in compensation.OVER and seen.kind is Operation.CHARGE:
        # A hold is given back only where the PSP can be asked: its list tells how it began, and may not how it ended.
        if readable or seen.state is SeenState.MOVED:
            await _give_back(runtime, snapshot, seen)
    elif (kind := _difference(snapshot, seen)) is not None:
        await _differs(runtime, snapshot, kind, _data(seen))


async def _ours(runtime: Runtime, adapter: Provider, partner_id: UUID, transaction_id: UUID, attempt_id: UUID) -> None:
    """What the list does not hold: the PSP is asked about it by itself before it is called missing."""
    async with runtime.database.as_partner(partner_id) as connection:
        snapshot = await journal.load(connection, partner_id, transaction_id, attempt_id)
    if not _is_booked(snapshot):  # a mere hold, or what came back since
        return
    answer = await sending.look_up(adapter, snapshot.attempt)
    if isinstance(answer, Unknown) and not adapter.capabilities.readable:
        answer = Absent()  # its lists are all it says
    if not isinstance(answer, Approved | Unknown):
        await _differs(runtime, snapshot, "missing_at_provider", {"provider_id": snapshot.attempt.provider_id})


async def _believe(runtime: Runtime, snapshot: Snapshot, seen: Seen) -> None:
    """Of a PSP that cannot be asked its list is the answer, where no notification of it ever came."""
    attempt, outcome = snapshot.attempt, _told(snapshot, seen)
    if outcome is None:
        return
    expected = (attempt.amount, snapshot.transaction.currency)
    if seen.state in _TAKEN and (seen.amount, seen.currency) != expected:
        await _differs(runtime, snapshot, "amount_differs", _data(seen))
        return
    await journal.record(runtime, snapshot, outcome, actor="paygate:reconciler")


def _told(snapshot: Snapshot, seen: Seen) -> Outcome | None:
    match seen.state:
        case SeenState.MOVED | SeenState.AUTHORIZED:
            at_once = snapshot.transaction.capture is CaptureMode.AUTOMATIC
            is_charge = snapshot.attempt.operation is AttemptOperation.CHARGE
            return Approved(provider_id=seen.provider_id, captured=is_charge and at_once)
        case SeenState.ENDED if snapshot.attempt.operation is AttemptOperation.CHARGE:
            return ruled_out(seen.provider_id)
        case SeenState.ENDED:
            return REFUND_FAILED
        case _:
            return None


def _waiting(snapshot: Snapshot, seen: Seen) -> Snapshot | None:
    """Seen from the attempt without an outcome that this tells of: its own, or a capture, which lists do not name."""
    if _open(snapshot.attempt):
        return snapshot
    captures = (one for one in snapshot.attempts if one.operation is AttemptOperation.CAPTURE and _open(one))
    capture = next(captures, None) if seen.state is SeenState.MOVED and seen.kind is Operation.CHARGE else None
    return None if capture is None else replace(snapshot, attempt_id=capture.id, refund=None)


def _open(attempt: Attempt) -> bool:
    return attempt.state in states.LIVE_ATTEMPTS


def _difference(snapshot: Snapshot, seen: Seen) -> str | None:
    """What the PSP says otherwise than our books, of an attempt whose outcome both know."""
    transaction, attempt = snapshot.transaction, snapshot.attempt
    if attempt.state in states.GIVEN_BACK:
        return None
    expected = transaction.amount_captured if attempt.operation is AttemptOperation.CHARGE else attempt.amount
    taken = _is_booked(snapshot)
    if seen.state is SeenState.MOVED and not taken and transaction.capture_pending == 0:
        return "moved_but_not_booked"
    if seen.state is SeenState.ENDED and taken:
        return "booked_but_not_moved"
    differs = seen.currency != transaction.currency or (seen.state is SeenState.MOVED and seen.amount != expected)
    return "amount_differs" if taken and differs else None


def _is_booked(snapshot: Snapshot) -> bool:
    """Whether our books say that money moved for the attempt, and did not come back since."""
    if snapshot.attempt.state is not AttemptState.SUCCEEDED:
        return False
    if snapshot.attempt.operation is AttemptOperation.CHARGE:
        return snapshot.transaction.amount_captured > 0
    return snapshot.refund is None or snapshot.refund.status is RefundStatus.COMPLETED


async def _give_back(runtime: Runtime, snapshot: Snapshot, seen: Seen) -> None:
    told = Approved(provider_id=seen.provider_transaction_id or "", captured=seen.state is SeenState.MOVED)
    answer = await compensation.confirmed(runtime, snapshot, told)
    if isinstance(answer, Approved):
        attempt = snapshot.attempt
        await compensation.compensate(runtime, attempt.partner_id, attempt.transaction_id, attempt.id, answer)


async def _differs(runtime: Runtime, snapshot: Snapshot, kind: str, data: Mapping[str, object]) -> None:
    """A review of the transaction, and then the finding that keeps it from being asked for again."""
    attempt = snapshot.attempt
    subject = ids.encode("att", attempt.id)
    async with runtime.database.as_system() as connection:
        known = await findings.is_open(connection, kind, subject)
    if not known:
        reason = {"reason": kind, "attempt": subject}
        actor = "paygate:reconciler"
        await journal.try_to_flag(runtime, attempt.partner_id, attempt.transaction_id, reason, actor=actor)
    await _found(runtime, kind, subject, attempt.account_id, attempt.partner_id, data)


async def _found(
    runtime: Runtime, kind: str, subject: str, account_id: UUID, partner_id: UUID | None, data: Mapping[str, object]
) -> None:
    async with runtime.database.as_system() as connection:
        new = await findings.report(
            connection,
            source=SOURCE,
            kind=kind,
            subject=subject,
            partner_id=partner_id,
            account_id=account_id,
            data=data,
        )
    if new:
        telemetry.log("reconciliation finding", level=logging.ERROR, reason=kind, account_id=account_id)


def _data(seen: Seen) -> Mapping[str, object]:
    amounts: dict[str, Decimal | None] = {"amount": seen.amount, "refunded": seen.refunded}
    return {
        "reference": seen.reference,
        "provider_id": seen.provider_id,
        "state": seen.state.value,
        "currency": seen.currency,
    } | {name: str(value) for name, value in amounts.items() if value is not None}
