"""Searches of a support desk over years of payments, and what their indexes cost each charge.

    python -m tests.benchmarks.search [--rows 5000000] [--partners 200] [--seconds 3] [--kept DIRECTORY]

Every search is asked a hundred times, with what is known of as many payments, within the largest partner and across
all, for its first page and for one in the middle of the history; then the console's pages are (see `pages`). `--kept`
makes the history in that directory, or takes the one that is there. Inserts are `journal_write`'s two statements of a
charge, in turn beside and without indexes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from db import embedded, ids, schema, search
from db.records import Scope, Transaction
from db.search import Filters, Reach
from gateway.transactions.commands import Caller, Charge, Customer
from tests.benchmarks import history, machine, pages, pgbench
from tests.house import House

LIMIT = 21
TIMES = 100
CLIENTS = 8
ROUNDS = 12
_KEY = "benchmark-key-0001"
_SEARCH_INDEXES = ("transactions_words", "transactions_reference", "transactions_newest")


@dataclass(frozen=True, slots=True)
class Sizes:
    rows: int = 5_000_000
    partners: int = 200
    seconds: float = 3.0
    kept: Path | None = None


def main(sizes: Sizes | None = None) -> None:
    sizes = sizes or Sizes()
    with tempfile.TemporaryDirectory(prefix="paygate-bench-") as directory:
        home = sizes.kept or Path(directory)
        home.mkdir(exist_ok=True)
        home.chmod(0o755)  # PostgreSQL may run as another user
        server = embedded.start(home / "postgresql")
        try:
            asyncio.run(_run(server, home, sizes))
        finally:
            server.stop()


async def _run(server: embedded.Server, home: Path, sizes: Sizes) -> None:
    await schema.migrate(server.url())
    owner = await asyncpg.connect(server.url())
    if not await owner.fetchval("SELECT EXISTS (SELECT FROM transactions)"):
        began = time.perf_counter()
        await history.remember(owner, sizes.rows, partners=sizes.partners)
        print(f"{sizes.rows:,} payments of {sizes.partners} partners, written in {time.perf_counter() - began:.0f} s")
    await owner.close()
    await searches(server.url(), home)
    await inserts(server, sizes.seconds)


# ── Searches ────────────────────────────────────────────────────────────────────────────────────────────────────


async def searches(url: str, home: Path) -> None:
    """At the database, then as pages of the console."""
    owner = await asyncpg.connect(url)
    largest: UUID = await owner.fetchval(
        "SELECT partner_id FROM transactions GROUP BY partner_id ORDER BY count(*) DESC LIMIT 1"
    )
    await _tell_sizes(owner)
    middle = await owner.fetchval(
        "SELECT id FROM transactions WHERE partner_id = $1 AND livemode ORDER BY id"
        " OFFSET (SELECT count(*) / 2 FROM transactions WHERE partner_id = $1 AND livemode) LIMIT 1",
        largest,
    )
    cells = list[_Cell]()
    for named, settings, reach in (
        ("within", {"app.current_partner_id": str(largest)}, Reach(largest, livemode=True)),
        ("across", {"app.across_partners": "on"}, Reach(None, livemode=True)),
    ):
        connection = await _as(url, "paygate_console", settings)
        known = await _known(connection, owner, reach.partner_id)
        cells += [_Cell(f"{named}, first", connection, reach, known, None)]
        cells += [_Cell(f"{named}, middle", connection, reach, known, middle)]
    await _ask(cells)
    await pages.shown(url, home, largest, [row for row, _ in cells[0].known][: pages.ASKED + 1], middle)
    for connection in (owner, *(cell.connection for cell in cells[::2])):
        await connection.close()


@dataclass(frozen=True, slots=True)
class _Cell:
    """Who asks, from where on, about which payments."""

    name: str
    connection: Any
    reach: Reach
    known: Sequence[tuple[Transaction, Mapping[str, Any]]]
    before: UUID | None


async def _ask(cells: Sequence[_Cell]) -> None:
    print(f"  {'ms at the database: p50 p95 p99 (…: early)':<34}" + "".join(f"{cell.name:>28}" for cell in cells))
    worst = 0.0
    for name in questions(*cells[0].known[0]):
        told = f"  {name:<34}"
        for cell in cells:
            times, early = await _timed(cell, [questions(*known)[name] for known in cell.known])
            p50, p95, p99 = (times[min(int(len(times) * share), len(times) - 1)] for share in (0.5, 0.95, 0.99))
            told += f"{p50:8.1f}{p95:7.1f}{p99:7.1f}" + (f"{early:5.0%}…" if early else " " * 6)
            worst = max(worst, p95)
        print(told, flush=True)
    machine.goal("the slowest search's p95, ms", worst, "≤", 50, digits=1)


def questions(row: Transaction, of: Mapping[str, Any]) -> dict[str, Filters]:
    """What may be asked by who knows something of this payment; `of` are the ids of what belongs to another."""
    half_a_day, old = timedelta(hours=12), timedelta(days=300)
    day: dict[str, Any] = {"created_after": row.created_at - half_a_day, "created_before": row.created_at + half_a_day}
    reference, email, names = row.reference or "", row.customer_email or "", (row.customer_name or "").split()
    step = Decimal(int(row.id) % 100)
    return {
        "newest": Filters(),
        "last4": Filters(last4=row.card_last4),
        "last4 absent": Filters(last4=f"x{step}"),
        "last4 and currency": Filters(last4=row.card_last4, currency=row.currency),
        "amount": Filters(amount=row.amount),
        "amount on a day": Filters(amount=row.amount, **day),
        "amount common": Filters(amount=Decimal("9.99")),
        "amount range of ten": Filters(amount_gte=1000 + 10 * step, amount_lte=1010 + 10 * step),
        "amount above 1,000 to 4,000": Filters(amount_gte=1000 + 30 * step),
        "e-mail": Filters(customer_email=email),
        "e-mail prefix": Filters(customer_email_prefix=email[: email.index("@") - 2]),
        "e-mail of very many": Filters(customer_email="guest@shop.example"),
        "… and the status": Filters(customer_email="guest@shop.example", status=(row.status.value,)),
        "… and cancelled": Filters(customer_email="guest@shop.example", status=("cancelled",)),
        "name, beginning": Filters(customer_name=names[-1][:3]),
        "name of two words": Filters(customer_name=f"{names[0]} {names[-1]}"),
        "… and refunded": Filters(customer_name=f"{names[0]} {names[-1]}", status=("refunded",)),
        "name absent": Filters(customer_name=f"zz{step}"),
        "reference": Filters(reference=reference),
        "reference prefix": Filters(reference_prefix=reference[:15]),
        "reference prefix, a month": Filters(reference_prefix=reference[:10]),
        "… and failed": Filters(reference_prefix=reference[:10], status=("failed",)),
        "provider_transaction_id": Filters(provider_transaction_id=row.provider_transaction_id),
        "our id": Filters(transaction_id=row.id),
        "id of a refund": Filters(refund_id=of["refund_id"]),
        "id of an attempt": Filters(attempt_id=of["attempt_id"]),
        "id of an event": Filters(event_id=of["event_id"]),
        "id of a delivery": Filters(delivery_id=of["delivery_id"]),
        "a PSP's id of an attempt": Filters(provider_id=of["tried"]),
        "a PSP's id of a refund": Filters(provider_id=of["returned"]),
        "a PSP's id of a notification": Filters(provider_id=of["notified"]),
        "a PSP's id, absent": Filters(provider_id=f"pi_absent_{step}"),
        "metadata": Filters(metadata={"order_id": row.metadata["order_id"]}),
        "metadata common": Filters(metadata={"channel": "web"}),
        "status": Filters(status=(row.status.value,)),
        "status rare": Filters(status=("processing",)),
        "provider": Filters(provider="manual"),
        "needs review": Filters(needs_review=True),
        "held authorizations": Filters(capture="manual", status=("authorized",)),
        "… of a currency": Filters(capture="manual", status=("authorized",), currency=row.currency),
        "failed and manual: never": Filters(status=("failed",), provider="manual"),
        "… and the amount": Filters(status=("failed",), provider="manual", amount=row.amount),
        "currency, PayPal, refunded": Filters(currency=row.currency, provider="paypal", status=("refunded",)),
        "CHF, PayPal, refunded": Filters(currency="CHF", provider="paypal", status=("refunded",)),
        "name, method, partly refunded": Filters(
            customer_name=names[0], payment_method="e_wallet", status=("partially_refunded",)
        ),
        "failed, long ago": Filters(status=("failed",), created_before=row.created_at - old),
    }


_KNOWN = """
SELECT id FROM transactions TABLESAMPLE SYSTEM (1) WHERE partner_id = coalesce($1, partner_id) AND livemode
    AND card_last4 IS NOT NULL AND metadata <> '{}' AND customer_name LIKE '% %' AND provider_transaction_id IS NOT NULL
    AND customer_email <> 'guest@shop.example' ORDER BY md5(id::text) LIMIT $2
"""
_BELONGING = {
    "refund_id": ("refunds", "id"),
    "attempt_id": ("attempts", "id"),
    "event_id": ("events", "id"),
    "delivery_id": ("webhook_deliveries", "id"),
    "tried": ("attempts", "provider_id"),
    "returned": ("refunds", "provider_refund_id"),
    "notified": ("provider_events", "dedupe_key"),
}


async def _known(connection: Any, owner: Any, partner_id: UUID | None) -> list[tuple[Transaction, Mapping[str, Any]]]:
    """Payments that stand anywhere in the history, and ids of what belongs to payments."""
    rows = list[Transaction]()
    for one in await owner.fetch(_KNOWN, partner_id, TIMES + 1):
        async with connection.transaction():
            filters, reach = Filters(transaction_id=one["id"]), Reach(partner_id, livemode=True)
            rows += (await search.page(connection, reach, [filters], before=None, limit=1)).transactions
    ids_of = {
        name: await owner.fetch(
            f"SELECT {column} FROM {table} WHERE partner_id = coalesce($1, partner_id) AND {column} IS NOT NULL"
            " ORDER BY md5(id::text) LIMIT $2",
            partner_id,
            len(rows),
        )
        for name, (table, column) in _BELONGING.items()
    }
    return [(row, {name: found[number][0] for name, found in ids_of.items()}) for number, row in enumerate(rows)]


async def _timed(cell: _Cell, asked: Sequence[Filters]) -> tuple[Sequence[float], float]:
    """Milliseconds, sorted, and the share that stopped early. The first prepares the statements and is left out."""
    times, early = list[float](), 0
    for filters in asked:
        async with cell.connection.transaction():
            began = time.perf_counter()
            found = await search.page(cell.connection, cell.reach, [filters], before=cell.before, limit=LIMIT)
            times.append((time.perf_counter() - began) * 1_000)
            early += found.until is not None
    return sorted(times[1:]), early / len(asked)


async def _as(url: str, role: str, settings: dict[str, str]) -> Any:
    connection = await asyncpg.connect(url, server_settings={"role": role, "jit": "off", "timezone": "UTC", **settings})
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    return connection


async def _tell_sizes(owner: Any) -> None:
    rows = await owner.fetch(
        "SELECT indexrelname AS name, pg_relation_size(indexrelid) / greatest(c.reltuples, 1) AS bytes"
        " FROM pg_stat_user_indexes JOIN pg_class c ON c.oid = relid WHERE c.relname = 'transactions' ORDER BY 1"
    )
    print("  bytes of each payment: " + ", ".join(f"{row['name']} {row['bytes']:.0f}" for row in rows))


# ── Inserts ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def inserts(server: embedded.Server, seconds: float) -> None:
    """Two copies of the database, one of them without what only searches need."""
    owner = await asyncpg.connect(server.url("postgres"))
    await owner.execute("DROP DATABASE IF EXISTS bare")
    await owner.execute(f"CREATE DATABASE bare TEMPLATE {embedded.DATABASE} STRATEGY FILE_COPY")
    await owner.close()
    bare = await asyncpg.connect(server.url("bare"))
    await bare.execute(f"DROP INDEX {', '.join(_SEARCH_INDEXES)}")
    await bare.close()
    rates: dict[str, list[float]] = {embedded.DATABASE: [], "bare": []}
    steps = await _recorded(server, list(rates))
    for _ in range(ROUNDS + 1):
        for name, measured in rates.items():
            await pgbench.prepare(server.url(name), steps, key=_KEY)
            measured.append(pgbench.run(server, database=name, clients=CLIENTS, seconds=seconds).per_second)
    pairs = list(zip(*rates.values(), strict=True))[1:]  # the first warms up
    beside, without = (statistics.median(measured) for measured in zip(*pairs, strict=True))
    print(f"  charges/s of {CLIENTS} clients: {beside:,.0f} with the indexes of searches, {without:,.0f} without")
    slower = statistics.median(1 - with_them / alone for with_them, alone in pairs)
    machine.goal("slower by their upkeep, round by round, %", slower * 100, "≤", 15, digits=1)


async def _recorded(server: embedded.Server, databases: list[str]) -> pgbench.Steps:
    """A charge whose e-mail, reference and metadata are new each time: each holds an id, which pgbench counts on."""
    owner = await asyncpg.connect(server.url("postgres"))
    await owner.execute("DROP DATABASE IF EXISTS recorded")
    await owner.execute("CREATE DATABASE recorded")
    await owner.close()
    await schema.migrate(server.url("recorded"))
    async with House.opened(server.url("recorded")) as house:
        partner = await house.partner()
        caller = Caller(
            scope=Scope(partner.id, livemode=False),
            actor="partner:key_00000000000000000000000000",
            key=_KEY,
            fingerprint=secrets.token_bytes(32),
            request_id="req_00000000000000000000000000",
            ip_address="127.0.0.1",
            user_agent="benchmark",
        )
        command = Charge(
            amount=Decimal("19.99"),
            currency="USD",
            method="card",
            tokens={"stripe": "pm_card_visa"},
            customer=Customer(email=f"{ids.new()}@example.com", name="Anna van der Smith"),
            reference=f"ORD-{ids.new()}",
            metadata={"order_id": str(ids.new()), "channel": "web"},
        )
        steps = await pgbench.record(house.runtime, caller, command)
        account_id = UUID(json.loads(steps.begin)["attempts"][0]["account_id"])
    for name in databases:
        await _move_in(server.url(name), partner.id, account_id)
    return steps


async def _move_in(url: str, partner_id: UUID, account_id: UUID) -> None:
    owner = await asyncpg.connect(url)
    await owner.execute(
        "INSERT INTO partners (id, name, email) VALUES ($1, 'B', $2)", partner_id, f"{partner_id}@b.example"
    )
    await owner.execute(
        "INSERT INTO provider_accounts (id, provider, livemode, label, credentials)"
        " VALUES ($1, 'stripe', false, 'b', '')",
        account_id,
    )
    await owner.close()


def _asked() -> Sizes:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.search")
    parser.add_argument("--rows", type=int, default=Sizes().rows)
    parser.add_argument("--partners", type=int, default=Sizes().partners)
    parser.add_argument("--seconds", type=float, default=Sizes().seconds)
    parser.add_argument("--kept", type=Path)
    return Sizes(**vars(parser.parse_args()))


if __name__ == "__main__":
    main(_asked())
