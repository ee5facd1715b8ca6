"""A partner's API keys: issued and rotated, each shown once, on the page that answers; and revoked."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, StringConstraints
from starlette.responses import Response

from gateway import partners as desks
from gateway.api import body, fields
from gateway.api.body import RequestModel
from gateway.api.errors import Problem, invalid
from gateway.console import inputs, partners
from gateway.console.inputs import Whole
from gateway.console.visits import Visit
from gateway.partners import Issued, Refused
from gateway.transactions.commands import NotFound

DAYS_MAX, HOURS_MAX = 3_650, 720


class NewKey(RequestModel):
    mode: Literal["test", "live"]
    key_name: Annotated[fields.Line, StringConstraints(max_length=100)] | None = None
    expires_in_days: Annotated[Whole, Field(ge=1, le=DAYS_MAX)] | None = None


class Rotation(RequestModel):
    overlap_hours: Annotated[Whole, Field(ge=0, le=HOURS_MAX)] = 24


async def issue(visit: Visit) -> Response:
    partner_id = partners.partner_of(visit)
    given, scopes = inputs.apart(visit.form, "scope.")
    try:
        wanted = body.validate(NewKey, given)
        if not scopes:
            raise invalid("scopes", "must be one at least")
        days = wanted.expires_in_days
        issued = await visit.desk.issue_key(
            partner_id,
            livemode=wanted.mode == "live",
            scopes=scopes,
            name=wanted.key_name,
            expires_at=visit.console.acting.clock() + timedelta(days=days) if days else None,
        )
    except (Problem, Refused) as error:
        return await partners.shown(visit, partner_id, wrong=inputs.wrong_of(error))
    except desks.NotFound:
        raise NotFound from None
    return _once(visit, issued)


async def rotate(visit: Visit) -> Response:
    key_id = visit.id("key")
    try:
        wanted = visit.read(Rotation)
        issued = await visit.desk.rotate_key(key_id, overlap=timedelta(hours=wanted.overlap_hours))
    except Refused as refused:
        raise Problem("invalid_request", f"Not rotated: {refused}.") from None
    except desks.NotFound:
        raise NotFound from None
    return _once(visit, issued)


async def revoke(visit: Visit) -> Response:
    try:
        key = await visit.desk.revoke_key(visit.id("key"))
    except desks.NotFound:
        raise NotFound from None
    told = f"The key that ends in {key.last4} is revoked: within a second it opens nothing."
    return await visit.back(partners.path_of(key.partner_id), told)


def _once(visit: Visit, issued: Issued) -> Response:
    """The only page that ever shows this key: no store keeps it, and no history."""
    response = visit.page("partner_key.html", 201, issued=issued)
    response.headers["Cache-Control"] = "no-store"
    return response
