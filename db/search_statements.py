"""The statements of `db.search`. Each has one sensible plan, whatever the planner believes of the values."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias
from uuid import UUID

from db import ids, search_filters, shapes
from db.records import Transaction
from db.search_filters import WHOSE, Filters

WALK = 1_000
"""So many of the newest are looked at before any index of what was asked: a few milliseconds."""
CANDIDATES_MAX = 4_000
"""Of more than this the newest are not picked by reading all: of those that lie together in time."""
SCATTERED_MAX = 1_000
"""The same of those that may lie anywhere: each is a page to read."""
ENTRIES_MAX = 60_000
"""The same where an index alone is read, and no row."""
_SKEW = timedelta(minutes=1)
"""Between the moment in an id and `created_at`: that is milliseconds, so this is generous."""
_COLUMNS = ", ".join(f"t.{name}" for name in shapes.columns(Transaction).split(", "))
_SEARCHED = (
    "partner_id, id, livemode, status, amount, currency, capture, payment_method, card_last4, provider,"
    " provider_transaction_id, needs_review, customer_id, customer_email, customer_name, reference, metadata,"
    " created_at, deleted_at"
)

Statement: TypeAlias = tuple[str, list[object]]
"""Its text and its values."""
_LAST = UUID(int=(1 << 128) - 1)


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


def asked(reach: Reach, filters: Filters, before: UUID | None) -> Asked:
    """Ids are in the order of time: a range of dates is one of ids."""
    begin, end = UUID(int=0), before or _LAST
    if filters.created_after is not None:
        begin = ids.earliest(filters.created_after, shifted=-_SKEW)
    if filters.created_before is not None:
        end = min(end, ids.earliest(filters.created_before, shifted=_SKEW))
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

    def whose(self) -> str:
        reach = self.asked.reach
        mode = f"livemode = {self.bind(reach.livemode)}"
        return mode if reach.partner_id is None else f"partner_id = {self.bind(reach.partner_id)} AND {mode}"

    def when(self) -> str:
        return f"id >= {self.bind(self.asked.begin)} AND id < {self.bind(self.asked.end)}"

    def fits(self) -> str:
        return " AND ".join(search_filters.conditions(self.asked.filters, self.bind))

    def rows(self, found: str, limit: int) -> str:
        """The newest of `found`, read under the policies of whoever asks: a view proposes, no more."""
        return (
            f"(SELECT {_COLUMNS} FROM (SELECT partner_id, id FROM {found} ORDER BY id DESC LIMIT {self.bind(limit)})"
            " AS newest JOIN transactions t USING (partner_id, id)) AS t"
        )

    def statement(self, found: str, limit: int) -> Statement:
        return f"SELECT * FROM {self.rows(f'({found}) AS found', limit)} ORDER BY id DESC", self.values

    def of_candidates(self, source: str, columns: str, fits: str | None, limit: int, most: int) -> Statement:
        """Those of at most `most` rows of `source` that fit, beside how many there are; one row at least."""
        looked = f"looked AS MATERIALIZED (SELECT {columns} FROM {source} LIMIT {most + 1})"
        found = f", found AS MATERIALIZED (SELECT * FROM looked WHERE {fits})" if fits else ""
        fitting = "found" if fits else "looked"
        counted = (
            f"SELECT count(*) AS candidates, (SELECT count(*) FROM {fitting}) AS fitting,"
            f" count(*) > {most} AS too_many FROM looked"
        )
        rows = self.rows(fitting, limit)
        text = f"WITH {looked}{found} SELECT * FROM ({counted}) AS counted LEFT JOIN {rows} ON true ORDER BY id DESC"
        return text, self.values


# ── One after the other ─────────────────────────────────────────────────────────────────────────────────────────


def newest(search: Asked, limit: int) -> Statement:
    """Those that fit among the `WALK` newest."""
    draft = _Draft(search)
    where = f"{draft.whose()} AND {draft.when()}"
    walked = f"SELECT * FROM {draft.view} WHERE {where} ORDER BY id DESC LIMIT {WALK}"
    return draft.statement(f"SELECT partner_id, id FROM ({walked}) AS walked WHERE {draft.fits()}", limit)


def bottom(search: Asked) -> Statement:
    """The last id that `newest` looks at; none where it comes to the end."""
    draft = _Draft(search)
    where = f"{draft.whose()} AND {draft.when()}"
    return f"SELECT id FROM {draft.view} WHERE {where} ORDER BY id DESC OFFSET {WALK - 1} LIMIT 1", draft.values


def ends(search: Asked) -> Statement:
    """The oldest id and the newest that a search can find, and where `newest` comes to; none where that is the end."""
    draft = _Draft(search)
    where = f"{draft.whose()} AND {draft.when()}"
    one = f"(SELECT id FROM {draft.view} WHERE {where} ORDER BY id {{}} LIMIT 1)"
    oldest, newest, walked = one.format("ASC"), one.format("DESC"), one.format(f"DESC OFFSET {WALK - 1}")
    return f"SELECT {oldest} AS oldest, {newest} AS newest, {walked} AS walked", draft.values


# ── By words, by references ─────────────────────────────────────────────────────────────────────────────────────
# OFFSET 0: beside the condition that an index is meant for, the planner sees nothing that another index would serve.


def with_words(search: Asked, words: Sequence[str], limit: int, most: int) -> Statement:
    """Of at most so many that have all of these words."""
    draft, partner_id = _Draft(search), search.reach.partner_id
    query = " & ".join(words)
    if partner_id is None:
        mode = draft.bind(search_filters.mode(search.reach.livemode))
        each = f"replace({draft.bind(query)}::text, {draft.bind(WHOSE)}::text, right(p.id::text, 8) || {mode}::text)"
        worded = f"SELECT one.* FROM partners p CROSS JOIN LATERAL ({_having(draft, each)}) AS one"
    else:
        query = query.replace(WHOSE, search_filters.whose(partner_id, search.reach.livemode))
        worded = _having(draft, f"{draft.bind(query)}::text")
    source = f"({worded}) AS worded WHERE {draft.whose()} AND {draft.when()}"
    return draft.of_candidates(source, _SEARCHED, draft.fits(), limit, most)


def _having(draft: _Draft, query: str) -> str:
    return f"SELECT * FROM {draft.view} WHERE words @@ {query}::tsquery OFFSET 0"


def with_reference(search: Asked, limit: int) -> Statement:
    """Of `CANDIDATES_MAX` whose reference is so or begins so; of `ENTRIES_MAX` where no row must be read to tell."""
    draft, filters = _Draft(search), search.filters
    source = f"{_referred(draft)} WHERE {draft.when()}"
    if filters == Filters(reference=filters.reference, reference_prefix=filters.reference_prefix):
        return draft.of_candidates(source, "partner_id, id", None, limit, ENTRIES_MAX)
    return draft.of_candidates(source, _SEARCHED, draft.fits(), limit, CANDIDATES_MAX)


def reference_ends(search: Asked) -> Statement:
    """The oldest and the newest id with such a reference, if there are not too many."""
    draft = _Draft(search)
    entries = f"SELECT id FROM {_referred(draft)} WHERE {draft.when()} LIMIT {ENTRIES_MAX + 1}"
    return (
        "SELECT ids[1] AS oldest, ids[array_length(ids, 1)] AS newest, cardinality(ids) > "
        f"{ENTRIES_MAX} AS too_many FROM (SELECT array_agg(id ORDER BY id) AS ids FROM ({entries}) AS entries) AS ends"
    ), draft.values


_REFERENCE = 'reference COLLATE "C"'


def _referred(draft: _Draft) -> str:
    filters, reach = draft.asked.filters, draft.asked.reach
    exact = filters.reference
    so = _begins(draft, filters.reference_prefix or "") if exact is None else f"{_REFERENCE} = {draft.bind(exact)}"
    whose = "partner_id = p.id" if reach.partner_id is None else f"partner_id = {draft.bind(reach.partner_id)}"
    where = f"{whose} AND livemode = {draft.bind(reach.livemode)} AND {so}"
    one = f"(SELECT {_SEARCHED} FROM {draft.view} WHERE {where} OFFSET 0) AS one"
    return one if reach.partner_id is not None else f"(SELECT one.* FROM partners p CROSS JOIN LATERAL {one}) AS one"


def _begins(draft: _Draft, begin: str) -> str:
    """In the order of bytes, in which UTF-8 stands as its characters do."""
    return f"{_REFERENCE} >= {draft.bind(begin)} AND {_REFERENCE} < {draft.bind(begin + chr(sys.maxunicode))}"


# ── By an id ────────────────────────────────────────────────────────────────────────────────────────────────────

_TABLES = {
    "transaction_id": ("transactions", "id"),
    "refund_id": ("refunds", "transaction_id"),
    "attempt_id": ("attempts", "transaction_id"),
    "event_id": ("events", "transaction_id"),
    "delivery_id": ("webhook_deliveries", "transaction_id"),
    "dispute_id": ("disputes", "transaction_id"),
}


def with_ids(search: Asked, limit: int) -> Statement | None:
    """Those that the ids lead to; None where none was asked for."""
    draft = _Draft(search)
    sources = [
        _of_id(draft, table, column, value)
        for name, (table, column) in _TABLES.items()
        if (value := getattr(search.filters, name)) is not None
    ]
    if search.filters.provider_id is not None:
        sources.append(_of_provider(draft, search.filters.provider_id))
    if not sources:
        return None
    named = " INTERSECT ".join(f"({source})" for source in sources)
    where = f"{draft.whose()} AND {draft.when()} AND {draft.fits()}"
    found = f"SELECT partner_id, id FROM ({named}) AS named (partner_id, id) JOIN {draft.view} USING (partner_id, id)"
    return draft.statement(f"{found} WHERE {where}", limit)


def _of_id(draft: _Draft, table: str, column: str, value: UUID) -> str:
    """Every key begins with the partner: without one, each partner is tried."""
    partner = draft.asked.reach.partner_id
    if partner is not None:
        own = f"partner_id = {draft.bind(partner)} AND id = {draft.bind(value)}"
        return f"SELECT partner_id, {column} FROM {table} WHERE {own}"
    return (
        f"SELECT one.* FROM partners p CROSS JOIN LATERAL (SELECT partner_id, {column} FROM {table}"
        f" WHERE partner_id = p.id AND id = {draft.bind(value)} LIMIT 1) AS one"
    )


_OF_ACCOUNTS = {"attempts": "provider_id", "provider_events": "dedupe_key"}


def _of_provider(draft: _Draft, value: str) -> str:
    """Ids of PSPs are kept by account, those of disputes by partner."""
    named = draft.bind(value)
    own = [_each("provider_accounts", "account_id", table, f"{of} = {named}") for table, of in _OF_ACCOUNTS.items()]
    return " UNION ".join([*own, _each("partners", "partner_id", "disputes", f"provider_dispute_id = {named}")])


def _each(owners: str, key: str, table: str, so: str) -> str:
    return (
        f"SELECT one.* FROM {owners} o CROSS JOIN LATERAL (SELECT partner_id, transaction_id FROM {table}"
        f" WHERE {key} = o.id AND {so} LIMIT {CANDIDATES_MAX}) AS one"
    )
