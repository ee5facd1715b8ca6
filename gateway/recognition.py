"""What a support person pasted into the one search box: an id, an e-mail, an amount, a date, a card's digits. Pure.

Every piece narrows the search. A piece that may mean several things is looked for as each of them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID

from db import ids
from db.records import TransactionStatus
from db.search_filters import Filters
from gateway import dates_in_words
from gateway.api import card_data
from gateway.runtime import REFERENCE_SCHEME
from providers import PROVIDERS

READINGS_MAX = 6
"""Each is a search of its own; the least likely are left out."""
TEXT_MAX = 500


class CardNumberRefused(Exception):
    """The text holds a card number: it is not searched for, and must be neither stored nor logged nor shown again."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """`readings` for `search.page`, which finds what fits any of them; none where there is nothing to look for."""

    readings: Sequence[Filters]
    told: str
    """Such as "Searching for: e-mail begins with anna@, amount 49.90"."""


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What one piece may say: fields of `Filters`, and in words."""

    told: str
    fields: dict[str, Any] = field(default_factory=dict)


_Meanings: TypeAlias = Sequence[_Meaning]


def recognise(text: str, *, today: date) -> Recognised:
    """`today` in UTC, for "yesterday" and dates without a year. Raises `CardNumberRefused`."""
    if card_data.holds_card_number(text):
        raise CardNumberRefused
    for word in text[:TEXT_MAX].split():
        if told := _no_payments(word.strip(_WRAPPING)):
            return Recognised((), told)
    pieces = _several_names(list(_pieces(text[:TEXT_MAX], today)))
    if not pieces:
        return Recognised((Filters(),), "Searching for: every payment")
    merged = (_merged(meanings) for meanings in itertools.product(*pieces))
    readings = tuple(itertools.islice((filters for filters in merged if filters is not None), READINGS_MAX))
    told = ", ".join(" or ".join(meaning.told for meaning in meanings) for meanings in pieces)
    if not readings:
        return Recognised((), f"Nothing can be all of: {told}")
    return Recognised(readings, f"Searching for: {told}")


def _several_names(pieces: Sequence[_Meanings]) -> Sequence[_Meanings]:
    """Two words that may be a name are one."""
    names = [meanings for meanings in pieces if "customer_name" in meanings[0].fields]
    return [meanings[:1] if len(names) > 1 and meanings in names else meanings for meanings in pieces]


def _merged(meanings: Sequence[_Meaning]) -> Filters | None:
    """All at once; None where two contradict each other."""
    fields: dict[str, Any] = {}
    for meaning in meanings:
        for name, value in meaning.fields.items():
            before = fields.get(name, value)
            together = _TOGETHER.get(name)
            if together is None and before != value:
                return None
            fields[name] = together(before, value) if together and name in fields else value
    return Filters(**fields)


_TOGETHER: dict[str, Callable[[Any, Any], Any]] = {
    "metadata": lambda one, other: one | other,
    "customer_name": lambda one, other: f"{one} {other}",
    "status": lambda one, other: (*one, *other),
    "created_after": min,  # two dates are a range
    "created_before": max,
}


# ── Pieces ──────────────────────────────────────────────────────────────────────────────────────────────────────

_NUMBER = r"\d{1,3}(?:[.,'’\u00a0\u202f ]\d{3})+(?:[.,]\d{1,2})?|\d+(?:[.,]\d{1,4})?"
_PLAIN_NUMBER = re.compile(r"\d{1,3}(?:[.,'’]\d{3})+(?:[.,]\d{1,2})?|\d+[.,]\d{1,4}|\d+")
_SIGN = r"[€$£¥]|\b[A-Z]{3}\b"
_LAST4 = re.compile(
    r"(?:[•*·.]{2,}|[xX]{2,}|\b(?:(?:card\s+)?(?:last\s?4|ending|ends)|card)(?:\s+(?:in|with|on))?)[\s:]*(\d{4})\b"
)
_MONEY = re.compile(rf"(?P<before>{_SIGN})\s?(?P<first>{_NUMBER})|(?P<second>{_NUMBER})\s?(?P<after>{_SIGN})")
_AROUND = re.compile(rf"(?P<middle>{_NUMBER})\s?(?:±|\+/?-)\s?(?P<width>{_NUMBER})")
_PAIR = re.compile(r"([\w.-]{1,40})=(?:\"([^\"]*)\"|(\S+))")
_WRAPPING = ",;()[]<>\"'"
_MARK = "\x00"
"""Stands where a piece of several words was taken out."""
_CURRENCY_OF = {"€": "EUR", "£": "GBP"}
"""Dollars and yen are of several countries."""


def _pieces(text: str, today: date) -> Iterator[_Meanings]:
    """What several words or signs make together first, then each word alone."""
    rest = text
    for pattern, read in (
        (_PAIR, _pair),
        (_LAST4, lambda found: [_last4(found[1])]),
        (_AROUND, _around),
        (_MONEY, _money),
        (dates_in_words.PATTERN, lambda found: _date(found[0], today)),
    ):
        for found in list(pattern.finditer(rest)):
            meanings = read(found)
            if meanings:
                yield meanings
                rest = rest.replace(found[0], _MARK, 1)
    for word in rest.replace(_MARK, " ").split():
        meanings = _word(word.strip(_WRAPPING), today)
        if meanings:
            yield meanings


def _pair(found: re.Match[str]) -> _Meanings:
    key, value = found[1], found[2] if found[2] is not None else found[3]
    return [_Meaning(f"metadata {key} is {value}", {"metadata": {key: value}})]


def _last4(digits: str) -> _Meaning:
    return _Meaning(f"card ending {digits}", {"last4": digits})


def _around(found: re.Match[str]) -> _Meanings:
    middle, width = _amounts(found["middle"])[0], _amounts(found["width"])[0]
    low, high = max(middle - width, Decimal(0)), middle + width
    return [_Meaning(f"amount {low} to {high}", {"amount_gte": low, "amount_lte": high})]


def _money(found: re.Match[str]) -> _Meanings:
    sign = found["before"] or found["after"]
    if sign.isalpha() and sign not in _CURRENCIES:
        return []
    currency = _CURRENCY_OF.get(sign, sign if sign.isalpha() else None)
    named = {} if currency is None else {"currency": currency}
    return [
        _Meaning(" ".join(filter(None, ("amount", f"{amount:f}", currency))), {"amount": amount} | named)
        for amount in _amounts(found["first"] or found["second"])
    ]


def _date(text: str, today: date) -> _Meanings:
    return [
        _Meaning(
            dates_in_words.told(days),
            {"created_after": dates_in_words.just_before(days[0]), "created_before": dates_in_words.end_of(days[1])},
        )
        for days in dates_in_words.read(text, today)
    ]


def _amounts(text: str) -> list[Decimal]:
    """As written on either side of the Atlantic: the last sign with one or two digits behind it is the point."""
    digits = re.sub(r"['’\u00a0\u202f ]", "", text)
    point, rest = digits.rfind("."), digits.rfind(",")
    last = max(point, rest)
    if last < 0:
        return [Decimal(digits)]
    fraction = len(digits) - last - 1
    grouped = Decimal(re.sub(r"[.,]", "", digits))
    pointed = Decimal(re.sub(r"[.,]", "", digits[:last]) + "." + digits[last + 1 :])
    if fraction != _GROUP:
        return [pointed]
    several = digits.count(digits[last]) > 1 or min(point, rest) >= 0
    return [grouped] if several else [grouped, pointed]


_GROUP = 3


_CURRENCIES = frozenset(
    re.findall(
        "...",
        "IESAEDAFNALLAMDAOAARSAUDAWGAZNBAMBBDBDTBHDBIFBMDBNDBOBBRLBSDBTNBWPBYNBZDCADCDFCHFCLPCNYCOPCRCCUPCVECZK"
        "DJFDKKDOPDZDEGPERNETBEURFJDFKPGBPGELGHSGIPGMDGNFGTQGYDHKDHNLHTGHUFIDRILSINRIQDIRRISKJMDJODJPYKESKGSKHR"
        "KMFKPWKRWKWDKYDKZTLAKLBPLKRLRDLSLLYDMADMDLMGAMKDMMKMNTMOPMRUMURMVRMWKMXNMYRMZNNADNGNNIONOKNPRNZDOMRPAB"
        "PENPGKPHPPKRPLNPYGQARRONRSDRUBRWFSARSBDSCRSDGSEKSGDSHPSLESOSSRDSSPSTNSVCSYPSZLTHBTJSTMTTNDTOPTRYTTDTWD"
        "TZSUAHUGXUSDUYUUZSVESVNDVUVWSTXAFXCDXOFXPFYERZARZMW",
    )
)


# ── One word ────────────────────────────────────────────────────────────────────────────────────────────────────

_OUR_IDS = {
    "txn": ("transaction_id", "payment"),
    "rfd": ("refund_id", "refund"),
    "att": ("attempt_id", "attempt"),
    "evt": ("event_id", "event"),
    "whd": ("delivery_id", "webhook delivery"),
    "dsp": ("dispute_id", "dispute"),
    "cus": ("customer_id", "customer"),
}
_NO_PAYMENTS = {
    "pmt": "a stored payment method: look for its customer (cus_…) or for the card's last four digits",
    "pac": "an account at a PSP: look for the provider and a day",
    "whe": "a webhook endpoint: see Webhooks",
    "prt": "a partner: choose it at the top",
    "key": "an API key: see its partner's page",
    "rul": "a version of routing rules: see Routing",
    "apr": "a request for approval: see Approvals",
    "fnd": "a finding: see Reviews",
    "sup": "a person of this console: see People",
}
"""Ids that no index leads from to payments, and what does."""
_ANY_ID = ("transaction_id", "refund_id", "attempt_id", "event_id", "delivery_id", "customer_id")
_PSP_ID = re.compile(
    r"(?:pi|ch|re|py|pyr|du|dp|evt)_\w{8,}|(?=\w*\d)[A-Z0-9]{16,17}|PP-[A-Z]-\w+|WH-[\w-]{8,}"
    r"|[A-Z_]+:[A-Z0-9]{16}:(?:true|false)"  # what `provider_events` calls a notification of Adyen's
)
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@.]{2,}")
_WORDS: dict[str, dict[str, Any]] = {
    **{status.value: {"status": (status.value,)} for status in TransactionStatus},
    **{provider: {"provider": provider} for provider in PROVIDERS},
    **{method: {"payment_method": method} for method in ("card", "bank_transfer", "e_wallet", "crypto")},
    **{word: {"status": ("completed",)} for word in ("paid", "succeeded")},
    **{word: {"status": ("failed",)} for word in ("declined", "refused")},
    **{code.lower(): {"currency": code} for code in _CURRENCIES},
    "canceled": {"status": ("cancelled",)},
    "review": {"needs_review": True},
    "needs_review": {"needs_review": True},
}


def _word(word: str, today: date) -> _Meanings:
    if not word:
        return []
    for read in (_our_id, _uuid, _psp_id, _email, _known, lambda text: _date(text, today), _number):
        meanings = read(word)
        if meanings:
            return meanings
    text = word.removeprefix("#")
    referred = _Meaning(f"reference begins with {text}", {"reference_prefix": text})
    return [referred] if any(not letter.isalpha() for letter in text.strip("-'")) else [_name(text), referred]


def _name(text: str) -> _Meaning:
    return _Meaning(f"name has {text}", {"customer_name": text})


def _our_id(word: str) -> _Meanings:
    prefix, _, rest = word.partition("_")
    if prefix == REFERENCE_SCHEME:
        attempt_id = ids.from_bare(rest.rpartition("_")[2])
        return [] if attempt_id is None else [_Meaning("our reference at a PSP", {"attempt_id": attempt_id})]
    found = ids.from_bare(rest)
    if prefix not in _OUR_IDS or found is None:
        return []
    name, told = _OUR_IDS[prefix]
    return [_Meaning(f"{told} {word}", {name: found})]


def _no_payments(word: str) -> str | None:
    """Why payments are not looked for by this id."""
    prefix, _, rest = word.partition("_")
    if prefix not in _NO_PAYMENTS or ids.from_bare(rest) is None:
        return None
    return f"Payments cannot be looked for by {word}. It is {_NO_PAYMENTS[prefix]}."


def _uuid(word: str) -> _Meanings:
    try:
        found = UUID(word)
    except ValueError:
        return []
    return [_Meaning(f"{name.removesuffix('_id')} {found}", {name: found}) for name in _ANY_ID]


def _psp_id(word: str) -> _Meanings:
    return [_Meaning(f"a PSP's id {word}", {"provider_id": word})] if _PSP_ID.fullmatch(word) else []


def _email(word: str) -> _Meanings:
    if _EMAIL.fullmatch(word):
        return [_Meaning(f"e-mail {word}", {"customer_email": word})]
    if "@" in word and not word.startswith("@"):
        return [_Meaning(f"e-mail begins with {word}", {"customer_email_prefix": word})]
    return []


def _known(word: str) -> _Meanings:
    fields = _WORDS.get(word.lower())
    if fields is None:
        return []
    ((name, value),) = fields.items()
    told = "needs review" if value is True else f"{name.replace('_', ' ')} {word.lower()}"
    return [_Meaning(told, fields)]


def _number(word: str) -> _Meanings:
    if not _PLAIN_NUMBER.fullmatch(word):
        return []
    amounts = [_Meaning(f"amount {amount:f}", {"amount": amount}) for amount in _amounts(word)]
    referred = _Meaning(f"reference begins with {word}", {"reference_prefix": word})
    if not word.isdigit():
        return amounts
    return [_last4(word), *amounts, referred] if len(word) == _LAST_DIGITS else [referred, *amounts]


_LAST_DIGITS = 4
