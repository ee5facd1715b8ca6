"""What recovery could not settle: the list, and what people do about it (`gateway.transactions.reviews`)."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Annotated, Any, Literal

from pydantic import StringConstraints
from starlette.responses import Response

from db import findings, ids, inbox, support_readings
from db.records import Transaction
from db.reviews import ReviewVerdict
from db.support_users import SupportRole
from gateway.api.body import RequestModel
from gateway.api.errors import Problem
from gateway.console.transactions import of_transaction, page
from gateway.console.visits import Visit, mistakes
from gateway.transactions import reviews as use_case
from gateway.transactions.commands import NotFound

PER_PAGE = 50
FINDINGS_MAX = PARKED_MAX = 200


class Deciding(RequestModel):
    verdict: Literal["succeeded", "failed", "settled"]
    attempt: Annotated[str, StringConstraints(pattern=r"^att_[0-7][0-9a-hjkmnp-tv-z]{25}$")] | None = None
    provider_id: Annotated[str, StringConstraints(strip_whitespace=True, max_length=255)] | None = None
    evidence: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=use_case.EVIDENCE_MIN, max_length=use_case.EVIDENCE_MAX),
    ]


async def waiting(visit: Visit) -> Response:
    """The oldest first; for admins also what the watchdog and the reconciler hold against the books."""
    after = ids.decode("txn", str(visit.query.get("after", "")))
    async with visit.reading() as connection:
        found = await support_readings.waiting(
            connection, livemode=visit.session.livemode, after=after, limit=PER_PAGE + 1
        )
        parked = await inbox.parked(connection, PARKED_MAX)
        strange = await findings.open_ones(connection, FINDINGS_MAX) if visit.may(SupportRole.ADMIN) else []
    shown = found[:PER_PAGE]
    following = ids.encode("txn", shown[-1].transaction.id) if len(found) > PER_PAGE else None
    return visit.page(
        "reviews.html",
        found=[(one, _spelled(visit, one.transaction)) for one in shown],
        parked=parked,
        findings=strange,
        following=following,
        at=visit.console.acting.clock(),
    )


@of_transaction
async def cancel(visit: Visit, transaction: Transaction) -> Response:
    work = use_case.cancel(visit.console.acting, transaction.id, actor=visit.actor)
    return await _done(visit, work, "The provider was told to cancel. The page shows what it answered.")


@of_transaction
async def request(visit: Visit, transaction: Transaction) -> Response:
    try:
        wanted = visit.read(Deciding)
    except Problem as problem:
        return await page(visit, mistakes(problem))
    work = use_case.request(
        visit.console.acting,
        transaction.id,
        ReviewVerdict(wanted.verdict),
        attempt_id=None if wanted.attempt is None else ids.decode("att", wanted.attempt),
        provider_id=wanted.provider_id,
        evidence=wanted.evidence,
        actor=visit.actor,
    )
    return await _done(visit, work, "Your decision is kept. Nothing changes before a second person approves it.")


@of_transaction
async def approve(visit: Visit, transaction: Transaction) -> Response:
    work = use_case.approve(visit.console.acting, transaction.id, actor=visit.actor)
    return await _done(visit, work, "It is decided and done.")


async def _done(visit: Visit, work: Coroutine[Any, Any, object], told: str) -> Response:
    try:
        await visit.console.acting.carry_out(work)
    except NotFound:
        told = "Nothing was done: no person is asked to look at this payment any more."
    except use_case.NothingOpen:
        told = "Nothing was done: no such attempt waits for an outcome."
    except use_case.Refused as error:
        told = f"Nothing was done: {error}."
    return await visit.back(f"/console/transactions/{visit.path['id']}", told)


def _spelled(visit: Visit, transaction: Transaction) -> str:
    return visit.console.acting.currencies[transaction.currency].spell(transaction.amount)
