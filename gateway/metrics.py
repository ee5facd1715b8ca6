"""`/metrics` for Prometheus, on a port of its own that is not public. Every process has one."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from gateway import listener
from gateway.config import Settings


def server(settings: Settings) -> listener.Server:
    """Raises `OSError` where the port is taken."""
    app = Router([Route("/metrics", _metrics)])
    return listener.server(app, listener.bind(settings.metrics_host, settings.metrics_port))


async def _metrics(_request: Request) -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
