"""Promise: what a PSP tells is applied, also where somebody else holds the attempt at that very moment."""

from __future__ import annotations

import json

from tests.acceptance.steps import until
from tests.house import House

WAITING_FOR_A_LOCK = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


async def test_a_notification_that_loses_a_race_is_applied_later(house: House) -> None:
    """Adyen has no other word for a refund: whoever asks beside it learns nothing."""
    partner = await house.partner()
    await house.fault("webhook_late", provider="adyen", operation="webhook", event="REFUND", seconds=120)
    method = {"type": "card", "tokens": {"adyen": "ada/APPROVED"}}
    sale = (
        await partner.post("/v1/transactions", {"amount": "19.99", "currency": "USD", "payment_method": method})
    ).json()
    refund = (await partner.post(f"/v1/transactions/{sale['id']}/refunds", {})).json()
    assert refund["status"] == "processing"

    async with house.owner.transaction():
        # Somebody takes the attempt to ask about it, as a client's repeat does, and has not committed yet …
        await house.owner.execute("UPDATE attempts SET epoch = epoch + 1 WHERE operation = 'refund'")
        await house.http.delete(f"{house.simulators['adyen']}/_simulator/faults")

        async def waiting() -> int:
            return int(await house.owner.fetchval(WAITING_FOR_A_LOCK))

        await until(waiting, lambda count: count > 0)  # … when the notification is to be written.

    async def status() -> str:
        await house.owner.execute("UPDATE provider_events SET next_try_at = now() WHERE state = 'received'")
        return str(json.loads((await partner.get(f"/v1/refunds/{refund['id']}")).text)["status"])

    assert await until(status, lambda status: status != "processing") == "completed"
