"""`paygate accounts`: accounts at PSPs, what they cost, and an operator's word about their breakers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import IO
from uuid import UUID

import click

from db import ids
from db.provider_accounts import ProviderAccount
from db.routing_records import BreakerOverride, Health
from gateway.cli_terminal import IdType, amounts, desk, json_option, mode_option, show, waiting
from gateway.routing import breaker
from providers import PROVIDERS

PARTNER, ACCOUNT = IdType("prt"), IdType("pac")


@click.group()
def accounts() -> None:
    """Accounts at PSPs: the platform's own, or a partner's."""


@accounts.command("add")
@click.option("--provider", type=click.Choice(sorted(PROVIDERS)), required=True)
@mode_option
@click.option("--credentials", type=click.File(encoding="utf-8"), required=True, help="A JSON file; - reads stdin.")
@click.option("--base-url", help="Another server for a test-mode account, such as a simulator.")
@click.option("--partner", type=PARTNER, help="Whose account; default: the platform's, open to all.")
@click.option("--label")
@click.option("--priority", type=click.IntRange(0, 1_000_000), default=100, show_default=True, help="Lower is first.")
@json_option
@waiting
async def add_account(
    *,
    provider: str,
    mode: str,
    credentials: IO[str],
    base_url: str | None,
    partner: UUID | None,
    label: str | None,
    priority: int,
    as_json: bool,
) -> None:
    """Add an account. The credentials are checked for their form and stored sealed."""
    read = _credentials(credentials)
    async with desk() as at:
        account = await at.add_account(
            provider=provider,
            livemode=mode == "live",
            credentials=read,
            base_url=base_url,
            partner_id=partner,
            label=label,
            priority=priority,
        )
    show(_account(account), as_json=as_json)


@accounts.command("change")
@click.argument("account", type=ACCOUNT)
@click.option("--credentials", type=click.File(encoding="utf-8"), required=True, help="A JSON file; - reads stdin.")
@json_option
@waiting
async def change_account(*, account: UUID, credentials: IO[str], as_json: bool) -> None:
    """Replace an account's credentials, all of them: a rotated key, a webhook secret that came later."""
    read = _credentials(credentials)
    async with desk() as at:
        changed = await at.change_account(account, credentials=read)
    show(_account(changed), as_json=as_json)


@accounts.command("list")
@click.option("--partner", type=PARTNER, help="Only this partner's own.")
@json_option
@waiting
async def list_accounts(*, partner: UUID | None, as_json: bool) -> None:
    """List accounts, without their credentials."""
    async with desk() as at:
        found = await at.list_accounts(partner)
        health = await at.health_of(found)
    show([_account(account) | _breakers(account, health) for account in found], as_json=as_json)


@accounts.command("show")
@click.argument("account", type=ACCOUNT)
@json_option
@waiting
async def show_account(*, account: UUID, as_json: bool) -> None:
    """Show an account, and what is known of how it does."""
    async with desk() as at:
        found = await at.show_account(account)
        health = await at.health_of([found])
    told = [_health(one) for one in health]
    shown = _account(found) | _breakers(found, health)
    show(shown | {"health": told} if as_json else shown, as_json=as_json)
    if told and not as_json:
        click.echo("\nhealth")
        show(told, as_json=False)


@accounts.command("fees")
@click.argument("account", type=ACCOUNT)
@click.option("--percent", help="Of the amount, such as 1.4.")
@click.option("--fixed", multiple=True, metavar="EUR=0.25", help="For each payment of a currency; repeatable.")
@click.option("--none", is_flag=True, help="They are not known.")
@json_option
@waiting
async def set_fees(*, account: UUID, percent: str | None, fixed: tuple[str, ...], none: bool, as_json: bool) -> None:
    """What the PSP keeps of an approved charge: adaptive rules weigh it. Replaces what was set before."""
    if none == (percent is not None or bool(fixed)):
        raise click.UsageError("give --percent, --fixed or both, or --none")
    each = {currency: f"{amount:f}" for currency, amount in amounts(fixed, "--fixed").items()}
    fees = None if none else {"percent": _percent(percent or "0"), "fixed": each}
    async with desk() as at:
        changed = await at.set_fees(account, fees)
    show(_account(changed), as_json=as_json)


@accounts.command("breaker")
@click.argument("account", type=ACCOUNT)
@click.argument("state", type=click.Choice(["open", "closed", "auto"]))
@click.option("--method", help="One payment method; default: all that the PSP takes.")
@click.option("--reason", required=True, help="Shown with the account and kept in the audit log.")
@json_option
@waiting
async def set_breaker(*, account: UUID, state: str, method: str | None, reason: str, as_json: bool) -> None:
    """Use an account no more (open), whatever happens (closed), or as it does (auto). Within a second, everywhere."""
    override = None if state == "auto" else BreakerOverride(state)
    async with desk() as at:
        changed = await at.override_breaker(account, override, method=method, reason=reason)
        health = await at.health_of([changed])
    show(_account(changed) | _breakers(changed, health), as_json=as_json)


@accounts.command("disable")
@click.argument("account", type=ACCOUNT)
@json_option
@waiting
async def disable_account(*, account: UUID, as_json: bool) -> None:
    """Send nothing new there; payments begun there are still settled there."""
    async with desk() as at:
        disabled = await at.disable_account(account)
    show(_account(disabled), as_json=as_json)


def _credentials(file: IO[str]) -> dict[str, object]:
    try:
        credentials = json.load(file)
    except ValueError:
        raise click.BadParameter("is not a JSON file", param_hint="--credentials") from None
    if not isinstance(credentials, dict):
        raise click.BadParameter("must hold a JSON object", param_hint="--credentials")
    return credentials


def _percent(text: str) -> str:
    try:
        percent = Decimal(text)
    except InvalidOperation:
        percent = Decimal(-1)
    if not (percent.is_finite() and 0 <= percent < 100):  # noqa: PLR2004 - of a hundred
        raise click.BadParameter("must be a number such as 1.4", param_hint="--percent")
    return f"{percent:f}"


def _breakers(account: ProviderAccount, health: Iterable[Health]) -> dict[str, object]:
    """By payment method, where anything is known."""
    now = datetime.now(UTC)
    own = [one for one in health if one.account_id == account.id]
    return {"breakers": {one.method: breaker.standing(one, now).value for one in own}}


def _health(health: Health) -> dict[str, object]:
    return {
        "method": health.method,
        "breaker": breaker.standing(health, datetime.now(UTC)).value,
        "set to": health.override,
        "reason": health.override_reason,
        "by": health.override_by,
        "answers": round(health.answers, 1),
        "outages": round(health.outages, 1),
        "as of": health.as_of,
        "opened at": health.opened_at,
        "retry at": health.retry_at,
    }


def _account(account: ProviderAccount) -> dict[str, object]:
    return {
        "id": ids.encode("pac", account.id),
        "object": "provider_account",
        "partner_id": account.partner_id and ids.encode("prt", account.partner_id),
        "provider": account.provider,
        "livemode": account.livemode,
        "label": account.label,
        "base_url": account.base_url,
        "priority": account.priority,
        "enabled": account.enabled,
        "fees": account.fees,
        "created_at": account.created_at,
    }
