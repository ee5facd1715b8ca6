"""Coming and going: the password, and the session's cookie."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints
from starlette.responses import RedirectResponse, Response

from db import audit, ids, support_sessions
from gateway import people
from gateway.api.body import RequestModel
from gateway.console import cookies
from gateway.console.visits import Knock, Visit


class Entry(RequestModel):
    email: Annotated[str, StringConstraints(strip_whitespace=True, max_length=255)] = ""
    password: Annotated[str, StringConstraints(max_length=255)] = ""
    then: Annotated[str, StringConstraints(max_length=2_000, pattern=r"^/console(/([^/\\].*)?)?$")] = "/console/"


async def ask(knock: Knock) -> Response:
    return knock.page("sign_in.html", then=knock.query.get("then", "/console/"), wrong=None, email="")


async def enter(knock: Knock) -> Response:
    given = knock.read(Entry)
    person = await people.recognize(knock.console.reading, given.email, given.password)
    if person is None:
        return knock.page(
            "sign_in.html", 401, then=given.then, email=given.email, wrong="The address or the password is wrong."
        )
    token = cookies.fresh()
    async with knock.console.reading.as_system() as connection:
        await support_sessions.begin(
            connection,
            ids.new(),
            token_hash=cookies.hashed(token),
            user_id=person.id,
            verified=True,
            livemode=False,
            ip_address=knock.ip_address,
            user_agent=knock.user_agent,
        )
    response = RedirectResponse(given.then, status_code=303)
    cookies.give(response, token)
    return response


async def leave(visit: Visit) -> Response:
    async with visit.console.reading.as_system() as connection:
        await support_sessions.end(connection, visit.session.id)
        await audit.append(connection, visit.act("console.left", ids.encode("sup", visit.person.id)))
    response = RedirectResponse("/console/sign-in", status_code=303)
    cookies.take_back(response)
    return response
