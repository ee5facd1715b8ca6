"""What this server answers without a key: health, the API's description, keys to verify by, a security contact."""

from __future__ import annotations

import functools
import json
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import asyncpg
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route as Page

from db import schema
from db.database import CommitUncertain, Unavailable
from gateway.api import openapi, reference
from gateway.api.errors import Problem
from gateway.api.paths import Table
from gateway.api.signing_keys import SigningKeys
from gateway.runtime import Runtime

_CACHED = {"Cache-Control": "public, max-age=300"}
SECURITY_TXT_DAYS = 365


def pages(runtime: Runtime, table: Table) -> list[Page]:
    described, page = _described(table)
    errors_page = reference.errors_page()

    async def openapi_json(_request: Request) -> Response:
        return Response(described, media_type="application/json", headers=_CACHED)

    async def docs(_request: Request) -> Response:
        return _html(page)

    async def docs_errors(_request: Request) -> Response:
        return _html(errors_page)

    async def style(_request: Request) -> Response:
        return Response(reference.STYLE, media_type="text/css", headers=_CACHED)

    async def security_txt(_request: Request) -> Response:
        if runtime.settings.security_contact is None:
            raise Problem("not_found")
        return PlainTextResponse(_security_txt(runtime.settings.security_contact, runtime.clock()))

    async def home(_request: Request) -> Response:
        return RedirectResponse("/docs", status_code=307)

    return [
        Page("/", home),
        *health(runtime),
        Page("/openapi.json", openapi_json),
        Page("/docs", docs),
        Page("/docs/errors", docs_errors),
        Page("/docs/style.css", style),
        Page("/.well-known/security.txt", security_txt),
        Page("/.well-known/webhook-signing-keys", SigningKeys(runtime).show),
    ]


def health(runtime: Runtime) -> list[Page]:
    """What whoever watches a process asks it."""

    async def healthz(_request: Request) -> Response:
        return _json({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        wrong = await unready(runtime)
        return _json({"status": "ok"}) if wrong is None else _json({"status": "unavailable", "reason": wrong}, 503)

    return [Page("/healthz", healthz), Page("/readyz", readyz)]


async def unready(runtime: Runtime) -> str | None:
    """Why this process should get no requests; None where it should."""
    try:
        async with runtime.database.statement() as connection:
            revision = await schema.current(connection)
    except (Unavailable, CommitUncertain):
        return "the database cannot be reached"
    except asyncpg.PostgresError as error:
        return f"the database refuses a query: {type(error).__name__}"
    return None if revision == schema.HEAD else "the database needs `paygate migrate`"


@functools.cache
def _described(table: Table) -> tuple[bytes, str]:
    """As JSON and as a page, written once: a route table does not change while the process runs."""
    document = openapi.document(table.routes, version("paygate"))
    return json.dumps(document, ensure_ascii=False, indent=1).encode(), reference.page(document)


def _json(body: dict[str, str], status: int = 200) -> Response:
    return Response(json.dumps(body), status, media_type="application/json")


def _html(page: str) -> Response:
    return HTMLResponse(page, headers={**_CACHED, "Content-Security-Policy": reference.CSP})


def _security_txt(contact: str, now: datetime) -> str:
    expires = (now.astimezone(UTC) + timedelta(days=SECURITY_TXT_DAYS)).replace(microsecond=0)
    return f"Contact: {contact}\nExpires: {expires.isoformat().replace('+00:00', 'Z')}\nPreferred-Languages: en\n"
