"""The statements of `db.search`. Each has one sensible plan, whatever the planner believes of the values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias
from uuid import UUID

from db import ids, search_filters, shapes
from db.records import Transaction
from db.search_filters import Filters

WALK = 2_000
"""So many of the newest are looked at before the index of words is asked: a few milliseconds."""
CANDIDATES_MAX = 5_000
"""More than this at once are too many to put in order."""
_SKEW = timedelta(minutes=1)
"""Between the moment in an id and `created_at`: milliseconds, so this is generous."""
_COLUMNS = ", ".join(f"t.{name.strip()}" for name in shapes.columns(Transaction).split(","))


@dataclass(frozen=True, slots=True)
class Reach:
    """Whose payments, and of which mode. Without a partner those of all: for the console alone."""

    partner_id: UUID | None
    livemode: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """A search: whose payments, what of them, and between which ids (the first included, the last not)."""

    reach: Reach
    filters: Filters
    begin: UUID
    end: UUID

    def between(self, begin: UUID, end: UUID) -> Asked:
        return Asked(self.reach, self.filters, begin, end)


Statement: TypeAlias = tuple[str, list[object]]
"""Its text and its values."""
_LAST = UUID(int=(1 << 128) - 1)


def asked(reach: Reach, filters: Filters, before: UUID | None) -> Asked:
    """Ids are in the order of time: a range of dates is one of ids."""
    begin, end = UUID(int=0), before or _LAST
    if filters.created_after is not None:
        begin = ids.earliest(filters.created_after - _SKEW)
    if filters.created_before is not None:
        end = min(end, ids.earliest(filters.created_before + _SKEW))
    return Asked(reach, filters, begin, end)


@dataclass(slots=True)
class _Draft:
    """A text and its values, put together."""

    asked: Asked
    values: list[object] = field(default_factory=list)

    def bind(self, value: object) -> str:
        self.values.append(value)
        return f"${len(self.values)}"

    @property
    def view(self) -> str:
        return "searchable_transactions" if self.asked.reach.partner_id else "searchable_across"

    def within(self) -> str:
        """Whose, which mode and between which ids: as the indexes of lists are."""
        reach = self.asked.reach
        own = "" if reach.partner_id is None else f"partner_id = {self.bind(reach.partner_id)} AND "
        mode = f"livemode = {self.bind(reach.livemode)}"
        return f"{own}{mode} AND id >= {self.bind(self.asked.begin)} AND id < {self.bind(self.asked.end)}"

    def fits(self) -> str:
        return " AND ".join(search_filters.conditions(self.asked.filters, self.bind))

    def rows(self, found: str, limit: int) -> str:
        """The newest of `found`, read under the policies of whoever asks: a view proposes, no more."""
        return (
            f"WITH found AS MATERIALIZED ({found}) SELECT (SELECT count(*) FROM found) AS candidates, {_COLUMNS}"
            f" FROM (SELECT * FROM found ORDER BY id DESC LIMIT {self.bind(limit)}) AS newest"
            " JOIN transactions t USING (partner_id, id) ORDER BY id DESC"
        )


def newest(search: Asked, limit: int) -> Statement:
    """Those that fit among the `WALK` newest."""
    statement = _Draft(search)
    walked = f"SELECT * FROM {statement.view} WHERE {statement.within()} ORDER BY id DESC LIMIT {WALK}"
    found = (
        f"SELECT partner_id, id FROM ({walked}) AS walked WHERE {statement.fits()}"
        f" ORDER BY id DESC LIMIT {statement.bind(limit)}"
    )
    return statement.rows(found, limit), statement.values


def candidates(search: Asked, words: Sequence[str], limit: int) -> Statement:
    """Those of all that have the words; more than `CANDIDATES_MAX` of them tell nothing."""
    statement = _Draft(search)
    query = " & ".join(words)
    if search.reach.partner_id is not None:
        query = query.replace(
            search_filters.WHOSE, search_filters.whose(search.reach.partner_id, search.reach.livemode)
        )
        worded = _worded(statement, f"{statement.bind(query)}::text::tsquery")
    else:
        mark, mode = statement.bind(search_filters.WHOSE), statement.bind(search_filters.mode(search.reach.livemode))
        each = f"replace({statement.bind(query)}::text, {mark}, right(p.id::text, 12) || {mode})::tsquery"
        worded = f"SELECT one.* FROM partners p CROSS JOIN LATERAL ({_worded(statement, each)}) AS one"
    found = (
        f"SELECT partner_id, id FROM ({worded}) AS worded WHERE {statement.within()}"
        f" AND {statement.fits()} LIMIT {CANDIDATES_MAX + 1}"
    )
    return statement.rows(found, limit), statement.values


def _worded(statement: _Draft, query: str) -> str:
    """Nothing else that has an index may be seen beside the words, or the planner might prefer that one."""
    return f"SELECT * FROM {statement.view} WHERE words @@ {query} OFFSET 0"


# ── By an id ────────────────────────────────────────────────────────────────────────────────────────────────────

_TABLES = {
    "transaction_id": ("transactions", "id"),
    "refund_id": ("refunds", "transaction_id"),
    "attempt_id": ("attempts", "transaction_id"),
    "event_id": ("events", "transaction_id"),
    "delivery_id": ("webhook_deliveries", "transaction_id"),
    "dispute_id": ("disputes", "transaction_id"),
}


def named(search: Asked, limit: int) -> Statement | None:
    """Those that the ids lead to; None where none was asked for."""
    statement = _Draft(search)
    sources = [
        _of_id(statement, table, column, value)
        for name, (table, column) in _TABLES.items()
        if (value := getattr(search.filters, name)) is not None
    ]
    if search.filters.provider_id is not None:
        sources.append(_of_provider(statement, search.filters.provider_id))
    if not sources:
        return None
    found = (
        f"SELECT partner_id, id FROM ({' INTERSECT '.join(f'({one})' for one in sources)}) AS named (partner_id, id)"
        f" JOIN {statement.view} USING (partner_id, id) WHERE {statement.within()} AND {statement.fits()}"
    )
    return statement.rows(found, limit), statement.values


def _of_id(statement: _Draft, table: str, column: str, value: UUID) -> str:
    """Every key begins with the partner: without one, each partner is tried."""
    partner = statement.asked.reach.partner_id
    if partner is not None:
        own = f"partner_id = {statement.bind(partner)} AND id = {statement.bind(value)}"
        return f"SELECT partner_id, {column} AS transaction_id FROM {table} WHERE {own}"
    return (
        f"SELECT one.* FROM partners p CROSS JOIN LATERAL (SELECT partner_id, {column} AS transaction_id FROM {table}"
        f" WHERE partner_id = p.id AND id = {statement.bind(value)} LIMIT 1) AS one"
    )


def _of_provider(statement: _Draft, value: str) -> str:
    """Ids of PSPs are kept by account."""
    return (
        "SELECT some.* FROM provider_accounts a CROSS JOIN LATERAL (SELECT partner_id, transaction_id FROM attempts"
        f" WHERE account_id = a.id AND provider_id = {statement.bind(value)} LIMIT {CANDIDATES_MAX}) AS some"
        f" UNION SELECT partner_id, transaction_id FROM disputes WHERE provider_dispute_id = {statement.bind(value)}"
    )


# ── Where a search stands ───────────────────────────────────────────────────────────────────────────────────────


def bottom(search: Asked) -> Statement:
    """The last id that `newest` looks at; none where it comes to the end."""
    statement = _Draft(search)
    where = f"{statement.within()}"
    return f"SELECT id FROM {statement.view} WHERE {where} ORDER BY id DESC OFFSET {WALK - 1} LIMIT 1", statement.values


def ends(search: Asked) -> Statement:
    """The oldest id and the newest that a search can find."""
    statement = _Draft(search)
    where = f"{statement.within()}"
    one = f"(SELECT id FROM {statement.view} WHERE {where} ORDER BY id {{}} LIMIT 1)"
    return f"SELECT {one.format('ASC')} AS oldest, {one.format('DESC')} AS newest", statement.values
