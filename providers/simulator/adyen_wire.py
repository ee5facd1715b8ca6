"""Adyen's wire: JSON bodies checked in, error bodies and answers out. No state."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import cast

from providers.simulator.faults import Reply

Json = dict[str, object]

REFERENCE_MAX = 80
CAPTURE_DELAY_HOURS_MAX = 672


class Refusal(Exception):
    """An error answer. A `transient` one is Adyen's word that nothing was executed: it is not kept under the key."""

    def __init__(
        self, status: int, code: str, message: str, *, error_type: str = "validation", transient: bool = False
    ) -> None:
        super().__init__(message)
        self.transient = transient
        headers = {"Transient-Error": "true"} if transient else {}
        error: Json = {"status": status, "errorCode": code, "message": message, "errorType": error_type}
        self.reply = reply(status, error, headers)


def reply(status: int, body: Json, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})


def read_json(body: bytes) -> Json:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "702", "Unexpected input, expected: }") from None
    if not isinstance(given, dict):
        raise Refusal(400, "702", "Unexpected input, expected: {")
    return given


# --- Fields of a body, each refusing what Adyen refuses ---


def check_known(body: Mapping[str, object], known: Iterable[str]) -> None:
    unknown = sorted(body.keys() - set(known))
    if unknown:
        raise Refusal(422, "702", f"Structure of the request contains the following unknown fields: {unknown}")


def inner(body: Mapping[str, object], name: str) -> Json:
    value = body.get(name, {})
    if not isinstance(value, dict):
        raise Refusal(422, "702", f"Field '{name}' is not an object")
    return cast(Json, value)


def text(body: Mapping[str, object], name: str, default: str = "") -> str:
    value = body.get(name, default)
    if not isinstance(value, str):
        raise Refusal(422, "702", f"Field '{name}' is not a string")
    return value


def required(body: Mapping[str, object], name: str) -> str:
    value = text(body, name)
    if not value:
        raise Refusal(422, "14_0408", f"Required field '{name}' is not provided.")
    return value


def reference(body: Mapping[str, object], name: str = "reference") -> str:
    value = text(body, name)
    if len(value) > REFERENCE_MAX:
        raise Refusal(422, "130", "Reference is too long")
    return value


def amount(body: Mapping[str, object]) -> tuple[int, str]:
    given = inner(body, "amount")
    value, currency = given.get("value"), given.get("currency")
    if not isinstance(currency, str) or not re.fullmatch("[A-Z]{3}", currency):
        raise Refusal(422, "138", "Unsupported currency specified")
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise Refusal(422, "137", "Invalid amount specified")
    return value, currency


def chosen(body: Mapping[str, object], name: str, choices: tuple[str, ...]) -> str:
    """One of `choices`, of which the first is the default."""
    value = text(body, name, choices[0])
    if value not in choices:
        raise Refusal(422, "702", f"Field '{name}' must be one of {', '.join(choices)}")
    return value


def delay_hours(body: Mapping[str, object]) -> int:
    value = body.get("captureDelayHours", 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= CAPTURE_DELAY_HOURS_MAX:
        raise Refusal(422, "702", "Invalid captureDelayHours")
    return value
