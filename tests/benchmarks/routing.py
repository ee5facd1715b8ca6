"""One routing decision, and the backtest of as many recorded ones as it reads at most, in a real database."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from db import embedded, ids, schema
from db.database import Database, Role
from db.provider_accounts import ProviderAccount
from db.records import Scope
from gateway.routing import decisions, replay, rules
from gateway.routing.decisions import Account
from gateway.routing.learning import Knowledge
from gateway.routing.replay import Window
from gateway.routing.rules import RuleSet
from tests.benchmarks import machine
from tests.evidence.market import ADAPTIVE, BEGIN, Charged, Market, always, an_account, charged

ACCOUNTS, RULES = 10, 50
DECISIONS = 3_000
RECORDED = replay.DECISIONS_MAX
WAYS: Mapping[str, Mapping[str, Any]] = {
    "priority": {"priority": ["adyen", "stripe", "paypal"]},
    "split": {"split": {"stripe": 50, "adyen": 30, "paypal": 20}},
    "adaptive": {"adaptive": []},
}
_NAMES = ("stripe", "adyen", "paypal")


def main() -> None:
    for way, then in WAYS.items():
        machine.goal(f"a decision by {way}, µs of CPU", _decision(draft(then)), "≤", 100, digits=0)
    with tempfile.TemporaryDirectory(prefix="paygate-bench-") as directory:
        Path(directory).chmod(0o755)  # PostgreSQL may run as another user
        server = embedded.start(Path(directory) / "postgresql")
        try:
            asyncio.run(_backtests(server))
        finally:
            server.stop()


def draft(then: Mapping[str, Any]) -> RuleSet:
    """The rule that holds is the last one, and the others fail on their last condition."""
    when = {"currency": ["EUR"], "card_brand": ["visa"], "metadata": {"tier": ["gold"]}}
    never = [{"name": f"r{number}", "when": when, "then": then} for number in range(RULES - 1)]
    return rules.read([*never, {"name": "last", "then": then}], 1)


def _market(accounts: int) -> Market:
    return Market(
        accounts=[an_account(number, _NAMES[number % 3]) for number in range(accounts)],
        rates=always(*[0.8 + number / 100 for number in range(accounts)]),
        every=timedelta(seconds=30),
        segments=[({"brand": brand, "metadata": {"cart": "c_1042"}}, 1) for brand in ("visa", "mastercard", "amex")],
    )


def _decision(rule_set: RuleSet) -> float:
    market, knowledge = _market(ACCOUNTS), Knowledge()
    for one in charged(market, ADAPTIVE, 1, DECISIONS, known=knowledge):
        knowledge.learn(market.accounts[one.chosen].id, one.payment, approved=one.approved)
    payments = [payment for payment, _ in market.payments(2, DECISIONS, since=BEGIN + timedelta(days=2))]
    began = time.process_time()
    for payment in payments:
        decisions.decide(payment, market.accounts, rule_set, knowledge)
    return (time.process_time() - began) / DECISIONS * 1e6


async def _backtests(server: embedded.Server) -> None:
    url = server.url()
    market = _market(3)
    scope = Scope(ids.new(), livemode=False)
    await schema.migrate(url)
    await _record(url, scope, market)
    database = await Database.open(url, Role.APP)
    window = Window(scope=scope, since=BEGIN, until=BEGIN + RECORDED * market.every)
    for way, then in WAYS.items():
        before = machine.cpu_seconds(machine.family(server.pid))
        await _backtest(database, window, market.accounts, way, draft(then))
        print(f"    {machine.cpu_seconds(machine.family(server.pid)) - before:.1f} s of CPU in PostgreSQL")
    await database.close()


async def _backtest(
    database: Database, window: Window, accounts: Sequence[Account], way: str, rule_set: RuleSet
) -> None:
    longest = asyncio.create_task(_longest_pause())
    began, cpu = time.perf_counter(), time.process_time()
    report, reading = await replay.backtested(
        database, window, rule_set, {one.id: _configured(one) for one in accounts}
    )
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    longest.cancel()
    pause = await longest
    assert reading.decisions == report.total.decisions == RECORDED
    machine.goal(f"{RECORDED:,} decisions by {way}, s of CPU", cpu, "≤", 10, digits=1)
    print(f"    {seconds:.1f} s by the clock; others waited {pause * 1e3:.0f} ms at most")


def _configured(account: Account) -> ProviderAccount:
    return ProviderAccount(
        id=account.id,
        partner_id=None,
        provider=account.provider,
        livemode=False,
        label=account.provider,
        credentials=b"",
        base_url=None,
        priority=account.priority,
        enabled=True,
        version=1,
        created_at=BEGIN,
    )


async def _longest_pause() -> float:
    longest, last = 0.0, time.perf_counter()
    try:
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
    except asyncio.CancelledError:
        return longest


async def _record(url: str, scope: Scope, market: Market) -> None:
    """As charges leave it: the transaction and its first attempt. Past the triggers: nothing else is written here."""
    owner: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(url)
    await owner.execute("SET session_replication_role = replica")
    rows = list(_rows(scope, market))
    for place, table in enumerate(("transactions", "attempts")):
        columns = list(rows[0][place])
        values = [tuple(row[place].values()) for row in rows]
        await owner.copy_records_to_table(table, columns=columns, records=values)
        await owner.execute(f"ANALYZE {table}")
    await owner.close()


def _rows(scope: Scope, market: Market) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    split = rules.read([{"name": "all", "then": {"split": {"stripe": 1, "adyen": 1, "paypal": 1}}}], 1)
    for one in charged(market, split, 3, RECORDED):
        transaction_id = UUID(int=ids.earliest(one.payment.at).int | int.from_bytes(os.urandom(8)))
        yield _transaction(scope, transaction_id, one), _attempt(scope, transaction_id, one, market.accounts, split)


def _transaction(scope: Scope, transaction_id: UUID, one: Charged) -> dict[str, Any]:
    at = one.payment.at
    return {
        "partner_id": scope.partner_id,
        "id": transaction_id,
        "livemode": scope.livemode,
        "version": 3,
        "published": 2,
        "status": "completed" if one.approved else "failed",
        "amount": one.payment.amount,
        "currency": one.payment.currency,
        "capture": "automatic",
        "payment_method": one.payment.method,
        "provider": one.account.provider,
        "provider_account_id": one.account.id,
        "metadata": json.dumps(dict(one.payment.metadata)),
        "created_at": at,
        "updated_at": at,
    }


def _attempt(
    scope: Scope, transaction_id: UUID, one: Charged, accounts: Sequence[Account], rule_set: RuleSet
) -> dict[str, Any]:
    at = one.payment.at
    decided = decisions.decide(one.payment, accounts, rule_set, Knowledge())
    return {
        "partner_id": scope.partner_id,
        "id": ids.new(),
        "transaction_id": transaction_id,
        "number": 1,
        "operation": "charge",
        "amount": one.payment.amount,
        "account_id": one.account.id,
        "provider": one.account.provider,
        "state": "succeeded" if one.approved else "declined",
        "provider_key": "k" * 43,
        "request": "{}" * 200,
        "resend_until": at,
        "routing": json.dumps(decisions.explained(decided, [])),
        "created_at": at,
        "updated_at": at,
        "finished_at": at,
    }
