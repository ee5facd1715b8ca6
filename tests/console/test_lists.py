"""Promise: every list of the console leaves as a file, whole whatever a batch holds, and no secret is in any."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from decimal import Decimal
from uuid import UUID

import pytest

from db import approvals, findings, ids, transactions
from db.records import RefundReason, Scope
from gateway.console import listing, operator_listings, payment_listings, webhook_listings
from gateway.console.listings import LISTINGS
from gateway.transactions import journal
from providers.simulator import CREDENTIALS
from tests.house import House, Partner
from tests.support_desk import Clerk, SupportDesk

SHOWN_ON = {
    "payments": "search",
    "reviews": "reviews",
    "approvals": "approvals",
    "findings": "reviews",
    "notifications": "reviews",
    "endpoints": "webhooks",
    "partners": "partners",
    "accounts": "accounts",
    "rules": "routing",
    "people": "people",
    "audit": "audit",
}
SEVERAL = 3
CANARY = "AQEcanary0123456789"


async def taken(clerk: Clerk, name: str, filters: Mapping[str, str]) -> list[dict[str, str]]:
    export = {"export": ids.encode("exp", ids.new())}
    answer = await clerk.post(f"/console/exports/{name}", export | dict(filters))
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""), strict=True))


async def test_every_list_leaves_whole_and_without_a_secret(
    shared_house: House, shared_support: SupportDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, partner = shared_house, await shared_house.partner()
    admin = await shared_support.clerk("admin", name="=Ada")
    await admin.look_at(partner.id)
    endpoints = [await house.subscribed(partner, description="+1") for _ in range(SEVERAL)]
    for _ in range(SEVERAL):
        await _payment_that_waits_for_people(house, shared_support, partner, admin.person.id)
        await _account(house)
        rules = {"rules": [{"name": "all", "then": {"priority": ["stripe"]}}]}
        assert (await admin.post("/console/routing", {"document": json.dumps(rules)})).status_code == 303
    others = [await house.partner() for _ in range(SEVERAL)]
    for _ in range(SEVERAL):
        await shared_support.invited("viewer")
    filters = {"deliveries": {"endpoint": endpoints[0]["id"]}, "audit": {"action": "provider_account.added"}}
    files = {name: await taken(admin, name, filters.get(name, {})) for name in LISTINGS}
    secrets = [CANARY, partner.api_key, *(one.api_key for one in others), *(one["secret"] for one in endpoints)]
    secrets += [text for text in CREDENTIALS["stripe"].values() if isinstance(text, str)]
    assert not [name for name, rows in files.items() if any(secret in json.dumps(rows) for secret in secrets)]
    for module in (listing, operator_listings, payment_listings, webhook_listings):
        monkeypatch.setattr(module, "BATCH", SEVERAL - 1)
    for name, rows in files.items():
        found = [row["id"] for row in rows]
        assert len(set(found)) == len(found) >= SEVERAL, name
        assert all(None not in (*row, *row.values()) for row in rows), name
        assert found == [row["id"] for row in await taken(admin, name, filters.get(name, {}))], name
    assert "'=Ada" in {row["name"] for row in files["people"]}
    assert {row["description"] for row in files["endpoints"]} == {"'+1"}
    named = {"named": ids.encode("prt", partner.id)}
    assert [row["id"] for row in await taken(admin, "partners", named)] == [named["named"]]
    (key,) = await taken(admin, "keys", {"partner": ids.encode("prt", partner.id)})
    assert key["prefix"] in partner.api_key
    assert (key["last4"], key["state"]) == (partner.api_key[-4:], "active")
    assert (await admin.post("/console/exports/keys", {"partner": ids.encode("prt", ids.new())})).status_code == 422


async def _payment_that_waits_for_people(house: House, support: SupportDesk, partner: Partner, person_id: UUID) -> None:
    made = (await partner.charge()).json()
    await partner.post(f"/v1/transactions/{made['id']}/refunds", {"amount": "1.00"})
    transaction_id = ids.decode("txn", made["id"])
    assert transaction_id is not None
    await journal.flag(house.background, partner.id, transaction_id, {"reason": "test"}, actor="paygate:test")
    async with support.console.reading.as_partner(partner.id) as connection:
        payment = await transactions.get(connection, Scope(partner.id, livemode=False), transaction_id)
        assert payment is not None
        assert await approvals.request(
            connection,
            ids.new(),
            payment,
            amount=Decimal(1),
            reason=RefundReason.OTHER,
            note=None,
            requested_by=person_id,
        )
    await house.owner.execute(
        "INSERT INTO provider_events (id, account_id, provider, dedupe_key, headers, body, state, partner_id,"
        " transaction_id, next_try_at) SELECT uuid_v7(), account_id, provider, $2, '{}', '', 'parked', partner_id,"
        " transaction_id, NULL FROM attempts WHERE transaction_id = $1 AND operation = 'charge'",
        transaction_id,
        f"evt_{made['id']}",
    )
    async with house.background.database.as_system() as connection:
        assert await findings.report(
            connection, source="reconciler", kind="test", subject=made["id"], partner_id=partner.id, data={}
        )


async def _account(house: House) -> None:
    credentials = dict(CREDENTIALS["adyen"]) | {"api_key": CANARY}
    url = house.simulators["adyen"]
    await house.desk.add_account(provider="adyen", livemode=False, credentials=credentials, base_url=url)


async def test_a_list_is_taken_from_its_page_by_whoever_may(shared_house: House, shared_support: SupportDesk) -> None:
    partner = await shared_house.partner()
    admin = await shared_support.clerk("admin")
    await admin.look_at(partner.id)
    await shared_house.subscribed(partner)
    await _payment_that_waits_for_people(shared_house, shared_support, partner, admin.person.id)
    rules = {"rules": [{"name": "all", "then": {"priority": ["stripe"]}}]}
    await admin.post("/console/routing", {"document": json.dumps(rules)})
    for name, page in SHOWN_ON.items():
        assert f'href="/console/exports/{name}' in (await admin.get(f"/console/{page}")).text, name
    whose = ids.encode("prt", partner.id)
    assert f'href="/console/exports/keys?partner={whose}"' in (await admin.get(f"/console/partners/{whose}")).text
    support = await shared_support.clerk("support")
    refused = {name for name in LISTINGS if (await support.get(f"/console/exports/{name}")).status_code == 403}
    assert refused == {"findings", "partners", "keys", "accounts", "rules", "people", "audit"}
