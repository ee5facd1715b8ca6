"""The production processes and what surrounds them: `serve`, `worker`, `migrate`, `doctor`."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import asdict

import click

from db import schema
from gateway import app, doctor, worker
from gateway.cli_terminal import json_option, plainly, settings, show, waiting


@click.command()
@plainly
def serve() -> None:
    """Serve the partner API until SIGTERM or SIGINT. Refuses to start where serving would be unsafe."""
    sys.exit(app.run(settings()))


@click.command(name="console")
@plainly
def serve_console() -> None:
    """Serve the support console until SIGTERM or SIGINT."""
    sys.exit(app.run_console(settings()))


@click.command(name="worker")
@plainly
def start_worker() -> None:
    """Deliver webhooks, apply PSP notifications and settle open payments until SIGTERM or SIGINT."""
    sys.exit(worker.run(settings()))


@click.command()
@json_option
@waiting
async def migrate(*, as_json: bool) -> None:
    """Bring the database's schema up to date, as its owner. Safe to run from several places at once."""
    await schema.migrate(settings().database_url)
    show({"object": "schema", "revision": schema.HEAD}, as_json=as_json)


@click.command(name="doctor")
@json_option
def see_doctor(*, as_json: bool) -> None:
    """Examine configuration, database, clocks, Redis and PSP accounts. Exit status 1 where something must be mended."""
    findings = asyncio.run(doctor.examine(os.environ))
    if as_json:
        show([asdict(finding) for finding in findings], as_json=True)
    else:
        for finding in findings:
            click.echo(_line(finding))
    sys.exit(any(finding.failed for finding in findings))


def _line(finding: doctor.Finding) -> str:
    if finding.ok:
        return f"ok      {finding.check}: {finding.told}"
    return f"{'MEND' if finding.failed else 'advice':<6}  {finding.check}: {finding.told} → {finding.mend}"
