"""Stripe behind its API: payments, charges, refunds and disputes, and the rules that move them. In memory, no HTTP."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, cast

from providers.simulator.ledger import Ledger, Movement, References
from providers.simulator.stripe_records import Charge, Dispute, Payment, Refund, Subject
from providers.simulator.stripe_tokens import BEHAVIOURS, Behaviour, Contest, Decline
from providers.simulator.stripe_wire import Json, Refusal, invalid

Thing = TypeVar("Thing")

WINNING_EVIDENCE, LOSING_EVIDENCE = "winning_evidence", "losing_evidence"
AMOUNT_MAX = 99_999_999
AMOUNT_MINIMUMS = {
    "aud": 50, "cad": 50, "chf": 50, "czk": 1500, "dkk": 250, "eur": 50, "gbp": 30, "hkd": 400, "huf": 17500,
    "jpy": 50, "mxn": 1000, "nok": 300, "nzd": 50, "pln": 200, "sek": 300, "sgd": 50, "thb": 1000, "usd": 50,
}  # fmt: skip
HUNDREDFOLD = frozenset({"isk", "ugx"})
THREE_DECIMALS = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
CANCELLABLE = frozenset({"requires_payment_method", "requires_capture", "requires_confirmation", "requires_action"})


class Announce(Protocol):
    """Told of every event, by Stripe's name for it, when its subject shows it."""

    def __call__(self, event_type: str, subject: Subject, references: References) -> None: ...


@dataclass(slots=True)
class Bank:
    """Refuses with `Refusal`. `show` renders a payment for the error bodies that carry one."""

    clock: Callable[[], float]
    ledger: Ledger
    show: Callable[[Payment], Json]
    announce: Announce
    payments: dict[str, Payment] = field(default_factory=dict)
    charges: dict[str, Charge] = field(default_factory=dict)
    refunds: dict[str, Refund] = field(default_factory=dict)
    disputes: dict[str, Dispute] = field(default_factory=dict)

    def now(self) -> int:
        return int(self.clock())

    def payment(self, payment_id: str) -> Payment:
        return _known(self.payments, payment_id, kind="payment_intent", param="intent")

    def charge(self, charge_id: str) -> Charge:
        return _known(self.charges, charge_id, kind="charge", param="id")

    def refund(self, refund_id: str) -> Refund:
        return _known(self.refunds, refund_id, kind="refund", param="refund")

    def dispute(self, dispute_id: str) -> Dispute:
        return _known(self.disputes, dispute_id, kind="dispute", param="dispute")

    # --- Payments ---

    def create(self, payment: Payment) -> Payment:
        _check_amount(payment.amount, payment.currency)
        if payment.token is None:
            payment.status = "requires_payment_method"
        else:
            _behaviour(payment.token)
        self.payments[payment.id] = payment
        self._tell("payment_intent.created", payment)
        return payment

    def confirm(self, payment: Payment, *, off_session: bool = False, no_actions: bool = False) -> None:
        if payment.status not in ("requires_confirmation", "requires_payment_method") or payment.token is None:
            raise self._unexpected(payment, "confirm")
        behaviour = _behaviour(payment.token)
        if behaviour.brand is None:
            payment.status = "processing"
            self._tell("payment_intent.processing", payment)
        elif not behaviour.authenticate:
            self._pay(payment, behaviour, behaviour.decline)
        elif off_session or no_actions:
            unhandled = "authentication_required" if off_session else "authentication_not_handled"
            self._pay(payment, behaviour, Decline("authentication_required", unhandled))
        else:
            payment.status = "requires_action"
            self._tell("payment_intent.requires_action", payment)

    def settle_payment(self, payment: Payment) -> None:
        """What the days after a payment from a bank account bring."""
        if payment.status != "processing" or payment.token is None:
            return
        behaviour = _behaviour(payment.token)
        with suppress(Refusal):  # nobody waits for it: it is kept on the payment
            self._pay(payment, behaviour, behaviour.decline)

    def authenticate(self, payment: Payment, *, approved: bool) -> None:
        """The customer comes back from the bank's page. A refusal is kept on the payment, as nobody waits for it."""
        if payment.status != "requires_action" or payment.token is None:
            return
        behaviour = _behaviour(payment.token)
        failed = Decline(
            "payment_intent_authentication_failure",
            "",
            message="The provided PaymentMethod has failed authentication.",
        )
        with suppress(Refusal):
            self._pay(payment, behaviour, behaviour.decline if approved else failed)

    def _pay(self, payment: Payment, behaviour: Behaviour, decline: Decline | None) -> None:
        charge = Charge(
            id=new_id("ch"),
            payment_id=payment.id,
            amount=payment.amount,
            currency=payment.currency,
            behaviour=behaviour,
            created=self.now(),
            paid=decline is None,
            decline=decline,
            metadata=dict(payment.metadata),
        )
        payment.charge = self.charges[charge.id] = charge
        if decline is not None:
            raise self._declined(payment, decline)
        payment.last_error = None
        self._book(payment, Movement.CHARGE, payment.amount)
        if payment.capture_method == "manual":
            payment.status = "requires_capture"
            self._tell("payment_intent.amount_capturable_updated", payment)
        else:
            self._take(payment, payment.amount)

    def capture(self, payment: Payment, amount: int | None) -> None:
        if payment.expired:
            message = "The authorization of this charge has expired and it can no longer be captured."
            raise invalid(message, code="charge_expired_for_capture", payment=self.show(payment))
        if payment.status != "requires_capture":
            raise self._unexpected(payment, "capture")
        amount = payment.amount if amount is None else amount
        if not 0 < amount <= payment.amount:
            message = "The amount to capture exceeds what was authorized."
            raise invalid(message, code="amount_too_large", param="amount_to_capture")
        self._take(payment, amount)

    def cancel(self, payment: Payment, reason: str | None) -> None:
        if payment.status not in CANCELLABLE:
            raise self._unexpected(payment, "cancel")
        if payment.status == "requires_capture":
            self._book(payment, Movement.VOID, payment.amount)
        payment.status, payment.cancelled_at, payment.cancellation_reason = "canceled", self.now(), reason
        self._tell("payment_intent.canceled", payment)

    def expire(self, payment: Payment) -> None:
        """What the passing of an authorization's days does."""
        self.cancel(payment, "automatic")
        payment.expired = True
        if payment.charge is not None:
            self.announce("charge.expired", payment.charge, payment.references)

    def _take(self, payment: Payment, amount: int) -> None:
        assert payment.charge is not None
        payment.charge.captured, payment.charge.amount_captured = True, amount
        payment.status, payment.amount_received = "succeeded", amount
        self._book(payment, Movement.CAPTURE, amount)
        self._tell("payment_intent.succeeded", payment)
        for contest in payment.charge.behaviour.contests:
            self._contest(payment, payment.charge, contest)

    # --- Refunds ---

    def give_back(self, payment: Payment, amount: int | None, reason: str | None, metadata: dict[str, str]) -> Refund:
        charge = payment.charge
        if charge is None or not charge.captured:
            raise invalid("This PaymentIntent does not have a successful charge to refund.")
        if any(not dispute.inquiry and dispute.status != "won" for dispute in charge.disputes):
            raise invalid(f"Charge {charge.id} has been charged back.", code="charge_disputed")
        left = charge.amount_captured - charge.amount_refunded
        if left == 0:
            message = f"Charge {charge.id} has already been refunded."
            raise invalid(message, code="charge_already_refunded")
        amount = left if amount is None else amount
        if not 0 < amount <= left:
            raise invalid("Refund amount is greater than unrefunded amount on charge", param="amount")
        refund = Refund(
            id=new_id("re"),
            created=self.now(),
            charge=charge,
            payment=payment,
            amount=amount,
            reason=reason,
            metadata=metadata,
            status="pending" if charge.behaviour.refund_pends else "succeeded",
        )
        self.refunds[refund.id] = refund
        charge.amount_refunded += amount
        if refund.status == "succeeded":
            self._book_refund(refund, Movement.REFUND)
        self._tell("refund.created", refund)
        self.announce("charge.refunded", charge, payment.references)
        return refund

    def settle(self, refund: Refund) -> None:
        """What the days after a refund bring: a pending one succeeds, one to a failing card fails."""
        if refund.status == "pending":
            refund.status = "succeeded"
            self._book_refund(refund, Movement.REFUND)
            self._tell("refund.updated", refund)
        elif refund.status == "succeeded" and refund.charge.behaviour.refund_fails:
            refund.status, refund.failure_reason = "failed", "expired_or_canceled_card"
            refund.charge.amount_refunded -= refund.amount
            self._book_refund(refund, Movement.REFUND_FAILURE)
            self._tell("refund.updated", refund)
            self._tell("refund.failed", refund)

    # --- Disputes ---

    def _contest(self, payment: Payment, charge: Charge, contest: Contest) -> None:
        dispute = Dispute(
            id=new_id("du"),
            created=self.now(),
            charge=charge,
            payment=payment,
            amount=charge.amount_captured,
            reason=contest.reason,
            inquiry=contest.inquiry,
            status="warning_needs_response" if contest.inquiry else "needs_response",
        )
        self.disputes[dispute.id] = dispute
        charge.disputes.append(dispute)
        self._tell("charge.dispute.created", dispute)
        if not dispute.inquiry:
            self._book(payment, Movement.DISPUTE, dispute.amount)
            self._tell("charge.dispute.funds_withdrawn", dispute)

    def respond(self, dispute: Dispute, evidence: dict[str, str], *, submit: bool) -> None:
        """The magic evidence decides at once; any other leaves the bank thinking."""
        if not dispute.is_open:
            raise invalid("This dispute is already closed.")
        dispute.evidence |= evidence
        if submit:
            dispute.submissions += 1
            dispute.status = "warning_under_review" if dispute.inquiry else "under_review"
        self._tell("charge.dispute.updated", dispute)
        if submit and WINNING_EVIDENCE in evidence.values():
            self.decide(dispute, won=True)
        elif submit and LOSING_EVIDENCE in evidence.values():
            self.decide(dispute, won=False)

    def decide(self, dispute: Dispute, *, won: bool) -> None:
        if not dispute.is_open:
            raise invalid("This dispute is already closed.")
        decided = "won" if won else "lost"
        dispute.status = "warning_closed" if dispute.inquiry else decided
        self._tell("charge.dispute.closed", dispute)
        if dispute.status == "won":
            self._book(dispute.payment, Movement.DISPUTE_REVERSAL, dispute.amount)
            self._tell("charge.dispute.funds_reinstated", dispute)

    # --- Books, events and refusals ---

    def _tell(self, event_type: str, subject: Payment | Refund | Dispute) -> None:
        self.announce(event_type, subject, subject.references)

    def _book(self, payment: Payment, movement: Movement, amount: int) -> None:
        self.ledger.move(movement, payment.references, amount=amount, currency=payment.currency)

    def _book_refund(self, refund: Refund, movement: Movement) -> None:
        self.ledger.move(movement, refund.references, amount=refund.amount, currency=refund.payment.currency)

    def _declined(self, payment: Payment, decline: Decline) -> Refusal:
        payment.status = "requires_payment_method"
        named = ("decline_code", decline.decline_code), ("param", decline.param), ("advice_code", decline.advice_code)
        error: Json = {"type": "card_error", "code": decline.code, "message": decline.message}
        error |= {name: value for name, value in named if value}
        payment.last_error, payment.token = error, None
        self._tell("payment_intent.payment_failed", payment)
        shown = self.show(payment)
        return Refusal(402, cast(Json, shown["last_payment_error"]) | {"payment_intent": shown})

    def _unexpected(self, payment: Payment, verb: str) -> Refusal:
        message = f"You cannot {verb} this PaymentIntent because it has a status of {payment.status}."
        return invalid(message, code="payment_intent_unexpected_state", payment=self.show(payment))


def new_id(prefix: str) -> str:
    return f"{prefix}_3{secrets.token_hex(12)}"


def _known(things: dict[str, Thing], thing_id: str, *, kind: str, param: str) -> Thing:
    thing = things.get(thing_id)
    if thing is None:
        message = f"No such {kind}: '{thing_id}'"
        raise invalid(message, code="resource_missing", param=param, status=404)
    return thing


def _behaviour(token: str) -> Behaviour:
    behaviour = BEHAVIOURS.get(token)
    if behaviour is None:
        raise invalid(f"No such PaymentMethod: '{token}'", code="resource_missing", param="payment_method")
    return behaviour


def _check_amount(amount: int, currency: str) -> None:
    if amount < AMOUNT_MINIMUMS.get(currency, 1):
        raise invalid("Amount must convert to at least 50 cents.", code="amount_too_small", param="amount")
    if amount > AMOUNT_MAX:
        raise invalid("Amount must be no more than 999,999.99.", code="amount_too_large", param="amount")
    if currency in HUNDREDFOLD and amount % 100:
        code = "invalid_charge_amount_no_decimal_compatible"
        raise invalid("The amount must be evenly divisible by 100.", code=code, param="amount")
    if currency in THREE_DECIMALS and amount % 10:
        raise invalid("The last digit of the amount must be 0.", code="invalid_charge_amount", param="amount")
