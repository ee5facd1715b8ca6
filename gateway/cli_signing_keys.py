"""`paygate signing-keys`: the key pairs by whose public halves anyone can verify our webhooks."""

from __future__ import annotations

from datetime import timedelta

import click

from db import signing_keys
from gateway.api.signing_keys import key_body
from gateway.cli_terminal import desk, json_option, show, waiting


@click.group(name="signing-keys")
def commands() -> None:
    """The ed25519 keys that sign webhooks for every partner who asks for it."""


@commands.command(name="list")
@json_option
@waiting
async def list_keys(*, as_json: bool) -> None:
    """Those that sign, the current one first, as /.well-known/webhook-signing-keys shows them."""
    async with desk() as at, at.database.as_system() as connection:
        found = await signing_keys.in_use(connection)
    show([dict(key_body(key)) for key in found], as_json=as_json)


@commands.command(name="rotate")
@click.option("--overlap-hours", type=click.IntRange(0, 720), default=24, show_default=True, help="Both keys sign.")
@json_option
@waiting
async def rotate(*, overlap_hours: int, as_json: bool) -> None:
    """Let a new key sign, and the current one beside it for a while."""
    async with desk() as at:
        fresh = await at.rotate_signing_key(overlap=timedelta(hours=overlap_hours))
    show(dict(key_body(fresh)), as_json=as_json)
