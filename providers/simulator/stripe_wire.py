"""Stripe's wire: bracketed form keys in, parameter checks, error bodies and JSON objects out. No state."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from urllib.parse import parse_qsl

from providers.simulator.faults import FaultKind, Reply

Json = dict[str, object]
Params = Mapping[str, object]

_KEY_PART = re.compile(r"\[([^\[\]]*)\]")


class Refusal(Exception):
    """An error answer. `executed` tells whether it comes from behind the idempotency layer, which then keeps it."""

    def __init__(self, status: int, error: Json, *, executed: bool = True) -> None:
        super().__init__(str(error.get("message")))
        self.status = status
        self.error = error
        self.executed = executed


def invalid(
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    payment: Json | None = None,
    status: int = 400,
    executed: bool = True,
) -> Refusal:
    error: Json = {"type": "invalid_request_error", "message": message}
    error |= {name: value for name, value in (("code", code), ("param", param), ("payment_intent", payment)) if value}
    return Refusal(status, error, executed=executed)


def reply(status: int, body: Json) -> Reply:
    return Reply(status, json.dumps(body, indent=2).encode(), {"Content-Type": "application/json"})


def error_reply(refusal: Refusal) -> Reply:
    return reply(refusal.status, {"error": refusal.error})


def read_form(encoded: str) -> dict[str, object]:
    """`a[b]=1&c[]=x&c[]=y&d[0]=z` → nested mappings and lists; every leaf is text."""
    tree: dict[str, object] = {}
    for key, value in parse_qsl(encoded, keep_blank_values=True):
        head, _, _ = key.partition("[")
        _put(tree, [head, *_KEY_PART.findall(key)], value)
    return {name: _listed(value) for name, value in tree.items()}


def _put(tree: dict[str, object], path: list[str], value: str) -> None:
    *branches, leaf = path
    for branch in branches:
        inner = tree.setdefault(branch, {})
        if not isinstance(inner, dict):
            raise invalid("Invalid hash", param=branch, executed=False)
        tree = inner
    tree[leaf or str(len(tree))] = value


def _listed(value: object) -> object:
    if not isinstance(value, dict):
        return value
    inner = {name: _listed(item) for name, item in value.items()}
    return list(inner.values()) if inner and all(name.isdigit() for name in inner) else inner


class Dialect:
    """Stripe's 429 and 500, and where its answers carry money."""

    def throttled(self) -> Reply:
        error: Json = {"type": "invalid_request_error", "code": "rate_limit", "message": "Too many requests."}
        limited = error_reply(Refusal(429, error))
        return replace(limited, headers=limited.headers | {"Retry-After": "2", "Stripe-Should-Retry": "true"})

    def failed(self) -> Reply:
        return error_reply(Refusal(500, {"type": "api_error", "message": "Something went wrong on Stripe's end."}))

    def falsified(self, reply: Reply, kind: FaultKind) -> Reply:
        body = json.loads(reply.body)
        if kind is FaultKind.WRONG_CURRENCY:
            body["currency"] = "xts"
        else:
            amounts = ("amount", "amount_received", "amount_capturable")
            body |= {name: body[name] + 1 for name in amounts if body.get(name)}
        return replace(reply, body=json.dumps(body).encode())


# --- Parameter checks, all before the idempotency layer ---


def check_known(params: Params, known: Iterable[str]) -> None:
    for name in params:
        if name == "payment_method_types":
            code = "payment_method_types_no_longer_supported"
            raise invalid("payment_method_types is no longer supported.", code=code, param=name, executed=False)
        if name not in known:
            code = "parameter_unknown"
            raise invalid(f"Received unknown parameter: {name}", code=code, param=name, executed=False)


def text(params: Params, name: str, default: str = "") -> str:
    value = params.get(name, default)
    if not isinstance(value, str):
        raise invalid(f"Invalid string: {name}", param=name, executed=False)
    return value


def required(params: Params, name: str) -> str:
    value = text(params, name)
    if not value:
        message = f"Missing required param: {name}."
        raise invalid(message, code="parameter_missing", param=name, executed=False)
    return value


def integer(params: Params, name: str, default: int | None = None) -> int:
    if default is not None and name not in params:
        return default
    value = required(params, name)
    if not re.fullmatch(r"-?[0-9]{1,18}", value):
        code = "parameter_invalid_integer"
        raise invalid(f"Invalid integer: {value}", code=code, param=name, executed=False)
    return int(value)


def flag(params: Params, name: str) -> bool:
    return chosen(params, name, ("false", "true")) == "true"


def chosen(params: Params, name: str, choices: tuple[str, ...]) -> str:
    """One of `choices`, of which the first is the default."""
    value = text(params, name, choices[0])
    if value not in choices:
        raise invalid(f"Invalid {name}: must be one of {', '.join(choices)}", param=name, executed=False)
    return value


def mapping(params: Params, name: str) -> dict[str, str]:
    value = params.get(name) or {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise invalid(f"Invalid hash: {name}", param=name, executed=False)
    return {str(key): str(item) for key, item in value.items()}


def expanded(params: Params) -> frozenset[str]:
    value = params.get("expand") or []
    return frozenset(str(item) for item in value) if isinstance(value, list) else frozenset()


# --- Lists ---

PAGE_SIZE, PAGE_SIZE_MAX = 10, 100


def within(moment: int, window: Mapping[str, str]) -> bool:
    tests: Mapping[str, Callable[[int], bool]] = {
        "gt": lambda bound: moment > bound,
        "gte": lambda bound: moment >= bound,
        "lt": lambda bound: moment < bound,
        "lte": lambda bound: moment <= bound,
    }
    return all(tests[name](integer(window, name)) for name in window if name in tests)


def page(url: str, items: list[Json], params: Params) -> Json:
    """Newest first, after the object `starting_after`."""
    limit = integer(params, "limit", PAGE_SIZE)
    if not 1 <= limit <= PAGE_SIZE_MAX:
        raise invalid("Limit must be between 1 and 100.", param="limit", executed=False)
    after = text(params, "starting_after")
    ids = [item["id"] for item in items]
    if after and after not in ids:
        raise invalid(f"No such object: '{after}'", code="resource_missing", param="starting_after")
    rest = items[ids.index(after) + 1 :] if after else items
    return {"object": "list", "url": url, "has_more": len(rest) > limit, "data": rest[:limit]}
