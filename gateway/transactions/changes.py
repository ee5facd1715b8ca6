"""What an attempt and its outcome change: the branches of a transaction's life, as pure functions.

`opened` begins an attempt (before anything is sent), `concluded` takes what was learned of it. Both return a `Change`,
which the journal writes as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, assert_never
from uuid import UUID

from db.records import (
    Attempt,
    AttemptOperation,
    AttemptState,
    Dispute,
    Failure,
    Refund,
    RefundStatus,
    Transaction,
    TransactionEventType,
    TransactionStatus,
)
from gateway.transactions import failures, outcomes, postings, states
from gateway.transactions.postings import Entry
from providers.contract import (
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

CHECK_SECONDS = (5, 15, 60, 300, 900, 3_600, 10_800, 21_600, 43_200, 86_400)
"""How long after each check an unknown outcome is looked into again; the last wait repeats."""
REVIEW_AFTER = timedelta(hours=22)
"""What a PSP does not tell for this long is for a person too: the last check within a day falls after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """One line of a transaction's history, with the partner events and the ledger posting that go with it."""

    event_type: TransactionEventType
    status: TransactionStatus
    data: Mapping[str, Any]
    published: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The rows after, and what happened; `attempts` begins with the one this is about, if one changes.

    `final`: the partner's key gets its lasting answer; `release`: it is freed.
    """

    transaction: Transaction
    attempts: tuple[Attempt, ...]
    refund: Refund | None = None
    dispute: Dispute | None = None
    happened: tuple[Happened, ...]
    check_in_seconds: float | None = None
    final: bool = False
    release: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A transaction as the journal knows it, seen from one of its attempts."""

    transaction: Transaction
    attempts: tuple[Attempt, ...]
    attempt_id: UUID
    refund: Refund | None = None

    @property
    def attempt(self) -> Attempt:
        return next(attempt for attempt in self.attempts if attempt.id == self.attempt_id)

    def after(self, change: Change) -> Snapshot:
        changed = {attempt.id: attempt for attempt in change.attempts}
        kept = tuple(changed.pop(attempt.id, attempt) for attempt in self.attempts)
        return replace(
            self,
            transaction=change.transaction,
            attempts=(*kept, *changed.values()),
            refund=change.refund or self.refund,
        )


def opened(snapshot: Snapshot, happened: tuple[Happened, ...], *, at: datetime) -> Change:
    """An attempt is about to be sent. The snapshot's transaction and refund already hold what it reserves."""
    return changed(snapshot.transaction, (snapshot.attempt,), snapshot.refund, happened, at)


def contradicted(snapshot: Snapshot, outcome: Outcome, *, at: datetime) -> Change:
    """The PSP told what our state does not allow (money taken of a cancelled payment): a person must look."""
    after = replace(snapshot.transaction, needs_review=True)
    line = _line(after, E.REVIEW_REQUESTED, outcome, "transaction.needs_review")
    return _still_open(after, snapshot.attempt, AttemptState.UNKNOWN, outcome, (line,), at, refund=snapshot.refund)


def concluded(snapshot: Snapshot, outcome: Outcome, *, at: datetime) -> Change:
    """What the PSP's answer (or silence) to the attempt changes. Raises `states.InvalidState` for an impossible one."""
    transaction, attempt, refund = snapshot.transaction, snapshot.attempt, snapshot.refund
    match attempt.operation:
        case AttemptOperation.CHARGE:
            return _charged(transaction, attempt, outcome, at)
        case AttemptOperation.CAPTURE:
            return _captured(transaction, attempt, outcome, at)
        case AttemptOperation.CANCEL:
            return _cancelled(snapshot, outcome, at)
        case AttemptOperation.REFUND:
            assert refund is not None
            return _refunded(transaction, attempt, refund, outcome, at)
        case _:
            assert_never(attempt.operation)


def _charged(transaction: Transaction, attempt: Attempt, outcome: Outcome, at: datetime) -> Change:
    match outcome:
        case Approved(captured=True):
            after = _identified(transaction, outcome, S.COMPLETED)
            after = replace(after, amount_captured=attempt.amount, processed_at=at)
            entries = postings.captured(attempt.account_id, attempt.amount)
            line = _line(after, E.PAYMENT_COMPLETED, outcome, "transaction.completed", entries=entries)
            return _finished(after, attempt, AttemptState.SUCCEEDED, outcome, (line,), at)
        case Approved():
            after = replace(_identified(transaction, outcome, S.AUTHORIZED), processed_at=at)
            line = _line(after, E.PAYMENT_AUTHORIZED, outcome, "transaction.authorized")
            return _finished(after, attempt, AttemptState.SUCCEEDED, outcome, (line,), at)
        case Declined() | Rejected() | NotSent():
            return _charge_failed(transaction, attempt, outcome, at)
        case ActionRequired():
            after = _to(transaction, S.REQUIRES_ACTION)
            after = replace(
                after,
                provider_transaction_id=outcome.provider_id,
                next_action={"type": "redirect_to_url", "url": outcome.url},
            )
            line = _line(after, E.PAYMENT_REQUIRES_ACTION, outcome, "transaction.requires_action")
            repeated = transaction.status is S.REQUIRES_ACTION
            change = _still_open(after, attempt, AttemptState.WAITING, outcome, () if repeated else (line,), at)
            return replace(change, final=not repeated)
        case Pending() | Unknown() | Absent():
            return _undecided(transaction, attempt, None, outcome, E.PAYMENT_PROCESSING, "transaction.processing", at)
        case _:
            assert_never(outcome)


def _charge_failed(
    transaction: Transaction, attempt: Attempt, outcome: Declined | Rejected | NotSent, at: datetime
) -> Change:
    not_sent = isinstance(outcome, NotSent)
    after = _with_failure(_to(transaction, S.FAILED), failures.of_charge(outcome, transaction.payment_method))
    after = replace(
        after,
        failed_at=at,
        # Nothing was sent, so the partner may use the key anew; the transaction must not hold it.
        idempotency_key=None if not_sent else after.idempotency_key,
    )
    if isinstance(outcome, Declined):
        after = _identified(after, outcome, S.FAILED)
    line = _line(after, E.PAYMENT_FAILED, outcome, "transaction.failed")
    state = AttemptState.FAILED_NOT_SENT if not_sent else AttemptState.DECLINED
    return replace(_finished(after, attempt, state, outcome, (line,), at), final=not not_sent, release=not_sent)


def _captured(transaction: Transaction, attempt: Attempt, outcome: Outcome, at: datetime) -> Change:
    released = replace(transaction, capture_pending=transaction.capture_pending - attempt.amount)
    match outcome:
        case Approved():
            after = replace(_to(released, S.COMPLETED), amount_captured=attempt.amount, processed_at=at)
            entries = postings.captured(attempt.account_id, attempt.amount)
            line = _line(after, E.PAYMENT_COMPLETED, outcome, "transaction.completed", entries=entries)
            return _finished(after, attempt, AttemptState.SUCCEEDED, outcome, (line,), at)
        case Declined(code="expired_authorization"):
            after = replace(_to(released, S.FAILED), failed_at=at)
            after = _with_failure(after, failures.expired(outcome))
            line = _line(after, E.PAYMENT_FAILED, outcome, "transaction.failed")
            return _finished(after, attempt, AttemptState.DECLINED, outcome, (line,), at)
        case Declined() | Rejected():
            line = _line(released, E.CAPTURE_FAILED, outcome)
            return _finished(released, attempt, AttemptState.DECLINED, outcome, (line,), at, refused=True)
        case NotSent():
            line = _line(released, E.CAPTURE_FAILED, outcome)
            change = _finished(released, attempt, AttemptState.FAILED_NOT_SENT, outcome, (line,), at)
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
            change = _finished(after, attempt, AttemptState.SUCCEEDED, outcome, (line,), at)
            given_up = tuple(
                replace(other, state=AttemptState.CANCELLED_CONFIRMED, finished_at=at, updated_at=at)
                for other in snapshot.attempts
                if other.operation is AttemptOperation.CHARGE and other.state is AttemptState.WAITING
            )
            return replace(change, attempts=change.attempts + given_up)
        case Declined() | Rejected():
            line = _line(transaction, E.CANCEL_FAILED, outcome)
            return _finished(transaction, attempt, AttemptState.DECLINED, outcome, (line,), at, refused=True)
        case NotSent():
            line = _line(transaction, E.CANCEL_FAILED, outcome)
            change = _finished(transaction, attempt, AttemptState.FAILED_NOT_SENT, outcome, (line,), at)
            return replace(change, final=False, release=True)
        case Pending() | Unknown() | Absent() | ActionRequired():
            return _undecided(transaction, attempt, None, outcome, E.CANCEL_PROCESSING, None, at)
        case _:
            assert_never(outcome)


def _ended(snapshot: Snapshot, outcome: Approved, at: datetime) -> tuple[Transaction, Happened]:
    """Cancelled as it was asked; failed where the customer had let the time run out."""
    if (snapshot.attempt.routing or {}).get("because") != "expired":
        after = replace(_to(snapshot.transaction, S.CANCELLED), processed_at=at)
        return after, _line(after, E.PAYMENT_CANCELLED, outcome, "transaction.cancelled")
    after = _with_failure(_to(snapshot.transaction, S.FAILED), failures.ACTION_EXPIRED)
    after = replace(after, failed_at=at)
    return after, _line(after, E.PAYMENT_FAILED, outcome, "transaction.failed")


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
            line = _line(
                after, E.REFUND_COMPLETED, outcome, "refund.completed", f"transaction.{status}", entries=entries
            )
            return _finished(after, attempt, AttemptState.SUCCEEDED, outcome, (line,), at, refund=done)
        case Declined() | Rejected():
            failure = failures.of_refund(outcome)
            failed = replace(refund, status=RefundStatus.FAILED, failed_at=at, **_failure_columns(failure))
            line = _line(released, E.REFUND_FAILED, outcome, "refund.failed")
            return _finished(released, attempt, AttemptState.DECLINED, outcome, (line,), at, refund=failed)
        case Pending() | Unknown() | Absent() | NotSent() | ActionRequired():
            # A refund is bound to the PSP that holds the money: not sent only means that it is sent later.
            provider_id = getattr(outcome, "provider_id", None)
            waiting = replace(
                refund, status=RefundStatus.PROCESSING, provider_refund_id=provider_id or refund.provider_refund_id
            )
            return _undecided(transaction, attempt, waiting, outcome, E.REFUND_PROCESSING, None, at)
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
        happened = (_line(after, event_type, outcome, *((published,) if published else ())),)
    if at - attempt.created_at >= REVIEW_AFTER and not after.needs_review and _is_silence(after, outcome):
        after = replace(after, needs_review=True)
        happened = (*happened, _line(after, E.REVIEW_REQUESTED, outcome, "transaction.needs_review"))
    return _still_open(after, attempt, state, outcome, happened, at, refund=refund)


def _is_silence(transaction: Transaction, outcome: Outcome) -> bool:
    """Not what is known to take its time: a PSP that said so, a customer who is at the PSP's page."""
    return not isinstance(outcome, Pending) and transaction.status is not S.REQUIRES_ACTION


def _still_open(
    after: Transaction,
    attempt: Attempt,
    state: AttemptState,
    outcome: Outcome,
    happened: tuple[Happened, ...],
    at: datetime,
    *,
    refund: Refund | None = None,
) -> Change:
    delay = CHECK_SECONDS[min(attempt.checks, len(CHECK_SECONDS) - 1)]
    after = replace(after, next_check_at=at + timedelta(seconds=delay))
    provider_id = getattr(outcome, "provider_id", None) or attempt.provider_id
    attempt = replace(
        attempt,
        state=state,
        outcome=outcomes.told(outcome),
        provider_id=provider_id,
        updated_at=at,
    )
    return replace(changed(after, (attempt,), refund, happened, at), check_in_seconds=delay)


def _finished(
    after: Transaction,
    attempt: Attempt,
    state: AttemptState,
    outcome: Outcome,
    happened: tuple[Happened, ...],
    at: datetime,
    *,
    refund: Refund | None = None,
    refused: bool = False,
) -> Change:
    """The attempt is over. A `refused` follow-up stores no answer: a repeat of the key tells the refusal anew."""
    provider_id = getattr(outcome, "provider_id", None) or attempt.provider_id
    attempt = replace(
        attempt, state=state, outcome=outcomes.told(outcome), provider_id=provider_id, updated_at=at, finished_at=at
    )
    action = after.next_action if after.status is S.REQUIRES_ACTION else None
    after = replace(after, next_check_at=None, next_action=action)
    return replace(changed(after, (attempt,), refund, happened, at), final=not refused)


def changed(
    after: Transaction,
    attempts: tuple[Attempt, ...],
    refund: Refund | None,
    happened: tuple[Happened, ...],
    at: datetime,
) -> Change:
    after = replace(
        after,
        version=after.version + len(happened),
        published=after.published + sum(len(line.published) for line in happened),
        updated_at=at,
    )
    if refund is not None:
        refund = replace(refund, updated_at=at)
    return Change(transaction=after, attempts=attempts, refund=refund, happened=happened)


def _to(transaction: Transaction, status: TransactionStatus) -> Transaction:
    return replace(transaction, status=states.advance(transaction.status, status))


def _identified(transaction: Transaction, outcome: Approved | Declined, status: TransactionStatus) -> Transaction:
    """With what the PSP told of itself: its id and what a receipt may show of the card."""
    card = outcome.card
    return replace(
        transaction,
        status=states.advance(transaction.status, status),
        provider_transaction_id=outcome.provider_id or transaction.provider_transaction_id,
        card_brand=card.brand if card else transaction.card_brand,
        card_last4=card.last4 if card else transaction.card_last4,
    )


def _with_failure(transaction: Transaction, failure: Failure) -> Transaction:
    return replace(transaction, **_failure_columns(failure))


def _failure_columns(failure: Failure) -> dict[str, Any]:
    return asdict(failure)


def _line(
    after: Transaction,
    event_type: TransactionEventType,
    outcome: Outcome,
    *published: str,
    entries: tuple[Entry, ...] = (),
) -> Happened:
    return Happened(
        event_type=event_type, status=after.status, data=outcomes.told(outcome), published=published, entries=entries
    )
