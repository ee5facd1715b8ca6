"""Days as people write them: 2026-11-03, 3.11.2026, 3/11, 3 Nov, November 3, Nov 2026, yesterday. Pure; in UTC."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeAlias

Days: TypeAlias = tuple[date, date]
"""The first and the last."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_GERMAN = {"mär": 3, "mai": 5, "okt": 10, "dez": 12}
_MONTH = r"(?P<{}>(?:jan|feb|mar|mär|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)[a-zä]{{0,6}})\.?"
PATTERN = re.compile(
    rf"\b(?P<day>\d{{1,2}})(?:\.|st|nd|rd|th)?\s+{_MONTH.format('month')}(?:,?\s+(?P<year>\d{{4}}))?\b"
    rf"|\b{_MONTH.format('month_first')}\s+(?P<day_last>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,?\s+(?P<year_last>\d{{4}}))?"
    rf"|\b{_MONTH.format('whole_month')}\s+(?P<whole_year>\d{{4}})\b",
    re.IGNORECASE,
)
"""Those of several words; `read` knows the ones of one word, too."""
_ISO = re.compile(r"(\d{4})-(\d\d)(?:-(\d\d))?")
_DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4}|\d\d)?")
_SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})(?:/(\d{4}|\d\d))?")
_RELATIVE = {"today": 0, "heute": 0, "yesterday": 1, "gestern": 1}


def read(text: str, today: date) -> list[Days]:
    """What the text may mean, the likelier first; empty where it is no date."""
    if text.lower() in _RELATIVE:
        day = today - timedelta(days=_RELATIVE[text.lower()])
        return [(day, day)]
    if iso := _ISO.fullmatch(text):
        return _days(iso[1], iso[2], iso[3], today) if iso[3] else _whole_month(int(iso[1]), int(iso[2]))
    if dotted := _DOTTED.fullmatch(text):
        return _days(dotted[3], dotted[2], dotted[1], today)
    if slashed := _SLASHED.fullmatch(text):
        first, second, year = slashed.groups()
        both = [*_days(year, second, first, today), *_days(year, first, second, today)]
        return list(dict.fromkeys(both))
    return _in_words(text, today)


def _in_words(text: str, today: date) -> list[Days]:
    found = PATTERN.fullmatch(text)
    if found is None:
        return []
    if found["whole_month"]:
        return _whole_month(int(found["whole_year"]), _number(found["whole_month"]))
    month = _number(found["month"] or found["month_first"])
    return _days(found["year"] or found["year_last"], str(month), found["day"] or found["day_last"], today)


def _number(month: str) -> int:
    head = month[:3].lower()
    return _GERMAN.get(head) or _MONTHS.index(head) + 1


def _days(year: str | None, month: str, day: str, today: date) -> list[Days]:
    """One day; without a year the last such day."""
    try:
        if year is not None:
            found = date(int(year) + (2000 if len(year) == 2 else 0), int(month), int(day))  # noqa: PLR2004 - 26 is 2026
        else:
            found = date(today.year, int(month), int(day))
            found = found if found <= today else found.replace(year=today.year - 1)
    except ValueError:
        return []
    return [(found, found)]


def _whole_month(year: int, month: int) -> list[Days]:
    try:
        return [(date(year, month, 1), date(year, month, monthrange(year, month)[1]))]
    except ValueError:
        return []


def told(days: Days) -> str:
    first, last = days
    return f"on {first}" if first == last else f"from {first} to {last}"


def just_before(day: date) -> datetime:
    """The last moment that is not of it, if there is one: `created_after` excludes itself."""
    begin = datetime.combine(day, time(), UTC)
    return begin - timedelta(microseconds=1) if day > date.min else begin


def end_of(day: date) -> datetime:
    """The first moment after it; the calendar's last for its last day."""
    begin = datetime.combine(day, time(), UTC)
    return begin + timedelta(days=1) if day < date.max else datetime.max.replace(tzinfo=UTC)
