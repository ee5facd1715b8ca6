"""What rules would have made of past decisions, over HTTP: a draft or a version tested, and a shadow's record."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, ClassVar, Literal, Self
from uuid import UUID

from pydantic import Field, model_validator
from typing_extensions import TypedDict

from db import ids, provider_accounts, routing_rules
from db.database import Connection
from gateway.api import fields, rule_documents
from gateway.api.body import QueryModel, RequestModel
from gateway.api.calls import Answer, Call
from gateway.api.errors import Problem, invalid
from gateway.api.rule_documents import RULES_MAX, CreateRoutingRules, RoutingRule
from gateway.routing import replay, rules
from gateway.routing.backtest import ENOUGH, Compared, Cost, Foretold, Part, Report, Segment
from gateway.routing.replay import Reading, Window
from gateway.routing.rules import RuleSet
from gateway.transactions import representation
from gateway.transactions.commands import NotFound

DAYS, DAYS_MAX = 30, 90
SEGMENTS_MAX = 500
"""In one answer, the largest."""
AGAIN_SECONDS = 10


class WindowQuery(QueryModel):
    since: fields.Moment | None = Field(None, description=f"Default: {DAYS} days before `until`.")
    until: fields.Moment | None = Field(None, description="Excluded. Default: now.")


class BacktestRoutingRules(RequestModel):
    """Either `rules`, a draft, or the `id` of a version; decisions from `since` until before `until`."""

    names_max: ClassVar[int] = 20 * RULES_MAX

    rules: Annotated[list[RoutingRule], Field(min_length=1, max_length=RULES_MAX)] | None = None
    id: fields.Id | None = None
    since: fields.Moment | None = Field(None, description=f"Default: {DAYS} days before `until`.")
    until: fields.Moment | None = Field(None, description="Excluded. Default: now.")

    @model_validator(mode="after")
    def _one_set(self) -> Self:
        if (self.rules is None) == (self.id is None):
            raise ValueError("give either rules or id")
        return self


class Expectation(TypedDict):
    """Of a like amount of the same traffic. 95 % of what may come lies from `low` to `high`."""

    expected: str
    low: str
    high: str


class CostExpectation(TypedDict):
    currency: str
    observed: str
    expected: str
    low: str
    high: str


# `from` is a word of Python's, so this one is written as a call.
Moved = TypedDict("Moved", {"from": str, "to": str, "decisions": int})


class NotEnoughData(TypedDict):
    """The draft wants this account; so many outcomes of it are there, and so many are needed."""

    account: str
    provider: str
    outcomes: int
    needed: int


class BacktestTotal(TypedDict):
    """Rates, such as "0.9120", are shares of `judged`: decisions whose first account approved or declined."""

    decisions: int
    moved: int
    judged: int
    approval_rate: str | None
    foretold: Expectation | None
    costs: list[CostExpectation]


class BacktestSegment(BacktestTotal):
    payment_method: str
    currency: str
    card_brand: str | None
    moves: list[Moved]
    not_enough_data: list[NotEnoughData]


class RoutingBacktest(TypedDict):
    """`total` is about the segments with enough data; the decisions of the others are `left_out`."""

    object: Literal["routing_backtest"]
    livemode: bool
    since: str
    until: str
    decisions: int
    complete: bool
    segments: list[BacktestSegment]
    total: BacktestTotal
    left_out: int


class ShadowSegment(TypedDict):
    payment_method: str
    currency: str
    card_brand: str | None
    agreed: int
    disagreed: int


class ShadowReport(TypedDict):
    object: Literal["shadow_report"]
    rules: str
    since: str
    until: str
    complete: bool
    segments: list[ShadowSegment]
    agreed: int
    disagreed: int


Places = Callable[[str], int]
"""A currency's decimal places."""


async def backtest(call: Call) -> Answer:
    body: BacktestRoutingRules = call.body
    window = _window(call, body.since, body.until)
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        accounts = await provider_accounts.open_to(connection, call.scope)
        draft = await _draft(call, connection, body, accounts)
    async with _alone(call):
        report, reading = await replay.backtested(call.runtime.database, window, draft, accounts)
    return Answer(status=200, body=dict(backtest_body(window, report, reading, call.runtime.places)))


def backtest_body(window: Window, report: Report, reading: Reading, places: Places) -> RoutingBacktest:
    return {
        "object": "routing_backtest",
        "livemode": window.scope.livemode,
        "since": representation.instant(window.since),
        "until": representation.instant(window.until),
        "decisions": reading.decisions,
        "complete": reading.complete,
        "segments": [_segment(part, places) for part in report.parts[:SEGMENTS_MAX]],
        "total": _total(report.total, places),
        "left_out": report.left_out,
    }


async def shadow_report(call: Call) -> Answer:
    query: WindowQuery = call.query
    window = _window(call, query.since, query.until)
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        stored = await routing_rules.find(connection, call.scope, call.id("rul"))
    if stored is None:
        raise NotFound
    async with _alone(call):
        counts, reading = await replay.shadowed(call.runtime.database, window, stored.version)
    segments = sorted({segment for segment, _ in counts}, key=lambda one: (one.method, one.currency, one.brand or ""))
    told: ShadowReport = {
        "object": "shadow_report",
        "rules": call.path["id"],
        "since": representation.instant(window.since),
        "until": representation.instant(window.until),
        "complete": reading.complete,
        "segments": [
            {**_names(one), "agreed": counts[one, True], "disagreed": counts[one, False]}
            for one in segments[:SEGMENTS_MAX]
        ],
        "agreed": sum(count for (_, agrees), count in counts.items() if agrees),
        "disagreed": sum(count for (_, agrees), count in counts.items() if not agrees),
    }
    return Answer(status=200, body=dict(told))


def _window(call: Call, since: datetime | None, until: datetime | None) -> Window:
    until = until or call.runtime.clock()
    try:
        since = since or until - timedelta(days=DAYS)
    except OverflowError:
        raise invalid("until", f"must have {DAYS} days before it in the calendar") from None
    if since >= until:
        raise invalid("since", "must be before until")
    if until - since > timedelta(days=DAYS_MAX):
        raise invalid("since", f"must be at most {DAYS_MAX} days before until")
    return Window(scope=call.scope, since=since, until=until)


async def _draft(call: Call, connection: Connection, body: BacktestRoutingRules, accounts: Collection[UUID]) -> RuleSet:
    if body.rules is not None:
        given = CreateRoutingRules(rules=body.rules)
        return rules.read(rule_documents.document(given, call.runtime.currencies, accounts))
    rules_id = ids.decode("rul", body.id or "")
    stored = await routing_rules.find(connection, call.scope, rules_id) if rules_id else None
    if stored is None:
        raise invalid("id", "is not the id of routing rules")
    return rules.read(stored.rules, stored.version)


@asynccontextmanager
async def _alone(call: Call) -> AsyncIterator[None]:
    """One at a time in a process: it is all work for its only CPU."""
    if call.runtime.replaying.locked():
        raise Problem(
            "rate_limited",
            "Other decisions are being read here just now.",
            headers={"Retry-After": str(AGAIN_SECONDS)},
            money_moved="no",
        )
    async with call.runtime.replaying:
        yield


class _Names(TypedDict):
    payment_method: str
    currency: str
    card_brand: str | None


def _names(segment: Segment) -> _Names:
    return {"payment_method": segment.method, "currency": segment.currency, "card_brand": segment.brand}


def _segment(part: Part, places: Places) -> BacktestSegment:
    return {
        **_names(part.segment),
        **_total(part.compared, places),
        "moves": [
            {"from": move.origin.name, "to": move.target.name, "decisions": move.decisions} for move in part.moves
        ],
        "not_enough_data": [
            {"account": one.account.name, "provider": one.account.provider, "outcomes": one.verdicts, "needed": ENOUGH}
            for one in part.too_little
        ],
    }


def _total(compared: Compared, places: Places) -> BacktestTotal:
    return {
        "decisions": compared.decisions,
        "moved": compared.moved,
        "judged": compared.judged,
        "approval_rate": _rate(compared.approved / compared.judged) if compared.judged else None,
        "foretold": _expectation(compared.foretold) if compared.foretold else None,
        "costs": [_cost(currency, cost, places(currency)) for currency, cost in sorted(compared.costs.items())],
    }


def _expectation(foretold: Foretold) -> Expectation:
    return {"expected": _rate(foretold.expected), "low": _rate(foretold.low), "high": _rate(foretold.high)}


def _rate(share: float) -> str:
    return f"{share:.4f}"


def _cost(currency: str, cost: Cost, places: int) -> CostExpectation:
    told = cost.foretold
    observed, expected, low, high = (
        representation.money(Decimal(amount), places) for amount in (cost.observed, told.expected, told.low, told.high)
    )
    return {"currency": currency, "observed": observed, "expected": expected, "low": low, "high": high}
