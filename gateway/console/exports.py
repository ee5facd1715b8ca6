"""The pages around exports: what there is, its filters, the download, and how far it is."""

from __future__ import annotations

from pydantic import Field
from starlette.responses import Response

from db import audit, ids
from gateway.api import body
from gateway.api.body import RequestModel
from gateway.api.errors import Problem
from gateway.console import inputs
from gateway.console.export import ROWS_MAX, Download
from gateway.console.listing import Listing, Source
from gateway.console.listings import LISTINGS
from gateway.console.progress import RUNNING_MAX, Progress
from gateway.console.visits import Visit, several
from gateway.transactions.commands import NotFound

ID = "export"
LOOKS_MAX = 100
"""Looks at an export that has not begun, after which a page stops: each counts as the person's presence."""


class Looks(RequestModel):
    looked: inputs.Whole = Field(0)


async def everything(visit: Visit) -> Response:
    return visit.page("exports.html", listings=[(name, one) for name, one in LISTINGS.items() if visit.may(one.role)])


async def ask(visit: Visit) -> Response:
    given = {name: str(text) for name, text in visit.query.items()}
    return _asking(visit, _listing(visit), given)


async def download(visit: Visit) -> Response:
    listing, name = _listing(visit), visit.path["listing"]
    given = {field: text for field, text in visit.form.items() if text.strip()}
    export_id = ids.decode("exp", given.pop(ID, ""))
    try:
        filters = body.validate(listing.filters, several(listing.filters, given))
        source = await listing.open(visit, filters)
    except Problem as problem:
        return _asking(visit, listing, given, inputs.wrong_of(problem))
    progress = Progress(listing=name, person_id=visit.person.id, about=source.about)
    if export_id is None or not visit.console.exports.begin(export_id, progress):
        raise Problem(
            "rate_limited", f"This file is being written already, or {RUNNING_MAX} others are: try again in a moment."
        )
    resource = ids.encode("exp", export_id)
    try:
        await _record(visit, "console.exported", resource, source, list=name, filters=sorted(given))
    except BaseException:
        progress.ended = True  # nobody takes what nobody may know of; its place is free again
        raise

    async def ended(progress: Progress) -> None:
        told = {"list": name, "rows": progress.rows, "complete": progress.complete}
        await visit.console.acting.carry_out(_record(visit, "console.export_ended", resource, source, **told))

    at = visit.console.acting.clock().strftime("%Y-%m-%d-%H%M%S")
    return Download(listing.columns, source.batches, progress, name=f"paygate-{name}-{at}.csv", ended=ended)


async def progress(visit: Visit) -> Response:
    export_id = visit.id("exp")
    looked = visit.read_query(Looks).looked
    return visit.page(
        "export_progress.html",
        id=export_id,
        progress=visit.console.exports.of(export_id, visit.person.id),
        looked=looked + 1,
        watching=looked < LOOKS_MAX,
    )


def _listing(visit: Visit) -> Listing:
    found = LISTINGS.get(visit.path["listing"])
    if found is None:
        raise NotFound
    if not visit.may(found.role):
        raise Problem("insufficient_scope", f"This needs the role {found.role}; yours is {visit.person.role}.")
    return found


def _asking(visit: Visit, listing: Listing, given: dict[str, str], wrong: dict[str, str] | None = None) -> Response:
    return visit.page(
        "export.html",
        422 if wrong else 200,
        listing=listing,
        name=visit.path["listing"],
        given=given,
        wrong=wrong or {},
        id=ids.new(),
        rows_max=ROWS_MAX,
    )


async def _record(visit: Visit, action: str, export: str, source: Source, **changes: object) -> None:
    """Filters by name only: what people look for may be personal."""
    async with visit.console.reading.as_system() as connection:
        await audit.append(connection, visit.act(action, export, source.partner_id, **changes))
