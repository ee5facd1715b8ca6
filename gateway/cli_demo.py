"""`paygate demo`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gateway import demo as everything
from gateway.cli_terminal import json_option, plainly


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Keep the data here.")
@json_option
@plainly
def demo(*, port: int, data: Path | None, as_json: bool) -> None:
    """Run everything on this machine: database, API, worker and simulated PSPs. Loosens nothing elsewhere."""
    sys.exit(everything.run(port=port, data=data, as_json=as_json))
