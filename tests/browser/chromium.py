"""A real Chromium, told what to do over WebDriver, JSON over HTTP (https://www.w3.org/TR/webdriver2/). No library."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.acceptance.steps import until
from tests.house import TLS, WAIT_SECONDS

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DRIVER = "chromedriver"
FLAGS = (
    "--headless",
    "--no-sandbox",  # its sandbox refuses root, which a container's user is; every page here is ours
    "--disable-gpu",
    "--disable-dev-shm-usage",  # a container's /dev/shm is small
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The name under which WebDriver hands out an element's id, fixed by the standard."""
_NOT_YET = ("no such element", "stale element reference")
"""The page that holds the element is on its way: a click returns before the next page has come."""


def found() -> str | None:
    """The browser's program; None unless its driver is there as well."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    return browser if shutil.which(DRIVER) else None


@dataclass(frozen=True, slots=True)
class Browser:
    """One window of a browser with a fresh profile."""

    driver: httpx.AsyncClient
    session: str

    async def open(self, url: str) -> None:
        """Returns once the page is loaded."""
        await _tell(self.driver, "POST", f"{self.session}/url", {"url": url})

    async def press(self, name: str) -> None:
        """The button of exactly this name."""
        await self._act(f"//button[normalize-space()='{name}']", "click", {})

    async def follow(self, name: str) -> None:
        """The first link, or what opens details, of exactly this name."""
        await self._act(f"//a[normalize-space()='{name}'] | //summary[normalize-space()='{name}']", "click", {})

    async def accept(self) -> None:
        """What the page asks before it acts."""
        await _tell(self.driver, "POST", f"{self.session}/alert/accept", {})

    async def type_into(self, label: str, text: str) -> None:
        """Into the field that this label names, in place of what it holds."""
        field = f"//*[@id=//label[normalize-space()='{label}']/@for]"
        await self._act(field, "clear", {})
        await self._act(field, "value", {"text": text})

    async def led_to(self, place: str) -> None:
        """Waits for the page whose address ends so: a click is answered before the next page is there."""
        await until(self.address, lambda address: address.endswith(place))

    async def text(self) -> str:
        """What the page shows."""
        return str(await self.run_script("return document.body?.innerText ?? ''"))

    async def _act(self, path: str, act: str, body: object) -> None:
        """Once it is there. Raises `TimeoutError`, and `AssertionError` for what else the driver refuses."""
        await until(lambda: self._acted(path, act, body), bool)

    async def _acted(self, path: str, act: str, body: object) -> bool:
        found = await self.driver.post(f"{self.session}/element", json={"using": "xpath", "value": path})
        if found.is_success:
            element = found.json()["value"][ELEMENT]
            found = await self.driver.post(f"{self.session}/element/{element}/{act}", json=body)
        assert found.is_success or found.json()["value"]["error"] in _NOT_YET, found.text
        return found.is_success

    async def run_script(self, script: str, *given: object) -> Any:
        """A function's body in the page, whatever its CSP allows; what it returns, a promise awaited."""
        return await _tell(self.driver, "POST", f"{self.session}/execute/sync", {"script": script, "args": given})

    async def prefer(self, colours: str) -> None:
        """`light` or `dark`: as the system's setting would tell the page."""
        media = {"features": [{"name": "prefers-color-scheme", "value": colours}]}
        wanted = {"cmd": "Emulation.setEmulatedMedia", "params": media}
        await _tell(self.driver, "POST", f"{self.session}/goog/cdp/execute", wanted)

    async def resize(self, width: int, height: int) -> None:
        """What the page sees of a screen, however small a window may be."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        wanted = {"cmd": "Emulation.setDeviceMetricsOverride", "params": screen}
        await _tell(self.driver, "POST", f"{self.session}/goog/cdp/execute", wanted)

    async def save_files_to(self, folder: Path) -> None:
        """Downloads go there without a question."""
        wanted = {"cmd": "Browser.setDownloadBehavior", "params": {"behavior": "allow", "downloadPath": str(folder)}}
        await _tell(self.driver, "POST", f"{self.session}/goog/cdp/execute", wanted)

    async def screenshot(self) -> bytes:
        """What is seen now, as PNG."""
        return base64.b64decode(await _tell(self.driver, "GET", f"{self.session}/screenshot"))

    async def title(self) -> str:
        return str(await _tell(self.driver, "GET", f"{self.session}/title"))

    async def address(self) -> str:
        return str(await _tell(self.driver, "GET", f"{self.session}/url"))

    async def close(self) -> None:
        """Ends the browser's process; a second time does nothing."""
        (await self.driver.delete(self.session)).raise_for_status()


@asynccontextmanager
async def driving(home: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The driver on a port of its own choice; its browsers end with it, and what they keep is in `home`."""
    process = await asyncio.create_subprocess_exec(
        DRIVER,
        "--port=0",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=os.environ | {"HOME": str(home)},
        start_new_session=True,
    )
    try:
        url = f"http://127.0.0.1:{await _port(process)}"
        async with httpx.AsyncClient(base_url=url, timeout=WAIT_SECONDS, verify=TLS, trust_env=False) as driver:
            yield driver
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


@asynccontextmanager
async def opened(driver: httpx.AsyncClient, profile: Path) -> AsyncIterator[Browser]:
    options = {"binary": found(), "args": [*FLAGS, f"--user-data-dir={profile}"]}
    wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
    made = await _tell(driver, "POST", "/session", wanted)
    browser = Browser(driver, f"/session/{made['sessionId']}")
    try:
        yield browser
    finally:
        await browser.close()


async def _port(process: asyncio.subprocess.Process) -> int:
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_SECONDS):
        async for line in process.stdout:
            if told := re.search(rb"started successfully on port (\d+)", line):
                return int(told[1])
    raise AssertionError("the driver ended before it named its port")


async def _tell(driver: httpx.AsyncClient, method: str, path: str, body: object = None) -> Any:
    answer = await driver.request(method, path, json=body)
    assert answer.is_success, answer.text
    return answer.json()["value"]
