"""A row in every table for each of two partners, in this month's partitions and in those for everything else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from db import ids

NOW = datetime.now(UTC)
LONG_AGO, NEVER = datetime(2020, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)
ALICE, BOB = ids.new(), ids.new()
"""Bob's transactions are to be reviewed, and his idempotency key has expired."""
KEY_HASHES = {ALICE: "\\x" + "a1" * 32, BOB: "\\x" + "b0" * 32}
ACCOUNTS = {ALICE: ids.new(), BOB: ids.new()}
PLATFORM_ACCOUNT = ids.new()
ADA, GRACE = ids.new(), ids.new()
"""People of the support console. Ada looks at Bob's payments in a session that is over."""
_ACCOUNT = {"provider": "stripe", "livemode": False, "label": "test", "credentials": "\\x00"}
_MONEY = {"amount": "10.00", "currency": "USD", "livemode": False}
_COUNTED = {
    "hours": 1,
    "since": LONG_AGO,
    "livemode": False,
    "provider": "stripe",
    "currency": "USD",
    "amount": "10.00",
    "durations": [1] + [0] * 18,
} | {"approved": 1, "declined": 0, "failed": 0, "undecided": 0}
_AT = {"created_at": NOW, "updated_at": NOW}

Row = tuple[str, dict[str, Any]]


async def write(owner: asyncpg.Connection[asyncpg.Record]) -> None:
    async with owner.transaction():
        for table, row in _rows():
            columns = ", ".join(row)
            await owner.execute(
                f"INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_record(NULL::{table}, $1)",
                json.dumps(row, default=str),
            )


def _rows() -> Iterator[Row]:
    yield "provider_accounts", {"id": PLATFORM_ACCOUNT} | _ACCOUNT
    yield "signing_keys", {"id": ids.new(), "public_key": "\\x" + "00" * 32, "private_key": "\\x00"}
    sealed = {"count": 1, "digest": "\\x" + "00" * 32, "chain": "\\x" + "00" * 32, "sealed_at": NOW}
    window = {"table_name": "test", "number": 1, "format": 1, "since": LONG_AGO, "until": NOW}
    yield "audit_seals", window | sealed
    counts = {"number": 1, "rows": 1, "retired": 0, "broken": 0}
    yield "audit_verifications", {"table_name": "test", "started_at": NOW} | counts
    yield "charge_totals", _COUNTED
    for person_id in (ADA, GRACE):
        named = {"email": f"{person_id}@support.example", "name": "Ada", "role": "finance"}
        yield "support_users", {"id": person_id, "password": "$argon2id$", "created_by": "test"} | named | _AT
    for partner_id in (ALICE, BOB):
        yield from _of_partner(partner_id)
        for old in (False, True):
            yield from _of_sale(partner_id, old=old)


def _of_partner(partner_id: UUID) -> Iterator[Row]:
    account_id, mine = ACCOUNTS[partner_id], {"partner_id": partner_id}
    yield "partners", {"id": partner_id, "name": "Shop", "email": f"{partner_id}@test.example"}
    key = {"prefix": "sk_test_", "last4": "last", "hash": KEY_HASHES[partner_id], "pepper_id": 1, "livemode": False}
    yield "api_keys", mine | key | {"id": ids.new(), "scopes": ["transactions:read"], "created_by": "test"}
    yield "provider_accounts", mine | {"id": account_id} | _ACCOUNT
    yield "charge_counts", mine | _COUNTED
    yield "account_readings", {"account_id": account_id, "events_until": NOW, "payments_until": NOW}
    yield "customers", mine | {"id": ids.new(), "livemode": False, "personal": "\\x00"}
    yield "provider_health", {"account_id": account_id, "method": "card", "as_of": NOW}
    verdicts = {"account_id": account_id, "method": "card", "currency": "USD", "brand": "visa", "as_of": NOW}
    yield "routing_tallies", mine | verdicts
    version = {"livemode": False, "version": 1}
    yield "routing_rules", mine | version | {"id": ids.new(), "rules": [], "created_by": "ada", "created_at": NOW}
    acts = {"lane": "live", "activated_by": "ada", "activated_at": NOW}
    yield "routing_activations", mine | version | acts | {"id": ids.new()}
    card = {"id": ids.new(), "livemode": False, "type": "card", "providers": ["stripe"], "tokens": "\\x00"}
    yield "stored_payment_methods", mine | card
    token = {"id": ids.new(), "token_hash": KEY_HASHES[partner_id], "user_id": ADA, "verified": True}
    until = {"livemode": False, "expires_at": LONG_AGO if partner_id == BOB else NEVER}
    yield "support_sessions", mine | token | until | {"created_at": NOW, "seen_at": NOW}
    for name in (_receivable(partner_id), "partner_payable"):
        yield "ledger_accounts", mine | {"currency": "USD", "name": name}
    key = {"livemode": False, "key": "key-00000001", "fingerprint": "\\x" + "00" * 32}
    yield "idempotency_keys", mine | key | {"expires_at": LONG_AGO if partner_id == BOB else NEVER}


def _of_sale(partner_id: UUID, *, old: bool) -> Iterator[Row]:
    """A sale, a refund that was refused, and all that is told of them."""
    sale, refund, charge, endpoint, event, delivery = (_id(old=old) for _ in range(6))
    mine = {"partner_id": partner_id}
    of_sale = mine | {"transaction_id": sale}
    status = {"version": 1, "published": 1, "status": "completed", "amount_captured": "10.00"}
    agreed = {"capture": "automatic", "payment_method": "card", "provider_account_id": ACCOUNTS[partner_id]}
    key = {"idempotency_key": f"key-{sale}", "needs_review": partner_id == BOB}
    yield "transactions", mine | {"id": sale} | status | agreed | key | _MONEY | _AT
    line = {"sequence": 1, "event_type": "payment_completed", "status": "completed", "created_by": "test"}
    yield "transaction_events", of_sale | line | {"created_at": NOW}
    for account, amount in ((_receivable(partner_id), "10.00"), ("partner_payable", "-10.00")):
        entry = {"id": ids.new(), "sequence": 1, "account": account, "created_at": NOW}
        yield "ledger_entries", of_sale | entry | _MONEY | {"amount": amount}
    refused = {"id": refund, "reason": "other", "status": "failed", "idempotency_key": f"key-{refund}"}
    yield "refunds", of_sale | refused | _MONEY | _AT
    psp = {"account_id": ACCOUNTS[partner_id], "provider": "stripe", "provider_key": "k" * 43, "request": "{}"}
    over = {"number": 1, "amount": "10.00", "resend_until": NOW, "finished_at": NOW} | _AT
    yield "attempts", of_sale | {"id": charge, "operation": "charge", "state": "succeeded"} | psp | over
    about = {"id": _id(old=old), "operation": "refund", "state": "declined", "refund_id": refund}
    yield "attempts", of_sale | about | psp | over
    yield "disputes", of_sale | {"id": ids.new(), "provider_dispute_id": f"dp_{sale}", "state": "opened"} | _MONEY | _AT
    act = {"actor": "test", "action": "test", "resource_type": "transaction", "resource_id": "txn"}
    yield "audit_logs", mine | {"id": _id(old=old)} | act
    address = {"url": "https://shop.example/", "event_types": ["*"], "secret": "\\x00", "livemode": False}
    yield "webhook_endpoints", mine | {"id": endpoint} | address
    told = {"livemode": False, "type": "transaction.completed", "sequence": 1, "body": "{}", "created_at": NOW}
    yield "events", of_sale | {"id": event} | told
    sent = {"endpoint_id": endpoint, "event_id": event, "event_type": "transaction.completed", "state": "delivered"}
    yield "webhook_deliveries", of_sale | {"id": delivery} | sent | _AT
    yield "webhook_attempts", mine | {"delivery_id": delivery, "number": 1, "started_at": NOW, "duration_ms": 1}
    again = {"livemode": False, "endpoint_id": endpoint, "since": LONG_AGO, "until": NOW, "event_types": ["*"]}
    yield "webhook_replays", mine | again | {"id": ids.new(), "total": 1}
    counted = {"endpoint_id": endpoint, "event_id": event, "day": NOW.date(), "count": 1, "digest": "\\x" + "00" * 32}
    yield "webhook_manifests", mine | counted
    notified = {"account_id": ACCOUNTS[partner_id], "provider": "stripe", "dedupe_key": f"evt_{event}"}
    yield "provider_events", mine | {"id": ids.new(), "headers": {}, "body": "\\x00"} | notified
    asked = {"attempt_id": charge, "purpose": "look_up", "outcome": {}, "called_at": NOW}
    yield "provider_calls", of_sale | {"id": _id(old=old)} | asked
    decided = {"attempt_id": charge, "verdict": "failed", "version": 1, "evidence": "the bank's statement"}
    yield "review_decisions", of_sale | {"id": ids.new(), "requested_by": "ada"} | decided
    wanted = {"livemode": False, "amount": "10.00", "currency": "USD", "reason": "other", "state": "requested"}
    until = {"requested_at": NOW, "expires_at": NEVER}
    yield "approvals", of_sale | {"id": ids.new(), "requested_by": ADA} | wanted | until
    yield "transaction_notes", of_sale | {"id": ids.new(), "author_id": ADA, "note": "called back"}
    yield "findings", mine | {"id": ids.new(), "source": "reconciler", "kind": "test", "subject": str(sale)}


def _id(*, old: bool) -> UUID:
    """Time-ordered as all are; the old ones lie in no month that has a partition of its own."""
    made = ids.new()
    return UUID(int=made.int & (1 << 80) - 1) if old else made


def _receivable(partner_id: UUID) -> str:
    return f"psp_receivable:{ids.encode('pac', ACCOUNTS[partner_id])}"
