"""What is asked of payments in the tests of searches, and which payments fit it, said naively."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from db import ids
from db.records import Transaction
from db.search import Filters
from db.search_filters import searched_name


def questions(row: Transaction) -> dict[str, Filters]:
    """Every filter alone, and combinations that tempt a planner: absent, common, both common and never together."""
    day: dict[str, Any] = {
        "created_after": row.created_at - timedelta(hours=12),
        "created_before": row.created_at + timedelta(hours=12),
    }
    old: dict[str, Any] = {"created_before": row.created_at - timedelta(days=600)}
    assert row.customer_email is not None
    assert row.reference is not None
    return {
        "nothing": Filters(),
        "status common": Filters(status=("completed",)),
        "status rare": Filters(status=("processing", "pending")),
        "currency": Filters(currency="CHF"),
        "currency absent": Filters(currency="JPY"),
        "provider rare": Filters(provider="manual"),
        "payment method": Filters(payment_method="e_wallet"),
        "payment method absent": Filters(payment_method="crypto"),
        "capture": Filters(capture="manual"),
        "reference": Filters(reference=row.reference),
        "reference absent": Filters(reference="nothing"),
        "reference prefix": Filters(reference_prefix=row.reference[:10]),
        "reference prefix and status": Filters(reference_prefix=row.reference[:10], status=("failed",)),
        "customer": Filters(customer_id=ids.new()),
        "email": Filters(customer_email=row.customer_email),
        "email common": Filters(customer_email="guest@shop.example"),
        "email prefix": Filters(customer_email_prefix=row.customer_email[:12]),
        "email prefix common": Filters(customer_email_prefix="a"),
        "name": Filters(customer_name="anna smi"),
        "name absent": Filters(customer_name="zzz"),
        "last4": Filters(last4=row.card_last4 or "0001"),
        "last4 absent": Filters(last4="none"),
        "psp id": Filters(provider_transaction_id="pi_none"),
        "any psp id": Filters(provider_id=row.provider_transaction_id or "pi_none"),
        "amount": Filters(amount=row.amount),
        "amount common": Filters(amount=Decimal("9.99")),
        "amount range": Filters(amount_gte=Decimal("49.50"), amount_lte=Decimal("50.50")),
        "amount open": Filters(amount_gte=Decimal(5000)),
        "amount on a day": Filters(amount=row.amount, **day),
        "metadata": Filters(metadata={"order_id": row.metadata.get("order_id", "1")}),
        "metadata common": Filters(metadata={"channel": "web"}),
        "review": Filters(needs_review=True),
        "no review": Filters(needs_review=False),
        "never together": Filters(status=("failed",), provider="manual"),
        "never together, three": Filters(status=("failed",), provider="manual", amount=Decimal("9.99")),
        "long ago": Filters(status=("failed",), **old),
        "long ago and rare": Filters(provider="paypal", currency="CHF", status=("refunded",), **old),
        "payment": Filters(transaction_id=row.id),
        "refund": Filters(refund_id=ids.new()),
        "attempt": Filters(attempt_id=ids.new()),
        "event": Filters(event_id=ids.new()),
        "delivery": Filters(delivery_id=ids.new()),
        "dispute": Filters(dispute_id=ids.new()),
    }


def fits(row: Transaction, filters: Filters) -> bool:
    words = searched_name(filters.customer_name or "").split()
    name = searched_name(row.customer_name or "").split()
    email, reference = (row.customer_email or "").lower(), row.reference or ""
    return all(
        (
            not filters.status or row.status.value in filters.status,
            *(getattr(filters, asked) in (None, getattr(row, column)) for asked, column in _SAME.items()),
            filters.customer_email is None or email == filters.customer_email.lower(),
            filters.customer_email_prefix is None or email.startswith(filters.customer_email_prefix.lower()),
            filters.reference_prefix is None or reference.startswith(filters.reference_prefix),
            all(word in name for word in words[:-1]),
            not words or any(one.startswith(words[-1]) for one in name),
            filters.amount_gte is None or row.amount >= filters.amount_gte,
            filters.amount_lte is None or row.amount <= filters.amount_lte,
            filters.created_after is None or row.created_at > filters.created_after,
            filters.created_before is None or row.created_at < filters.created_before,
            filters.metadata.items() <= row.metadata.items(),
        )
    )


_SAME = {name: name for name in ("currency", "provider", "payment_method", "capture", "reference", "customer_id")} | {
    "last4": "card_last4",
    "provider_transaction_id": "provider_transaction_id",
    "amount": "amount",
    "needs_review": "needs_review",
    "transaction_id": "id",
}


@st.composite
def some_filters(draw: st.DrawFn, row: Transaction) -> Filters:
    """Up to four, each of them true of one payment or of none."""
    email, name = row.customer_email or "x@y.example", row.customer_name or "Nobody"
    possible: dict[str, st.SearchStrategy[Any]] = {
        "status": st.sampled_from([(row.status.value,), ("failed", "refunded"), ("processing",)]),
        "currency": st.sampled_from([row.currency, "CHF", "JPY"]),
        "provider": st.sampled_from([row.provider, "manual"]),
        "payment_method": st.sampled_from([row.payment_method, "crypto"]),
        "capture": st.sampled_from(["automatic", "manual"]),
        "reference": st.just(row.reference),
        "reference_prefix": st.integers(0, 12).map(lambda length: (row.reference or "")[:length]),
        "customer_email": st.sampled_from([email.upper(), "guest@shop.example"]),
        "customer_email_prefix": st.integers(1, 9).map(lambda length: email[:length].title()),
        "customer_name": st.sampled_from([name, name[:2], "van der", "anna smi", "muller", "INES"]),
        "last4": st.sampled_from([row.card_last4 or "0000", "4242"]),
        "provider_transaction_id": st.just(row.provider_transaction_id or "none"),
        "amount": st.sampled_from([row.amount, Decimal("9.99"), Decimal("9.990")]),
        "amount_gte": st.sampled_from([Decimal(0), row.amount, Decimal("99.99"), Decimal(1000)]),
        "amount_lte": st.sampled_from([row.amount, Decimal("0.5"), Decimal(100), Decimal("1234.5678")]),
        "created_after": st.sampled_from([row.created_at, row.created_at - timedelta(days=30)]),
        "created_before": st.sampled_from([row.created_at, row.created_at + timedelta(days=3)]),
        "metadata": st.sampled_from([row.metadata, {"channel": "app"}, {"it's": "a\\b"}]),
        "needs_review": st.booleans(),
    }
    names = draw(st.lists(st.sampled_from(sorted(possible)), min_size=1, max_size=4, unique=True))
    return Filters(**{name: draw(possible[name]) for name in names})
