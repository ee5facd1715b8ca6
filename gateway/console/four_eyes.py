"""Refunds above the limit: one person asks, another approves exactly that, and only then is anything sent."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from uuid import UUID

from db import approvals, audit, ids
from db.approvals import Approval, ApprovalState, OwnRequest, TooLate
from db.records import RefundReason, Transaction
from gateway.api import body
from gateway.console import telling
from gateway.console.visits import Visit
from gateway.transactions import commands, followups

_VERBS = {ApprovalState.APPROVED: "approved", ApprovalState.REJECTED: "rejected", ApprovalState.WITHDRAWN: "withdrawn"}


class Refused(Exception):
    """It cannot be decided like this; the message says why, as a sentence."""


async def ask(
    visit: Visit,
    transaction: Transaction,
    approval_id: UUID,
    *,
    amount: Decimal,
    reason: RefundReason,
    note: str | None,
) -> None:
    """Keep the request, once however often its form is sent."""
    async with visit.console.reading.as_partner(transaction.partner_id) as connection:
        if await approvals.request(
            connection,
            approval_id,
            transaction,
            amount=amount,
            reason=reason,
            note=note,
            requested_by=visit.person.id,
        ):
            asked = _act(visit, "refund_requested", transaction, approval_id, amount)
            await audit.append(connection, asked)


async def decide(
    visit: Visit, transaction: Transaction, approval: Approval, state: ApprovalState, note: str | None = None
) -> bool:
    """False where somebody decided before. Raises `Refused`."""
    try:
        async with visit.console.reading.as_partner(transaction.partner_id) as connection:
            decided = await approvals.decide(connection, approval, state, decided_by=visit.person.id, note=note)
            if decided:
                act = _act(visit, f"refund_{_VERBS[state]}", transaction, approval.id, approval.amount)
                await audit.append(connection, act)
    except OwnRequest:
        own = approval.requested_by == visit.person.id
        raise Refused(
            "Who asked for a refund cannot decide on it." if own else "Only who asked can withdraw."
        ) from None
    except TooLate:
        raise Refused("The request has expired: ask anew.") from None
    return decided


async def carry_out(visit: Visit, transaction: Transaction, approval: Approval) -> str:
    """Do what was approved, and say how it ended. The key makes it one refund, whoever presses how often."""
    caller = visit.caller(transaction.partner_id, livemode=transaction.livemode, key="")
    caller = replace(caller, key=approval.key, fingerprint=body.fingerprint("POST", approval.key, {}))
    command = commands.Refund(
        transaction_id=transaction.id, amount=approval.amount, reason=approval.reason, note=approval.note
    )
    acting = visit.console.acting
    return await telling.carried_out(visit, followups.refund(acting, caller, command), telling.refunded)


def _act(visit: Visit, what: str, transaction: Transaction, approval_id: UUID, amount: Decimal) -> audit.Act:
    return visit.act(
        f"transaction.{what}",
        ids.encode("txn", transaction.id),
        transaction.partner_id,
        approval=ids.encode("apr", approval_id),
        amount=str(amount),
        currency=transaction.currency,
    )
