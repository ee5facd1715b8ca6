"""How the API shows a transaction and all that belongs to it: the only place that builds a partner-facing body.

The shapes are TypedDicts, so mypy holds the builders to them and the OpenAPI document is generated from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, NotRequired
from uuid import UUID

from pydantic_core import to_json
from typing_extensions import TypedDict

from db import ids
from db.records import (
    Attempt,
    Dispute,
    LedgerEntry,
    Refund,
    RefundStatus,
    Transaction,
    TransactionEvent,
    TransactionStatus,
)

MoneyMoved = Literal["no", "yes", "unknown"]

EVENT_TYPES: tuple[str, ...] = (
    *(f"transaction.{name}" for name in ("created", "processing", "requires_action", "authorized", "completed")),
    *(f"transaction.{name}" for name in ("failed", "cancelled", "partially_refunded", "refunded", "needs_review")),
    "transaction.duplicate_compensated",
    *(f"refund.{name}" for name in ("created", "completed", "failed")),
    *(f"dispute.{name}" for name in ("opened", "won", "lost")),
    "endpoint.disabled",
    "endpoint.enabled",
    "endpoint.manifest",
    "ping",
)
"""Every event a partner can subscribe to."""


class FailureBody(TypedDict):
    code: str
    decline_code: str | None
    message: str | None
    advice: str | None
    provider_code: str | None


class NextAction(TypedDict):
    type: Literal["redirect_to_url"]
    url: str


class PaymentMethodBody(TypedDict):
    id: str | None
    type: str
    brand: str | None
    last4: str | None
    country: str | None


class CustomerBody(TypedDict):
    id: str | None
    email: str | None
    name: str | None
    phone: str | None


class AttemptBody(TypedDict):
    id: str
    operation: str
    provider: str
    provider_account_id: str
    state: str
    outcome: str | None
    provider_code: str | None
    created_at: str
    finished_at: str | None


class RefundBody(TypedDict):
    id: str
    object: Literal["refund"]
    livemode: bool
    transaction_id: str
    status: str
    amount: str
    currency: str
    money_moved: MoneyMoved
    reason: str
    note: str | None
    provider_refund_id: str | None
    failure: FailureBody | None
    created_at: str
    updated_at: str
    processed_at: str | None
    failed_at: str | None


class DisputeBody(TypedDict):
    id: str
    object: Literal["dispute"]
    livemode: bool
    transaction_id: str
    status: str
    amount: str
    currency: str
    amount_withdrawn: str
    reason: str | None
    provider_dispute_id: str
    created_at: str
    updated_at: str


class TransactionEventBody(TypedDict):
    object: Literal["transaction_event"]
    transaction_id: str
    sequence: int
    type: str
    status: str
    created_by: str
    attempt_id: str | None
    refund_id: str | None
    data: Mapping[str, Any]
    created_at: str


class LedgerEntryBody(TypedDict):
    id: str
    object: Literal["ledger_entry"]
    livemode: bool
    transaction_id: str
    sequence: int
    account: str
    direction: Literal["debit", "credit"]
    amount: str
    currency: str
    created_at: str


class TransactionBody(TypedDict):
    id: str
    object: Literal["transaction"]
    livemode: bool
    version: int
    status: str
    amount: str
    currency: str
    amount_captured: str
    amount_refunded: str
    amount_refundable: str
    capture: str
    money_moved: MoneyMoved
    needs_review: bool
    next_check_at: str | None
    payment_method: PaymentMethodBody
    provider: str | None
    provider_transaction_id: str | None
    failure: FailureBody | None
    next_action: NextAction | None
    attempts: list[AttemptBody]
    customer: CustomerBody
    business_unit: str | None
    reference: str | None
    description: str | None
    statement_descriptor: str | None
    metadata: Mapping[str, str]
    return_url: str | None
    created_at: str
    updated_at: str
    processed_at: str | None
    failed_at: str | None
    events: NotRequired[list[TransactionEventBody]]
    refunds: NotRequired[list[RefundBody]]
    ledger: NotRequired[list[LedgerEntryBody]]
    deliveries: NotRequired[list[Mapping[str, Any]]]


def transaction_body(transaction: Transaction, attempts: Sequence[Attempt], *, places: int) -> TransactionBody:
    """`places` is the number of decimals of the transaction's currency."""
    return {
        "id": ids.encode("txn", transaction.id),
        "object": "transaction",
        "livemode": transaction.livemode,
        "version": transaction.version,
        "status": transaction.status.value,
        "amount": money(transaction.amount, places),
        "currency": transaction.currency,
        "amount_captured": money(transaction.amount_captured, places),
        "amount_refunded": money(transaction.amount_refunded, places),
        "amount_refundable": money(transaction.amount_refundable, places),
        "capture": transaction.capture.value,
        "money_moved": money_moved(transaction, attempts),
        "needs_review": transaction.needs_review,
        "next_check_at": time(transaction.next_check_at),
        "payment_method": {
            "id": _id("pmt", transaction.stored_payment_method_id),
            "type": transaction.payment_method,
            "brand": transaction.card_brand,
            "last4": transaction.card_last4,
            "country": transaction.card_country,
        },
        "provider": transaction.provider,
        "provider_transaction_id": transaction.provider_transaction_id,
        "failure": _failure(transaction),
        "next_action": _next_action(transaction),
        "attempts": [attempt_body(attempt) for attempt in attempts],
        "customer": {
            "id": _id("cus", transaction.customer_id),
            "email": transaction.customer_email,
            "name": transaction.customer_name,
            "phone": transaction.customer_phone,
        },
        "business_unit": transaction.business_unit,
        "reference": transaction.reference,
        "description": transaction.description,
        "statement_descriptor": transaction.statement_descriptor,
        "metadata": transaction.metadata,
        "return_url": transaction.return_url,
        "created_at": instant(transaction.created_at),
        "updated_at": instant(transaction.updated_at),
        "processed_at": time(transaction.processed_at),
        "failed_at": time(transaction.failed_at),
    }


def attempt_body(attempt: Attempt) -> AttemptBody:
    told = attempt.outcome or {}
    return {
        "id": ids.encode("att", attempt.id),
        "operation": attempt.operation.value,
        "provider": attempt.provider,
        "provider_account_id": ids.encode("pac", attempt.account_id),
        "state": attempt.state.value,
        "outcome": told.get("outcome"),
        "provider_code": told.get("provider_code"),
        "created_at": instant(attempt.created_at),
        "finished_at": time(attempt.finished_at),
    }


def refund_body(refund: Refund, *, places: int) -> RefundBody:
    return {
        "id": ids.encode("rfd", refund.id),
        "object": "refund",
        "livemode": refund.livemode,
        "transaction_id": ids.encode("txn", refund.transaction_id),
        "status": refund.status.value,
        "amount": money(refund.amount, places),
        "currency": refund.currency,
        "money_moved": refund_moved(refund.status),
        "reason": refund.reason.value,
        "note": refund.note,
        "provider_refund_id": refund.provider_refund_id,
        "failure": _failure(refund),
        "created_at": instant(refund.created_at),
        "updated_at": instant(refund.updated_at),
        "processed_at": time(refund.processed_at),
        "failed_at": time(refund.failed_at),
    }


def dispute_body(dispute: Dispute, *, places: int) -> DisputeBody:
    return {
        "id": ids.encode("dsp", dispute.id),
        "object": "dispute",
        "livemode": dispute.livemode,
        "transaction_id": ids.encode("txn", dispute.transaction_id),
        "status": dispute.state.value,
        "amount": money(dispute.amount, places),
        "currency": dispute.currency,
        "amount_withdrawn": money(dispute.amount_withdrawn, places),
        "reason": dispute.reason,
        "provider_dispute_id": dispute.provider_dispute_id,
        "created_at": instant(dispute.created_at),
        "updated_at": instant(dispute.updated_at),
    }


def transaction_event_body(event: TransactionEvent) -> TransactionEventBody:
    return {
        "object": "transaction_event",
        "transaction_id": ids.encode("txn", event.transaction_id),
        "sequence": event.sequence,
        "type": event.event_type.value,
        "status": event.status.value,
        "created_by": event.created_by,
        "attempt_id": _id("att", event.attempt_id),
        "refund_id": _id("rfd", event.refund_id),
        "data": event.data,
        "created_at": instant(event.created_at),
    }


def ledger_entry_body(entry: LedgerEntry, *, places: int) -> LedgerEntryBody:
    return {
        "id": ids.encode("led", entry.id),
        "object": "ledger_entry",
        "livemode": entry.livemode,
        "transaction_id": ids.encode("txn", entry.transaction_id),
        "sequence": entry.sequence,
        "account": entry.account,
        "direction": "debit" if entry.amount > 0 else "credit",
        "amount": money(abs(entry.amount), places),
        "currency": entry.currency,
        "created_at": instant(entry.created_at),
    }


def event_text(event_id: UUID, event_type: str, *, at: datetime, sequence: int | None, data: str) -> str:
    """The exact text of an event: what is stored, signed and sent, now and at every retry.

    `data` is the text of what it is about, which is often an answer's too and need not be put into JSON twice.
    """
    head = encode(
        {
            "id": ids.encode("evt", event_id),
            "type": event_type,
            "timestamp": instant(at),
            "sequence": sequence,
        }
    )
    return f'{head[:-1]},"data":{data}}}'


def encode(body: Mapping[str, object]) -> str:
    """Compact JSON, the letters of every language as they are."""
    return to_json(body).decode()


def money_moved(transaction: Transaction, attempts: Iterable[Attempt]) -> MoneyMoved:
    """`unknown` as long as a PSP may still take the money without our knowing; a mere authorization is `no`.

    What came late and was given back did move, as what was refunded did.
    """
    late = any(one.compensates is not None and (one.routing or {}).get("captured") for one in attempts)
    if transaction.amount_captured > 0 or late:
        return "yes"
    open_ended = transaction.status in {TransactionStatus.PROCESSING, TransactionStatus.REQUIRES_ACTION}
    return "unknown" if open_ended or transaction.capture_pending > 0 else "no"


def refund_moved(status: RefundStatus) -> MoneyMoved:
    moved: Mapping[RefundStatus, MoneyMoved] = {
        RefundStatus.PENDING: "unknown",
        RefundStatus.PROCESSING: "unknown",
        RefundStatus.COMPLETED: "yes",
        RefundStatus.FAILED: "no",
    }
    return moved[status]


def money(amount: Decimal, places: int) -> str:
    return f"{amount:.{places}f}"


def instant(at: datetime) -> str:
    """RFC 3339 in UTC with microseconds."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def time(at: datetime | None) -> str | None:
    return None if at is None else instant(at)


def _failure(failed: Transaction | Refund) -> FailureBody | None:
    if failed.error_code is None:
        return None
    return {
        "code": failed.error_code,
        "decline_code": failed.decline_code,
        "message": failed.error_message,
        "advice": failed.advice,
        "provider_code": failed.provider_code,
    }


def _next_action(transaction: Transaction) -> NextAction | None:
    if transaction.next_action is None:
        return None
    return {"type": "redirect_to_url", "url": transaction.next_action["url"]}


def _id(prefix: str, value: UUID | None) -> str | None:
    return None if value is None else ids.encode(prefix, value)
