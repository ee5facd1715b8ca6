"""The page where a customer approves, in the simulated PayPal's place."""

from __future__ import annotations

import html
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from providers.simulator.paypal_bank import Bank

OPEN = ("APPROVED", "CREATED", "PAYER_ACTION_REQUIRED")


@dataclass(frozen=True, slots=True)
class Hosted:
    bank: Bank

    def routes(self) -> list[Route]:
        return [
            Route("/checkoutnow", self.approval_page, methods=["GET"]),
            Route("/checkoutnow", self.leave_approval_page, methods=["POST"]),
        ]

    async def approval_page(self, request: Request) -> Response:
        order = self.bank.orders.get(request.query_params.get("token", ""))
        if order is None or order.status not in OPEN:
            return HTMLResponse("<p>Nothing to approve here.</p>", 404)
        shown = html.escape(f"{order.amount} {order.currency}")
        return HTMLResponse(_APPROVAL_PAGE.format(amount=shown, about=html.escape(order.description or "")))

    async def leave_approval_page(self, request: Request) -> Response:
        order = self.bank.orders.get(request.query_params.get("token", ""))
        if order is None or order.return_url is None or order.cancel_url is None:
            return HTMLResponse("<p>Nothing to approve here.</p>", 404)
        action = parse_qs((await request.body()).decode()).get("action", ["refuse"])[0]
        self.bank.decide(order, action)
        back = order.cancel_url if action == "refuse" else order.return_url
        query = {"token": order.id} | ({} if action == "refuse" else {"PayerID": "QYR5Z8XDVJNXQ"})
        return RedirectResponse(f"{back}{'&' if '?' in back else '?'}{urlencode(query)}", 303)


_APPROVAL_PAGE = """<!doctype html>
<html lang="en">
<title>Simulated PayPal</title>
<h1>Pay {amount}?</h1>
<p>{about}</p>
<form method="post">
  <button name="action" value="approve">Approve</button>
  <button name="action" value="approve_declining">Approve, with an instrument that will be declined</button>
  <button name="action" value="refuse">Refuse</button>
</form>
</html>
"""
