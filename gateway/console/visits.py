"""One request, whose it is, and what a page may do with it. A page is `async def name(visit: Visit) -> Response`."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from pydantic import BaseModel
from starlette.responses import HTMLResponse, RedirectResponse, Response

from db import audit, ids, support_sessions
from db.database import Connection
from db.records import Scope
from db.support_sessions import SupportSession
from db.support_users import SupportRole, SupportUser
from gateway.api import body
from gateway.api.errors import Problem
from gateway.attention import Attention
from gateway.console import rendering
from gateway.console.access import Console
from gateway.partners import Desk
from gateway.people import Whence
from gateway.transactions.commands import ALONE, Caller, NotFound

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Room:
    path: str
    name: str
    role: SupportRole = SupportRole.VIEWER


ROOMS = (
    Room("/console/search", "Payments"),
    Room("/console/overview", "Overview"),
    Room("/console/reviews", "Reviews"),
    Room("/console/approvals", "Approvals"),
    Room("/console/webhooks", "Webhooks"),
    Room("/console/exports", "Exports", SupportRole.SUPPORT),
    Room("/console/partners", "Partners", SupportRole.ADMIN),
    Room("/console/accounts", "Accounts", SupportRole.ADMIN),
    Room("/console/routing", "Routing", SupportRole.ADMIN),
    Room("/console/people", "People", SupportRole.ADMIN),
    Room("/console/audit", "Audit log", SupportRole.ADMIN),
)


HOME = "/console/"
_INSIDE = re.compile(r"/console(/([^/\\].*)?)?")


class NowhereToLook(Exception):
    """The person has chosen no partner and given no reason to read across them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knock:
    """A request from outside: nobody has proven who they are."""

    console: Console
    method: str
    address: str
    """Path and query, as the browser asked for them."""
    path: Mapping[str, str]
    query: Mapping[str, Any]
    """The query string's fields; those given several times as lists. Inspected like what partners send."""
    form: Mapping[str, str]
    """A POST's fields, inspected like what partners send, without the CSRF token."""
    nonce: str
    """What the page's own scripts carry."""
    fragment: bool
    """htmx asks for a part of the page."""
    request_id: str
    ip_address: str | None
    user_agent: str | None

    def read(self, model: type[Model]) -> Model:
        """The form, validated; empty fields count as not given. Raises `Problem` that names each field."""
        return body.validate(model, {name: text for name, text in self.form.items() if text.strip()})

    def read_query(self, model: type[Model]) -> Model:
        """The query, validated in the same way."""
        return body.validate(model, several(model, {name: value for name, value in self.query.items() if value}))

    def id(self, prefix: str, name: str = "id") -> UUID:
        """The id in the path. Raises `NotFound`."""
        found = ids.decode(prefix, self.path[name])
        if found is None:
            raise NotFound
        return found

    @property
    def whence(self) -> Whence:
        return Whence(ip_address=self.ip_address, user_agent=self.user_agent, request_id=self.request_id)

    def page(self, template: str, status: int = 200, **context: Any) -> Response:
        """A page; where htmx asks, the block of it that the template names `part`."""
        html = rendering.render(template, {"visit": self, **context}, part=self.fragment)
        return HTMLResponse(html, status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit(Knock):
    """A request of somebody who has signed in."""

    person: SupportUser
    session: SupportSession
    csrf: str

    # ── Who ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def actor(self) -> str:
        """As events and the audit log name this person."""
        return f"support:{ids.encode('sup', self.person.id)}"

    def may(self, needed: SupportRole | str) -> bool:
        return self.person.role.reaches(SupportRole(needed))

    def act(self, action: str, resource_id: str, partner_id: UUID | None = None, **changes: object) -> audit.Act:
        """A line for the audit log: `changes` holds no secret and no personal datum."""
        return audit.Act(
            actor=self.actor,
            action=action,
            resource_type=action.partition(".")[0],
            resource_id=resource_id,
            partner_id=partner_id,
            ip_address=self.ip_address,
            user_agent=self.user_agent,
            request_id=self.request_id,
            changes=changes,
        )

    def caller(self, partner_id: UUID, *, livemode: bool, key: str) -> Caller:
        """Who asks, the way the use cases take it. `key` makes a form that is sent twice execute once."""
        return Caller(
            scope=Scope(partner_id, livemode),
            actor=self.actor,
            key=ALONE + key,
            fingerprint=body.fingerprint(self.method, self.address, dict(self.form)),
            request_id=self.request_id,
            ip_address=self.ip_address,
            user_agent=self.user_agent,
        )

    @property
    def desk(self) -> Desk:
        """The operators' use cases, in this person's name."""
        return replace(self.console.operator(self.actor), ip_address=self.ip_address, request_id=self.request_id)

    @property
    def attention(self) -> Attention:
        return Attention(self.console.operating, self.actor, self.whence)

    @property
    def rooms(self) -> list[Room]:
        """The main navigation, as far as this person's role goes."""
        return [room for room in ROOMS if self.may(room.role)]

    # ── What is looked at ───────────────────────────────────────────────────────────────────────────────────────

    @property
    def across(self) -> bool:
        """All partners' payments are read, for the reason that was given."""
        return self.session.across_reason is not None

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """The database as this person may see it now. Raises `NowhereToLook`."""
        if self.across:
            async with self.console.reading.across() as connection:
                yield connection
        elif self.session.partner_id is not None:
            async with self.console.reading.as_partner(self.session.partner_id) as connection:
                yield connection
        else:
            raise NowhereToLook

    # ── What is answered ────────────────────────────────────────────────────────────────────────────────────────

    async def back(self, path: str, told: str | None = None, **query: str) -> Response:
        """After an act: see another page, which tells once how it ended."""
        if told is not None:
            async with self.console.reading.as_system() as connection:
                await support_sessions.tell(connection, self.session.id, told)
        return RedirectResponse(f"{path}?{urlencode(query)}" if query else path, status_code=303)


def inside(then: object) -> str:
    """A page of the console to go on with; anything else is the first one."""
    return then if isinstance(then, str) and _INSIDE.fullmatch(then) else HOME


def several(model: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """With a list where the model has one, though only one was given."""
    return {
        name: [value] if isinstance(value, str) and body.takes_several(model, name) else value
        for name, value in given.items()
    }


def mistakes(problem: Problem) -> dict[str, str]:
    """Field → what is wrong with it, for a form that is shown again. Raises what names no field."""
    if not problem.errors:
        raise problem
    fields = ((name.partition(".")[0], told) for name, told in problem.errors)  # `status.0` is of `status`
    return {name: f"{name.replace('_', ' ')} {told}" for name, told in fields}
