"""The installation's private keys as a deliverer holds them: read beside a claim, never for each delivery."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from db import signing_keys
from db.database import Connection
from db.vault import CannotOpen, Vault

AGE_SECONDS = 30.0
"""A rotation is followed within this time; until then the old key signs, which is published for much longer."""


class Keyring:
    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._private_keys: Sequence[Ed25519PrivateKey] = ()
        self._stale_at = 0.0

    def private_keys(self) -> Sequence[Ed25519PrivateKey]:
        """The current one first. Raises `CannotOpen`: what should be signed with them must not go without."""
        if not self._private_keys:
            raise CannotOpen("no signing key that this process can open")
        return self._private_keys

    async def read(self, connection: Connection) -> None:
        """Where what is held is too old. The first key is made by whoever needs it first."""
        now = asyncio.get_running_loop().time()
        if now < self._stale_at:
            return
        found = await signing_keys.private_keys(connection)
        self._stale_at = now + AGE_SECONDS
        if not found:
            await signing_keys.ensure(connection, self._vault)
            found = await signing_keys.private_keys(connection)
            self._stale_at = now  # this transaction may yet be rolled back, and the key with it
        self._open(found)

    def _open(self, sealed: Sequence[tuple[UUID, bytes]]) -> None:
        try:
            self._private_keys = [signing_keys.open_key(self._vault, key, key_id=key_id) for key_id, key in sealed]
        except CannotOpen:
            self._private_keys = ()
