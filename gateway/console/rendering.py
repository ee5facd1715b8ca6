"""From values to HTML: Jinja2 with everything escaped, nothing undefined, and how the console spells things."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from db import ids

_HERE = Path(__file__).parent
STATIC = {
    name: (_HERE / "static" / name).read_bytes()
    for name in sorted(path.name for path in (_HERE / "static").iterdir() if not path.name.startswith("."))
}
"""Read once: the files are few, small, and part of the program."""
VERSIONS = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in STATIC.items()}
"""In each file's address, so that a browser may keep it for good."""


def render(template: str, context: Mapping[str, Any], *, part: bool = False) -> str:
    """The page, or only its block `part`. Every template has the macros of components.html as `ui`."""
    found = _ENVIRONMENT.get_template(template)
    pieces = _ENVIRONMENT.get_template("components.html").make_module(dict(context))
    if not part or "part" not in found.blocks:
        return found.render(context, ui=pieces)
    return "".join(found.blocks["part"](found.new_context({**context, "ui": pieces})))


def static(name: str) -> str:
    return f"/console/static/{VERSIONS[name]}/{name}"


def moment(at: datetime | None) -> str:
    """To the second, in UTC: two people who talk about a payment talk about the same moment."""
    return "–" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def words(name: str) -> str:
    """`partially_refunded` → `partially refunded`."""
    return str(name).replace("_", " ").replace(".", " · ")


def pairs(values: Iterable[str]) -> list[tuple[str, str]]:
    """For a choice: each value as itself and in words."""
    return [(str(value), words(value)) for value in values]


def id_of(value: UUID, prefix: str) -> str:
    return ids.encode(prefix, value)


def grouped(amount: Decimal | str) -> str:
    """`1234567.80` → `1,234,567.80`."""
    whole, _, fraction = str(amount).partition(".")
    sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    return f"{sign}{int(digits):,}" + (f".{fraction}" if fraction else "")


def amounts(given: Mapping[str, Decimal]) -> str:
    """By currency, one a line, as the forms take them."""
    return "\n".join(f"{code}={amount:f}" for code, amount in sorted(given.items()))


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals |= {"static": static, "pairs": pairs}
    environment.filters |= {
        "moment": moment,
        "words": words,
        "id": id_of,
        "grouped": grouped,
        "amounts": amounts,
    }
    return environment


_ENVIRONMENT = _environment()
