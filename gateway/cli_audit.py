"""`paygate audit`: who did what, and whether history is as it was."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import click

from db import audit, ids
from db.audit import AuditLog, Wanted
from db.audit_seals import TABLES
from gateway import sealing
from gateway.cli_terminal import IdType, desk, json_option, show, waiting
from gateway.sealing import Head, Report

LIST_MAX = 1_000


class Moment(click.DateTime):
    def __init__(self) -> None:
        super().__init__(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        return super().convert(value, param, ctx).replace(tzinfo=UTC)


class HeadType(click.ParamType[Head]):
    name = "head"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Head:
        try:
            return Head.parse(str(value))
        except ValueError:
            self.fail("a head looks like audit_logs:12: and 64 hexadecimal digits", param, ctx)


@click.group(name="audit")
def commands() -> None:
    """The audit log, and the seals over it and the ledger."""


@commands.command(name="list")
@click.option("--partner", "partner_id", type=IdType("prt"))
@click.option("--actor")
@click.option("--action")
@click.option("--resource", "resource_id", help="Its id.")
@click.option("--since", type=Moment(), help="In UTC.")
@click.option("--until", type=Moment(), help="In UTC.")
@click.option("--before", type=IdType("aud"), help="Older than this line: the next page.")
@click.option("--limit", type=click.IntRange(1, LIST_MAX), default=100, show_default=True)
@json_option
@waiting
async def list_logs(*, before: UUID | None, limit: int, as_json: bool, **wanted: Any) -> None:
    """Who did what, the newest first."""
    async with desk() as at, at.database.as_system() as connection:
        found = await audit.page(connection, Wanted(**wanted), before=before, limit=limit)
    show([_log(one) for one in found], as_json=as_json)


@commands.command(name="verify")
@click.option("--head", "heads", type=HeadType(), multiple=True, help="A head from the log; repeatable.")
@json_option
@waiting
async def verify(*, heads: tuple[Head, ...], as_json: bool) -> None:
    """Hold the audit log and the ledger against their seals. Exit status 1 where they are not as they were."""
    async with desk() as at:
        reports = [await sealing.verify(at.database, table, heads=heads) for table in TABLES]
    if as_json:
        show([_report(one) | {"faults": _faults(one)} for one in reports], as_json=True)
    else:
        show([_report(one) for one in reports], as_json=False)
        for fault in (fault for one in reports for fault in _faults(one)):
            click.echo(f"BROKEN  {' '.join(f'{name}={value}' for name, value in fault.items())}")
    sys.exit(any(one.faults for one in reports))


def _log(one: AuditLog) -> dict[str, object]:
    return {
        "id": ids.encode("aud", one.id),
        "object": "audit_log",
        "created_at": one.created_at,
        "actor": one.actor,
        "action": one.action,
        "resource_type": one.resource_type,
        "resource_id": one.resource_id,
        "partner_id": one.partner_id and ids.encode("prt", one.partner_id),
        "ip_address": one.ip_address,
        "request_id": one.request_id,
        "changes": one.changes,
    }


def _report(one: Report) -> dict[str, object]:
    return {
        "table": one.table_name,
        "object": "verification",
        "ok": not one.faults,
        "seals": one.seals,
        "rows": one.rows,
        "retired": one.retired,
        "verified_until": one.head and one.head.until,
        "head": one.head and one.head.head,
    }


def _faults(one: Report) -> list[dict[str, object]]:
    return [
        {"kind": fault.kind, "seal": fault.subject, **fault.data, "accepted": fault.accepted} for fault in one.faults
    ]
