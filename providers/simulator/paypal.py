"""A PayPal to test against, over HTTP: OAuth, orders, payments, signed webhooks, and a page to approve on.

    uvicorn --factory providers.simulator.paypal:create

Steered by magic vault ids (`paypal_tokens`) and PayPal's own header `PayPal-Mock-Response`. Beside PayPal's addresses:
`POST /_simulator/captures/{id}/settle` (and `/deny`), `POST /_simulator/refunds/{id}/settle`,
`POST /_simulator/captures/{id}/dispute`, `POST /_simulator/disputes/{id}/resolve`, `DELETE /_simulator/tokens`.
Not here: reauthorizing, vaulting, more than one purchase unit.
"""

from __future__ import annotations

import json
import secrets
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from providers.simulator import control, faults, paypal_objects, paypal_reports, paypal_wire
from providers.simulator.faults import Fault, FaultKind, Faults, Reply
from providers.simulator.ledger import Ledger, References
from providers.simulator.notifier import Notifier
from providers.simulator.paypal_bank import Authorization, Bank, Capture, Order, Refund
from providers.simulator.paypal_hosted import Hosted
from providers.simulator.paypal_keys import ORDERS_SECONDS, PAYMENTS_SECONDS, Keys, Show
from providers.simulator.paypal_notices import EVENTS_PATH, Notices
from providers.simulator.paypal_tokens import Behaviour, behaviour_of
from providers.simulator.paypal_wire import Call, Json, Refusal, Shown, error_reply, inner, new_id, reply

WEBHOOK_ID = "SIMULATEDWEBHOOK"
TOKEN_SECONDS = 32_400


def create(
    *,
    client: tuple[str, str] | None = None,
    webhook_id: str = WEBHOOK_ID,
    public_url: str | None = None,
    webhook_url: str | None = None,
    reporting_delay_seconds: float = 0.0,
    clock: Callable[[], float] = time.time,
) -> Starlette:
    """`client` (id, secret) None lets every client in; `public_url` is where a browser reaches the approval page."""
    simulator = Simulator(
        client=client,
        webhook_id=webhook_id,
        public_url=public_url,
        webhook_url=webhook_url,
        reporting_delay_seconds=reporting_delay_seconds,
        clock=clock,
    )
    orders, payments = "/v2/checkout/orders", "/v2/payments"
    made = control.app(
        [
            Route("/v1/oauth2/token", simulator.sign_in, methods=["POST"]),
            simulator.route("POST", orders, "charge", simulator.create_order),
            simulator.route("GET", f"{orders}/{{id}}", "look_up", simulator.show_order),
            simulator.route("PATCH", f"{orders}/{{id}}", "cancel", simulator.patch_order),
            simulator.route("POST", f"{orders}/{{id}}/capture", "take", simulator.take_order),
            simulator.route("POST", f"{orders}/{{id}}/authorize", "take", simulator.take_order),
            simulator.route("GET", f"{payments}/authorizations/{{id}}", "look_up", simulator.show_authorization),
            simulator.route("POST", f"{payments}/authorizations/{{id}}/capture", "capture", simulator.capture),
            simulator.route("POST", f"{payments}/authorizations/{{id}}/void", "cancel", simulator.void),
            simulator.route("GET", f"{payments}/captures/{{id}}", "look_up", simulator.show_capture),
            simulator.route("POST", f"{payments}/captures/{{id}}/refund", "refund", simulator.refund),
            simulator.route("GET", f"{payments}/refunds/{{id}}", "look_up", simulator.show_refund),
            simulator.route("GET", EVENTS_PATH, "look_up", simulator.notices.list_events),
            simulator.route("POST", "/v1/notifications/verify-webhook-signature", "verify", simulator.notices.verify),
            simulator.route("GET", paypal_reports.PATH, "look_up", simulator.report),
            *simulator.notices.routes(),
            *Hosted(simulator.bank).routes(),
            Route("/_simulator/captures/{id}/{what:str}", simulator.settle_capture, methods=["POST"]),
            Route("/_simulator/refunds/{id}/settle", simulator.settle_refund, methods=["POST"]),
            Route("/_simulator/tokens", simulator.forget_tokens, methods=["DELETE"]),
        ],
        faults=simulator.faults,
        ledger=simulator.ledger,
        notifier=simulator.notifier,
    )
    made.state.simulator = simulator
    return made


Endpoint = Callable[[Call], Shown]


@dataclass(frozen=True, slots=True)
class Door:
    operation: str
    endpoint: Endpoint


class Dialect:
    """PayPal's 429 and 500, and where its answers carry money."""

    def throttled(self) -> Reply:
        limited = error_reply(Refusal("RATE_LIMIT_REACHED"))
        return replace(limited, headers=limited.headers | {"Retry-After": "2"})

    def failed(self) -> Reply:
        return error_reply(Refusal("INTERNAL_SERVER_ERROR"))

    def falsified(self, reply: Reply, kind: FaultKind) -> Reply:
        def false(value: object) -> object:
            if isinstance(value, list):
                return [false(item) for item in value]
            if not isinstance(value, dict):
                return value
            if value.keys() != {"currency_code", "value"}:
                return {name: false(item) for name, item in value.items()}
            if kind is FaultKind.WRONG_CURRENCY:
                return value | {"currency_code": "XTS"}
            return value | {"value": f"1{value['value']}"}

        return replace(reply, body=json.dumps(false(json.loads(reply.body))).encode())


@dataclass(slots=True, kw_only=True)
class Simulator:
    client: tuple[str, str] | None
    webhook_id: str
    public_url: str | None
    webhook_url: str | None
    reporting_delay_seconds: float
    clock: Callable[[], float]
    faults: Faults = field(default_factory=Faults)
    ledger: Ledger = field(default_factory=Ledger)
    tokens: dict[str, float] = field(default_factory=dict)
    dialect: Dialect = field(default_factory=Dialect)
    notifier: Notifier = field(init=False)
    notices: Notices = field(init=False)
    keys: Keys = field(init=False)
    bank: Bank = field(init=False)

    def __post_init__(self) -> None:
        self.notifier = Notifier(self.faults, url=self.webhook_url, clock=self.clock)
        self.notices = Notices(notifier=self.notifier, webhook_id=self.webhook_id, clock=self.clock)
        self.keys = Keys(self.clock)
        self.bank = Bank(clock=self.clock, ledger=self.ledger, tell=self.notices.tell)
        self.notices.captures = self.bank.captures

    # --- From a request to an answer: token, misbehaviour, idempotency, bank ---

    async def sign_in(self, request: Request) -> Response:
        fault = self._token_fault()
        early = faults.before_acting(fault, self.dialect)
        if early is not None:
            return early
        return await faults.act(fault, self.faults, partial(self._token, request.headers), self.dialect)

    def _token_fault(self) -> Fault | None:
        """Only what is ordered for it by name: a test of payments does not mean the token."""
        named = any(fault.operation == "token" for fault in self.faults.ordered)
        return self.faults.take("token", References()) if named else None

    def _token(self, headers: Mapping[str, str]) -> Reply:
        right = "Basic " + b64encode(":".join(self.client or ()).encode()).decode()
        if self.client is not None and headers.get("Authorization") != right:
            return reply(401, {"error": "invalid_client", "error_description": "Client Authentication failed"})
        token = f"A21AA{secrets.token_urlsafe(32)}"
        self.tokens[token] = self.clock() + TOKEN_SECONDS
        return reply(
            200,
            {
                "scope": "https://uri.paypal.com/services/payments/payment",
                "access_token": token,
                "token_type": "Bearer",
                "app_id": "APP-80W284485P519543T",
                "expires_in": TOKEN_SECONDS,
                "nonce": secrets.token_hex(8),
            },
        )

    def route(self, method: str, path: str, operation: str, endpoint: Endpoint) -> Route:
        door = Door(operation, endpoint)

        async def answer(request: Request) -> Response:
            try:
                response = await self._respond(request, door, await request.body())
            except Refusal as refusal:
                response = error_reply(refusal).to_response()
            response.headers["Paypal-Debug-Id"] = secrets.token_hex(7)
            return response

        return Route(path, answer, methods=[method])

    async def _respond(self, request: Request, door: Door, raw: bytes) -> Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or self.tokens.get(token, 0) <= self.clock():
            told: Json = {"error": "invalid_token", "error_description": "Token signature verification failed"}
            return reply(401, told).to_response()
        self.notices.api_url = str(request.base_url).rstrip("/")
        call = self._call(request, raw)
        references = self._references(call)
        self.ledger.see_call(door.operation, references)
        fault = self.faults.take(door.operation, references)
        early = faults.before_acting(fault, self.dialect)
        if early is not None:
            return early
        perform = partial(self._perform, call, door, request.headers)
        if request.method != "POST" or call.key is None:
            return await faults.act(
                fault, self.faults, partial(self._fail_after, fault, lambda: perform()[0]), self.dialect
            )
        key = f"{call.path} {call.key}"
        seconds = ORDERS_SECONDS if "/orders" in call.path else PAYMENTS_SECONDS
        once = partial(self.keys.once, key, perform, seconds=seconds)
        with self.keys.running_alone(key):
            return await faults.act(fault, self.faults, partial(self._fail_after, fault, once), self.dialect)

    def _fail_after(self, fault: Fault | None, perform: Callable[[], Reply]) -> Reply:
        answer = perform()
        return self.dialect.failed() if fault and fault.kind is FaultKind.ERROR_AFTER_ACTING else answer

    def _perform(self, call: Call, door: Door, headers: Mapping[str, str]) -> tuple[Reply, Show]:
        mocked = headers.get("PayPal-Mock-Response")
        if mocked:
            raise Refusal(str(json.loads(mocked)["mock_application_codes"]))
        shown = door.endpoint(call)
        whole = headers.get("Prefer") == "return=representation" or door.operation in ("look_up", "verify")

        def show(status: int) -> Reply:
            body = shown.body()
            if body is None or (not whole and call.path.endswith("/void")):
                return reply(204, None)
            return reply(status, body if whole else paypal_objects.minimal(body))

        return show(shown.first), partial(show, shown.again)

    def _call(self, request: Request, raw: bytes) -> Call:
        body: Json = {} if request.method == "PATCH" else paypal_wire.read_json(raw)
        return Call(
            id=request.path_params.get("id", ""),
            path=request.url.path,
            query=dict(request.query_params),
            body=body,
            raw=raw,
            key=request.headers.get("PayPal-Request-Id"),
            base_url=self.page_url,
        )

    @property
    def page_url(self) -> str:
        return (self.public_url or self.notices.api_url).rstrip("/")

    def _references(self, call: Call) -> References:
        bank, asked = self.bank, call.body.get("custom_id")
        part = bank.authorizations.get(call.id) or bank.captures.get(call.id)
        known = bank.orders.get(call.id) or (part.order if part else bank.refunds.get(call.id))
        references = known.references if known else References()
        units = call.body.get("purchase_units")
        if isinstance(units, list) and units and isinstance(units[0], dict):
            invoice = str(units[0].get("invoice_id") or "")
            return References(str(units[0].get("custom_id") or ""), invoice.rpartition(" ")[0] or None)
        return replace(references, gateway=str(asked)) if asked else references

    # --- Orders ---

    def create_order(self, call: Call) -> Shown:
        intent = paypal_wire.text(call.body, "intent")
        units = call.body.get("purchase_units")
        if intent not in ("CAPTURE", "AUTHORIZE"):
            raise Refusal("INVALID_PARAMETER_VALUE", field="/intent", value=intent)
        if not isinstance(units, list) or len(units) != 1 or not isinstance(units[0], dict):
            raise Refusal("MISSING_REQUIRED_PARAMETER", field="/purchase_units")
        source = inner(call.body, "payment_source")
        if source and call.key is None:
            raise Refusal("PAYPAL_REQUEST_ID_REQUIRED")
        unit = units[0]
        amount, currency = paypal_wire.read_money(inner(unit, "amount"), "/purchase_units/0/amount")
        context = inner(source, "card", "experience_context") or inner(source, "paypal", "experience_context")
        order = Order(
            id=new_id(),
            created=self.clock(),
            intent=intent,
            amount=amount,
            currency=currency,
            reference_id=paypal_wire.text(unit, "reference_id", most=256) or "default",
            custom_id=paypal_wire.text(unit, "custom_id") or None,
            invoice_id=paypal_wire.text(unit, "invoice_id") or None,
            description=paypal_wire.text(unit, "description") or None,
            soft_descriptor=paypal_wire.text(unit, "soft_descriptor", most=22) or None,
            return_url=paypal_wire.text(context, "return_url", most=4000) or None,
            cancel_url=paypal_wire.text(context, "cancel_url", most=4000) or None,
            behaviour=_behaviour(source),
        )
        self.bank.create(order)
        return self._order(order, first=201)

    def show_order(self, call: Call) -> Shown:
        return self._order(self.bank.order(call.id))

    def take_order(self, call: Call) -> Shown:
        order = self.bank.order(call.id)
        intent = "CAPTURE" if call.path.endswith("/capture") else "AUTHORIZE"
        self.bank.take(order, intent, paypal_objects.approval_url(order, self.page_url))
        return self._order(order, first=201)

    def patch_order(self, call: Call) -> Shown:
        self.bank.patch(self.bank.order(call.id), json.loads(call.raw or b"[]"))
        return Shown(lambda: None)

    def _order(self, order: Order, first: int = 200) -> Shown:
        return Shown(lambda: paypal_objects.order(order, self.page_url), first)

    # --- Payments ---

    def show_authorization(self, call: Call) -> Shown:
        return self._authorization(self.bank.authorization(call.id))

    def capture(self, call: Call) -> Shown:
        authorization, body = self.bank.authorization(call.id), call.body
        amount = None
        if "amount" in body:
            amount, currency = paypal_wire.read_money(inner(body, "amount"), "/amount")
            if currency != authorization.order.currency:
                raise Refusal("AUTH_CAPTURE_CURRENCY_MISMATCH")
        invoice_id = paypal_wire.text(body, "invoice_id") or None
        final = body.get("final_capture") is True
        return self._capture(self.bank.capture_authorization(authorization, amount, invoice_id, final=final), 201)

    def void(self, call: Call) -> Shown:
        authorization = self.bank.authorization(call.id)
        self.bank.void(authorization)
        return self._authorization(authorization)

    def show_capture(self, call: Call) -> Shown:
        return self._capture(self.bank.capture(call.id), 200)

    def refund(self, call: Call) -> Shown:
        capture, body = self.bank.capture(call.id), call.body
        amount = None
        if "amount" in body:
            amount, currency = paypal_wire.read_money(inner(body, "amount"), "/amount")
            if currency != capture.order.currency:
                raise Refusal("REFUND_CAPTURE_CURRENCY_MISMATCH")
        named = (paypal_wire.text(body, name) or None for name in ("custom_id", "invoice_id"))
        return self._refund(self.bank.give_back(capture, amount, *named), 201)

    def show_refund(self, call: Call) -> Shown:
        return self._refund(self.bank.refund(call.id), 200)

    def _authorization(self, shown: Authorization) -> Shown:
        return Shown(lambda: paypal_objects.authorization(shown, self.notices.api_url, alone=True))

    def _capture(self, shown: Capture, status: int) -> Shown:
        return Shown(lambda: paypal_objects.capture(shown, self.notices.api_url, alone=True), status, status)

    def _refund(self, shown: Refund, status: int) -> Shown:
        return Shown(lambda: paypal_objects.refund(shown, self.notices.api_url), status, status)

    def report(self, call: Call) -> Shown:
        """Transaction Search, which knows of everything but the last `reporting_delay_seconds`."""
        body = paypal_reports.listed(self.bank, call.query, refreshed=self.clock() - self.reporting_delay_seconds)
        return Shown(lambda: body)

    # --- What customers, PayPal's people and time do ---

    async def settle_capture(self, request: Request) -> Response:
        capture = self.bank.captures[request.path_params["id"]]
        self.bank.settle_capture(capture, denied=request.path_params["what"] == "deny")
        return JSONResponse(paypal_objects.capture(capture, self.notices.api_url, alone=True))

    async def settle_refund(self, request: Request) -> Response:
        refund = self.bank.refunds[request.path_params["id"]]
        self.bank.settle_refund(refund)
        return JSONResponse(paypal_objects.refund(refund, self.notices.api_url))

    async def forget_tokens(self, _request: Request) -> Response:
        self.tokens.clear()
        return Response(status_code=204)


def _behaviour(source: Json) -> Behaviour | None:
    for kind in ("card", "paypal"):
        vault_id = paypal_wire.text(inner(source, kind), "vault_id", most=255)
        if vault_id:
            behaviour = behaviour_of(vault_id)
            if behaviour is None:
                raise Refusal("INVALID_PARAMETER_VALUE", field=f"/payment_source/{kind}/vault_id", value=vault_id)
            return replace(behaviour, wallet=kind == "paypal")
    if "card" in source:
        raise Refusal("MISSING_REQUIRED_PARAMETER", field="/payment_source/card/vault_id")
    return None
