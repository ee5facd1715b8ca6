"""What asks for a person and is no review of a payment: a notification that nobody could apply, tried again."""

from __future__ import annotations

from uuid import UUID

from starlette.responses import Response

from db import ids, inbox
from db.records import ProviderEventState
from gateway.console.visits import Visit
from gateway.transactions.commands import NotFound

REVIEWS = "/console/reviews"


async def retry_notification(visit: Visit) -> Response:
    """One of those that are looked at, from the payment that it is about, or from the list."""
    async with visit.reading() as connection:
        known = await inbox.find(connection, _uuid(visit.path["id"]))
    if known is None:
        raise NotFound
    retried = await visit.attention.retry_notification(known.id)
    visit.console.acting.notified.set()
    told = "It is tried again now." if retried.state is ProviderEventState.RECEIVED else f"It is {retried.state}."
    about = known.transaction_id
    return await visit.back(f"/console/transactions/{ids.encode('txn', about)}" if about else REVIEWS, told)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFound from None
