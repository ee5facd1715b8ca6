"""Promise: a step is written whole or not at all, by the one who holds the attempt, and once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest

from db import failpoints, ids, transactions
from db.provider_calls import CallPurpose
from db.records import Attempt, Scope
from gateway.transactions import journal
from gateway.transactions.changes import Snapshot
from gateway.transactions.commands import Caller
from providers import PROVIDERS
from providers.contract import Approved, Declined, DeclineKind, Unknown
from tests.acceptance.steps import leases_run_out
from tests.house import House, Json, Partner, new_key

TOOK = Approved(provider_id="pi_1")
REFUSED = Declined(
    code="generic_decline", kind=DeclineKind.SOFT, may_fail_over=False, provider_code=None, message="No."
)
WRITTEN = ("transactions", "transaction_events", "ledger_entries", "events", "webhook_deliveries", "idempotency_keys")
"""What the outcome of a charge changes or adds to."""


class AcknowledgementLost:
    """Of the first `journal_write`: it is done, and nobody is told."""

    count = 0

    async def reached(self, name: str) -> None:
        if name.endswith("/journal_write.answered") and not self.count:
            self.count += 1
            raise asyncpg.ConnectionDoesNotExistError


@pytest.fixture
async def partner(shared_house: House) -> Partner:
    """With an endpoint that is disabled: its deliveries are written, and nobody touches them after."""
    await shared_house.silence()
    partner = await shared_house.partner()
    await shared_house.subscribed(partner)
    await shared_house.owner.execute("UPDATE webhook_endpoints SET state = 'disabled'")
    return partner


@pytest.fixture
async def unknown(shared_house: House, partner: Partner) -> Json:
    """A charge that was made, whose answer was lost, and which nobody but the test looks into."""
    await shared_house.fault("act_then_lose_answer", operation="charge", reference=f"lost-{partner.id}", times=2)
    answer = await partner.charge(reference=f"lost-{partner.id}")
    assert answer.status_code == 202, answer.text
    await shared_house.owner.execute(
        "UPDATE attempts SET next_check_at = now() + interval '1 hour' WHERE finished_at IS NULL"
    )
    charged: Json = answer.json()
    return charged


async def snapshot_of(house: House, partner: Partner) -> Snapshot:
    """The partner's only transaction, as whoever concludes it sees it."""
    row = await house.owner.fetchrow("SELECT transaction_id, id FROM attempts WHERE partner_id = $1", partner.id)
    assert row is not None
    async with house.runtime.database.as_partner(partner.id) as connection:
        return await journal.load(connection, partner.id, row["transaction_id"], row["id"])


async def taken(house: House, partner: Partner, attempt_id: UUID) -> Attempt | None:
    async with house.runtime.database.as_partner(partner.id) as connection:
        return await transactions.take(connection, partner.id, attempt_id, lease_seconds=60)


async def rows(house: House, partner: Partner) -> dict[str, str | None]:
    """Everything that the partner's steps have written, as one text per table."""
    query = "SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM {} t WHERE partner_id = $1"
    return {table: await house.owner.fetchval(query.format(table), partner.id) for table in (*WRITTEN, "attempts")}


@asynccontextmanager
async def refusing(house: House, table: str) -> AsyncIterator[None]:
    """The table takes no row, and no change of one."""
    await house.owner.execute(f"ALTER TABLE {table} ADD CONSTRAINT no_space CHECK (false) NOT VALID")
    try:
        yield
    finally:
        await house.owner.execute(f"ALTER TABLE {table} DROP CONSTRAINT no_space")


@pytest.mark.parametrize("table", WRITTEN)
async def test_where_one_row_cannot_be_written_none_is(
    shared_house: House, partner: Partner, unknown: Json, table: str
) -> None:
    snapshot = await snapshot_of(shared_house, partner)
    before = await rows(shared_house, partner)
    async with refusing(shared_house, table):
        with pytest.raises(asyncpg.CheckViolationError):
            await journal.record(shared_house.runtime, snapshot, TOOK, actor="test")
    assert await rows(shared_house, partner) == before
    await journal.record(shared_house.runtime, snapshot, TOOK, actor="test")
    after = await rows(shared_house, partner)
    assert {name for name in WRITTEN if after[name] != before[name]} == set(WRITTEN)
    assert (await partner.get(f"/v1/transactions/{unknown['id']}")).json()["status"] == "completed"


async def test_an_attempt_is_held_by_one_at_a_time(shared_house: House, partner: Partner, unknown: Json) -> None:
    attempt = (await snapshot_of(shared_house, partner)).attempt
    first = await taken(shared_house, partner, attempt.id)
    assert first is not None
    assert first.epoch == attempt.epoch + 1
    assert await taken(shared_house, partner, attempt.id) is None
    await leases_run_out(shared_house.owner)
    second = await taken(shared_house, partner, attempt.id)
    assert second is not None
    assert second.epoch == first.epoch + 1
    await journal.record(shared_house.runtime, await snapshot_of(shared_house, partner), TOOK, actor="test")
    await leases_run_out(shared_house.owner)
    assert await taken(shared_house, partner, attempt.id) is None  # it is over


async def test_who_wakes_up_after_its_lease_writes_nothing(
    shared_house: House, partner: Partner, unknown: Json
) -> None:
    asleep = await snapshot_of(shared_house, partner)
    assert await taken(shared_house, partner, asleep.attempt.id)
    before = await rows(shared_house, partner)
    recorded = await journal.record(shared_house.runtime, asleep, REFUSED, actor="asleep")
    assert recorded.snapshot.transaction.status == "processing"
    assert await rows(shared_house, partner) == before
    await journal.record(shared_house.runtime, await snapshot_of(shared_house, partner), TOOK, actor="awake")
    late = await journal.record(shared_house.runtime, asleep, REFUSED, actor="asleep")
    assert late.snapshot.transaction.status == "completed"


async def test_who_wakes_up_after_its_lease_goes_on_nowhere(
    shared_house: House, partner: Partner, unknown: Json
) -> None:
    asleep = await snapshot_of(shared_house, partner)
    following = replace(asleep.attempt, id=ids.new(), number=2, provider_key=new_key())
    assert await taken(shared_house, partner, asleep.attempt.id)
    before = await rows(shared_house, partner)
    caller = Caller(scope=Scope(partner.id, livemode=False), actor="asleep", key=None, fingerprint=b"")
    recorded = await journal.fail_over(shared_house.runtime, caller, asleep, REFUSED, following)
    assert not recorded.written
    assert await rows(shared_house, partner) == before


async def test_an_outcome_is_written_once_however_often_it_is_learned(
    shared_house: House, partner: Partner, unknown: Json
) -> None:
    snapshot = await snapshot_of(shared_house, partner)
    await journal.record(shared_house.runtime, snapshot, TOOK, actor="test")
    before = await rows(shared_house, partner)
    again = await journal.record(shared_house.runtime, snapshot, TOOK, actor="test")
    assert again.snapshot.transaction.status == "completed"
    assert await rows(shared_house, partner) == before


async def test_an_answer_that_changes_nothing_is_kept_once_though_its_acknowledgement_is_lost(
    shared_house: House, partner: Partner, unknown: Json
) -> None:
    snapshot, lost = await snapshot_of(shared_house, partner), AcknowledgementLost()
    with failpoints.armed(lost):
        recorded = await journal.record(
            shared_house.runtime, snapshot, Unknown(reason="still"), actor="test", purpose=CallPurpose.RESEND
        )
    assert lost.count == 1
    assert recorded.written
    kept = await shared_house.owner.fetch("SELECT purpose FROM provider_calls WHERE partner_id = $1", partner.id)
    assert [row["purpose"] for row in kept] == ["resend"]


async def test_a_key_that_is_taken_stays_with_who_took_it(shared_house: House, partner: Partner) -> None:
    key = new_key()
    await partner.charge(key=key)
    taken = "SELECT to_jsonb(k) FROM idempotency_keys k WHERE key = $1"
    before = json.loads(await shared_house.owner.fetchval(taken, key))
    claim = before | {"fingerprint": f"\\x{bytes(32).hex()}", "attempt_id": ids.new()}
    async with shared_house.runtime.database.statement() as connection:
        assert await transactions.journal_write(connection, partner.id, {"claim": claim}) == "claimed"
    assert json.loads(await shared_house.owner.fetchval(taken, key)) == before


TOKENS = {"stripe": "pm_card_visa", "paypal": "vault_card_visa", "adyen": "ada/APPROVED"}


@pytest.mark.parametrize(("provider", "hours"), [("stripe", 19.2), ("paypal", 4.8), ("adyen", 22.0)])
async def test_a_person_looks_within_a_day_and_before_the_psp_may_have_forgotten_the_key(
    shared_house: House, partner: Partner, provider: str, hours: float
) -> None:
    method = {"type": "card", "tokens": {provider: TOKENS[provider]}}
    assert (await partner.charge(payment_method=method)).status_code == 201
    assert await _review_after(shared_house, partner) == [timedelta(hours=hours)]


async def test_a_person_looks_within_an_hour_at_what_its_partner_calls_of_high_value(
    shared_house: House, partner: Partner
) -> None:
    await shared_house.desk.change_partner(partner.id, review_above={"USD": Decimal("19.99"), "JPY": Decimal(5)})
    for amount, currency in (("19.99", "USD"), ("19.98", "USD"), ("100.00", "EUR")):
        made = (await partner.charge(amount=amount, currency=currency)).json()
        assert made["status"] == "completed", made
        await partner.post(f"/v1/transactions/{made['id']}/refunds", {"amount": "1.00"})
    hour, keeps = timedelta(hours=1), timedelta(hours=19.2)
    assert await _review_after(shared_house, partner) == [hour, hour, keeps, keeps, keeps, keeps]
    await shared_house.desk.change_partner(partner.id, review_above={})
    await partner.charge()
    assert (await _review_after(shared_house, partner))[-1] == keeps


async def _review_after(house: House, partner: Partner) -> list[timedelta]:
    found = await house.owner.fetch(
        "SELECT review_after FROM attempts WHERE partner_id = $1 ORDER BY created_at, id", partner.id
    )
    return [row["review_after"] for row in found]


async def test_the_time_to_send_again_ends_well_before_the_psp_forgets_the_key(
    shared_house: House, partner: Partner
) -> None:
    await partner.charge()
    time_left: timedelta = await shared_house.owner.fetchval(
        "SELECT resend_until - created_at FROM attempts WHERE partner_id = $1", partner.id
    )
    lifetime = timedelta(seconds=PROVIDERS["stripe"].capabilities.key_lifetime_seconds)
    assert lifetime / 2 < time_left < lifetime * 0.9
