"""The simulators' own routes, outside every PSP's address space: order misbehaviour, read the oracle."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from providers.simulator.faults import Fault, FaultKind, Faults
from providers.simulator.ledger import Ledger


def routes(faults: Faults, ledger: Ledger) -> list[Route]:
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
        return Response(status_code=204)

    async def read(_request: Request) -> Response:
        return JSONResponse(ledger.to_json())

    return [
        Route("/_simulator/faults", order, methods=["POST"]),
        Route("/_simulator/faults", clear, methods=["DELETE"]),
        Route("/_simulator/ledger", read, methods=["GET"]),
    ]
