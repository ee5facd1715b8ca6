"""PayPal behind its API: orders, authorizations, captures and refunds, and the rules that move them. No HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

from providers.simulator import paypal_wire
from providers.simulator.ledger import Ledger, Movement, References
from providers.simulator.paypal_tokens import WALLET, Behaviour
from providers.simulator.paypal_wire import Refusal, new_id

Thing = TypeVar("Thing")
VALID_SECONDS = 29 * 86_400
TAKEN = ("COMPLETED", "PARTIALLY_REFUNDED", "REFUNDED")


@dataclass(slots=True, kw_only=True)
class Order:
    id: str
    created: float
    intent: str
    amount: Decimal
    currency: str
    reference_id: str = "default"
    custom_id: str | None = None
    invoice_id: str | None = None
    description: str | None = None
    soft_descriptor: str | None = None
    return_url: str | None = None
    cancel_url: str | None = None
    behaviour: Behaviour | None = None
    """What the customer pays with, once that is known."""
    status: str = "CREATED"
    authentication: str | None = None
    instrument_declines: bool = False
    authorizations: list[Authorization] = field(default_factory=list)
    captures: list[Capture] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    references: References = field(init=False)
    """As it was created, whatever it is renamed to: the oracle loses sight of no order."""

    def __post_init__(self) -> None:
        """The merchant's own number is what the invoice begins with."""
        self.references = References(self.custom_id, (self.invoice_id or "").rpartition(" ")[0] or None)


@dataclass(slots=True, kw_only=True)
class Authorization:
    id: str
    order: Order
    created: float
    status: str = "CREATED"
    processor_code: str | None = None


@dataclass(slots=True, kw_only=True)
class Capture:
    id: str
    order: Order
    created: float
    amount: Decimal
    invoice_id: str | None
    authorization: Authorization | None = None
    final: bool = True
    status: str = "COMPLETED"
    processor_code: str | None = None

    @property
    def refunded(self) -> Decimal:
        ours = (one for one in self.order.refunds if one.capture is self)
        return sum((one.amount for one in ours if one.status in ("COMPLETED", "PENDING")), Decimal(0))


@dataclass(slots=True, kw_only=True)
class Refund:
    id: str
    order: Order
    capture: Capture
    created: float
    amount: Decimal
    custom_id: str | None
    invoice_id: str | None
    status: str

    @property
    def references(self) -> References:
        return References(self.custom_id or self.order.references.gateway, self.order.references.merchant)


Happening = Callable[[str, "Order | Authorization | Capture | Refund"], None]


@dataclass(slots=True)
class Bank:
    """Refuses with `Refusal`. `tell` hears of every event: PayPal's name of it, and its subject."""

    clock: Callable[[], float]
    ledger: Ledger
    tell: Happening
    orders: dict[str, Order] = field(default_factory=dict)
    authorizations: dict[str, Authorization] = field(default_factory=dict)
    captures: dict[str, Capture] = field(default_factory=dict)
    refunds: dict[str, Refund] = field(default_factory=dict)
    invoices: set[str] = field(default_factory=set)

    def order(self, order_id: str) -> Order:
        return _known(self.orders, order_id)

    def authorization(self, authorization_id: str) -> Authorization:
        return _known(self.authorizations, authorization_id)

    def capture(self, capture_id: str) -> Capture:
        return _known(self.captures, capture_id)

    def refund(self, refund_id: str) -> Refund:
        return _known(self.refunds, refund_id)

    # --- Orders ---

    def create(self, order: Order) -> None:
        """With a vaulted instrument the order is taken at once, without one it waits for the customer."""
        behaviour = order.behaviour
        if behaviour is None:
            order.status = "PAYER_ACTION_REQUIRED" if order.return_url else "CREATED"
        elif behaviour.issue and not behaviour.waits_for_capture:
            raise Refusal(behaviour.issue)
        elif behaviour.authenticate:
            order.status = "PAYER_ACTION_REQUIRED"
        elif not behaviour.waits_for_capture:
            self._take(order)
        self.orders[order.id] = order

    def patch(self, order: Order, patches: list[Mapping[str, object]]) -> None:
        """Its name and its intent, all of them or none."""
        if order.status == "COMPLETED":
            raise Refusal("ORDER_ALREADY_COMPLETED")
        name = f"/purchase_units/@reference_id=='{order.reference_id}'/custom_id"
        if any(patch.get("op") != "replace" or patch.get("path") not in (name, "/intent") for patch in patches):
            raise Refusal("NOT_PATCHABLE")
        for patch in patches:
            if patch["path"] == "/intent":
                order.intent = str(patch["value"])
            else:
                order.custom_id = str(patch["value"])

    def decide(self, order: Order, action: str) -> None:
        """The customer leaves PayPal's page: approve, approve with an instrument that will decline, or refuse."""
        if order.status not in ("CREATED", "PAYER_ACTION_REQUIRED", "APPROVED"):
            return
        if order.behaviour is not None:
            order.authentication = "Y" if action != "refuse" else "N"
        if action == "refuse":
            return
        order.behaviour = order.behaviour or WALLET
        order.status, order.instrument_declines = "APPROVED", action == "approve_declining"
        self.tell("CHECKOUT.ORDER.APPROVED", order)

    def take(self, order: Order, intent: str, again_url: str) -> None:
        """Capture or authorize an order whose time has come."""
        if order.intent != intent:
            raise Refusal("ACTION_DOES_NOT_MATCH_INTENT")
        if order.status == "COMPLETED":
            raise Refusal("ORDER_ALREADY_CAPTURED" if intent == "CAPTURE" else "ORDER_ALREADY_AUTHORIZED")
        vaulted = order.behaviour is not None and order.behaviour.waits_for_capture
        if order.status != "APPROVED" and not vaulted:
            raise Refusal("ORDER_NOT_APPROVED" if order.behaviour is None else "PAYER_ACTION_REQUIRED")
        if order.behaviour is not None and order.behaviour.issue:
            raise Refusal(order.behaviour.issue)
        if order.instrument_declines:
            raise Refusal("INSTRUMENT_DECLINED", url=again_url)
        self._take(order)

    def _take(self, order: Order) -> None:
        behaviour = order.behaviour
        assert behaviour is not None
        self._use_invoice(order.invoice_id)
        order.status = "COMPLETED"
        if behaviour.processor_code is None:
            self._book(Movement.CHARGE, order.references, order.amount, order.currency)
        if order.intent == "AUTHORIZE":
            authorization = Authorization(id=new_id(), order=order, created=self.clock())
            if behaviour.processor_code is not None:
                authorization.status, authorization.processor_code = "DENIED", behaviour.processor_code
            order.authorizations.append(authorization)
            self.authorizations[authorization.id] = authorization
            self.tell("PAYMENT.AUTHORIZATION.CREATED", authorization)
            return
        capture = Capture(
            id=new_id(), order=order, created=self.clock(), amount=order.amount, invoice_id=order.invoice_id
        )
        if behaviour.processor_code is not None:
            capture.status, capture.processor_code = "DECLINED", behaviour.processor_code
        elif behaviour.capture_pends:
            capture.status = "PENDING"
        self._add(capture)
        self.tell("CHECKOUT.ORDER.COMPLETED", order)
        if behaviour.disputed:
            self.tell("CUSTOMER.DISPUTE.CREATED", capture)

    # --- Authorizations ---

    def capture_authorization(
        self, authorization: Authorization, amount: Decimal | None, invoice_id: str | None, *, final: bool
    ) -> Capture:
        order = authorization.order
        if self.clock() > authorization.created + VALID_SECONDS:
            raise Refusal("AUTHORIZATION_EXPIRED")
        if authorization.status in ("VOIDED", "DENIED"):
            raise Refusal(f"AUTHORIZATION_{authorization.status}")
        if authorization.status == "CAPTURED":
            raise Refusal("AUTHORIZATION_ALREADY_CAPTURED")
        taken = sum((one.amount for one in order.captures), Decimal(0))
        amount = order.amount - taken if amount is None else amount
        if taken + amount > order.amount:
            raise Refusal("MAX_CAPTURE_AMOUNT_EXCEEDED")
        if invoice_id != order.invoice_id:
            self._use_invoice(invoice_id)
        capture = Capture(
            id=new_id(),
            order=order,
            created=self.clock(),
            amount=amount,
            invoice_id=invoice_id or order.invoice_id,
            authorization=authorization,
            final=final,
        )
        if order.behaviour and order.behaviour.capture_pends:
            capture.status = "PENDING"
        authorization.status = "CAPTURED" if final or taken + amount == order.amount else "PARTIALLY_CAPTURED"
        self._add(capture)
        return capture

    def void(self, authorization: Authorization) -> None:
        if authorization.status == "VOIDED":
            raise Refusal("PREVIOUSLY_VOIDED")
        if authorization.status in ("CAPTURED", "PARTIALLY_CAPTURED"):
            raise Refusal("PREVIOUSLY_CAPTURED")
        if authorization.status != "CREATED":
            raise Refusal("CANNOT_BE_VOIDED")
        authorization.status = "VOIDED"
        order = authorization.order
        self._book(Movement.VOID, order.references, order.amount, order.currency)
        self.tell("PAYMENT.AUTHORIZATION.VOIDED", authorization)

    # --- Captures and refunds ---

    def _add(self, capture: Capture) -> None:
        capture.order.captures.append(capture)
        self.captures[capture.id] = capture
        if capture.status == "COMPLETED":
            self._book(Movement.CAPTURE, capture.order.references, capture.amount, capture.order.currency)
        self.tell(f"PAYMENT.CAPTURE.{capture.status}", capture)

    def give_back(self, capture: Capture, amount: Decimal | None, custom_id: str | None, invoice: str | None) -> Refund:
        if capture.status == "PENDING":
            raise Refusal("PENDING_CAPTURE")
        if capture.status not in TAKEN:
            raise Refusal("REFUND_NOT_ALLOWED")
        left = capture.amount - capture.refunded
        if left == 0:
            raise Refusal("CAPTURE_FULLY_REFUNDED")
        amount = left if amount is None else amount
        if amount > left:
            raise Refusal("REFUND_AMOUNT_EXCEEDED")
        self._use_invoice(invoice)
        pends = capture.order.behaviour is not None and capture.order.behaviour.refund_pends
        refund = Refund(
            id=new_id(),
            order=capture.order,
            capture=capture,
            created=self.clock(),
            amount=amount,
            custom_id=custom_id,
            invoice_id=invoice,
            status="PENDING" if pends else "COMPLETED",
        )
        capture.order.refunds.append(refund)
        self.refunds[refund.id] = refund
        self._follow(capture)
        if refund.status == "COMPLETED":
            self._book(Movement.REFUND, refund.references, amount, capture.order.currency)
        self.tell("PAYMENT.REFUND.PENDING" if pends else "PAYMENT.CAPTURE.REFUNDED", refund)
        return refund

    def settle_capture(self, capture: Capture, *, denied: bool = False) -> None:
        """What PayPal's review of a pending capture brings."""
        if capture.status != "PENDING":
            return
        capture.status = "DECLINED" if denied else "COMPLETED"
        if not denied:
            self._book(Movement.CAPTURE, capture.order.references, capture.amount, capture.order.currency)
        self.tell("PAYMENT.CAPTURE.DENIED" if denied else "PAYMENT.CAPTURE.COMPLETED", capture)

    def settle_refund(self, refund: Refund) -> None:
        """What the days after a refund bring: a pending one is paid, one to a failing account comes back."""
        order = refund.order
        if refund.status == "PENDING":
            refund.status = "COMPLETED"
            self._book(Movement.REFUND, refund.references, refund.amount, order.currency)
            self.tell("PAYMENT.CAPTURE.REFUNDED", refund)
        elif refund.status == "COMPLETED" and order.behaviour and order.behaviour.refund_fails:
            refund.status = "FAILED"
            self._book(Movement.REFUND_FAILURE, refund.references, refund.amount, order.currency)
            self._follow(refund.capture)
            self.tell("PAYMENT.REFUND.FAILED", refund)

    def _follow(self, capture: Capture) -> None:
        refunded = capture.refunded
        whole = "REFUNDED" if refunded == capture.amount else "PARTIALLY_REFUNDED"
        capture.status = whole if refunded else "COMPLETED"

    def _use_invoice(self, invoice_id: str | None) -> None:
        if invoice_id is not None and invoice_id in self.invoices:
            raise Refusal("DUPLICATE_INVOICE_ID")
        if invoice_id is not None:
            self.invoices.add(invoice_id)

    def _book(self, movement: Movement, references: References, amount: Decimal, currency: str) -> None:
        self.ledger.move(movement, references, amount=paypal_wire.units(amount, currency), currency=currency)


def _known(things: dict[str, Thing], thing_id: str) -> Thing:
    thing = things.get(thing_id)
    if thing is None:
        raise Refusal("INVALID_RESOURCE_ID")
    return thing
