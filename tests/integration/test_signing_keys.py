"""There is always one current signing key, whose successor is known everywhere before it stops to sign."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from db import signing_keys
from db.database import Database, Role
from db.vault import CannotOpen, Vault
from gateway import runtime
from gateway.api import signing_keys as published
from gateway.app import create_app
from gateway.config import Settings
from tests.integration.commands import told
from webhooks.keyring import Keyring

VAULT = Vault({1: bytes(range(32))})
DAY = timedelta(hours=24)


@pytest.fixture
async def worker(database_url: str) -> AsyncIterator[Database]:
    database = await Database.open(database_url, Role.WORKER)
    yield database
    await database.close()


@pytest.fixture
async def operator(database_url: str) -> AsyncIterator[Database]:
    database = await Database.open(database_url, Role.OPERATOR)
    yield database
    await database.close()


async def in_use(database: Database) -> list[bytes]:
    async with database.as_system() as connection:
        return [key.public_key for key in await signing_keys.in_use(connection)]


def public(keys: Any) -> list[bytes]:
    halves: list[Ed25519PrivateKey] = list(keys)
    return [key.public_key().public_bytes_raw() for key in halves]


async def test_whoever_makes_the_first_key_there_is_one(worker: Database) -> None:
    async def begin() -> None:
        async with worker.as_system() as connection:
            await signing_keys.ensure(connection, VAULT)

    await asyncio.gather(*(begin() for _ in range(8)))
    assert len(await in_use(worker)) == 1
    first = await in_use(worker)
    await begin()
    assert await in_use(worker) == first


async def test_a_rotation_lets_both_keys_sign_until_the_old_one_retires(worker: Database, operator: Database) -> None:
    async with operator.as_system() as connection:
        old = await signing_keys.rotate(connection, VAULT, overlap=DAY)
        new = await signing_keys.rotate(connection, VAULT, overlap=DAY)
    assert old.retires_at is None
    async with operator.as_system() as connection:
        current, former = await signing_keys.in_use(connection)
    assert (current, former.id) == (new, old.id)
    assert former.retires_at is not None
    assert timedelta(hours=23) < former.retires_at - datetime.now(UTC) <= DAY
    async with worker.as_system() as connection:
        sealed = await signing_keys.private_keys(connection)
    opened = [signing_keys.open_key(VAULT, private, key_id=key_id) for key_id, private in sealed]
    assert public(opened) == [new.public_key, old.public_key]
    with pytest.raises(CannotOpen):
        signing_keys.open_key(VAULT, sealed[0][1], key_id=old.id)
    async with operator.as_system() as connection:
        newest = await signing_keys.rotate(connection, VAULT, overlap=timedelta(0))
    assert await in_use(worker) == [newest.public_key, old.public_key]


async def test_the_api_cannot_read_a_private_half(worker: Database, database_url: str) -> None:
    app = await Database.open(database_url, Role.APP)
    async with worker.as_system() as connection:
        await signing_keys.ensure(connection, VAULT)
    assert len(await in_use(app)) == 1
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with app.as_system() as connection:
            await signing_keys.private_keys(connection)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with app.as_system() as connection:
            await signing_keys.ensure(connection, VAULT)
    await app.close()


async def test_a_key_made_in_a_transaction_that_failed_signs_nothing_later(worker: Database) -> None:
    keyring = Keyring(VAULT)

    async def fail() -> None:
        async with worker.as_system() as connection:
            await keyring.read(connection)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    lost = public(keyring.private_keys())
    async with worker.as_system() as connection:
        await keyring.read(connection)
    assert public(keyring.private_keys()) == await in_use(worker) != lost


async def test_a_deliverer_asks_again_only_when_what_it_holds_is_old(worker: Database, operator: Database) -> None:
    keyring = Keyring(VAULT)
    for _ in range(2):
        async with worker.as_system() as connection:
            await keyring.read(connection)
    held = public(keyring.private_keys())
    async with operator.as_system() as connection:
        new = await signing_keys.rotate(connection, VAULT, overlap=DAY)
    async with worker.as_system() as connection:
        await keyring.read(connection)
        assert public(keyring.private_keys()) == held
        keyring._stale_at = 0.0  # half a minute later
        await keyring.read(connection)
    assert public(keyring.private_keys()) == [new.public_key, *held]


async def test_a_key_that_cannot_be_opened_is_not_passed_over(worker: Database, operator: Database) -> None:
    async with operator.as_system() as connection:
        await signing_keys.rotate(connection, Vault({2: bytes(32)}), overlap=DAY)
        await signing_keys.rotate(connection, VAULT, overlap=DAY)
    keyring = Keyring(VAULT)
    with pytest.raises(CannotOpen):
        keyring.private_keys()
    async with worker.as_system() as connection:
        await keyring.read(connection)
    with pytest.raises(CannotOpen):
        keyring.private_keys()


async def test_operators_list_and_rotate_what_is_published(database_url: str) -> None:
    settings = Settings(database_url=database_url, secret_keys={1: os.urandom(32)})
    assert await told(settings, "signing-keys", "list") == []
    first = await told(settings, "signing-keys", "rotate")
    second = await told(settings, "signing-keys", "rotate", "--overlap-hours", "1")
    listed = await told(settings, "signing-keys", "list")
    assert [key["id"] for key in listed] == [second["id"], first["id"]]
    async with runtime.opened(settings, Role.APP) as opened:
        transport = httpx.ASGITransport(create_app(opened))
        async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as anyone:
            assert (await anyone.get("/.well-known/webhook-signing-keys")).json()["data"] == listed
        async with opened.database.as_system() as connection:
            (current, _) = await signing_keys.in_use(connection)
        assert published.key_body(current) == second
    owner = await asyncpg.connect(database_url)
    lines = await owner.fetch(
        "SELECT resource_id, changes FROM audit_logs WHERE action = 'signing_key.rotated' ORDER BY id"
    )
    assert [line["resource_id"] for line in lines] == [first["id"], second["id"]]
    assert "overlap_hours" in lines[1]["changes"]
    await owner.close()
