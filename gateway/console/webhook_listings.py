"""The lists about webhooks that can be exported: endpoints, and what was sent to one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from db import ids, webhook_views
from db.records import Delivery, Endpoint
from db.support_users import SupportRole
from db.webhook_views import EndpointView
from gateway.api.body import RequestModel
from gateway.api.errors import invalid
from gateway.console import inputs, webhooks
from gateway.console.export import BATCH, Batches, Row
from gateway.console.listing import Listing, NoFilters, Source, in_batches
from gateway.console.visits import Visit

COUNTED_MAX = 100_000
"""Rows that are counted before an export, to say how far it is."""


class OfDeliveries(RequestModel):
    endpoint: Annotated[UUID, inputs.id_of("whe")]
    state: webhooks.State | None = None


# ── Endpoints ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _endpoints(visit: Visit, _filters: NoFilters) -> Source:
    """In the mode that is looked at."""
    chosen, livemode = visit.session.partner_id, visit.session.livemode

    async def read(before: UUID | None) -> Sequence[EndpointView]:
        async with visit.reading() as connection:
            return await webhook_views.endpoints(connection, chosen, livemode=livemode, before=before, limit=BATCH)

    return Source(batches=in_batches(read, _endpoint, lambda view: view.endpoint.id), partner_id=chosen)


def _endpoint(view: EndpointView) -> Row:
    one = view.endpoint
    return (
        *(ids.encode("whe", one.id), ids.encode("prt", one.partner_id), view.partner_name, one.livemode, one.url),
        *(one.description, one.state, one.disabled_reason, " ".join(one.event_types), one.rate_limit_per_second),
        *(" ".join(one.header_names), one.consecutive_failures, one.failing_since, view.delivered_at, one.created_at),
    )


ENDPOINTS = Listing(
    told="Webhook endpoints of whoever you look at, in the mode that you look at.",
    role=SupportRole.SUPPORT,
    columns=(
        *("id", "partner", "partner_name", "livemode", "address", "description", "state", "disabled_reason"),
        *("events", "rate_a_second", "own_headers", "failures_in_a_row", "failing_since", "last_success"),
        "created_at",
    ),
    open=_endpoints,
)


# ── Deliveries ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _deliveries(visit: Visit, filters: OfDeliveries) -> Source:
    async with visit.reading() as connection:
        view = await webhook_views.endpoint(connection, visit.session.partner_id, filters.endpoint)
        if view is None:
            raise invalid("endpoint", "is none of those that you look at")
        about = await webhook_views.count(connection, view.endpoint, filters.state, at_most=COUNTED_MAX)
    return Source(
        batches=_of_endpoint(visit, view.endpoint, filters),
        about=about if about < COUNTED_MAX else None,
        partner_id=view.endpoint.partner_id,
    )


async def _of_endpoint(visit: Visit, endpoint: Endpoint, filters: OfDeliveries) -> Batches:
    before: UUID | None = None
    while True:
        async with visit.console.reading.as_partner(endpoint.partner_id) as connection:
            page = await webhook_views.deliveries(connection, endpoint, filters.state, before=before, limit=BATCH)
        yield [_delivery(one) for one in page.deliveries]
        if page.until is None:
            return
        before = page.until


def _delivery(one: Delivery) -> Row:
    return (
        *(ids.encode("whd", one.id), ids.encode("whe", one.endpoint_id), ids.encode("evt", one.event_id)),
        *(one.event_type, ids.encode("txn", one.transaction_id) if one.transaction_id else None, one.sequence),
        *(one.state, one.attempts, one.last_status, one.created_at, one.delivered_at),
    )


DELIVERIES = Listing(
    told="What was sent, or is to be, to one webhook endpoint.",
    role=SupportRole.SUPPORT,
    columns=(
        *("id", "endpoint", "event", "event_type", "payment", "sequence", "state", "tries", "last_status"),
        *("created_at", "delivered_at"),
    ),
    filters=OfDeliveries,
    fields={"endpoint": "Endpoint", "state": "State"},
    open=_deliveries,
)
