"""`paygate findings`: what the watchdog and the reconciler hold against our books."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import click

from db import ids
from db.findings import Finding
from gateway.cli_terminal import IdType, attention, json_option, show, waiting

FINDING = IdType("fnd")
because_option: Callable[[Any], Any] = click.option("--because", required=True, help="Kept in the audit log.")


@click.group(name="findings")
def commands() -> None:
    """List, lift, close, accept findings. An open one of the watchdog stops its partner's refunds."""


@commands.command(name="list")
@json_option
@waiting
async def list_open(*, as_json: bool) -> None:
    """What is open, the newest first."""
    async with attention() as at:
        found = await at.open_findings()
    show([_row(finding) for finding in found], as_json=as_json)


@commands.command(name="lift")
@click.argument("finding", type=FINDING)
@because_option
@json_option
@waiting
async def lift(*, finding: UUID, because: str, as_json: bool) -> None:
    """Let the partner's refunds go on although it stands."""
    async with attention() as at:
        lifted = await at.lift_finding(finding, because=because)
    show(_row(lifted), as_json=as_json)


@commands.command(name="close")
@click.argument("finding", type=FINDING)
@because_option
@json_option
@waiting
async def close(*, finding: UUID, because: str, as_json: bool) -> None:
    """Say that it has been seen to. What is still at fault is found anew."""
    async with attention() as at:
        closed = await at.close_finding(finding, because=because)
    show(_row(closed), as_json=as_json)


@commands.command(name="accept")
@click.argument("finding", type=FINDING)
@because_option
@json_option
@waiting
async def accept(*, finding: UUID, because: str, as_json: bool) -> None:
    """Of rows that are not as they were sealed: say that they stay so. They are found anew once they are otherwise."""
    async with attention() as at:
        accepted = await at.accept_finding(finding, because=because)
    show(_row(accepted), as_json=as_json)


def _row(finding: Finding) -> dict[str, object]:
    return {
        "id": ids.encode("fnd", finding.id),
        "object": "finding",
        "source": finding.source,
        "kind": finding.kind,
        "subject": finding.subject,
        "partner_id": finding.partner_id and ids.encode("prt", finding.partner_id),
        "account_id": finding.account_id and ids.encode("pac", finding.account_id),
        "data": finding.data,
        "stops_refunds": finding.stops_refunds,
        "found_at": finding.found_at,
        "seen_at": finding.seen_at,
        "lifted_at": finding.lifted_at,
        "closed_at": finding.closed_at,
        "accepted_at": finding.accepted_at,
    }
