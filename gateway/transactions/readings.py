"""What a notification says to our books: which attempt it speaks of, whether it is news, what it changes. Pure."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from db.records import Attempt, AttemptOperation, AttemptState, RefundStatus
from gateway.transactions import states, unasked
from gateway.transactions.changes import Change, Snapshot
from providers.contract import Approved, AttemptTold, Declined


def subject(snapshot: Snapshot, told: AttemptTold, attempt_id: UUID) -> Attempt | None:
    """The attempt that the notification speaks of: named, or the open one of that operation, or the last of it."""
    of_operation = [attempt for attempt in snapshot.attempts if attempt.operation == told.operation.value]
    # What gives a late success back is a refund or a cancel to its PSP.
    givers = [attempt for attempt in snapshot.attempts if attempt.operation is AttemptOperation.COMPENSATE]
    meant = [*of_operation, *givers] if told.operation.value in {"refund", "cancel"} else of_operation
    named = [attempt for attempt in meant if attempt.id == attempt_id and not _ended_as_another(attempt, told)]
    by_id = [attempt for attempt in meant if told.provider_id and attempt.provider_id == told.provider_id]
    live = [attempt for attempt in of_operation if attempt.state in states.LIVE_ATTEMPTS]
    if told.operation.value == AttemptOperation.REFUND:
        # Several refunds may be open: only the one that is named may be concluded.
        return next(iter([*named, *by_id]), None)
    return next(iter([*named, *by_id, *live, *reversed(of_operation)]), None)


def _ended_as_another(attempt: Attempt, told: AttemptTold) -> bool:
    """A refund that is over, under another id of the PSP's: what is told is a second one, with money of its own."""
    ended = told.operation.value == AttemptOperation.REFUND and attempt.finished_at is not None
    return ended and None not in {attempt.provider_id, told.provider_id} and attempt.provider_id != told.provider_id


def known(snapshot: Snapshot, told: AttemptTold, subject: Attempt | None) -> bool:
    """Whether our books already say what the notification says, or have moved on from it."""
    transaction = snapshot.transaction
    match told.outcome:
        case Approved():
            if subject is not None:
                booked = {AttemptState.SUCCEEDED, AttemptState.CANCELLED_CONFIRMED}
                return subject.state in booked | states.GIVEN_BACK
            # What is told of the end of a captured payment is about the part that was not captured.
            taken, ended = transaction.amount_captured > 0, transaction.status in {"cancelled", "failed"}
            return {"capture": taken, "cancel": taken or ended}.get(told.operation.value, False)
        case Declined():
            # A late word of an earlier failure moves nothing back; of what we booked as done it must be looked at.
            match told.operation.value:
                case "capture":
                    return transaction.amount_captured == 0
                case "refund" if subject is not None:
                    refund = snapshot.refund
                    given = subject.state is AttemptState.SUCCEEDED
                    return not given if refund is None else refund.status is not RefundStatus.COMPLETED
                case _:
                    return True
        case _:
            return True


def differs(snapshot: Snapshot, told: AttemptTold) -> bool:
    wrong_amount = told.amount is not None and told.amount != snapshot.attempt.amount
    wrong_currency = told.currency is not None and told.currency != snapshot.transaction.currency
    return wrong_amount or wrong_currency


def change(snapshot: Snapshot, told: AttemptTold, subject: Attempt | None, at: datetime) -> Change | None:
    """What the PSP's own doing changes; None where our books have no place for it."""
    match told.operation.value, told.outcome:
        case "cancel", Approved():
            return unasked.expired(snapshot, at=at)
        case "refund", Declined() if subject is not None:
            return unasked.refund_returned(snapshot, at=at)
        case "capture", Declined():
            return unasked.capture_returned(snapshot, at=at)
        case _:
            return None


def nameless_refund(snapshot: Snapshot) -> bool:
    """A refund that is under way and whose id at the PSP is not known: the notification may be about it."""
    refunds = (one for one in snapshot.attempts if one.operation is AttemptOperation.REFUND)
    return any(one.state in states.LIVE_ATTEMPTS and one.provider_id is None for one in refunds)


def open_charge(snapshot: Snapshot) -> Attempt | None:
    charges = (one for one in snapshot.attempts if one.operation is AttemptOperation.CHARGE)
    return next((one for one in charges if one.state in states.LIVE_ATTEMPTS), None)
