"""The support console beside a house, and people at it: each with a browser that holds one session's cookie."""

from __future__ import annotations

import dataclasses
import html
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx

from db import ids
from db.support_users import SupportRole, SupportUser
from gateway.app import create_app
from gateway.console import access, cookies, gates
from gateway.console.access import Console
from gateway.people import Invited, People
from tests.house import House

CSRF = re.compile(r'name="csrf" value="([^"]+)"')

_SETTINGS = {"console_second_factor": False, "failed_auth_per_minute": 10_000}


@dataclass(slots=True, kw_only=True)
class Browser:
    """Keeps the session's cookie by hand: over plain http no client keeps one that is `__Host-` and `Secure`."""

    client: httpx.AsyncClient
    base_url: str
    cookie: str | None = None
    csrf: str = ""

    async def get(self, path: str, *, headers: Mapping[str, str] | None = None, **query: Any) -> httpx.Response:
        return await self._send("GET", path, params=query or None, headers=headers)

    async def post(
        self, path: str, form: Mapping[str, Any] | None = None, *, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """A form with the page's CSRF token, as a page of ours sends it. Redirects are not followed."""
        filled = {"csrf": self.csrf, **(form or {})}
        return await self._send("POST", path, data=filled, headers={"Origin": self.base_url} | dict(headers or {}))

    async def sign_in(self, email: str, password: str, **form: str) -> httpx.Response:
        answer = await self.post("/console/sign-in", {"email": email, "password": password} | form)
        if self.cookie is not None:
            await self.get("/console/reach")
        return answer

    async def _send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> httpx.Response:
        carried = {} if self.cookie is None else {"Cookie": f"{cookies.NAME}={self.cookie}"}
        answer = await self.client.request(
            method, f"{self.base_url}{path}", headers=carried | dict(headers or {}), follow_redirects=False, **members
        )
        for text in answer.headers.get_list("set-cookie"):
            name, _, value = text.partition(";")[0].partition("=")
            if name == cookies.NAME:
                self.cookie = value.strip('"') or None
        if found := CSRF.search(answer.text):
            self.csrf = found[1]
        return answer


@dataclass(slots=True, kw_only=True)
class Clerk(Browser):
    """Somebody who has signed in."""

    person: SupportUser
    password: str = field(repr=False)

    @property
    def id(self) -> str:
        return ids.encode("sup", self.person.id)

    @property
    def actor(self) -> str:
        """As the audit log names this person."""
        return f"support:{self.id}"

    async def page(self, path: str) -> str:
        """What it shows, as text of its source."""
        answer = await self.get(path)
        assert answer.status_code == 200, answer.text
        return html.unescape(answer.text)

    async def look_at(self, partner_id: UUID, mode: str = "test") -> None:
        """This partner's payments from now on."""
        answer = await self.post("/console/reach", {"partner": ids.encode("prt", partner_id), "mode": mode})
        assert answer.status_code == 303, answer.text

    async def look_across(self, reason: str = "A test looks at all of them", mode: str = "test") -> None:
        """All partners' payments for an hour."""
        answer = await self.post("/console/reach", {"reason": reason, "mode": mode})
        assert answer.status_code == 303, answer.text


@dataclass(slots=True, kw_only=True)
class SupportDesk:
    house: House
    console: Console

    def browser(self) -> Browser:
        """Nobody has signed in there."""
        return Browser(client=self.house.http, base_url=self.house.base_url)

    async def clerk(self, role: SupportRole | str = SupportRole.ADMIN, name: str = "Robin") -> Clerk:
        """A new person of this role, signed in."""
        invited = await self.invited(role, name)
        clerk = Clerk(
            client=self.house.http, base_url=self.house.base_url, person=invited.person, password=invited.password
        )
        answer = await clerk.sign_in(invited.person.email, invited.password)
        assert clerk.cookie is not None, f"{answer.status_code} {answer.text}"
        return clerk

    async def invited(self, role: SupportRole | str = SupportRole.ADMIN, name: str = "Robin") -> Invited:
        """A new person, whose password is their own already."""
        return await People(self.console.reading, "operator:test").invite(
            email=f"{secrets.token_hex(4)}@support.example", name=name, role=SupportRole(role), settled=True
        )


@asynccontextmanager
async def opened(house: House, **settings: Any) -> AsyncIterator[SupportDesk]:
    """The console at /console of the house's own address. Without a second factor, unless `settings` say otherwise."""
    acting = house.background
    acting.settings = dataclasses.replace(acting.settings, **_SETTINGS | settings)
    async with access.opened(acting) as console:
        house.app = create_app(house.runtime, also=gates.doors(console))
        yield SupportDesk(house=house, console=console)
