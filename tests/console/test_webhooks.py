"""Promise: support sees every try of every delivery of whom it looks at, and can send one again."""

from __future__ import annotations

import html
import re

from db import ids
from tests.house import House, Json, Partner
from tests.support_desk import Clerk, SupportDesk

DELIVERY = re.compile(r'href="/console/webhooks/deliveries/(whd_\w+)"')
OLDER = re.compile(r'href="([^"]+)" rel="next"')


async def delivered(house: House, partner: Partner) -> tuple[Json, str]:
    """An endpoint, and the id of the only delivery to it, which came through."""
    endpoint = await house.subscribed(partner, ["transaction.completed"])
    made = (await partner.charge()).json()
    await house.receiver.event("transaction.completed", made["id"])
    listed = (await partner.get(f"/v1/webhook-endpoints/{endpoint['id']}/deliveries")).json()["data"]
    return endpoint, str(listed[0]["id"])


async def test_an_endpoint_its_deliveries_and_every_try_are_shown(
    shared_house: House, clerk: Clerk, partner: Partner
) -> None:
    endpoint, delivery = await delivered(shared_house, partner)
    assert f"/console/webhooks/{endpoint['id']}" in await clerk.page("/console/webhooks")
    assert delivery in await clerk.page(f"/console/webhooks/{endpoint['id']}")
    assert "No delivery" in await clerk.page(f"/console/webhooks/{endpoint['id']}?state=exhausted")
    hostile = "<script>alert(1)</script>"
    await shared_house.owner.execute(
        "INSERT INTO webhook_attempts (partner_id, delivery_id, number, started_at, duration_ms, status_code, error,"
        " response_excerpt) VALUES ($1, $2, 99, now(), 1234, 500, 'status_500', $3)",
        partner.id,
        ids.decode("whd", delivery),
        hostile,
    )
    shown = (await clerk.get(f"/console/webhooks/deliveries/{delivery}")).text
    assert "1,234 ms" in shown
    assert hostile not in shown
    assert html.escape(hostile) in shown


async def test_a_delivery_is_sent_again_and_an_endpoint_switched_off_and_on(
    shared_house: House, clerk: Clerk, partner: Partner
) -> None:
    endpoint, delivery = await delivered(shared_house, partner)
    event = (await partner.get(f"/v1/webhook-deliveries/{delivery}")).json()["event_id"]
    answer = await clerk.post(f"/console/webhooks/deliveries/{delivery}/retry")
    assert answer.status_code == 303
    await shared_house.receiver.until(lambda events: sum(one["id"] == event for one in events) == 2)
    assert (await clerk.post(f"/console/webhooks/{endpoint['id']}/disable")).status_code == 303
    shown = (await partner.get(f"/v1/webhook-endpoints/{endpoint['id']}")).json()
    assert (shown["status"], shown["disabled_reason"]) == ("disabled", "by_support")
    assert (await clerk.post(f"/console/webhooks/{endpoint['id']}/enable")).status_code == 303
    assert (await partner.get(f"/v1/webhook-endpoints/{endpoint['id']}")).json()["status"] == "enabled"
    acts = await shared_house.owner.fetch("SELECT action FROM audit_logs WHERE actor = $1 ORDER BY id", clerk.actor)
    assert [row["action"] for row in acts if row["action"].startswith("webhook")] == [
        "webhook_delivery.retry",
        "webhook_endpoint.disable",
        "webhook_endpoint.enable",
    ]


async def test_pages_of_a_state_come_to_the_last(shared_house: House, clerk: Clerk, partner: Partner) -> None:
    endpoint = await shared_house.subscribed(partner, ["dispute.opened"])
    endpoint_id = ids.decode("whe", endpoint["id"])
    await partner.charge()
    await shared_house.owner.execute(
        "INSERT INTO webhook_deliveries (partner_id, id, endpoint_id, event_id, event_type, state, created_at,"
        " updated_at) SELECT $1, uuid_v7(), $2, e.id, 'dispute.opened',"
        " (CASE WHEN n % 2 = 0 THEN 'cancelled' ELSE 'exhausted' END)::delivery_state, now(), now()"
        " FROM generate_series(1, 240) n CROSS JOIN (SELECT id FROM events WHERE partner_id = $1 LIMIT 1) e",
        partner.id,
        endpoint_id,
    )
    seen: list[str] = []
    path: str | None = f"/console/webhooks/{endpoint['id']}?state=exhausted"
    while path is not None:
        text = await clerk.page(path)
        seen += DELIVERY.findall(text)
        older = OLDER.search(text)
        path = older and older[1]
    assert len(seen) == len(set(seen)) == 120


async def test_what_is_another_partners_is_not_there(
    shared_house: House, shared_support: SupportDesk, clerk: Clerk, partner: Partner
) -> None:
    endpoint, delivery = await delivered(shared_house, partner)
    other = await shared_house.partner()
    await clerk.look_at(other.id)
    for path in (f"/console/webhooks/{endpoint['id']}", f"/console/webhooks/deliveries/{delivery}"):
        assert (await clerk.get(path)).status_code == 404
    for path in (f"deliveries/{delivery}/retry", f"{endpoint['id']}/disable", f"{endpoint['id']}/enable"):
        assert (await clerk.post(f"/console/webhooks/{path}")).status_code == 404
    assert endpoint["id"] not in await clerk.page("/console/webhooks")
    answer = await clerk.post("/console/exports/deliveries", {"export": an_export(), "endpoint": endpoint["id"]})
    assert answer.status_code == 422
    viewer = await shared_support.clerk("viewer")
    await viewer.look_across()
    assert delivery in await viewer.page(f"/console/webhooks/{endpoint['id']}")
    assert "Every try" in await viewer.page(f"/console/webhooks/deliveries/{delivery}")
    assert (await viewer.post(f"/console/webhooks/deliveries/{delivery}/retry")).status_code == 403


def an_export() -> str:
    return ids.encode("exp", ids.new())
