"""The console's pages over years of payments: until the answer's last byte, and until Chromium has drawn it.

`paygate console` runs as its own process. Each page is asked for with what is known of payments from anywhere in the
history, by somebody who looks at the largest partner, then by the same across all; searches also in the middle of it.
"""

from __future__ import annotations

import secrets
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlencode
from uuid import UUID

import httpx

from db import ids, search
from db.database import Database, Role
from db.records import Transaction
from db.support_users import SupportRole
from gateway.people import People
from tests.benchmarks import machine, processes
from tests.browser import chromium
from tests.browser.chromium import Browser
from tests.house import TLS, House, Json
from tests.support_desk import Clerk

ASKED, DRAWN = 60, 20
_REASON = "A benchmark looks at all of them"
_ENTER = """
const form = new URLSearchParams({csrf: document.querySelector('[name=csrf]').value, ...arguments[0]});
return fetch('/console/reach', {method: 'POST', body: form}).then(answer => answer.status)
"""
_TIMES = """
const entry = performance.getEntriesByType('navigation')[0], painted = performance.getEntriesByType('paint').at(-1);
return entry.loadEventEnd && painted ? Math.max(entry.loadEventEnd, painted.startTime) : null
"""
"""Milliseconds from the request, or from the first of those that led here."""

_SPANS = """
    FROM (VALUES (1, 1), (6, 7), (24, 90)) AS spans (hours, days),
        date_bin(make_interval(hours => hours), now(), '2000-01-01 00:00Z') AS newest,
        generate_series(newest - make_interval(days => days), newest, make_interval(hours => hours)) AS since,
        unnest('{adyen,manual,paypal,stripe}'::text[]) AS provider, unnest('{EUR,USD,GBP,CHF}'::text[]) AS currency"""
_COUNTED = "livemode, hours, since, provider, currency, approved, declined, failed, undecided, amount, durations"
_COUNTS = f"""
INSERT INTO charge_counts (partner_id, {_COUNTED})
SELECT p.id, true, hours, since, provider, currency, 40, 5, 1, 1, 2000, array_fill(2, ARRAY[19]) {_SPANS}, partners p
ON CONFLICT DO NOTHING;
INSERT INTO charge_totals ({_COUNTED})
SELECT true, hours, since, provider, currency, 8000, 1000, 200, 200, 400000, array_fill(400, ARRAY[19]) {_SPANS}
ON CONFLICT DO NOTHING
"""
"""Such as the worker would have counted."""


def pages(row: Transaction) -> Mapping[str, str]:
    """What somebody may open who knows this payment."""
    email, name, reference = row.customer_email or "", row.customer_name or "", row.reference or ""
    day, metadata = f"{row.created_at:%Y-%m-%d}", f"order_id={row.metadata['order_id']}"
    searches: Mapping[str, Mapping[str, str]] = {
        "newest": {},
        "amount, day and last four": {"q": f"{row.amount} {day} •••• {row.card_last4}"},
        "amount": {"q": f"{row.amount} {row.currency}"},
        "amount above": {"amount_gte": str(1000 + int(row.id) % 3000)},
        "last four": {"q": f"•••• {row.card_last4}"},
        "e-mail": {"q": email},
        "e-mail, beginning": {"email": email[: email.index("@") - 2]},
        "name": {"q": name},
        "name and refunded": {"name": name, "status": "refunded"},
        "reference": {"q": reference},
        "month of references, failed": {"reference": reference[:10], "status": "failed"},
        "metadata": {"metadata": metadata},
        "status": {"status": "cancelled"},
        "CHF, PayPal, refunded": {"currency": "CHF", "provider": "paypal", "status": "refunded"},
        "needs review": {"needs_review": "true"},
        "PSP's id, absent": {"q": f"pi_3{row.id.hex[:23]}"},
    }
    return {f"search: {told}": f"search?{urlencode(query)}" for told, query in searches.items()} | {
        "overview, 24 hours": "overview?mode=live&whose=partner",
        "overview, 30 days": "overview?period=30d&mode=live&whose=partner",
        "overview, 90 days of all": "overview?period=90d&mode=live&whose=all",
        "webhooks": "webhooks",
        "reviews": "reviews",
        "approvals": "approvals",
        "audit log": "audit",
        "partners": "partners",
        "accounts": "accounts",
    }


def payments(made: Json) -> Mapping[str, str]:
    """Ways to a payment with a refund and webhooks."""
    return {
        "payment": f"transactions/{made['id']}",
        "search: PSP's id, which leads there": f"search?q={made['provider_transaction_id']}",
    }


@dataclass(frozen=True, slots=True)
class _Desk:
    """`made`: payments of the largest partner's test mode, made through the API just now."""

    base_url: str
    clerk: Clerk
    made: Sequence[Json]


async def shown(url: str, home: Path, largest: UUID, known: Sequence[Transaction], middle: UUID) -> None:
    """`middle`: an id in the middle of the history."""
    async with _desk(url, home, largest) as desk:
        await _answers(desk, largest, known, f"&before={ids.encode('txn', middle)}")
        if chromium.found() is None:
            print("  no Chromium with its driver is on PATH: nothing was drawn")
        else:
            await _drawings(desk, home, largest, known[: DRAWN + 1])


async def _answers(desk: _Desk, largest: UUID, known: Sequence[Transaction], before: str) -> None:
    table = _Table("ms to the last byte: p50 p95", ("within", "… middle", "across", "… middle"))
    clerk = desk.clerk
    for enter in (partial(clerk.look_at, largest, "live"), partial(clerk.look_across, _REASON, "live")):
        await enter()
        for depth in ("", before):
            for name, paths in _by_page(map(pages, known)).items():
                if not depth or name.startswith("search"):  # no other page has one
                    table.add(name, [await _answered(clerk, path + depth) for path in paths])
    await clerk.look_at(largest, "test")
    for name, paths in _by_page(map(payments, desk.made)).items():
        table.add(name, [await _answered(clerk, path) for path in paths])
    table.show("the slowest page's p95, ms")


async def _drawings(desk: _Desk, home: Path, largest: UUID, known: Sequence[Transaction]) -> None:
    table = _Table("ms until it is drawn: p50 p95", ("within", "across"))
    partner_id = ids.encode("prt", largest)
    async with _browser(home, desk) as browser:
        for whose, opened in (
            ({"partner": partner_id, "mode": "live"}, _by_page(map(pages, known))),
            ({"reason": _REASON, "mode": "live"}, _by_page(map(pages, known))),
            ({"partner": partner_id, "mode": "test"}, _by_page(map(payments, desk.made[: len(known)]))),
        ):
            assert await browser.run_script(_ENTER, whose) == 200
            for name, paths in opened.items():
                table.add(name, [await _drawn(browser, f"{desk.base_url}/console/{path}") for path in paths])
    table.show("the slowest page drawn, p95, ms")


def _by_page(of_each: Iterable[Mapping[str, str]]) -> Mapping[str, Sequence[str]]:
    paths = defaultdict[str, list[str]](list)
    for one in of_each:
        for name, path in one.items():
            paths[name].append(path)
    return paths


@dataclass(slots=True)
class _Table:
    title: str
    columns: Sequence[str]
    rows: dict[str, str] = field(default_factory=dict)
    worst: float = 0.0

    def add(self, name: str, times: Sequence[float]) -> None:
        """The first prepares what is prepared once, and is left out."""
        quantiles = statistics.quantiles(times[1:], n=20, method="inclusive")
        self.rows[name] = self.rows.get(name, "") + f"{quantiles[9]:10.0f}{quantiles[18]:6.0f}"
        self.worst = max(self.worst, quantiles[18])

    def show(self, goal: str) -> None:
        print(f"  {self.title:<36}" + "".join(f"{name:>16}" for name in self.columns))
        for name, figures in self.rows.items():
            print(f"  {name:<36}{figures}")
        machine.goal(goal, self.worst, "≤", 100, digits=0)


async def _answered(clerk: Clerk, path: str) -> float:
    began = time.perf_counter()
    answer = await clerk.get(f"/console/{path}")
    if answer.status_code == 303:
        answer = await clerk.get(answer.headers["location"])
    assert answer.status_code == 200, (path, answer.text)
    return (time.perf_counter() - began) * 1_000


async def _drawn(browser: Browser, address: str) -> float:
    await browser.open(address)
    while (taken := await browser.run_script(_TIMES)) is None:
        pass
    return float(taken)


# ── Setting up ──────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def _desk(url: str, home: Path, largest: UUID) -> AsyncIterator[_Desk]:
    async with House.opened(url, working=False) as house:
        secret = house.runtime.settings.secret_keys[1]
        made = await _made(house, largest)
        await house.owner.execute(_COUNTS)
        async with house.background.database.statement() as connection:  # as the worker does every second
            await search.merge(connection)
    with processes.paygate("console", url, secret, home, PAYGATE_CONSOLE_SECOND_FACTOR="false") as process:
        base_url = f"http://127.0.0.1:{process.port}"
        async with httpx.AsyncClient(verify=TLS, trust_env=False, timeout=60) as client:
            yield _Desk(base_url, await _clerk(url, client, base_url), made)


async def _made(house: House, partner_id: UUID) -> Sequence[Json]:
    await house.owner.execute("UPDATE partners SET rate_limit_per_minute = 100_000 WHERE id = $1", partner_id)
    partner, made = await house.key_of(partner_id), list[Json]()
    await house.subscribed(partner)
    for number in range(ASKED + 1):
        answer = await partner.charge(amount="20.00", reference=f"bench-{number}", customer={"name": "Ada Lovelace"})
        assert answer.status_code == 201, answer.text
        made.append(answer.json())
        refund = await partner.post(f"/v1/transactions/{made[-1]['id']}/refunds", {"amount": "5.00"})
        assert refund.status_code == 201, refund.text
    return made


async def _clerk(url: str, client: httpx.AsyncClient, base_url: str) -> Clerk:
    database = await Database.open(url, Role.CONSOLE)
    email = f"{secrets.token_hex(4)}@bench.example"
    invited = await People(database, "operator:benchmark").invite(
        email=email, name="Robin", role=SupportRole.ADMIN, settled=True
    )
    await database.close()
    clerk = Clerk(client=client, base_url=base_url, person=invited.person, password=invited.password)
    answer = await clerk.sign_in(email, invited.password)
    assert clerk.cookie is not None, answer.text
    return clerk


@asynccontextmanager
async def _browser(home: Path, desk: _Desk) -> AsyncIterator[Browser]:
    """Where the same person has signed in."""
    async with chromium.driving(home) as driver, chromium.opened(driver, home / "profile") as browser:
        await browser.open(f"{desk.base_url}/console/sign-in?then=/console/reach")
        await browser.type_into("E-mail", desk.clerk.person.email)
        await browser.type_into("Password", desk.clerk.password)
        await browser.press("Sign in")
        await browser.led_to("/console/reach")
        yield browser
