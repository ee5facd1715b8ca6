"""PayPal's wire: JSON bodies and headers in, error bodies, money and ids out. No state."""

from __future__ import annotations

import json
import re
import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from providers.simulator.faults import Reply

Json = dict[str, object]

WHOLE_UNITS = frozenset({"HUF", "JPY", "TWD"})
CURRENCIES = frozenset({
    "AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "ILS", "INR", "JPY", "MXN", "MYR",
    "NOK", "NZD", "PHP", "PLN", "SEK", "SGD", "THB", "TWD", "USD",
})  # fmt: skip

_NAMES: Mapping[int, tuple[str, str]] = {
    400: ("INVALID_REQUEST", "Request is not well-formed, syntactically incorrect, or violates schema."),
    401: (
        "AUTHENTICATION_FAILURE",
        "Authentication failed due to missing authorization header, or invalid authentication credentials.",
    ),
    403: ("NOT_AUTHORIZED", "Authorization failed due to insufficient permissions."),
    404: ("RESOURCE_NOT_FOUND", "The specified resource does not exist."),
    409: ("RESOURCE_CONFLICT", "The server has detected a conflict while processing this request."),
    422: (
        "UNPROCESSABLE_ENTITY",
        "The requested action could not be performed, semantically incorrect, or failed business validation.",
    ),
    429: ("RATE_LIMIT_REACHED", "Too many requests. Blocked due to rate limiting."),
    500: ("INTERNAL_SERVER_ERROR", "An internal server error occurred."),
    503: ("SERVICE_UNAVAILABLE", "Service Unavailable."),
}

_STATUSES: Mapping[str, int] = {
    "CONSENT_NEEDED": 403,
    "INTERNAL_SERVER_ERROR": 500,
    "INTERNAL_SERVICE_ERROR": 500,
    "INVALID_PARAMETER_SYNTAX": 400,
    "INVALID_PARAMETER_VALUE": 400,
    "INVALID_RESOURCE_ID": 404,
    "MALFORMED_REQUEST_JSON": 400,
    "MISSING_REQUIRED_PARAMETER": 400,
    "PAYPAL_REQUEST_ID_REQUIRED": 400,
    "PERMISSION_DENIED": 403,
    "PREVIOUS_REQUEST_IN_PROGRESS": 409,
    "RATE_LIMIT_REACHED": 429,
    "SERVICE_UNAVAILABLE": 503,
}
"""Every other issue comes with 422."""


@dataclass(frozen=True, slots=True)
class Call:
    """One signed-in call; `raw` are the very bytes that came."""

    id: str
    path: str
    query: Mapping[str, str]
    body: Json
    raw: bytes
    key: str | None
    base_url: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What a call leads to: `body` is the thing as it is whenever it is asked for; None shows nothing."""

    body: Callable[[], Json | None]
    first: int = 200
    again: int = 200


class Refusal(Exception):
    """An error answer, told by its issue; `url` is the link of relation `redirect` that some carry."""

    def __init__(self, issue: str, *, field: str | None = None, value: str | None = None, url: str | None = None):
        super().__init__(issue)
        self.issue = issue
        self.status = _STATUSES.get(issue, 422)
        self.field = field
        self.value = value
        self.url = url


def reply(status: int, body: Json | None) -> Reply:
    if body is None:
        return Reply(status, b"", {})
    return Reply(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


def error_reply(refusal: Refusal) -> Reply:
    name, message = _NAMES[refusal.status]
    debug_id = secrets.token_hex(7)
    body: Json = {"name": name, "message": message, "debug_id": debug_id}
    if refusal.status not in (401, 429, 500, 503):
        detail: Json = {"issue": refusal.issue}  # PayPal's also describes it, in words that are its own
        named = ("field", refusal.field), ("value", refusal.value), ("location", "body" if refusal.field else None)
        body["details"] = [detail | {name: value for name, value in named if value}]
    href = f"https://developer.paypal.com/docs/api/orders/v2/#error-{refusal.issue}"
    links: list[Json] = [{"href": href, "rel": "information_link", "method": "GET"}]
    if refusal.url:
        links.append({"href": refusal.url, "rel": "redirect", "method": "GET"})
    return reply(refusal.status, body | {"links": links})


def read_json(content: bytes) -> Json:
    """The body as an object; PayPal takes an empty one for {}."""
    if not content:
        return {}
    try:
        read = json.loads(content)
    except ValueError:
        raise Refusal("MALFORMED_REQUEST_JSON") from None
    if not isinstance(read, dict):
        raise Refusal("MALFORMED_REQUEST_JSON")
    return read


def inner(thing: object, *path: str) -> Json:
    for name in path:
        thing = thing.get(name) if isinstance(thing, dict) else None
    return thing if isinstance(thing, dict) else {}


def text(thing: Json, name: str, *, most: int = 127) -> str:
    value = thing.get(name, "")
    if not isinstance(value, str):
        raise Refusal("INVALID_PARAMETER_SYNTAX", field=f"/{name}")
    if len(value) > most:
        raise Refusal("INVALID_STRING_LENGTH", field=f"/{name}")
    return value


def read_money(thing: Json, field: str) -> tuple[Decimal, str]:
    amount, currency = text(thing, "value", most=32), text(thing, "currency_code")
    if not amount or not currency:
        raise Refusal("MISSING_REQUIRED_PARAMETER", field=field)
    if currency not in CURRENCIES:
        raise Refusal("INVALID_CURRENCY_CODE", field=field, value=currency)
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", amount):
        raise Refusal("INVALID_PARAMETER_SYNTAX", field=field, value=amount)
    decimals = len(amount.partition(".")[2])
    if currency in WHOLE_UNITS and decimals and set(amount.partition(".")[2]) != {"0"}:
        raise Refusal("DECIMALS_NOT_SUPPORTED", field=field, value=amount)
    if decimals > 2:  # noqa: PLR2004 - what PayPal allows
        raise Refusal("DECIMAL_PRECISION", field=field, value=amount)
    if not Decimal(amount):
        raise Refusal("CANNOT_BE_ZERO_OR_NEGATIVE", field=field, value=amount)
    return Decimal(amount), currency


def money(amount: Decimal, currency: str) -> Json:
    return {"currency_code": currency, "value": f"{amount:.0f}" if currency in WHOLE_UNITS else f"{amount:.2f}"}


def units(amount: Decimal, currency: str) -> int:
    """As the oracle counts: in the smallest unit of ISO 4217."""
    return int(amount if currency == "JPY" else amount * 100)


def new_id() -> str:
    alphabet = string.ascii_uppercase + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(17))


def timestamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
