from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from tests.browser import chromium
from tests.browser.chromium import Browser
from tests.browser.shop import Shop
from tests.house import House, Partner, serve


@pytest.fixture(scope="module")
async def driver(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    if chromium.found() is None:
        pytest.skip("no Chromium with its driver is on PATH; on Debian: apt install chromium chromium-driver")
    async with chromium.driving(tmp_path_factory.mktemp("home")) as driver:
        yield driver


@pytest.fixture
async def browser(driver: httpx.AsyncClient, tmp_path: Path) -> AsyncIterator[Browser]:
    async with chromium.opened(driver, tmp_path / "profile") as browser:
        yield browser


@pytest.fixture
async def partner(browser: Browser, shared_house: House) -> Partner:
    """Hears of everything by webhook. Asked for after the browser: without one no house is built."""
    partner = await shared_house.partner()
    await shared_house.subscribed(partner)
    return partner


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        shop = Shop()
        shop.url = await serve(stack, shop.app)
        yield shop
