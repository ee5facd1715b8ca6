"""The partner API's process and the console's: their layers in a fixed order, their doors, their servers.

request id → errors → ┬ /v1 → auth → rate limit → dispatch → endpoint
                      └ pages, PSP notifications, console
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from db import failpoints
from db.database import Role
from gateway import api_keys, doctor, listener, metrics, runtime, telemetry
from gateway.api import auth, dispatch, errors, exchange, pages, paths, rate_limit, routes
from gateway.api.returns import Returns
from gateway.config import Settings
from gateway.console import access, gates
from gateway.console.access import Console
from gateway.runtime import Runtime
from webhooks.inbound import Inbound

_ANY_HOST = frozenset({"/healthz", "/readyz"})
"""Whoever watches the process asks by address."""
_TABLE = paths.Table(routes.ROUTES)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def create_app(
    runtime: Runtime,
    *,
    table: paths.Table | None = None,
    limiter: rate_limit.Limiter | None = None,
    also: Sequence[BaseRoute] = (),
) -> ASGIApp:
    """`also`: what else this process serves without an API key (PSP notifications, the console)."""
    table = table or _TABLE
    settings = runtime.settings
    partner_api = auth.Auth(
        rate_limit.RateLimit(dispatch.Dispatch(runtime), limiter or rate_limit.LocalLimiter()),
        auth.Authenticator(runtime.database, api_keys.Peppers.of(runtime.vault)),
        rate_limit.LocalLimiter(),
        settings.failed_auth_per_minute,
    )
    public = Router([*pages.pages(runtime, table), *_doors(runtime), *also], redirect_slashes=False, default=_not_found)
    doors = Doors(table, partner_api, public, settings.allowed_hosts)
    return exchange.Envelope(errors.Errors(doors), settings.trusted_proxies)


def _doors(runtime: Runtime) -> list[Route]:
    """What PSPs and their customers call, without an API key."""
    inbound = Inbound(
        runtime.database,
        runtime.accounts.opened,
        telemetry.notification_received,
        wake=runtime.notified.set,
        clock=lambda: runtime.clock().timestamp(),
    )
    return [
        Route("/webhooks/{provider}/{account}", inbound.receive, methods=["POST"]),
        Route("/return/{reference}", Returns(runtime).come_back, methods=["GET"]),
    ]


def create_console(console: Console) -> ASGIApp:
    """The console alone: no partner API behind the same port."""
    settings = console.settings
    public = Router([*pages.health(console.acting), *gates.doors(console)], redirect_slashes=False, default=_not_found)
    doors = Doors(paths.Table(()), _not_found, public, settings.allowed_hosts)
    return exchange.Envelope(errors.Errors(doors), settings.trusted_proxies)


async def serve_console(settings: Settings) -> None:
    """Until SIGTERM or SIGINT. Raises as `serve` does."""
    async with access.alone(settings) as console:
        await doctor.refuse_if_unfit(console.acting)
        listening = listener.bind(settings.console_host, settings.console_port)
        server = listener.server(create_console(console), listening, shutdown_seconds=settings.shutdown_seconds)
        telemetry.log("serving", host=settings.console_host, port=settings.console_port)
        await listener.run([server], stop_on=(signal.SIGTERM, signal.SIGINT))


async def serve(settings: Settings, *, also: Sequence[BaseRoute] = ()) -> None:
    """Until SIGTERM or SIGINT. Raises `doctor.Unfit` where serving would be unsafe, `OSError` where a port is taken."""
    async with runtime.opened(settings, Role.APP) as opened:
        await doctor.refuse_if_unfit(opened)
        limiter = _limiter(settings)
        app = create_app(opened, limiter=limiter, also=also)
        servers = [
            listener.server(
                app, listener.bind(settings.host, settings.port), shutdown_seconds=settings.shutdown_seconds
            )
        ]
        if (beside := metrics.server(settings, metrics.API_PORT)) is not None:
            servers.append(beside)
        telemetry.log("serving", host=settings.host, port=settings.port)
        try:
            await listener.run(servers, stop_on=(signal.SIGTERM, signal.SIGINT))
        finally:
            if isinstance(limiter, rate_limit.RedisLimiter):
                await limiter.aclose()


@dataclass(frozen=True, slots=True)
class Doors:
    """Which way a request goes. The partner API's routes are found here, so that every layer knows the route."""

    table: paths.Table
    partner_api: ASGIApp
    public: Router
    allowed_hosts: frozenset[str]
    _known: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for route in self.public.routes:
            path = getattr(route, "path", "")
            self._known["/" + path[1:].partition("/")[0]] = path
            self._known[path] = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        current, path = exchange.of(scope), scope["path"]
        partner_api = path.startswith("/v1/")
        if partner_api and (match := self.table.find(path)) is not None:
            route = match.methods.get(scope["method"])
            current.match, current.route = match, match.template
            current.money = route is not None and route.money
        if self.allowed_hosts and path not in _ANY_HOST:
            self._check_host(current.headers.get(b"host", b""))
        if scope["method"] not in _METHODS:
            raise errors.Problem("method_not_allowed", headers={"Allow": ", ".join(sorted(_METHODS))})
        if partner_api:
            await self.partner_api(scope, receive, send)
        else:
            current.route = self._known.get(path) or self._known.get("/" + path[1:].partition("/")[0], "unknown")
            scope["app"] = self  # Starlette then raises 405 instead of answering it in plain text
            await self.public(scope, receive, send)

    def _check_host(self, given: bytes) -> None:
        name, _, port = given.decode("latin-1").lower().rpartition(":")
        if (name if name and port.isdigit() else given.decode("latin-1").lower()) not in self.allowed_hosts:
            raise errors.Problem("invalid_host")


def _limiter(settings: Settings) -> rate_limit.Limiter:
    local = rate_limit.LocalLimiter()
    return rate_limit.RedisLimiter(settings.redis_url, local) if settings.redis_url else local


async def _not_found(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise errors.Problem("not_found")


def run(settings: Settings) -> int:
    """`paygate serve`."""
    telemetry.configure_logging(settings.log_level)
    failpoints.arm_process(settings.failpoints)
    listener.run_loop(serve(settings))
    return 0


def run_console(settings: Settings) -> int:
    """`paygate console`."""
    telemetry.configure_logging(settings.log_level)
    listener.run_loop(serve_console(settings))
    return 0
