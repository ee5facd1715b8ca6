"""What a PSP does by itself: each way back has its reversing posting, and nothing is told twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from db import ids
from db.records import (
    AttemptOperation,
    AttemptState,
    Dispute,
    DisputeState,
    RefundStatus,
    ReviewReason,
    TransactionStatus,
)
from gateway.transactions import outcomes, postings, unasked
from gateway.transactions.changes import Change, Snapshot
from providers import contract
from providers.contract import Approved, DisputeTold
from tests.builders import AT, a_charge, a_refunding, an_attempt

S = TransactionStatus
LATER = AT + timedelta(seconds=1)


def a_sale(**members: object) -> Snapshot:
    """A completed payment of 19.99."""
    given: dict[str, object] = {"status": S.COMPLETED, "amount_captured": Decimal("19.99")}
    return a_charge(**given | members)


def a_refunded_sale(amount: str = "5.00", *, refunded: str | None = None) -> Snapshot:
    """A refund that was completed; `refunded` is the sum of all."""
    begun = a_refunding(amount)
    assert begun.refund is not None
    given_back = Decimal(refunded or amount)
    whole = given_back == begun.transaction.amount_captured
    transaction = replace(
        begun.transaction,
        status=S.REFUNDED if whole else S.PARTIALLY_REFUNDED,
        amount_refunded=given_back,
        refund_reserved=Decimal(0),
    )
    attempts = tuple(replace(one, state=AttemptState.SUCCEEDED, finished_at=AT) for one in begun.attempts)
    refund = replace(begun.refund, status=RefundStatus.COMPLETED, processed_at=AT)
    return replace(begun, transaction=transaction, attempts=attempts, refund=refund)


def told_of(change: Change) -> tuple[str, str, dict[str, object], tuple[str, ...]]:
    (line,) = change.happened
    assert line.status is change.transaction.status
    return line.event_type.value, line.status.value, dict(line.data), line.published


# ── An authorization runs out ───────────────────────────────────────────────────────────────────────────────────────


def test_an_authorization_that_ran_out_has_failed_and_is_not_looked_into_any_more() -> None:
    change = unasked.expired(a_charge(status=S.AUTHORIZED, next_check_at=AT), at=LATER)
    assert change is not None
    after = change.transaction
    assert (after.status, after.failed_at, after.next_check_at, after.updated_at) == ("failed", LATER, None, LATER)
    assert (after.error_code, after.advice) == ("authorization_expired", "try_another_card")
    assert after.error_message == "The authorization ended at the provider before it was captured. No money was taken."
    assert told_of(change) == ("payment_failed", "failed", {"reason": "expired"}, ("transaction.failed",))
    assert (change.attempts, change.refund, change.happened[0].entries) == ((), None, ())


@pytest.mark.parametrize("status", [one for one in S if one is not S.AUTHORIZED])
def test_only_an_authorization_runs_out(status: TransactionStatus) -> None:
    assert unasked.expired(a_charge(status=status), at=AT) is None


# ── A refund comes back ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("refunded", "left", "status"),
    [("5.00", "0.00", "completed"), ("12.00", "7.00", "partially_refunded"), ("19.99", "14.99", "partially_refunded")],
)
def test_a_refund_that_came_back_is_booked_back_and_may_be_made_again(refunded: str, left: str, status: str) -> None:
    sale = a_refunded_sale("5.00", refunded=refunded)
    change = unasked.refund_returned(sale, at=LATER)
    assert change is not None
    assert change.refund is not None
    assert (change.transaction.status, change.transaction.amount_refunded) == (status, Decimal(left))
    assert (change.refund.status, change.refund.failed_at, change.refund.updated_at) == ("failed", LATER, LATER)
    assert (change.refund.error_code, change.refund.advice) == ("refund_failed_later", "contact_support")
    assert change.refund.error_message == "The refund was accepted and then failed: the money came back."
    assert told_of(change) == ("refund_failed", status, {"reason": "returned"}, ("refund.failed",))
    assert change.happened[0].entries == postings.refund_returned(sale.attempt.account_id, Decimal("5.00"))
    assert change.attempts == ()


@pytest.mark.parametrize("status", [one for one in RefundStatus if one is not RefundStatus.COMPLETED])
def test_only_a_completed_refund_comes_back(status: RefundStatus) -> None:
    sale = a_refunded_sale()
    assert sale.refund is not None
    assert unasked.refund_returned(replace(sale, refund=replace(sale.refund, status=status)), at=AT) is None
    assert unasked.refund_returned(replace(sale, refund=None), at=AT) is None


# ── A capture fails later ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_capture_that_failed_later_has_taken_nothing() -> None:
    sale = a_sale()
    change = unasked.capture_returned(sale, at=LATER)
    assert change is not None
    after = change.transaction
    assert (after.status, after.failed_at, after.updated_at) == ("failed", LATER, LATER)
    assert after.amount_captured == 0
    assert (after.error_code, after.advice) == ("capture_failed_later", "contact_support")
    assert after.error_message == "The capture was accepted and then failed: no money was taken."
    assert told_of(change) == ("payment_failed", "failed", {"reason": "capture failed later"}, ("transaction.failed",))
    assert change.happened[0].entries == postings.capture_returned(sale.attempt.account_id, Decimal("19.99"))
    assert (change.attempts, change.refund) == ((), None)


@pytest.mark.parametrize(
    "snapshot",
    [
        a_charge(status=S.AUTHORIZED),
        a_sale(refund_reserved=Decimal("1.00")),
        a_sale(amount_refunded=Decimal("1.00"), status=S.PARTIALLY_REFUNDED),
    ],
    ids=["nothing was captured", "a refund is under way", "some was given back"],
)
def test_what_was_partly_given_back_is_for_a_person(snapshot: Snapshot) -> None:
    assert unasked.capture_returned(snapshot, at=AT) is None


# ── A payer disputes ────────────────────────────────────────────────────────────────────────────────────────────────


def a_dispute(snapshot: Snapshot, state: DisputeState = DisputeState.OPENED, withdrawn: str = "0") -> Dispute:
    return Dispute(
        partner_id=snapshot.transaction.partner_id,
        id=ids.new(),
        transaction_id=snapshot.transaction.id,
        livemode=False,
        provider_dispute_id="dp_1",
        state=state,
        reason="fraudulent",
        amount=Decimal("19.99"),
        currency="USD",
        amount_withdrawn=Decimal(withdrawn),
        created_at=AT,
        updated_at=AT,
    )


def told(state: DisputeState) -> DisputeTold:
    return DisputeTold(
        dispute_id="dp_1",
        provider_transaction_id="pi_1",
        reference=None,
        state=contract.DisputeState(state.value),
        reason="fraudulent",
        amount=Decimal("19.99"),
        currency="USD",
        funds_withdrawn=None,
    )


def disputed(snapshot: Snapshot, known: Dispute | None, after: Dispute) -> Change | None:
    return unasked.disputed(snapshot, known, told(after.state), after, at=LATER)


@pytest.mark.parametrize("state", DisputeState)
def test_a_new_state_of_a_dispute_is_told(state: DisputeState) -> None:
    sale = a_sale()
    change = disputed(sale, None, after := a_dispute(sale, state))
    assert change is not None
    assert change.dispute is after
    assert (change.transaction.status, change.transaction.updated_at) == ("completed", LATER)
    data = {"dispute": "dp_1", "reason": "fraudulent", "withdrawn": "0"}
    assert told_of(change) == (f"dispute_{state}", "completed", data, (f"dispute.{state}",))
    assert (change.happened[0].entries, change.attempts, change.refund) == ((), (), None)


@pytest.mark.parametrize(("before", "after", "moved"), [("0", "19.99", "19.99"), ("19.99", "0", "-19.99")])
def test_what_a_dispute_moves_is_posted_and_told_once(before: str, after: str, moved: str) -> None:
    sale = a_sale()
    known = a_dispute(sale, withdrawn=before)
    change = disputed(sale, known, replace(known, amount_withdrawn=Decimal(after)))
    assert change is not None
    assert change.happened[0].entries == postings.charged_back(sale.attempt.account_id, Decimal(moved))
    assert change.happened[0].data["withdrawn"] == moved
    assert change.happened[0].published == ()  # its state is what it was


def test_a_dispute_that_says_nothing_new_changes_nothing() -> None:
    sale = a_sale()
    known = a_dispute(sale, withdrawn="19.99")
    assert disputed(sale, known, replace(known)) is None


# ── What our books cannot hold ──────────────────────────────────────────────────────────────────────────────────────


def test_a_contradiction_calls_a_person_once() -> None:
    sale = a_sale()
    change = unasked.contradicting(sale, {"reason": "amount or currency differs"}, at=LATER)
    assert change is not None
    assert change.transaction == replace(
        sale.transaction,
        needs_review=True,
        review_reason=ReviewReason.CONTRADICTION,
        version=sale.transaction.version + 1,
        published=sale.transaction.published + 1,
        updated_at=LATER,
    )
    data = {"reason": "amount or currency differs"}
    assert told_of(change) == ("review_requested", "completed", data, ("transaction.needs_review",))
    assert (change.attempts, change.refund) == ((), None)
    assert unasked.contradicting(replace(sale, transaction=change.transaction), {}, at=LATER) is None


# ── A charge that was over takes money after all ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("captured", [True, False])
def test_a_late_success_is_nobodys_until_it_is_given_back(captured: bool) -> None:
    over = a_charge(status=S.FAILED)
    late = replace(over.attempt, state=AttemptState.DECLINED, finished_at=AT)
    other = an_attempt(over.transaction, number=2, state=AttemptState.DECLINED)
    back = an_attempt(over.transaction, number=3, operation=AttemptOperation.COMPENSATE, compensates=late.id)
    snapshot = replace(over, attempts=(other, late, back), attempt_id=back.id)
    approved = Approved(provider_id="pi_late", captured=captured)
    change = unasked.late_success(snapshot, approved, at=LATER)
    found = replace(late, state=AttemptState.COMPENSATING, provider_id="pi_late", updated_at=LATER)
    assert change.attempts == (back, found)
    entries = postings.late_taken(late.account_id, late.amount) if captured else ()
    assert change.happened[0].entries == entries
    assert told_of(change) == ("late_success_found", "failed", outcomes.told(approved), ())
    assert change.transaction == replace(over.transaction, version=over.transaction.version + 1, updated_at=LATER)
    assert change.refund is None


# ── Nobody tells ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_attempt_without_an_outcome_for_too_long_calls_a_person_once() -> None:
    charge = a_charge()
    change = unasked.silent(charge, at=LATER)
    assert change is not None
    assert (change.transaction.needs_review, change.transaction.review_reason) == (True, ReviewReason.SILENCE)
    assert change.transaction.updated_at == LATER
    data = {"reason": "no outcome in time", "attempt": ids.encode("att", charge.attempt_id)}
    assert told_of(change) == ("review_requested", "processing", data, ("transaction.needs_review",))
    assert (change.attempts, change.refund) == ((), None)
    assert unasked.silent(charge.after(change), at=LATER) is None


def test_an_attempt_that_is_over_is_not_silent() -> None:
    charge = a_charge()
    over = replace(charge, attempts=(replace(charge.attempt, finished_at=AT),))
    assert unasked.silent(over, at=LATER) is None


def test_people_take_back_the_call_for_people() -> None:
    flagged = a_sale(needs_review=True, review_reason=ReviewReason.CONTRADICTION)
    change = unasked.reviewed(flagged, {"by": "ada"}, at=LATER)
    assert change is not None
    assert (change.transaction.needs_review, change.transaction.review_reason) == (False, None)
    assert change.transaction.updated_at == LATER
    assert told_of(change) == ("review_resolved", "completed", {"by": "ada"}, ())
    assert (change.attempts, change.refund) == ((), None)
    assert unasked.reviewed(a_sale(), {}, at=LATER) is None
