"""Every page of the console in one table: who may see it, who may act. What is not listed does not exist."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from db.support_users import SupportRole
from gateway.console import payments, reach, sign_in

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
    """For who has given the password and not yet the second factor."""


ROUTES: Sequence[Route] = (
    Route("GET", "/sign-in", sign_in.ask, None),
    Route("POST", "/sign-in", sign_in.enter, None),
    Route("POST", "/sign-out", sign_in.leave, VIEWER),
    Route("GET", "/", reach.home, VIEWER),
    Route("GET", "/search", payments.find, VIEWER),
    Route("GET", "/reach", reach.choose, VIEWER),
    Route("POST", "/reach", reach.look, VIEWER),
)
