"""`/metrics` for Prometheus, on a port of its own that is not public. Every process has one."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from gateway import listener
from gateway.config import Settings

API_PORT, WORKER_PORT = 9090, 9091
"""Where nothing else is set: both run on one machine."""


def server(settings: Settings, default_port: int) -> listener.Server | None:
    """None where it is switched off. Raises `OSError` where the port is taken."""
    port = default_port if settings.metrics_port is None else settings.metrics_port
    if port == 0:
        return None
    app = Router([Route("/metrics", _metrics)])
    return listener.server(app, listener.bind(settings.metrics_host, port))


async def _metrics(_request: Request) -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
