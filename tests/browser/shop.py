"""The partner's own web site, as far as a customer sees it who comes back from paying."""

from __future__ import annotations

import asyncio
import html

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tests.house import WAIT_SECONDS

PAGE = "<!doctype html><html lang='en'><title>{title}</title><h1>{title}</h1></html>"


class Shop:
    def __init__(self) -> None:
        self.app = Starlette(routes=[Route("/thanks", self._thank, methods=["GET"])])
        self.url = ""
        self._visits: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    @property
    def return_url(self) -> str:
        return f"{self.url}/thanks?order=7"

    async def visit(self) -> dict[str, str]:
        """What the next customer who came back brought along. Raises `TimeoutError`."""
        async with asyncio.timeout(WAIT_SECONDS):
            return await self._visits.get()

    @property
    def quiet(self) -> bool:
        """Whether nobody else came."""
        return self._visits.empty()

    async def _thank(self, request: Request) -> Response:
        self._visits.put_nowait(dict(request.query_params))
        return HTMLResponse(PAGE.format(title=f"Order {html.escape(request.query_params['order'])}"))
