"""Partners: who they are, what they may do, their keys, what belongs to them."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlencode
from uuid import UUID

from pydantic import Field, StringConstraints
from starlette.responses import Response

from db import ids, webhook_views
from db import partners as stored_partners
from db.api_keys import KeyScope
from gateway import partners
from gateway.api import fields
from gateway.api.body import RequestModel
from gateway.api.errors import Problem
from gateway.console import inputs
from gateway.console.inputs import Amounts, Named, PartnerId, Whole
from gateway.console.visits import Visit
from gateway.partners import NAME_MAX, Refused
from gateway.transactions.commands import NotFound

PAGE, ENDPOINTS_MAX = 50, 100
RATE_DEFAULT, RATE_MAX = 100, 1_000_000
Rate = Annotated[Whole, Field(ge=1, le=RATE_MAX)]


class NewPartner(RequestModel):
    name: Annotated[fields.Line, StringConstraints(max_length=NAME_MAX)]
    email: Annotated[fields.Line, StringConstraints(max_length=NAME_MAX)]
    rate_limit_per_minute: Rate = RATE_DEFAULT
    amount_limits: Amounts = Field(default_factory=dict)


class Limits(RequestModel):
    """Empty amounts: none set."""

    rate_limit_per_minute: Rate
    amount_limits: Amounts = Field(default_factory=dict)
    review_above: Amounts = Field(default_factory=dict)


class Sure(RequestModel):
    sure: Literal["yes"]


class Query(RequestModel):
    named: Named | None = None
    before: PartnerId | None = None


async def everyone(visit: Visit) -> Response:
    query = visit.read_query(Query)
    async with visit.console.reading.as_system() as connection:
        found = await stored_partners.newest(connection, PAGE + 1, before=query.before, named=query.named)
    chosen = {"named": query.named} if query.named else {}
    older = {**chosen, "before": ids.encode("prt", found[PAGE - 1].id)} if len(found) > PAGE else {}
    return visit.page(
        "partners.html",
        found=found[:PAGE],
        named=query.named or "",
        chosen=urlencode(chosen),
        older=urlencode(older),
    )


async def ask(visit: Visit) -> Response:
    return visit.page("partner_new.html", wrong={}, rate=RATE_DEFAULT)


async def create(visit: Visit) -> Response:
    try:
        wanted = visit.read(NewPartner)
        made = await visit.desk.create_partner(**wanted.model_dump())
    except (Problem, Refused) as error:
        return visit.page("partner_new.html", 422, wrong=inputs.wrong_of(error), rate=RATE_DEFAULT)
    return await visit.back(path_of(made.id), f"{made.name} is a partner now. It needs an API key to call.")


async def show(visit: Visit) -> Response:
    return await shown(visit, partner_of(visit))


async def limit(visit: Visit) -> Response:
    partner_id = partner_of(visit)
    try:
        wanted = visit.read(Limits)
        await visit.desk.change_partner(
            partner_id,
            rate_limit_per_minute=wanted.rate_limit_per_minute,
            amount_limits=wanted.amount_limits,
            review_above=wanted.review_above,
        )
    except (Problem, Refused) as error:
        return await shown(visit, partner_id, wrong=inputs.wrong_of(error))
    except partners.NotFound:
        raise NotFound from None
    return await visit.back(path_of(partner_id), "The limits are changed.")


async def deactivate(visit: Visit) -> Response:
    partner_id = partner_of(visit)
    try:
        visit.read(Sure)
    except Problem:
        return await shown(visit, partner_id, wrong={"sure": "Say that you are sure."})
    try:
        left = await visit.desk.deactivate_partner(partner_id)
    except partners.NotFound:
        raise NotFound from None
    return await visit.back(path_of(partner_id), f"{left.name} is deactivated: its keys open nothing any more.")


async def shown(visit: Visit, partner_id: UUID, *, wrong: dict[str, str] | None = None) -> Response:
    """The page of one partner; with what was wrong in one of its forms."""
    desk = visit.desk
    try:
        partner = await desk.show_partner(partner_id)
    except partners.NotFound:
        raise NotFound from None
    async with desk.database.as_system() as connection:
        endpoints = await webhook_views.endpoints(
            connection, partner_id, livemode=None, before=None, limit=ENDPOINTS_MAX
        )
    return visit.page(
        "partner.html",
        422 if wrong else 200,
        partner=partner,
        keys=await desk.list_keys(partner_id),
        accounts=await desk.list_accounts(partner_id),
        endpoints=endpoints,
        scopes=[scope.value for scope in KeyScope],
        now=visit.console.acting.clock(),
        wrong=wrong or {},
    )


def partner_of(visit: Visit) -> UUID:
    return visit.id("prt")


def path_of(partner_id: UUID) -> str:
    return f"/console/partners/{ids.encode('prt', partner_id)}"
