"""Tables as SQLAlchemy Core sees them, for composing searches. Constraints and policies belong to the migrations."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, DateTime, Integer, MetaData, Numeric, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ENUM, JSONB

from db.records import CaptureMode, TransactionStatus

metadata = MetaData()


def _enum(values: type[TransactionStatus | CaptureMode], name: str) -> ENUM:
    return ENUM(*(member.value for member in values), name=name, create_type=False)


_TEXTS = (
    "idempotency_key",
    "currency",
    "payment_method",
    "card_brand",
    "card_last4",
    "card_country",
    "provider",
    "provider_transaction_id",
    "error_code",
    "error_message",
    "decline_code",
    "advice",
    "provider_code",
    "customer_email",
    "customer_name",
    "customer_phone",
    "business_unit",
    "reference",
    "description",
    "statement_descriptor",
    "return_url",
)
_AMOUNTS = ("amount", "amount_captured", "capture_pending", "amount_refunded", "refund_reserved")
_TIMES = ("next_check_at", "created_at", "updated_at", "processed_at", "failed_at", "deleted_at")

transactions = Table(
    "transactions",
    metadata,
    *(Column(name, Uuid, primary_key=True) for name in ("partner_id", "id")),
    Column("livemode", Boolean),
    Column("version", Integer),
    Column("published", Integer),
    Column("status", _enum(TransactionStatus, "transaction_status")),
    Column("capture", _enum(CaptureMode, "capture_mode")),
    Column("provider_account_id", Uuid),
    Column("customer_id", Uuid),
    Column("stored_payment_method_id", Uuid),
    Column("needs_review", Boolean),
    Column("review_reason", Text),
    Column("next_action", JSONB),
    Column("metadata", JSONB),
    *(Column(name, Text) for name in _TEXTS),
    *(Column(name, Numeric(19, 4)) for name in _AMOUNTS),
    *(Column(name, DateTime(timezone=True)) for name in _TIMES),
)
