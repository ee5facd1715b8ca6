"""Finding payments by what the caller knows of them, newest first, in pages that cost the same however deep they lie.

What was asked is looked for among the newest payments first, one after the other: what is common is found there at
once. Where they do not fill a page, it is rare, and the index of words has few candidates for all that was asked
together; where they are still too many, it is asked for one span of time after the other. No statement leaves the
planner a choice that a wrong guess makes slow. Why: docs/decisions/0024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from db import search_filters, search_statements, shapes
from db.database import Connection
from db.records import Scope, Transaction
from db.search_filters import Filters
from db.search_statements import Asked, Reach, Statement

__all__ = ["Filters", "Found", "Reach", "page", "transactions"]

ROUNDS = 5
ROUNDS_ACROSS = 2
"""So many stretches of time a page looks at before it says how far it came; across, each asks every partner's words."""
_WIDEST = 64
_WIDEST_ACROSS = 8
"""Spans at once."""
_SPAN_BITS = 108
"""A span is the first 20 bits of an id, as words name them: three days."""
_NEWEST = 2
"""Spans to begin with: the last has just begun."""
_WIDER = 4
"""After a stretch with too few comes one so many times as wide."""
_FULL = 8
"""What has less than a page in so many spans is rare."""


@dataclass(frozen=True, slots=True)
class Found:
    """A page. Where `until` is set the search stopped early and goes on `before` that id."""

    transactions: Sequence[Transaction]
    until: UUID | None = None


async def page(
    connection: Connection, reach: Reach, readings: Sequence[Filters], *, before: UUID | None, limit: int
) -> Found:
    """At most `limit` payments older than `before` (an id) that fit any of the readings, newest first."""
    ways = [filters for reading in readings for filters in _ways(reading)]
    found = [await _page(connection, reach, filters, before, limit) for filters in ways]
    until = max((one.until for one in found if one.until is not None), default=None)
    merged = {row.id: row for one in found for row in one.transactions if until is None or row.id >= until}
    rows = sorted(merged.values(), key=lambda row: row.id, reverse=True)
    return Found(rows[:limit], until if len(rows) < limit else None)


async def transactions(
    connection: Connection, scope: Scope, filters: Filters, *, before: UUID | None, limit: int
) -> list[Transaction]:
    """Of one partner and without an early stop: a page that is not full is the last."""
    reach, rows = Reach(scope.partner_id, scope.livemode), list[Transaction]()
    while True:
        found = await _page(connection, reach, filters, before, limit - len(rows))
        rows += found.transactions
        if found.until is None:
            return rows
        before = found.until


def _ways(filters: Filters) -> list[Filters]:
    """A PSP's id is that of an attempt, or of the payment as it stands."""
    if filters.provider_id is None:
        return [filters]
    return [filters, replace(filters, provider_id=None, provider_transaction_id=filters.provider_id)]


async def _page(connection: Connection, reach: Reach, filters: Filters, before: UUID | None, limit: int) -> Found:
    search = search_statements.asked(reach, await _folded(connection, filters), before)
    direct = search_statements.with_ids(search, limit)
    if direct is not None:
        return Found(_rows(await _fetch(connection, direct)))
    words, beginnings = search_filters.words(search.filters), search_filters.beginnings(search.filters)
    referred = (filters.reference, filters.reference_prefix) != (None, None)
    if not (words or beginnings or referred):
        return await _walk(connection, search, limit)
    rows = _rows(await _fetch(connection, search_statements.newest(search, limit)))
    if len(rows) >= limit:
        return Found(rows)
    await connection.execute("SET LOCAL work_mem = '64MB'")  # else a large bitmap forgets which rows of a page it means
    if referred:
        return await _by_reference(connection, search, words, beginnings, limit)
    return await _by_words(connection, search, words, beginnings, limit)


async def _by_reference(
    connection: Connection, search: Asked, words: Sequence[str], beginnings: Sequence[str], limit: int
) -> Found:
    """References are often numbers in a row: those that begin alike lie together in time, too."""
    if not (words or beginnings):
        few = await _few(connection, search_statements.with_reference(search, limit))
        return few or await _walk(connection, search, limit)
    (ends,) = await _fetch(connection, search_statements.reference_ends(search))
    if ends["oldest"] is None:
        return Found([])
    if ends["too_many"]:
        return await _walk(connection, search, limit)
    search = search.between(ends["oldest"], UUID(int=ends["newest"].int + 1))
    rows = _rows(await _fetch(connection, search_statements.newest(search, limit)))
    if len(rows) >= limit:
        return Found(rows)
    few = await _few(connection, search_statements.with_reference(search, limit))
    return few or await _by_words(connection, search, words, beginnings, limit)


async def _by_words(
    connection: Connection, search: Asked, words: Sequence[str], beginnings: Sequence[str], limit: int
) -> Found:
    """Span by span of time, ever more of them at once; and in all, as soon as few of the newest have the words."""
    (ends,) = await _fetch(connection, search_statements.ends(search))
    if ends["newest"] is None:
        return Found([])
    rest, wide, everywhere = range(_span(ends["oldest"]), _span(ends["newest"]) + 1), _NEWEST, False
    rows = list[Transaction]()
    across = search.reach.partner_id is None
    for _ in range(ROUNDS_ACROSS if across else ROUNDS):
        found = await _in_spans(connection, search, words, beginnings, rest[-wide:], limit - len(rows))
        if found is None:
            wide = max(wide // _WIDER**2, 1)
            continue
        rows, rest = [*rows, *found.transactions], rest[:-wide]
        if found.until is not None or len(rows) >= limit or not rest:
            return Found(rows, found.until)
        if not everywhere and len(rows) * _FULL < limit * wide:
            few, everywhere = await _everywhere(connection, search, words, beginnings, limit), True
            if few is not None:
                return few
        wide = min(wide * _WIDER, _WIDEST_ACROSS if across else _WIDEST)
    return Found(rows, min(_first(rest.stop), search.end))


async def _everywhere(
    connection: Connection, search: Asked, words: Sequence[str], beginnings: Sequence[str], limit: int
) -> Found | None:
    """Without the beginnings first: they are dearer, and across partners too dear where there are words beside them."""
    everything = [[*words, *beginnings]] if beginnings and (search.reach.partner_id or not words) else []
    for some in filter(None, (words, *everything)):
        few = await _few(connection, search_statements.with_words(search, some, limit, search_statements.SCATTERED_MAX))
        if few is not None:
            return few
    return None


async def _in_spans(
    connection: Connection,
    search: Asked,
    words: Sequence[str],
    beginnings: Sequence[str],
    spans: range,
    limit: int,
) -> Found | None:
    """None where they are too many for one look, and more spans than one."""
    when = search_filters.any_of([search_filters.quoted(f"w{span:05x}") for span in spans])
    for some in filter(None, (words, [*words, *beginnings] if beginnings else [])):
        few = await _few(
            connection, search_statements.with_words(search, [*some, when], limit, search_statements.CANDIDATES_MAX)
        )
        if few is not None:
            return few
    if len(spans) > 1:
        return None
    first, after = _first(spans.start), _first(spans.stop)
    return await _walk(connection, search.between(max(first, search.begin), min(after, search.end)), limit)


async def _walk(connection: Connection, search: Asked, limit: int) -> Found:
    """One after the other: for what nearly every payment fits."""
    rows = list[Transaction]()
    for _ in range(ROUNDS):
        rows += _rows(await _fetch(connection, search_statements.newest(search, limit - len(rows))))
        if len(rows) >= limit:
            return Found(rows)
        last = await _fetch(connection, search_statements.bottom(search))
        if not last:
            return Found(rows)
        search = search.between(search.begin, last[0]["id"])
    return Found(rows, search.end)


def _span(transaction_id: UUID) -> int:
    return transaction_id.int >> _SPAN_BITS


def _first(span: int) -> UUID:
    return UUID(int=span << _SPAN_BITS)


async def _folded(connection: Connection, filters: Filters) -> Filters:
    """The name as the index has it: what is lower case in other alphabets, the database's locale decides."""
    if filters.customer_name is None:
        return filters
    name = search_filters.searched_name(filters.customer_name)
    if not name.isascii():
        name = await connection.fetchval("SELECT searched_name($1)", filters.customer_name)
    return replace(filters, customer_name=name)


async def _fetch(connection: Connection, statement: Statement) -> list[Any]:
    text, values = statement
    return await connection.fetch(text, *values)


async def _few(connection: Connection, statement: Statement) -> Found | None:
    """None where there are too many candidates to have looked at all."""
    found = await _fetch(connection, statement)
    return None if found[0]["too_many"] else Found(_rows(found))


def _rows(found: Sequence[Any]) -> list[Transaction]:
    """A row without an id tells of candidates of which none fits."""
    return [shapes.read(Transaction, row) for row in found if row["id"] is not None]
