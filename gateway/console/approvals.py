"""Refunds that one person asked for: the list, and what the second one decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from pydantic import StringConstraints
from starlette.responses import Response

from db import approvals, ids
from db.approvals import Approval, ApprovalState
from db.records import Transaction
from gateway.api.body import RequestModel
from gateway.api.errors import Problem
from gateway.console import four_eyes
from gateway.console.transactions import Page, of_transaction, page
from gateway.console.visits import Visit, mistakes
from gateway.transactions.commands import NotFound

PER_PAGE = 50


class Rejecting(RequestModel):
    because: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=1_000)]


async def listed(visit: Visit) -> Response:
    """Open ones, or those that are over; the newest first."""
    still_open = visit.query.get("show") != "over"
    before = ids.decode("apr", str(visit.query.get("before", "")))
    async with visit.reading() as connection:
        found = await approvals.page(
            connection, livemode=visit.session.livemode, still_open=still_open, before=before, limit=PER_PAGE + 1
        )
    shown = found[:PER_PAGE]
    following = ids.encode("apr", shown[-1].id) if len(found) > PER_PAGE else None
    currencies = visit.console.acting.currencies
    rows = [(one, currencies[one.currency].spell(one.amount)) for one in shown]
    return visit.page("approvals.html", found=rows, still_open=still_open, following=following)


def _of_approval(act: Callable[[Visit, Transaction, Approval], Awaitable[str]]) -> Page:
    """An act about the request that the path names; what it tells is shown on the payment's page."""

    @of_transaction
    async def found(visit: Visit, transaction: Transaction) -> Response:
        async with visit.reading() as connection:
            approval = await approvals.find(connection, transaction, visit.id("apr", "approval"))
        if approval is None:
            raise NotFound
        try:
            told = await act(visit, transaction, approval)
        except Problem as problem:
            return await page(visit, mistakes(problem))
        except four_eyes.Refused as refused:
            told = f"Nothing was done: {refused}"
        return await visit.back(f"/console/transactions/{visit.path['id']}", told)

    return found


@_of_approval
async def approve(visit: Visit, transaction: Transaction, approval: Approval) -> str:
    """And carry it out; what a crash kept from being done is done by approving once more."""
    undecided = approval.state is ApprovalState.REQUESTED
    if undecided and not await four_eyes.decide(visit, transaction, approval, ApprovalState.APPROVED):
        approval = await _again(visit, transaction, approval)
    if approval.state in {ApprovalState.REJECTED, ApprovalState.WITHDRAWN}:
        raise four_eyes.Refused(f"The request is {approval.state} already.")
    if approval.lapsed:
        raise four_eyes.Refused("It was approved more than a day ago and not done since: ask anew.")
    return await four_eyes.carry_out(visit, transaction, approval)


@_of_approval
async def reject(visit: Visit, transaction: Transaction, approval: Approval) -> str:
    because = visit.read(Rejecting).because
    decided = await four_eyes.decide(visit, transaction, approval, ApprovalState.REJECTED, because)
    return "The refund is rejected. Nothing was sent." if decided else "Somebody decided before you."


@_of_approval
async def withdraw(visit: Visit, transaction: Transaction, approval: Approval) -> str:
    decided = await four_eyes.decide(visit, transaction, approval, ApprovalState.WITHDRAWN)
    return "The request is withdrawn. Nothing was sent." if decided else "Somebody decided before you."


async def _again(visit: Visit, transaction: Transaction, approval: Approval) -> Approval:
    """As it is now that somebody else has decided."""
    async with visit.reading() as connection:
        found = await approvals.find(connection, transaction, approval.id)
    assert found is not None, "requests are never deleted"
    return found
