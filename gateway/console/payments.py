"""Finding payments: one box that recognises what is pasted into it, fields for the rest, and pages newest first.

All that is searched for stands in the address: a view is saved by keeping the address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import date
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from pydantic import Field, StringConstraints
from starlette.responses import RedirectResponse, Response

from db import ids, partners, search
from db.records import Transaction, TransactionStatus
from db.search import Filters, Found, Reach
from gateway import dates_in_words, recognition
from gateway.api.body import QueryModel
from gateway.api.errors import Problem
from gateway.api.fields import Currency, Money, PaymentMethodType, ProviderName
from gateway.console.visits import Visit, mistakes
from gateway.recognition import Recognised
from providers import PROVIDERS

PAGE = 25
PATH = "/console/search"
VIEWS: Mapping[str, Mapping[str, str]] = {
    "All": {},
    "Completed": {"status": "completed"},
    "Failed": {"status": "failed"},
    "Waiting": {"status": "processing"},
    "Refunded": {"status": "refunded"},
    "Needs review": {"needs_review": "true"},
}
_NAMED = frozenset(
    {"transaction_id", "refund_id", "attempt_id", "event_id", "delivery_id", "dispute_id", "provider_id"}
)
"""Who asks by one of these wants that payment, not a list."""

_ROOMS = {"whe": "/console/webhooks", "prt": "/console/partners", "pac": "/console/accounts", "rul": "/console/routing"}
"""Ids that have a page of their own, below these."""

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]


class Wanted(QueryModel):
    """What may be searched for. Dates are whole days in UTC, amounts major units."""

    q: Annotated[str, StringConstraints(max_length=300)] = ""
    status: list[TransactionStatus] = Field(default_factory=list, max_length=9)
    provider: ProviderName | None = None
    payment_method: PaymentMethodType | None = None
    currency: Currency | None = None
    amount_gte: Money | None = None
    amount_lte: Money | None = None
    since: date | None = None
    until: date | None = None
    last4: Annotated[str, StringConstraints(pattern="^[0-9]{4}$")] | None = None
    email: _Text | None = None
    name: _Text | None = None
    reference: _Text | None = None
    metadata: Annotated[str, StringConstraints(max_length=500, pattern="^[^=]{1,40}=.+$")] | None = None
    needs_review: bool | None = None


class Asked(Wanted):
    """The page's query string."""

    before: Annotated[str, StringConstraints(max_length=40)] | None = None


async def find(visit: Visit) -> Response:
    """The list; or the one payment, or other thing with a page of its own, whose id was asked for."""
    try:
        asked = visit.read_query(Asked)
    except Problem as problem:
        return _page(visit, Asked(), Recognised((), ""), Found([]), {}, wrong=mistakes(problem))
    if elsewhere := _elsewhere(visit, asked.q.strip()):
        return RedirectResponse(elsewhere, status_code=303)
    recognised, readings = read(visit, asked)
    async with visit.reading() as connection:
        found = await search.page(connection, reach(visit), readings, before=_before(asked), limit=PAGE + 1)
        names = await partners.names(connection, {row.partner_id for row in found.transactions}) if visit.across else {}
    if len(found.transactions) == 1 and not asked.before and any(map(_names_one, readings)):
        return RedirectResponse(_path(found.transactions[0]), status_code=303)
    return _page(visit, asked, recognised, found, names)


def read(visit: Visit, asked: Wanted) -> tuple[Recognised, Sequence[Filters]]:
    """What is searched for, in words and for `search.page`."""
    recognised = recognition.recognise(asked.q, today=visit.console.acting.clock().date())
    return recognised, [_with_fields(reading, asked) for reading in recognised.readings]


def reach(visit: Visit) -> Reach:
    return Reach(None if visit.across else visit.session.partner_id, visit.session.livemode)


def _page(
    visit: Visit,
    asked: Asked,
    recognised: Recognised,
    found: Found,
    names: Mapping[UUID, str],
    *,
    wrong: Mapping[str, str] | None = None,
) -> Response:
    shown = found.transactions[:PAGE]
    places = {code: currency.decimal_places for code, currency in visit.console.acting.currencies.items()}
    return visit.page(
        "search.html",
        422 if wrong else 200,
        asked=asked,
        given=visit.query,
        told=recognised.told if asked.q else "",
        looked=bool(recognised.readings),
        rows=[_row(row, places[row.currency], names) for row in shown],
        older=_older(visit, shown, found),
        chosen=urlencode(_given(visit), doseq=True),
        stopped_at=None if found.until is None else ids.created_at(found.until),
        narrowed=any(value for name, value in visit.query.items() if name not in {"q", "before"}),
        views=[_view(visit, name, query) for name, query in VIEWS.items()],
        statuses=list(TransactionStatus),
        providers=sorted(PROVIDERS),
        currencies=sorted(visit.console.acting.currencies),
        wrong=wrong or {},
    )


def _with_fields(reading: Filters, asked: Wanted) -> Filters:
    """What the fields say beside what the box was recognised as; where both speak, the fields do."""
    key, _, value = (asked.metadata or "").partition("=")
    given = Filters(
        status=tuple(asked.status),
        provider=asked.provider,
        payment_method=asked.payment_method,
        currency=asked.currency,
        amount_gte=asked.amount_gte,
        amount_lte=asked.amount_lte,
        created_after=None if asked.since is None else dates_in_words.just_before(asked.since),
        created_before=None if asked.until is None else dates_in_words.end_of(asked.until),
        last4=asked.last4,
        customer_email_prefix=asked.email and asked.email.lower(),
        customer_name=asked.name,
        reference_prefix=asked.reference,
        metadata={key: value} if key else {},
        needs_review=asked.needs_review,
    )
    said = {one.name: value for one in fields(Filters) if (value := getattr(given, one.name)) not in (None, (), {})}
    if "metadata" in said:
        said["metadata"] = {**reading.metadata, **given.metadata}
    return replace(reading, **said)


def _elsewhere(visit: Visit, text: str) -> str | None:
    """The page of what is no payment, for whoever may see it."""
    prefix, _, rest = text.partition("_")
    room = _ROOMS.get(prefix)
    if ids.from_bare(rest) is None or room not in {one.path for one in visit.rooms}:
        return None
    return f"{room}/{text}"


def _names_one(reading: Filters) -> bool:
    said = {name for name, value in asdict(reading).items() if value not in (None, (), {})}
    return bool(said) and said <= _NAMED


def _before(asked: Asked) -> UUID | None:
    return None if asked.before is None else ids.decode("txn", asked.before)


def _path(row: Transaction) -> str:
    return f"/console/transactions/{ids.encode('txn', row.id)}"


def _row(row: Transaction, places: int, names: Mapping[UUID, str]) -> Mapping[str, Any]:
    return {
        "path": _path(row),
        "partner": names.get(row.partner_id),
        "amount": f"{row.amount:.{places}f}",
        "refunded": f"{row.amount_refunded:.{places}f}" if row.amount_refunded else None,
        "transaction": row,
    }


def _older(visit: Visit, shown: Sequence[Transaction], found: Found) -> str:
    """The query string of the next page, or of the search's next stretch; empty at the end."""
    last = shown[-1].id if len(found.transactions) > PAGE else found.until
    if last is None:
        return ""
    return urlencode({**_given(visit), "before": ids.encode("txn", last)}, doseq=True)


def _given(visit: Visit) -> dict[str, Any]:
    """What was searched for, whichever page of it is seen."""
    return {name: value for name, value in visit.query.items() if name != "before" and value}


def _view(visit: Visit, name: str, query: Mapping[str, str]) -> Mapping[str, Any]:
    path = f"{PATH}?{urlencode(query)}" if query else PATH
    return {"name": name, "path": path, "here": _given(visit) == query}
