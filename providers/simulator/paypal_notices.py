"""What the simulated PayPal tells of by itself: signed notifications, the list of them, disputes, its certificate."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import assert_never
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from providers.simulator import paypal_objects, paypal_signer
from providers.simulator.ledger import References
from providers.simulator.notifier import Notifier
from providers.simulator.paypal_bank import Authorization, Capture, Order, Refund
from providers.simulator.paypal_wire import Call, Json, Shown, new_id

CERTIFICATE_PATH = "/v1/notifications/certs/CERT-simulated"
EVENTS_PATH = "/v1/notifications/webhooks-events"
PAGE_SIZE = 10
EVENTS_MAX = 10_000

Subject = Order | Authorization | Capture | Refund


@dataclass(slots=True, kw_only=True)
class Notices:
    """`api_url` is where the API was last called: links and the certificate are there."""

    notifier: Notifier
    webhook_id: str
    clock: Callable[[], float]
    api_url: str = ""
    captures: dict[str, Capture] = field(default_factory=dict)
    signer: paypal_signer.Signer = field(default_factory=paypal_signer.shared)
    events: list[Json] = field(default_factory=list)
    disputes: dict[str, Capture] = field(default_factory=dict)

    def routes(self) -> list[Route]:
        return [
            Route(CERTIFICATE_PATH, self.certificate, methods=["GET"]),
            Route("/_simulator/captures/{id}/dispute", self.dispute, methods=["POST"]),
            Route("/_simulator/disputes/{id}/resolve", self.resolve, methods=["POST"]),
        ]

    def tell(self, kind: str, subject: Subject, *, outcome: str | None = None) -> None:
        moment = self.clock()
        resource_type, resource, references = self._shown(kind, subject, outcome)
        event_id = f"WH-{new_id()}-{new_id()}"
        event = paypal_objects.event(event_id, kind, resource_type, resource, moment)
        self.events.append(event)
        del self.events[:-EVENTS_MAX]
        body = json.dumps(event).encode()
        headers = partial(self.signer.headers, body, self.webhook_id, f"{self.api_url}{CERTIFICATE_PATH}")
        self.notifier.notify(body, headers, event_id=event_id, event=kind, references=references)

    def _shown(self, kind: str, subject: Subject, outcome: str | None) -> tuple[str, Json, References]:
        match subject:
            case Order():
                return "checkout-order", paypal_objects.order(subject, self.api_url), subject.references
            case Authorization():
                shown = paypal_objects.authorization(subject, self.api_url, alone=True)
                return "authorization", shown, subject.order.references
            case Refund():
                return "refund", paypal_objects.refund(subject, self.api_url), subject.references
            case Capture() if kind.startswith("CUSTOMER."):
                dispute_id = f"PP-D-{subject.id}"
                self.disputes[dispute_id] = subject
                shown = paypal_objects.dispute(subject, dispute_id, self.clock(), outcome)
                return "dispute", shown, subject.order.references
            case Capture():
                shown = paypal_objects.capture(subject, self.api_url, alone=True)
                return "capture", shown, subject.order.references
            case _:
                assert_never(subject)

    async def certificate(self, _request: Request) -> Response:
        return Response(self.signer.certificate, media_type="application/x-pem-file")

    def list_events(self, call: Call) -> Shown:
        query, page = call.query, int(call.query.get("page", "1"))
        size = int(query.get("page_size", PAGE_SIZE))
        first, last = query.get("start_time", ""), query.get("end_time", "~")
        found = [event for event in reversed(self.events) if first <= str(event["create_time"]) <= last]
        following = dict(query) | {"page": str(page + 1)}
        url = f"{self.api_url}{call.path}?{urlencode(following)}" if len(found) > page * size else None
        body = paypal_objects.page(found[(page - 1) * size : page * size], url)
        return Shown(lambda: body)

    def verify(self, call: Call) -> Shown:
        """Over the bytes of `webhook_event` as they were sent."""
        marker = b'"webhook_event":'
        event = call.raw[call.raw.index(marker) + len(marker) : -1].strip() if marker in call.raw else b""
        said = {name: str(value) for name, value in call.body.items()}
        text = paypal_signer.signed_text(said["transmission_id"], said["transmission_time"], said["webhook_id"], event)
        right = call.body.get("webhook_id") == self.webhook_id
        right = right and self.signer.signed(str(call.body.get("transmission_sig")), text)
        return Shown(lambda: {"verification_status": "SUCCESS" if right else "FAILURE"})

    async def dispute(self, request: Request) -> Response:
        self.tell("CUSTOMER.DISPUTE.CREATED", self.captures[request.path_params["id"]])
        return Response(status_code=204)

    async def resolve(self, request: Request) -> Response:
        outcome = str((await request.json())["outcome_code"])
        self.tell("CUSTOMER.DISPUTE.RESOLVED", self.disputes[request.path_params["id"]], outcome=outcome)
        return Response(status_code=204)
