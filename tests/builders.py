"""Valid records to start a test from; name only what the test is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from db import ids
from db.records import (
    Attempt,
    AttemptOperation,
    AttemptState,
    CaptureMode,
    Refund,
    RefundReason,
    RefundStatus,
    Transaction,
    TransactionStatus,
)
from gateway.transactions.changes import Snapshot

AT = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)


def a_transaction(**members: Any) -> Transaction:
    given: dict[str, Any] = {
        "partner_id": ids.new(),
        "id": ids.new(),
        "livemode": False,
        "version": 2,
        "published": 1,
        "idempotency_key": "key-00000001",
        "status": TransactionStatus.PROCESSING,
        "amount": Decimal("19.99"),
        "currency": "USD",
        "capture": CaptureMode.AUTOMATIC,
        "payment_method": "card",
        "provider": "stripe",
        "provider_account_id": ids.new(),
        "metadata": {},
        "created_at": AT,
        "updated_at": AT,
    }
    return Transaction(**given | members)


def an_attempt(transaction: Transaction, **members: Any) -> Attempt:
    given: dict[str, Any] = {
        "partner_id": transaction.partner_id,
        "id": ids.new(),
        "transaction_id": transaction.id,
        "number": 1,
        "operation": AttemptOperation.CHARGE,
        "amount": transaction.amount,
        "account_id": transaction.provider_account_id,
        "provider": "stripe",
        "state": AttemptState.SENDING,
        "provider_key": "k" * 43,
        "request": "{}",
        "idempotency_key": transaction.idempotency_key,
        "review_after": timedelta(hours=22),
        "created_at": AT,
        "updated_at": AT,
    }
    return Attempt(**given | members)


def a_refund(transaction: Transaction, **members: Any) -> Refund:
    given: dict[str, Any] = {
        "partner_id": transaction.partner_id,
        "id": ids.new(),
        "transaction_id": transaction.id,
        "livemode": transaction.livemode,
        "idempotency_key": "key-00000002",
        "amount": transaction.amount,
        "currency": transaction.currency,
        "reason": RefundReason.REQUESTED_BY_CUSTOMER,
        "note": None,
        "status": RefundStatus.PENDING,
        "created_at": AT,
        "updated_at": AT,
    }
    return Refund(**given | members)


def a_charge(**members: Any) -> Snapshot:
    """A charge that was just sent."""
    transaction = a_transaction(**members)
    attempt = an_attempt(transaction)
    return Snapshot(transaction=transaction, attempts=(attempt,), attempt_id=attempt.id)


def a_capture(amount: str = "19.99") -> Snapshot:
    """A capture of an authorization, just sent."""
    transaction = a_transaction(
        status=TransactionStatus.AUTHORIZED, capture=CaptureMode.MANUAL, capture_pending=Decimal(amount)
    )
    authorized = an_attempt(transaction, state=AttemptState.SUCCEEDED, finished_at=AT)
    attempt = an_attempt(transaction, number=2, operation=AttemptOperation.CAPTURE, amount=Decimal(amount))
    return Snapshot(transaction=transaction, attempts=(authorized, attempt), attempt_id=attempt.id)


def a_cancel(status: TransactionStatus = TransactionStatus.AUTHORIZED) -> Snapshot:
    """A cancel, just sent, of an authorization or of a charge that waits for the customer."""
    transaction = a_transaction(status=status, capture=CaptureMode.MANUAL)
    waits = status is TransactionStatus.REQUIRES_ACTION
    charge = an_attempt(
        transaction,
        state=AttemptState.WAITING if waits else AttemptState.SUCCEEDED,
        finished_at=None if waits else AT,
    )
    attempt = an_attempt(transaction, number=2, operation=AttemptOperation.CANCEL)
    return Snapshot(transaction=transaction, attempts=(charge, attempt), attempt_id=attempt.id)


def a_refunding(amount: str = "5.00", *, captured: str = "19.99", refunded: str = "0") -> Snapshot:
    """A refund, just sent, its amount reserved."""
    status = TransactionStatus.PARTIALLY_REFUNDED if Decimal(refunded) else TransactionStatus.COMPLETED
    transaction = a_transaction(
        status=status,
        amount_captured=Decimal(captured),
        amount_refunded=Decimal(refunded),
        refund_reserved=Decimal(amount),
    )
    charge = an_attempt(transaction, state=AttemptState.SUCCEEDED, finished_at=AT)
    refund = a_refund(transaction, amount=Decimal(amount))
    attempt = an_attempt(
        transaction, number=2, operation=AttemptOperation.REFUND, amount=Decimal(amount), refund_id=refund.id
    )
    return Snapshot(transaction=transaction, attempts=(charge, attempt), attempt_id=attempt.id, refund=refund)
