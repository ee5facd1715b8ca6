"""From the bytes of a request to a validated model. Everything that can be wrong leaves as a `Problem`.

read (counted, timed) → parse (one pass) → inspect (sizes, characters, card data) → validate. No value is ever repeated.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NoReturn, TypeVar, get_origin
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from starlette.types import Receive

from gateway import telemetry
from gateway.api import card_data
from gateway.api.errors import Problem, invalid

BODY_BYTES_MAX = 65_536
BODY_SECONDS = 20.0
DEPTH_MAX = 20
NAMES_MAX = 200
STRING_MAX = 4_096
INTEGER_MAX = 2**63 - 1  # PostgreSQL's bigint
QUERY_FIELDS_MAX = 100
FIELD_NAME_MAX = 100

# What no field may hold: control characters but tab and line ends, and halves of surrogate pairs.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_METADATA_PARAMETER = re.compile(r"(\w{1,40})\[([^\[\]]{1,40})\]", re.ASCII)


class RequestModel(BaseModel):
    """Base of every request body: unknown fields are refused, nothing is converted."""

    names_max: ClassVar[int] = NAMES_MAX
    """Fields that it may hold, nested ones included."""
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class QueryModel(BaseModel):
    """Base of every query: unknown parameters are refused; text is read as the field's type.

    A field of type list may be given several times; a field of type dict is given as `name[key]=value`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class Empty(RequestModel):
    """The body of a POST that takes none: nothing at all, or `{}`."""


class NoQuery(QueryModel):
    """The query of a route that takes none."""


Model = TypeVar("Model", bound=BaseModel)


async def read(receive: Receive, headers: Mapping[bytes, bytes], media_type: bytes = b"application/json") -> bytes:
    """The whole body, refused as soon as it is known to be too long, too slow, or of another type."""
    length = headers.get(b"content-length", b"")
    if length.isdigit() and (len(length) > 9 or int(length) > BODY_BYTES_MAX):  # noqa: PLR2004 - no int() of a long number
        _refuse_body("payload_too_large")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _receive(receive)
    except TimeoutError:
        _refuse_body("request_timeout")
    if body and headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != media_type:
        raise Problem("unsupported_media_type")
    return body


def parse(body: bytes) -> Any:
    """JSON as RFC 8259 means it: UTF-8, no name twice, no NaN or Infinity."""
    try:
        return _DECODER.decode(body.decode())
    except _Twice:
        raise Problem("malformed_json", "An object names the same field twice.") from None
    except UnicodeDecodeError:
        raise Problem("malformed_json", "The body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        detail = f"The body is not valid JSON: line {error.lineno}, column {error.colno}." if body else "It is empty."
        raise Problem("malformed_json", detail) from None
    except (ValueError, RecursionError):  # NaN, an endless number, endless nesting
        raise Problem("malformed_json", "The body holds a number or a nesting that JSON does not allow.") from None


def inspect(value: Any, names_max: int = NAMES_MAX) -> None:
    """Refuse what is too deep, too much, too long, unprintable, or card data."""
    try:
        _Inspection(names_max).inspect(value, 1)
    except _Refused as refused:
        field = ".".join(refused.path)
        if refused.is_card_data:
            raise _card_data(field) from None
        raise invalid(field, refused.message) from None


def validate(model: type[Model], value: Any) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        errors = [(_field(detail["loc"]), _message(detail)) for detail in details]
        raise Problem("invalid_request", errors=errors) from None


def requires_fields(model: type[BaseModel]) -> bool:
    return any(field.is_required() for field in model.model_fields.values())


def fingerprint(method: str, path: str, value: Any) -> bytes:
    """The same for the same request, however its JSON was spaced and ordered."""
    canonical = _CANONICAL.encode(value)
    return hashlib.sha256(f"{method}\n{path}\n{canonical}".encode()).digest()


def parse_query(model: type[QueryModel], raw: bytes) -> dict[str, Any]:
    """The query's fields, inspected, in the shape `model` expects."""
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=QUERY_FIELDS_MAX,
        )
    except ValueError:
        raise Problem("invalid_request", "The query string cannot be read.") from None
    inspect_pairs(pairs)
    value: dict[str, Any] = {}
    for name, text in pairs:
        _add_parameter(value, name, text, model)
    inspect(value)  # once more, now that name[key] is taken apart
    return value


def inspect_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """The same rules for what is not JSON: query parameters, headers."""
    for name, text in pairs:
        inspect({name: text})


def _add_parameter(value: dict[str, Any], name: str, text: str, model: type[QueryModel]) -> None:
    keyed = _METADATA_PARAMETER.fullmatch(name)
    if keyed and _is_field(model, keyed[1], dict):
        inner = value.setdefault(keyed[1], {})
        if keyed[2] in inner:
            raise invalid(name, "is given twice")
        inner[keyed[2]] = text
    elif takes_several(model, name):
        value.setdefault(name, []).append(text)
    elif name in value:
        raise invalid(name, "is given twice")
    else:
        value[name] = text


def takes_several(model: type[BaseModel], name: str) -> bool:
    return _is_field(model, name, list)


def _is_field(model: type[BaseModel], name: str, kind: type) -> bool:
    field = model.model_fields.get(name)
    return field is not None and (get_origin(field.annotation) or field.annotation) is kind


async def _receive(receive: Receive) -> bytes:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")  # the usual case: one piece
        if len(body) > BODY_BYTES_MAX:
            _refuse_body("payload_too_large")
        return body
    pieces = bytearray()
    while message["type"] == "http.request":
        pieces += message.get("body", b"")
        if len(pieces) > BODY_BYTES_MAX:
            _refuse_body("payload_too_large")
        if not message.get("more_body", False):
            return bytes(pieces)
        message = await receive()
    raise Problem("malformed_json", "The connection was closed before the body was complete.")


def _refuse_body(code: str) -> NoReturn:
    raise Problem(code, headers={"Connection": "close"})  # the rest of the body is not worth reading


class _Twice(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _Twice
    return value


def _no_constant(_name: str) -> NoReturn:
    raise ValueError


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)


_harmless: set[str] = set()
"""Names inspected before: requests repeat theirs. Only what is no card data is ever kept."""
_HARMLESS_MAX, _HARMLESS_LENGTH_MAX = 4_096, 64


class _Refused(Exception):
    def __init__(self, message: str, *, is_card_data: bool = False) -> None:
        self.path: list[str] = []
        self.message = message
        self.is_card_data = is_card_data


class _Inspection:
    """One walk over a parsed value; the path of what is refused is put together on the way back up."""

    def __init__(self, names_max: int) -> None:
        self.names = 0
        self.names_max = names_max

    def inspect(self, value: Any, depth: int) -> None:
        if isinstance(value, str):
            _inspect_text(value)
        elif isinstance(value, dict):
            self._inspect_object(value, depth)
        elif isinstance(value, list):
            self._inspect_list(value, depth)
        elif isinstance(value, int | float):
            _inspect_number(value)

    def _inspect_object(self, value: dict[str, Any], depth: int) -> None:
        if depth > DEPTH_MAX:
            raise _Refused(f"is nested more than {DEPTH_MAX} levels deep")
        self.names += len(value)
        if self.names > self.names_max:
            raise _Refused(f"holds more than {self.names_max} fields in total")
        for name, inner in value.items():
            try:
                _inspect_name(name)
            except _Refused as refused:
                refused.path.insert(
                    0, name[:FIELD_NAME_MAX] if card_data.is_forbidden_name(name) else "(a field's name)"
                )
                raise
            try:
                self.inspect(inner, depth + 1)
            except _Refused as refused:
                refused.path.insert(0, name[:FIELD_NAME_MAX])
                raise

    def _inspect_list(self, value: list[Any], depth: int) -> None:
        if depth > DEPTH_MAX:
            raise _Refused(f"is nested more than {DEPTH_MAX} levels deep")
        for index, inner in enumerate(value):
            try:
                self.inspect(inner, depth + 1)
            except _Refused as refused:
                refused.path.insert(0, str(index))
                raise


def _inspect_text(text: str) -> None:
    if len(text) > STRING_MAX:
        raise _Refused(f"must be at most {STRING_MAX} characters")
    if not text.isprintable() and _FORBIDDEN.search(text):
        raise _Refused("holds a control character")
    if card_data.holds_card_number(text):
        raise _Refused("", is_card_data=True)


def _inspect_name(name: str) -> None:
    if name in _harmless:
        return
    _inspect_text(name)
    if card_data.is_forbidden_name(name):
        raise _Refused("", is_card_data=True)
    if len(name) <= _HARMLESS_LENGTH_MAX and len(_harmless) < _HARMLESS_MAX:
        _harmless.add(name)


def _inspect_number(number: float) -> None:
    if not math.isfinite(number) or abs(number) > INTEGER_MAX:
        raise _Refused("is a number out of range")
    if card_data.is_card_number(str(abs(int(number)))):
        raise _Refused("", is_card_data=True)


def _card_data(field: str) -> Problem:
    telemetry.card_data_refused.inc()
    return Problem("card_data_refused", errors=[(field, "looks like card data; nothing of it was kept")])


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part)[:FIELD_NAME_MAX] for part in location if part != "[key]")  # pydantic's, after the key


def _message(detail: ErrorDetails) -> str:
    """Our own words: pydantic's may repeat the input."""
    context = detail.get("ctx", {})
    if detail["type"] == "value_error":
        return str(context["error"])  # raised by our own field types, which repeat nothing
    return _MESSAGES.get(detail["type"], "is not valid").format_map(context)


_MESSAGES: Mapping[str, str] = {
    "missing": "is required",
    "extra_forbidden": "is not a field of this request",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_type": "must be a string",
    "string_too_short": "must be at least {min_length} characters",
    "string_too_long": "must be at most {max_length} characters",
    "string_pattern_mismatch": "does not have the form this field needs",
    "too_short": "must hold at least {min_length}",
    "too_long": "must hold at most {max_length}",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "url_parsing": "must be a URL",
    "url_scheme": "must be an https URL",
}
