"""`paygate simulator`: one PSP's stand-in alone, to develop and test against."""

from __future__ import annotations

import signal
import socket

import click
from starlette.applications import Starlette

from gateway import listener
from gateway.cli_terminal import plainly
from providers.simulator import SIMULATORS


@click.command()
@click.argument("provider", type=click.Choice(sorted(SIMULATORS)))
@click.option("--port", type=click.IntRange(0, 65535), required=True, help="0: any free one.")
@plainly
def simulator(*, provider: str, port: int) -> None:
    """Run the simulator of one PSP on loopback until SIGTERM or SIGINT. It forgets everything when it ends."""
    listening = listener.bind("127.0.0.1", port)
    click.echo(f"http://127.0.0.1:{listening.getsockname()[1]}")
    listener.run_loop(_run(SIMULATORS[provider](), listening))


async def _run(app: Starlette, listening: socket.socket) -> None:
    try:
        await listener.run([listener.server(app, listening)], stop_on=(signal.SIGTERM, signal.SIGINT))
    finally:
        await app.state.notifier.aclose()
