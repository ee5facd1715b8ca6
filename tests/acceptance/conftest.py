"""A house that the tests of one file share, for promises that do not depend on an empty one."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest

from db import embedded
from tests.house import House, Partner


@pytest.fixture(scope="module")
async def shared_house(postgres: embedded.Server, template: str) -> AsyncIterator[House]:
    """One for a whole file; the money is counted when its last test has ended."""
    name = f"shared_{secrets.token_hex(6)}"
    owner = await asyncpg.connect(postgres.url("postgres"))
    try:
        await owner.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        async with House.opened(postgres.url(name)) as opened:
            yield opened
            await opened.check_invariants()
        await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await owner.close()


@pytest.fixture
async def partner(shared_house: House) -> Partner:
    """A new partner of the shared house."""
    return await shared_house.partner()
