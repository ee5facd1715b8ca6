from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.providers.far_ends import Switchboard, serve


@pytest_asyncio.fixture(scope="session")
async def switchboard() -> AsyncIterator[Switchboard]:
    switchboard = Switchboard()
    async with serve(switchboard) as base_url:
        switchboard.base_url = base_url
        yield switchboard
