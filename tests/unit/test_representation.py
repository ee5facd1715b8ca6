"""How the API shows things: amounts, times, and whether money moved."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest

from db import ids
from db.records import (
    AttemptOperation,
    Dispute,
    DisputeState,
    LedgerEntry,
    RefundStatus,
    TransactionEvent,
    TransactionEventType,
    TransactionStatus,
)
from gateway.transactions import representation
from tests.builders import AT, a_refund, a_transaction, an_attempt


@pytest.mark.parametrize(
    ("amount", "places", "shown"),
    [("19.9900", 2, "19.99"), ("500.0000", 0, "500"), ("1.2340", 3, "1.234"), ("0", 2, "0.00")],
)
def test_amounts_have_the_decimals_of_their_currency(amount: str, places: int, shown: str) -> None:
    assert representation.money(Decimal(amount), places) == shown


def test_times_are_utc_with_microseconds() -> None:
    assert representation.instant(AT) == "2026-11-20T12:00:00.123456Z"
    assert representation.instant(AT.replace(microsecond=0)) == "2026-11-20T12:00:00.000000Z"


@pytest.mark.parametrize(
    ("status", "captured", "pending", "moved"),
    [
        ("pending", 0, 0, "no"),
        ("processing", 0, 0, "unknown"),
        ("requires_action", 0, 0, "unknown"),
        ("authorized", 0, 0, "no"),
        ("authorized", 0, 5, "unknown"),
        ("authorized", 0, "0.01", "unknown"),
        ("completed", 5, 0, "yes"),
        ("completed", "0.01", 0, "yes"),
        ("refunded", 5, 0, "yes"),
        ("failed", 0, 0, "no"),
        ("cancelled", 0, 0, "no"),
    ],
)
def test_money_moved_is_said_only_where_it_is_certain(
    status: str, captured: int | str, pending: int | str, moved: str
) -> None:
    transaction = a_transaction(
        status=TransactionStatus(status), amount_captured=Decimal(captured), capture_pending=Decimal(pending)
    )
    assert representation.money_moved(transaction, ()) == moved


def test_what_is_refundable_leaves_out_what_is_reserved() -> None:
    transaction = a_transaction(
        amount_captured=Decimal(10),
        amount_refunded=Decimal(3),
        refund_reserved=Decimal(2),
        status=TransactionStatus.PARTIALLY_REFUNDED,
    )
    assert representation.transaction_body(transaction, (), places=2)["amount_refundable"] == "5.00"


def test_the_same_transaction_is_the_same_text() -> None:
    transaction = a_transaction()
    again = replace(transaction)
    texts = {
        representation.encode(dict(representation.transaction_body(one, (), places=2))) for one in (transaction, again)
    }
    assert len(texts) == 1


# ── Every body, whole ───────────────────────────────────────────────────────────────────────────────────────────────

SHOWN_AT = "2026-11-20T12:00:00.123456Z"


def shown(prefix: str, value: UUID) -> str:
    return ids.encode(prefix, value)


def test_a_transaction_is_shown_whole() -> None:
    transaction = a_transaction(
        status=TransactionStatus.FAILED,
        stored_payment_method_id=ids.new(),
        card_brand="visa",
        card_last4="4242",
        card_country="DE",
        provider_transaction_id="pi_1",
        error_code="card_declined",
        error_message="No.",
        decline_code="stolen_card",
        advice="do_not_retry",
        provider_code="43",
        next_action={"type": "redirect_to_url", "url": "https://psp.example", "ours": "alone"},
        next_check_at=AT,
        needs_review=True,
        customer_id=ids.new(),
        customer_email="ada@example.com",
        customer_name="Ada",
        customer_phone="+44",
        business_unit="eu-shop",
        reference="order-1",
        description="Two lines",
        statement_descriptor="SHOP",
        metadata={"a": "1"},
        return_url="https://shop.example",
        processed_at=AT,
        failed_at=AT,
    )
    attempt = an_attempt(transaction, outcome={"outcome": "declined", "provider_code": "43"}, finished_at=AT)
    assert transaction.customer_id is not None
    assert transaction.stored_payment_method_id is not None
    assert representation.transaction_body(transaction, (attempt,), places=2) == {
        "id": shown("txn", transaction.id),
        "object": "transaction",
        "livemode": False,
        "version": 2,
        "status": "failed",
        "amount": "19.99",
        "currency": "USD",
        "amount_captured": "0.00",
        "amount_refunded": "0.00",
        "amount_refundable": "0.00",
        "capture": "automatic",
        "money_moved": "no",
        "needs_review": True,
        "next_check_at": SHOWN_AT,
        "payment_method": {
            "id": shown("pmt", transaction.stored_payment_method_id),
            "type": "card",
            "brand": "visa",
            "last4": "4242",
            "country": "DE",
        },
        "provider": "stripe",
        "provider_transaction_id": "pi_1",
        "failure": FAILURE,
        "next_action": {"type": "redirect_to_url", "url": "https://psp.example"},
        "attempts": [representation.attempt_body(attempt)],
        "customer": {
            "id": shown("cus", transaction.customer_id),
            "email": "ada@example.com",
            "name": "Ada",
            "phone": "+44",
        },
        "business_unit": "eu-shop",
        "reference": "order-1",
        "description": "Two lines",
        "statement_descriptor": "SHOP",
        "metadata": {"a": "1"},
        "return_url": "https://shop.example",
        "created_at": SHOWN_AT,
        "updated_at": SHOWN_AT,
        "processed_at": SHOWN_AT,
        "failed_at": SHOWN_AT,
    }


FAILURE = {
    "code": "card_declined",
    "decline_code": "stolen_card",
    "message": "No.",
    "advice": "do_not_retry",
    "provider_code": "43",
}


def test_what_is_not_there_is_shown_as_null() -> None:
    body = representation.transaction_body(a_transaction(), (), places=2)
    absent = {name for name, value in body.items() if value is None}
    assert absent == {
        *("next_check_at", "provider_transaction_id", "failure", "next_action", "reference", "description"),
        *("business_unit", "statement_descriptor", "return_url", "processed_at", "failed_at"),
    }
    assert body["payment_method"] == {"id": None, "type": "card", "brand": None, "last4": None, "country": None}
    assert body["customer"] == {"id": None, "email": None, "name": None, "phone": None}


@pytest.mark.parametrize(
    ("outcome", "told"), [({"outcome": "declined", "provider_code": "43"}, "declined"), (None, None)]
)
def test_an_attempt_is_shown_whole(outcome: dict[str, str] | None, told: str | None) -> None:
    attempt = an_attempt(a_transaction(), outcome=outcome, finished_at=AT)
    assert representation.attempt_body(attempt) == {
        "id": shown("att", attempt.id),
        "operation": "charge",
        "provider": "stripe",
        "provider_account_id": shown("pac", attempt.account_id),
        "state": "sending",
        "outcome": told,
        "provider_code": "43" if told else None,
        "created_at": SHOWN_AT,
        "finished_at": SHOWN_AT,
    }


@pytest.mark.parametrize(
    ("status", "moved"), [("pending", "unknown"), ("processing", "unknown"), ("completed", "yes"), ("failed", "no")]
)
def test_a_refund_is_shown_whole(status: str, moved: str) -> None:
    failed = {"error_code": "card_declined", "error_message": "No.", "decline_code": "stolen_card"}
    told = failed | {"advice": "do_not_retry", "provider_code": "43"}
    refund = a_refund(a_transaction(), status=RefundStatus(status), note="n", provider_refund_id="re_1", **told)
    refund = replace(refund, processed_at=AT, failed_at=AT)
    assert representation.refund_body(refund, places=2) == {
        "id": shown("rfd", refund.id),
        "object": "refund",
        "livemode": False,
        "transaction_id": shown("txn", refund.transaction_id),
        "status": status,
        "amount": "19.99",
        "currency": "USD",
        "money_moved": moved,
        "reason": "requested_by_customer",
        "note": "n",
        "provider_refund_id": "re_1",
        "failure": FAILURE,
        "created_at": SHOWN_AT,
        "updated_at": SHOWN_AT,
        "processed_at": SHOWN_AT,
        "failed_at": SHOWN_AT,
    }


def test_a_dispute_is_shown_whole() -> None:
    dispute = Dispute(
        partner_id=ids.new(),
        id=ids.new(),
        transaction_id=ids.new(),
        livemode=True,
        provider_dispute_id="dp_1",
        state=DisputeState.LOST,
        reason="fraudulent",
        amount=Decimal("19.99"),
        currency="USD",
        amount_withdrawn=Decimal(5),
        created_at=AT,
        updated_at=AT,
    )
    assert representation.dispute_body(dispute, places=2) == {
        "id": shown("dsp", dispute.id),
        "object": "dispute",
        "livemode": True,
        "transaction_id": shown("txn", dispute.transaction_id),
        "status": "lost",
        "amount": "19.99",
        "currency": "USD",
        "amount_withdrawn": "5.00",
        "reason": "fraudulent",
        "provider_dispute_id": "dp_1",
        "created_at": SHOWN_AT,
        "updated_at": SHOWN_AT,
    }


def test_a_line_of_history_is_shown_whole() -> None:
    event = TransactionEvent(
        partner_id=ids.new(),
        transaction_id=ids.new(),
        sequence=3,
        event_type=TransactionEventType.PAYMENT_COMPLETED,
        status=TransactionStatus.COMPLETED,
        attempt_id=ids.new(),
        refund_id=None,
        data={"outcome": "approved"},
        created_by="partner:key_1",
        created_at=AT,
    )
    assert event.attempt_id is not None
    body = {
        "object": "transaction_event",
        "transaction_id": shown("txn", event.transaction_id),
        "sequence": 3,
        "type": "payment_completed",
        "status": "completed",
        "created_by": "partner:key_1",
        "attempt_id": shown("att", event.attempt_id),
        "refund_id": None,
        "data": {"outcome": "approved"},
        "created_at": SHOWN_AT,
    }
    assert representation.transaction_event_body(event) == body
    refund_id = ids.new()
    of_refund = replace(event, attempt_id=None, refund_id=refund_id)
    told = {"attempt_id": None, "refund_id": shown("rfd", refund_id)}
    assert representation.transaction_event_body(of_refund) == body | told


@pytest.mark.parametrize(("amount", "direction"), [("0.5", "debit"), ("-0.5", "credit")])
def test_a_ledger_entry_is_shown_whole(amount: str, direction: str) -> None:
    entry = LedgerEntry(
        partner_id=ids.new(),
        transaction_id=ids.new(),
        sequence=3,
        account="partner_payable",
        currency="USD",
        amount=Decimal(amount),
        id=ids.new(),
        livemode=False,
        created_at=AT,
    )
    assert representation.ledger_entry_body(entry, places=2) == {
        "id": shown("led", entry.id),
        "object": "ledger_entry",
        "livemode": False,
        "transaction_id": shown("txn", entry.transaction_id),
        "sequence": 3,
        "account": "partner_payable",
        "direction": direction,
        "amount": "0.50",
        "currency": "USD",
        "created_at": SHOWN_AT,
    }


@pytest.mark.parametrize(("sequence", "shown_sequence"), [(4, "4"), (None, "null")])
def test_an_event_is_its_head_and_the_text_of_what_it_is_about(sequence: int | None, shown_sequence: str) -> None:
    event_id = ids.new()
    text = representation.event_text(event_id, "ping", at=AT, sequence=sequence, data='{"a": "ключ"}')
    head = f'"id":"{shown("evt", event_id)}","type":"ping","timestamp":"{SHOWN_AT}","sequence":{shown_sequence}'
    assert text == f'{{{head},"data":{{"a": "ключ"}}}}'


@pytest.mark.parametrize(("captured", "moved"), [(True, "yes"), (False, "no")])
def test_what_came_late_and_was_given_back_did_move(captured: bool, moved: str) -> None:
    failed = a_transaction(status=TransactionStatus.FAILED)
    back = an_attempt(
        failed, operation=AttemptOperation.COMPENSATE, compensates=ids.new(), routing={"captured": captured}
    )
    charge = an_attempt(failed, routing={"captured": True})
    assert representation.money_moved(failed, (charge, back)) == moved
    assert representation.money_moved(failed, (replace(back, routing=None),)) == "no"
