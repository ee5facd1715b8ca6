"""Replays over HTTP: a range of events once more to one endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

from pydantic import Field
from typing_extensions import TypedDict

from db import ids, replays
from db.database import Connection
from db.records import Endpoint, ReplayState
from db.replays import Replay
from gateway.api import acts, fields, lists
from gateway.api.body import RequestModel
from gateway.api.calls import Answer, Call
from gateway.api.errors import Problem, invalid
from gateway.api.lists import PageQuery
from gateway.api.once import once
from gateway.api.webhooks import EventTypes, found_endpoint
from gateway.transactions import representation
from gateway.transactions.commands import NotFound

DAYS_MAX = 90


class CreateReplay(RequestModel):
    since: fields.Moment = Field(description="Events from this moment on.")
    until: fields.Moment | None = Field(None, description="Events before this moment; default: now.")
    event_types: EventTypes | None = Field(None, description="Default: the endpoint's own.")


class WebhookReplay(TypedDict):
    id: str
    object: Literal["webhook_replay"]
    livemode: bool
    endpoint_id: str
    since: str
    until: str
    event_types: list[str]
    status: str
    total: int
    queued: int
    delivered: int
    failed: int
    created_at: str
    updated_at: str
    finished_at: str | None


async def create(call: Call) -> Answer:
    body: CreateReplay = call.body

    async def work(connection: Connection) -> tuple[int, Mapping[str, object]]:
        endpoint = await found_endpoint(connection, call)
        since, until, event_types = body.since, _until(call, body), body.event_types or endpoint.event_types
        total = await replays.count(
            connection, call.scope, since=since, until=until, event_types=event_types, limit=replays.EVENTS_MAX
        )
        if total is None:
            raise invalid("since", f"must leave at most {replays.EVENTS_MAX:,} events, of all types, before until")
        replay = await replays.start(
            connection,
            call.scope,
            ids.new(),
            endpoint.id,
            since=since,
            until=until,
            event_types=event_types,
            total=total,
        )
        if replay is None:
            raise await _running(connection, endpoint)
        changes = {"endpoint_id": ids.encode("whe", endpoint.id), "total": total}
        await acts.record(connection, call, "webhook_replay.create", ids.encode("whr", replay.id), changes)
        return 202, dict(replay_body(replay))

    return await once(call, work)


async def list_replays(call: Call) -> Answer:
    query: PageQuery = call.query
    listing = f"replays of {call.id('whe')}"
    before = lists.before(call, listing)
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        endpoint = await found_endpoint(connection, call)
        found = await replays.page(connection, call.scope.partner_id, endpoint.id, before=before, limit=query.limit + 1)
    return lists.page(call, listing, [(one.id, replay_body(one)) for one in found])


async def show(call: Call) -> Answer:
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        found = await replays.get(connection, call.scope, call.id("whr"))
    if found is None:
        raise NotFound
    return Answer(status=200, body=dict(replay_body(found)))


async def cancel(call: Call) -> Answer:
    """Cancelling again changes nothing."""
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        found = await replays.cancel(connection, call.scope, call.id("whr"))
        if found is None:
            raise NotFound
        if found.state is ReplayState.COMPLETED:
            raise Problem("invalid_state", "The replay is over.", current_status=found.state.value)
        await acts.record(connection, call, "webhook_replay.cancel", ids.encode("whr", found.id), {})
    return Answer(status=200, body=dict(replay_body(found)))


def replay_body(replay: Replay) -> WebhookReplay:
    return {
        "id": ids.encode("whr", replay.id),
        "object": "webhook_replay",
        "livemode": replay.livemode,
        "endpoint_id": ids.encode("whe", replay.endpoint_id),
        "since": representation.instant(replay.since),
        "until": representation.instant(replay.until),
        "event_types": list(replay.event_types),
        "status": replay.state.value,
        "total": replay.total,
        "queued": replay.queued,
        "delivered": replay.delivered,
        "failed": replay.failed,
        "created_at": representation.instant(replay.created_at),
        "updated_at": representation.instant(replay.updated_at),
        "finished_at": representation.time(replay.finished_at),
    }


def _until(call: Call, body: CreateReplay) -> datetime:
    """Not after now: what comes later is delivered live."""
    now = call.runtime.clock()
    until = min(body.until or now, now)
    if body.since >= until:
        raise invalid("since", "must be before until, and in the past")
    if until - body.since > timedelta(days=DAYS_MAX):
        raise invalid("since", f"must be at most {DAYS_MAX} days before until")
    return until


async def _running(connection: Connection, endpoint: Endpoint) -> Problem:
    replay_id = await replays.running(connection, endpoint.partner_id, endpoint.id)
    return Problem(
        "invalid_state",
        "A replay to this endpoint is running: wait for its end, or cancel it.",
        current_status=ReplayState.RUNNING.value,
        replay_id=replay_id and ids.encode("whr", replay_id),
    )
