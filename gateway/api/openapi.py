"""/openapi.json (3.1), written from the route table, the models that validate and the types bodies are built as."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from gateway.api.body import BODY_BYTES_MAX
from gateway.api.errors import CODES
from gateway.api.paths import Route

REFERENCE = "#/components/schemas/{model}"
_VARIABLE = re.compile(r"\{(\w+)\}")
_EVERY_ROUTE = (
    "key_in_url",
    "unauthenticated",
    "partner_inactive",
    "rate_limited",
    "internal_error",
    "temporarily_unavailable",
    "invalid_request",  # an unknown query parameter at least
)
_WITH_BODY = (
    "malformed_json",
    "request_timeout",
    "payload_too_large",
    "unsupported_media_type",
    "invalid_request",
    "card_data_refused",
)
_KEYED = (
    "idempotency_key_missing",
    "idempotency_key_invalid",
    "idempotency_in_progress",
    "idempotency_key_reused",
    "card_data_refused",
)
_REASONS = {200: "OK", 201: "Created", 202: "Accepted: not known yet", 204: "No content"}

Schema = dict[str, Any]


def document(routes: Iterable[Route], version: str) -> Schema:
    routes = tuple(routes)
    shapes, definitions = _schemas(routes)
    paths: dict[str, Schema] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, shapes)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Paygate", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "bearerFormat": "sk_test_… or sk_live_…"}},
            "headers": _HEADERS,
            "schemas": definitions | {"Problem": _problem(money=False), "MoneyProblem": _problem(money=True)},
        },
    }


def operation_id(route: Route) -> str:
    """Where the endpoint lives and its name, such as `transactions_create`."""
    return f"{route.endpoint.__module__.rpartition('.')[2]}_{route.endpoint.__name__}"


def codes(route: Route) -> list[str]:
    """Every code this route can answer."""
    found = [*_EVERY_ROUTE, *route.errors]
    if route.scope is not None:
        found.append("insufficient_scope")
    if route.method in {"POST", "PUT", "PATCH"}:
        found += _WITH_BODY
    if route.query is not None:
        found.append("card_data_refused")
    if route.keyed:
        found += _KEYED
    if "{" in route.path:
        found.append("not_found")
    return sorted(set(found), key=lambda code: (CODES[code].status, code))


def _schemas(routes: tuple[Route, ...]) -> tuple[Mapping[tuple[Any, JsonSchemaMode], Schema], Schema]:
    shapes: dict[tuple[Any, JsonSchemaMode], TypeAdapter[Any]] = {}
    for route in routes:
        for asked in (route.body, route.query):
            if asked is not None:
                shapes[asked, "validation"] = TypeAdapter(asked)
        for shape in route.answers.values():
            if shape is not None:
                shapes[shape, "serialization"] = TypeAdapter(shape)
    inputs = [(shape, mode, adapter) for (shape, mode), adapter in shapes.items()]
    found, definitions = TypeAdapter.json_schemas(inputs, ref_template=REFERENCE)
    return found, definitions.get("$defs", {})


def _operation(route: Route, shapes: Mapping[tuple[Any, JsonSchemaMode], Schema]) -> Schema:
    operation: Schema = {
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": _answers(route, shapes) | _problems(route),
    }
    notes = [route.description, f"The key needs the scope `{route.scope}`." if route.scope else ""]
    if any(notes):
        operation["description"] = "\n\n".join(filter(None, notes))
    if route.body is not None:
        content: Schema = {"schema": shapes[route.body, "validation"]}
        if route.example is not None:
            content["example"] = route.example
        required = any(field.is_required() for field in route.body.model_fields.values())
        operation["requestBody"] = {"required": required, "content": {"application/json": content}}
    return operation


def _path_parameters(route: Route) -> list[Schema]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _VARIABLE.findall(route.path)
    ]


def _query_parameters(route: Route) -> list[Schema]:
    if route.query is None:
        return []
    schema = TypeAdapter(route.query).json_schema(ref_template=REFERENCE)
    required = schema.get("required", [])
    return [_query_parameter(name, shape, required=name in required) for name, shape in schema["properties"].items()]


def _query_parameter(name: str, shape: Schema, *, required: bool) -> Schema:
    shape = _without_null(shape)
    parameter: Schema = {"name": name, "in": "query", "required": required, "schema": shape}
    if shape.get("type") == "object":
        parameter |= {"style": "deepObject", "explode": True}
    if "description" in shape:
        parameter["description"] = shape.pop("description")
    return parameter


def _without_null(shape: Schema) -> Schema:
    """A query has no null: what may be left out is simply left out."""
    shape = {name: value for name, value in shape.items() if name not in {"title", "default"} or value is not None}
    kinds = [kind for kind in shape.get("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) == 1:
        del shape["anyOf"]
        shape |= kinds[0]
    return {name: value for name, value in shape.items() if name != "title"}


def _header_parameters(route: Route) -> list[Schema]:
    if not route.keyed:
        return []
    schema = {"type": "string", "minLength": 8, "maxLength": 255, "pattern": "^[\\x21-\\x7e]+$"}
    description = "A new key for a new request, the same key for its repetition: it never executes twice."
    return [{"name": "Idempotency-Key", "in": "header", "required": True, "schema": schema, "description": description}]


def _answers(route: Route, shapes: Mapping[tuple[Any, JsonSchemaMode], Schema]) -> Schema:
    answers: Schema = {}
    for status, shape in route.answers.items():
        answer: Schema = {"description": _REASONS.get(status, "OK"), "headers": _headers(*_COMMON_HEADERS)}
        if shape is not None:
            answer["content"] = {"application/json": {"schema": shapes[shape, "serialization"]}}
        if route.keyed:
            answer["headers"] |= _headers("Idempotent-Replayed")
        if status == 202:  # noqa: PLR2004 - HTTP's own number
            answer["headers"] |= _headers("Location", "Retry-After")
        answers[str(status)] = answer
    return answers


def _problems(route: Route) -> Schema:
    by_status: dict[int, list[str]] = {}
    for code in codes(route):
        by_status.setdefault(CODES[code].status, []).append(code)
    name = "MoneyProblem" if route.money else "Problem"
    return {
        str(status): {
            "description": "; ".join(f"`{code}`: {CODES[code].title}" for code in found),
            "headers": _headers("Request-Id", *(("Retry-After",) if status in {409, 429, 503} else ())),
            "content": {"application/problem+json": {"schema": {"$ref": REFERENCE.format(model=name)}}},
        }
        for status, found in by_status.items()
    }


def _problem(*, money: bool) -> Schema:
    text = {"type": "string"}
    properties: Schema = {
        "type": {**text, "format": "uri-reference"},
        "title": text,
        "status": {"type": "integer"},
        "detail": text,
        "code": {**text, "enum": sorted(CODES)},
        "request_id": text,
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": text, "message": text},
                "required": ["field", "message"],
                "additionalProperties": False,
            },
        },
    }
    required = ["type", "title", "status", "detail", "code", "request_id"]
    if money:
        properties |= {"money_moved": {**text, "enum": ["no", "yes", "unknown"]}, "safe_to_retry": {"type": "boolean"}}
        required += ["money_moved", "safe_to_retry"]
    return {"type": "object", "properties": properties, "required": required}


def _headers(*names: str) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


_COMMON_HEADERS = ("Request-Id", "Server-Timing", "RateLimit-Policy", "RateLimit")
_HEADERS: Schema = {
    name: {"description": description, "schema": {"type": kind}}
    for name, kind, description in (
        ("Request-Id", "string", "`req_…`, or the client's own where it is 8 to 64 safe characters."),
        ("Server-Timing", "string", "The gateway's own time and the PSP's, in milliseconds."),
        ("RateLimit-Policy", "string", 'The quota: `"partner";q=100;w=60` is 100 calls in 60 seconds.'),
        ("RateLimit", "string", 'What is left: `"partner";r=99;t=60`.'),
        ("Retry-After", "integer", "Seconds to wait before the next try."),
        ("Location", "string", "Where to look for the outcome."),
        ("Idempotent-Replayed", "string", "`true` where this is the stored answer to an earlier request."),
    )
}
_DESCRIPTION = f"""\
One API over many payment service providers.

Amounts are strings in major units (`"19.99"`), never numbers. Times are RFC 3339 in UTC with microseconds. Unknown
fields are refused. A body has at most {BODY_BYTES_MAX // 1024} kB. What belongs to another partner or to the other mode
(test/live) is not found.

Every POST that moves money or creates a thing needs an `Idempotency-Key`. Errors are problem documents (RFC 9457) with
a stable `code`; on money operations they also say whether money moved and whether the request may be repeated.
"""
