"""Coming and going: the password, what else is missing until a session is open, and the session's cookie."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from pydantic import StringConstraints
from starlette.responses import RedirectResponse, Response

from db import audit, ids, support_sessions
from gateway.api import addresses
from gateway.api.body import RequestModel
from gateway.api.errors import Problem, invalid
from gateway.api.rate_limit import Standing
from gateway.console import cookies
from gateway.console.porter import Entered, Missing, Porter, Proposal, Wrong
from gateway.console.visits import HOME, Knock, Visit, inside, mistakes

Secret = Annotated[str, StringConstraints(max_length=255)]
Code = Annotated[str, StringConstraints(max_length=20)]
Sealed = Annotated[str, StringConstraints(max_length=200)]


class Entry(RequestModel):
    email: Annotated[str, StringConstraints(strip_whitespace=True, max_length=255)] = ""
    password: Secret = ""
    then: str = HOME


class Password(RequestModel):
    password: Secret = ""
    repeated: Secret = ""
    then: str = HOME


class CodeGiven(RequestModel):
    code: Code = ""
    then: str = HOME


class Confirmation(CodeGiven):
    sealed: Sealed


# ── The password ────────────────────────────────────────────────────────────────────────────────────────────────────


async def ask(knock: Knock) -> Response:
    return knock.page("sign_in.html", then=inside(knock.query.get("then")), wrong=None, email="")


async def enter(knock: Knock) -> Response:
    given = knock.read(Entry)
    refuse_floods(knock)
    try:
        entered = await porter(knock).enter(given.email, given.password)
    except Wrong:
        count_failure(knock)
        told = "The address or the password is wrong."
        return knock.page("sign_in.html", 401, then=inside(given.then), email=given.email, wrong=told)
    return let_in(entered, given.then)


async def leave(visit: Visit) -> Response:
    async with visit.console.reading.as_system() as connection:
        await support_sessions.end(connection, visit.session.id)
        await audit.append(connection, visit.act("support_user.signed_out", ids.encode("sup", visit.person.id)))
    response = RedirectResponse("/console/sign-in", status_code=303)
    cookies.take_back(response)
    return response


# ── What is missing ─────────────────────────────────────────────────────────────────────────────────────────────────


async def complete(visit: Visit) -> Response:
    """The form for what this session lacks."""
    then = inside(visit.query.get("then"))
    match missing(visit):
        case Missing.PASSWORD:
            return visit.page("first_password.html", then=then, wrong={})
        case Missing.CODE:
            return visit.page("second_factor.html", then=then, wrong=None)
        case Missing.SECOND_FACTOR:
            return show(visit, porter(visit).proposal(visit.session), then)
        case None:
            return RedirectResponse(then, status_code=303)


async def choose_password(visit: Visit) -> Response:
    given = visit.read(Password)
    if missing(visit) is not Missing.PASSWORD:
        return RedirectResponse(HOME, status_code=303)
    try:
        agree(given.password, given.repeated)
        entered = await porter(visit).first_password(visit.session, visit.person, given.password)
    except Problem as problem:
        return visit.page("first_password.html", 422, then=inside(given.then), wrong=mistakes(problem))
    return let_in(entered, given.then)


async def give_code(visit: Visit) -> Response:
    given = visit.read(CodeGiven)
    if missing(visit) is not Missing.CODE:
        return RedirectResponse(HOME, status_code=303)
    refuse_floods(visit)
    try:
        code, now = digits(given.code), visit.console.acting.clock()
        entered = await porter(visit).check_code(visit.session, visit.person, code, now)
    except Wrong:
        count_failure(visit)
        told = "The code is wrong, or was used already."
        return visit.page("second_factor.html", 401, then=inside(given.then), wrong=told)
    return let_in(entered, given.then)


async def enrol(visit: Visit) -> Response:
    """Of a session that lacks it, or of one that is open and got the proposal for its password."""
    given = visit.read(Confirmation)
    if missing(visit) in {Missing.PASSWORD, Missing.CODE}:
        return RedirectResponse("/console/second-factor", status_code=303)
    proposal = porter(visit).proposed(visit.session, given.sealed)
    try:
        code, now = digits(given.code), visit.console.acting.clock()
        entered = await porter(visit).enrol(visit.session, visit.person, proposal, code, now)
    except Problem as problem:
        return show(visit, proposal, inside(given.then), mistakes(problem))
    return let_in(entered, given.then)


def show(visit: Visit, proposal: Proposal, then: str, wrong: dict[str, str] | None = None) -> Response:
    """The secret as a picture and as text, and the field for the code that proves that it was taken over."""
    return visit.page(
        "set_up.html",
        422 if wrong else 200,
        picture=proposal.factor.picture(visit.person.email),
        secret=proposal.factor.text,
        sealed=proposal.sealed,
        then=then,
        wrong=wrong or {},
    )


# ── What these pages and that of one's account share ────────────────────────────────────────────────────────────────


def porter(knock: Knock) -> Porter:
    console = knock.console
    return Porter(
        reading=console.reading,
        vault=console.acting.vault,
        strict=console.settings.console_second_factor,
        whence=knock.whence,
    )


def missing(visit: Visit) -> Missing | None:
    return porter(visit).missing(visit.person, verified=visit.session.verified)


def let_in(entered: Entered, then: str) -> Response:
    """With the new session's cookie, in the place of whichever the browser brought."""
    then = inside(then)
    target = then if entered.verified else f"/console/second-factor?{urlencode({'then': then})}"
    response = RedirectResponse(target, status_code=303)
    cookies.give(response, entered.token)
    return response


def agree(password: str, repeated: str) -> None:
    if password != repeated:
        raise invalid("repeated", "is not the same")


def digits(code: str) -> str:
    """Apps show them in groups."""
    return "".join(code.split())


def refuse_floods(knock: Knock) -> None:
    """Of failures from one address. Raises `Problem`."""
    if knock.console.failures.is_full(_address(knock), knock.console.settings.failed_auth_per_minute):
        raise _too_many(_count(knock))


def count_failure(knock: Knock) -> None:
    _count(knock)


def _count(knock: Knock) -> Standing:
    return knock.console.failures.count(_address(knock), knock.console.settings.failed_auth_per_minute)


def _too_many(standing: Standing) -> Problem:
    return Problem("rate_limited", "Too many failed attempts.", headers={"Retry-After": str(standing.reset_seconds)})


def _address(knock: Knock) -> str:
    return addresses.neighbourhood(knock.ip_address or "")
