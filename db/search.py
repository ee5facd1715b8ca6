"""Finding payments by what the caller knows of them, newest first, in pages that cost the same however deep they lie.

What was asked is looked for among the newest payments first, one after the other: what is common is found there at
once. Where they do not fill a page, it is rare, and the index of words is asked for all that was asked together, in the
newest span of time; what that held tells how many more spans to ask for at once, or that few are left in all. No
statement leaves the planner a choice that a wrong guess makes slow. Why: docs/decisions/0024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any
from uuid import UUID

from db import search_filters, search_statements, shapes
from db.database import Connection
from db.records import Scope, Transaction
from db.search_filters import Filters
from db.search_statements import Asked, Reach, Statement

__all__ = ["Filters", "Found", "Reach", "merge", "page", "transactions"]

ROUNDS = 5
"""So many stretches of time a page looks at before it says how far it came."""
POSTINGS_MAX = 200_000
"""So many payments may lie in them: some 30 milliseconds of the index of words."""
_WIDEST = 64
"""Spans at once."""
_SPAN_BITS = 108
"""A span is the first 20 bits of an id, as words name them: three days."""
_ALL = 1 << 20
"""More spans than there are."""
_NEWEST = 2
"""Spans to begin with: the last has just begun."""
_NARROWER = 16
"""After a stretch with too many comes one so many times as narrow."""
_AMPLE = 1.5
"""What was seen is little to go by: room for chance."""


@dataclass(frozen=True, slots=True)
class Found:
    """A page. Where `until` is set the search stopped early and goes on `before` that id."""

    transactions: Sequence[Transaction]
    until: UUID | None = None


@dataclass(frozen=True, slots=True)
class _Look:
    """At candidates: how many, and how many of them fit; the newest of these, the page's."""

    rows: Sequence[Transaction]
    candidates: int
    fitting: int
    too_many: bool
    """Not all of them were looked at."""


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


async def merge(connection: Connection) -> int:
    """As the worker: put the words of new payments where they are found at once; how many pages of them waited."""
    pages: int = await connection.fetchval("SELECT merge_search_words()")
    return pages


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
    return await _by_words(connection, search, words, beginnings, rows, limit)


async def _by_reference(
    connection: Connection, search: Asked, words: Sequence[str], beginnings: Sequence[str], limit: int
) -> Found:
    """References are often numbers in a row: those that begin alike lie together in time, too."""
    if not (words or beginnings):
        look = await _look(connection, search_statements.with_reference(search, limit))
        return await _walk(connection, search, limit) if look.too_many else Found(look.rows)
    (ends,) = await _fetch(connection, search_statements.reference_ends(search))
    if ends["oldest"] is None:
        return Found([])
    if ends["too_many"]:
        return await _walk(connection, search, limit)
    search = search.between(ends["oldest"], UUID(int=ends["newest"].int + 1))
    rows = _rows(await _fetch(connection, search_statements.newest(search, limit)))
    if len(rows) >= limit:
        return Found(rows)
    look = await _look(connection, search_statements.with_reference(search, limit))
    return await _by_words(connection, search, words, beginnings, rows, limit) if look.too_many else Found(look.rows)


async def _by_words(
    connection: Connection,
    search: Asked,
    words: Sequence[str],
    beginnings: Sequence[str],
    walked: Sequence[Transaction],
    limit: int,
) -> Found:
    """Span by span of time, so many at once as should fill the page; or all at once, where few can have the words."""
    (ends,) = await _fetch(connection, search_statements.ends(search))
    if ends["walked"] is None:
        return Found(walked)
    rest, rows, everywhere = range(_span(ends["oldest"]), _span(ends["newest"]) + 1), list[Transaction](), False
    seen = _Seen(list(filter(None, (words, beginnings and [*words, *beginnings]))))
    left = _affordable(ends["newest"], ends["walked"])
    wide = min(_NEWEST, left)
    for _ in range(ROUNDS):
        found = await _in_spans(connection, search, seen, rest[-wide:], limit - len(rows))
        left -= wide
        if found is None:
            wide = max(wide // _NARROWER, 1)
            continue
        rows, rest = [*rows, *found.transactions], rest[:-wide]
        if found.until is not None or len(rows) >= limit or not rest:
            return Found(rows, found.until)
        wanted, wide = seen.spans_for(limit - len(rows)), min(seen.spans_at_once(), left, _WIDEST)
        if wanted > wide and not everywhere:
            few, everywhere = await _everywhere(connection, search, seen, len(rest), limit), True
            if few is not None:
                return few
        if wide < 1:
            break
        wide = min(wanted, wide)
    return Found(rows, min(_first(rest.stop), search.end))


def _affordable(newest: UUID, walked: UUID) -> int:
    """So many spans a page may look at: the words of time alone name every payment in them."""
    return max(POSTINGS_MAX * (newest.int - walked.int) // (search_statements.WALK << _SPAN_BITS), 1)


async def _in_spans(connection: Connection, search: Asked, seen: _Seen, spans: range, limit: int) -> Found | None:
    """None where they are too many for one look, and more spans than one."""
    when = search_filters.any_of([search_filters.quoted(f"w{span:05x}") for span in spans])
    most = search_statements.CANDIDATES_MAX
    for way, words in enumerate(seen.ways):
        if way + 1 < len(seen.ways) and seen.expected(way, len(spans)) > most:
            continue
        look = await _look(connection, search_statements.with_words(search, [*words, when], limit, most))
        seen.note(way, len(spans), look)
        if not look.too_many:
            return Found(look.rows)
    if len(spans) > 1:
        return None
    first, after = _first(spans.start), _first(spans.stop)
    return await _walk(connection, search.between(max(first, search.begin), min(after, search.end)), limit)


async def _everywhere(connection: Connection, search: Asked, seen: _Seen, spans: int, limit: int) -> Found | None:
    """None where they are too many, as far as can be told, or too dear: beginnings across partners beside words."""
    most = search_statements.SCATTERED_MAX
    for way, words in enumerate(seen.ways):
        if way and search.reach.partner_id is None:
            break
        if seen.expected(way, spans) * _AMPLE <= most:
            look = await _look(connection, search_statements.with_words(search, words, limit, most))
            if not look.too_many:
                return Found(look.rows)
    return None


@dataclass(slots=True)
class _Seen:
    """What some spans of time held, for a guess at the others."""

    ways: Sequence[Sequence[str]]
    """What to look for: the words alone, then with the beginnings, which are dearer."""
    candidates: dict[int, float] = field(default_factory=dict)
    """In one span, by way."""
    spans: int = 0
    fitting: int = 0
    """In all of these spans."""

    def note(self, way: int, spans: int, look: _Look) -> None:
        self.candidates[way] = look.candidates / spans
        if not look.too_many:
            self.spans += spans
            self.fitting += look.fitting

    def expected(self, way: int, spans: int) -> float:
        """Candidates in so many spans; of a way that was not gone, those that fit."""
        return self.candidates.get(way, self.fitting / max(self.spans, 1)) * spans

    def spans_for(self, missing: int) -> int:
        """So many should hold them all."""
        return ceil(_AMPLE * missing * self.spans / self.fitting) if self.fitting else _ALL

    def spans_at_once(self) -> int:
        """So many should not hold too many candidates for one look."""
        each = self.expected(len(self.ways) - 1, 1) * _AMPLE
        return max(int(search_statements.CANDIDATES_MAX / each), 1) if each else _ALL


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


async def _look(connection: Connection, statement: Statement) -> _Look:
    found = await _fetch(connection, statement)
    return _Look(_rows(found), found[0]["candidates"], found[0]["fitting"], found[0]["too_many"])


def _rows(found: Sequence[Any]) -> list[Transaction]:
    """A row without an id tells of candidates of which none fits."""
    return [shapes.read(Transaction, row) for row in found if row["id"] is not None]
