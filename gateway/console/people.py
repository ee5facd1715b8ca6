"""The people of the console, for its admins: who may come in, and as what."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Literal

from pydantic import StringConstraints
from starlette.responses import Response

from db import ids
from db.support_users import SupportRole, SupportUser
from gateway import people
from gateway.api.body import RequestModel
from gateway.api.errors import Problem
from gateway.console.visits import Visit, mistakes
from gateway.people import Invited, People, Refused
from gateway.transactions.commands import NotFound

PEOPLE = "/console/people"
Role = Literal["viewer", "support", "finance", "admin"]


class Invitation(RequestModel):
    email: Annotated[str, StringConstraints(strip_whitespace=True, max_length=people.EMAIL_MAX)]
    name: Annotated[str, StringConstraints(strip_whitespace=True, max_length=people.NAME_MAX)]
    role: Role


class RoleChange(RequestModel):
    role: Role


async def show(visit: Visit) -> Response:
    return await _page(visit)


async def invite(visit: Visit) -> Response:
    try:
        given = visit.read(Invitation)
        invited = await _people(visit).invite(email=given.email, name=given.name, role=SupportRole(given.role))
    except Problem as problem:
        return await _page(visit, wrong=mistakes(problem))
    except Refused as refused:
        return await _page(visit, wrong={"email": _sentence(refused)})
    return await _page(visit, invited=invited)


async def change_role(visit: Visit) -> Response:
    role = SupportRole(visit.read(RoleChange).role)
    work = _people(visit).change_role(visit.id("sup"), role)
    return await _done(visit, work, f"{{}} is {role} now, and signed out everywhere.")


async def disable(visit: Visit) -> Response:
    return await _done(visit, _people(visit).disable(visit.id("sup")), "{} is disabled, and signed out everywhere.")


async def enable(visit: Visit) -> Response:
    return await _done(visit, _people(visit).enable(visit.id("sup")), "{} may sign in again.")


async def reset(visit: Visit) -> Response:
    try:
        invited = await _people(visit).reset(visit.id("sup"))
    except people.NotFound:
        raise NotFound from None
    except Refused as refused:
        return await _page(visit, refused=_sentence(refused))
    return await _page(visit, invited=invited)


async def _done(visit: Visit, work: Awaitable[SupportUser], told: str) -> Response:
    try:
        person = await work
    except people.NotFound:
        raise NotFound from None
    except Refused as refused:
        return await _page(visit, refused=_sentence(refused))
    return await visit.back(PEOPLE, told.format(person.name))


def _people(visit: Visit) -> People:
    return People(visit.console.reading, visit.actor, visit.person.id, visit.whence)


async def _page(
    visit: Visit, *, wrong: dict[str, str] | None = None, refused: str | None = None, invited: Invited | None = None
) -> Response:
    """With the password of whoever was invited or reset: shown once, by this answer."""
    everybody = await _people(visit).all()
    return visit.page(
        "people.html",
        422 if wrong or refused else 200,
        people=[(ids.encode("sup", one.id), one) for one in everybody],
        roles=[(role.value, role.value) for role in SupportRole],
        now=visit.console.acting.clock(),
        wrong=wrong or {},
        refused=refused,
        invited=invited,
    )


def _sentence(refused: Refused) -> str:
    told = str(refused)
    return f"{told[:1].upper()}{told[1:]}."
