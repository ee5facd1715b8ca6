"""What a PSP does without being asked: an authorization runs out, a refund fails after all, a payer disputes. Pure.

No attempt is open for these, so they change the transaction alone, guarded by its version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from decimal import Decimal

from db import ids
from db.records import (
    AttemptState,
    Dispute,
    DisputeState,
    Failure,
    RefundStatus,
    ReviewReason,
    TransactionEventType,
    TransactionStatus,
)
from gateway.transactions import changes, postings, states
from gateway.transactions.changes import Change, Happened, Snapshot
from providers.contract import Approved, DisputeTold

E = TransactionEventType
S = TransactionStatus

EXPIRED = Failure(
    error_code="authorization_expired",
    error_message="The authorization ended at the provider before it was captured. No money was taken.",
    advice="try_another_card",
)
CAPTURE_RETURNED = Failure(
    error_code="capture_failed_later",
    error_message="The capture was accepted and then failed: no money was taken.",
    advice="contact_support",
)
REFUND_RETURNED = Failure(
    error_code="refund_failed_later",
    error_message="The refund was accepted and then failed: the money came back.",
    advice="contact_support",
)


def expired(snapshot: Snapshot, *, at: datetime) -> Change | None:
    """The PSP ended an authorization by itself. None where there is none to end."""
    if snapshot.transaction.status is not S.AUTHORIZED:
        return None
    after = replace(
        snapshot.transaction,
        status=states.advance(snapshot.transaction.status, S.FAILED),
        failed_at=at,
        next_check_at=None,
        **asdict(EXPIRED),
    )
    line = Happened(
        event_type=E.PAYMENT_FAILED, status=after.status, data={"reason": "expired"}, published=("transaction.failed",)
    )
    return changes.changed(after, (), None, (line,), at)


def refund_returned(snapshot: Snapshot, *, at: datetime) -> Change | None:
    """A completed refund failed after all: its posting is reversed and its amount is refundable again.

    Like `capture_returned` a way back in a transaction's life: the books follow the money. None where it was not
    completed.
    """
    refund = snapshot.refund
    if refund is None or refund.status is not RefundStatus.COMPLETED:
        return None
    left = snapshot.transaction.amount_refunded - refund.amount
    after = replace(
        snapshot.transaction,
        amount_refunded=left,
        status=states.go_back(snapshot.transaction.status, S.PARTIALLY_REFUNDED if left else S.COMPLETED),
    )
    failed = replace(refund, status=RefundStatus.FAILED, failed_at=at, **asdict(REFUND_RETURNED))
    line = Happened(
        event_type=E.REFUND_FAILED,
        status=after.status,
        data={"reason": "returned"},
        published=("refund.failed",),
        entries=postings.refund_returned(snapshot.attempt.account_id, refund.amount),
    )
    return changes.changed(after, (), failed, (line,), at)


def capture_returned(snapshot: Snapshot, *, at: datetime) -> Change | None:
    """A capture that was booked failed after all: no money was taken, so the payment has failed.

    None where nothing was captured, or where some of it was refunded: that is for a person.
    """
    transaction = snapshot.transaction
    if transaction.status is not S.COMPLETED or transaction.amount_refundable != transaction.amount_captured:
        return None
    after = replace(
        transaction,
        status=states.go_back(transaction.status, S.FAILED),
        amount_captured=Decimal(0),
        failed_at=at,
        **asdict(CAPTURE_RETURNED),
    )
    line = Happened(
        event_type=E.PAYMENT_FAILED,
        status=after.status,
        data={"reason": "capture failed later"},
        published=("transaction.failed",),
        entries=postings.capture_returned(snapshot.attempt.account_id, transaction.amount_captured),
    )
    return changes.changed(after, (), None, (line,), at)


def disputed(
    snapshot: Snapshot, known: Dispute | None, told: DisputeTold, dispute: Dispute, *, at: datetime
) -> Change | None:
    """A dispute opened, was won or lost. `dispute` is the row after; None where nothing is new.

    Money that the PSP takes back lies in `chargebacks` until the dispute is won.
    """
    withdrawn = dispute.amount_withdrawn - (known.amount_withdrawn if known else Decimal(0))
    if known is not None and known.state is dispute.state and not withdrawn:
        return None
    fresh_state = known is None or known.state is not dispute.state
    event_type, published = _DISPUTE_EVENTS[dispute.state]
    line = Happened(
        event_type=event_type,
        status=snapshot.transaction.status,
        data={"dispute": dispute.provider_dispute_id, "reason": told.reason, "withdrawn": str(withdrawn)},
        published=(published,) if fresh_state else (),
        entries=postings.charged_back(snapshot.attempt.account_id, withdrawn) if withdrawn else (),
    )
    return replace(changes.changed(snapshot.transaction, (), None, (line,), at), dispute=dispute)


def late_success(snapshot: Snapshot, told: Approved, *, at: datetime) -> Change:
    """A charge that was over took money after all. The snapshot's attempt is what gives it back, about to be sent."""
    back = snapshot.attempt
    late = next(one for one in snapshot.attempts if one.id == back.compensates)
    compensating = replace(late, state=AttemptState.COMPENSATING, provider_id=told.provider_id, updated_at=at)
    entries = postings.late_taken(late.account_id, late.amount) if told.captured else ()
    line = changes.line(snapshot.transaction, E.LATE_SUCCESS_FOUND, told, entries=entries)
    return changes.changed(snapshot.transaction, (back, compensating), None, (line,), at)


def silent(snapshot: Snapshot, *, at: datetime) -> Change | None:
    """An attempt has had no outcome for longer than recovery may take. None where a person looks already."""
    if snapshot.transaction.needs_review or snapshot.attempt.finished_at is not None:
        return None
    after = changes.in_review(snapshot.transaction, ReviewReason.SILENCE)
    data = {"reason": "no outcome in time", "attempt": ids.encode("att", snapshot.attempt_id)}
    line = Happened(
        event_type=E.REVIEW_REQUESTED, status=after.status, data=data, published=("transaction.needs_review",)
    )
    return changes.changed(after, (), None, (line,), at)


def reviewed(snapshot: Snapshot, data: Mapping[str, object], *, at: datetime) -> Change | None:
    """People decided that the books are right as they are. None where nobody was to look."""
    if not snapshot.transaction.needs_review:
        return None
    after = replace(snapshot.transaction, needs_review=False, review_reason=None)
    line = Happened(event_type=E.REVIEW_RESOLVED, status=after.status, data=data)
    return changes.changed(after, (), None, (line,), at)


def contradicting(snapshot: Snapshot, data: Mapping[str, object], *, at: datetime) -> Change | None:
    """A notification that our books cannot hold: a person must look. None where one is asked for already."""
    if snapshot.transaction.needs_review:
        return None
    after = changes.in_review(snapshot.transaction, ReviewReason.CONTRADICTION)
    line = Happened(
        event_type=E.REVIEW_REQUESTED, status=after.status, data=data, published=("transaction.needs_review",)
    )
    return changes.changed(after, (), None, (line,), at)


_DISPUTE_EVENTS = {
    DisputeState.OPENED: (E.DISPUTE_OPENED, "dispute.opened"),
    DisputeState.WON: (E.DISPUTE_WON, "dispute.won"),
    DisputeState.LOST: (E.DISPUTE_LOST, "dispute.lost"),
}
