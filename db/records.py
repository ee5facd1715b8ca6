"""The nouns on one page: what the tables hold, as frozen values. Field names are column names.
Amounts are Decimals in major units; times are aware and in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID


class TransactionStatus(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    REQUIRES_ACTION = "requires_action"
    AUTHORIZED = "authorized"
    COMPLETED = "completed"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class CaptureMode(StrEnum):
    AUTOMATIC = "automatic"
    MANUAL = "manual"


class RefundStatus(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


class RefundReason(StrEnum):
    REQUESTED_BY_CUSTOMER = "requested_by_customer"
    DUPLICATE = "duplicate"
    FRAUDULENT = "fraudulent"
    OTHER = "other"


class AttemptOperation(StrEnum):
    CHARGE = "charge"
    CAPTURE = "capture"
    CANCEL = "cancel"
    REFUND = "refund"
    COMPENSATE = "compensate"


class AttemptState(StrEnum):
    CREATED = "created"
    SENDING = "sending"
    WAITING = "waiting"
    UNKNOWN = "unknown"
    RESOLVING = "resolving"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    FAILED_NOT_SENT = "failed_not_sent"
    ABSENT_CONFIRMED = "absent_confirmed"
    CANCELLED_CONFIRMED = "cancelled_confirmed"
    LATE_SUCCESS = "late_success"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"


class TransactionEventType(StrEnum):
    CREATED = "created"
    PAYMENT_INITIATED = "payment_initiated"
    PAYMENT_PROCESSING = "payment_processing"
    PAYMENT_REQUIRES_ACTION = "payment_requires_action"
    PAYMENT_AUTHORIZED = "payment_authorized"
    PAYMENT_COMPLETED = "payment_completed"
    PAYMENT_FAILED = "payment_failed"
    PAYMENT_CANCELLED = "payment_cancelled"
    CAPTURE_INITIATED = "capture_initiated"
    CAPTURE_PROCESSING = "capture_processing"
    CAPTURE_FAILED = "capture_failed"
    CANCEL_INITIATED = "cancel_initiated"
    CANCEL_PROCESSING = "cancel_processing"
    CANCEL_FAILED = "cancel_failed"
    REFUND_INITIATED = "refund_initiated"
    REFUND_PROCESSING = "refund_processing"
    REFUND_COMPLETED = "refund_completed"
    REFUND_FAILED = "refund_failed"
    WEBHOOK_RECEIVED = "webhook_received"
    DISPUTE_OPENED = "dispute_opened"
    DISPUTE_WON = "dispute_won"
    DISPUTE_LOST = "dispute_lost"
    REVIEW_REQUESTED = "review_requested"
    LATE_SUCCESS_FOUND = "late_success_found"
    COMPENSATION_PROCESSING = "compensation_processing"
    COMPENSATION_FAILED = "compensation_failed"
    DUPLICATE_COMPENSATED = "duplicate_compensated"
    REVIEW_RESOLVED = "review_resolved"
    PAYMENT_FAILED_OVER = "payment_failed_over"


class ReviewReason(StrEnum):
    """Why a person must look. Silence ends by itself where the PSP speaks after all; the others are for people."""

    SILENCE = "silence"
    CONTRADICTION = "contradiction"
    COMPENSATION = "compensation"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose rows, and of which mode: what every question a partner asks is limited to."""

    partner_id: UUID
    livemode: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a payment or refund failed, in our words and (`provider_code`) in the PSP's."""

    error_code: str | None = None
    error_message: str | None = None
    decline_code: str | None = None
    advice: str | None = None
    provider_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    partner_id: UUID
    id: UUID
    livemode: bool
    version: int
    published: int
    idempotency_key: str | None
    status: TransactionStatus
    amount: Decimal
    currency: str
    amount_captured: Decimal = Decimal(0)
    capture_pending: Decimal = Decimal(0)
    amount_refunded: Decimal = Decimal(0)
    refund_reserved: Decimal = Decimal(0)
    capture: CaptureMode
    payment_method: str
    stored_payment_method_id: UUID | None = None
    card_brand: str | None = None
    card_last4: str | None = None
    card_country: str | None = None
    provider: str | None = None
    provider_account_id: UUID | None = None
    provider_transaction_id: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    decline_code: str | None = None
    advice: str | None = None
    provider_code: str | None = None
    next_action: Mapping[str, Any] | None = None
    next_check_at: datetime | None = None
    needs_review: bool = False
    review_reason: ReviewReason | None = None
    customer_id: UUID | None = None
    customer_email: str | None = None
    customer_name: str | None = None
    customer_phone: str | None = None
    business_unit: str | None = None
    reference: str | None = None
    description: str | None = None
    statement_descriptor: str | None = None
    metadata: Mapping[str, str]
    return_url: str | None = None
    created_at: datetime
    updated_at: datetime
    processed_at: datetime | None = None
    failed_at: datetime | None = None

    @property
    def amount_refundable(self) -> Decimal:
        return self.amount_captured - self.amount_refunded - self.refund_reserved


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    partner_id: UUID
    id: UUID
    transaction_id: UUID
    livemode: bool
    idempotency_key: str | None
    amount: Decimal
    currency: str
    reason: RefundReason
    note: str | None
    status: RefundStatus
    provider_refund_id: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    decline_code: str | None = None
    advice: str | None = None
    provider_code: str | None = None
    created_at: datetime
    updated_at: datetime
    processed_at: datetime | None = None
    failed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One thing asked of a PSP. `request` is exactly what is sent; `epoch` fences out writers that lost their lease."""

    partner_id: UUID
    id: UUID
    transaction_id: UUID
    refund_id: UUID | None = None
    number: int
    operation: AttemptOperation
    amount: Decimal
    account_id: UUID
    provider: str
    state: AttemptState
    provider_key: str
    request: str
    idempotency_key: str | None
    epoch: int = 1
    lease_until: datetime | None = None
    resend_until: datetime | None = None
    review_after: timedelta
    next_check_at: datetime | None = None
    checks: int = 0
    provider_id: str | None = None
    outcome: Mapping[str, Any] | None = None
    routing: Mapping[str, Any] | None = None
    compensates: UUID | None = None
    """The late success that this attempt gives back."""
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None


class DisputeState(StrEnum):
    OPENED = "opened"
    WON = "won"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """A payer contests a captured payment; `amount_withdrawn` is what the PSP took back from us so far."""

    partner_id: UUID
    id: UUID
    transaction_id: UUID
    livemode: bool
    provider_dispute_id: str
    state: DisputeState
    reason: str | None
    amount: Decimal
    currency: str
    amount_withdrawn: Decimal
    created_at: datetime
    updated_at: datetime


class ProviderEventState(StrEnum):
    RECEIVED = "received"
    APPLIED = "applied"
    IGNORED = "ignored"
    PARKED = "parked"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderEvent:
    """One verified item of a PSP's notification, as it came."""

    id: UUID
    account_id: UUID
    provider: str
    dedupe_key: str
    body: bytes
    state: ProviderEventState
    tries: int
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionEvent:
    partner_id: UUID
    transaction_id: UUID
    sequence: int
    event_type: TransactionEventType
    status: TransactionStatus
    attempt_id: UUID | None
    refund_id: UUID | None
    data: Mapping[str, Any]
    created_by: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """Debits are positive, credits negative; the entries of one transaction event sum to zero."""

    partner_id: UUID
    transaction_id: UUID
    sequence: int
    account: str
    currency: str
    amount: Decimal
    id: UUID
    livemode: bool
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedEvent:
    """An event as partners receive it; `body` is the exact text that is signed."""

    partner_id: UUID
    id: UUID
    livemode: bool
    type: str
    transaction_id: UUID | None
    sequence: int | None
    body: str
    created_at: datetime


class EndpointState(StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Without its secrets and the values of its headers: they leave the database for sending only."""

    partner_id: UUID
    id: UUID
    livemode: bool
    url: str
    event_types: Sequence[str]
    description: str | None
    state: EndpointState
    disabled_reason: str | None
    consecutive_failures: int
    failing_since: datetime | None
    previous_secret_expires_at: datetime | None
    header_names: Sequence[str]
    rate_limit_per_second: int | None
    ed25519: bool
    created_at: datetime
    updated_at: datetime


class DeliveryState(StrEnum):
    PENDING = "pending"
    HELD = "held"
    DELIVERED = "delivered"
    EXHAUSTED = "exhausted"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one endpoint."""

    partner_id: UUID
    id: UUID
    endpoint_id: UUID
    event_id: UUID
    event_type: str
    transaction_id: UUID | None
    sequence: int | None
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime | None
    last_status: int | None
    replay_id: UUID | None
    created_at: datetime
    updated_at: datetime
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryAttempt:
    """One try. `number` rises with every try and may skip one whose process did not live to tell."""

    number: int
    started_at: datetime
    duration_ms: int
    status_code: int | None
    error: str | None
    response_excerpt: str | None


class ReplayState(StrEnum):
    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
