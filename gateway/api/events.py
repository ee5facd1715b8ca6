"""The feed over HTTP: the same events as the webhooks, byte for byte, for whoever would rather ask."""

from __future__ import annotations

import json
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema
from typing_extensions import TypedDict

from db import feed, ids
from db.database import Connection
from gateway.api import fields
from gateway.api.body import QueryModel
from gateway.api.calls import Answer, Call
from gateway.api.errors import invalid
from gateway.api.lists import LIMIT_DEFAULT
from gateway.transactions import representation
from gateway.transactions.commands import NotFound

LATEST = "latest"


class Event(TypedDict):
    id: str
    type: str
    timestamp: str
    sequence: int | None
    data: dict[str, Any]


def _known(name: str) -> str:
    if name not in representation.EVENT_TYPES:
        raise ValueError(f"must be one of {', '.join(representation.EVENT_TYPES)}")
    return name


Type = Annotated[
    str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": list(representation.EVENT_TYPES)})
]
After = Annotated[str, StringConstraints(pattern=f"^(evt_[0-9a-z]{{26}}|{LATEST})$")]


class EventQuery(QueryModel):
    limit: fields.Limit = LIMIT_DEFAULT
    after: After | None = Field(
        None, description="The last event that was seen; none: from the first; `latest`: what comes from now on."
    )
    types: list[Type] = Field(default_factory=list, description="May be repeated.", max_length=30)


async def list_events(call: Call) -> Answer:
    query: EventQuery = call.query
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        if query.after == LATEST:
            page = feed.Page([], await feed.latest(connection, call.scope), more=False)
        else:
            after = await _after(connection, call)
            page = await feed.page(connection, call.scope, after=after, types=query.types, limit=query.limit)
    cursor = query.after if page.reached is None and query.after != LATEST else _name(page.reached)
    told = json.dumps({"has_more": page.more, "next_cursor": cursor}, separators=(",", ":"))
    return Answer(status=200, body=f'{{"data":[{",".join(page.bodies)}],{told[1:]}'.encode())


async def show(call: Call) -> Answer:
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        body = await feed.body(connection, call.scope, call.id("evt"))
    if body is None:
        raise NotFound
    return Answer(status=200, body=body.encode())


async def _after(connection: Connection, call: Call) -> tuple[str, UUID] | None:
    """Where the page begins. Raises a problem that names the field `after`."""
    text: str | None = call.query.after
    if text is None:
        return None
    event_id = ids.decode("evt", text)
    position = None if event_id is None else await feed.position(connection, call.scope, event_id)
    if event_id is None or position is None:
        raise invalid("after", "is not an event of this account and mode")
    return position, event_id


def _name(event_id: UUID | None) -> str | None:
    return None if event_id is None else ids.encode("evt", event_id)
