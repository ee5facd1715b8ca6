from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from providers import contract
from tests.providers.far_ends import WITH_FAR_END, Line, Switchboard, line_to, serve


@pytest_asyncio.fixture(scope="session")
async def switchboard() -> AsyncIterator[Switchboard]:
    switchboard = Switchboard()
    async with serve(switchboard) as base_url:
        switchboard.base_url = base_url
        yield switchboard


@pytest.fixture(params=WITH_FAR_END)
async def line(request: pytest.FixtureRequest, switchboard: Switchboard) -> AsyncIterator[Line]:
    """To every PSP that has a far end, one after the other."""
    async with line_to(request.param, switchboard) as line:
        yield line


@pytest.fixture
def adapter(line: Line) -> contract.Provider:
    return line.adapter()
