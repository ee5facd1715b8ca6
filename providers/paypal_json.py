"""Reading PayPal's JSON, which nobody vouches for: whatever is there, a value of the wanted kind or nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import cast

Json = Mapping[str, object]
NOTHING: Json = {}


def parsed(content: bytes) -> object:
    """The JSON value, or None where there is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def as_object(value: object) -> Json:
    return cast(Json, value) if isinstance(value, dict) else NOTHING


def inner(thing: Json, *path: str) -> Json:
    for name in path:
        thing = as_object(thing.get(name))
    return thing


def items(thing: Json, *path: str) -> list[Json]:
    """The objects of a list; what is no object is passed over."""
    value = inner(thing, *path[:-1]).get(path[-1])
    return [cast(Json, item) for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def first(thing: Json, *path: str) -> Json:
    return next(iter(items(thing, *path)), NOTHING)


def text(thing: Json, *path: str) -> str | None:
    value = inner(thing, *path[:-1]).get(path[-1])
    return value if isinstance(value, str) and value else None


def object_id(thing: Json, *path: str) -> str | None:
    """It becomes part of later paths, so nothing but an id will do."""
    given = text(thing, *path) if path else text(thing, "id")
    return given if given and re.fullmatch("[A-Z0-9]{1,36}", given) else None


def link(thing: Json, *rels: str) -> str | None:
    """The address of the first link of one of these relations, best relation first."""
    links = items(thing, "links")
    found = (text(one, "href") for rel in rels for one in links if text(one, "rel") == rel)
    return next((href for href in found if href), None)


def money(thing: Json, name: str = "amount") -> tuple[Decimal, str] | None:
    """Amount and currency; None unless it is a plain decimal number with a currency."""
    value, currency = text(thing, name, "value"), text(thing, name, "currency_code")
    if value is None or currency is None or not re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,4})?", value):
        return None
    return Decimal(value), currency
