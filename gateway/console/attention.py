"""What asks for a person and is no review of a payment: findings against the books, notifications not applied."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Annotated, Protocol
from uuid import UUID

from pydantic import StringConstraints
from starlette.responses import Response

from db import findings, ids, inbox
from db.findings import Finding
from db.records import ProviderEventState
from gateway import partners as desks
from gateway.api.body import RequestModel
from gateway.api.errors import Problem
from gateway.attention import REASON_MAX
from gateway.console.visits import Visit, mistakes
from gateway.transactions.commands import NotFound

REVIEWS = "/console/reviews"


class Answering(RequestModel):
    because: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=REASON_MAX)]


class Act(Protocol):
    def __call__(self, finding_id: UUID, /, *, because: str) -> Awaitable[Finding]: ...


# ── Findings ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def show_finding(visit: Visit) -> Response:
    return _page(visit, await _finding(visit))


async def close_finding(visit: Visit) -> Response:
    return await _answered(visit, visit.attention.close_finding, "It is closed. What is still at fault is found again.")


async def lift_finding(visit: Visit) -> Response:
    return await _answered(visit, visit.attention.lift_finding, "The partner's refunds go on although it stands.")


async def accept_finding(visit: Visit) -> Response:
    told = "It is accepted as it is. It is found again once it is otherwise."
    return await _answered(visit, visit.attention.accept_finding, told)


async def _answered(visit: Visit, act: Act, told: str) -> Response:
    finding = await _finding(visit)
    try:
        await act(finding.id, because=visit.read(Answering).because)
    except Problem as problem:
        return _page(visit, finding, mistakes(problem))
    except desks.NotFound:
        told = "Nothing was done: it is closed by now, or cannot be answered so."
    return await visit.back(REVIEWS, told)


async def _finding(visit: Visit) -> Finding:
    """The one in the path, of whoever is looked at. Raises `NotFound`."""
    async with visit.reading() as connection:
        found = await findings.find(connection, visit.id("fnd"))
    if found is None:
        raise NotFound
    return found


def _page(visit: Visit, finding: Finding, wrong: Mapping[str, str] | None = None) -> Response:
    return visit.page("finding.html", 422 if wrong else 200, finding=finding, wrong=wrong or {})


# ── Notifications of PSPs ───────────────────────────────────────────────────────────────────────────────────────────


async def retry_notification(visit: Visit) -> Response:
    """One of those that are looked at, from the payment that it is about, or from the list."""
    async with visit.reading() as connection:
        known = await inbox.find(connection, _uuid(visit.path["id"]))
    if known is None:
        raise NotFound
    retried = await visit.attention.retry_notification(known.id)
    visit.console.acting.notified.set()
    told = "It is tried again now." if retried.state is ProviderEventState.RECEIVED else f"It is {retried.state}."
    about = known.transaction_id
    return await visit.back(f"/console/transactions/{ids.encode('txn', about)}" if about else REVIEWS, told)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFound from None
