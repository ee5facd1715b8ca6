"""Offline payments: nothing is decided but what a person confirms."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx
import pytest

from providers import contract, http
from providers.manual import Manual, build, outcome_of

NOWHERE = http.Doorway(transport=httpx.MockTransport(lambda _request: httpx.Response(500)))
TARGET: dict[str, Any] = {"provider_transaction_id": "manual_at_1", "amount": Decimal("10.99"), "currency": "EUR"}


def a_charge(**changed: Any) -> contract.Charge:
    fields: dict[str, Any] = {"reference": "at_1", "amount": Decimal("10.99"), "currency": "EUR"}
    return contract.Charge(**fields | {"method": "bank_transfer", "token": None, "capture": True} | changed)


def test_a_charge_waits_under_an_id_made_of_our_reference() -> None:
    assert outcome_of(build(a_charge())) == contract.Pending(provider_id="manual_at_1")


def test_a_refund_waits_under_an_id_of_its_own() -> None:
    refund = contract.Refund(reference="rf_1", reason="other", **TARGET)

    assert outcome_of(build(refund)) == contract.Pending(provider_id="manual_rf_1")


def test_a_capture_waits_and_a_cancel_is_approved_under_the_payments_id() -> None:
    capture, cancel = contract.Capture(reference="cp_1", **TARGET), contract.Cancel(reference="cn_1", **TARGET)

    assert outcome_of(build(capture)) == contract.Pending(provider_id="manual_at_1")
    assert outcome_of(build(cancel)) == contract.Approved(provider_id="manual_at_1")


@pytest.mark.parametrize(
    ("amount", "currency", "spelled"), [("500", "JPY", "500"), ("1.234", "KWD", "1.234"), ("0.5", "EUR", "0.50")]
)
def test_every_currency_is_taken_in_its_own_decimals(amount: str, currency: str, spelled: str) -> None:
    prepared = build(a_charge(amount=Decimal(amount), currency=currency))

    assert prepared.body == f'{{"amount": "{spelled}", "currency": "{currency}"}}'
    with pytest.raises(contract.Unsupported):
        build(a_charge(amount=Decimal("0.0001"), currency=currency))


def test_credentials_are_not_taken_and_not_repeated() -> None:
    with pytest.raises(contract.BadCredentials) as refused:
        Manual.open({"api_key": "sk_live_secret"}, base_url=None, livemode=True, doorway=NOWHERE)

    assert refused.value.field == "api_key"
    assert "sk_live_secret" not in str(refused.value)


async def test_every_notification_is_forged() -> None:
    adapter = Manual.open({}, base_url=None, livemode=True, doorway=NOWHERE)

    with pytest.raises(contract.Forged):
        await adapter.verify_webhook({}, b"{}", now=0.0)
    with pytest.raises(contract.Unreadable):
        adapter.read_webhook(b"{}")
