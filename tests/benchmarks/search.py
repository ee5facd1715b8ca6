"""Searches of a support desk over years of payments, and what their indexes cost each charge.

    python -m tests.benchmarks.search [--rows 5000000] [--partners 200] [--seconds 10]

Every search is asked as its role asks it, within the largest partner and across all, for its first page and for one in
the middle of the history. Inserts are `journal_write`'s two statements of a charge, in turn beside and without indexes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import tempfile
import time
from collections.abc import Sequence
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
from tests.benchmarks import history, machine, pgbench
from tests.house import House

LIMIT = 21
TIMES = 20
CLIENTS = 8
ROUNDS = 3
_KEY = "benchmark-key-0001"
_SEARCH_INDEXES = ("transactions_words", "transactions_reference", "transactions_newest", "refunds_newest")
# What the console's own migration grants.
_CONSOLE = """
DO $$ DECLARE target text; BEGIN
    FOREACH target IN ARRAY
            ARRAY['transactions', 'refunds', 'attempts', 'events', 'webhook_deliveries', 'disputes'] LOOP
        IF NOT has_table_privilege('paygate_console', target, 'SELECT') THEN
            EXECUTE format('CREATE POLICY searched ON %I FOR SELECT TO paygate_console
                            USING (across_partners())', target);
            EXECUTE format('GRANT SELECT ON %I TO paygate_console', target);
        END IF;
    END LOOP;
    IF NOT has_table_privilege('paygate_console', 'partners', 'SELECT') THEN
        CREATE POLICY searched ON partners FOR SELECT TO paygate_console USING (true);
        CREATE POLICY searched ON provider_accounts FOR SELECT TO paygate_console USING (true);
        GRANT SELECT ON partners, provider_accounts TO paygate_console;
    END IF;
END $$
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    rows: int = 5_000_000
    partners: int = 200
    seconds: float = 10.0


def main(sizes: Sizes | None = None) -> None:
    sizes = sizes or Sizes()
    with tempfile.TemporaryDirectory(prefix="paygate-bench-") as directory:
        Path(directory).chmod(0o755)  # PostgreSQL may run as another user
        server = embedded.start(Path(directory) / "postgresql")
        try:
            asyncio.run(_run(server, sizes))
        finally:
            server.stop()


async def _run(server: embedded.Server, sizes: Sizes) -> None:
    await schema.migrate(server.url())
    owner = await asyncpg.connect(server.url())
    began = time.perf_counter()
    await history.remember(owner, sizes.rows, partners=sizes.partners)
    print(f"{sizes.rows:,} payments of {sizes.partners} partners, written in {time.perf_counter() - began:.0f} s")
    await owner.close()
    await searches(server.url())
    await inserts(server, sizes.seconds)


# ── Searches ────────────────────────────────────────────────────────────────────────────────────────────────────


async def searches(url: str) -> None:
    owner = await asyncpg.connect(url)
    await owner.execute(_CONSOLE)
    largest: UUID = await owner.fetchval(
        "SELECT partner_id FROM transactions GROUP BY partner_id ORDER BY count(*) DESC LIMIT 1"
    )
    await _tell_sizes(owner)
    app = await _as(url, "paygate_app", {"app.current_partner_id": str(largest)})
    console = await _as(url, "paygate_console", {"app.across_partners": "on"})
    row = await _middle(app, owner, largest)
    print(
        f"  {'ms at the database: p50 p95 p99':<34}{'first page':>24}{'in the middle':>24}{'across, first':>24}"
        f"{'across, middle':>24}"
    )
    worst = 0.0
    for name, filters in questions(row).items():
        told = f"  {name:<34}"
        for connection, reach in ((app, Reach(largest, livemode=True)), (console, Reach(None, livemode=True))):
            for before in (None, row.id):
                times, early = await _timed(connection, reach, filters, before)
                p50, p95, p99 = (times[min(int(len(times) * share), len(times) - 1)] for share in (0.5, 0.95, 0.99))
                told += f"{p50:8.1f}{p95:7.1f}{p99:7.1f}{'…' if early else ' '} "
                worst = max(worst, p95)
        print(told, flush=True)
    machine.goal("the slowest search's p95, ms", worst, "≤", 50, digits=1)
    for connection in (owner, app, console):
        await connection.close()


def questions(row: Transaction) -> dict[str, Filters]:
    day: dict[str, Any] = {"created_after": row.created_at - timedelta(hours=12)}
    day["created_before"] = row.created_at + timedelta(hours=12)
    reference, email = row.reference or "", row.customer_email or ""
    return {
        "newest": Filters(),
        "last4": Filters(last4=row.card_last4),
        "last4 absent": Filters(last4="none"),
        "amount": Filters(amount=row.amount),
        "amount on a day": Filters(amount=row.amount, **day),
        "amount common": Filters(amount=Decimal("9.99")),
        "amount range": Filters(amount_gte=Decimal(1200), amount_lte=Decimal(1210)),
        "amount open": Filters(amount_gte=Decimal(2000)),
        "e-mail": Filters(customer_email=email),
        "e-mail prefix": Filters(customer_email_prefix=email[: email.index("@") - 2]),
        "e-mail of very many": Filters(customer_email="guest@shop.example"),
        "… and cancelled": Filters(customer_email="guest@shop.example", status=("cancelled",)),
        "name": Filters(customer_name="smi"),
        "name of two words": Filters(customer_name=row.customer_name),
        "name absent": Filters(customer_name="zzz"),
        "reference": Filters(reference=reference),
        "reference prefix": Filters(reference_prefix=reference[:15]),
        "reference prefix, a month": Filters(reference_prefix=reference[:10]),
        "… and failed": Filters(reference_prefix=reference[:10], status=("failed",)),
        "provider_transaction_id": Filters(provider_transaction_id=row.provider_transaction_id),
        "any id of a PSP": Filters(provider_id=row.provider_transaction_id),
        "our id": Filters(transaction_id=row.id),
        "id of a refund (absent)": Filters(refund_id=row.id),
        "id of an event (absent)": Filters(event_id=row.id),
        "id of a delivery (absent)": Filters(delivery_id=row.id),
        "metadata": Filters(metadata={"order_id": row.metadata["order_id"]}),
        "metadata common": Filters(metadata={"channel": "web"}),
        "status common": Filters(status=("completed",)),
        "status rare": Filters(status=("processing",)),
        "provider": Filters(provider="manual"),
        "needs review": Filters(needs_review=True),
        "held authorizations": Filters(capture="manual", status=("authorized",)),
        "failed and manual: never": Filters(status=("failed",), provider="manual"),
        "… and 9.99": Filters(status=("failed",), provider="manual", amount=Decimal("9.99")),
        "CHF, PayPal, refunded": Filters(currency="CHF", provider="paypal", status=("refunded",)),
        "failed, long ago": Filters(status=("failed",), created_before=row.created_at - timedelta(days=340)),
    }


async def _middle(app: Any, owner: Any, largest: UUID) -> Transaction:
    middle = await owner.fetchval(
        "SELECT id FROM transactions WHERE partner_id = $1 AND livemode AND card_last4 IS NOT NULL AND metadata <> '{}'"
        " AND customer_name LIKE '% %' AND customer_email <> 'guest@shop.example' AND provider = 'stripe'"
        " ORDER BY id OFFSET (SELECT count(*) / 8 FROM transactions WHERE partner_id = $1) LIMIT 1",
        largest,
    )
    async with app.transaction():
        (row,) = (
            await search.page(
                app, Reach(largest, livemode=True), [Filters(transaction_id=middle)], before=None, limit=1
            )
        ).transactions
    return row


async def _timed(connection: Any, reach: Reach, filters: Filters, before: UUID | None) -> tuple[Sequence[float], bool]:
    """Milliseconds, sorted, and whether it stopped early; prepared and warm."""
    times, early = list[float](), False
    for _ in range(TIMES + 1):
        async with connection.transaction():
            began = time.perf_counter()
            found = await search.page(connection, reach, [filters], before=before, limit=LIMIT)
            times.append((time.perf_counter() - began) * 1_000)
            early = found.until is not None
    return sorted(times[1:]), early


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
    await owner.execute(f"CREATE DATABASE bare TEMPLATE {embedded.DATABASE} STRATEGY FILE_COPY")
    await owner.close()
    bare = await asyncpg.connect(server.url("bare"))
    await bare.execute(f"DROP INDEX {', '.join(_SEARCH_INDEXES)}")
    await bare.close()
    rates: dict[str, list[float]] = {embedded.DATABASE: [], "bare": []}
    steps = await _recorded(server, list(rates))
    for round_ in range(ROUNDS + 1):
        for name, measured in rates.items():
            await pgbench.prepare(server.url(name), steps, key=_KEY)
            run = pgbench.run(server, database=name, clients=CLIENTS, seconds=seconds)
            if round_:  # the first warms up
                measured.append(run.per_second)
    beside, without = (statistics.median(measured) for measured in rates.values())
    print(f"  charges/s of {CLIENTS} clients: {beside:,.0f} with the indexes of searches, {without:,.0f} without")
    machine.goal("slower by their upkeep, %", (1 - beside / without) * 100, "≤", 15, digits=1)


async def _recorded(server: embedded.Server, databases: list[str]) -> pgbench.Steps:
    """A charge whose e-mail, reference and metadata are new each time: each holds an id, which pgbench counts on."""
    owner = await asyncpg.connect(server.url("postgres"))
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
    await owner.execute("INSERT INTO partners (id, name, email) VALUES ($1, 'B', 'b@b.example')", partner_id)
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
    return Sizes(**vars(parser.parse_args()))


if __name__ == "__main__":
    main(_asked())
