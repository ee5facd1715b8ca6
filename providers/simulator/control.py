"""What every simulator has beside its PSP's own addresses: order misbehaviour, read the oracle, aim notifications."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from providers.simulator.faults import Fault, FaultKind, Faults
from providers.simulator.ledger import Ledger
from providers.simulator.notifier import Notifier


def app(routes: Sequence[BaseRoute], *, faults: Faults, ledger: Ledger, notifier: Notifier) -> Starlette:
    """The whole simulator. Its `state` is for who serves it in his own process: he may read the ledger directly, and
    without lifespan closes the notifier himself.
    """

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await notifier.aclose()

    made = Starlette(
        routes=[*routes, *_fault_routes(faults, notifier), *_webhook_routes(notifier), _ledger_route(ledger)],
        lifespan=lifespan,
    )
    made.state.ledger, made.state.notifier = ledger, notifier
    return made


def _fault_routes(faults: Faults, notifier: Notifier) -> list[Route]:
    async def order(request: Request) -> Response:
        wanted = await request.json()
        try:
            fault = Fault(**wanted | {"kind": FaultKind(wanted["kind"])})
        except (KeyError, TypeError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)
        faults.ordered.append(fault)
        return Response(status_code=204)

    async def clear(_request: Request) -> Response:
        faults.clear()
        notifier.release()
        return Response(status_code=204)

    return [
        Route("/_simulator/faults", order, methods=["POST"]),
        Route("/_simulator/faults", clear, methods=["DELETE"]),
    ]


def _ledger_route(ledger: Ledger) -> Route:
    async def read(_request: Request) -> Response:
        return JSONResponse(ledger.to_json())

    return Route("/_simulator/ledger", read, methods=["GET"])


def _webhook_routes(notifier: Notifier) -> list[Route]:
    async def direct(request: Request) -> Response:
        url = (await request.json()).get("url")
        if url is not None and not (isinstance(url, str) and url.startswith(("http://", "https://"))):
            return JSONResponse({"error": "url must be an http(s) address or null"}, 400)
        notifier.url = url
        return Response(status_code=204)

    async def read(_request: Request) -> Response:
        return JSONResponse(notifier.to_json())

    async def resend(request: Request) -> Response:
        return JSONResponse({"resent": notifier.resend(refused_only=request.query_params.get("only") == "refused")})

    return [
        Route("/_simulator/webhooks", direct, methods=["POST"]),
        Route("/_simulator/webhooks", read, methods=["GET"]),
        Route("/_simulator/webhooks/resend", resend, methods=["POST"]),
    ]
