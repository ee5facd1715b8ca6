"""A Stripe to test against: its API's addresses, form bodies, keys, errors and magic payment methods, over HTTP.

    uvicorn --factory providers.simulator.stripe:create

Not here: customers, setup intents, and events that only echo another's (charge.succeeded).
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import assert_never
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from providers.simulator import control, faults, stripe_lists, stripe_objects, stripe_pages, stripe_wire
from providers.simulator.faults import Fault, FaultKind, Faults, Reply
from providers.simulator.ledger import Ledger, References
from providers.simulator.notifier import Notifier
from providers.simulator.stripe_bank import Bank, new_id
from providers.simulator.stripe_events import BY_ITSELF, WEBHOOK_SECRET, Cause, Events
from providers.simulator.stripe_keys import Keys
from providers.simulator.stripe_lists import EVENT_PARAMS, LIST_PARAMS
from providers.simulator.stripe_records import Charge, Dispute, Payment, Refund, Subject
from providers.simulator.stripe_wire import Dialect, Json, Refusal, error_reply, invalid

CREATE_PARAMS = frozenset({
    "amount", "automatic_payment_methods", "capture_method", "confirm", "currency", "customer", "description",
    "error_on_requires_action", "expand", "metadata", "off_session", "payment_method", "receipt_email", "return_url",
    "setup_future_usage", "statement_descriptor_suffix",
})  # fmt: skip
CONFIRM_PARAMS = frozenset(
    {"capture_method", "error_on_requires_action", "expand", "off_session", "payment_method", "return_url"}
)
CAPTURE_PARAMS = frozenset({"amount_to_capture", "expand", "metadata", "statement_descriptor_suffix"})
CANCEL_PARAMS = frozenset({"cancellation_reason", "expand"})
REFUND_PARAMS = frozenset({"amount", "charge", "expand", "metadata", "payment_intent", "reason"})
DISPUTE_PARAMS = frozenset({"evidence", "expand", "metadata", "submit"})
RETRIEVE_PARAMS = frozenset({"client_secret", "expand"})

CANCEL_REASONS = ("", "requested_by_customer", "duplicate", "fraudulent", "abandoned")
REFUND_REASONS = ("", "requested_by_customer", "duplicate", "fraudulent")


def create(
    *,
    api_key: str | None = None,
    public_url: str | None = None,
    webhook_url: str | None = None,
    webhook_secret: str = WEBHOOK_SECRET,
    clock: Callable[[], float] = time.time,
) -> Starlette:
    """`api_key` None accepts every test key; `public_url` is where a browser reaches the hosted pages."""
    simulator = Simulator(api_key, public_url, webhook_url, webhook_secret, clock)
    return control.app(
        [
            simulator.post("/v1/payment_intents", "charge", CREATE_PARAMS, simulator.create_payment),
            simulator.get("/v1/payment_intents", LIST_PARAMS, simulator.list_payments),
            simulator.get("/v1/payment_intents/{id}", RETRIEVE_PARAMS, simulator.show_payment),
            simulator.post("/v1/payment_intents/{id}/confirm", "confirm", CONFIRM_PARAMS, simulator.confirm),
            simulator.post("/v1/payment_intents/{id}/capture", "capture", CAPTURE_PARAMS, simulator.capture),
            simulator.post("/v1/payment_intents/{id}/cancel", "cancel", CANCEL_PARAMS, simulator.cancel),
            simulator.post("/v1/refunds", "refund", REFUND_PARAMS, simulator.create_refund),
            simulator.get("/v1/refunds", LIST_PARAMS, simulator.list_refunds),
            simulator.get("/v1/refunds/{id}", RETRIEVE_PARAMS, simulator.show_refund),
            simulator.get("/v1/charges/{id}", RETRIEVE_PARAMS, simulator.show_charge),
            simulator.get("/v1/disputes", LIST_PARAMS, simulator.list_disputes),
            simulator.get("/v1/disputes/{id}", RETRIEVE_PARAMS, simulator.show_dispute),
            simulator.post("/v1/disputes/{id}", "dispute", DISPUTE_PARAMS, simulator.respond),
            simulator.post("/v1/disputes/{id}/close", "dispute", frozenset({"expand"}), simulator.close_dispute),
            simulator.get("/v1/events", EVENT_PARAMS, simulator.list_events),
            Route("/3d_secure_2/hosted/{id}", simulator.hosted_page, methods=["GET"]),
            Route("/3d_secure_2/hosted/{id}", simulator.leave_hosted_page, methods=["POST"]),
            Route("/_simulator/payments/{id}/settle", simulator.settle_payment, methods=["POST"]),
            Route("/_simulator/payments/{id}/expire", simulator.expire, methods=["POST"]),
            Route("/_simulator/refunds/{id}/settle", simulator.settle, methods=["POST"]),
        ],
        faults=simulator.faults,
        ledger=simulator.ledger,
        notifier=simulator.notifier,
    )


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated API call with its parameters checked against the known names."""

    id: str
    params: Mapping[str, object]
    base_url: str
    cause: Cause


Endpoint = Callable[[Call], Json]


@dataclass(frozen=True, slots=True)
class Door:
    """What one route leads to, and the parameters it knows."""

    operation: str
    known: frozenset[str]
    endpoint: Endpoint


@dataclass(slots=True)
class Simulator:
    api_key: str | None
    public_url: str | None
    webhook_url: str | None
    webhook_secret: str
    clock: Callable[[], float]
    faults: Faults = field(default_factory=Faults)
    ledger: Ledger = field(default_factory=Ledger)
    keys: dict[str, Keys] = field(default_factory=dict)
    dialect: Dialect = field(default_factory=Dialect)
    notifier: Notifier = field(init=False)
    events: Events = field(init=False)
    bank: Bank = field(init=False)
    seen_url: str = ""
    """Where the last caller found us: events and errors show addresses too."""

    def __post_init__(self) -> None:
        self.notifier = Notifier(self.faults, url=self.webhook_url, clock=self.clock)
        self.events = Events(self.notifier, self.webhook_secret, self.clock)
        self.bank = Bank(self.clock, self.ledger, show=self._payment, announce=self._announce)

    def _announce(self, event_type: str, subject: Subject, references: References) -> None:
        self.events.announce(event_type, self._subject(subject), references)

    def _subject(self, subject: Subject) -> Json:
        match subject:
            case Payment():
                return self._payment(subject)
            case Charge():
                return stripe_objects.charge(subject)
            case Refund():
                return stripe_objects.refund(subject)
            case Dispute():
                return stripe_objects.dispute(subject)
            case _:
                assert_never(subject)

    def _payment(self, payment: Payment) -> Json:
        return stripe_objects.payment(payment, base_url=self.seen_url)

    # --- From a request to an answer: key, misbehaviour, parameters, idempotency, bank ---

    def get(self, path: str, known: frozenset[str], endpoint: Endpoint) -> Route:
        door = Door("look_up", known, endpoint)

        async def answer(request: Request) -> Response:
            return await self._answer(request, door, request.url.query)

        return Route(path, answer, methods=["GET"])

    def post(self, path: str, operation: str, known: frozenset[str], endpoint: Endpoint) -> Route:
        door = Door(operation, known, endpoint)

        async def answer(request: Request) -> Response:
            return await self._answer(request, door, (await request.body()).decode())

        return Route(path, answer, methods=["POST"])

    async def _answer(self, request: Request, door: Door, form: str) -> Response:
        request_id = f"req_{secrets.token_hex(7)}"
        try:
            response = await self._respond(request, door, stripe_wire.read_form(form), request_id)
        except Refusal as refusal:
            response = error_reply(refusal).to_response()
        response.headers["Request-Id"] = request_id
        for echoed in ("Stripe-Version", "Idempotency-Key"):
            if echoed in request.headers:
                response.headers[echoed] = request.headers[echoed]
        return response

    async def _respond(self, request: Request, door: Door, params: Json, request_id: str) -> Response:
        keys = self.keys.setdefault(self._authenticate(request), Keys())
        references = self._references(request, params)
        self.ledger.see_call(door.operation, references)
        fault = self.faults.take(door.operation, references)
        early = faults.before_acting(fault, self.dialect)
        if early is not None:
            return early
        stripe_wire.check_known(params, door.known)
        self.seen_url = self._base_url(request)
        given_key = request.headers.get("Idempotency-Key")
        call = Call(request.path_params.get("id", ""), params, self.seen_url, Cause(request_id, given_key))
        perform = partial(self._perform, call, door.endpoint, fault)
        if request.method == "GET":
            return await faults.act(fault, self.faults, perform, self.dialect)
        key = given_key or secrets.token_hex(16)
        fingerprint = f"{request.url.path} {json.dumps(params, sort_keys=True)}"
        once = partial(keys.once, key, perform, fingerprint=fingerprint, request_id=request_id)
        with keys.running_alone(key):
            return await faults.act(fault, self.faults, once, self.dialect)

    def _perform(self, call: Call, endpoint: Endpoint, fault: Fault | None) -> Reply:
        self.events.cause = call.cause
        try:
            shown = stripe_wire.reply(200, endpoint(call))
        finally:
            self.events.cause = BY_ITSELF
        return self.dialect.failed() if fault and fault.kind is FaultKind.ERROR_AFTER_ACTING else shown

    def _authenticate(self, request: Request) -> str:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and (key == self.api_key or (not self.api_key and "_test_" in key)):
            return key
        message = f"Invalid API Key provided: {key[:8]}***" if key else "You did not provide an API key."
        raise invalid(message, status=401, executed=False)

    def _references(self, request: Request, params: Json) -> References:
        metadata = stripe_wire.mapping(params, "metadata")
        payment_id = request.path_params.get("id") or str(params.get("payment_intent", ""))
        payment = self.bank.payments.get(payment_id)
        known = payment.references if payment else References()
        return References(
            metadata.get("gateway_reference", known.gateway), metadata.get("merchant_reference", known.merchant)
        )

    def _base_url(self, request: Request) -> str:
        return (self.public_url or str(request.base_url)).rstrip("/")

    # --- Payments ---

    def create_payment(self, call: Call) -> Json:
        params = call.params
        automatic = stripe_wire.mapping(params, "automatic_payment_methods")
        payment = Payment(
            id=new_id("pi"),
            created=self.bank.now(),
            amount=stripe_wire.integer(params, "amount"),
            currency=stripe_wire.required(params, "currency").lower(),
            capture_method=stripe_wire.chosen(params, "capture_method", ("automatic", "automatic_async", "manual")),
            metadata=stripe_wire.mapping(params, "metadata"),
            return_url=stripe_wire.text(params, "return_url") or None,
            redirects=automatic.get("allow_redirects", "always") == "always",
            token=stripe_wire.text(params, "payment_method") or None,
            description=stripe_wire.text(params, "description") or None,
            statement_descriptor_suffix=stripe_wire.text(params, "statement_descriptor_suffix") or None,
        )
        confirm = stripe_wire.flag(params, "confirm")
        self.bank.create(payment)
        if confirm:
            self._confirm(payment, call)
        return self._shown(payment, call)

    def confirm(self, call: Call) -> Json:
        payment = self.bank.payment(call.id)
        payment.token = stripe_wire.text(call.params, "payment_method") or payment.token
        payment.return_url = stripe_wire.text(call.params, "return_url") or payment.return_url
        self._confirm(payment, call)
        return self._shown(payment, call)

    def _confirm(self, payment: Payment, call: Call) -> None:
        self.bank.confirm(
            payment,
            off_session=stripe_wire.flag(call.params, "off_session"),
            no_actions=stripe_wire.flag(call.params, "error_on_requires_action"),
        )

    def capture(self, call: Call) -> Json:
        payment = self.bank.payment(call.id)
        named = "amount_to_capture" in call.params
        self.bank.capture(payment, stripe_wire.integer(call.params, "amount_to_capture") if named else None)
        return self._shown(payment, call)

    def cancel(self, call: Call) -> Json:
        reason = stripe_wire.chosen(call.params, "cancellation_reason", CANCEL_REASONS)
        payment = self.bank.payment(call.id)
        self.bank.cancel(payment, reason or None)
        return self._shown(payment, call)

    def show_payment(self, call: Call) -> Json:
        return self._shown(self.bank.payment(call.id), call)

    def list_payments(self, call: Call) -> Json:
        return stripe_lists.payments(self.bank, call.params, call.base_url)

    def _shown(self, payment: Payment, call: Call) -> Json:
        expand = "latest_charge" in stripe_wire.expanded(call.params)
        return stripe_objects.payment(payment, base_url=call.base_url, expand_charge=expand)

    def show_charge(self, call: Call) -> Json:
        return stripe_objects.charge(self.bank.charge(call.id))

    # --- Refunds ---

    def create_refund(self, call: Call) -> Json:
        params = call.params
        charge_id = stripe_wire.text(params, "charge")
        payment_id = (
            self.bank.charge(charge_id).payment_id if charge_id else stripe_wire.required(params, "payment_intent")
        )
        amount = stripe_wire.integer(params, "amount") if "amount" in params else None
        reason = stripe_wire.chosen(params, "reason", REFUND_REASONS) or None
        metadata = stripe_wire.mapping(params, "metadata")
        return stripe_objects.refund(self.bank.give_back(self.bank.payment(payment_id), amount, reason, metadata))

    def show_refund(self, call: Call) -> Json:
        return stripe_objects.refund(self.bank.refund(call.id))

    def list_refunds(self, call: Call) -> Json:
        return stripe_lists.refunds(self.bank, call.params)

    # --- Disputes ---

    def show_dispute(self, call: Call) -> Json:
        return stripe_objects.dispute(self.bank.dispute(call.id))

    def list_disputes(self, call: Call) -> Json:
        return stripe_lists.disputes(self.bank, call.params)

    def list_events(self, call: Call) -> Json:
        return stripe_lists.events(self.events.told, call.params)

    def respond(self, call: Call) -> Json:
        evidence = stripe_wire.mapping(call.params, "evidence")
        stripe_wire.check_known(evidence, stripe_objects.EVIDENCE)
        submit = stripe_wire.chosen(call.params, "submit", ("true", "false")) == "true"
        dispute = self.bank.dispute(call.id)
        self.bank.respond(dispute, evidence, submit=submit)
        return stripe_objects.dispute(dispute)

    def close_dispute(self, call: Call) -> Json:
        dispute = self.bank.dispute(call.id)
        self.bank.decide(dispute, won=False)
        return stripe_objects.dispute(dispute)

    # --- What customers, banks and time do ---

    async def hosted_page(self, request: Request) -> Response:
        payment = self.bank.payments.get(request.path_params["id"])
        if payment is None or payment.status != "requires_action":
            return HTMLResponse("<p>Nothing to approve here.</p>", 404)
        return HTMLResponse(stripe_pages.bank(payment))

    async def leave_hosted_page(self, request: Request) -> Response:
        payment = self.bank.payments.get(request.path_params["id"])
        if payment is None or payment.return_url is None:
            return HTMLResponse("<p>Nothing to approve here.</p>", 404)
        approved = "action=approve" in (await request.body()).decode()
        self.bank.authenticate(payment, approved=approved)
        back = {
            "payment_intent": payment.id,
            "payment_intent_client_secret": payment.client_secret,
            "redirect_status": "succeeded" if payment.last_error is None else "failed",
        }
        separator = "&" if "?" in payment.return_url else "?"
        return RedirectResponse(f"{payment.return_url}{separator}{urlencode(back)}", 303)

    async def settle_payment(self, request: Request) -> Response:
        payment = self.bank.payments[request.path_params["id"]]
        self.bank.settle_payment(payment)
        return JSONResponse(self._payment(payment))

    async def expire(self, request: Request) -> Response:
        payment = self.bank.payments[request.path_params["id"]]
        self.bank.expire(payment)
        return JSONResponse(self._payment(payment))

    async def settle(self, request: Request) -> Response:
        refund = self.bank.refunds[request.path_params["id"]]
        self.bank.settle(refund)
        return JSONResponse(stripe_objects.refund(refund))
