"""A partner's routing rules: written as versions, put to the test of past decisions, activated and rolled back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field
from starlette.responses import Response

from db import currencies, ids, provider_accounts, routing_rules
from db.database import Connection
from db.provider_accounts import ProviderAccount
from db.records import Scope
from db.routing_records import RoutingLane
from db.routing_rules import RulesVersion
from gateway.api import body, routing_backtest, rule_documents
from gateway.api.body import RequestModel
from gateway.api.errors import Problem, invalid
from gateway.api.routing_backtest import DAYS, DAYS_MAX, RoutingBacktest
from gateway.api.routing_rules import rules_body
from gateway.api.rule_documents import CreateRoutingRules
from gateway.console import actors, inputs
from gateway.console.inputs import Whole
from gateway.console.visits import NowhereToLook, Visit
from gateway.routing import replay, rulebook, rules
from gateway.routing.replay import Window
from gateway.routing.rulebook import Author
from gateway.transactions.commands import NotFound

HOME = "/console/routing"
DOCUMENT = "document"
"""The field of the form that holds JSON, which is judged here: see `routes.Route.documents`."""
PAGE, HISTORY = 20, 50
EXAMPLE = {"rules": [{"name": "everything", "then": {"priority": ["stripe", "adyen"]}}]}
Mistakes = Sequence[tuple[str, str]]


class Lane(RequestModel):
    lane: Literal["live", "shadow"] = "live"


class Older(RequestModel):
    before: Annotated[UUID, inputs.id_of("rul")] | None = None


class Days(RequestModel):
    days: Annotated[Whole, Field(ge=1, le=DAYS_MAX)] = DAYS


async def overview(visit: Visit) -> Response:
    scope, before = scope_of(visit), visit.read_query(Older).before
    async with visit.console.operating.as_partner(scope.partner_id) as connection:
        state = await rulebook.state(connection, scope)
        versions = await routing_rules.page(connection, scope, before=before, limit=PAGE + 1)
        history = await routing_rules.history(connection, scope, limit=HISTORY)
        by = [*(one.created_by for one in versions), *(one.activated_by for one in history)]
        names = await actors.names(connection, by)
    more = len(versions) > PAGE
    return visit.page(
        "routing.html",
        state=state,
        versions=versions[:PAGE],
        history=history,
        names=names,
        older=f"before={ids.encode('rul', versions[PAGE - 1].id)}" if more else "",
    )


async def show(visit: Visit) -> Response:
    found = await _version(visit, visit.id("rul"))
    async with visit.console.reading.as_system() as connection:
        names = await actors.names(connection, [found.created_by])
    return visit.page("rules.html", rules=found, text=_text(found), names=names)


async def ask(visit: Visit) -> Response:
    """A draft: of nothing, or of an older version."""
    scope_of(visit)
    source = visit.query.get("from")
    rules_id = ids.decode("rul", source) if isinstance(source, str) else None
    text = _text(await _version(visit, rules_id)) if rules_id else json.dumps(EXAMPLE, indent=2)
    return _editing(visit, text)


async def write(visit: Visit) -> Response:
    """A new version, which decides nothing until it is activated."""
    scope = scope_of(visit)
    try:
        async with visit.console.operating.as_partner(scope.partner_id) as connection:
            asked, document, _ = await _judged(connection, scope, _document(visit))
            made = await rulebook.write(connection, _author(visit, scope), document, asked.description)
    except Problem as problem:
        return _editing(visit, _kept(visit, problem), wrong=_named(problem))
    return await visit.back(_path(made.id), f"Version {made.version} is written. It decides nothing until activated.")


async def backtest(visit: Visit) -> Response:
    scope = scope_of(visit)
    try:
        days = body.validate(Days, {"days": visit.form["days"]} if visit.form.get("days", "").strip() else {}).days
        async with visit.console.operating.as_partner(scope.partner_id) as connection:
            _, document, accounts = await _judged(connection, scope, _document(visit))
        report = await _foretold(visit, scope, document, accounts, days)
    except Problem as problem:
        return _editing(visit, _kept(visit, problem), wrong=_named(problem))
    return _editing(visit, visit.form[DOCUMENT], report=report)


async def activate(visit: Visit) -> Response:
    scope, lane = scope_of(visit), RoutingLane(visit.read(Lane).lane)
    async with visit.console.operating.as_partner(scope.partner_id) as connection:
        activated = await rulebook.activate(connection, _author(visit, scope), visit.id("rul"), lane)
    if activated is None:
        raise NotFound
    told = "decides" if lane is RoutingLane.LIVE else "is noted beside what decides,"
    return await visit.back(HOME, f"Version {activated.version} {told} within a second, in every process.")


async def roll_back(visit: Visit) -> Response:
    scope = scope_of(visit)
    try:
        async with visit.console.operating.as_partner(scope.partner_id) as connection:
            state = await rulebook.roll_back(connection, _author(visit, scope))
    except rulebook.NothingBefore:
        return await visit.back(HOME, "No rules are live, and none were before: nothing to go back to.")
    now = f"version {state.live.version}" if state.live else "no rules: the accounts' own priority decides"
    return await visit.back(HOME, f"Rolled back to {now}.")


async def deactivate(visit: Visit) -> Response:
    scope, lane = scope_of(visit), RoutingLane(visit.read(Lane).lane)
    async with visit.console.operating.as_partner(scope.partner_id) as connection:
        await rulebook.deactivate(connection, _author(visit, scope), lane)
    return await visit.back(HOME, f"No {lane} rules any more.")


def scope_of(visit: Visit) -> Scope:
    """Rules are one partner's, of one mode. Raises `NowhereToLook`."""
    if visit.session.partner_id is None:
        raise NowhereToLook
    return Scope(visit.session.partner_id, visit.session.livemode)


def _author(visit: Visit, scope: Scope) -> Author:
    return Author(
        scope=scope,
        actor=visit.actor,
        ip_address=visit.ip_address,
        user_agent=visit.user_agent,
        request_id=visit.request_id,
    )


async def _version(visit: Visit, rules_id: UUID) -> RulesVersion:
    scope = scope_of(visit)
    async with visit.console.operating.as_partner(scope.partner_id) as connection:
        found = await routing_rules.find(connection, scope, rules_id)
    if found is None:
        raise NotFound
    return found


def _document(visit: Visit) -> CreateRoutingRules:
    """As POST /v1/routing-rules takes it. Raises `Problem` that names each mistake."""
    given = body.parse(visit.form.get(DOCUMENT, "").encode("utf-8", "replace"))
    body.inspect(given, CreateRoutingRules.names_max)
    return body.validate(CreateRoutingRules, given)


async def _judged(
    connection: Connection, scope: Scope, asked: CreateRoutingRules
) -> tuple[CreateRoutingRules, list[dict[str, Any]], dict[UUID, ProviderAccount]]:
    known = await currencies.all_currencies(connection)
    accounts = await provider_accounts.open_to(connection, scope)
    return asked, rule_documents.document(asked, known, accounts), accounts


async def _foretold(
    visit: Visit, scope: Scope, document: list[dict[str, Any]], accounts: dict[UUID, ProviderAccount], days: int
) -> RoutingBacktest:
    """One at a time in a process, as over HTTP."""
    acting = visit.console.acting
    if acting.replaying.locked():
        raise invalid("backtest", "is running for somebody else just now: try again in a moment")
    until = acting.clock()
    window = Window(scope=scope, since=until - timedelta(days=days), until=until)
    async with acting.replaying:
        report, reading = await replay.backtested(visit.console.operating, window, rules.read(document), accounts)
    return routing_backtest.backtest_body(window, report, reading, acting.places)


def _editing(visit: Visit, text: str, *, wrong: Mistakes = (), report: RoutingBacktest | None = None) -> Response:
    days = visit.form.get("days", str(DAYS))
    return visit.page("rules_edit.html", 422 if wrong else 200, text=text, wrong=wrong, report=report, days=days)


def _named(problem: Problem) -> Mistakes:
    """Each mistake and where it stands in the document."""
    return problem.errors or [("document", problem.detail or "cannot be read")]


def _kept(visit: Visit, problem: Problem) -> str:
    """What was typed, but for card data: nothing of that is kept."""
    return "" if problem.code == "card_data_refused" else visit.form.get(DOCUMENT, "")


def _text(found: RulesVersion) -> str:
    stored = rules_body(found)
    described = {"description": stored["description"]} if stored["description"] else {}
    return json.dumps(described | {"rules": stored["rules"]}, indent=2, ensure_ascii=False)


def _path(rules_id: UUID) -> str:
    return f"{HOME}/{ids.encode('rul', rules_id)}"
