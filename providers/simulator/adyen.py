"""An Adyen to test against: Checkout v71's addresses, JSON, keys, errors, magic values and notifications, over HTTP.

    uvicorn --factory providers.simulator.adyen:create

A card's token is any shopper's stored method, named after what it does (`shopper_1/APPROVED`): APPROVED, APPROVED_MC,
DECLINED, NOT_ENOUGH_BALANCE, CHALLENGE (the customer must approve), PENDING, CAPTURE_FAILED, REFUND_FAILED,
REFUND_WAITS, CHARGEBACK, CHARGEBACK_REVERSED, SECOND_CHARGEBACK, NO_CONNECTION_AVAILABLE, IOEXCEPTION_RECEIVED and the
rest of `adyen_values`. Every other payment method sends the customer to a page. Not here: card data, links, sessions.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from providers.simulator import adyen_pages, adyen_values, adyen_wire, control, faults
from providers.simulator.adyen_bank import USUAL, Bank, Habits
from providers.simulator.adyen_events import HMAC_KEY, Events
from providers.simulator.adyen_keys import Keys
from providers.simulator.adyen_records import Modification, Payment, first_reference, new_psp_reference
from providers.simulator.adyen_reports import Journal
from providers.simulator.adyen_wire import Json, Refusal
from providers.simulator.faults import Fault, FaultKind, Faults, Reply
from providers.simulator.ledger import Ledger, References
from providers.simulator.notifier import Notifier

PAYMENT_FIELDS = frozenset({
    "additionalData", "amount", "authenticationData", "billingAddress", "browserInfo", "captureDelayHours", "channel",
    "countryCode", "deliveryAddress", "lineItems", "merchantAccount", "merchantOrderReference", "metadata", "origin",
    "paymentMethod", "recurringProcessingModel", "reference", "returnUrl", "shopperEmail", "shopperIP",
    "shopperInteraction", "shopperLocale", "shopperName", "shopperReference", "shopperStatement", "store",
    "storePaymentMethod", "telephoneNumber",
})  # fmt: skip
DETAILS_FIELDS = frozenset({"authenticationData", "details", "paymentData", "threeDSAuthenticationOnly"})
CAPTURE_FIELDS = frozenset({"amount", "lineItems", "merchantAccount", "reference", "splits"})
CANCEL_FIELDS = frozenset({"merchantAccount", "reference"})
REFUND_FIELDS = CAPTURE_FIELDS | {"capturePspReference", "merchantRefundReason", "store"}

INTERACTIONS = ("Ecommerce", "ContAuth", "Moto", "POS")
MODELS = ("", "CardOnFile", "Subscription", "UnscheduledCardOnFile")
REFUND_REASONS = ("OTHER", "FRAUD", "CUSTOMER REQUEST", "RETURN", "DUPLICATE")
SHOPPER_REFERENCE_MIN = 3


def create(
    *,
    api_key: str | None = None,
    report_api_key: str | None = None,
    public_url: str | None = None,
    webhook_url: str | None = None,
    hmac_key: str = HMAC_KEY,
    webhook_login: tuple[str, str] | None = None,
    habits: Habits = USUAL,
    clock: Callable[[], float] = time.time,
) -> Starlette:
    """`api_key` and `report_api_key` None accept every key; `public_url` is where browsers reach the hosted pages."""
    made_faults, ledger = Faults(), Ledger()
    notifier = Notifier(made_faults, url=webhook_url, clock=clock)
    events = Events(notifier, hmac_key, webhook_login, clock)
    bank = Bank(ledger=ledger, events=events, journal=Journal(clock), habits=habits)
    simulator = Simulator(
        api_key=api_key,
        report_api_key=report_api_key,
        public_url=public_url,
        faults=made_faults,
        ledger=ledger,
        bank=bank,
    )
    payment = "/v71/payments/{psp}"
    return control.app(
        [
            simulator.post("/v71/payments", "charge", PAYMENT_FIELDS, simulator.pay),
            simulator.post("/v71/payments/details", "details", DETAILS_FIELDS, simulator.go_on),
            simulator.post(f"{payment}/captures", "capture", CAPTURE_FIELDS, simulator.capture),
            simulator.post(f"{payment}/cancels", "cancel", CANCEL_FIELDS, simulator.cancel),
            simulator.post(f"{payment}/refunds", "refund", REFUND_FIELDS, simulator.refund),
            simulator.post(f"{payment}/reversals", "reversal", CANCEL_FIELDS, simulator.reverse),
            simulator.post("/v71/cancels", "cancel", CANCEL_FIELDS | {"paymentReference"}, simulator.cancel_unseen),
            Route("/reports/download/MerchantAccount/{account}/{name}", simulator.report, methods=["GET"]),
            Route("/hosted/{id}", simulator.hosted_page, methods=["GET"]),
            Route("/hosted/{id}", simulator.leave_hosted_page, methods=["POST"]),
            Route("/_simulator/payments/{psp}/{what}", simulator.pass_time, methods=["POST"]),
            Route("/_simulator/refunds/{psp}/settle", simulator.settle_refund, methods=["POST"]),
        ],
        faults=made_faults,
        ledger=ledger,
        notifier=notifier,
    )


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated API call, its body checked against the known fields; `psp` is the payment of its address."""

    psp: str
    body: Json
    base_url: str


Endpoint = Callable[[Call], Json]


@dataclass(frozen=True, slots=True)
class Door:
    """What one route leads to, and the fields it knows."""

    operation: str
    known: frozenset[str]
    endpoint: Endpoint

    @property
    def status(self) -> int:
        return 200 if self.operation in ("charge", "details") else 201


class Dialect:
    """Adyen's 429 and 500, and where its answers carry money."""

    def throttled(self) -> Reply:
        limited = Refusal(429, "00_429", "Too many requests", error_type="internal").reply
        return replace(limited, headers=limited.headers | {"Retry-After": "2"})

    def failed(self) -> Reply:
        return Refusal(500, "00_500", "Internal error", error_type="internal").reply

    def falsified(self, reply: Reply, kind: FaultKind) -> Reply:
        body = json.loads(reply.body)
        if "amount" in body:
            changed = (
                {"currency": "XTS"} if kind is FaultKind.WRONG_CURRENCY else {"value": body["amount"]["value"] + 1}
            )
            body["amount"] |= changed
        return replace(reply, body=json.dumps(body).encode())


@dataclass(slots=True, kw_only=True)
class Simulator:
    api_key: str | None
    report_api_key: str | None
    public_url: str | None
    faults: Faults
    ledger: Ledger
    bank: Bank
    keys: Keys = field(default_factory=Keys)
    dialect: Dialect = field(default_factory=Dialect)

    # --- From a request to an answer: key, misbehaviour, idempotency, fields, bank ---

    def post(self, path: str, operation: str, known: frozenset[str], endpoint: Endpoint) -> Route:
        door = Door(operation, known, endpoint)

        async def answer(request: Request) -> Response:
            try:
                return await self._respond(request, door, await request.body())
            except Refusal as refusal:
                return refusal.reply.to_response()

        return Route(path, answer, methods=["POST"])

    async def _respond(self, request: Request, door: Door, raw: bytes) -> Response:
        _authenticate(request, self.api_key)
        body = adyen_wire.read_json(raw)
        psp = request.path_params.get("psp", "")
        references = self._references(door.operation, psp, body)
        self.ledger.see_call(door.operation, references)
        fault = self.faults.take(door.operation, references)
        early = faults.before_acting(fault, self.dialect)
        if early is not None:
            return early
        base_url = (self.public_url or str(request.base_url)).rstrip("/")
        perform = partial(self._perform, Call(psp, body, base_url), door, fault)
        key = request.headers.get("Idempotency-Key")
        with self.keys.running_alone(key):
            return await faults.act(fault, self.faults, partial(self.keys.once, key, perform), self.dialect)

    def _perform(self, call: Call, door: Door, fault: Fault | None) -> Reply:
        adyen_wire.check_known(call.body, door.known)
        if door.operation != "details":
            adyen_wire.required(call.body, "merchantAccount")
        shown = adyen_wire.reply(door.status, door.endpoint(call))
        return self.dialect.failed() if fault and fault.kind is FaultKind.ERROR_AFTER_ACTING else shown

    def _references(self, operation: str, psp: str, body: Json) -> References:
        """A refund goes by its own name, all the rest by its payment's."""
        own = first_reference(str(body.get("paymentReference") or body.get("reference") or ""))
        if operation == "details":
            details = body.get("details")
            result = details.get("redirectResult") if isinstance(details, dict) else None
            payment = self.bank.returns[str(result)][0] if str(result) in self.bank.returns else None
        else:
            payment = self.bank.payments.get(psp)
        if payment is None:
            metadata = body.get("metadata")
            merchant = metadata.get("merchant_reference") if isinstance(metadata, dict) else None
            return References(own, merchant)
        return References(own, payment.merchant_reference) if operation == "refund" else payment.references

    # --- Payments ---

    def pay(self, call: Call) -> Json:
        body = call.body
        amount, currency = adyen_wire.amount(body)
        method = adyen_wire.inner(body, "paymentMethod")
        kind = adyen_wire.required(method, "type")
        is_card = kind == "scheme"
        additional = adyen_wire.inner(body, "additionalData")
        metadata = adyen_wire.inner(body, "metadata")
        payment = Payment(
            psp_reference=new_psp_reference(),
            merchant_account=adyen_wire.required(body, "merchantAccount"),
            reference=adyen_wire.reference(body),
            merchant_reference=adyen_wire.text(metadata, "merchant_reference") or None,
            amount=amount,
            currency=currency,
            method=kind,
            is_card=is_card,
            manual_capture=adyen_wire.text(additional, "manualCapture") == "true",
            return_url=_return_url(body),
            behaviour=_behaviour(body, method, additional) if is_card else adyen_values.Behaviour(),
            page_id=new_psp_reference().lower(),
        )
        adyen_wire.required(body, "reference")
        adyen_wire.delay_hours(body)
        authentication = adyen_wire.inner(body, "authenticationData")
        never = adyen_wire.text(authentication, "attemptAuthentication") == "never"
        self.bank.begin(payment, may_authenticate=not never)
        return _payment_shown(payment, call.base_url)

    def go_on(self, call: Call) -> Json:
        result = adyen_wire.required(adyen_wire.inner(call.body, "details"), "redirectResult")
        return _payment_shown(self.bank.come_back(result), call.base_url)

    # --- Modifications: taken note of at once ---

    def capture(self, call: Call) -> Json:
        return self._modify(call, self.bank.capture)

    def refund(self, call: Call) -> Json:
        adyen_wire.chosen(call.body, "merchantRefundReason", REFUND_REASONS)
        return self._modify(call, self.bank.refund)

    def cancel(self, call: Call) -> Json:
        return self._modify(call, self.bank.cancel)

    def reverse(self, call: Call) -> Json:
        return self._modify(call, self.bank.reverse)

    def cancel_unseen(self, call: Call) -> Json:
        psp_reference = new_psp_reference()
        self.bank.cancel_by_reference(
            adyen_wire.required(call.body, "paymentReference"),
            merchant_account=adyen_wire.required(call.body, "merchantAccount"),
            psp_reference=psp_reference,
        )
        return _received(call.body, psp_reference)

    def _modify(self, call: Call, modify: Callable[[Modification], None]) -> Json:
        payment = self.bank.payment(call.psp)
        if payment.merchant_account != call.body["merchantAccount"]:
            raise Refusal(403, "901", "Invalid Merchant Account", error_type="security")
        amount = payment.amount
        if "amount" in call.body or modify in (self.bank.capture, self.bank.refund):
            amount, currency = adyen_wire.amount(call.body)
            if currency != payment.currency:
                raise Refusal(422, "107", "The currency is not that of the payment")
        asked = Modification(
            psp_reference=new_psp_reference(),
            payment=payment,
            reference=adyen_wire.reference(call.body),
            amount=amount,
        )
        modify(asked)
        return _received(call.body, asked.psp_reference) | {"paymentPspReference": payment.psp_reference}

    # --- Reports: each day's as far as it has come ---

    async def report(self, request: Request) -> Response:
        try:
            _authenticate(request, self.report_api_key)
        except Refusal as refusal:
            return refusal.reply.to_response()
        fault = self.faults.take("look_up", References(None))
        early = faults.before_acting(fault, self.dialect)
        if early is not None:
            return early
        text = self.bank.journal.report(request.path_params["account"], request.path_params["name"])
        if text is None:
            return Response(status_code=404)
        reply = Reply(200, text.encode(), {"Content-Type": "text/csv"})
        return await faults.act(fault, self.faults, lambda: reply, self.dialect)

    # --- What customers, banks and time do ---

    async def hosted_page(self, request: Request) -> Response:
        payment = self.bank.pages.get(request.path_params["id"])
        return HTMLResponse(adyen_pages.bank(payment)) if payment else HTMLResponse(adyen_pages.NOTHING, 404)

    async def leave_hosted_page(self, request: Request) -> Response:
        payment = self.bank.pages.get(request.path_params["id"])
        if payment is None:
            return HTMLResponse(adyen_pages.NOTHING, 404)
        approved = "action=approve" in (await request.body()).decode()
        result = self.bank.leave_page(payment, approved=approved)
        separator = "&" if "?" in payment.return_url else "?"
        return RedirectResponse(f"{payment.return_url}{separator}{urlencode({'redirectResult': result})}", 303)

    async def pass_time(self, request: Request) -> Response:
        """`expire` an authorization, `settle` a pending payment."""
        passing = {"expire": self.bank.expire, "settle": self.bank.settle}.get(request.path_params["what"])
        if passing is None:
            return Response(status_code=404)
        try:
            payment = self.bank.payment(request.path_params["psp"])
            passing(payment)
        except Refusal as refusal:
            return refusal.reply.to_response()
        return JSONResponse({"pspReference": payment.psp_reference, "status": payment.status})

    async def settle_refund(self, request: Request) -> Response:
        try:
            self.bank.settle_refund(request.path_params["psp"])
        except Refusal as refusal:
            return refusal.reply.to_response()
        return Response(status_code=204)


def _authenticate(request: Request, expected: str | None) -> None:
    key = request.headers.get("X-API-Key", "")
    if not key or expected not in (None, key):
        raise Refusal(401, "000", "HTTP Status Response - Unauthorized", error_type="security")


def _behaviour(body: Json, method: Json, additional: Json) -> adyen_values.Behaviour:
    stored = adyen_wire.required(method, "storedPaymentMethodId")
    adyen_wire.chosen(body, "shopperInteraction", INTERACTIONS)
    if not adyen_wire.chosen(body, "recurringProcessingModel", MODELS):
        raise Refusal(422, "14_0408", "Required field 'recurringProcessingModel' is not provided.")
    if len(adyen_wire.required(body, "shopperReference")) < SHOPPER_REFERENCE_MIN:
        raise Refusal(422, "702", "shopperReference is too short")
    asked = [adyen_wire.text(additional, f"RequestedTest{kind}ResponseCode") for kind in ("Error", "Acquirer")]
    found = adyen_values.behaviour([*asked, adyen_wire.text(method, "holderName"), stored])
    if found is None:
        raise Refusal(422, "803", f"PaymentDetail not found: {stored}")
    return found


def _return_url(body: Mapping[str, object]) -> str:
    if not adyen_wire.text(body, "returnUrl"):
        raise Refusal(422, "14_030", "Return URL is missing.")
    return adyen_wire.text(body, "returnUrl")


def _payment_shown(payment: Payment, base_url: str) -> Json:
    shown: Json = {"merchantReference": payment.reference, "resultCode": payment.result}
    if payment.status == "waiting":
        url = f"{base_url}/hosted/{payment.page_id}"
        shown["action"] = {"type": "redirect", "method": "GET", "url": url, "paymentMethodType": payment.method}
        # What is decided elsewhere has no id before the customer is back.
        return shown | ({"pspReference": payment.psp_reference} if payment.is_card else {})
    behaviour = payment.behaviour
    shown |= {"pspReference": payment.psp_reference}
    if payment.authorised:
        shown["amount"] = {"currency": payment.currency, "value": payment.authorised}
        method: Json = {"type": payment.method}
        shown["paymentMethod"] = method | ({"brand": behaviour.brand} if payment.is_card else {})
    if payment.code is not None:
        shown |= {"refusalReason": payment.reason, "refusalReasonCode": payment.code}
    if payment.is_card:
        shown["additionalData"] = {
            "cardSummary": behaviour.last4,
            "paymentMethod": behaviour.brand,
            "refusalReasonRaw": "AUTHORISED" if payment.authorised else behaviour.raw,
        }
    return shown


def _received(body: Mapping[str, object], psp_reference: str) -> Json:
    repeated = {
        name: body[name]
        for name in ("merchantAccount", "amount", "reference", "paymentReference", "merchantRefundReason")
        if name in body
    }
    return repeated | {"pspReference": psp_reference, "status": "received"}
