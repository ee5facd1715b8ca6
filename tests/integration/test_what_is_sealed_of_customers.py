"""Promise: personal data and tokens lie sealed, open only in their own row, and move to a new key."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import pytest

from db import customers, ids, payment_methods
from db.customers import Customer, Personal
from db.database import Database, Role
from db.payment_methods import Named, StoredMethod
from db.records import Scope
from db.vault import CannotOpen, Vault
from gateway.partners import Desk
from tests.acceptance.steps import until

ADA = Personal(email="Ada@Example.com", name="Ada", phone="+44 1")
OLD, NEW = os.urandom(32), os.urandom(32)
TOKENS = {"stripe": "pm_secret", "adyen": "ada/SECRET"}


@dataclass(frozen=True, slots=True)
class Shop:
    app: Database
    operators: Database
    scope: Scope

    async def customer(self, vault: Vault, personal: Personal = ADA) -> Customer:
        async with self.app.as_partner(self.scope.partner_id) as connection:
            return await customers.create(
                connection, self.scope, ids.new(), personal=personal, reference="7", metadata={}, vault=vault
            )

    async def method(self, vault: Vault, customer_id: UUID | None = None) -> StoredMethod:
        async with self.app.as_partner(self.scope.partner_id) as connection:
            return await payment_methods.create(
                connection, self.scope, ids.new(), tokens=TOKENS, vault=vault, customer_id=customer_id, type="card"
            )

    async def named(self, vault: Vault, method: StoredMethod) -> Named:
        async with self.app.as_partner(self.scope.partner_id) as connection:
            return await payment_methods.named(
                connection, self.scope, method_id=method.id, customer_id=None, vault=vault
            )

    async def found(self, vault: Vault, email: str) -> list[Customer]:
        async with self.app.as_partner(self.scope.partner_id) as connection:
            return await customers.page(
                connection, self.scope, email=email, reference=None, before=None, limit=10, vault=vault
            )


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    app, operators = [await Database.open(database_url, role) for role in (Role.APP, Role.OPERATOR)]
    made = await Desk(operators, Vault({1: OLD}), "operator:test").create_partner(name="Shop", email="s@shop.example")
    yield Shop(app, operators, Scope(made.id, livemode=False))
    await app.close()
    await operators.close()


async def test_nothing_of_it_can_be_read_in_the_database(shop: Shop, owner: asyncpg.Connection[asyncpg.Record]) -> None:
    customer = await shop.customer(Vault({1: OLD}))
    await shop.method(Vault({1: OLD}), customer.id)
    for table in ("customers", "stored_payment_methods"):
        row = await owner.fetchrow(f"SELECT * FROM {table}")
        assert row is not None
        text = repr(tuple(row)).lower()
        assert not [secret for secret in ("ada", "+44 1", "secret") if secret in text]


async def test_what_is_copied_to_another_row_does_not_open(
    shop: Shop, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    vault = Vault({1: OLD})
    first, second = [await shop.method(vault, (await shop.customer(vault)).id) for _ in range(2)]
    assert (await shop.named(vault, first)).personal == ADA
    for table, column, others in (
        ("stored_payment_methods", "tokens", first.id),
        ("customers", "personal", first.customer_id),
    ):
        await owner.execute(
            f"UPDATE {table} SET {column} = (SELECT {column} FROM {table} WHERE id = $1) WHERE id <> $1", others
        )
        with pytest.raises(CannotOpen):
            await shop.named(vault, second)


async def test_it_moves_to_a_new_key_and_the_old_one_may_go(shop: Shop) -> None:
    old, both, new = Vault({1: OLD}), Vault({2: NEW, 1: OLD}), Vault({2: NEW})
    customer = await shop.customer(old)
    nobody = await shop.customer(old, Personal())
    method, erased = await shop.method(old, customer.id), await shop.method(old)
    async with shop.app.as_partner(shop.scope.partner_id) as connection:
        assert await customers.erase(connection, shop.scope, nobody.id)
        assert await payment_methods.erase(connection, shop.scope, erased.id)
    [before] = await shop.found(both, "ada@example.com")
    assert (before.id, before.personal) == (customer.id, ADA)
    desk = Desk(shop.operators, both, "operator:test")
    used = {(version, what) for version, what, _ in await desk.secrets_in_use()}
    assert used == {(1, "customer"), (1, "stored payment method")}
    assert await desk.reseal() == 2
    assert {version for version, _, _ in await desk.secrets_in_use()} == {2}
    assert await desk.reseal() == 0
    assert [one.id for one in await shop.found(new, "ADA@EXAMPLE.COM")] == [customer.id]
    named = await shop.named(new, method)
    assert named.instrument is not None
    assert (named.instrument.tokens, named.customer_id, named.personal) == (TOKENS, customer.id, ADA)


async def test_what_is_stored_while_its_customer_is_erased_is_erased_with_them(
    shop: Shop, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    vault = Vault({1: OLD})
    customer = await shop.customer(vault)

    async def erase() -> None:
        async with shop.app.as_partner(shop.scope.partner_id) as connection:
            assert await customers.erase(connection, shop.scope, customer.id)
            await payment_methods.erase_of_customer(connection, shop.scope, customer.id)

    async def waiting() -> bool:
        return bool(
            await owner.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        )

    async with shop.app.as_partner(shop.scope.partner_id) as connection:
        assert await customers.keep(connection, shop.scope, customer.id)
        erasing = asyncio.create_task(erase())
        await until(waiting, lambda waits: waits or erasing.done())
        method = await payment_methods.create(
            connection, shop.scope, ids.new(), tokens=TOKENS, vault=vault, customer_id=customer.id, type="card"
        )
    await erasing
    assert (await shop.named(vault, method)).instrument is None


async def test_two_partners_hashes_of_one_address_differ(shop: Shop, owner: asyncpg.Connection[asyncpg.Record]) -> None:
    vault = Vault({1: OLD})
    other = await Desk(shop.operators, vault, "operator:test").create_partner(name="Other", email="o@shop.example")
    for partner in (shop, Shop(shop.app, shop.operators, Scope(other.id, livemode=False))):
        for _ in range(2):
            await partner.customer(vault)
    hashes = await owner.fetch("SELECT partner_id, email_hash FROM customers GROUP BY 1, 2")
    assert len(hashes) == len({row["email_hash"] for row in hashes}) == 2
