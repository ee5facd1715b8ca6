"""Reading Stripe's JSON, which nobody vouches for: whatever is there, a value of the wanted kind or nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

Json = Mapping[str, object]
NOTHING: Json = {}


def as_object(value: object) -> Json:
    return cast(Json, value) if isinstance(value, dict) else NOTHING


def inner(thing: Json, *path: str) -> Json:
    for name in path:
        thing = as_object(thing.get(name))
    return thing


def text(thing: Json, *path: str) -> str | None:
    value = inner(thing, *path[:-1]).get(path[-1])
    return value if isinstance(value, str) and value else None


def object_id(thing: Json) -> str | None:
    """It becomes part of later paths, so nothing but an id will do."""
    return _id(text(thing, "id"))


def id_of(thing: Json, name: str) -> str | None:
    """The id of another object that this one names, or carries whole."""
    return _id(text(thing, name)) or object_id(inner(thing, name))


def _id(given: str | None) -> str | None:
    return given if given and re.fullmatch("[a-z]+_[A-Za-z0-9_]+", given) else None
