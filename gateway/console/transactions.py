"""A payment's page: what happened, what it stands on, what may be done. And the same as the API tells it, in JSON."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping

from starlette.responses import Response

from db import ids, ledger, refunds, support_readings, transactions
from db.records import Scope, Transaction
from gateway.console import dossiers
from gateway.console.dossiers import Possible
from gateway.console.visits import Visit
from gateway.transactions import representation

Page = Callable[[Visit], Awaitable[Response]]
Named = Callable[[Visit, Transaction], Awaitable[Response]]
REASONS = (
    ("requested_by_customer", "The customer asked for it"),
    ("duplicate", "It was paid twice"),
    ("fraudulent", "It was fraud"),
    ("other", "Another reason"),
)
VERDICTS = (
    ("succeeded", "The money moved"),
    ("failed", "No money moved"),
    ("settled", "The books are right as they are"),
)


def of_transaction(page: Named) -> Page:
    """A page or an act about the payment that the path names; for one out of reach, where else to look."""

    async def found(visit: Visit) -> Response:
        async with visit.reading() as connection:
            named = await support_readings.transaction(connection, visit.id("txn"))
        return _elsewhere(visit) if named is None else await page(visit, named[0])

    return found


async def show(visit: Visit) -> Response:
    return await page(visit)


async def page(visit: Visit, wrong: Mapping[str, str] | None = None) -> Response:
    """With `wrong`: a form of it is shown again, with what is wrong beside its fields."""
    async with visit.reading() as connection:
        named = await support_readings.transaction(connection, visit.id("txn"))
        if named is None:
            return _elsewhere(visit)
        dossier = await dossiers.read(visit, connection, *named)
    return visit.page(
        "transaction.html",
        422 if wrong else 200,
        it=dossier,
        txn=dossier.transaction,
        may=Possible(visit, dossier),
        limit=visit.console.settings.refund_approval_above,
        once=ids.bare(ids.new()),
        reasons=REASONS,
        verdicts=VERDICTS,
        wrong=wrong or {},
    )


@of_transaction
async def raw(visit: Visit, transaction: Transaction) -> Response:
    """As the API answers it, with its events, refunds and ledger."""
    partner_id = transaction.partner_id
    places = visit.console.acting.places(transaction.currency)
    async with visit.reading() as connection:
        attempts = await transactions.attempts(connection, partner_id, [transaction.id])
        body = representation.transaction_body(transaction, attempts, places=places)
        events = await transactions.events(connection, partner_id, transaction.id)
        given_back = await refunds.of_transaction(connection, partner_id, transaction.id)
        scope = Scope(partner_id, transaction.livemode)
        entries = await ledger.page(connection, scope, transaction_id=transaction.id, limit=dossiers.ENTRIES_MAX)
    body["events"] = [representation.transaction_event_body(event) for event in events]
    body["refunds"] = [representation.refund_body(refund, places=places) for refund in given_back]
    body["ledger"] = [representation.ledger_entry_body(entry, places=places) for entry in entries]
    return Response(json.dumps(body, ensure_ascii=False, indent=2), media_type="application/json")


def _elsewhere(visit: Visit) -> Response:
    return visit.page("elsewhere.html", 404, named=visit.path["id"])
