"""Every page of the console in one table: who may see it, who may act. What is not listed does not exist."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from db.support_users import SupportRole
from gateway.console import account, payments, people, reach, sign_in

Page = Callable[[Any], Awaitable[Response]]

VIEWER, SUPPORT, FINANCE, ADMIN = SupportRole


@dataclass(frozen=True, slots=True)
class Route:
    """`path` is below /console. `role` is the least that may; None: whoever knocks (see `half`)."""

    method: str
    path: str
    page: Page
    role: SupportRole | None
    half: bool = False
    """For whoever has given the password, and not yet what else a session needs."""


ROUTES: Sequence[Route] = (
    Route("GET", "/sign-in", sign_in.ask, None),
    Route("POST", "/sign-in", sign_in.enter, None),
    Route("POST", "/sign-out", sign_in.leave, None, half=True),
    Route("GET", "/second-factor", sign_in.complete, None, half=True),
    Route("POST", "/second-factor", sign_in.give_code, None, half=True),
    Route("POST", "/second-factor/set-up", sign_in.enrol, None, half=True),
    Route("POST", "/first-password", sign_in.choose_password, None, half=True),
    Route("GET", "/account", account.show, VIEWER),
    Route("POST", "/account/password", account.change_password, VIEWER),
    Route("POST", "/account/second-factor", account.set_up, VIEWER),
    Route("POST", "/account/sessions/end", account.end_others, VIEWER),
    Route("GET", "/people", people.show, ADMIN),
    Route("POST", "/people", people.invite, ADMIN),
    Route("POST", "/people/{id}/role", people.change_role, ADMIN),
    Route("POST", "/people/{id}/reset", people.reset, ADMIN),
    Route("POST", "/people/{id}/disable", people.disable, ADMIN),
    Route("POST", "/people/{id}/enable", people.enable, ADMIN),
    Route("GET", "/", reach.home, VIEWER),
    Route("GET", "/search", payments.find, VIEWER),
    Route("GET", "/reach", reach.choose, VIEWER),
    Route("POST", "/reach", reach.look, VIEWER),
)
