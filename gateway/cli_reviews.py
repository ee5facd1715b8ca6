"""`paygate reviews`: what recovery could not settle, looked at and decided by people."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import click

from db import findings, ids, reviews
from db.database import Role
from db.records import Attempt, Transaction
from db.reviews import ReviewDecision, ReviewVerdict
from gateway import runtime
from gateway.cli_terminal import IdType, json_option, settings, show, waiting
from gateway.runtime import Runtime
from gateway.transactions import reviews as use_case
from gateway.transactions.commands import NotFound
from gateway.transactions.reviews import Case
from providers.contract import Prepared

LIST_MAX = 1_000


@click.group(name="reviews")
def commands() -> None:
    """List, show, resolve what needs a person."""


@commands.command(name="list")
@json_option
@waiting
async def list_waiting(*, as_json: bool) -> None:
    """Transactions to look at, the oldest first, and findings about none of ours."""
    async with runtime.opened(settings(), Role.WORKER) as opened, opened.database.as_system() as connection:
        found = await reviews.waiting(connection, LIST_MAX)
        strange = [one for one in await findings.open_ones(connection, LIST_MAX) if one.partner_id is None]
    rows = [_row(opened, transaction) for transaction in found]
    rows += [
        {
            "subject": one.subject,
            "reason": one.kind,
            "status": None,
            "amount": None,
            "provider": None,
            "since": one.found_at,
        }
        for one in strange
    ]
    show(rows, as_json=as_json)


@commands.command(name="show")
@click.argument("transaction", type=IdType("txn"))
@json_option
@waiting
async def show_case(*, transaction: UUID, as_json: bool) -> None:
    """What was sent, when, and every answer."""
    async with runtime.opened(settings(), Role.WORKER) as opened:
        case = await _named(use_case.case(opened, transaction))
    if as_json:
        show(_case(opened, case), as_json=True)
        return
    show(_row(opened, case.transaction), as_json=False)
    for title, rows in _tables(opened, case).items():
        click.echo(f"\n{title}")
        show(rows, as_json=False)


@commands.command(name="resolve")
@click.argument("transaction", type=IdType("txn"))
@click.option("--ask", "action", flag_value="ask", help="Ask the PSP once more about what is open.")
@click.option("--cancel", "action", flag_value="cancel", help="Cancel the open charge at its PSP: it takes no money.")
@click.option("--approve", "action", flag_value="approve", help="Do what somebody else decided with --mark.")
@click.option("--mark", type=click.Choice([verdict.value for verdict in ReviewVerdict]), help="Decide; see below.")
@click.option("--attempt", type=IdType("att"), help="With --mark: which one, where several are open.")
@click.option("--provider-id", help="With --mark succeeded: what the PSP calls it.")
@click.option("--evidence", help="With --mark: how it is known (a dashboard's link, a ticket). Kept for good.")
@json_option
@waiting
async def resolve(
    *,
    transaction: UUID,
    action: str | None,
    mark: str | None,
    attempt: UUID | None,
    provider_id: str | None,
    evidence: str | None,
    as_json: bool,
) -> None:
    """Ask again, cancel at the PSP, or decide with evidence.

    succeeded and failed are about the attempt without an outcome; settled says that the books are right as they are.
    What one person marks, another approves within 24 hours; nothing changes before.
    """
    if (action is None) == (mark is None):
        raise click.UsageError("give one of --ask, --cancel, --approve and --mark")
    if mark is not None and not evidence:
        raise click.UsageError("--mark needs --evidence")
    actor = f"operator:{getpass.getuser()}"
    async with runtime.opened(settings(), Role.WORKER) as opened:
        if mark is not None:
            decision = await _named(
                use_case.request(
                    opened,
                    transaction,
                    ReviewVerdict(mark),
                    attempt_id=attempt,
                    provider_id=provider_id,
                    evidence=evidence or "",
                    actor=actor,
                )
            )
            show(_decision(decision), as_json=as_json)
            return
        act = {"ask": use_case.ask, "cancel": use_case.cancel, "approve": use_case.approve}[action or ""]
        show(_row(opened, await _named(act(opened, transaction, actor=actor))), as_json=as_json)


async def _named(doing: Any) -> Any:
    """What can go wrong, in one line."""
    try:
        return await doing
    except NotFound:
        raise click.ClickException("no person is asked to look at such a transaction") from None
    except use_case.NothingOpen:
        raise click.ClickException("no such attempt waits for an outcome: mark it settled") from None
    except use_case.Refused as error:
        raise click.ClickException(str(error)) from None


def _row(opened: Runtime, transaction: Transaction) -> dict[str, object]:
    spelled = opened.currencies[transaction.currency].spell(transaction.amount)
    return {
        "subject": ids.encode("txn", transaction.id),
        "reason": transaction.review_reason,
        "status": transaction.status.value,
        "amount": f"{spelled} {transaction.currency}",
        "provider": transaction.provider,
        "since": transaction.created_at,
    }


def _case(opened: Runtime, case: Case) -> dict[str, object]:
    return {"transaction": _row(opened, case.transaction), **_tables(opened, case)}


def _tables(opened: Runtime, case: Case) -> dict[str, list[dict[str, object]]]:
    return {
        "attempts": [_attempt(opened, one) for one in case.attempts],
        "history": [
            {
                "sequence": event.sequence,
                "type": event.event_type.value,
                "status": event.status.value,
                "told": _told(event.data),
                "by": event.created_by,
                "at": event.created_at,
            }
            for event in case.history
        ],
        "asked again": [
            {
                "attempt": ids.encode("att", call.attempt_id),
                "how": call.purpose.value,
                "told": _told(call.outcome),
                "at": call.called_at,
            }
            for call in case.calls
        ],
        "decisions": [_decision(decision) for decision in case.decisions],
    }


def _attempt(opened: Runtime, attempt: Attempt) -> dict[str, object]:
    """What was sent, without the body: it holds the customer's token."""
    sent = Prepared.from_json(attempt.request)
    return {
        "attempt": ids.encode("att", attempt.id),
        "operation": attempt.operation.value,
        "state": attempt.state.value,
        "sent": f"{sent.method} {sent.path}",
        "reference": sent.reference,
        "amount": f"{opened.currencies[sent.currency].spell(sent.amount)} {sent.currency}",
        "account": ids.encode("pac", attempt.account_id),
        "provider id": attempt.provider_id,
        "checks": attempt.checks,
        "at": attempt.created_at,
        "last answer": _told(attempt.outcome or {}),
    }


def _told(data: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in data.items())


def _decision(decision: ReviewDecision) -> dict[str, object]:
    return {
        "verdict": decision.verdict.value,
        "attempt": decision.attempt_id and ids.encode("att", decision.attempt_id),
        "evidence": decision.evidence,
        "requested by": decision.requested_by,
        "expires": decision.expires_at,
        "approved by": decision.approved_by,
        "approved at": decision.approved_at,
    }
