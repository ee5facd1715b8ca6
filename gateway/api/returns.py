"""Where a customer comes back from a PSP's page: `GET /return/{reference}`, on the way to the partner's own page.

No key: the reference is unguessable, and what the query says is never believed; the PSP is asked.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from db import ids
from gateway.runtime import Runtime
from gateway.transactions import recovery
from gateway.transactions.commands import NotFound

PARAMETERS_MAX = 20
VALUE_MAX = 20_000
"""Adyen's redirectResult is a few thousand characters long."""


class Returns:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def come_back(self, request: Request) -> Response:
        named = self._runtime.parse_reference(request.path_params["reference"])
        if named is None:
            raise NotFound
        returned = dict(request.query_params.multi_items()[:PARAMETERS_MAX])
        if any(len(value) > VALUE_MAX for value in returned.values()):
            raise NotFound
        snapshot = await self._runtime.carry_out(recovery.come_back(self._runtime, *named, returned))
        target = snapshot.transaction.return_url
        if target is None:
            raise NotFound
        return RedirectResponse(_with_id(target, ids.encode("txn", snapshot.transaction.id)), status_code=303)


def _with_id(url: str, transaction_id: str) -> str:
    """The partner's page, told which transaction to look up. Nothing more: only the API tells how it stands."""
    parts = urlsplit(url)
    query = [*parse_qsl(parts.query, keep_blank_values=True), ("transaction_id", transaction_id)]
    return urlunsplit(parts._replace(query=urlencode(query)))
