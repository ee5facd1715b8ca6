"""One's own account: the password, the second factor, and where one is signed in."""

from __future__ import annotations

from starlette.responses import Response

from db import audit, ids, support_sessions
from gateway.api.body import RequestModel
from gateway.api.errors import Problem
from gateway.console import sign_in
from gateway.console.porter import Wrong
from gateway.console.sign_in import Secret
from gateway.console.visits import Visit, mistakes

ACCOUNT = "/console/account"
_NOT_YOURS = "This is not your password, or there were too many tries."


class Change(RequestModel):
    current: Secret = ""
    password: Secret = ""
    repeated: Secret = ""


class Proof(RequestModel):
    proof: Secret = ""


async def show(visit: Visit) -> Response:
    return await _page(visit)


async def change_password(visit: Visit) -> Response:
    given = visit.read(Change)
    sign_in.refuse_floods(visit)
    try:
        sign_in.agree(given.password, given.repeated)
        entered = await sign_in.porter(visit).change_password(
            visit.session, visit.person, given.current, given.password
        )
    except Wrong:
        sign_in.count_failure(visit)
        return await _page(visit, {"current": _NOT_YOURS})
    except Problem as problem:
        return await _page(visit, mistakes(problem))
    return sign_in.let_in(entered, ACCOUNT)


async def set_up(visit: Visit) -> Response:
    """Another second factor, for whoever knows the password: a browser left alone must not be enough."""
    given = visit.read(Proof)
    sign_in.refuse_floods(visit)
    try:
        proposal = await sign_in.porter(visit).propose(visit.session, visit.person, given.proof)
    except Wrong:
        sign_in.count_failure(visit)
        return await _page(visit, {"proof": _NOT_YOURS})
    return sign_in.show(visit, proposal, ACCOUNT)


async def end_others(visit: Visit) -> Response:
    async with visit.console.reading.as_system() as connection:
        count = await support_sessions.end_all(connection, visit.person.id, but=visit.session.id)
        act = visit.act("support_user.sessions_ended", ids.encode("sup", visit.person.id), count=count)
        await audit.append(connection, act)
    return await visit.back(ACCOUNT, f"Ended: {count}. This one goes on.")


async def _page(visit: Visit, wrong: dict[str, str] | None = None) -> Response:
    async with visit.console.reading.as_system() as connection:
        sessions = await support_sessions.open_ones(connection, visit.person.id)
    return visit.page("account.html", 422 if wrong else 200, sessions=sessions, wrong=wrong or {})
