"""What can be exported: each list's columns and filters, and how its rows are read, batch by batch.

A batch is a short transaction that is over before its rows are passed on: a slow browser holds nothing open.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel

from db import audit, ids, partners, refunds, search, webhook_views
from db.audit import AuditLog
from db.partners import Partner
from db.records import Delivery, Endpoint, Refund, RefundStatus, Scope, Transaction
from db.support_users import SupportRole
from gateway.api.body import RequestModel
from gateway.api.errors import invalid
from gateway.console import audit_log, inputs, payments, webhooks
from gateway.console.export import BATCH, Batches, Row
from gateway.console.inputs import Moment
from gateway.console.visits import Visit

COUNTED_MAX = 100_000
"""Rows that are counted before an export, to say how far it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What one export reads. `about`: how many rows; None: not known, or more than are counted."""

    batches: Batches
    about: int | None = None
    partner_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """`fields`: the filters' names and what people call them."""

    told: str
    role: SupportRole
    columns: Sequence[str]
    filters: type[BaseModel]
    fields: Mapping[str, str]
    open: Callable[[Visit, Any], Awaitable[Source]]


class NoFilters(RequestModel):
    """All of them."""


class OfRefunds(RequestModel):
    status: Annotated[RefundStatus, inputs.one_of(RefundStatus)] | None = None
    since: Moment | None = None
    until: Moment | None = None


class OfDeliveries(RequestModel):
    endpoint: Annotated[UUID, inputs.id_of("whe")]
    state: webhooks.State | None = None


# ── Payments ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _payments(visit: Visit, filters: payments.Wanted) -> Source:
    _, readings = payments.read(visit, filters)
    reach = payments.reach(visit)

    async def batches() -> Batches:
        before: UUID | None = None
        while True:
            async with visit.reading() as connection:
                found = await search.page(connection, reach, readings, before=before, limit=BATCH)
            yield [_payment(one) for one in found.transactions]
            before = found.until or (found.transactions[-1].id if len(found.transactions) == BATCH else None)
            if before is None:
                return

    return Source(batches=batches(), partner_id=reach.partner_id)


def _payment(one: Transaction) -> Row:
    return (
        *(ids.encode("txn", one.id), ids.encode("prt", one.partner_id), one.livemode, one.created_at, one.status),
        *(one.amount, one.currency, one.amount_captured, one.amount_refunded, one.payment_method, one.card_brand),
        *(one.card_last4, one.provider, one.provider_transaction_id, one.error_code, one.decline_code, one.reference),
        *(one.customer_email, one.customer_name, one.needs_review),
    )


# ── Partners ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _partners(visit: Visit, _filters: NoFilters) -> Source:
    async def batches() -> Batches:
        before: UUID | None = None
        while True:
            async with visit.console.reading.as_system() as connection:
                found = await partners.newest(connection, BATCH, before=before)
            yield [_partner(one) for one in found]
            if len(found) < BATCH:
                return
            before = found[-1].id

    return Source(batches=batches())


def _partner(one: Partner) -> Row:
    return (ids.encode("prt", one.id), one.name, one.email, one.is_active, one.rate_limit_per_minute, one.created_at)


# ── Refunds ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _refunds(visit: Visit, filters: OfRefunds) -> Source:
    """In the mode that is looked at, partner by partner."""
    async with visit.reading() as connection:
        chosen = visit.session.partner_id
        whose = [chosen] if chosen else await partners.all_ids(connection)

    async def batches() -> Batches:
        for partner_id in whose:
            scope = Scope(partner_id, visit.session.livemode)
            before = ids.earliest(filters.until) if filters.until else None
            after = ids.earliest(filters.since) if filters.since else None
            while True:
                async with visit.console.reading.as_partner(partner_id) as connection:
                    found = await refunds.page(
                        connection, scope, before=before, after=after, status=filters.status, limit=BATCH
                    )
                yield [_refund(one) for one in found]
                if len(found) < BATCH:
                    break
                before = found[-1].id

    return Source(batches=batches(), partner_id=chosen)


def _refund(one: Refund) -> Row:
    return (
        *(ids.encode("rfd", one.id), ids.encode("txn", one.transaction_id), ids.encode("prt", one.partner_id)),
        *(one.livemode, one.amount, one.currency, one.reason, one.note, one.status, one.provider_refund_id),
        *(one.error_code, one.decline_code, one.created_at, one.processed_at),
    )


# ── Deliveries ──────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── The audit log ───────────────────────────────────────────────────────────────────────────────────────────────────


async def _audit(visit: Visit, filters: audit_log.Filters) -> Source:
    async def batches() -> Batches:
        before: UUID | None = None
        while True:
            async with visit.console.operating.as_system() as connection:
                found = await audit.page(connection, filters.wanted(), before=before, limit=BATCH)
            yield [_act(one) for one in found]
            if len(found) < BATCH:
                return
            before = found[-1].id

    return Source(batches=batches(), partner_id=filters.partner)


def _act(one: AuditLog) -> Row:
    return (
        *(ids.encode("aud", one.id), one.created_at, one.actor, one.action, one.resource_type, one.resource_id),
        *(ids.encode("prt", one.partner_id) if one.partner_id else None, one.ip_address, one.request_id),
        json.dumps(one.changes, ensure_ascii=False, sort_keys=True),
    )


LISTINGS: Mapping[str, Listing] = {
    "payments": Listing(
        told="Payments of whoever you look at, as you searched for them.",
        role=SupportRole.SUPPORT,
        columns=(
            *("id", "partner", "livemode", "created_at", "status", "amount", "currency", "captured", "refunded"),
            *("method", "card_brand", "last4", "provider", "provider_id", "error", "decline_code", "reference"),
            *("email", "name", "needs_review"),
        ),
        filters=payments.Wanted,
        fields={
            "q": "Search",
            "status": "Status",
            "provider": "Provider",
            "payment_method": "Method",
            "currency": "Currency",
            "amount_gte": "Amount from",
            "amount_lte": "Amount to",
            "since": "From day, in UTC",
            "until": "To day, in UTC",
            "last4": "Card's last four",
            "email": "E-mail begins with",
            "name": "Customer's name",
            "reference": "Reference begins with",
            "metadata": "Metadata, as key=value",
            "needs_review": "Needs review (true or false)",
        },
        open=_payments,
    ),
    "refunds": Listing(
        told="Refunds of whoever you look at, in the mode that you look at.",
        role=SupportRole.SUPPORT,
        columns=(
            *("id", "payment", "partner", "livemode", "amount", "currency", "reason", "note", "status"),
            *("provider_refund", "error", "decline_code", "created_at", "processed_at"),
        ),
        filters=OfRefunds,
        fields={"status": "Status", "since": "Since, in UTC", "until": "Until, in UTC"},
        open=_refunds,
    ),
    "deliveries": Listing(
        told="What was sent, or is to be, to one webhook endpoint.",
        role=SupportRole.SUPPORT,
        columns=(
            *("id", "endpoint", "event", "event_type", "payment", "sequence", "state", "tries", "last_status"),
            *("created_at", "delivered_at"),
        ),
        filters=OfDeliveries,
        fields={"endpoint": "Endpoint", "state": "State"},
        open=_deliveries,
    ),
    "audit": Listing(
        told="The audit log, of all partners.",
        role=SupportRole.ADMIN,
        columns=(
            *("id", "at", "actor", "action", "resource_type", "resource", "partner", "ip_address", "request"),
            "changes",
        ),
        filters=audit_log.Filters,
        fields={
            "partner": "Partner",
            "actor": "Actor",
            "action": "Action",
            "resource": "Resource",
            "since": "Since, in UTC",
            "until": "Until, in UTC",
        },
        open=_audit,
    ),
    "partners": Listing(
        told="All partners.",
        role=SupportRole.ADMIN,
        columns=("id", "name", "email", "active", "calls_per_minute", "created_at"),
        filters=NoFilters,
        fields={},
        open=_partners,
    ),
}
