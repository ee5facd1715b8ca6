"""What every list that can be exported has: its columns and filters, and how its rows are read, batch by batch.

A batch is a short transaction that is over before its rows are passed on: a slow browser holds nothing open.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel

from db.support_users import SupportRole
from gateway.api.body import RequestModel
from gateway.console.export import BATCH, Batches, Row
from gateway.console.visits import Visit

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What one export reads. `about`: how many rows; None: not known, or more than are counted."""

    batches: Batches
    about: int | None = None
    partner_id: UUID | None = None


class NoFilters(RequestModel):
    """All of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """`fields`: the filters' names and what people call them. `role`: that of the list's page, or more."""

    told: str
    role: SupportRole
    columns: Sequence[str]
    filters: type[BaseModel] = NoFilters
    fields: Mapping[str, str] = field(default_factory=dict)
    open: Callable[[Visit, Any], Awaitable[Source]]


async def in_batches(
    read: Callable[[UUID | None], Awaitable[Sequence[T]]],
    row: Callable[[T], Row],
    key: Callable[[T], UUID] = attrgetter("id"),
) -> Batches:
    """To the end, each from where the one before it ended; `read` takes that one's last key, at first None."""
    last: UUID | None = None
    while True:
        found = await read(last)
        yield [row(one) for one in found]
        if len(found) < BATCH:
            return
        last = key(found[-1])
