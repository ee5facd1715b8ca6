"""What a support person pasted into the one search box: an id, an e-mail, an amount, a date, a card's last digits. Pure.

Tokens combine: each narrows the search. A token that may mean several things is looked for as each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from db.search_filters import Filters


class CardNumberRefused(Exception):
    """The text holds a card number: it is not searched for, and must be neither stored nor logged nor shown again."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """`readings` for `search.page`, which finds what fits any of them; none where nothing was understood."""

    readings: Sequence[Filters]
    told: str
    """Such as "e-mail begins with anna@, amount 49.90"."""


def recognise(text: str, *, today: date) -> Recognised:
    """`today` in UTC, for "yesterday" and dates without a year. Raises `CardNumberRefused`."""
    raise NotImplementedError
