"""API keys: how one looks, how it is issued, and the keyed hash that is stored in its place. Pure.

`sk_{test|live}_` ‖ 8 characters that may be shown ‖ 38 secret characters (226 bits) ‖ 6 characters CRC-32.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

from db.vault import Vault

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHARACTERS = frozenset(_ALPHABET)
PREFIX_LENGTH = 8
SECRET_LENGTH = 38  # 38 × log2(62) = 226 bits
CHECKSUM_LENGTH = 6  # 62⁶ > 2³²
_MODES = {"sk_test_": False, "sk_live_": True}
_MODE_LENGTH = 8
KEY_LENGTH = _MODE_LENGTH + PREFIX_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key in clear: shown to its partner once, never stored, never logged."""

    text: str = field(repr=False)
    livemode: bool

    @property
    def prefix(self) -> str:
        return self.text[_MODE_LENGTH : _MODE_LENGTH + PREFIX_LENGTH]

    @property
    def last4(self) -> str:
        return self.text[-4:]


def issue(*, livemode: bool) -> Key:
    random = "".join(secrets.choice(_ALPHABET) for _ in range(PREFIX_LENGTH + SECRET_LENGTH))
    unchecked = f"sk_{'live' if livemode else 'test'}_{random}"
    return Key(text=unchecked + _checksum(unchecked), livemode=livemode)


def parse(text: str) -> Key | None:
    """The key, or None where it is not one: any single changed character is noticed here or by the hash."""
    livemode = _MODES.get(text[:_MODE_LENGTH])
    if livemode is None or len(text) != KEY_LENGTH or not _CHARACTERS.issuperset(text[_MODE_LENGTH:]):
        return None
    if not hmac.compare_digest(text[-CHECKSUM_LENGTH:], _checksum(text[:-CHECKSUM_LENGTH])):
        return None
    return Key(text=text, livemode=livemode)


@dataclass(frozen=True, slots=True)
class Peppers:
    """The hashing keys by version, the one for new keys first; they live in the settings, never in the database."""

    keys: tuple[tuple[int, bytes], ...] = field(repr=False)

    @classmethod
    def of(cls, vault: Vault) -> Self:
        return cls(tuple((version, vault.derive("api-key-pepper", version)) for version in vault.keys))

    @property
    def current_id(self) -> int:
        return self.keys[0][0]

    def hash(self, key: Key) -> bytes:
        """What is stored for a new key, beside `current_id`."""
        return hmac.digest(self.keys[0][1], key.text.encode(), hashlib.sha256)

    def hashes(self, key: Key) -> Iterator[bytes]:
        """Everything that may be stored for this key: one hash per pepper."""
        for _, pepper in self.keys:
            yield hmac.digest(pepper, key.text.encode(), hashlib.sha256)


def _checksum(text: str) -> str:
    number = zlib.crc32(text.encode())
    digits = ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
