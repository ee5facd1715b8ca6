"""Passwords of people: how they are hashed, and which are refused.

Refused is what guessers try first: too short, a common word or a keyboard's row with anything around it, the person's
own or the product's words. There is no network here to ask a list of breached passwords, and no rule that asks for
digits or marks: those make passwords that guessers know.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

T = TypeVar("T")

LENGTH_MIN, LENGTH_MAX = 12, 255
"""PCI DSS 8.3.6 asks for 12."""
OWN_MIN = 8
"""Characters that must be left when common words and the person's own are taken out."""
DISTINCT_MIN = 5
_HASHER = PasswordHasher()
"""Argon2id with the library's parameters (RFC 9106, second choice): 64 MiB, 3 rounds."""
_NOBODYS = _HASHER.hash(secrets.token_urlsafe())
"""What an unknown person's password is compared with, so that it takes as long."""
_THREADS = ThreadPoolExecutor(2, "argon2")
"""A hash takes 0.1 s and 64 MiB: off the event loop, and however many ask, two at a time."""
_WALKS = (
    "01234567890123456789",
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnmqwertyuiop",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "1q2w3e4r5t6y7u8i9o0p",
    "qazwsxedcrfvtgbyhnujm",
    "q1w2e3r4t5y6u7i8o9p0",
    "a1b2c3d4e5f6g7h8i9j0",
)
_WALK_MIN = 3
_COMMON = (
    *("password", "passwort", "passphrase", "motdepasse", "contrasena", "iloveyou", "welcome", "letmein", "changeme"),
    *("administrator", "admin", "superuser", "default", "secret", "trustno", "whatever", "unbelievable", "sunshine"),
    *("princess", "football", "baseball", "basketball", "superman", "batman", "spiderman", "starwars", "pokemon"),
    *("monkey", "dragon", "master", "shadow", "michael", "jennifer", "christopher", "alexander", "liverpool"),
    *("manchester", "chelsea", "arsenal", "metallica", "samsung", "internet", "computer", "google", "facebook"),
    *("microsoft", "spring", "summer", "autumn", "winter", "january", "february", "november", "december"),
    *("correcthorsebatterystaple", "thisisa", "mypass", "hello", "charlie", "freedom", "mustang", "test", "temp"),
)
"""The words of which lists of leaked passwords are mostly made, digits and marks left out."""
_PRODUCT = ("paygate", "console", "support", "payment")
_LEET = str.maketrans("013457@$!|", "oieastasii")
_WORD_MIN = 4


def weakness(password: str, own: Iterable[str] = ()) -> str | None:
    """What is wrong with it, as the end of a sentence; None: nothing. `own`: the person's name, address."""
    if not LENGTH_MIN <= len(password) <= LENGTH_MAX:
        return f"must have {LENGTH_MIN} to {LENGTH_MAX} characters"
    plain = password.lower()
    if len(set(plain)) < DISTINCT_MIN:
        return "repeats too few characters"
    words = sorted({*_words(own), *_PRODUCT, *_COMMON}, key=len, reverse=True)
    for spelling in (plain, plain.translate(_LEET)):
        rest = spelling
        for word in words:
            rest = rest.replace(word, "")
        if len(_without_repeats(_without_walks(rest))) < OWN_MIN:
            return "is made of words and rows of keys that are tried first"
    return None


async def hashed(password: str) -> str:
    return await _off_loop(_HASHER.hash, password)


async def fits(password: str, stored: str | None) -> bool:
    """Whether this is the password; None as `stored` takes as long as a wrong one."""
    return await _off_loop(_verify, stored or _NOBODYS, password) and stored is not None


def is_outdated(stored: str) -> bool:
    """Hashed with other parameters than today's."""
    return _HASHER.check_needs_rehash(stored)


def random() -> str:
    """For handing over: 120 bits."""
    return secrets.token_urlsafe(15)


def _verify(stored: str, password: str) -> bool:
    try:
        return _HASHER.verify(stored, password)
    except (VerifyMismatchError, InvalidHashError):
        return False


async def _off_loop(work: Callable[..., T], *values: str) -> T:
    return await asyncio.get_running_loop().run_in_executor(_THREADS, work, *values)


def _words(own: Iterable[str]) -> set[str]:
    return {word for text in own for word in re.findall(r"\w+", text.lower()) if len(word) >= _WORD_MIN}


def _without_walks(text: str) -> str:
    """Without runs of neighbours on a keyboard or in the alphabet, forwards or backwards."""
    kept, at = "", 0
    while at < len(text):
        length = max(_walk(text[at:], walk) for row in _WALKS for walk in (row, row[::-1]))
        if length < _WALK_MIN:
            kept, length = kept + text[at], 1
        at += length
    return kept


def _walk(text: str, row: str) -> int:
    """How far the text's beginning stands in the row."""
    length = 0
    while length < len(text) and text[: length + 1] in row:
        length += 1
    return length


def _without_repeats(text: str) -> str:
    """`abcabcabc` → `abc`."""
    return re.sub(r"(.+?)\1+", r"\1", text)
