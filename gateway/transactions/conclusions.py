"""What an attempt's outcome means for its transaction: the branches of a life, as pure functions.

`concluded` takes what was learned, whichever way it was learned; `contradicted` what our state does not allow.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, assert_never

from db import ids
from db.records import (
    Attempt,
    AttemptOperation,
    AttemptState,
    Failure,
    Refund,
    RefundStatus,
    ReviewReason,
    Transaction,
    TransactionEventType,
    TransactionStatus,
)
from gateway.transactions import changes, failures, postings, states
from gateway.transactions.changes import Change, Happened, Snapshot
from providers.contract import (
    RULED_OUT,
    Absent,
    ActionRequired,
    Approved,
    Declined,
    NotSent,
    Outcome,
    Pending,
    Rejected,
    Unknown,
)

E = TransactionEventType
S = TransactionStatus

ABSENT = failures.ABSENT_CODE
_ENDED_BY = {RULED_OUT: AttemptState.CANCELLED_CONFIRMED, ABSENT: AttemptState.ABSENT_CONFIRMED}
"""Refusals that say more than that: the PSP confirmed that it will not take the money, or people that it did not."""


def concluded(snapshot: Snapshot, outcome: Outcome, *, at: datetime) -> Change:
    """What the PSP's answer (or silence) to the attempt changes. Raises `states.InvalidState` for an impossible one."""
    change = _concluded(snapshot, outcome, at)
    ended = {one.id for one in change.attempts if one.finished_at is not None}
    others = (
        max(one.next_check_at, at)
        for one in snapshot.attempts
        if one.id != snapshot.attempt_id and one.id not in ended and one.state in states.LIVE_ATTEMPTS
        if one.next_check_at is not None
    )
    return changes.checked_by(change, min(others, default=None))


def _concluded(snapshot: Snapshot, outcome: Outcome, at: datetime) -> Change:
    transaction, attempt, refund = snapshot.transaction, snapshot.attempt, snapshot.refund
    match attempt.operation:
        case AttemptOperation.CHARGE:
            if isinstance(outcome, Declined) and _is_being_cancelled(snapshot):
                # What ended it may be the cancel itself, which has its own outcome to tell.
                outcome = Pending(provider_id=outcome.provider_id or attempt.provider_id or "", trace=outcome.trace)
            return _charged(snapshot, outcome, at)
        case AttemptOperation.CAPTURE:
            return _captured(transaction, attempt, outcome, at)
        case AttemptOperation.CANCEL:
            return _cancelled(snapshot, outcome, at)
        case AttemptOperation.REFUND:
            assert refund is not None
            return _refunded(transaction, attempt, refund, outcome, at)
        case AttemptOperation.COMPENSATE:
            return _compensated(snapshot, outcome, at)
        case _:
            assert_never(attempt.operation)


def _is_being_cancelled(snapshot: Snapshot) -> bool:
    cancels = (one for one in snapshot.attempts if one.operation is AttemptOperation.CANCEL)
    waits = snapshot.attempt.state is AttemptState.WAITING
    return waits and any(one.state in states.LIVE_ATTEMPTS for one in cancels)


def failed_over(snapshot: Snapshot, outcome: Outcome, following: Attempt, *, at: datetime) -> Change:
    """The charge goes on at another account, because it is certain that it took no money at this one."""
    assert isinstance(outcome, Declined | Rejected | NotSent)
    transaction = snapshot.transaction
    after = replace(
        transaction,
        status=states.advance(transaction.status, S.PROCESSING),
        provider=following.provider,
        provider_account_id=following.account_id,
        provider_transaction_id=None,
    )
    line = changes.line(after, E.PAYMENT_FAILED_OVER, outcome)
    to = {"attempt": ids.encode("att", following.id), "provider": following.provider}
    line = replace(line, data={**line.data, "to": to})
    change = changes.finished(after, snapshot.attempt, _ended_as(outcome), outcome, (line,), at)
    return replace(change, attempts=(*change.attempts, following), final=False)


def contradicted(snapshot: Snapshot, outcome: Outcome, *, at: datetime) -> Change:
    """The PSP told what our state does not allow (money taken of a cancelled payment): a person must look.

    Said once: the attempt stays open, and the next look may find the same again.
    """
    after = changes.in_review(snapshot.transaction, ReviewReason.CONTRADICTION)
    said = snapshot.transaction.needs_review
    lines = () if said else (changes.line(after, E.REVIEW_REQUESTED, outcome, "transaction.needs_review"),)
    return changes.still_open(after, snapshot.attempt, AttemptState.UNKNOWN, outcome, lines, at, refund=snapshot.refund)


def _charged(snapshot: Snapshot, outcome: Outcome, at: datetime) -> Change:
    transaction, attempt = snapshot.transaction, snapshot.attempt
    match outcome:
        case Approved(captured=True):
            after = _identified(transaction, outcome, S.COMPLETED)
            after = replace(after, amount_captured=attempt.amount, processed_at=at)
            entries = postings.captured(attempt.account_id, attempt.amount)
            line = changes.line(after, E.PAYMENT_COMPLETED, outcome, "transaction.completed", entries=entries)
            return changes.finished(after, attempt, AttemptState.SUCCEEDED, outcome, (line,), at)
        case Approved():
            after = replace(_identified(transaction, outcome, S.AUTHORIZED), processed_at=at)
            line = changes.line(after, E.PAYMENT_AUTHORIZED, outcome, "transaction.authorized")
            return changes.finished(after, attempt, AttemptState.SUCCEEDED, outcome, (line,), at)
        case Declined() | Rejected() | NotSent():
            return _charge_failed(snapshot, outcome, at)
        case ActionRequired():
            after = _to(transaction, S.REQUIRES_ACTION)
            after = replace(
                after,
                provider_transaction_id=outcome.provider_id,
                next_action={"type": "redirect_to_url", "url": outcome.url},
            )
            line = changes.line(after, E.PAYMENT_REQUIRES_ACTION, outcome, "transaction.requires_action")
            repeated = transaction.status is S.REQUIRES_ACTION
            change = changes.still_open(after, attempt, AttemptState.WAITING, outcome, () if repeated else (line,), at)
            return replace(change, final=not repeated)
        case Pending() | Unknown() | Absent():
            return _undecided(transaction, attempt, None, outcome, E.PAYMENT_PROCESSING, "transaction.processing", at)
        case _:
            assert_never(outcome)


def _charge_failed(snapshot: Snapshot, outcome: Declined | Rejected | NotSent, at: datetime) -> Change:
    transaction, attempt = snapshot.transaction, snapshot.attempt
    after = _with_failure(_to(transaction, S.FAILED), failures.of_charge(outcome, transaction.payment_method))
    after = replace(after, failed_at=at)
    nothing_sent = all(
        one.state is AttemptState.FAILED_NOT_SENT for one in snapshot.attempts if one.id != attempt.id
    ) and isinstance(outcome, NotSent)
    if nothing_sent:  # the partner may use the key anew; the transaction must not hold it
        after = replace(after, idempotency_key=None)
    if isinstance(outcome, Declined):
        after = _identified(after, outcome, S.FAILED)
    line = changes.line(after, E.PAYMENT_FAILED, outcome, "transaction.failed")
    change = changes.finished(after, attempt, _ended_as(outcome), outcome, (line,), at)
    return replace(change, final=not nothing_sent, release=nothing_sent)


def _ended_as(outcome: Declined | Rejected | NotSent) -> AttemptState:
    if isinstance(outcome, NotSent):
        return AttemptState.FAILED_NOT_SENT
    code = outcome.code if isinstance(outcome, Declined) else None
    return _ENDED_BY.get(code or "", AttemptState.DECLINED)


def _captured(transaction: Transaction, attempt: Attempt, outcome: Outcome, at: datetime) -> Change:
    released = replace(transaction, capture_pending=transaction.capture_pending - attempt.amount)
    match outcome:
        case Approved():
            after = replace(_to(released, S.COMPLETED), amount_captured=attempt.amount, processed_at=at)
            entries = postings.captured(attempt.account_id, attempt.amount)
            line = changes.line(after, E.PAYMENT_COMPLETED, outcome, "transaction.completed", entries=entries)
            return changes.finished(after, attempt, AttemptState.SUCCEEDED, outcome, (line,), at)
        case Declined(code="expired_authorization"):
            after = replace(_to(released, S.FAILED), failed_at=at)
            after = _with_failure(after, failures.expired(outcome))
            line = changes.line(after, E.PAYMENT_FAILED, outcome, "transaction.failed")
            return changes.finished(after, attempt, AttemptState.DECLINED, outcome, (line,), at)
        case Declined() | Rejected():
            line = changes.line(released, E.CAPTURE_FAILED, outcome)
            return changes.finished(released, attempt, AttemptState.DECLINED, outcome, (line,), at, refused=True)
        case NotSent():
            line = changes.line(released, E.CAPTURE_FAILED, outcome)
            change = changes.finished(released, attempt, AttemptState.FAILED_NOT_SENT, outcome, (line,), at)
            return replace(change, final=False, release=True)
        case Pending() | Unknown() | Absent() | ActionRequired():
            return _undecided(transaction, attempt, None, outcome, E.CAPTURE_PROCESSING, None, at)
        case _:
            assert_never(outcome)


def _cancelled(snapshot: Snapshot, outcome: Outcome, at: datetime) -> Change:
    transaction, attempt = snapshot.transaction, snapshot.attempt
    match outcome:
        case Approved():
            after, line = _ended(snapshot, outcome, at)
            change = changes.finished(after, attempt, AttemptState.SUCCEEDED, outcome, (line,), at)
            given_up = tuple(
                replace(other, state=AttemptState.CANCELLED_CONFIRMED, finished_at=at, updated_at=at)
                for other in snapshot.attempts
                if other.operation is AttemptOperation.CHARGE and other.state is AttemptState.WAITING
            )
            return replace(change, attempts=change.attempts + given_up)
        case Declined() | Rejected():
            line = changes.line(transaction, E.CANCEL_FAILED, outcome)
            return changes.finished(transaction, attempt, AttemptState.DECLINED, outcome, (line,), at, refused=True)
        case NotSent():
            line = changes.line(transaction, E.CANCEL_FAILED, outcome)
            change = changes.finished(transaction, attempt, AttemptState.FAILED_NOT_SENT, outcome, (line,), at)
            return replace(change, final=False, release=True)
        case Pending() | Unknown() | Absent() | ActionRequired():
            return _undecided(transaction, attempt, None, outcome, E.CANCEL_PROCESSING, None, at)
        case _:
            assert_never(outcome)


def _ended(snapshot: Snapshot, outcome: Approved, at: datetime) -> tuple[Transaction, Happened]:
    """Cancelled as it was asked; failed where the customer had let the time run out."""
    if (snapshot.attempt.routing or {}).get("because") != "expired":
        after = replace(_to(snapshot.transaction, S.CANCELLED), processed_at=at)
        return after, changes.line(after, E.PAYMENT_CANCELLED, outcome, "transaction.cancelled")
    after = _with_failure(_to(snapshot.transaction, S.FAILED), failures.ACTION_EXPIRED)
    after = replace(after, failed_at=at)
    return after, changes.line(after, E.PAYMENT_FAILED, outcome, "transaction.failed")


def _refunded(transaction: Transaction, attempt: Attempt, refund: Refund, outcome: Outcome, at: datetime) -> Change:
    released = replace(transaction, refund_reserved=transaction.refund_reserved - attempt.amount)
    match outcome:
        case Approved():
            given = released.amount_refunded + attempt.amount
            status = S.REFUNDED if given == released.amount_captured else S.PARTIALLY_REFUNDED
            after = replace(_to(released, status), amount_refunded=given)
            done = replace(
                refund, status=RefundStatus.COMPLETED, provider_refund_id=outcome.provider_id, processed_at=at
            )
            entries = postings.refunded(attempt.account_id, attempt.amount)
            line = changes.line(
                after, E.REFUND_COMPLETED, outcome, "refund.completed", f"transaction.{status}", entries=entries
            )
            return changes.finished(after, attempt, AttemptState.SUCCEEDED, outcome, (line,), at, refund=done)
        case Declined() | Rejected():
            failure = failures.of_refund(outcome)
            failed = replace(refund, status=RefundStatus.FAILED, failed_at=at, **_failure_columns(failure))
            line = changes.line(released, E.REFUND_FAILED, outcome, "refund.failed")
            return changes.finished(released, attempt, AttemptState.DECLINED, outcome, (line,), at, refund=failed)
        case Pending() | Unknown() | Absent() | NotSent() | ActionRequired():
            # A refund is bound to the PSP that holds the money: not sent only means that it is sent later.
            provider_id = getattr(outcome, "provider_id", None)
            waiting = replace(
                refund, status=RefundStatus.PROCESSING, provider_refund_id=provider_id or refund.provider_refund_id
            )
            return _undecided(transaction, attempt, waiting, outcome, E.REFUND_PROCESSING, None, at)
        case _:
            assert_never(outcome)


def _compensated(snapshot: Snapshot, outcome: Outcome, at: datetime) -> Change:
    """A late success was given back, or could not be: then a person must see to it."""
    transaction, attempt = snapshot.transaction, snapshot.attempt
    match outcome:
        case Approved():
            captured = (attempt.routing or {}).get("captured", False)
            entries = postings.late_returned(attempt.account_id, attempt.amount) if captured else ()
            told = changes.line(
                transaction, E.DUPLICATE_COMPENSATED, outcome, "transaction.duplicate_compensated", entries=entries
            )
            change = changes.finished(transaction, attempt, AttemptState.SUCCEEDED, outcome, (told,), at)
            given_back = tuple(
                replace(late, state=AttemptState.COMPENSATED, updated_at=at)
                for late in snapshot.attempts
                if late.id == attempt.compensates
            )
            return replace(change, attempts=change.attempts + given_back)
        case Declined() | Rejected():
            after = changes.in_review(transaction, ReviewReason.COMPENSATION)
            lines = (
                changes.line(after, E.COMPENSATION_FAILED, outcome),
                changes.line(after, E.REVIEW_REQUESTED, outcome, "transaction.needs_review"),
            )
            return changes.finished(after, attempt, AttemptState.DECLINED, outcome, lines, at)
        case Pending() | Unknown() | Absent() | NotSent() | ActionRequired():
            # What is owed is given back as soon as the PSP can be reached.
            return _undecided(transaction, attempt, None, outcome, E.COMPENSATION_PROCESSING, None, at)
        case _:
            assert_never(outcome)


def _undecided(
    transaction: Transaction,
    attempt: Attempt,
    refund: Refund | None,
    outcome: Pending | Unknown | Absent | NotSent | ActionRequired,
    event_type: TransactionEventType,
    published: str | None,
    at: datetime,
) -> Change:
    """Not known yet. History says so once, at the first time; later checks only move the next one further away."""
    # Who waits goes on waiting where a later question told nothing.
    waits = isinstance(outcome, Pending) or attempt.state is AttemptState.WAITING
    state = AttemptState.WAITING if waits else AttemptState.UNKNOWN
    provider_id = getattr(outcome, "provider_id", None)
    after = transaction
    if attempt.operation is AttemptOperation.CHARGE and provider_id is not None:
        after = replace(after, provider_transaction_id=provider_id)
    happened: tuple[Happened, ...] = ()
    if attempt.state is AttemptState.SENDING:
        happened = (changes.line(after, event_type, outcome, *((published,) if published else ())),)
    if (
        at - attempt.created_at >= attempt.review_after
        and not after.needs_review
        and _is_silence(after, attempt, outcome)
    ):
        after = changes.in_review(after, ReviewReason.SILENCE)
        happened = (*happened, changes.line(after, E.REVIEW_REQUESTED, outcome, "transaction.needs_review"))
    return changes.still_open(after, attempt, state, outcome, happened, at, refund=refund)


def _is_silence(transaction: Transaction, attempt: Attempt, outcome: Outcome) -> bool:
    """Not what is known to take its time: a PSP that said so, a customer who is at the PSP's page."""
    at_the_page = attempt.operation is AttemptOperation.CHARGE and transaction.status is S.REQUIRES_ACTION
    return not isinstance(outcome, Pending) and not at_the_page


def _to(transaction: Transaction, status: TransactionStatus) -> Transaction:
    return replace(transaction, status=states.advance(transaction.status, status))


def _identified(transaction: Transaction, outcome: Approved | Declined, status: TransactionStatus) -> Transaction:
    """With what the PSP told of itself: its id and what a receipt may show of the card."""
    card = outcome.card
    return replace(
        transaction,
        status=states.advance(transaction.status, status),
        provider_transaction_id=outcome.provider_id or transaction.provider_transaction_id,
        card_brand=(card and card.brand) or transaction.card_brand,
        card_last4=card.last4 if card else transaction.card_last4,
    )


def _with_failure(transaction: Transaction, failure: Failure) -> Transaction:
    return replace(transaction, **_failure_columns(failure))


def _failure_columns(failure: Failure) -> dict[str, Any]:
    return asdict(failure)
