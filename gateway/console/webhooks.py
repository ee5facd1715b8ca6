"""Webhooks as support sees them: endpoints, what was sent to each, every try of one delivery, and sending it again."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from starlette.responses import Response

from db import audit, endpoints, ids, outbox, webhook_views
from db.database import Connection
from db.records import Delivery, DeliveryState, Endpoint, Scope
from db.webhook_views import EndpointView
from gateway.api.body import RequestModel
from gateway.console import inputs
from gateway.console.visits import Visit, inside
from gateway.transactions.commands import NotFound

PAGE = 50
REASON = "by_support"
"""Why an endpoint is disabled, as its partner reads it."""


State = Annotated[DeliveryState, inputs.one_of(DeliveryState)]


class Older(RequestModel):
    before: Annotated[UUID, inputs.id_of("whe")] | None = None


class DeliveriesQuery(RequestModel):
    state: State | None = None
    before: Annotated[UUID, inputs.id_of("whd")] | None = None


async def everything(visit: Visit) -> Response:
    """In the mode that is looked at."""
    async with visit.reading() as connection:
        found = await webhook_views.endpoints(
            connection,
            visit.session.partner_id,
            livemode=visit.session.livemode,
            before=visit.read_query(Older).before,
            limit=PAGE + 1,
        )
    older = f"before={ids.encode('whe', found[PAGE - 1].endpoint.id)}" if len(found) > PAGE else ""
    return visit.page("webhooks.html", found=found[:PAGE], older=older)


async def show(visit: Visit) -> Response:
    query = visit.read_query(DeliveriesQuery)
    async with visit.reading() as connection:
        view = await endpoint_of(visit, connection)
        page = await webhook_views.deliveries(connection, view.endpoint, query.state, before=query.before, limit=PAGE)
    chosen = f"state={query.state}" if query.state else ""
    older = f"{chosen}&before={ids.encode('whd', page.until)}".lstrip("&") if page.until else ""
    return visit.page(
        "endpoint.html",
        view=view,
        page=page,
        states=list(DeliveryState),
        state=query.state,
        chosen=chosen,
        older=older,
        recent=webhook_views.RECENT,
    )


async def enable(visit: Visit) -> Response:
    """What was held meanwhile becomes due."""
    endpoint = await _endpoint(visit)
    async with visit.console.acting.database.as_partner(endpoint.partner_id) as connection:
        if await endpoints.enable(connection, _scope(endpoint), endpoint.id) is None:
            raise NotFound
        await audit.append(connection, _act(visit, "webhook_endpoint.enable", endpoint))
    visit.console.acting.published(1)
    return await visit.back(_path(endpoint.id), "The endpoint is enabled: what was held is sent now.")


async def disable(visit: Visit) -> Response:
    endpoint = await _endpoint(visit)
    async with visit.console.acting.database.as_partner(endpoint.partner_id) as connection:
        if await endpoints.disable(connection, _scope(endpoint), endpoint.id, reason=REASON) is None:
            raise NotFound
        await audit.append(connection, _act(visit, "webhook_endpoint.disable", endpoint, reason=REASON))
    return await visit.back(_path(endpoint.id), "The endpoint is disabled: what comes is held until it is enabled.")


async def show_delivery(visit: Visit) -> Response:
    async with visit.reading() as connection:
        delivery, endpoint = await _delivery(visit, connection)
        attempts = await outbox.attempts(connection, delivery.partner_id, delivery.id)
    return visit.page("delivery.html", delivery=delivery, endpoint=endpoint, attempts=attempts)


async def retry(visit: Visit) -> Response:
    """From its own page, or from that of its payment (`then`)."""
    async with visit.reading() as connection:
        delivery, endpoint = await _delivery(visit, connection)
    named = ids.encode("whd", delivery.id)
    path = inside(visit.form.get("then", f"/console/webhooks/deliveries/{named}"))
    if endpoint is None:
        return await visit.back(path, "Its endpoint was deleted: it cannot be sent again.")
    async with visit.console.acting.database.as_partner(delivery.partner_id) as connection:
        again = await outbox.retry(connection, _scope(endpoint), delivery.id)
        if again is None:
            raise NotFound
        await audit.append(connection, visit.act("webhook_delivery.retry", named, delivery.partner_id))
    visit.console.acting.published(1)
    when = "as soon as its endpoint is enabled" if again.state is DeliveryState.HELD else "now"
    return await visit.back(path, f"{delivery.event_type} is sent once more, {when}.")


async def endpoint_of(visit: Visit, connection: Connection) -> EndpointView:
    """The one in the path, of whoever is looked at. Raises `NotFound`."""
    found = await webhook_views.endpoint(connection, visit.session.partner_id, visit.id("whe"))
    if found is None:
        raise NotFound
    return found


async def _endpoint(visit: Visit) -> Endpoint:
    async with visit.reading() as connection:
        return (await endpoint_of(visit, connection)).endpoint


async def _delivery(visit: Visit, connection: Connection) -> tuple[Delivery, Endpoint | None]:
    """The one in the path and its endpoint, None where that was deleted. Raises `NotFound`."""
    delivery = await webhook_views.delivery(connection, visit.session.partner_id, visit.id("whd"))
    if delivery is None:
        raise NotFound
    view = await webhook_views.endpoint(connection, delivery.partner_id, delivery.endpoint_id)
    return delivery, view.endpoint if view else None


def _scope(endpoint: Endpoint) -> Scope:
    return Scope(endpoint.partner_id, endpoint.livemode)


def _act(visit: Visit, action: str, endpoint: Endpoint, **changes: object) -> audit.Act:
    return visit.act(action, ids.encode("whe", endpoint.id), endpoint.partner_id, **changes)


def _path(endpoint_id: UUID) -> str:
    return f"/console/webhooks/{ids.encode('whe', endpoint_id)}"
