"""The lists about payments that can be exported: payments, refunds, what waits for a person or for a second one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Literal
from uuid import UUID

from db import approvals, findings, ids, inbox, partners, refunds, search, support_readings
from db.approvals import Approval
from db.findings import Finding
from db.inbox import Notification
from db.records import Refund, RefundStatus, Scope, Transaction
from db.support_readings import Waiting
from db.support_users import SupportRole
from gateway.api.body import RequestModel
from gateway.console import inputs, payments
from gateway.console.export import BATCH, Batches, Row
from gateway.console.inputs import Moment
from gateway.console.listing import Listing, NoFilters, Source, in_batches
from gateway.console.visits import Visit


class OfRefunds(RequestModel):
    status: Annotated[RefundStatus, inputs.one_of(RefundStatus)] | None = None
    since: Moment | None = None
    until: Moment | None = None


class OfApprovals(RequestModel):
    show: Literal["open", "over"] = "open"


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


PAYMENTS = Listing(
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
)


# ── Refunds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


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


REFUNDS = Listing(
    told="Refunds of whoever you look at, in the mode that you look at.",
    role=SupportRole.SUPPORT,
    columns=(
        *("id", "payment", "partner", "livemode", "amount", "currency", "reason", "note", "status"),
        *("provider_refund", "error", "decline_code", "created_at", "processed_at"),
    ),
    filters=OfRefunds,
    fields={"status": "Status", "since": "Since, in UTC", "until": "Until, in UTC"},
    open=_refunds,
)


# ── What waits for people ─────────────────────────────────────────────────────────────────────────────────────────────


async def _reviews(visit: Visit, _filters: NoFilters) -> Source:
    """In the mode that is looked at, the oldest first."""

    async def read(after: UUID | None) -> Sequence[Waiting]:
        async with visit.reading() as connection:
            livemode = visit.session.livemode
            return await support_readings.waiting(connection, livemode=livemode, after=after, limit=BATCH)

    return Source(
        batches=in_batches(read, _review, lambda one: one.transaction.id), partner_id=visit.session.partner_id
    )


def _review(waiting: Waiting) -> Row:
    one = waiting.transaction
    return (
        *(ids.encode("txn", one.id), ids.encode("prt", one.partner_id), waiting.partner, one.livemode, waiting.since),
        *(one.review_reason, one.status, one.amount, one.currency, one.provider, one.provider_transaction_id),
        *(one.reference, one.created_at),
    )


REVIEWS = Listing(
    told="Payments that a person must look at, in the mode that you look at.",
    role=SupportRole.SUPPORT,
    columns=(
        *("id", "partner", "partner_name", "livemode", "waiting_since", "reason", "status", "amount", "currency"),
        *("provider", "provider_id", "reference", "created_at"),
    ),
    open=_reviews,
)


async def _approvals(visit: Visit, filters: OfApprovals) -> Source:
    """In the mode that is looked at."""

    async def read(before: UUID | None) -> Sequence[Approval]:
        livemode, still_open = visit.session.livemode, filters.show == "open"
        async with visit.reading() as connection:
            return await approvals.page(
                connection, livemode=livemode, still_open=still_open, before=before, limit=BATCH
            )

    return Source(batches=in_batches(read, _approval), partner_id=visit.session.partner_id)


def _approval(one: Approval) -> Row:
    return (
        *(ids.encode("apr", one.id), ids.encode("txn", one.transaction_id), ids.encode("prt", one.partner_id)),
        *(one.partner_name, one.livemode, one.amount, one.currency, one.reason, one.note),
        *("expired" if one.lapsed else one.state, ids.encode("sup", one.requested_by), one.requested_by_name),
        *(one.requested_at, one.expires_at, one.decided_by and ids.encode("sup", one.decided_by)),
        *(one.decided_by_name, one.decided_at, one.decision_note),
        *(one.refund_id and ids.encode("rfd", one.refund_id), one.refund_status),
    )


APPROVALS = Listing(
    told="Refunds that need a second person, in the mode that you look at: those that are open, or over.",
    role=SupportRole.SUPPORT,
    columns=(
        *("id", "payment", "partner", "partner_name", "livemode", "amount", "currency", "reason", "note", "state"),
        *("asked_by", "asked_by_name", "asked_at", "until", "decided_by", "decided_by_name", "decided_at"),
        *("decision_note", "refund", "refund_status"),
    ),
    filters=OfApprovals,
    fields={"show": "Which (open or over)"},
    open=_approvals,
)


async def _findings(visit: Visit, _filters: NoFilters) -> Source:
    async def read(before: UUID | None) -> Sequence[Finding]:
        async with visit.reading() as connection:
            return await findings.open_ones(connection, BATCH, before=before)

    return Source(batches=in_batches(read, _finding), partner_id=visit.session.partner_id)


def _finding(one: Finding) -> Row:
    return (
        *(ids.encode("fnd", one.id), one.source, one.kind, one.subject),
        *(one.partner_id and ids.encode("prt", one.partner_id), one.account_id and ids.encode("pac", one.account_id)),
        *(one.stops_refunds, one.found_at, one.seen_at, one.lifted_at),
        json.dumps(one.data, ensure_ascii=False, sort_keys=True),
    )


FINDINGS = Listing(
    told="Open findings against the books, in both modes: of whoever you look at, and those of no partner.",
    role=SupportRole.ADMIN,
    columns=(
        *("id", "found_by", "finding", "about", "partner", "account", "stops_refunds", "found_at", "seen_at"),
        *("lifted_at", "data"),
    ),
    open=_findings,
)


async def _notifications(visit: Visit, _filters: NoFilters) -> Source:
    async def read(after: UUID | None) -> Sequence[Notification]:
        async with visit.reading() as connection:
            return await inbox.parked(connection, BATCH, after=after)

    return Source(batches=in_batches(read, _notification), partner_id=visit.session.partner_id)


def _notification(one: Notification) -> Row:
    return (
        *(str(one.id), one.received_at, one.provider, one.dedupe_key, one.reason, one.tries),
        *(ids.encode("pac", one.account_id), one.partner_id and ids.encode("prt", one.partner_id)),
        one.transaction_id and ids.encode("txn", one.transaction_id),
    )


NOTIFICATIONS = Listing(
    told="Notifications of providers that could not be applied, in both modes: about payments of whoever you look at.",
    role=SupportRole.SUPPORT,
    columns=("id", "received_at", "provider", "provider_event", "reason", "tries", "account", "partner", "payment"),
    open=_notifications,
)
