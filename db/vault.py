"""Sealing of secrets that must be stored: AES-256-GCM under a versioned key, bound to the row it belongs to.

A sealed value is `version (1 byte) ‖ nonce (12) ‖ ciphertext`. The context names table, column and row, so a value
copied to another row does not open. Keys come from the process's settings, never from the database.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12


class CannotOpen(Exception):
    """The key version is not among this process's keys, or the value was moved or changed."""


@dataclass(frozen=True, slots=True)
class Vault:
    """All keys by version (1 to 255): the first seals, every one opens."""

    keys: Mapping[int, bytes] = field(repr=False)

    @property
    def sealing(self) -> int:
        """The version that seals; the others only open."""
        return next(iter(self.keys))

    def seal(self, plain: bytes, context: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        sealed = AESGCM(self._sealing_key(self.sealing)).encrypt(nonce, plain, context.encode())
        return bytes([self.sealing]) + nonce + sealed

    def open(self, sealed: bytes, context: str) -> bytes:
        """Raises `CannotOpen`."""
        version, nonce, ciphertext = sealed[0], sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        if version not in self.keys:
            raise CannotOpen(f"sealed with key version {version}, which PAYGATE_SECRET_KEYS does not hold")
        try:
            return AESGCM(self._sealing_key(version)).decrypt(nonce, ciphertext, context.encode())
        except InvalidTag:
            raise CannotOpen(f"the sealed value of {context} was changed, moved or sealed with another key") from None

    def derive(self, purpose: str, version: int | None = None) -> bytes:
        """A key of its own for another purpose (API-key pepper, PSP keys), so that no key serves two."""
        return hmac.digest(self.keys[version or self.sealing], f"paygate/{purpose}".encode(), hashlib.sha256)

    def _sealing_key(self, version: int) -> bytes:
        return self.derive("seal", version)
