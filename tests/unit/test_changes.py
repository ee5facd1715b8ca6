"""What an outcome changes: every branch of a transaction's life, without a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.records import AttemptState, RefundStatus, ReviewReason, TransactionEventType, TransactionStatus
from gateway.transactions import changes, conclusions, representation, states
from gateway.transactions.changes import Change, Happened, Snapshot
from providers.contract import (
    Absent,
    ActionRequired,
    Approved,
    Card,
    Declined,
    DeclineKind,
    NotSent,
    NotSentReason,
    Outcome,
    Pending,
    Rejected,
    Unknown,
)
from tests.builders import AT, a_cancel, a_capture, a_charge, a_refunding

LATER = AT + timedelta(seconds=1)
APPROVED = Approved(provider_id="pi_1", card=Card(brand="visa", last4="4242"))
AUTHORIZED = replace(APPROVED, captured=False)
DECLINED = Declined(
    code="insufficient_funds",
    kind=DeclineKind.SOFT,
    may_fail_over=False,
    provider_code="insufficient_funds",
    message="Your card has insufficient funds.",
    provider_id="pi_1",
)
EXPIRED = replace(DECLINED, code="expired_authorization", kind=DeclineKind.HARD)
REJECTED = Rejected(provider_code="resource_missing", message="No such PaymentMethod")
NOT_SENT = NotSent(reason=NotSentReason.UNREACHABLE)
UNKNOWN = Unknown(reason="no answer")
PENDING = Pending(provider_id="pi_1")
ACTION = ActionRequired(provider_id="pi_1", url="https://psp.example/3ds")
OUTCOMES: tuple[Outcome, ...] = (
    APPROVED,
    AUTHORIZED,
    DECLINED,
    EXPIRED,
    REJECTED,
    NOT_SENT,
    UNKNOWN,
    PENDING,
    ACTION,
    Absent(),
)


def conclude(snapshot: Snapshot, outcome: Outcome, *, at: datetime = LATER) -> Change:
    return conclusions.concluded(snapshot, outcome, at=at)


def checking(snapshot: Snapshot) -> Snapshot:
    """A due check has begun: `db.transactions.take` counts it."""
    attempts = tuple(replace(attempt, checks=attempt.checks + 1) for attempt in snapshot.attempts)
    return replace(snapshot, attempts=attempts)


def published(change: Change) -> list[str]:
    return [name for line in change.happened for name in line.published]


def posted(change: Change) -> dict[str, Decimal]:
    return {entry.account.partition(":")[0]: entry.amount for line in change.happened for entry in line.entries}


def test_an_approved_sale_is_completed_and_posted() -> None:
    change = conclude(a_charge(), APPROVED)
    after = change.transaction
    assert (after.status, after.amount_captured, after.processed_at) == ("completed", Decimal("19.99"), LATER)
    assert (after.card_brand, after.card_last4, after.provider_transaction_id) == ("visa", "4242", "pi_1")
    assert posted(change) == {"psp_receivable": Decimal("19.99"), "partner_payable": Decimal("-19.99")}
    assert published(change) == ["transaction.completed"]
    assert change.attempts[0].state is AttemptState.SUCCEEDED
    assert change.final
    assert not change.release


def test_the_psps_word_on_the_brand_replaces_the_partners_where_it_has_one() -> None:
    for told, brand in ((Card(brand="amex", last4="0005"), "amex"), (Card(last4="0005"), "visa"), (None, "visa")):
        assert conclude(a_charge(card_brand="visa"), replace(APPROVED, card=told)).transaction.card_brand == brand


def test_a_mere_authorization_moves_no_money() -> None:
    change = conclude(a_charge(), AUTHORIZED)
    assert change.transaction.status == "authorized"
    assert change.transaction.amount_captured == 0
    assert posted(change) == {}
    assert representation.money_moved(change.transaction, ()) == "no"


def test_a_decline_fails_with_a_code_advice_and_a_sentence_for_the_customer() -> None:
    after = conclude(a_charge(), DECLINED).transaction
    assert (after.status, after.failed_at) == ("failed", LATER)
    assert (after.error_code, after.decline_code, after.advice) == (
        "card_declined",
        "insufficient_funds",
        "try_another_card",
    )
    assert after.error_message == "The card has insufficient funds."


@pytest.mark.parametrize("code", ["lost_card", "stolen_card", "pickup_card", "suspected_fraud", "risk_blocked"])
def test_the_customer_is_not_told_that_a_card_is_suspect(code: str) -> None:
    after = conclude(a_charge(), replace(DECLINED, code=code, kind=DeclineKind.HARD)).transaction
    assert after.error_message == "The payment was declined."
    assert after.advice == "do_not_retry"


def test_what_was_not_sent_frees_the_key_and_keeps_no_answer() -> None:
    change = conclude(a_charge(), NOT_SENT)
    assert change.transaction.status == "failed"
    assert change.transaction.idempotency_key is None
    assert change.release
    assert not change.final
    assert change.attempts[0].state is AttemptState.FAILED_NOT_SENT


@pytest.mark.parametrize("outcome", [UNKNOWN, PENDING, Absent()])
def test_what_is_not_known_is_never_a_failure(outcome: Outcome) -> None:
    change = conclude(a_charge(), outcome)
    assert change.transaction.status == "processing"
    assert representation.money_moved(change.transaction, change.attempts) == "unknown"
    assert change.attempts[0].state in states.LIVE_ATTEMPTS
    assert change.attempts[0].finished_at is None
    assert 4 <= (change.check_in_seconds or 0) <= 6
    assert change.transaction.next_check_at == LATER + timedelta(seconds=change.check_in_seconds or 0)
    assert not change.final


def test_checks_become_rarer_and_say_nothing_new() -> None:
    snapshot, seconds = a_charge(), list[float]()
    for _ in range(12):
        change = conclude(snapshot, UNKNOWN)
        seconds.append(change.check_in_seconds or 0)
        snapshot = checking(snapshot.after(change))
    planned = [*changes.CHECK_SECONDS, 86_400, 86_400]
    assert seconds == pytest.approx(planned, rel=changes.SPREAD)
    assert seconds != planned  # spread: what one outage left behind does not come back at once
    assert snapshot.transaction.version == 3  # the first unknown is history, the others only move the next check


def test_who_asks_out_of_turn_makes_no_check_rarer() -> None:
    snapshot = a_charge()
    for _ in range(12):
        change = conclude(snapshot, UNKNOWN)
        assert change.check_in_seconds == pytest.approx(changes.CHECK_SECONDS[0], rel=changes.SPREAD)
        snapshot = snapshot.after(change)
    assert not snapshot.transaction.needs_review


def test_what_a_psp_does_not_tell_within_a_day_is_for_a_person_too() -> None:
    snapshot, told = a_charge(), list[str]()
    for age in (timedelta(0), changes.REVIEW_AFTER - timedelta(seconds=1), changes.REVIEW_AFTER, timedelta(days=2)):
        change = conclude(snapshot, UNKNOWN, at=AT + age)
        snapshot, told = checking(snapshot.after(change)), told + published(change)
        assert snapshot.transaction.needs_review == (age >= changes.REVIEW_AFTER)
    assert told == ["transaction.processing", "transaction.needs_review"]
    assert (snapshot.transaction.status, snapshot.transaction.review_reason) == ("processing", "silence")


def test_what_is_of_high_value_is_for_a_person_sooner() -> None:
    opened = a_charge()
    dear = replace(opened, attempts=(replace(opened.attempt, review_after=timedelta(hours=1)),))
    for age, looked_at in ((timedelta(minutes=59), False), (timedelta(hours=1), True)):
        assert conclude(dear, UNKNOWN, at=AT + age).transaction.needs_review == looked_at


def test_who_speaks_after_all_takes_the_mark_of_silence_away_and_no_other() -> None:
    silent = a_charge().after(conclude(a_charge(), UNKNOWN, at=AT + timedelta(days=1)))
    settled = conclude(silent, APPROVED)
    assert (settled.transaction.status, settled.transaction.needs_review) == ("completed", False)
    assert [line.event_type for line in settled.happened] == ["payment_completed", "review_resolved"]
    contradicted = a_charge().after(conclusions.contradicted(a_charge(), APPROVED, at=LATER))
    assert conclude(contradicted, APPROVED).transaction.needs_review


@pytest.mark.parametrize("outcomes", [[PENDING] * 12, [ACTION, *[UNKNOWN] * 12]])
def test_what_is_known_to_take_time_needs_nobody(outcomes: list[Outcome]) -> None:
    snapshot = a_charge()
    for day, outcome in enumerate(outcomes):
        snapshot = snapshot.after(conclude(snapshot, outcome, at=LATER + timedelta(days=day)))
    assert not snapshot.transaction.needs_review


def test_an_action_waits_with_its_address_and_is_told_once() -> None:
    change = conclude(a_charge(), ACTION)
    assert change.transaction.status == "requires_action"
    assert change.transaction.next_action == {"type": "redirect_to_url", "url": "https://psp.example/3ds"}
    assert published(change) == ["transaction.requires_action"]
    again = conclude(a_charge().after(change), ACTION)
    assert published(again) == []


def test_a_finished_action_leaves_no_address_behind() -> None:
    waiting = a_charge()
    waiting = waiting.after(conclude(waiting, ACTION))
    assert conclude(waiting, APPROVED).transaction.next_action is None


def test_a_partial_capture_completes_with_what_was_taken() -> None:
    change = conclude(a_capture("7.00"), APPROVED)
    assert (change.transaction.status, change.transaction.amount_captured) == ("completed", Decimal("7.00"))
    assert change.transaction.capture_pending == 0
    assert posted(change)["partner_payable"] == Decimal("-7.00")


def test_a_refused_capture_leaves_the_authorization_and_stores_no_answer() -> None:
    change = conclude(a_capture(), REJECTED)
    assert change.transaction.status == "authorized"
    assert change.transaction.capture_pending == 0
    assert not change.final


def test_capturing_an_expired_authorization_ends_it() -> None:
    change = conclude(a_capture(), EXPIRED)
    assert (change.transaction.status, change.transaction.error_code) == ("failed", "authorization_expired")


def test_an_undecided_capture_keeps_its_amount_and_is_unknown() -> None:
    change = conclude(a_capture(), UNKNOWN)
    assert (change.transaction.status, change.transaction.capture_pending) == ("authorized", Decimal("19.99"))
    assert representation.money_moved(change.transaction, ()) == "unknown"


def test_a_cancel_ends_the_charge_that_waited_for_the_customer() -> None:
    snapshot = a_cancel(TransactionStatus.REQUIRES_ACTION)
    after = snapshot.after(conclude(snapshot, APPROVED))
    assert after.transaction.status == "cancelled"
    assert [attempt.state for attempt in after.attempts] == ["cancelled_confirmed", "succeeded"]


def test_a_refusal_while_the_charge_is_being_cancelled_is_left_to_the_cancel() -> None:
    cancelling = a_cancel(TransactionStatus.REQUIRES_ACTION)
    waiting = replace(cancelling, attempt_id=cancelling.attempts[0].id)
    change = conclude(waiting, DECLINED)
    assert (change.transaction.status, change.attempts[0].state) == ("requires_action", AttemptState.WAITING)
    after = replace(waiting.after(change), attempt_id=cancelling.attempt_id)
    assert conclude(after, APPROVED).transaction.status == "cancelled"


@pytest.mark.parametrize(("amount", "status"), [("19.99", "refunded"), ("5.00", "partially_refunded")])
def test_a_refund_gives_back_and_is_posted(amount: str, status: str) -> None:
    change = conclude(a_refunding(amount), APPROVED)
    assert change.transaction.status == status
    assert change.transaction.amount_refunded == Decimal(amount)
    assert change.transaction.refund_reserved == 0
    assert posted(change) == {"refunds": Decimal(amount), "psp_receivable": -Decimal(amount)}
    assert published(change) == ["refund.completed", f"transaction.{status}"]
    assert change.refund is not None
    assert change.refund.status is RefundStatus.COMPLETED


@pytest.mark.parametrize("outcome", [DECLINED, REJECTED])
def test_a_refused_refund_gives_its_reservation_back(outcome: Outcome) -> None:
    change = conclude(a_refunding("5.00"), outcome)
    assert change.transaction.refund_reserved == 0
    assert change.transaction.amount_refunded == 0
    assert change.refund is not None
    assert change.refund.status is RefundStatus.FAILED
    assert published(change) == ["refund.failed"]


@pytest.mark.parametrize("outcome", [UNKNOWN, PENDING, NOT_SENT, Absent()])
def test_an_undecided_refund_keeps_its_reservation(outcome: Outcome) -> None:
    change = conclude(a_refunding("5.00"), outcome)
    assert change.transaction.refund_reserved == Decimal("5.00")
    assert not change.release


@given(
    current=st.sampled_from([a_charge(), a_capture(), a_cancel(), a_refunding()]),
    outcomes=st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=6),
)
def test_whatever_is_learned_the_books_hold(current: Snapshot, outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        if current.attempt.finished_at is not None:
            break
        try:
            change = conclude(current, outcome)
        except states.InvalidState:
            change = conclusions.contradicted(current, outcome, at=LATER)
            assert change.transaction.needs_review
        before, after = current.transaction, change.transaction
        assert after.version == before.version + len(change.happened)
        assert after.published == before.published + len(published(change))
        assert after.amount_captured + after.capture_pending <= after.amount
        assert 0 <= after.amount_refunded + after.refund_reserved <= after.amount_captured
        assert sum(posted(change).values()) == 0
        assert after.amount_captured - before.amount_captured == -posted(change).get("partner_payable", Decimal(0))
        assert after.amount_refunded - before.amount_refunded == posted(change).get("refunds", Decimal(0))
        assert not change.happened or change.happened[-1].status == after.status
        assert (after.status in {"failed", "cancelled"}) <= (after.amount_captured == 0)
        current = current.after(change)


# ── A step itself ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_wait_is_spread_by_the_attempts_own_id() -> None:
    charge = a_charge().attempt
    assert changes.wait_seconds(replace(charge, id=UUID(int=123_456), checks=3)) == pytest.approx(331.56, abs=1e-9)
    assert changes.wait_seconds(replace(charge, id=UUID(int=0), checks=0)) == pytest.approx(4.0)
    assert changes.wait_seconds(replace(charge, id=UUID(int=999), checks=0)) == pytest.approx(5.998)


def test_a_step_opens_an_attempt_with_what_it_reserves() -> None:
    snapshot = a_refunding("5.00")
    line = Happened(event_type=TransactionEventType.REFUND_INITIATED, status=snapshot.transaction.status, data={})
    told = replace(line, published=("refund.created", "ping"))
    change = changes.opened(snapshot, (line, told), at=LATER)
    assert (change.attempts, change.happened) == ((snapshot.attempt,), (line, told))
    assert snapshot.refund is not None
    assert change.refund == replace(snapshot.refund, updated_at=LATER)
    before = snapshot.transaction
    assert change.transaction == replace(
        before, version=before.version + 2, published=before.published + 2, updated_at=LATER
    )


def test_a_snapshot_after_a_step_holds_what_changed_and_keeps_the_rest() -> None:
    snapshot = a_refunding("5.00")
    change = conclude(snapshot, APPROVED)
    after = snapshot.after(change)
    assert (after.transaction, after.refund) == (change.transaction, change.refund)
    assert after.attempts == (snapshot.attempts[0], change.attempts[0])
    added = replace(snapshot.attempts[0], id=snapshot.transaction.id)
    more = snapshot.after(replace(change, attempts=(added,), refund=None))
    assert (more.attempts, more.refund) == ((*snapshot.attempts, added), snapshot.refund)


def test_who_must_be_looked_at_for_one_reason_keeps_it() -> None:
    flagged = changes.in_review(a_charge().transaction, ReviewReason.COMPENSATION)
    assert (flagged.needs_review, flagged.review_reason) == (True, ReviewReason.COMPENSATION)
    assert changes.in_review(flagged, ReviewReason.SILENCE) == flagged
