"""What each outcome of each operation changes, as a table: see test_conclusions.py."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from db.records import (
    AttemptOperation,
    AttemptState,
    RefundStatus,
    ReviewReason,
    TransactionEventType,
    TransactionStatus,
)
from gateway.transactions import failures, postings
from gateway.transactions.changes import Snapshot
from gateway.transactions.postings import Entry
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
    ruled_out,
)
from tests.builders import AT, a_cancel, a_capture, a_charge, a_refunding, an_attempt

E, S, A = TransactionEventType, TransactionStatus, AttemptState
LATER = AT + timedelta(seconds=1)
APPROVED = Approved(provider_id="psp_1", card=Card(brand="visa", last4="4242"))
AUTHORIZED = Approved(provider_id="psp_1", captured=False)
DECLINED = Declined(code="stolen_card", kind=DeclineKind.HARD, may_fail_over=False, provider_code="43", message="No.")
EXPIRED = replace(DECLINED, code="expired_authorization")
REJECTED = Rejected(provider_code="bad_request", message="What?")
NOT_SENT = NotSent(reason=NotSentReason.UNREACHABLE)
ACTION = ActionRequired(provider_id="psp_1", url="https://psp.example/3ds")
ACT_THERE = {"type": "redirect_to_url", "url": "https://psp.example/3ds"}
PENDING, UNKNOWN, FOUND = Pending(provider_id="psp_1"), Unknown(reason="lost"), Unknown(reason="?", provider_id="psp_1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What changes; everything that is not named stays as it was."""

    state: AttemptState
    transaction: dict[str, Any] = field(default_factory=dict)
    refund: dict[str, Any] | None = None
    lines: tuple[tuple[TransactionEventType, tuple[str, ...], tuple[Entry, ...]], ...] = ()
    provider_id: str | None = None
    final: bool = False
    release: bool = False


def line(event_type: TransactionEventType, *published: str, entries: tuple[Entry, ...] = ()) -> Any:
    return event_type, published, entries


def looked_after(snapshot: Snapshot) -> Snapshot:
    """As it is between two checks: the next one is set, and an address to act at is still shown."""
    transaction = replace(snapshot.transaction, next_check_at=AT, next_action={"url": "https://psp.example/old"})
    return replace(snapshot, transaction=transaction)


def a_compensation(*, captured: bool) -> Snapshot:
    """What came late is about to be given back."""
    over = a_charge(status=S.FAILED)
    late = replace(over.attempt, state=A.COMPENSATING, finished_at=AT)
    back = an_attempt(
        over.transaction,
        number=2,
        operation=AttemptOperation.COMPENSATE,
        compensates=late.id,
        routing={"captured": captured},
        idempotency_key=None,
    )
    return replace(over, attempts=(late, back), attempt_id=back.id)


CHARGE = looked_after(a_charge())
WAITING = replace(CHARGE, attempts=(replace(CHARGE.attempt, state=A.WAITING, provider_id="psp_0"),))
ACTING = replace(WAITING, transaction=replace(WAITING.transaction, status=S.REQUIRES_ACTION, card_brand="amex"))
CAPTURE, CANCEL, REFUND = (looked_after(one) for one in (a_capture("7.00"), a_cancel(), a_refunding("5.00")))
GIVEN_BACK, LET_GO = a_compensation(captured=True), a_compensation(captured=False)
OVER = {"next_check_at": None, "next_action": None}
FAILED = {"status": S.FAILED, "failed_at": LATER} | OVER
FREED = {"refund_reserved": Decimal("0.00")}
UNCAPTURED = {"capture_pending": Decimal("0.00")}


def account_of(snapshot: Snapshot) -> UUID:
    return snapshot.attempt.account_id


def columns(failure: Any) -> dict[str, Any]:
    return {name: getattr(failure, name) for name in failure.__slots__}


NOT_CAPTURED = Step(state=A.DECLINED, transaction=UNCAPTURED | OVER, lines=(line(E.CAPTURE_FAILED),))
NOT_CANCELLED = Step(state=A.DECLINED, transaction=OVER, lines=(line(E.CANCEL_FAILED),))

DECISIONS: dict[str, tuple[Snapshot, Outcome, Step]] = {
    "a sale is approved": (
        CHARGE,
        APPROVED,
        Step(
            state=A.SUCCEEDED,
            transaction={"status": S.COMPLETED, "amount_captured": Decimal("19.99"), "processed_at": LATER}
            | {"provider_transaction_id": "psp_1"}
            | {"card_brand": "visa", "card_last4": "4242"}
            | OVER,
            lines=(
                line(
                    E.PAYMENT_COMPLETED,
                    "transaction.completed",
                    entries=postings.captured(account_of(CHARGE), Decimal("19.99")),
                ),
            ),
            provider_id="psp_1",
            final=True,
        ),
    ),
    "an authorization is approved, and says nothing of the card": (
        ACTING,
        AUTHORIZED,
        Step(
            state=A.SUCCEEDED,
            transaction={"status": S.AUTHORIZED, "processed_at": LATER, "provider_transaction_id": "psp_1"} | OVER,
            lines=(line(E.PAYMENT_AUTHORIZED, "transaction.authorized"),),
            provider_id="psp_1",
            final=True,
        ),
    ),
    "a charge is declined": (
        CHARGE,
        replace(DECLINED, provider_id="psp_1"),
        Step(
            state=A.DECLINED,
            transaction=FAILED | columns(failures.of_charge(DECLINED, "card")) | {"provider_transaction_id": "psp_1"},
            lines=(line(E.PAYMENT_FAILED, "transaction.failed"),),
            provider_id="psp_1",
            final=True,
        ),
    ),
    "a charge that waited is declined, and the PSP does not repeat its id": (
        WAITING,
        DECLINED,
        Step(
            state=A.DECLINED,
            transaction=FAILED | columns(failures.of_charge(DECLINED, "card")),
            lines=(line(E.PAYMENT_FAILED, "transaction.failed"),),
            provider_id="psp_0",
            final=True,
        ),
    ),
    "a charge is ruled out": (
        CHARGE,
        ruled_out("psp_1"),
        Step(
            state=A.CANCELLED_CONFIRMED,
            transaction=FAILED
            | columns(failures.of_charge(ruled_out("psp_1"), "card"))
            | {"provider_transaction_id": "psp_1"},
            lines=(line(E.PAYMENT_FAILED, "transaction.failed"),),
            provider_id="psp_1",
            final=True,
        ),
    ),
    "a charge is rejected": (
        CHARGE,
        REJECTED,
        Step(
            state=A.DECLINED,
            transaction=FAILED | columns(failures.of_charge(REJECTED, "card")),
            lines=(line(E.PAYMENT_FAILED, "transaction.failed"),),
            final=True,
        ),
    ),
    "a charge is not sent": (
        CHARGE,
        NOT_SENT,
        Step(
            state=A.FAILED_NOT_SENT,
            transaction=FAILED | columns(failures.of_charge(NOT_SENT, "card")) | {"idempotency_key": None},
            lines=(line(E.PAYMENT_FAILED, "transaction.failed"),),
            release=True,
        ),
    ),
    "a capture is approved": (
        CAPTURE,
        APPROVED,
        Step(
            state=A.SUCCEEDED,
            transaction={"status": S.COMPLETED, "amount_captured": Decimal("7.00"), "processed_at": LATER}
            | UNCAPTURED
            | OVER,
            lines=(
                line(
                    E.PAYMENT_COMPLETED,
                    "transaction.completed",
                    entries=postings.captured(account_of(CAPTURE), Decimal("7.00")),
                ),
            ),
            provider_id="psp_1",
            final=True,
        ),
    ),
    "a capture comes too late": (
        CAPTURE,
        EXPIRED,
        Step(
            state=A.DECLINED,
            transaction=FAILED | UNCAPTURED | columns(failures.expired(EXPIRED)),
            lines=(line(E.PAYMENT_FAILED, "transaction.failed"),),
            final=True,
        ),
    ),
    "a capture is declined": (CAPTURE, DECLINED, NOT_CAPTURED),
    "a capture is rejected": (CAPTURE, REJECTED, NOT_CAPTURED),
    "a capture is not sent": (
        CAPTURE,
        NOT_SENT,
        Step(state=A.FAILED_NOT_SENT, transaction=UNCAPTURED | OVER, lines=(line(E.CAPTURE_FAILED),), release=True),
    ),
    "a cancel is approved": (
        CANCEL,
        APPROVED,
        Step(
            state=A.SUCCEEDED,
            transaction={"status": S.CANCELLED, "processed_at": LATER} | OVER,
            lines=(line(E.PAYMENT_CANCELLED, "transaction.cancelled"),),
            provider_id="psp_1",
            final=True,
        ),
    ),
    "a cancel is declined": (CANCEL, DECLINED, NOT_CANCELLED),
    "a cancel is rejected": (CANCEL, REJECTED, NOT_CANCELLED),
    "a cancel is not sent": (
        CANCEL,
        NOT_SENT,
        Step(state=A.FAILED_NOT_SENT, transaction=OVER, lines=(line(E.CANCEL_FAILED),), release=True),
    ),
    "a refund is approved": (
        REFUND,
        APPROVED,
        Step(
            state=A.SUCCEEDED,
            transaction={"status": S.PARTIALLY_REFUNDED, "amount_refunded": Decimal("5.00")} | FREED | OVER,
            refund={"status": RefundStatus.COMPLETED, "provider_refund_id": "psp_1", "processed_at": LATER},
            lines=(
                line(
                    E.REFUND_COMPLETED,
                    *("refund.completed", "transaction.partially_refunded"),
                    entries=postings.refunded(account_of(REFUND), Decimal("5.00")),
                ),
            ),
            provider_id="psp_1",
            final=True,
        ),
    ),
    "a refund is declined": (
        REFUND,
        DECLINED,
        Step(
            state=A.DECLINED,
            transaction=FREED | OVER,
            refund={"status": RefundStatus.FAILED, "failed_at": LATER} | columns(failures.of_refund(DECLINED)),
            lines=(line(E.REFUND_FAILED, "refund.failed"),),
            final=True,
        ),
    ),
    "what came late is given back": (
        GIVEN_BACK,
        APPROVED,
        Step(
            state=A.SUCCEEDED,
            transaction=OVER,
            lines=(
                line(
                    E.DUPLICATE_COMPENSATED,
                    "transaction.duplicate_compensated",
                    entries=postings.late_returned(account_of(GIVEN_BACK), Decimal("19.99")),
                ),
            ),
            provider_id="psp_1",
            final=True,
        ),
    ),
    "what was only held is let go": (
        LET_GO,
        APPROVED,
        Step(
            state=A.SUCCEEDED,
            lines=(line(E.DUPLICATE_COMPENSATED, "transaction.duplicate_compensated"),),
            provider_id="psp_1",
            final=True,
        ),
    ),
    "what came late cannot be given back": (
        GIVEN_BACK,
        DECLINED,
        Step(
            state=A.DECLINED,
            transaction={"needs_review": True, "review_reason": ReviewReason.COMPENSATION},
            lines=(line(E.COMPENSATION_FAILED), line(E.REVIEW_REQUESTED, "transaction.needs_review")),
            final=True,
        ),
    ),
}

UNDECIDED: dict[str, tuple[Snapshot, Outcome, Step]] = {
    "a charge is pending": (
        CHARGE,
        PENDING,
        Step(
            state=A.WAITING,
            transaction={"provider_transaction_id": "psp_1"},
            lines=(line(E.PAYMENT_PROCESSING, "transaction.processing"),),
            provider_id="psp_1",
        ),
    ),
    "a charge is unknown": (
        CHARGE,
        UNKNOWN,
        Step(state=A.UNKNOWN, lines=(line(E.PAYMENT_PROCESSING, "transaction.processing"),)),
    ),
    "a charge is unknown, but the PSP has a name for it": (
        CHARGE,
        FOUND,
        Step(
            state=A.UNKNOWN,
            transaction={"provider_transaction_id": "psp_1"},
            lines=(line(E.PAYMENT_PROCESSING, "transaction.processing"),),
            provider_id="psp_1",
        ),
    ),
    "a charge is not found": (
        CHARGE,
        Absent(),
        Step(state=A.UNKNOWN, lines=(line(E.PAYMENT_PROCESSING, "transaction.processing"),)),
    ),
    "a charge that waits goes on waiting": (WAITING, UNKNOWN, Step(state=A.WAITING, provider_id="psp_0")),
    "the customer must act": (
        CHARGE,
        ACTION,
        Step(
            state=A.WAITING,
            transaction={"status": S.REQUIRES_ACTION, "provider_transaction_id": "psp_1", "next_action": ACT_THERE},
            lines=(line(E.PAYMENT_REQUIRES_ACTION, "transaction.requires_action"),),
            provider_id="psp_1",
            final=True,
        ),
    ),
    "the customer must still act": (
        ACTING,
        ACTION,
        Step(
            state=A.WAITING,
            transaction={"provider_transaction_id": "psp_1", "next_action": ACT_THERE},
            provider_id="psp_1",
        ),
    ),
    "a capture is pending": (
        CAPTURE,
        PENDING,
        Step(state=A.WAITING, lines=(line(E.CAPTURE_PROCESSING),), provider_id="psp_1"),
    ),
    "a capture is unknown": (CAPTURE, UNKNOWN, Step(state=A.UNKNOWN, lines=(line(E.CAPTURE_PROCESSING),))),
    "a cancel is unknown": (CANCEL, UNKNOWN, Step(state=A.UNKNOWN, lines=(line(E.CANCEL_PROCESSING),))),
    "a refund is pending": (
        REFUND,
        PENDING,
        Step(
            state=A.WAITING,
            refund={"status": RefundStatus.PROCESSING, "provider_refund_id": "psp_1"},
            lines=(line(E.REFUND_PROCESSING),),
            provider_id="psp_1",
        ),
    ),
    "a refund is not sent": (
        REFUND,
        NOT_SENT,
        Step(state=A.UNKNOWN, refund={"status": RefundStatus.PROCESSING}, lines=(line(E.REFUND_PROCESSING),)),
    ),
    "what came late cannot be given back yet": (
        GIVEN_BACK,
        UNKNOWN,
        Step(state=A.UNKNOWN, lines=(line(E.COMPENSATION_PROCESSING),)),
    ),
}
