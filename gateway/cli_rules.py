"""`paygate rules`: a partner's routing rules, written, put to use and taken back by operators, as over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import IO, Any
from uuid import UUID

import click

from db import currencies, partners, provider_accounts, routing_rules
from db.database import Connection
from db.records import Scope
from db.routing_records import RoutingLane
from db.routing_rules import RulesVersion
from gateway.api import body, routing_backtest, rule_documents
from gateway.api.errors import Problem
from gateway.api.routing_backtest import DAYS, DAYS_MAX, BacktestSegment
from gateway.api.routing_rules import rules_body, state_body
from gateway.api.rule_documents import CreateRoutingRules
from gateway.cli_terminal import IdType, desk, json_option, mode_option, show, waiting
from gateway.partners import NotFound
from gateway.routing import replay, rulebook, rules
from gateway.routing.replay import Window
from gateway.routing.rulebook import Author, State

LIST_MAX = 1_000
_rules_argument: Callable[[Any], Any] = click.argument("rules", type=IdType("rul"))
_partner_option: Callable[[Any], Any] = click.option("--partner", type=IdType("prt"), required=True)


@click.group(name="rules")
def commands() -> None:
    """A partner's routing rules."""


@commands.command(name="list")
@_partner_option
@mode_option
@json_option
@waiting
async def list_rules(*, partner: UUID, mode: str, as_json: bool) -> None:
    """Every version, the newest first."""
    async with _book(partner, mode) as (connection, author):
        found = await routing_rules.page(connection, author.scope, before=None, limit=LIST_MAX)
    show([rules_body(one) if as_json else _row(one) for one in found], as_json=as_json)


@commands.command(name="show")
@_rules_argument
@_partner_option
@mode_option
@json_option
@waiting
async def show_rules(*, rules: UUID, partner: UUID, mode: str, as_json: bool) -> None:
    """One version, whole."""
    async with _book(partner, mode) as (connection, author):
        found = _found(await routing_rules.find(connection, author.scope, rules))
    _show(found, as_json=as_json)
    if not as_json:
        click.echo(json.dumps(list(found.rules), indent=2, ensure_ascii=False))


@commands.command(name="create")
@click.argument("file", type=click.File("rb"))
@_partner_option
@mode_option
@json_option
@waiting
async def create_rules(*, file: IO[bytes], partner: UUID, mode: str, as_json: bool) -> None:
    """Write a new version from a file (-: standard input), in the form that POST /v1/routing-rules takes.

    It decides nothing until it is activated.
    """
    with _mistakes_told():
        asked = _asked(file)
        async with _book(partner, mode) as (connection, author):
            known = await currencies.all_currencies(connection)
            accounts = await provider_accounts.open_to(connection, author.scope)
            document = rule_documents.document(asked, known, accounts)
            made = await rulebook.write(connection, author, document, asked.description)
    _show(made, as_json=as_json)


@commands.command(name="backtest")
@click.argument("file", type=click.File("rb"))
@_partner_option
@mode_option
@click.option("--days", type=click.IntRange(1, DAYS_MAX), default=DAYS, show_default=True, help="Up to now.")
@json_option
@waiting
async def backtest(*, file: IO[bytes], partner: UUID, mode: str, days: int, as_json: bool) -> None:
    """Put a draft (a file as for `create`) to past decisions: who would move, and what to expect."""
    now = datetime.now(UTC)
    with _mistakes_told():
        asked = _asked(file)
        async with _book(partner, mode) as (connection, author):
            known = await currencies.all_currencies(connection)
            accounts = await provider_accounts.open_to(connection, author.scope)
            draft = rules.read(rule_documents.document(asked, known, accounts))
    window = Window(scope=author.scope, since=now - timedelta(days=days), until=now)
    async with desk() as at:
        report, reading = await replay.backtested(at.database, window, draft, accounts)
    told = routing_backtest.backtest_body(window, report, reading, lambda code: known[code].decimal_places)
    show(dict(told) if as_json else [_foretold(one) for one in told["segments"]], as_json=as_json)


@commands.command(name="activate")
@_rules_argument
@_partner_option
@mode_option
@json_option
@waiting
async def activate(*, rules: UUID, partner: UUID, mode: str, as_json: bool) -> None:
    """Let a version decide, in every process within a second."""
    await _activate(rules, partner, mode, RoutingLane.LIVE, as_json=as_json)


@commands.command(name="shadow")
@_rules_argument
@_partner_option
@mode_option
@json_option
@waiting
async def shadow(*, rules: UUID, partner: UUID, mode: str, as_json: bool) -> None:
    """Let each charge note what a version would have decided."""
    await _activate(rules, partner, mode, RoutingLane.SHADOW, as_json=as_json)


@commands.command(name="rollback")
@_partner_option
@mode_option
@json_option
@waiting
async def roll_back(*, partner: UUID, mode: str, as_json: bool) -> None:
    """Go back to what was live before; again goes further back."""
    async with _book(partner, mode) as (connection, author):
        try:
            state = await rulebook.roll_back(connection, author)
        except rulebook.NothingBefore:
            raise click.ClickException("no rules are live, and none were before") from None
    _show_state(state, mode, as_json=as_json)


@commands.command(name="deactivate")
@click.option("--lane", type=click.Choice([lane.value for lane in RoutingLane]), default="live", show_default=True)
@_partner_option
@mode_option
@json_option
@waiting
async def deactivate(*, lane: str, partner: UUID, mode: str, as_json: bool) -> None:
    """Use no rules: the accounts' own priority decides."""
    async with _book(partner, mode) as (connection, author):
        state = await rulebook.deactivate(connection, author, RoutingLane(lane))
    _show_state(state, mode, as_json=as_json)


@asynccontextmanager
async def _book(partner: UUID, mode: str) -> AsyncIterator[tuple[Connection, Author]]:
    """One transaction, and under whose name it acts for which partner."""
    async with desk() as at, at.database.as_system() as connection:
        if await partners.find(connection, partner) is None:
            raise NotFound("there is no such partner")
        yield connection, Author(scope=Scope(partner, livemode=mode == "live"), actor=at.actor)


async def _activate(rules: UUID, partner: UUID, mode: str, lane: RoutingLane, *, as_json: bool) -> None:
    async with _book(partner, mode) as (connection, author):
        activated = _found(await rulebook.activate(connection, author, rules, lane))
    _show(activated, as_json=as_json)


def _asked(file: IO[bytes]) -> CreateRoutingRules:
    given = body.parse(file.read())
    body.inspect(given, CreateRoutingRules.names_max)
    return body.validate(CreateRoutingRules, given)


def _foretold(segment: BacktestSegment) -> dict[str, object]:
    """One line: what was, and what to expect or what is missing for it."""
    foretold = segment["foretold"]
    wanting = [f"{one['account']} has {one['outcomes']} of {one['needed']}" for one in segment["not_enough_data"]]
    return {
        "segment": " ".join(filter(None, (segment["payment_method"], segment["currency"], segment["card_brand"]))),
        "decisions": segment["decisions"],
        "moved": segment["moved"],
        "approved": segment["approval_rate"],
        "expected": f"{foretold['expected']} ({foretold['low']} to {foretold['high']})" if foretold else None,
        "too little known": ", ".join(wanting) or None,
    }


def _found(rules: RulesVersion | None) -> RulesVersion:
    if rules is None:
        raise NotFound("this partner has no such rules in this mode")
    return rules


@contextmanager
def _mistakes_told() -> Iterator[None]:
    """Each in a line, named where it stands in the file."""
    try:
        yield
    except Problem as problem:
        told = "\n".join(f"{field or 'the file'}: {message}" for field, message in problem.errors)
        raise click.ClickException(told or problem.detail or problem.code) from None


def _show(rules: RulesVersion, *, as_json: bool) -> None:
    show(rules_body(rules) if as_json else _row(rules), as_json=as_json)


def _show_state(state: State, mode: str, *, as_json: bool) -> None:
    told = {"live": state.live, "shadow": state.shadow}
    lines = {lane: rules and f"version {rules.version}, {rules_body(rules)['id']}" for lane, rules in told.items()}
    show(state_body(state, livemode=mode == "live") if as_json else lines, as_json=as_json)


def _row(rules: RulesVersion) -> dict[str, object]:
    """Without the rules themselves: their number."""
    return {**rules_body(rules), "rules": len(rules.rules)}
