"""A step in a transaction's life as one value: what an attempt changes, what happened, what is told. Pure.

Which step follows from what is decided in `conclusions` (of an attempt) and `unasked` (of a PSP's own doing); the
journal writes a `Change` as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from db.records import (
    Attempt,
    AttemptState,
    Dispute,
    Refund,
    ReviewReason,
    Transaction,
    TransactionEventType,
    TransactionStatus,
)
from gateway.transactions import outcomes
from gateway.transactions.postings import Entry
from providers.contract import Outcome

E = TransactionEventType
S = TransactionStatus

CHECK_SECONDS = (5, 15, 60, 300, 900, 3_600, 10_800, 21_600, 43_200, 86_400)
"""How long after each check an unknown outcome is looked into again; the last wait repeats."""
SPREAD = 0.2
"""Each wait is up to this share longer or shorter, so that what a PSP's outage left behind does not return at once."""
REVIEW_AFTER = timedelta(hours=22)
"""What a PSP does not tell for this long is for a person too: the last check within a day falls after it.

Sooner where the attempt says so: its PSP forgets the key before that, or it is of high value (see `journal_write`).
"""


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


def checked_by(change: Change, at: datetime | None) -> Change:
    """The transaction tells the soonest check of all that is open of it."""
    soonest = min(filter(None, (change.transaction.next_check_at, at)), default=None)
    return replace(change, transaction=replace(change.transaction, next_check_at=soonest))


def in_review(transaction: Transaction, reason: ReviewReason) -> Transaction:
    """A person must look. What was flagged for another reason keeps that reason until somebody answers it."""
    return replace(transaction, needs_review=True, review_reason=transaction.review_reason or reason)


def wait_seconds(attempt: Attempt) -> float:
    """Until the next check, by how many there were; spread by the attempt's own id, so that it is the same again."""
    wait = CHECK_SECONDS[min(attempt.checks, len(CHECK_SECONDS) - 1)]
    chance = (attempt.id.int + attempt.checks * 0x9E37_79B9) % 1_000 / 1_000
    return wait * (1 - SPREAD + 2 * SPREAD * chance)


def still_open(
    after: Transaction,
    attempt: Attempt,
    state: AttemptState,
    outcome: Outcome,
    happened: tuple[Happened, ...],
    at: datetime,
    *,
    refund: Refund | None = None,
) -> Change:
    delay = wait_seconds(attempt)
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


def finished(
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
    if after.review_reason == ReviewReason.SILENCE:  # the PSP has spoken: nobody needs to look any more
        after = replace(after, needs_review=False, review_reason=None)
        happened = (*happened, line(after, E.REVIEW_RESOLVED, outcome))
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


def line(
    after: Transaction,
    event_type: TransactionEventType,
    outcome: Outcome,
    *published: str,
    entries: tuple[Entry, ...] = (),
) -> Happened:
    return Happened(
        event_type=event_type, status=after.status, data=outcomes.told(outcome), published=published, entries=entries
    )
