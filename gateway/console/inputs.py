"""What people type into the console's forms, read as what it means. Messages name no value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, StringConstraints

from db import ids
from gateway.api import fields
from gateway.api.errors import Problem
from gateway.console.visits import mistakes
from gateway.partners import Refused

_MOMENTS = ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")
_PAIR = re.compile(r"([A-Z]{3})\s*[=:\s]\s*([0-9.]+)", re.ASCII)


def _moment(text: str) -> datetime:
    for form in _MOMENTS:
        try:
            return datetime.strptime(text.strip(), form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise ValueError("must be a day or a moment in UTC, such as 2026-11-28 or 2026-11-28 14:30")


def _whole(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text.strip(), re.ASCII):
        raise ValueError("must be a whole number")
    return int(text)


def _amounts(text: str) -> dict[str, Decimal]:
    """`EUR=5000`, one a line or separated by commas."""
    amounts: dict[str, Decimal] = {}
    for part in filter(None, (piece.strip() for piece in re.split(r"[\n,;]", text))):
        found = _PAIR.fullmatch(part)
        if found is None or not re.fullmatch(fields.AMOUNT, found[2]) or found[1] in amounts:
            raise ValueError("must look like EUR=5000, each currency once")
        amounts[found[1]] = Decimal(found[2])
    return amounts


def id_of(prefix: str) -> Any:
    def read(text: str) -> UUID:
        found = ids.decode(prefix, text.strip())
        if found is None:
            raise ValueError(f"must be an id that begins with {prefix}_")
        return found

    return BeforeValidator(read)


def one_of(kind: type[StrEnum]) -> Any:
    def read(text: str) -> StrEnum:
        if text not in set(kind):
            raise ValueError(f"must be one of {', '.join(kind)}")
        return kind(text)

    return BeforeValidator(read)


Moment = Annotated[datetime, BeforeValidator(_moment)]
Whole = Annotated[int, BeforeValidator(_whole)]
Amounts = Annotated[dict[str, Decimal], BeforeValidator(_amounts)]
PartnerId = Annotated[UUID, id_of("prt")]
Named = Annotated[str, StringConstraints(strip_whitespace=True, max_length=100)]
"""A part of a name or of an e-mail address, or an id: see `db.partners.newest`."""


def apart(form: Mapping[str, str], prefix: str) -> tuple[dict[str, str], dict[str, str]]:
    """A form's fields without the prefix, and those with it, by what follows it. Empty ones count as not given."""
    given = {name: text for name, text in form.items() if text.strip()}
    prefixed = {name.removeprefix(prefix): text for name, text in given.items() if name.startswith(prefix)}
    return {name: text for name, text in given.items() if not name.startswith(prefix)}, prefixed


def wrong_of(error: Problem | Refused) -> dict[str, str]:
    """For a form that is shown again: what names no field is `form`."""
    return {"form": str(error)} if isinstance(error, Refused) else mistakes(error)


def moment_text(at: datetime | None) -> str:
    return "" if at is None else at.strftime("%Y-%m-%d %H:%M:%S")
