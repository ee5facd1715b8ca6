"""Routing rules over HTTP: versions, and which of them is live or shadow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import WithJsonSchema
from typing_extensions import TypedDict

from db import ids, provider_accounts
from db import routing_rules as stored
from db.database import Connection
from db.routing_records import RoutingLane
from db.routing_rules import RulesVersion
from gateway.api import lists, rule_documents
from gateway.api.body import RequestModel
from gateway.api.calls import Answer, Call
from gateway.api.errors import Problem
from gateway.api.lists import PageQuery
from gateway.api.once import Work, once
from gateway.api.rule_documents import CreateRoutingRules
from gateway.routing import rulebook
from gateway.routing.rulebook import Author, State
from gateway.transactions import representation
from gateway.transactions.commands import NotFound

_LISTING = "routing-rules"
_PARTS = ("name", "when", "unless", "then")
"""Of a rule, in the order in which people read it: storing it has lost its own."""
_Rules = Annotated[
    list[dict[str, Any]],
    WithJsonSchema({"type": "array", "items": {"$ref": "#/components/schemas/RoutingRule"}}),
]


class RoutingRules(TypedDict):
    id: str
    object: Literal["routing_rules"]
    version: int
    livemode: bool
    description: str | None
    rules: _Rules
    live: bool
    shadow: bool
    created_by: str
    created_at: str


class RoutingState(TypedDict):
    """Null: no rules there; the accounts' own priority decides."""

    object: Literal["routing_state"]
    livemode: bool
    live: RoutingRules | None
    shadow: RoutingRules | None


class Lane(RequestModel):
    lane: Literal["live", "shadow"] = "live"


async def create(call: Call) -> Answer:
    body: CreateRoutingRules = call.body

    async def work(connection: Connection) -> tuple[int, Mapping[str, object]]:
        accounts = await provider_accounts.open_to(connection, call.scope)
        document = rule_documents.document(body, call.runtime.currencies, accounts)
        made = await rulebook.write(connection, _author(call), document, body.description)
        return 201, dict(rules_body(made))

    return await once(call, work)


async def list_rules(call: Call) -> Answer:
    query: PageQuery = call.query
    before = lists.before(call, _LISTING)
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        found = await stored.page(connection, call.scope, before=before, limit=query.limit + 1)
    return lists.page(call, _LISTING, [(one.id, rules_body(one)) for one in found])


async def show(call: Call) -> Answer:
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        found = await stored.find(connection, call.scope, call.id("rul"))
    if found is None:
        raise NotFound
    return Answer(status=200, body=dict(rules_body(found)))


async def activate(call: Call) -> Answer:
    body: Lane = call.body
    rules_id = call.id("rul")

    async def work(connection: Connection) -> tuple[int, Mapping[str, object]]:
        activated = await rulebook.activate(connection, _author(call), rules_id, RoutingLane(body.lane))
        if activated is None:
            raise NotFound
        return 200, dict(rules_body(activated))

    return await _at_once(call, work)


async def roll_back(call: Call) -> Answer:
    async def work(connection: Connection) -> tuple[int, Mapping[str, object]]:
        try:
            state = await rulebook.roll_back(connection, _author(call))
        except rulebook.NothingBefore:
            raise Problem("invalid_state", "No rules are live, and none were before.", current_status="none") from None
        return 200, dict(state_body(state, livemode=call.scope.livemode))

    return await _at_once(call, work)


async def deactivate(call: Call) -> Answer:
    body: Lane = call.body

    async def work(connection: Connection) -> tuple[int, Mapping[str, object]]:
        state = await rulebook.deactivate(connection, _author(call), RoutingLane(body.lane))
        return 200, dict(state_body(state, livemode=call.scope.livemode))

    return await _at_once(call, work)


def rules_body(rules: RulesVersion) -> RoutingRules:
    return {
        "id": ids.encode("rul", rules.id),
        "object": "routing_rules",
        "version": rules.version,
        "livemode": rules.livemode,
        "description": rules.description,
        "rules": [{name: rule[name] for name in _PARTS if name in rule} for rule in rules.rules],
        "live": rules.live,
        "shadow": rules.shadow,
        "created_by": rules.created_by,
        "created_at": representation.instant(rules.created_at),
    }


def state_body(state: State, *, livemode: bool) -> RoutingState:
    return {
        "object": "routing_state",
        "livemode": livemode,
        "live": rules_body(state.live) if state.live else None,
        "shadow": rules_body(state.shadow) if state.shadow else None,
    }


async def _at_once(call: Call, work: Work) -> Answer:
    """Here from the next charge on; in other processes when what they know has grown a second old."""
    answer = await once(call, work)
    call.runtime.switchboard.routes.cache_invalidate(call.scope)
    return answer


def _author(call: Call) -> Author:
    return Author(
        scope=call.scope,
        actor=f"partner:{ids.encode('key', call.principal.key_id)}",
        ip_address=call.ip_address,
        user_agent=call.user_agent,
        request_id=call.request_id,
    )
