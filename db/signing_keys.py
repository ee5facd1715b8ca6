"""The installation's ed25519 key pairs: who has the public half can prove that a webhook came from here.

One is current; those it replaced sign beside it until they retire. Private halves are sealed here and opened here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from db import ids, shapes
from db.database import Connection
from db.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """Its public half."""

    id: UUID
    public_key: bytes
    created_at: datetime
    retires_at: datetime | None


_KEY = shapes.columns(SigningKey)
_IN_USE = "(retires_at IS NULL OR retires_at > now())"


async def in_use(connection: Connection) -> list[SigningKey]:
    """Those that sign, the current one first."""
    rows = await connection.fetch(f"SELECT {_KEY} FROM signing_keys WHERE {_IN_USE} ORDER BY retires_at DESC, id DESC")
    return [shapes.read(SigningKey, row) for row in rows]


async def private_keys(connection: Connection) -> list[tuple[UUID, bytes]]:
    """(id, sealed private half) of those that sign, the current one first; as the worker."""
    rows = await connection.fetch(
        f"SELECT id, private_key FROM signing_keys WHERE {_IN_USE} ORDER BY retires_at DESC, id DESC"
    )
    return [(row["id"], row["private_key"]) for row in rows]


async def ensure(connection: Connection, vault: Vault) -> None:
    """Make the first key where there is none; whoever else makes it at the same time is waited for."""
    await _insert(connection, vault, otherwise="ON CONFLICT DO NOTHING")


async def rotate(connection: Connection, vault: Vault, *, overlap: timedelta) -> SigningKey:
    """From now on a new key signs, and for `overlap` the one it replaces beside it.

    Raises `asyncpg.UniqueViolationError` where another rotation, or the first key, came at the same time.
    """
    await connection.execute(
        "UPDATE signing_keys SET retires_at = now() + $1::interval WHERE retires_at IS NULL", overlap
    )
    (fresh,) = await _insert(connection, vault)
    return fresh


async def reseal(connection: Connection, vault: Vault) -> int:
    """Seal with the vault's sealing key what another version sealed, as the operator; how many keys."""
    rows = await connection.fetch(
        f"SELECT id, private_key FROM signing_keys WHERE {_IN_USE} AND get_byte(private_key, 0) <> $1 FOR UPDATE",
        vault.sealing,
    )
    for row in rows:
        sealed = _seal(vault, row["id"], open_key(vault, row["private_key"], key_id=row["id"]))
        await connection.execute("UPDATE signing_keys SET private_key = $2 WHERE id = $1", row["id"], sealed)
    return len(rows)


def open_key(vault: Vault, sealed: bytes, *, key_id: UUID) -> Ed25519PrivateKey:
    """Raises `vault.CannotOpen`."""
    return Ed25519PrivateKey.from_private_bytes(vault.open(sealed, _context(key_id)))


async def _insert(connection: Connection, vault: Vault, *, otherwise: str = "") -> Sequence[SigningKey]:
    key_id, private = ids.new(), Ed25519PrivateKey.generate()
    rows = await connection.fetch(
        f"INSERT INTO signing_keys (id, public_key, private_key) VALUES ($1, $2, $3) {otherwise} RETURNING {_KEY}",
        key_id,
        private.public_key().public_bytes_raw(),
        _seal(vault, key_id, private),
    )
    return [shapes.read(SigningKey, row) for row in rows]


def _seal(vault: Vault, key_id: UUID, private: Ed25519PrivateKey) -> bytes:
    return vault.seal(private.private_bytes_raw(), _context(key_id))


def _context(key_id: UUID) -> str:
    return f"signing_keys.private_key/{key_id}"
