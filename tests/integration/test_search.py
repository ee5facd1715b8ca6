"""Promise: a search finds exactly what was asked, from an index, whoever asks, and nothing of another partner's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db import embedded, ids, inbox, queues, search, search_statements
from db.records import Scope, Transaction
from db.search import Filters, Reach
from db.search_filters import ACCENTED, searched_name
from tests.benchmarks import history
from tests.conftest import cloned
from tests.integration.search_examples import fits, questions, some_filters

ROWS = 30_000
LIMIT = 21
BIG = ("transactions", "refunds", "attempts", "events", "webhook_deliveries", "provider_events")


class Explaining:
    """A connection that tells of every statement how PostgreSQL went about it."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.scanned = list[str]()
        self.buffers = 0

    async def execute(self, text: str) -> None:
        await self._connection.execute(text)

    async def fetchval(self, text: str, *values: object) -> Any:
        return await self._connection.fetchval(text, *values)

    async def fetch(self, text: str, *values: object) -> Any:
        told = await self._connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}", *values)
        plan = (json.loads(told) if isinstance(told, str) else told)[0]["Plan"]
        self.buffers += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        self.scanned += [node["Relation Name"] for node in _nodes(plan) if node["Node Type"] == "Seq Scan"]
        return await self._connection.fetch(text, *values)


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(inner for child in plan.get("Plans", []) for inner in _nodes(child))]


@dataclass(frozen=True)
class Desk:
    """A database with history, and a connection as each of the roles that search."""

    owner: Any
    app: Any
    within: Any
    """The console, for a person who works for the largest partner."""
    across: Any
    largest: UUID
    second: UUID
    rows: Sequence[Transaction]
    """The largest's in live mode, the newest first."""

    @property
    def reach(self) -> Reach:
        return Reach(self.largest, livemode=True)


@pytest.fixture(scope="module")
async def desk(postgres: embedded.Server, template: str) -> AsyncIterator[Desk]:
    async with cloned(postgres, template) as url:
        owner = await asyncpg.connect(url)
        made = await history.remember(owner, ROWS, partners=30)
        largest, second = made.partners[:2]
        app = await _as(url, "paygate_app", {"app.current_partner_id": str(largest)})
        within = await _as(url, "paygate_console", {"app.current_partner_id": str(largest)})
        across = await _as(url, "paygate_console", {"app.across_partners": "on"})
        async with app.transaction():
            rows = await search.transactions(app, Scope(largest, livemode=True), Filters(), before=None, limit=ROWS)
        yield Desk(owner, app, within, across, largest, second, rows)
        for connection in (owner, app, within, across):
            await connection.close()


async def _as(url: str, role: str, settings: dict[str, str]) -> Any:
    connection = await asyncpg.connect(url, server_settings={"role": role, "jit": "off", "timezone": "UTC", **settings})
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    return connection


def whoever_asks(desk: Desk) -> Sequence[tuple[Any, Reach]]:
    """The API first."""
    return (desk.app, desk.reach), (desk.within, desk.reach), (desk.across, Reach(None, livemode=True))


async def found(
    connection: Any, reach: Reach, *readings: Filters, before: UUID | None = None, limit: int = LIMIT
) -> list[Transaction]:
    async with connection.transaction():
        page = await search.page(connection, reach, readings, before=before, limit=limit)
    assert page.until is None
    return list(page.transactions)


# ── Plans ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_no_search_reads_a_big_table_from_end_to_end(desk: Desk) -> None:
    row = next(one for one in desk.rows[2_500:] if one.customer_email and one.metadata and one.card_last4)
    for name, filters in questions(row).items():
        for connection, reach in whoever_asks(desk)[filters.provider_id is not None :]:  # the API does not ask for that
            for before in (None, desk.rows[-300].id):
                explaining: Any = Explaining(connection)
                async with connection.transaction():
                    await search.page(explaining, reach, [filters], before=before, limit=LIMIT)
                scanned = [table for table in explaining.scanned if table.startswith(BIG)]
                assert not scanned, (name, reach, before)


async def test_what_waits_is_counted_without_what_does_not(desk: Desk) -> None:
    for connection in (desk.within, desk.across):
        explaining: Any = Explaining(connection)
        async with connection.transaction():
            await queues.all_queues(explaining)
        async with connection.transaction():
            await inbox.parked(explaining, 100)
        assert not [table for table in explaining.scanned if table.startswith(BIG)]


async def test_a_page_costs_the_same_however_deep_it_lies(desk: Desk) -> None:
    for filters in (Filters(), Filters(status=("completed",)), Filters(currency="EUR", payment_method="card")):
        depths = (None, desk.rows[len(desk.rows) // 2].id, desk.rows[-3_000].id)
        costs = [await cost(desk, filters, before) for before in depths]
        assert max(costs) <= 2 * min(costs), (filters, costs)


async def test_near_the_end_what_is_left_is_read_once_at_most(desk: Desk) -> None:
    """Where no more are left than a walk looks at, the planner may read them all and sort them."""
    blocks = (
        "SELECT count(DISTINCT (ctid::text::point)[0]) FROM transactions WHERE partner_id = $1 AND livemode AND id < $2"
    )
    for filters in (Filters(), Filters(status=("completed",)), Filters(currency="EUR", payment_method="card")):
        first = await cost(desk, filters, None)
        for left in (search_statements.WALK, search_statements.WALK // 2, LIMIT + 50):
            before = desk.rows[-left].id
            read = await desk.owner.fetchval(blocks, desk.largest, before)
            assert await cost(desk, filters, before) <= first + read + 20, (filters, left)  # 20: of the index


async def cost(desk: Desk, filters: Filters, before: UUID | None) -> int:
    """Of one page, in blocks of memory."""
    explaining: Any = Explaining(desk.app)
    async with desk.app.transaction():
        await search.page(explaining, desk.reach, [filters], before=before, limit=LIMIT)
    return int(explaining.buffers)


# ── Answers ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_found_is_what_fits(desk: Desk) -> None:
    cases = list[tuple[Filters, UUID | None]]()

    @settings(max_examples=100, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def collect(data: st.DataObject) -> None:
        row = desk.rows[data.draw(st.integers(0, len(desk.rows) - 1))]
        before = data.draw(st.sampled_from([None, row.id, desk.rows[-2_000].id]))
        cases.append((data.draw(some_filters(row)), before))

    collect()
    for filters, before in cases:
        expected = [row for row in desk.rows if (before is None or row.id < before) and fits(row, filters)][:LIMIT]
        assert await found(desk.app, desk.reach, filters, before=before) == expected, (filters, before)


async def test_dates_may_be_of_any_year(desk: Desk) -> None:
    first, last = datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert await found(desk.app, desk.reach, Filters(created_after=first)) == desk.rows[:LIMIT]
    assert await found(desk.app, desk.reach, Filters(created_before=last)) == desk.rows[:LIMIT]
    assert await found(desk.app, desk.reach, Filters(created_after=last)) == []
    assert await found(desk.app, desk.reach, Filters(created_before=first)) == []


@pytest.mark.parametrize("postings", [1, 500, search.POSTINGS_MAX])
async def test_a_narrow_search_for_what_is_common_is_right_too(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, postings: int
) -> None:
    """The same answers where a few rows are already many: span by span, and walked."""
    monkeypatch.setattr(search, "POSTINGS_MAX", postings)
    monkeypatch.setattr(search_statements, "WALK", 30)
    monkeypatch.setattr(search_statements, "CANDIDATES_MAX", 40)
    monkeypatch.setattr(search_statements, "SCATTERED_MAX", 20)
    monkeypatch.setattr(search_statements, "ENTRIES_MAX", 60)
    monkeypatch.setattr(search, "ROUNDS", 2)
    row = desk.rows[5_000]
    assert row.reference is not None
    for filters in (
        Filters(status=("failed",)),
        Filters(status=("failed",), created_before=row.created_at),
        Filters(currency="CHF", payment_method="e_wallet"),
        Filters(customer_name="smi", currency="USD"),
        Filters(customer_name="anna s"),
        Filters(customer_name="anna smi", status=("refunded",)),
        Filters(customer_name="nobody", status=("failed",)),
        Filters(reference_prefix=row.reference[:10]),
        Filters(reference_prefix=row.reference[:10], status=("failed",)),
        Filters(amount_gte=Decimal(500), capture="manual"),
    ):
        expected = [one for one in desk.rows if fits(one, filters)][:LIMIT]
        assert await all_of(desk.app, desk.reach, filters) == expected, filters


async def test_what_stops_early_across_partners_goes_on_without_a_gap(desk: Desk) -> None:
    reach = Reach(None, livemode=True)
    everyone = await all_of(desk.across, reach, Filters(), limit=ROWS)
    assert len(everyone) > len(desk.rows)
    for filters in (
        Filters(customer_name="anna smi", status=("refunded",)),
        Filters(currency="CHF", provider="paypal", status=("refunded", "cancelled")),
        Filters(amount_gte=Decimal(700), capture="manual"),
        Filters(customer_email_prefix="a", provider="manual", payment_method="e_wallet"),
    ):
        expected = [one for one in everyone if fits(one, filters)][:LIMIT]
        assert await all_of(desk.across, reach, filters) == expected, filters


async def all_of(connection: Any, reach: Reach, filters: Filters, limit: int = LIMIT) -> list[Transaction]:
    """A page, however often the search stops early and goes on."""
    rows, before = list[Transaction](), None
    while len(rows) < limit:
        async with connection.transaction():
            page = await search.page(connection, reach, [filters], before=before, limit=limit - len(rows))
        rows += page.transactions
        if page.until is None:
            break
        assert before is None or page.until < before
        before = page.until
    return rows


async def test_readings_are_alternatives(desk: Desk) -> None:
    one, other = (
        Filters(amount=Decimal("9.99"), currency="CHF"),
        Filters(status=("refunded",), payment_method="e_wallet"),
    )
    expected = [row for row in desk.rows if fits(row, one) or fits(row, other)][:LIMIT]
    assert await found(desk.app, desk.reach, one, other) == expected


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("refunds", "refund_id"),
        ("attempts", "attempt_id"),
        ("events", "event_id"),
        ("webhook_deliveries", "delivery_id"),
    ],
)
async def test_a_payment_is_found_by_what_belongs_to_it(desk: Desk, table: str, name: str) -> None:
    one = await desk.owner.fetchrow(
        f"SELECT r.id, transaction_id FROM {table} r JOIN transactions t ON t.id = transaction_id"
        " WHERE t.partner_id = $1 AND t.livemode LIMIT 1",
        desk.largest,
    )
    fields: dict[str, Any] = {name: one["id"]}
    for connection, reach in whoever_asks(desk):
        assert [row.id for row in await found(connection, reach, Filters(**fields))] == [one["transaction_id"]]


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("attempts", "provider_id"),
        ("refunds", "provider_refund_id"),
        ("provider_events", "dedupe_key"),
    ],
)
async def test_a_payment_is_found_by_whatever_its_psp_calls_by_an_id(desk: Desk, table: str, column: str) -> None:
    one = await desk.owner.fetchrow(
        f"SELECT {column} AS named, transaction_id FROM {table} WHERE partner_id = $1 AND {column} IS NOT NULL"
        " AND transaction_id IN (SELECT id FROM transactions WHERE livemode) LIMIT 1",
        desk.largest,
    )
    for connection, reach in whoever_asks(desk)[1:]:
        rows = await found(connection, reach, Filters(provider_id=one["named"]))
        assert [row.id for row in rows] == [one["transaction_id"]]


# ── Pages ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("filters", [Filters(currency="CHF"), Filters(customer_name="smi"), Filters(provider="manual")])
async def test_pages_have_no_gaps_or_doubles_while_payments_arrive(desk: Desk, filters: Filters) -> None:
    expected = [row for row in desk.rows if fits(row, filters)]
    pages, before = list[Transaction](), None
    await desk.owner.execute("SET session_replication_role = replica")
    copy = "INSERT INTO transactions SELECT (jsonb_populate_record(t, jsonb_build_object('id', $2::uuid))).*"
    arrived = list[UUID]()
    while page := await found(desk.app, desk.reach, filters, before=before, limit=50):
        pages += page
        before = page[-1].id
        arrived.append(ids.new())
        await desk.owner.execute(f"{copy} FROM transactions t WHERE id = $1", page[0].id, arrived[-1])
    await desk.owner.execute("DELETE FROM transactions WHERE id = ANY ($1)", arrived)
    assert len(arrived) > 1
    assert pages == expected


async def test_new_words_wait_until_the_worker_merges_them(desk: Desk) -> None:
    copy = "INSERT INTO transactions SELECT (jsonb_populate_record(t, jsonb_build_object('id', $2::uuid))).*"
    arrived, one = ids.new(), desk.rows[10].id
    await desk.owner.execute("SET session_replication_role = replica")
    await desk.owner.execute(f"{copy} FROM transactions t WHERE id = $1", one, arrived)
    async with desk.owner.transaction():
        await desk.owner.execute("SET LOCAL ROLE paygate_worker")
        waited = [await search.merge(desk.owner), await search.merge(desk.owner)]
    await desk.owner.execute("DELETE FROM transactions WHERE id = $1", arrived)
    assert waited[0] > waited[1] == 0
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await search.merge(desk.app)


# ── Isolation ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_no_view_shows_a_partner_another_ones_payments(desk: Desk) -> None:
    partners = await desk.app.fetch("SELECT DISTINCT partner_id FROM searchable_transactions")
    assert [row["partner_id"] for row in partners] == [desk.largest]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await desk.app.fetch("SELECT id FROM searchable_across LIMIT 1")


async def test_a_search_for_another_partner_finds_nothing(desk: Desk) -> None:
    for filters in (
        Filters(),
        Filters(status=("completed",)),
        Filters(provider="manual"),
        Filters(reference_prefix="O"),
    ):
        assert await found(desk.app, Reach(desk.second, livemode=True), filters) == []


async def test_without_a_partner_or_leave_nothing_is_shown(desk: Desk) -> None:
    async with desk.app.transaction():
        await desk.app.execute("SET LOCAL app.current_partner_id = ''")
        assert await desk.app.fetch("SELECT id FROM searchable_transactions LIMIT 1") == []
    async with desk.across.transaction():
        await desk.across.execute("SET LOCAL app.across_partners = ''")
        assert await desk.across.fetch("SELECT id FROM searchable_across LIMIT 1") == []
        assert await desk.across.fetch("SELECT id FROM searchable_transactions LIMIT 1") == []


async def test_the_views_cannot_be_written_through(desk: Desk) -> None:
    for statement in ("DELETE FROM searchable_transactions", "UPDATE searchable_transactions SET reference = 'x'"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await desk.app.execute(statement)


async def test_the_other_mode_is_another_world(desk: Desk) -> None:
    tested = await found(desk.app, replace(desk.reach, livemode=False), Filters(last4="4242"))
    assert tested
    assert not any(row.livemode for row in tested)


# ── The same words on both sides ────────────────────────────────────────────────────────────────────────────────


async def test_names_are_folded_alike_here_and_there(desk: Desk) -> None:
    for name in (ACCENTED, "Straße", "Ana-María van der Müller", "O'Neill"):
        assert await desk.owner.fetchval("SELECT searched_name($1)", name) == searched_name(name)
