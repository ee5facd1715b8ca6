"""What people do with a payment: money goes through the use cases that the API calls, and each act names who did it."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from pydantic import StringConstraints
from starlette.responses import Response

from db import audit, ids, notes, transactions
from db.records import RefundReason, Transaction
from gateway.api import amounts, fields
from gateway.api.body import RequestModel
from gateway.api.errors import Problem, invalid
from gateway.console import dossiers, four_eyes, telling
from gateway.console.transactions import of_transaction, page
from gateway.console.visits import Visit, mistakes
from gateway.transactions import commands, followups, offline, recovery, states
from gateway.transactions.commands import NotFound

Once = Annotated[str, StringConstraints(pattern=r"^[0-7][0-9a-hjkmnp-tv-z]{25}$")]
"""Made with the form: however often it is sent, it is done once."""
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4_000)]
Because = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=1_000)]


class Refunding(RequestModel):
    refund_amount: fields.Money
    refund_reason: Literal["requested_by_customer", "duplicate", "fraudulent", "other"] = "requested_by_customer"
    refund_note: fields.Description | None = None
    once: Once


class Capturing(RequestModel):
    capture_amount: fields.Money
    once: Once


class Sending(RequestModel):
    once: Once


class Noting(RequestModel):
    note: Text
    once: Once


class Confirming(RequestModel):
    made: Literal["yes", "no"]
    refund: fields.Id | None = None
    confirm_note: Because


@of_transaction
async def refund(visit: Visit, transaction: Transaction) -> Response:
    try:
        wanted = visit.read(Refunding)
        amount = _checked(visit, transaction, wanted.refund_amount, "refund_amount")
    except Problem as problem:
        return await page(visit, mistakes(problem))
    command = commands.Refund(
        transaction_id=transaction.id,
        amount=amount,
        reason=RefundReason(wanted.refund_reason),
        note=wanted.refund_note,
        alone_up_to=visit.console.settings.refund_approval_above,
    )
    caller = visit.caller(transaction.partner_id, livemode=transaction.livemode, key=f"refund:{wanted.once}")
    try:
        work = followups.refund(visit.console.acting, caller, command)
        told = await telling.carried_out(visit, work, telling.refunded)
    except followups.NeedsApproval as alone:
        told = await _ask_for_approval(visit, transaction, command, wanted.once, alone.before)
    return await _back(visit, told)


async def _ask_for_approval(
    visit: Visit, transaction: Transaction, command: commands.Refund, once: str, before: Decimal
) -> str:
    request_id = ids.from_bare(once)
    assert request_id is not None, "the form's model lets nothing else in"
    assert command.amount is not None
    await four_eyes.ask(visit, transaction, request_id, amount=command.amount, reason=command.reason, note=command.note)
    already = f" ({before} {transaction.currency} of it are refunded already)" if before else ""
    return (
        f"Nothing was sent: above {command.alone_up_to} {transaction.currency}{already} a second person approves."
        " They are asked, for 24 hours."
    )


@of_transaction
async def capture(visit: Visit, transaction: Transaction) -> Response:
    try:
        wanted = visit.read(Capturing)
        amount = _checked(visit, transaction, wanted.capture_amount, "capture_amount")
    except Problem as problem:
        return await page(visit, mistakes(problem))
    caller = visit.caller(transaction.partner_id, livemode=transaction.livemode, key=f"capture:{wanted.once}")
    command = commands.Capture(transaction_id=transaction.id, amount=amount)
    work = followups.capture(visit.console.acting, caller, command)
    return await _back(visit, await telling.carried_out(visit, work, telling.captured))


@of_transaction
async def cancel(visit: Visit, transaction: Transaction) -> Response:
    wanted = visit.read(Sending)
    caller = visit.caller(transaction.partner_id, livemode=transaction.livemode, key=f"cancel:{wanted.once}")
    work = followups.cancel(visit.console.acting, caller, commands.Cancel(transaction_id=transaction.id))
    return await _back(visit, await telling.carried_out(visit, work, telling.cancelled))


@of_transaction
async def ask_again(visit: Visit, transaction: Transaction) -> Response:
    """Ask the PSP at once about everything without an outcome."""
    acting, partner_id = visit.console.acting, transaction.partner_id
    async with acting.database.as_partner(partner_id) as connection:
        attempts = await transactions.attempts(connection, partner_id, [transaction.id])
        act = visit.act("transaction.asked_again", ids.encode("txn", transaction.id), partner_id)
        await audit.append(connection, act)
    for one in attempts:
        if one.state in states.LIVE_ATTEMPTS and not dossiers.offline(one):
            await acting.carry_out(recovery.resolve(acting, partner_id, transaction.id, one.id))
    return await _back(visit, "The provider was asked. The page shows what is known now.")


@of_transaction
async def confirm(visit: Visit, transaction: Transaction) -> Response:
    """Record what people know of a payment, or a refund, that no PSP tells of."""
    try:
        wanted = visit.read(Confirming)
    except Problem as problem:
        return await page(visit, mistakes(problem))
    refund_id = None if wanted.refund is None else _decoded("rfd", wanted.refund)
    acting, made = visit.console.acting, wanted.made == "yes"
    work = offline.decide(
        acting, transaction.id, approved=made, refund_id=refund_id, actor=visit.actor, note=wanted.confirm_note
    )
    try:
        await acting.carry_out(work)
    except (NotFound, offline.NothingOpen):
        return await _back(visit, "Nothing was recorded: it is decided already.")
    except offline.NotOffline:
        return await _back(visit, "Nothing was recorded: the provider decides this, not a person.")
    except offline.Busy:
        return await _back(visit, "Nothing was recorded: it is being looked into. Try again in a minute.")
    return await _back(visit, f"It is recorded: the money {'moved' if made else 'did not move'}.")


@of_transaction
async def write_note(visit: Visit, transaction: Transaction) -> Response:
    try:
        wanted = visit.read(Noting)
    except Problem as problem:
        return await page(visit, mistakes(problem))
    note_id = ids.from_bare(wanted.once)
    assert note_id is not None, "the form's model lets nothing else in"
    async with visit.console.reading.as_partner(transaction.partner_id) as connection:
        if await notes.add(connection, note_id, transaction, author_id=visit.person.id, note=wanted.note):
            written = visit.act("transaction.noted", ids.encode("txn", transaction.id), transaction.partner_id)
            await audit.append(connection, written)
    return await _back(visit, "The note is kept.")


def _checked(visit: Visit, transaction: Transaction, amount: Decimal, field: str) -> Decimal:
    """With no more decimals than the currency has. Raises `Problem`."""
    if wrong := amounts.too_fine(amount, visit.console.acting.currencies[transaction.currency]):
        raise invalid(field, wrong)
    if amount <= 0:
        raise invalid(field, "must be more than zero")
    return amount


def _decoded(prefix: str, text: str) -> UUID:
    found = ids.decode(prefix, text)
    if found is None:
        raise NotFound
    return found


async def _back(visit: Visit, told: str) -> Response:
    return await visit.back(f"/console/transactions/{visit.path['id']}", told)
