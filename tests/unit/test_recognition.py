"""Promise: what a person pastes into the one search box is understood as they mean it; a card number is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db import ids
from db.records import TransactionStatus
from db.search_filters import Filters
from gateway import recognition
from gateway.recognition import CardNumberRefused, recognise
from gateway.runtime import REFERENCE_SCHEME
from providers import PROVIDERS

TODAY = date(2026, 11, 28)
AN_ID = UUID("0194f3c2-8a1b-7c4d-9e5f-0123456789ab")


def readings(text: str) -> list[Filters]:
    return list(recognise(text, today=TODAY).readings)


def days(first: date, last: date | None = None) -> dict[str, Any]:
    begin = datetime(first.year, first.month, first.day, tzinfo=UTC)
    final = last or first
    end = datetime(final.year, final.month, final.day, tzinfo=UTC) + timedelta(days=1)
    return {"created_after": begin - timedelta(microseconds=1), "created_before": end}


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("txn", "transaction_id"),
        ("rfd", "refund_id"),
        ("att", "attempt_id"),
        ("evt", "event_id"),
        ("whd", "delivery_id"),
        ("dsp", "dispute_id"),
        ("cus", "customer_id"),
    ],
)
def test_our_ids_are_known_by_their_prefixes(prefix: str, name: str) -> None:
    fields: dict[str, Any] = {name: AN_ID}
    assert readings(ids.encode(prefix, AN_ID)) == [Filters(**fields)]


@pytest.mark.parametrize("prefix", ["pmt", "pac", "whe", "prt", "key", "rul", "apr", "fnd", "sup"])
def test_an_id_that_leads_to_no_payment_is_said_to_and_nothing_is_looked_for(prefix: str) -> None:
    named = ids.encode(prefix, AN_ID)
    for text in (named, f"anna@ ({named})"):
        found = recognise(text, today=TODAY)
        assert not found.readings
        assert found.told.startswith(f"Payments cannot be looked for by {named}. It is a")
    assert readings(f"{prefix}_2026") == [Filters(reference_prefix=f"{prefix}_2026")]


def test_our_reference_at_a_psp_names_the_attempt() -> None:
    reference = f"{REFERENCE_SCHEME}_{ids.bare(ids.new())}_{ids.bare(AN_ID)}"
    assert readings(reference) == [Filters(attempt_id=AN_ID)]


def test_a_bare_uuid_may_be_of_anything() -> None:
    found = readings(str(AN_ID))
    assert Filters(transaction_id=AN_ID) in found
    assert Filters(refund_id=AN_ID) in found
    assert len(found) == recognition.READINGS_MAX


@pytest.mark.parametrize(
    "text",
    [
        "pi_3MtwBwLkdIwHu7ix28a3tqPa",
        "ch_3MmlLrLkdIwHu7ix0snN0B15",
        "re_1Nispe2eZvKYlo2Cd31jOCgZ",
        "du_1MtJUT2eZvKYlo2CNaw2HvEv",
        "5O190127TN364715T",
        "8515131751004933",
        "PP-D-12345",
        "evt_1NG8Du2eZvKYlo2CUI79vXWy",
        "WH-2WR32451HC0233532-67976317FL4543714",
        "CHARGEBACK_REVERSED:NC6HT9CRT65ZGN82:false",
    ],
)
def test_ids_of_psps_are_known_by_their_looks(text: str) -> None:
    assert Filters(provider_id=text) in readings(text)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("anna@example.com", {"customer_email": "anna@example.com"}),
        ("anna@", {"customer_email_prefix": "anna@"}),
        ("anna@exam", {"customer_email_prefix": "anna@exam"}),
        ("49,90 €", {"amount": Decimal("49.90"), "currency": "EUR"}),
        ("€49.90", {"amount": Decimal("49.90"), "currency": "EUR"}),
        ("EUR 1,234.50", {"amount": Decimal("1234.50"), "currency": "EUR"}),
        ("1.234,50 EUR", {"amount": Decimal("1234.50"), "currency": "EUR"}),
        ("1 234,50 €", {"amount": Decimal("1234.50"), "currency": "EUR"}),
        ("CHF 1'234.50", {"amount": Decimal("1234.50"), "currency": "CHF"}),
        ("£5", {"amount": Decimal(5), "currency": "GBP"}),
        ("$12", {"amount": Decimal(12)}),
        ("1.234,50", {"amount": Decimal("1234.50")}),
        ("1,234,567", {"amount": Decimal(1234567)}),
        ("49.90", {"amount": Decimal("49.90")}),
        ("3.11", {"amount": Decimal("3.11")}),
        ("50 ± 5", {"amount_gte": Decimal(45), "amount_lte": Decimal(55)}),
        ("49.90+-0.5", {"amount_gte": Decimal("49.40"), "amount_lte": Decimal("50.40")}),
        ("2026-11-03", days(date(2026, 11, 3))),
        ("3.11.2026", days(date(2026, 11, 3))),
        ("3.11.26", days(date(2026, 11, 3))),
        ("3.11.", days(date(2026, 11, 3))),
        ("30.12.", days(date(2025, 12, 30))),
        ("3 Nov", days(date(2026, 11, 3))),
        ("3. November 2025", days(date(2025, 11, 3))),
        ("November 3, 2025", days(date(2025, 11, 3))),
        ("Dec 24", days(date(2025, 12, 24))),
        ("12. März", days(date(2026, 3, 12))),
        ("Nov 2026", days(date(2026, 11, 1), date(2026, 11, 30))),
        ("2026-02", days(date(2026, 2, 1), date(2026, 2, 28))),
        ("29/2/2024", days(date(2024, 2, 29))),
        ("yesterday", days(date(2026, 11, 27))),
        ("•••• 4242", {"last4": "4242"}),
        ("**** 4242", {"last4": "4242"}),
        ("xxxx4242", {"last4": "4242"}),
        ("ending 4242", {"last4": "4242"}),
        ("card ending in 4242", {"last4": "4242"}),
        ("order_id=1234", {"metadata": {"order_id": "1234"}}),
        ('shop="Old Town"', {"metadata": {"shop": "Old Town"}}),
        ("failed", {"status": ("failed",)}),
        ("paid", {"status": ("completed",)}),
        ("Stripe", {"provider": "stripe"}),
        ("bank_transfer", {"payment_method": "bank_transfer"}),
        ("EUR", {"currency": "EUR"}),
        ("review", {"needs_review": True}),
        ("ORD-2026-0042", {"reference_prefix": "ORD-2026-0042"}),
        ("#A100", {"reference_prefix": "A100"}),
    ],
)
def test_what_has_one_meaning_is_one_reading(text: str, fields: dict[str, Any]) -> None:
    assert readings(text) == [Filters(**fields)]


@pytest.mark.parametrize(
    ("text", "alternatives"),
    [
        ("4242", [{"last4": "4242"}, {"amount": Decimal(4242)}, {"reference_prefix": "4242"}]),
        ("12345", [{"reference_prefix": "12345"}, {"amount": Decimal(12345)}]),
        ("1.234", [{"amount": Decimal(1234)}, {"amount": Decimal("1.234")}]),
        ("Smith", [{"customer_name": "Smith"}, {"reference_prefix": "Smith"}]),
        ("3/11/2026", [days(date(2026, 11, 3)), days(date(2026, 3, 11))]),
    ],
)
def test_what_may_mean_several_things_is_looked_for_as_each(text: str, alternatives: list[dict[str, Any]]) -> None:
    assert readings(text) == [Filters(**fields) for fields in alternatives]


@pytest.mark.parametrize("status", [status.value for status in TransactionStatus])
def test_every_status_is_a_word(status: str) -> None:
    assert readings(status) == [Filters(status=(status,))]


@pytest.mark.parametrize("provider", list(PROVIDERS))
def test_every_provider_is_a_word(provider: str) -> None:
    assert readings(provider) == [Filters(provider=provider)]


def test_pieces_combine_and_are_told() -> None:
    found = recognise("anna@ 49,90 € 3 Nov failed", today=TODAY)
    assert list(found.readings) == [
        Filters(
            customer_email_prefix="anna@",
            amount=Decimal("49.90"),
            currency="EUR",
            status=("failed",),
            **days(date(2026, 11, 3)),
        )
    ]
    assert "e-mail begins with anna@" in found.told
    assert "amount 49.90 EUR" in found.told


def test_names_are_words_together() -> None:
    assert readings("Anna Smith") == [Filters(customer_name="Anna Smith")]


def test_two_dates_are_a_range_and_two_statuses_either() -> None:
    assert readings("2026-11-05 2026-11-01 failed cancelled") == [
        Filters(status=("failed", "cancelled"), **days(date(2026, 11, 1), date(2026, 11, 5)))
    ]


def test_what_contradicts_itself_finds_nothing() -> None:
    found = recognise("stripe adyen", today=TODAY)
    assert not found.readings
    assert found.told.startswith("Nothing can be")


def test_an_empty_box_finds_everything() -> None:
    assert readings("   ") == [Filters()]


@pytest.mark.parametrize(
    "text", ["4242424242424242", "anna@example.com 4242 4242 4242 4242", "card=5555-5555-5555-4444"]
)
def test_a_card_number_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(CardNumberRefused) as refused:
        recognise(text, today=TODAY)
    assert not str(refused.value)


@given(st.text(max_size=80))
def test_any_text_is_understood_somehow(text: str) -> None:
    try:
        found = recognise(text, today=TODAY)
    except CardNumberRefused:
        return
    assert found.told
    assert len(found.readings) <= recognition.READINGS_MAX
