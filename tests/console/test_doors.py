"""Every door of the console, tried by everybody who may not pass it."""

from __future__ import annotations

import hashlib
import re

import pytest

from db import ids
from db.support_users import SupportRole
from gateway.console import rendering
from gateway.console.routes import ROUTES, Route
from tests.support_desk import Browser, Clerk, SupportDesk

INSIDE = [route for route in ROUTES if route.role is not None]
PUBLIC = {("GET", "/sign-in"), ("POST", "/sign-in")}
HALF = {
    *(("GET", "/second-factor"), ("POST", "/second-factor"), ("POST", "/second-factor/set-up")),
    *(("POST", "/first-password"), ("POST", "/sign-out")),
}
HTMX = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
"""2.0.11, as its authors publish it."""


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def address(route: Route) -> str:
    return "/console" + route.path.replace("{id}", ids.encode("sup", ids.new()))


async def send(browser: Browser, route: Route, **headers: str) -> int:
    if route.method == "GET":
        return (await browser.get(address(route), headers=headers)).status_code
    return (await browser.post(address(route), headers=headers)).status_code


@pytest.fixture(scope="module")
async def clerks(shared_support: SupportDesk) -> dict[SupportRole, Clerk]:
    return {role: await shared_support.clerk(role) for role in SupportRole}


def test_whoever_knocks_reaches_what_is_listed_here_only() -> None:
    assert {(route.method, route.path) for route in ROUTES if route.role is None and not route.half} == PUBLIC
    assert {(route.method, route.path) for route in ROUTES if route.half} == HALF
    assert all(route.method in {"GET", "POST"} for route in ROUTES)


@pytest.mark.parametrize("route", INSIDE, ids=name)
async def test_a_page_opens_from_its_role_on(clerks: dict[SupportRole, Clerk], route: Route) -> None:
    assert route.role is not None
    for role, clerk in clerks.items():
        if role.reaches(route.role):
            continue
        assert await send(clerk, route) == 403, role


@pytest.mark.parametrize("route", INSIDE, ids=name)
async def test_a_page_opens_for_nobody_who_has_not_signed_in(shared_support: SupportDesk, route: Route) -> None:
    browser = shared_support.browser()
    for cookie in (None, "", "x" * 43, '"quoted"'):
        browser.cookie = cookie
        answer = await (browser.get if route.method == "GET" else browser.post)(address(route))
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/console/sign-in")


@pytest.mark.parametrize(
    "route", [route for route in INSIDE if route.method == "GET" and "{" not in route.path], ids=name
)
async def test_a_page_opens_for_an_admin(clerks: dict[SupportRole, Clerk], route: Route) -> None:
    assert await send(clerks[SupportRole.ADMIN], route) in {200, 303}


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method == "POST"], ids=name)
async def test_a_form_of_another_site_is_refused(clerks: dict[SupportRole, Clerk], route: Route) -> None:
    admin = clerks[SupportRole.ADMIN]
    assert await send(admin, route, Origin="https://evil.example") == 422
    assert await send(admin, route, **{"Sec-Fetch-Site": "cross-site"}) == 422
    assert await send(admin, route, **{"Sec-Fetch-Site": "same-site"}) == 422
    assert await send(admin, route, Origin="null") == 422


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.method == "POST" and (route.role or route.half)], ids=name
)
async def test_a_form_without_its_token_is_refused(clerks: dict[SupportRole, Clerk], route: Route) -> None:
    admin, other = clerks[SupportRole.ADMIN], clerks[SupportRole.VIEWER]
    for token in ("", admin.csrf[:-1], other.csrf, "é" * 43):
        answer = await admin.post(address(route), {"csrf": token})
        assert (answer.status_code, "too old" in answer.text) == (422, True)


async def test_every_page_says_what_it_may_load(clerks: dict[SupportRole, Clerk]) -> None:
    for answer in (
        await clerks[SupportRole.ADMIN].get("/console/people"),
        await clerks[SupportRole.VIEWER].get("/console/people"),
    ):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'nonce-")
        assert "unsafe" not in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert not re.search(r"<[^>]+\s(style|on\w+)=", answer.text)


async def test_what_is_served_to_browsers_is_what_its_authors_published() -> None:
    assert hashlib.sha256(rendering.STATIC["htmx.min.js"]).hexdigest() == HTMX
