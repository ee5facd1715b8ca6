"""Promise: what a key was told first is what every repeat is told, also where notifications came before the answer."""

from __future__ import annotations

from tests.acceptance.steps import settled
from tests.house import House, Partner, new_key


async def test_the_first_answer_is_the_one_that_is_repeated_though_more_has_happened(
    shared_house: House, partner: Partner
) -> None:
    """Adyen tells of the approval and of the capture's failure before its own answer arrives."""
    await shared_house.fault("answer_late", provider="adyen", operation="charge", seconds=3)
    key, body = (
        new_key(),
        {
            "amount": "19.99",
            "currency": "EUR",
            "payment_method": {"type": "card", "tokens": {"adyen": "ada/CAPTURE_FAILED"}},
        },
    )
    first = await partner.post("/v1/transactions", body, key=key)
    await settled(partner, first.json()["id"], "failed")
    again = await partner.post("/v1/transactions", body, key=key)
    assert (first.status_code, first.content) == (again.status_code, again.content)
