"""The outermost layer: a request's id, clock and log line, and the fields that every answer carries.

What the layers tell each other about one request is its `Exchange`, kept in the ASGI scope.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db import ids
from gateway import telemetry
from gateway.api import addresses, card_data
from gateway.api.calls import Answer, Principal
from gateway.config import Network

_SCOPE_KEY = "paygate"
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_CLIENT_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{8,64}", re.ASCII)
_named = lru_cache(maxsize=4_096)(ids.encode)
_QUIET = frozenset({"/healthz", "/readyz"})
"""Asked every few seconds by whoever watches the process: counted, not logged."""
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"strict-transport-security", b"max-age=63072000; includeSubDomains"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_CSP = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request and its answer, as far as the layers need to know."""

    request_id: str
    ip_address: str | None
    headers: dict[bytes, bytes]
    """The request's; a repeated field is joined by commas, so that two keys are no valid key."""
    began: float
    stopwatch: telemetry.Stopwatch
    match: Any = None
    """Where the path leads (`routes.Match`); None: nowhere."""
    route: str = "unknown"
    """The route's template, for metrics and logs: a path itself may hold anything."""
    money: bool = False
    principal: Principal | None = None
    extra: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Fields that a layer adds to whatever is answered."""
    status: int | None = None
    code: str | None = None


def of(scope: Scope) -> Exchange:
    exchange: Exchange = scope[_SCOPE_KEY]
    return exchange


@dataclass(frozen=True, slots=True)
class Envelope:
    """Begins the exchange, and ends it with the common fields, a metric and a log line."""

    app: ASGIApp
    trusted_proxies: tuple[Network, ...] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        current = self._begin(scope)
        scope[_SCOPE_KEY] = current

        async def send_with_fields(message: Message) -> None:
            if message["type"] == "http.response.start":
                current.status = message["status"]
                message["headers"] = _with_common_fields(message.get("headers", ()), current)
            await send(message)

        try:
            await self.app(scope, receive, send_with_fields)
        finally:
            _record(scope["method"], current)

    def _begin(self, scope: Scope) -> Exchange:
        headers = _joined(scope["headers"])
        peer = scope["client"][0] if scope.get("client") else None
        return Exchange(
            request_id=_request_id(headers.get(b"request-id")),
            ip_address=addresses.client(peer, headers.get(b"x-forwarded-for"), self.trusted_proxies),
            headers=headers,
            began=time.perf_counter(),
            stopwatch=telemetry.start_stopwatch(),
        )


async def send_answer(send: Send, answer: Answer) -> None:
    body = answer.body if isinstance(answer.body, bytes) else dump(answer.body)
    headers = [] if answer.status == 204 else [(b"content-length", b"%d" % len(body))]  # noqa: PLR2004 - RFC 9110
    if body and "Content-Type" not in answer.headers:
        headers.append((b"content-type", b"application/json"))
    for name, value in answer.headers.items():
        if "\r" in value or "\n" in value:
            raise ValueError(f"the header {name} would hold a line end")
        headers.append((name.lower().encode("ascii"), value.encode("ascii")))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def dump(body: object) -> bytes:
    """JSON as the gateway writes it everywhere."""
    return _ENCODER.encode(body).encode()


def _joined(pairs: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    headers = dict(pairs)
    if len(headers) != len(pairs):
        headers = {}
        for name, value in pairs:
            headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


def _request_id(given: bytes | None) -> str:
    if given is not None and _CLIENT_REQUEST_ID.fullmatch(given) and not card_data.holds_card_number(given.decode()):
        return given.decode()
    return ids.encode("req", ids.new())


def _with_common_fields(given: Any, current: Exchange) -> list[tuple[bytes, bytes]]:
    headers: list[tuple[bytes, bytes]] = list(given)
    present = {name for name, _ in headers}
    total = time.perf_counter() - current.began
    psp = current.stopwatch.seconds
    headers += (
        (b"request-id", current.request_id.encode()),
        (b"server-timing", b"gateway;dur=%.2f, psp;dur=%.2f" % (max(total - psp, 0.0) * 1000, psp * 1000)),
        *(pair for pair in SECURITY_HEADERS if pair[0] not in present),
    )
    if _CSP[0] not in present:
        headers.append(_CSP)
    headers += current.extra
    return headers


def _record(method: str, current: Exchange) -> None:
    status = current.status or 0  # 0: no answer went out
    telemetry.observe_request(current.route, method, status, time.perf_counter() - current.began)
    if current.route in _QUIET:
        return
    telemetry.log(
        "request answered",
        request_id=current.request_id,
        method=method,
        route=current.route,
        status=status,
        code=current.code,
        duration_ms=telemetry.milliseconds_since(current.began),
        psp_ms=round(current.stopwatch.seconds * 1000, 2),
        partner_id=current.principal and _named("prt", current.principal.partner_id),
        key_id=current.principal and _named("key", current.principal.key_id),
        ip_address=current.ip_address,
    )
