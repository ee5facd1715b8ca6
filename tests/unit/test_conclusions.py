"""Each outcome of each operation is one step, and the whole of it: no column, line or posting more or less."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from db.records import Attempt, AttemptOperation, AttemptState, Refund, RefundStatus, ReviewReason
from gateway.transactions import changes, conclusions, failures, outcomes, states
from gateway.transactions.changes import Change, Happened, Snapshot
from providers.contract import Absent, Outcome, Pending, Trace
from tests.builders import AT, a_cancel, an_attempt
from tests.unit.decisions import (
    ACTING,
    ACTION,
    APPROVED,
    CANCEL,
    CAPTURE,
    CHARGE,
    DECISIONS,
    DECLINED,
    FAILED,
    GIVEN_BACK,
    LATER,
    LET_GO,
    PENDING,
    REFUND,
    REJECTED,
    UNDECIDED,
    UNKNOWN,
    A,
    E,
    S,
    Step,
    columns,
    line,
)

SOON, TOMORROW = LATER + timedelta(seconds=1), LATER + timedelta(days=1)


def attempt_after(snapshot: Snapshot, outcome: Outcome, step: Step, *, finished_at: datetime | None) -> Attempt:
    return replace(
        snapshot.attempt,
        state=step.state,
        outcome=outcomes.told(outcome),
        provider_id=step.provider_id,
        updated_at=LATER,
        finished_at=finished_at,
    )


def must_be(change: Change, snapshot: Snapshot, outcome: Outcome, step: Step) -> None:
    lines = step.lines
    after = replace(
        snapshot.transaction,
        **step.transaction,
        version=snapshot.transaction.version + len(lines),
        published=snapshot.transaction.published + sum(len(published) for _, published, _ in lines),
        updated_at=LATER,
    )
    assert change.transaction == after
    assert change.happened == tuple(
        Happened(
            event_type=kind, status=after.status, data=outcomes.told(outcome), published=published, entries=entries
        )
        for kind, published, entries in lines
    )
    expected: Refund | None = snapshot.refund
    if expected is not None and step.refund is not None:
        expected = replace(expected, **step.refund, updated_at=LATER)
    assert change.refund == expected
    assert (change.final, change.release, change.dispute) == (step.final, step.release, None)


@pytest.mark.parametrize("name", DECISIONS)
def test_what_is_decided_ends_the_attempt(name: str) -> None:
    snapshot, outcome, step = DECISIONS[name]
    change = conclusions.concluded(snapshot, outcome, at=LATER)
    must_be(change, snapshot, outcome, step)
    assert change.attempts[0] == attempt_after(snapshot, outcome, step, finished_at=LATER)
    assert change.check_in_seconds is None


def test_only_what_is_about_another_attempt_too_changes_another() -> None:
    for name, (snapshot, outcome, _) in DECISIONS.items():
        others = conclusions.concluded(snapshot, outcome, at=LATER).attempts[1:]
        assert bool(others) == (outcome is APPROVED and snapshot in (GIVEN_BACK, LET_GO)), name


@pytest.mark.parametrize("name", UNDECIDED)
def test_what_is_not_decided_is_looked_into_again(name: str) -> None:
    snapshot, outcome, step = UNDECIDED[name]
    wait = changes.wait_seconds(snapshot.attempt)
    change = conclusions.concluded(snapshot, outcome, at=LATER)
    next_check = {"next_check_at": LATER + timedelta(seconds=wait)}
    must_be(change, snapshot, outcome, replace(step, transaction=step.transaction | next_check))
    assert change.attempts == (attempt_after(snapshot, outcome, step, finished_at=None),)
    assert change.check_in_seconds == wait


@pytest.mark.parametrize("snapshot", [CAPTURE, CANCEL, REFUND, GIVEN_BACK], ids=["capture", "cancel", "refund", "back"])
@pytest.mark.parametrize("outcome", [PENDING, UNKNOWN, Absent(), ACTION], ids=lambda one: type(one).__name__)
def test_no_follow_up_is_decided_by_what_decides_nothing(snapshot: Snapshot, outcome: Outcome) -> None:
    change = conclusions.concluded(snapshot, outcome, at=LATER)
    assert change.attempts[0].finished_at is None
    assert (change.final, change.release) == (False, False)
    assert change.transaction.status == snapshot.transaction.status


def test_a_refund_that_was_named_keeps_its_name() -> None:
    refund = REFUND.refund
    assert refund is not None
    named = replace(REFUND, refund=replace(refund, provider_refund_id="psp_0"))
    change = conclusions.concluded(named, UNKNOWN, at=LATER)
    assert change.refund == replace(
        refund, status=RefundStatus.PROCESSING, provider_refund_id="psp_0", updated_at=LATER
    )


def test_a_cancel_for_want_of_the_customer_is_a_failure() -> None:
    snapshot = a_cancel(S.REQUIRES_ACTION)
    expiry = replace(snapshot.attempt, routing={"because": "expired"})
    snapshot = replace(snapshot, attempts=(snapshot.attempts[0], expiry))
    change = conclusions.concluded(snapshot, APPROVED, at=LATER)
    step = Step(
        state=A.SUCCEEDED,
        transaction=FAILED | columns(failures.ACTION_EXPIRED),
        lines=(line(E.PAYMENT_FAILED, "transaction.failed"),),
        provider_id="psp_1",
        final=True,
    )
    must_be(change, snapshot, APPROVED, step)


def test_a_cancel_ends_the_charge_that_waits_and_no_other_attempt() -> None:
    snapshot = a_cancel(S.REQUIRES_ACTION)
    waiting = snapshot.attempts[0]
    declined = an_attempt(snapshot.transaction, state=A.DECLINED, finished_at=AT)
    refund = an_attempt(snapshot.transaction, operation=AttemptOperation.REFUND, state=A.WAITING)
    snapshot = replace(snapshot, attempts=(declined, refund, *snapshot.attempts))
    change = conclusions.concluded(snapshot, APPROVED, at=LATER)
    ended = replace(waiting, state=A.CANCELLED_CONFIRMED, finished_at=LATER, updated_at=LATER)
    assert change.attempts[1:] == (ended,)


@pytest.mark.parametrize("snapshot", [GIVEN_BACK, LET_GO], ids=["taken", "held"])
def test_what_was_given_back_says_so_of_the_late_charge_itself(snapshot: Snapshot) -> None:
    late = snapshot.attempts[0]
    change = conclusions.concluded(snapshot, APPROVED, at=LATER)
    assert change.attempts[1:] == (replace(late, state=A.COMPENSATED, updated_at=LATER),)


def test_a_contradiction_keeps_the_attempt_open_and_calls_a_person_once() -> None:
    refunded = replace(REFUND, transaction=replace(REFUND.transaction, status=S.CANCELLED))
    with pytest.raises(states.InvalidState):
        conclusions.concluded(refunded, APPROVED, at=LATER)
    change = conclusions.contradicted(refunded, APPROVED, at=LATER)
    wait = changes.wait_seconds(refunded.attempt)
    step = Step(
        state=A.UNKNOWN,
        transaction={"needs_review": True, "review_reason": ReviewReason.CONTRADICTION}
        | {"next_check_at": LATER + timedelta(seconds=wait)},
        refund={},
        lines=(line(E.REVIEW_REQUESTED, "transaction.needs_review"),),
        provider_id="psp_1",
    )
    must_be(change, refunded, APPROVED, step)
    assert change.attempts == (attempt_after(refunded, APPROVED, step, finished_at=None),)
    again = conclusions.contradicted(refunded.after(change), APPROVED, at=LATER)
    assert (again.happened, again.transaction.needs_review) == ((), True)


def test_silence_is_told_with_the_day_and_what_speaks_is_no_silence() -> None:
    a_day_old = changes.REVIEW_AFTER + AT
    change = conclusions.concluded(CHARGE, UNKNOWN, at=a_day_old)
    assert [(one.event_type, one.published) for one in change.happened] == [
        (E.PAYMENT_PROCESSING, ("transaction.processing",)),
        (E.REVIEW_REQUESTED, ("transaction.needs_review",)),
    ]
    assert (change.transaction.needs_review, change.transaction.review_reason) == (True, ReviewReason.SILENCE)
    for snapshot, outcome in ((CHARGE, PENDING), (ACTING, UNKNOWN)):
        assert not conclusions.concluded(snapshot, outcome, at=a_day_old).transaction.needs_review


def test_what_was_only_held_is_nothing_to_post_where_nobody_noted_that_it_was_taken() -> None:
    unnoted = replace(LET_GO, attempts=(LET_GO.attempts[0], replace(LET_GO.attempt, routing={})))
    assert conclusions.concluded(unnoted, APPROVED, at=LATER).happened[0].entries == ()


def test_a_customer_whose_cancel_was_refused_can_still_act() -> None:
    snapshot = a_cancel(S.REQUIRES_ACTION)
    asked = replace(snapshot.transaction, next_action={"url": "https://psp.example/3ds"})
    change = conclusions.concluded(replace(snapshot, transaction=asked), REJECTED, at=LATER)
    assert change.transaction.next_action == asked.next_action


def test_silence_that_ends_leaves_no_reason_behind() -> None:
    silent = replace(CHARGE, transaction=changes.in_review(CHARGE.transaction, ReviewReason.SILENCE))
    after = conclusions.concluded(silent, APPROVED, at=LATER).transaction
    assert (after.needs_review, after.review_reason) == (False, None)


@pytest.mark.parametrize(
    ("state", "check_at", "expected"),
    [
        (A.UNKNOWN, SOON, SOON),
        (A.WAITING, TOMORROW, TOMORROW),
        (A.SENDING, AT, LATER),
        (A.UNKNOWN, None, None),
        (A.SUCCEEDED, SOON, None),
    ],
    ids=["soon", "tomorrow", "overdue", "never", "over"],
)
def test_what_ended_leaves_the_checks_of_what_is_still_open(
    state: AttemptState, check_at: datetime | None, expected: datetime | None
) -> None:
    other = an_attempt(REFUND.transaction, operation=AttemptOperation.REFUND, state=state, next_check_at=check_at)
    own = replace(REFUND.attempt, next_check_at=SOON)
    snapshot = replace(REFUND, attempts=(REFUND.attempts[0], own, other))
    assert conclusions.concluded(snapshot, APPROVED, at=LATER).transaction.next_check_at == expected


def test_of_two_that_are_open_the_sooner_check_is_told() -> None:
    own = LATER + timedelta(seconds=changes.wait_seconds(REFUND.attempt))
    for check_at, expected in ((SOON, SOON), (TOMORROW, own)):
        other = an_attempt(REFUND.transaction, state=A.UNKNOWN, next_check_at=check_at)
        snapshot = replace(REFUND, attempts=(*REFUND.attempts, other))
        assert conclusions.concluded(snapshot, UNKNOWN, at=LATER).transaction.next_check_at == expected


def test_a_charge_that_its_cancel_ends_is_not_checked_any_more() -> None:
    snapshot = a_cancel(S.REQUIRES_ACTION)
    waiting = replace(snapshot.attempts[0], next_check_at=SOON)
    snapshot = replace(snapshot, attempts=(waiting, snapshot.attempt))
    assert conclusions.concluded(snapshot, APPROVED, at=LATER).transaction.next_check_at is None


@pytest.mark.parametrize(
    ("told", "known", "kept"), [("psp_1", "psp_0", "psp_1"), (None, "psp_0", "psp_0"), (None, None, "")]
)
def test_a_refusal_while_the_charge_is_being_cancelled_decides_nothing_and_loses_nothing(
    told: str | None, known: str | None, kept: str
) -> None:
    cancelling = a_cancel(S.REQUIRES_ACTION)
    waiting = replace(cancelling.attempts[0], provider_id=known)
    snapshot = replace(cancelling, attempts=(waiting, cancelling.attempt), attempt_id=waiting.id)
    trace = Trace(http_status=402)
    refused = replace(DECLINED, provider_id=told, trace=trace)
    pending = conclusions.concluded(snapshot, Pending(provider_id=kept, trace=trace), at=LATER)
    assert conclusions.concluded(snapshot, refused, at=LATER) == pending
