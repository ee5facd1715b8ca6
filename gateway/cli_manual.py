"""`paygate manual`: offline payments, confirmed or rejected by support."""

from __future__ import annotations

import getpass
from uuid import UUID

import click

from db import ids, transactions
from db.database import Role
from db.records import Attempt
from gateway import runtime
from gateway.cli_terminal import IdType, json_option, settings, show, waiting
from gateway.runtime import Runtime
from gateway.transactions import offline
from gateway.transactions.commands import NotFound
from providers import PROVIDERS
from providers.contract import Prepared

LIST_MAX = 1_000


@click.group()
def manual() -> None:
    """List, confirm, reject offline payments."""


@manual.command(name="list")
@json_option
@waiting
async def list_open(*, as_json: bool) -> None:
    """What waits to be confirmed or rejected, the oldest first."""
    names = [name for name, adapter in PROVIDERS.items() if adapter.capabilities.offline]
    async with runtime.opened(settings(), Role.WORKER) as opened, opened.database.as_system() as connection:
        found = await transactions.offline_open(connection, names, LIST_MAX)
    show([_row(opened, attempt) for attempt in found], as_json=as_json)


@manual.command()
@click.argument("transaction", type=IdType("txn"))
@click.option("--refund", type=IdType("rfd"), help="A refund of the transaction, not its payment.")
@click.option("--note", required=True, help="How it is known; kept in the audit log.")
@json_option
@waiting
async def confirm(*, transaction: UUID, refund: UUID | None, note: str, as_json: bool) -> None:
    """Record that the money has arrived (or, with --refund, was given back)."""
    await _decide(transaction, refund, note, approved=True, as_json=as_json)


@manual.command()
@click.argument("transaction", type=IdType("txn"))
@click.option("--refund", type=IdType("rfd"), help="A refund of the transaction, not its payment.")
@click.option("--note", required=True, help="How it is known; kept in the audit log.")
@json_option
@waiting
async def reject(*, transaction: UUID, refund: UUID | None, note: str, as_json: bool) -> None:
    """Record that the money will not come."""
    await _decide(transaction, refund, note, approved=False, as_json=as_json)


async def _decide(transaction: UUID, refund: UUID | None, note: str, *, approved: bool, as_json: bool) -> None:
    actor = f"operator:{getpass.getuser()}"
    async with runtime.opened(settings(), Role.WORKER) as opened:
        try:
            after = await offline.decide(
                opened, transaction, approved=approved, refund_id=refund, actor=actor, note=note
            )
        except NotFound:
            raise click.ClickException("there is no such transaction with an open attempt") from None
        except offline.NotOffline:
            raise click.ClickException("a PSP decides this payment, not a person") from None
        except offline.Busy:
            raise click.ClickException("it is being looked into at this moment: try again in a minute") from None
        except offline.NothingOpen:
            raise click.ClickException("there is nothing to decide: it has its outcome already") from None
    told = after.transaction if after.refund is None else after.refund
    shown = {
        "id": ids.encode("txn", transaction),
        "refund": refund and ids.encode("rfd", refund),
        "status": told.status,
    }
    show(shown, as_json=as_json)


def _row(opened: Runtime, attempt: Attempt) -> dict[str, object]:
    currency = Prepared.from_json(attempt.request).currency
    return {
        "transaction": ids.encode("txn", attempt.transaction_id),
        "operation": attempt.operation,
        "refund": attempt.refund_id and ids.encode("rfd", attempt.refund_id),
        "amount": f"{opened.currencies[currency].spell(attempt.amount)} {currency}",
        "since": attempt.created_at,
    }
