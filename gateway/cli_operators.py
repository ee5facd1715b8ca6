"""Operators' commands: `partners`, `keys`, `secrets`. Each acts through the use cases of `gateway.partners`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import click

from db import ids
from db.api_keys import ApiKey, KeyScope
from db.partners import Partner
from gateway.cli_terminal import IdType, amounts, desk, json_option, mode_option, show, waiting
from gateway.partners import Issued

PARTNER, KEY = IdType("prt"), IdType("key")


# ── Partners ────────────────────────────────────────────────────────────────────────────────────────────────────────


@click.group()
def partners() -> None:
    """The businesses that call the API."""


@partners.command("create")
@click.option("--name", required=True)
@click.option("--email", required=True)
@click.option("--rate-limit", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="Calls a minute.")
@click.option("--amount-limit", "amount_limits", multiple=True, metavar="EUR=5000", help="Largest amount; repeatable.")
@json_option
@waiting
async def create_partner(
    *, name: str, email: str, rate_limit: int, amount_limits: tuple[str, ...], as_json: bool
) -> None:
    """Create a partner."""
    limits = amounts(amount_limits, "--amount-limit")
    async with desk() as at:
        partner = await at.create_partner(
            name=name, email=email, rate_limit_per_minute=rate_limit, amount_limits=limits
        )
    show(_partner(partner), as_json=as_json)


@partners.command("list")
@click.option("--named", metavar="TEXT", help="A part of the name or of the e-mail address, or the id.")
@json_option
@waiting
async def list_partners(*, named: str | None, as_json: bool) -> None:
    """List partners, the newest thousand first."""
    async with desk() as at:
        found = await at.list_partners(named)
    show([_partner(partner) for partner in found], as_json=as_json)


@partners.command("update")
@click.argument("partner", type=PARTNER)
@click.option("--review-above", "high_values", multiple=True, metavar="EUR=5000", help="High value; repeatable.")
@click.option("--no-review-above", "none", is_flag=True, help="No amount is of high value.")
@json_option
@waiting
async def update_partner(*, partner: UUID, high_values: tuple[str, ...], none: bool, as_json: bool) -> None:
    """From which amounts on people look at an unknown outcome after an hour. Replaces what was set before."""
    if none == bool(high_values):
        raise click.UsageError("give --review-above, or --no-review-above")
    above = amounts(high_values, "--review-above")
    async with desk() as at:
        updated = await at.change_partner(partner, review_above=above)
    show(_partner(updated), as_json=as_json)


@partners.command("deactivate")
@click.argument("partner", type=PARTNER)
@json_option
@waiting
async def deactivate_partner(*, partner: UUID, as_json: bool) -> None:
    """Refuse a partner's calls from now on; its open payments are still settled."""
    async with desk() as at:
        deactivated = await at.deactivate_partner(partner)
    show(_partner(deactivated), as_json=as_json)


# ── Keys ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@click.group()
def keys() -> None:
    """A partner's API keys."""


@keys.command("create")
@click.option("--partner", type=PARTNER, required=True)
@mode_option
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in KeyScope]),
    multiple=True,
    help="Repeatable; default: all.",
)
@click.option("--name")
@click.option("--expires-in-days", type=click.IntRange(1, 3650))
@json_option
@waiting
async def create_key(
    *, partner: UUID, mode: str, scopes: tuple[str, ...], name: str | None, expires_in_days: int | None, as_json: bool
) -> None:
    """Create a key and show it, once."""
    expires_at = datetime.now(UTC) + timedelta(days=expires_in_days) if expires_in_days else None
    async with desk() as at:
        issued = await at.issue_key(
            partner, livemode=mode == "live", scopes=scopes or tuple(KeyScope), name=name, expires_at=expires_at
        )
    _show_issued(issued, as_json=as_json)


@keys.command("list")
@click.option("--partner", type=PARTNER, required=True)
@json_option
@waiting
async def list_keys(*, partner: UUID, as_json: bool) -> None:
    """List a partner's keys, newest first: what may be shown of them."""
    async with desk() as at:
        found = await at.list_keys(partner)
    show([_key(key) for key in found], as_json=as_json)


@keys.command("rotate")
@click.argument("key", type=KEY)
@click.option("--overlap-hours", type=click.IntRange(0, 720), default=24, show_default=True, help="Both keys work.")
@json_option
@waiting
async def rotate_key(*, key: UUID, overlap_hours: int, as_json: bool) -> None:
    """Create a key like this one and let this one expire."""
    async with desk() as at:
        issued = await at.rotate_key(key, overlap=timedelta(hours=overlap_hours))
    _show_issued(issued, as_json=as_json)


@keys.command("revoke")
@click.argument("key", type=KEY)
@json_option
@waiting
async def revoke_key(*, key: UUID, as_json: bool) -> None:
    """Refuse a key from now on, within a second everywhere."""
    async with desk() as at:
        revoked = await at.revoke_key(key)
    show(_key(revoked), as_json=as_json)


def _show_issued(issued: Issued, *, as_json: bool) -> None:
    show(_key(issued.key) | {"api_key": issued.text}, as_json=as_json)
    if not as_json:
        click.echo("This is the only time the key is shown.", err=True)


def _partner(partner: Partner) -> dict[str, object]:
    return {
        "id": ids.encode("prt", partner.id),
        "object": "partner",
        "name": partner.name,
        "email": partner.email,
        "is_active": partner.is_active,
        "rate_limit_per_minute": partner.rate_limit_per_minute,
        "amount_limits": {currency: str(limit) for currency, limit in partner.amount_limits.items()},
        "review_above": {currency: str(amount) for currency, amount in partner.review_above.items()},
        "created_at": partner.created_at,
    }


def _key(key: ApiKey) -> dict[str, object]:
    return {
        "id": ids.encode("key", key.id),
        "object": "api_key",
        "partner_id": ids.encode("prt", key.partner_id),
        "prefix": key.prefix,
        "last4": key.last4,
        "livemode": key.livemode,
        "scopes": sorted(key.scopes),
        "name": key.name,
        "created_by": key.created_by,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
    }


# ── Secret keys ─────────────────────────────────────────────────────────────────────────────────────────────────────


@click.group()
def secrets() -> None:
    """The versions of PAYGATE_SECRET_KEYS, and what they seal."""


@secrets.command("list")
@json_option
@waiting
async def list_secrets(*, as_json: bool) -> None:
    """What needs which version: a version that nothing needs may be dropped."""
    async with desk() as at:
        found = await at.secrets_in_use()
    show([{"version": version, "what": what, "count": count} for version, what, count in found], as_json=as_json)


@secrets.command("reseal")
@json_option
@waiting
async def reseal(*, as_json: bool) -> None:
    """Seal with the first key what another version sealed."""
    async with desk() as at:
        changed = await at.reseal()
    show({"object": "secrets", "resealed": changed}, as_json=as_json)
