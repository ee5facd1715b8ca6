"""What can be asked of payments: as conditions on a row, and as words in the index of words (see 0011_lookups.sql).

A condition decides; words only propose candidates. So every word that a filter asks for must be one that each row which
fits its condition has.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from uuid import UUID

Bind = Callable[[object], str]
"""Takes a value into the statement; gives the parameter's name, such as `$3`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What to find; None or empty means anything. Amounts in major units.

    Prefixes, names and `provider_id` are the console's: the API asks for none of them.
    """

    status: Sequence[str] = ()
    currency: str | None = None
    provider: str | None = None
    payment_method: str | None = None
    capture: str | None = None
    reference: str | None = None
    reference_prefix: str | None = None
    customer_id: UUID | None = None
    customer_email: str | None = None
    customer_email_prefix: str | None = None
    customer_name: str | None = None
    """Words of it, of which the last may be a beginning; accents may be missing."""
    last4: str | None = None
    provider_transaction_id: str | None = None
    amount: Decimal | None = None
    amount_gte: Decimal | None = None
    amount_lte: Decimal | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    needs_review: bool | None = None
    transaction_id: UUID | None = None
    refund_id: UUID | None = None
    attempt_id: UUID | None = None
    event_id: UUID | None = None
    """Of an event to the partner (`evt_`)."""
    delivery_id: UUID | None = None
    dispute_id: UUID | None = None
    provider_id: str | None = None
    """Whatever a PSP calls by it: a payment, an attempt, a refund, a dispute, a notification."""


# ── Conditions ──────────────────────────────────────────────────────────────────────────────────────────────────

_CONDITIONS: Mapping[str, str] = {
    "currency": "currency = {}",
    "provider": "provider = {}",
    "payment_method": "payment_method = {}",
    "capture": "capture = {}::capture_mode",
    "reference": "reference = {}",
    "reference_prefix": "starts_with(reference, {})",
    "customer_id": "customer_id = {}",
    "customer_email": 'lower(customer_email COLLATE "C") = {}',
    "customer_email_prefix": 'starts_with(lower(customer_email COLLATE "C"), {})',
    "last4": "card_last4 = {}",
    "provider_transaction_id": "provider_transaction_id = {}",
    "amount": "amount = {}",
    "amount_gte": "amount >= {}",
    "amount_lte": "amount <= {}",
    "created_after": "created_at > {}",
    "created_before": "created_at < {}",
    "needs_review": "needs_review = {}",
    "transaction_id": "id = {}",
}
_LOWERED = {"customer_email", "customer_email_prefix"}


def conditions(filters: Filters, bind: Bind) -> list[str]:
    """On columns of a payment."""
    found = [
        condition.format(bind(lowered(value) if name in _LOWERED else value))
        for name, condition in _CONDITIONS.items()
        if (value := getattr(filters, name)) is not None
    ]
    if filters.status:
        found.append(f"status = ANY ({bind(list(filters.status))}::transaction_status[])")
    if names := _name(filters):
        patterns = [*(f"% {_like(word)} %" for word in names[:-1]), f"% {_like(names[-1])}%"]
        found.append(f"' ' || searched_name(customer_name) || ' ' LIKE ALL ({bind(patterns)}::text[])")
    if filters.metadata:
        found.append(f"metadata @> {bind(dict(filters.metadata))}")
    return ["deleted_at IS NULL", *found]


# ── Words ───────────────────────────────────────────────────────────────────────────────────────────────────────
# A word begins with whose it is, so that no partner's search meets another's payments; a letter says what it is of.

WHOSE = "\x01"
"""Stands in words for the partner and the mode."""

_EXACT: Mapping[str, str] = {
    "currency": "c",
    "provider": "p",
    "payment_method": "t",
    "capture": "k",
    "customer_id": "u",
    "last4": "l",
    "provider_transaction_id": "i",
}
_DIGITS_MAX = 7
"""Amounts of so many digits before the point, or more, have one word."""
_HEADS_MAX = 20
"""More are dearer to look up than the candidates that they rule out."""
_PAIR_LENGTH = 187
"""Longer pairs of metadata are known by their beginnings."""


def words(filters: Filters) -> list[str]:
    """What each row that fits must have, in PostgreSQL's notation of `tsquery`; empty where that says nothing."""
    found = [
        quoted(f"{letter}{value}") for name, letter in _EXACT.items() if (value := getattr(filters, name)) is not None
    ]
    if filters.customer_email is not None:
        found.append(quoted("e" + lowered(filters.customer_email)))
    if filters.status:
        found.append(any_of([quoted(f"s{status}") for status in filters.status]))
    if filters.needs_review is not None:
        found.append(quoted("v") if filters.needs_review else "!" + quoted("v"))
    found += [quoted("n" + word) for word in _name(filters)[:-1]]
    found += [quoted(f"m{key}={value}"[:_PAIR_LENGTH]) for key, value in filters.metadata.items()]
    return [*found, *_of_amounts(filters)]


def beginnings(filters: Filters) -> list[str]:
    """The same of words of which only the beginning is known: dearer, as all that begin so are read."""
    found = [quoted("n" + word) + ":*" for word in _name(filters)[-1:]]
    if filters.customer_email_prefix is not None:
        found.append(quoted("e" + lowered(filters.customer_email_prefix)) + ":*")
    return found


def _of_amounts(filters: Filters) -> Iterator[str]:
    if filters.amount is not None:
        yield quoted("a" + _trimmed(filters.amount))
    low, high = filters.amount_gte, filters.amount_lte
    if low is not None or high is not None:
        yield any_of([quoted(head) for head in _heads(low or Decimal(0), high)])


def _heads(low: Decimal, high: Decimal | None) -> list[str]:
    """The first two digits of every amount in between, after a letter for how many there are; or that letter alone."""
    least, most, found = int(low), None if high is None else max(int(high), 0), list[str]()
    for digits in range(_digits(least), (_DIGITS_MAX if most is None else _digits(most)) + 1):
        unit = 10 ** max(digits - 2, 0)
        first, last = 10 ** (digits - 1) if digits > 1 else 0, 10**digits - 1
        letter = "b" + chr(64 + digits)
        heads = range(max(least, first) // unit, (last if most is None else min(most, last)) // unit + 1)
        whole = digits == _DIGITS_MAX or (heads.start, heads.stop) == (first // unit, last // unit + 1)
        found += [letter] if whole or len(heads) > _HEADS_MAX else [f"{letter}{head}" for head in heads]
    return found


def _digits(units: int) -> int:
    return min(len(str(units)), _DIGITS_MAX)


def _trimmed(amount: Decimal) -> str:
    """As PostgreSQL's `trim_scale` writes it."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


# ── Names ───────────────────────────────────────────────────────────────────────────────────────────────────────

ACCENTED = "áàâäãåāąçćčďđéèêëēęěíìîïīłńñňóòôöõøōřśšťúùûüūůýÿźżžÁÀÂÄÃÅĀĄÇĆČĎĐÉÈÊËĒĘĚÍÌÎÏĪŁŃÑŇÓÒÔÖÕØŌŘŚŠŤÚÙÛÜŪŮÝŸŹŻŽ-"
PLAIN = "aaaaaaaacccddeeeeeeeiiiiilnnnooooooorsstuuuuuuyyzzzaaaaaaaacccddeeeeeeeiiiiilnnnooooooorsstuuuuuuyyzzz "
_FOLDING = str.maketrans(ACCENTED, PLAIN) | {ord("ß"): "ss"}
_CAPITALS = {ord(letter): letter.lower() for letter in string.ascii_uppercase}


def searched_name(name: str) -> str:
    """As the database's function of that name does."""
    return name.translate(_FOLDING).lower()


def lowered(text: str) -> str:
    """In the locale "C": the 26 letters, the same in every database."""
    return text.translate(_CAPITALS)


def _name(filters: Filters) -> list[str]:
    return (filters.customer_name or "").split()


# ── Notation ────────────────────────────────────────────────────────────────────────────────────────────────────


def whose(partner_id: UUID, livemode: bool) -> str:  # noqa: FBT001 - a scope in two words
    """What stands for them in the index."""
    return f"{str(partner_id)[-8:]}{mode(livemode)}"


def mode(livemode: bool) -> str:  # noqa: FBT001 - named by its function
    return "+" if livemode else "-"


def _like(word: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", word)


def quoted(word: str) -> str:
    escaped = word.replace(WHOSE, "").replace("\\", "\\\\").replace("'", "''")
    return f"'{WHOSE}{escaped}'"


def any_of(alternatives: Sequence[str]) -> str:
    return f"({' | '.join(alternatives)})"
