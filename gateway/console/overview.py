"""The overview: how payments go, what waits, which breakers are open. Sums only, so all partners' need no reason.

Amounts of different currencies are never added up: everything is of one currency.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlencode
from uuid import UUID

from starlette.responses import Response

from db import charge_counts, provider_accounts, queues, routing
from db.charge_counts import Counted
from db.database import Connection
from gateway.api.body import QueryModel
from gateway.api.errors import invalid
from gateway.api.fields import Currency
from gateway.console import charts, figures
from gateway.console.charts import Series
from gateway.console.figures import Figures
from gateway.console.visits import Visit
from gateway.routing import breaker
from gateway.routing.breaker import Standing
from gateway.transactions import representation
from providers import PROVIDERS

PATH = "/console/overview"
STALE = timedelta(minutes=5)
"""After this without a count the worker is not well."""
BREAKERS_MAX = 100
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Period:
    name: str
    hours: int
    """Of the counts that are read."""
    step: timedelta
    steps: int
    label: str
    """Of a step, as `strftime` writes it."""


PERIODS: Mapping[str, Period] = {
    "24h": Period("24 hours", 1, HOUR, 24, "%H:%M"),
    "7d": Period("7 days", 6, 6 * HOUR, 28, "%a %H:%M"),
    "30d": Period("30 days", 24, DAY, 30, "%d %b"),
    "90d": Period("90 days", 24, 3 * DAY, 30, "%d %b"),
}


class Wanted(QueryModel):
    period: Literal["24h", "7d", "30d", "90d"] = "24h"
    mode: Literal["live", "test"] | None = None
    whose: Literal["partner", "all"] | None = None
    currency: Currency | None = None


@dataclass(frozen=True, slots=True)
class Breaker:
    provider: str
    account: str
    method: str
    standing: Standing
    since: datetime | None
    until: datetime | None
    """When it is tried again."""
    override: str | None


async def show(visit: Visit) -> Response:
    wanted = visit.read_query(Wanted)
    partner_id = None if wanted.whose == "all" or visit.across else visit.session.partner_id
    livemode = visit.session.livemode if wanted.mode is None else wanted.mode == "live"
    if wanted.currency not in {None, *visit.console.acting.currencies}:
        raise invalid("currency", "is none of those known here")
    period, now = PERIODS[wanted.period], datetime.now(UTC)
    counts = _counts(period, now, partner_id, livemode=livemode)
    async with _reading(visit, partner_id) as connection:
        until = await charge_counts.counted_until(connection)
        currencies = await charge_counts.currencies(connection, counts)
        currency = wanted.currency or next(iter(currencies), None)
        rows = await charge_counts.sums(connection, counts, currency, period.step) if currency else []
        waiting = await queues.all_queues(connection)
        breakers = await _breakers(connection, now, livemode=livemode)
    chosen = {"period": wanted.period, "mode": "live" if livemode else "test", "currency": currency}
    chosen["whose"] = "all" if partner_id is None else "partner"
    return visit.page(
        "overview.html",
        path=PATH,
        chosen=chosen,
        period=period,
        choices=_choices(visit, chosen, currencies),
        whole=figures.summed(rows) if rows else None,
        providers=_by_provider(rows),
        charts=_charts(rows, period, counts.since),
        places=visit.console.acting.currencies[currency].decimal_places if currency else 0,
        figures=figures,
        money=representation.money,
        counted_until=until,
        stale=now - until > STALE,
        queues=waiting,
        counted_max=queues.COUNTED_MAX,
        now=now,
        breakers=breakers[:BREAKERS_MAX],
        closed=sum(one.standing is Standing.CLOSED for one in breakers),
    )


@asynccontextmanager
async def _reading(visit: Visit, partner_id: UUID | None) -> AsyncIterator[Connection]:
    reading = visit.console.reading
    async with reading.across() if partner_id is None else reading.as_partner(partner_id) as connection:
        yield connection


def _counts(period: Period, now: datetime, partner_id: UUID | None, *, livemode: bool) -> charge_counts.Wanted:
    """Whole steps, up to the one that is under way."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    span = timedelta(hours=period.hours)
    until = midnight + ((now - midnight) // span + 1) * span
    since = until - period.step * period.steps
    return charge_counts.Wanted(partner_id=partner_id, livemode=livemode, hours=period.hours, since=since, until=until)


async def _breakers(connection: Connection, now: datetime, *, livemode: bool) -> list[Breaker]:
    """Of every account in this mode that a charge was sent to; those that are not closed first."""
    accounts = {one.id: one for one in await provider_accounts.all_accounts(connection) if one.livemode == livemode}
    found = [
        Breaker(
            accounts[one.account_id].provider,
            accounts[one.account_id].label,
            one.method,
            breaker.standing(one, now),
            one.opened_at,
            one.retry_at,
            one.override,
        )
        for one in await routing.health_of(connection, list(accounts))
    ]
    return sorted(found, key=lambda one: (one.standing is Standing.CLOSED, one.provider, one.account, one.method))


# ── By provider ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _by_provider(rows: Sequence[Counted]) -> dict[str, Figures]:
    return {name: figures.summed(row for row in rows if row.provider == name) for name in _names(rows)}


def _names(rows: Sequence[Counted]) -> list[str]:
    return sorted({row.provider for row in rows})


def _charts(rows: Sequence[Counted], period: Period, since: datetime) -> dict[str, charts.Chart]:
    begins = [since + step * period.step for step in range(period.steps)]
    labels = [begin.strftime(period.label) for begin in begins]
    figured = {(row.provider, row.since): figures.summed([row]) for row in rows}
    numbers = {name: number for number, name in enumerate(sorted({*PROVIDERS, *_names(rows)}), start=1)}

    def series(value: Callable[[Figures], float | None]) -> list[Series]:
        return [
            Series(name, numbers[name], [value(one) if (one := figured.get((name, at))) else None for at in begins])
            for name in _names(rows)
        ]

    return {
        "approval": charts.lines(series(lambda one: one.approval), labels, figures.percent, most=1.0),
        "volume": charts.bars(series(lambda one: float(one.amount)), labels, figures.short),
        "latency": charts.lines(series(lambda one: one.milliseconds(0.95)), labels, figures.duration, least=0.0),
        "errors": charts.lines(series(lambda one: one.errors), labels, figures.percent, least=0.0, most=1.0),
    }


# ── What else may be looked at ──────────────────────────────────────────────────────────────────────────────────────


def _choices(visit: Visit, chosen: Mapping[str, Any], currencies: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Each as a link that keeps the other choices."""

    def links(name: str, values: Mapping[str, str]) -> list[dict[str, Any]]:
        return [
            {
                "name": told,
                "path": f"{PATH}?{urlencode({key: text for key, text in {**chosen, name: value}.items() if text})}",
                "here": chosen[name] == value,
            }
            for value, told in values.items()
        ]

    partner = {} if visit.across or visit.session.partner_id is None else {"partner": str(visit.session.partner_name)}
    return {
        "period": links("period", {key: period.name for key, period in PERIODS.items()}),
        "whose": links("whose", partner | {"all": "All partners"}),
        "mode": links("mode", {"live": "Live", "test": "Test"}),
        "currency": links("currency", {code: code for code in sorted({*currencies, chosen["currency"] or ""} - {""})}),
    }
