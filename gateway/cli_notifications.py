"""`paygate notifications`: what PSPs told and nobody could apply, looked at and tried again."""

from __future__ import annotations

from uuid import UUID

import click

from db import ids, inbox
from db.inbox import Notification
from gateway.cli_terminal import attention, json_option, show, waiting
from gateway.partners import NotFound


@click.group(name="notifications")
def commands() -> None:
    """List, show, retry notifications of PSPs that wait for a person."""


@commands.command(name="list")
@json_option
@waiting
async def list_parked(*, as_json: bool) -> None:
    """What is parked, the oldest first."""
    async with attention() as at:
        found = await at.parked_notifications()
    show([_row(one) for one in found], as_json=as_json)


@commands.command(name="show")
@click.argument("notification", type=click.UUID)
@json_option
@waiting
async def show_one(*, notification: UUID, as_json: bool) -> None:
    """One in whatever state, with what the PSP wrote."""
    async with attention() as at, at.database.as_system() as connection:
        found = await inbox.find(connection, notification)
        body = await inbox.body(connection, notification)
    if found is None or body is None:
        raise NotFound(f"there is no notification {notification}")
    show(_row(found) | {"body": body.decode(errors="replace")}, as_json=as_json)


@commands.command(name="retry")
@click.argument("notifications", type=click.UUID, nargs=-1, required=True)
@json_option
@waiting
async def retry(*, notifications: tuple[UUID, ...], as_json: bool) -> None:
    """Have the worker try them once more. One that is not parked stays as it is."""
    async with attention() as at:
        retried = [await at.retry_notification(one) for one in notifications]
    show([_row(one) for one in retried], as_json=as_json)


def _row(one: Notification) -> dict[str, object]:
    return {
        "id": str(one.id),
        "object": "notification",
        "provider": one.provider,
        "provider_event_id": one.dedupe_key,
        "state": one.state.value,
        "reason": one.reason,
        "tries": one.tries,
        "account_id": ids.encode("pac", one.account_id),
        "partner_id": one.partner_id and ids.encode("prt", one.partner_id),
        "transaction_id": one.transaction_id and ids.encode("txn", one.transaction_id),
        "received_at": one.received_at,
    }
