"""Whose payments a person looks at: one partner's, or for a reason all partners'. The audit log keeps both."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints
from starlette.responses import RedirectResponse, Response

from db import audit, ids, partners, support_sessions
from gateway.api.body import RequestModel
from gateway.api.errors import Problem, invalid
from gateway.console.inputs import Named
from gateway.console.visits import HOME, Visit, inside, mistakes

CHOICES_MAX = 100
"""Of more partners the newest are offered; the others are found by name, e-mail address or id."""
REASON_MIN, REASON_MAX = 10, 255


class Reach(RequestModel):
    """`partner`: whose; absent: all partners', with a reason. `then`: the page to go on with."""

    partner: Annotated[str, StringConstraints(max_length=40)] | None = None
    reason: (
        Annotated[str, StringConstraints(strip_whitespace=True, min_length=REASON_MIN, max_length=REASON_MAX)] | None
    ) = None
    mode: Literal["test", "live"]
    then: str = HOME


class Choosing(RequestModel):
    then: str = HOME
    named: Named | None = None


async def home(_visit: Visit) -> Response:
    return RedirectResponse("/console/search", status_code=303)


async def choose(visit: Visit) -> Response:
    query = visit.read_query(Choosing)
    return await _choosing(visit, then=inside(query.then), named=query.named)


async def look(visit: Visit) -> Response:
    try:
        wanted = visit.read(Reach)
        async with visit.console.reading.as_system() as connection:
            livemode = wanted.mode == "live"
            if wanted.partner is not None:
                partner_id = ids.decode("prt", wanted.partner)
                partner = None if partner_id is None else await partners.find(connection, partner_id)
                if partner is None:
                    raise invalid("partner", "is not one of ours")
                await support_sessions.look_at(connection, visit.session.id, partner_id=partner.id, livemode=livemode)
                act = visit.act("console.entered", wanted.partner, partner.id, mode=wanted.mode)
            elif wanted.reason is not None:
                await support_sessions.look_across(
                    connection, visit.session.id, reason=wanted.reason, livemode=livemode
                )
                act = visit.act("console.crossed", "partners", reason=wanted.reason, mode=wanted.mode)
            else:
                raise invalid("reason", "is needed to read across partners")
            await audit.append(connection, act)
    except Problem as problem:
        return await _choosing(visit, then=inside(visit.form.get("then")), wrong=mistakes(problem))
    return RedirectResponse(inside(wanted.then), status_code=303)


async def _choosing(
    visit: Visit, *, then: str, named: str | None = None, wrong: dict[str, str] | None = None
) -> Response:
    async with visit.console.reading.as_system() as connection:
        known = await partners.newest(connection, CHOICES_MAX + 1, named=named)
    return visit.page(
        "reach.html",
        422 if wrong else 200,
        choices=[(ids.encode("prt", partner.id), partner.name) for partner in known[:CHOICES_MAX]],
        more=len(known) > CHOICES_MAX,
        named=named or "",
        then=then,
        wrong=wrong or {},
    )
