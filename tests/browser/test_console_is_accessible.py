"""Every page of the console can be used by everybody: WCAG 2.2 AA as far as a program can tell, light and dark."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway import counting
from gateway.console.routes import ROUTES
from tests import support_desk
from tests.browser import accessibility
from tests.browser.chromium import Browser
from tests.house import House, Partner
from tests.support_desk import SupportDesk

PAGES = sorted(f"/console{route.path}" for route in ROUTES if route.method == "GET" and "{" not in route.path)
NARROW = 320
"""CSS pixels: what a page must fit into without scrolling sideways (WCAG 1.4.10)."""


@pytest.fixture
async def desk(browser: Browser, shared_house: House) -> AsyncIterator[SupportDesk]:
    """Asked for after the browser: without one no house is built."""
    async with support_desk.opened(shared_house) as beside:
        yield beside


@pytest.fixture
async def looked_at(browser: Browser, desk: SupportDesk) -> Partner:
    """A partner with charges of several kinds, looked at by an admin who came in through the form."""
    partner = await desk.house.partner()
    for token in ("pm_card_visa", "pm_card_visa_chargeDeclined", "pm_card_threeDSecure2Required"):
        await partner.charge(token, return_url="https://shop.example/", customer={"email": "ada@shop.example"})
    await counting.count_due(desk.house.background)
    invited = await desk.invited("admin")
    await browser.open(f"{desk.house.base_url}/console/sign-in?then=/console/reach")
    await browser.type_into("E-mail", invited.person.email)
    await browser.type_into("Password", invited.password)
    await browser.press("Sign in")
    await browser.led_to("/console/reach")
    await browser.press("Look at this partner")
    await browser.led_to("/console/search")
    return partner


async def opened(browser: Browser, desk: SupportDesk, page: str) -> None:
    await browser.open(desk.house.base_url + page)
    status = await browser.run_script("return performance.getEntriesByType('navigation')[0].responseStatus")
    assert status == 200, page


@pytest.mark.usefixtures("looked_at")
async def test_no_page_has_a_barrier(browser: Browser, desk: SupportDesk) -> None:
    found = []
    for page in PAGES:
        await opened(browser, desk, page)
        for colours in ("light", "dark"):
            await browser.prefer(colours)
            found += [f"{page}, {colours}: {one}" for one in await accessibility.violations(browser)]
    assert not found, "\n".join(found)


@pytest.mark.usefixtures("looked_at")
async def test_no_page_scrolls_sideways_on_a_small_screen(browser: Browser, desk: SupportDesk) -> None:
    await browser.resize(NARROW, 640)
    wide = {}
    for page in PAGES:
        await opened(browser, desk, page)
        wide[page] = await browser.run_script("return document.documentElement.scrollWidth")
    assert {page: width for page, width in wide.items() if width > NARROW} == {}


async def test_a_barrier_is_found(browser: Browser) -> None:
    await browser.open("data:text/html,<html><title>A form</title><input><p style='color:%23999'>pale</p></html>")
    rules = {one.partition(":")[0] for one in await accessibility.violations(browser)}
    assert rules == {"color-contrast", "html-has-lang", "label"}
