"""The house with its wires in the tests' hands."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from db import embedded
from gateway.transactions import journal
from tests.conftest import cloned
from tests.faults.wires import Wires, wired
from tests.house import TLS, Partner


@pytest.fixture(scope="module")
async def shared_wires(postgres: embedded.Server, template: str) -> AsyncIterator[Wires]:
    """One for all tests of a file; the money is counted after the last."""
    async with cloned(postgres, template) as url, wired(url) as wires:
        yield wires
        await wires.house.check_invariants()


@pytest.fixture
async def wires(shared_wires: Wires) -> AsyncIterator[Wires]:
    """All is well again after the test, whatever it did to them."""
    yield shared_wires
    shared_wires.heal()
    await shared_wires.psp_goes_on()


@pytest.fixture
def impatient_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outcome waits for the database half a second instead of eight."""
    monkeypatch.setattr(journal, "RETRY_SECONDS", (0.1, 0.4))


@pytest.fixture
async def partner(wires: Wires) -> Partner:
    return await wires.house.partner()


@pytest.fixture
async def shop(wires: Wires, partner: Partner) -> AsyncIterator[Partner]:
    """The same partner, calling through the front proxy."""
    headers = {"Authorization": f"Bearer {partner.api_key}"}
    async with httpx.AsyncClient(base_url=wires.front_url, headers=headers, timeout=60, verify=TLS) as client:
        yield Partner(partner.id, partner.api_key, client)
