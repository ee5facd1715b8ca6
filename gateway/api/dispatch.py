"""The innermost layer: from an admitted request to the endpoint's call, and from its answer to the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope, Send

from gateway.api import body, card_data, exchange
from gateway.api.body import RequestModel
from gateway.api.calls import Answer, Call, Principal
from gateway.api.errors import Problem
from gateway.api.exchange import Exchange
from gateway.api.paths import Match, Route
from gateway.runtime import Runtime

KEY_MIN, KEY_MAX = 8, 255
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_HEADER_TEXT_MAX = 255


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Chooses the method's route, reads and validates what was sent, calls the endpoint."""

    runtime: Runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        current = exchange.of(scope)
        if current.match is None:
            raise Problem("not_found")
        if scope["method"] == "OPTIONS":
            answer = Answer(status=204, headers={"Allow": current.match.allow})
        else:
            route = _choose(current.match, scope["method"])
            call = await self._read(route, scope, receive, current)
            answer = await route.endpoint(call)
        await exchange.send_answer(send, answer)

    async def _read(self, route: Route, scope: Scope, receive: Receive, current: Exchange) -> Call:
        assert current.principal is not None, "auth comes before dispatch"
        _require_scope(route, current.principal)
        headers = current.headers
        given = headers.get(b"idempotency-key")
        # Where a key is not asked for, one that is sent is honoured all the same.
        key = idempotency_key(given) if route.keyed or (given is not None and route.method == "POST") else None
        query = _read_query(route, scope["query_string"])
        value, model = await _read_body(route, receive, headers)
        return Call(
            runtime=self.runtime,
            principal=current.principal,
            path=current.match.values,
            body=model,
            query=query,
            key=key,
            fingerprint=body.fingerprint(route.method, scope["path"], value),
            request_id=current.request_id,
            ip_address=current.ip_address,
            user_agent=_user_agent(headers.get(b"user-agent")),
        )


def idempotency_key(given: bytes | None) -> str:
    """8 to 255 visible ASCII characters, one pair of quotes around them taken off."""
    if given is None:
        raise Problem("idempotency_key_missing")
    key = given.strip().decode("latin-1")
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not KEY_MIN <= len(key) <= KEY_MAX or not key.isascii() or not key.isprintable() or " " in key:
        raise Problem("idempotency_key_invalid")
    body.inspect({"Idempotency-Key": key})
    return key


def _user_agent(given: bytes | None) -> str | None:
    """What the audit log keeps of it: text of a bounded length, and no card number whoever wrote one there."""
    text = given.decode("ascii", "replace")[:_HEADER_TEXT_MAX] if given else None
    return None if text is None or card_data.holds_card_number(text) else text


def _choose(match: Match, method: str) -> Route:
    route = match.methods.get("GET" if method == "HEAD" else method)
    if route is None:
        raise Problem("method_not_allowed", headers={"Allow": match.allow})
    return route


def _require_scope(route: Route, principal: Principal) -> None:
    if route.scope is not None and route.scope not in principal.scopes:
        raise Problem("insufficient_scope", scope=route.scope)


def _read_query(route: Route, raw: bytes) -> Any:
    if route.query is not None:
        return body.validate(route.query, body.parse_query(route.query, raw) if raw else {})
    if raw:
        body.validate(body.NoQuery, body.parse_query(body.NoQuery, raw))
    return None


async def _read_body(route: Route, receive: Receive, headers: dict[bytes, bytes]) -> tuple[Any, RequestModel | None]:
    """The JSON as sent, for the fingerprint, and the route's model of it. An absent body counts as `{}`."""
    if route.method not in _WITH_BODY:
        return None, None
    expected = route.body or body.Empty
    raw = await body.read(receive, headers)
    if not raw and not body.requires_fields(expected):
        value: Any = {}
    else:
        value = body.parse(raw)
        body.inspect(value, expected.names_max)
    model = body.validate(expected, value)
    return value, model if route.body else None
