"""Support staff in a real browser: they come in by two factors, find a payment, act on it; nothing foreign runs."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest

from db import ids
from db.support_users import SupportRole
from gateway.people import Invited
from tests import support_desk
from tests.acceptance.steps import until
from tests.browser import chromium
from tests.browser.chromium import Browser
from tests.console.test_findings import found
from tests.house import House, Json, Partner
from tests.support_desk import SupportDesk

HOSTILE = "\"><img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"


@pytest.fixture
async def desk(browser: Browser, shared_house: House) -> AsyncIterator[SupportDesk]:
    """Asked for after the browser: without one no house is built."""
    async with support_desk.opened(shared_house, console_second_factor=True) as beside:
        yield beside


@pytest.fixture
async def colleague(driver: httpx.AsyncClient, tmp_path: Path) -> AsyncIterator[Browser]:
    async with chromium.opened(driver, tmp_path / "colleague") as browser:
        yield browser


async def come_in(browser: Browser, desk: SupportDesk, role: SupportRole, partner: Partner) -> Invited:
    """Somebody new: by password, and by a second factor that is set up on the way."""
    invited = await desk.invited(role, name=f"The {role}")
    await browser.open(f"{desk.house.base_url}/console/")
    await browser.type_into("E-mail", invited.person.email)
    await browser.type_into("Password", invited.password)
    await browser.press("Sign in")
    await browser.follow("Type it instead")
    secret = await browser.run_script("return document.querySelector('code').innerText")
    await browser.type_into("Code", pyotp.TOTP(secret).now())
    await browser.press("Confirm")
    await seen(browser, "Payments")
    await browser.open(f"{desk.house.base_url}/console/reach")
    choose = "const choice = document.getElementById('partner'); choice.value = arguments[0]; return choice.value"
    assert await browser.run_script(choose, ids.encode("prt", partner.id))
    await browser.press("Look at this partner")
    await browser.led_to("/console/search")
    return invited


async def charged(partner: Partner, **members: Any) -> Json:
    answer = await partner.charge(**members)
    assert answer.status_code == 201, answer.text
    made: Json = answer.json()
    return made


async def search(browser: Browser, text: str) -> None:
    await browser.type_into("Find a payment", text + "\n")


async def seen(browser: Browser, wanted: str) -> str:
    """The page's text, once it holds this."""
    return await until(browser.text, lambda text: wanted in text)


async def test_a_customer_on_the_phone_is_helped_by_two_people(
    browser: Browser, colleague: Browser, desk: SupportDesk, partner: Partner
) -> None:
    customer = {"email": "grace.hopper@example.com", "name": "Grace Hopper"}
    await charged(partner, amount="12.00", customer={"email": "somebody@example.com"})
    payment = await charged(partner, amount="249.90", customer=customer, reference="order-77")
    await come_in(browser, desk, SupportRole.SUPPORT, partner)

    await search(browser, payment["provider_transaction_id"])
    await browser.led_to(payment["id"])  # a PSP's id leads straight to its payment

    await search(browser, "grace.hopper@ 249.90")
    page = await seen(browser, "Grace Hopper")
    assert "e-mail begins with grace.hopper@" in page
    assert "somebody@example.com" not in page
    await browser.follow(await browser.run_script("return document.querySelector('tbody a').innerText"))

    await browser.follow("Refund")
    await browser.type_into("Amount in USD", "200")
    await browser.press("Refund")
    await seen(browser, "Nothing was sent")
    assert "Approve and refund" not in await browser.text(), "nobody approves what they asked for"

    await come_in(colleague, desk, SupportRole.FINANCE, partner)
    await colleague.open(f"{desk.house.base_url}/console/approvals")
    await colleague.open(f"{desk.house.base_url}/console/transactions/{payment['id']}")
    await colleague.press("Approve and refund 200.00 USD")
    await colleague.accept()
    await seen(colleague, "partially refunded")
    shown = (await partner.get(f"/v1/transactions/{payment['id']}")).json()
    assert (shown["status"], shown["amount_refunded"]) == ("partially_refunded", "200.00")

    heard = await desk.house.receiver.event("transaction.partially_refunded", payment["id"])
    await colleague.press("Send again")
    await seen(colleague, "is sent once more")
    await desk.house.receiver.until(
        lambda events: len([one for one in events if one["data"]["id"] == payment["id"]]) > 3
    )
    assert heard["data"]["id"] == payment["id"]


async def test_a_list_leaves_as_a_file_that_no_spreadsheet_runs(
    browser: Browser, desk: SupportDesk, partner: Partner, tmp_path: Path
) -> None:
    await charged(partner, reference="=HYPERLINK(1)", customer={"name": HOSTILE})
    await come_in(browser, desk, SupportRole.SUPPORT, partner)
    await browser.save_files_to(tmp_path)
    await browser.open(f"{desk.house.base_url}/console/search")
    await browser.follow("Export all of these as CSV")
    await browser.press("Download the file")

    async def saved() -> list[Path]:
        return list(tmp_path.glob("paygate-payments-*.csv"))

    files = await until(saved, bool)
    (row,) = [
        one for one in csv.DictReader(io.StringIO(files[0].read_text("utf-8-sig"))) if "HYPER" in one["reference"]
    ]
    assert (row["reference"], row["name"]) == ("'=HYPERLINK(1)", HOSTILE)


async def test_what_a_partner_sends_is_shown_and_never_run(
    browser: Browser, desk: SupportDesk, partner: Partner
) -> None:
    payment = await charged(
        partner, reference=HOSTILE, description=HOSTILE, customer={"name": HOSTILE}, metadata={"note": HOSTILE}
    )
    await come_in(browser, desk, SupportRole.ADMIN, partner)
    for path in ("search", "search?q=" + "%22%3E%3Cscript%3E", f"transactions/{payment['id']}", "webhooks", "audit"):
        await browser.open(f"{desk.house.base_url}/console/{path}")
        assert (await browser.title()).endswith("· Paygate")
        assert await browser.run_script("return document.querySelectorAll('main img, main script').length") == 0
    await browser.open(f"{desk.house.base_url}/console/transactions/{payment['id']}")
    assert "<script>" in await browser.text()


async def test_an_admin_answers_a_finding_in_one_of_several_ways(
    browser: Browser, desk: SupportDesk, partner: Partner
) -> None:
    _, path = await found(desk.house, partner.id, captured="20.00")
    await come_in(browser, desk, SupportRole.ADMIN, partner)
    for button, told in (("Let refunds go on", "go on although it stands"), ("Close", "It is closed.")):
        await browser.open(f"{desk.house.base_url}{path}")
        await browser.type_into("Because", "one row, ticket 4711")
        await browser.press(button)
        await seen(browser, told)
