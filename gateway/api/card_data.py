"""Finds card data in what partners send, so that it is refused before it is stored or logged. Pure.

A card number is 13 to 19 digits, alone or in groups, with a valid Luhn digit, that does not run on into a longer word.
Numbers beginning with 0, 1, 20 or 21 belong to no card network (they are times, dates, serial numbers) and pass, except
the 15-digit ones of UATP and old JCB. So does `+` and at most 15 digits: a telephone number.
"""

from __future__ import annotations

import re

FORBIDDEN_NAMES = frozenset(
    {
        "cardcvc",
        "cardcvv",
        "cardno",
        "cardnumber",
        "cardsecuritycode",
        "csc",
        "cvc",
        "cvc2",
        "cvv",
        "cvv2",
        "magstripe",
        "pan",
        "pinblock",
        "primaryaccountnumber",
        "securitycode",
        "track1",
        "track1data",
        "track2",
        "track2data",
        "trackdata",
    }
)
DIGITS_MIN, DIGITS_MAX = 13, 19
PHONE_DIGITS_MAX = 15
_OLD_LENGTH = 15
# At most two separators between two digits. No look-around and nothing after it: it never backtracks over a run.
_RUN = re.compile(r"\d(?:[ \t\u00a0\u2007\u2009\u202f\u2010-\u2015-]{0,2}\d){12,}")
_DIGITS = re.compile(r"\d+")
_NO_DIGITS = bytes(set(range(128)) - set(b"0123456789"))
_NO_NETWORK = ("0", "1", "20", "21")


def is_forbidden_name(name: str) -> bool:
    """`cvc`, `CVV2`, `card-number`, `card_number` …"""
    return "".join(filter(str.isalnum, name)).lower() in FORBIDDEN_NAMES


def holds_card_number(text: str) -> bool:
    if len(text) < DIGITS_MIN or (text.isascii() and len(text.encode().translate(None, _NO_DIGITS)) < DIGITS_MIN):
        return False  # the quick way out of nearly every text
    return any(_run_holds_card(text, run) for run in _RUN.finditer(text))


def is_card_number(digits: str) -> bool:
    if not DIGITS_MIN <= len(digits) <= DIGITS_MAX:
        return False
    if digits.startswith(_NO_NETWORK) and not (len(digits) == _OLD_LENGTH and digits.startswith(("1", "2131"))):
        return False
    return _luhn(digits)


def _run_holds_card(text: str, run: re.Match[str]) -> bool:
    """Any neighbouring groups of the run that together are a card number."""
    groups = _DIGITS.findall(run[0])
    if run.end() < len(text) and text[run.end()].isalnum():
        groups.pop()
    if run.start() > 0:
        before = text[run.start() - 1]
        if before == "+" and sum(map(len, groups)) <= PHONE_DIGITS_MAX:
            return False
        if before.isalnum():
            groups = groups[1:]
    return any(_begins_card(groups[first : first + DIGITS_MAX]) for first in range(len(groups)))


def _begins_card(groups: list[str]) -> bool:
    digits = ""
    for group in groups:
        digits += group
        if len(digits) > DIGITS_MAX:
            return False
        if is_card_number(digits):
            return True
    return False


def _luhn(digits: str) -> bool:
    total = 0
    for position, digit in enumerate(map(int, reversed(digits))):
        doubled = digit * 2 if position % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled  # noqa: PLR2004 - the sum of its two digits
    return total % 10 == 0
