"""Refunds over HTTP."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from db import refunds, transactions
from db.records import Attempt, Refund, RefundReason
from gateway.api import amounts, fields, lists
from gateway.api.answers import answered
from gateway.api.body import RequestModel
from gateway.api.calls import Answer, Call
from gateway.api.lists import PageQuery
from gateway.api.transactions import LOOK_SECONDS
from gateway.transactions import commands, followups, recovery, representation
from gateway.transactions.commands import NotFound


class CreateRefund(RequestModel):
    amount: fields.Money | None = Field(None, description="All that is still refundable where absent.")
    reason: Literal["requested_by_customer", "duplicate", "fraudulent", "other"] = "requested_by_customer"
    note: fields.Description | None = None


async def create(call: Call) -> Answer:
    body: CreateRefund = call.body
    transaction_id = call.id("txn")
    if body.amount is not None:
        await amounts.check_followup(call, transaction_id, body.amount)
    command = commands.Refund(
        transaction_id=transaction_id, amount=body.amount, reason=RefundReason(body.reason), note=body.note
    )
    return answered(await call.runtime.carry_out(followups.refund(call.runtime, call.caller, command)))


async def show(call: Call) -> Answer:
    """Who asks about a refund without an outcome has the PSP asked, too."""
    refund, attempts = await _found(call)
    if await recovery.look_again(call.runtime, call.scope.partner_id, attempts, wait_seconds=LOOK_SECONDS):
        refund, _ = await _found(call)
    return Answer(
        status=200, body=dict(representation.refund_body(refund, places=call.runtime.places(refund.currency)))
    )


async def list_refunds(call: Call) -> Answer:
    query: PageQuery = call.query
    before = lists.before(call, "refunds")
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        found = await refunds.page(connection, call.scope, before=before, limit=query.limit + 1)
    return _page(call, "refunds", found)


async def list_of_transaction(call: Call) -> Answer:
    query: PageQuery = call.query
    transaction_id = call.id("txn")
    listing = f"refunds of {transaction_id}"
    before = lists.before(call, listing)
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        if await transactions.get(connection, call.scope, transaction_id) is None:
            raise NotFound
        found = await refunds.page(
            connection, call.scope, transaction_id=transaction_id, before=before, limit=query.limit + 1
        )
    return _page(call, listing, found)


async def _found(call: Call) -> tuple[Refund, list[Attempt]]:
    """The refund and its attempts. Raises `NotFound`."""
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        refund = await refunds.get(connection, call.scope, call.id("rfd"))
        if refund is None:
            raise NotFound
        attempts = await transactions.attempts(connection, call.scope.partner_id, [refund.transaction_id])
    return refund, [attempt for attempt in attempts if attempt.refund_id == refund.id]


def _page(call: Call, listing: str, found: list[Refund]) -> Answer:
    bodies = [
        (refund.id, representation.refund_body(refund, places=call.runtime.places(refund.currency))) for refund in found
    ]
    return lists.page(call, listing, bodies)
