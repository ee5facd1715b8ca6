"""The way into every page: headers, the session behind the cookie, CSRF, the person's role; and failures as pages."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, compile_path
from starlette.routing import Route as Door
from starlette.types import Receive, Scope, Send

from db import support_sessions
from db.support_sessions import SupportSession
from db.support_users import SupportUser
from gateway.api import body, exchange
from gateway.api.errors import CODES, Problem, translated
from gateway.console import cookies, rendering
from gateway.console.access import Console
from gateway.console.routes import ROUTES, Route
from gateway.console.visits import Knock, NowhereToLook, Visit

SIGN_IN, SECOND_FACTOR, REACH = "/console/sign-in", "/console/second-factor", "/console/reach"
FORM_FIELDS_MAX = 200
_FORM = b"application/x-www-form-urlencoded"
_CSRF_FIELD = "csrf"
_SAME_SITES = {"same-origin", "none"}
_FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}
_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class NotSignedIn(Exception):
    """The cookie names no session, or one that is over, or the page asks for more than its half."""

    def __init__(self, where: str = SIGN_IN) -> None:
        super().__init__(where)
        self.where = where


@dataclass(slots=True)
class Gates:
    """The console as one application, mounted at /console."""

    console: Console
    routes: Sequence[Route] = ROUTES
    _table: list[tuple[re.Pattern[str], Route]] = field(init=False)

    def __post_init__(self) -> None:
        self._table = [(compile_path(route.path)[0], route) for route in self.routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        current = exchange.of(scope)
        request = Request(scope, receive)
        nonce = secrets.token_urlsafe(16)
        try:
            response = await self._answer(request, current, nonce)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a page; what is unexpected is logged
            response = _failed(error, request, current)
        if "content-security-policy" not in response.headers:
            response.headers.update(_security(nonce))
        await response(scope, receive, send)

    async def _answer(self, request: Request, current: exchange.Exchange, nonce: str) -> Response:
        path = request.url.path.removeprefix("/console") or "/"
        if path.startswith("/static/"):
            current.route = "/console/static"
            return _static(path)
        route, values = self._find(request.method, path)
        current.route = "/console" + route.path
        if request.method == "POST":
            _check_origin(request)
        form = await _form(request, current, route.documents) if request.method == "POST" else {}
        token = form.pop(_CSRF_FIELD, "")
        seen: dict[str, Any] = {
            "console": self.console,
            "method": request.method,
            "address": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
            "path": values,
            "query": _query(request),
            "form": form,
            "nonce": nonce,
            "fragment": request.headers.get("hx-request") == "true" and "hx-boosted" not in request.headers,
            "request_id": current.request_id,
            "ip_address": current.ip_address,
            "user_agent": request.headers.get("user-agent", "")[:255] or None,
        }
        if route.role is None and not route.half:
            return await route.page(Knock(**seen))
        session, person = await self._session(request)
        if not session.verified and not route.half:
            raise NotSignedIn(SECOND_FACTOR)
        csrf = _csrf(self.console, session)
        if request.method == "POST" and not hmac.compare_digest(token.encode(), csrf.encode()):
            raise Problem(
                "invalid_request", "This form is too old: go back, load the page again, and send it once more."
            )
        if route.role is not None and not person.role.reaches(route.role):
            raise Problem("insufficient_scope", f"This needs the role {route.role}; yours is {person.role}.")
        return await route.page(Visit(**seen, session=session, person=person, csrf=csrf))

    def _find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        allowed = []
        for pattern, route in self._table:
            if match := pattern.match(path):
                if route.method == method or (route.method == "GET" and method == "HEAD"):
                    return route, match.groupdict()
                allowed.append(route.method)
        if allowed:
            raise Problem("method_not_allowed", headers={"Allow": ", ".join(allowed)})
        raise Problem("not_found")

    async def _session(self, request: Request) -> tuple[SupportSession, SupportUser]:
        token = request.cookies.get(cookies.NAME)
        if not token:
            raise NotSignedIn
        async with self.console.reading.as_system() as connection:
            found = await support_sessions.use(connection, cookies.hashed(token))
        if found is None:
            raise NotSignedIn
        return found


def doors(console: Console) -> list[BaseRoute]:
    """To be served beside others: `gateway.app`."""

    async def enter(_request: Request) -> Response:
        return RedirectResponse("/console/", status_code=307)

    return [Door("/console", enter, methods=["GET"]), Mount("/console", app=Gates(console))]


def _static(path: str) -> Response:
    _, _, version, name = path.split("/", 3) if path.count("/") >= 3 else ("", "", "", "")  # noqa: PLR2004 - /static/version/name
    if rendering.VERSIONS.get(name) != version:
        raise Problem("not_found")
    return Response(
        rendering.STATIC[name],
        media_type=_TYPES[name.rpartition(".")[2]],
        headers=_FOREVER | {"Content-Security-Policy": "default-src 'none'"},
    )


def _check_origin(request: Request) -> None:
    """A browser names the page that a form was sent from: it must be one of ours."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    ours = origin is None or urlsplit(origin).netloc == request.headers.get("host", "")
    if not ours or (site is not None and site not in _SAME_SITES):
        raise Problem("invalid_request", "Another site sent this form.")


async def _form(request: Request, current: exchange.Exchange, documents: Collection[str]) -> dict[str, str]:
    raw = await body.read(request.receive, current.headers, _FORM)
    pairs = _pairs(raw.decode("ascii", "replace"))
    body.inspect_pairs(pair for pair in pairs if pair[0] not in documents)
    return dict(pairs)


def _query(request: Request) -> dict[str, Any]:
    pairs = _pairs(request.url.query)
    body.inspect_pairs(pairs)
    query: dict[str, Any] = {}
    for name, text in pairs:
        if name in query:
            query[name] = [*query[name], text] if isinstance(query[name], list) else [query[name], text]
        else:
            query[name] = text
    return query


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FORM_FIELDS_MAX)
    except ValueError:
        raise Problem("invalid_request", "What was sent cannot be read.") from None


def _csrf(console: Console, session: SupportSession) -> str:
    digest = hmac.digest(console.acting.vault.derive("console-csrf"), session.id.bytes, hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _security(nonce: str) -> dict[str, str]:
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self' data:; "
            "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        ),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
        "Referrer-Policy": "same-origin",  # under no-referrer a browser sends `Origin: null` even with our own forms
    }


def _failed(error: BaseException, request: Request, current: exchange.Exchange) -> Response:
    then = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if isinstance(error, NotSignedIn):
        return _elsewhere(request, error.where, then)
    if isinstance(error, NowhereToLook):
        return _elsewhere(request, REACH, then)
    problem = translated(error, current)
    known = CODES[problem.code]
    context = {
        "title": known.title,
        "told": problem.detail or known.meaning,
        "errors": problem.errors,
        "request_id": current.request_id,
    }
    html = rendering.render("problem.html", context, part=request.headers.get("hx-request") == "true")
    return HTMLResponse(html, problem.status, headers=dict(problem.headers))


def _elsewhere(request: Request, where: str, then: str) -> Response:
    """Another page first, and back to this one after it. A form that was sent is not sent again by itself."""
    target = f"{where}?{urlencode({'then': then})}" if request.method == "GET" else where
    if request.headers.get("hx-request") == "true":
        return Response(status_code=204, headers={"HX-Redirect": target})
    return RedirectResponse(target, status_code=303)
