"""Adyen behind its API: payments, modifications and disputes, and the rules that move them. In memory, no HTTP.

Modifications come to pass at once, but nobody is told except by notification, as at Adyen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from providers.simulator.adyen_events import Event, Events
from providers.simulator.adyen_records import Modification, Payment, new_psp_reference
from providers.simulator.adyen_reports import Journal
from providers.simulator.adyen_wire import Refusal
from providers.simulator.ledger import Ledger, Movement, References

_ERRORS: Mapping[str, Callable[[], Refusal]] = {
    "NO_CONNECTION_AVAILABLE": partial(
        Refusal, 500, "00_503", "No connection available", error_type="internal", transient=True
    ),
    "IOEXCEPTION_RECEIVED": partial(Refusal, 500, "00_504", "IOException received", error_type="internal"),
    "NOT_CONFIGURED": partial(Refusal, 500, "905", "Payment details are not supported", error_type="configuration"),
}

_DISPUTE_MOVES = {
    "CHARGEBACK": Movement.DISPUTE,
    "CHARGEBACK_REVERSED": Movement.DISPUTE_REVERSAL,
    "SECOND_CHARGEBACK": Movement.DISPUTE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What differs between Adyen's accounts, or is left open by Adyen."""

    tells_automatic_captures: bool = False
    names_modifications: bool = True
    """The `merchantReference` of a modification is its own; else its payment's."""


USUAL = Habits()


@dataclass(slots=True, kw_only=True)
class Bank:
    """Refuses with `Refusal`."""

    ledger: Ledger
    events: Events
    journal: Journal
    habits: Habits
    payments: dict[str, Payment] = field(default_factory=dict)
    pages: dict[str, Payment] = field(default_factory=dict)
    returns: dict[str, tuple[Payment, bool]] = field(default_factory=dict)
    waiting_refunds: dict[str, Modification] = field(default_factory=dict)

    def payment(self, psp_reference: str) -> Payment:
        payment = self.payments.get(psp_reference)
        if payment is None:
            raise Refusal(422, "167", "Original pspReference required for this operation")
        return payment

    # --- Payments ---

    def begin(self, payment: Payment, *, may_authenticate: bool) -> None:
        behaviour = payment.behaviour
        if behaviour.error is not None:
            refuse = _ERRORS[behaviour.error]
            raise refuse()
        self.payments[payment.psp_reference] = payment
        self.journal.enter("Received", payment, payment.amount)
        if not payment.is_card or (behaviour.challenge and may_authenticate):
            payment.status, payment.result = "waiting", "RedirectShopper"
            self.pages[payment.page_id] = payment
        elif behaviour.challenge:
            self._refuse(payment, "Refused", code="38", reason="Authentication required")
        elif behaviour.result != "Received":
            self._decide(payment)

    def leave_page(self, payment: Payment, *, approved: bool) -> str:
        """What the customer brings back. A card is only authenticated here; a bank or wallet pays at once."""
        del self.pages[payment.page_id]
        result = f"{payment.page_id}!{new_psp_reference()}"
        self.returns[result] = (payment, approved)
        if not payment.is_card:
            self._come_back(payment, approved=approved)
        return result

    def come_back(self, redirect_result: str) -> Payment:
        if redirect_result not in self.returns:
            raise Refusal(422, "14_006", "The redirectResult is invalid")
        payment, approved = self.returns[redirect_result]
        self._come_back(payment, approved=approved)
        return payment

    def _come_back(self, payment: Payment, *, approved: bool) -> None:
        if payment.status != "waiting":
            return
        if approved:
            self._decide(payment)
        elif payment.is_card:
            self._refuse(payment, "Refused", code="11", reason="3D Not Authenticated")
        else:
            self._refuse(payment, "Cancelled", code="16", reason="Shopper Cancelled")

    def settle(self, payment: Payment) -> None:
        """What the hours after a pending payment bring."""
        if payment.status == "pending":
            payment.behaviour = replace(payment.behaviour, result="Authorised")
            self._decide(payment)

    def expire(self, payment: Payment) -> None:
        """What the passing of an authorization's days does."""
        if payment.status != "authorised":
            raise Refusal(422, "167", "Nothing to expire")
        payment.status = "expired"
        self.journal.enter("Expired", payment, payment.authorised)
        self._book(Movement.VOID, payment, payment.authorised)
        event = self._event("EXPIRE", payment, payment.psp_reference, amount=payment.authorised)
        self._announce(replace(event, original_reference=None), payment.references)

    def _decide(self, payment: Payment) -> None:
        behaviour = payment.behaviour
        if behaviour.result not in ("Authorised", "PartiallyAuthorised"):
            self._refuse(payment, behaviour.result, code=behaviour.code, reason=behaviour.reason)
            return
        payment.authorised = payment.amount if behaviour.result == "Authorised" else (payment.amount + 1) // 2
        payment.status, payment.result = "authorised", behaviour.result
        self._book(Movement.CHARGE, payment, payment.authorised)
        self.journal.enter("Authorised", payment, payment.authorised)
        event = self._event("AUTHORISATION", payment, payment.psp_reference, amount=payment.authorised)
        self._announce(replace(event, original_reference=None), payment.references)
        if not payment.manual_capture:
            taken = Modification(
                psp_reference=new_psp_reference(), payment=payment, reference="", amount=payment.authorised
            )
            self._take(taken, told=self.habits.tells_automatic_captures)

    def _refuse(self, payment: Payment, result: str, *, code: str | None, reason: str) -> None:
        payment.status, payment.result, payment.code, payment.reason = "refused", result, code, reason
        self.journal.enter("Refused", payment, payment.amount)
        event = self._event("AUTHORISATION", payment, payment.psp_reference, success=False, reason=reason)
        self._announce(replace(event, original_reference=None), payment.references)

    # --- Modifications ---

    def capture(self, asked: Modification) -> None:
        payment = asked.payment
        if payment.status == "authorised" and asked.amount <= payment.authorised:
            self._take(asked, told=True)
        else:
            self._fail("CAPTURE", asked, "Insufficient balance on payment")

    def _take(self, asked: Modification, *, told: bool) -> None:
        payment, amount, psp_reference = asked.payment, asked.amount, asked.psp_reference
        event = self._modified("CAPTURE", asked)
        if told:
            self._announce(event, payment.references)
        self.journal.enter("SentForSettle", payment, amount, psp_reference=psp_reference)
        if payment.behaviour.capture_fails:
            self.journal.enter("CaptureFailed", payment, amount, psp_reference=psp_reference)
            failed = replace(event, code="CAPTURE_FAILED", reason="Capture Failed")
            self._announce(failed, payment.references)
            return
        payment.status, payment.captured = "captured", amount
        self._book(Movement.CAPTURE, payment, amount)
        self._dispute(payment)

    def cancel(self, asked: Modification, code: str = "CANCELLATION") -> None:
        payment = asked.payment
        if payment.status not in ("authorised", "waiting", "pending", "cancelled"):
            self._fail(code, asked, f"Transaction is {payment.status}, cancellation not possible")
            return
        if payment.status == "authorised":
            self._book(Movement.VOID, payment, payment.authorised)
        self.pages.pop(payment.page_id, None)
        payment.status, payment.result = "cancelled", "Cancelled"
        self.journal.enter("Cancelled", payment, payment.authorised, psp_reference=asked.psp_reference)
        self._announce(self._modified(code, asked), payment.references)

    def cancel_by_reference(self, payment_reference: str, *, merchant_account: str, psp_reference: str) -> None:
        found = [
            payment
            for payment in self.payments.values()
            if (payment.merchant_account, payment.reference) == (merchant_account, payment_reference)
        ]
        if found:
            asked = Modification(psp_reference=psp_reference, payment=found[-1], reference="", amount=found[-1].amount)
            self.cancel(asked, "TECHNICAL_CANCEL")
            return
        event = Event(
            code="TECHNICAL_CANCEL",
            psp_reference=psp_reference,
            merchant_account=merchant_account,
            merchant_reference=payment_reference,
            amount=0,
            currency="EUR",
            payment_method="",
            success=False,
            reason="Transaction not found",
        )
        self._announce(event, References(payment_reference))

    def refund(self, asked: Modification) -> None:
        if asked.payment.behaviour.refund_waits:
            self.waiting_refunds[asked.psp_reference] = asked
        else:
            self._give_back("REFUND", asked)

    def settle_refund(self, psp_reference: str) -> None:
        """What the days after a refund that takes its time bring."""
        asked = self.waiting_refunds.pop(psp_reference, None)
        if asked is None:
            raise Refusal(422, "167", "No such refund waits")
        self._give_back("REFUND", asked)

    def reverse(self, asked: Modification) -> None:
        payment = asked.payment
        if payment.status == "captured":
            self._give_back("CANCEL_OR_REFUND", asked, {"modification.action": "refund"})
            return
        if payment.status == "authorised":
            self._book(Movement.VOID, payment, payment.authorised)
        payment.status = "cancelled"
        self.journal.enter("Cancelled", payment, payment.authorised, psp_reference=asked.psp_reference)
        event = self._modified("CANCEL_OR_REFUND", asked)
        self._announce(replace(event, additional={"modification.action": "cancel"}), payment.references)

    def _give_back(self, code: str, asked: Modification, additional: Mapping[str, str] | None = None) -> None:
        payment = asked.payment
        if payment.status != "captured":
            self._fail(code, asked, "Transaction hasn't been captured, refund not possible")
            return
        if asked.amount > payment.captured - payment.refunded:
            self._fail(code, asked, "Insufficient balance on payment")
            return
        payment.refunded += asked.amount
        self._move(Movement.REFUND, asked.references, payment, asked.amount)
        self._enter("SentForRefund", asked)
        event = self._modified(code, asked)
        self._announce(replace(event, additional=additional), asked.references)
        if payment.behaviour.refund_fails:
            payment.refunded -= asked.amount
            self._move(Movement.REFUND_FAILURE, asked.references, payment, asked.amount)
            self._enter("RefundFailed", asked)
            self._announce(replace(event, code="REFUND_FAILED", reason="Refund Failed"), asked.references)

    def _fail(self, code: str, asked: Modification, reason: str) -> None:
        event = replace(self._modified(code, asked), success=False, reason=reason)
        self._announce(event, asked.references if code == "REFUND" else asked.payment.references)

    # --- Disputes ---

    def _dispute(self, payment: Payment) -> None:
        psp_reference = new_psp_reference()
        for code in payment.behaviour.disputes:
            if code in _DISPUTE_MOVES:
                self._book(_DISPUTE_MOVES[code], payment, payment.captured)
            event = self._event(code, payment, psp_reference, amount=payment.captured, reason="Other Fraud-Card Absent")
            told = {"chargebackReasonCode": payment.behaviour.dispute_reason, "chargebackSchemeCode": payment.brand}
            original = None if code == "CHARGEBACK_REVERSED" else payment.psp_reference  # Adyen leaves it out there
            self._announce(replace(event, additional=told, original_reference=original), payment.references)

    # --- Books and notifications ---

    def _event(
        self,
        code: str,
        payment: Payment,
        psp_reference: str,
        *,
        amount: int | None = None,
        success: bool = True,
        reason: str = "",
    ) -> Event:
        return Event(
            code=code,
            psp_reference=psp_reference,
            original_reference=payment.psp_reference,
            merchant_account=payment.merchant_account,
            merchant_reference=payment.reference,
            amount=payment.amount if amount is None else amount,
            currency=payment.currency,
            payment_method=payment.brand,
            success=success,
            reason=reason,
        )

    def _modified(self, code: str, asked: Modification) -> Event:
        event = self._event(code, asked.payment, asked.psp_reference, amount=asked.amount)
        named = self.habits.names_modifications and asked.reference
        return replace(event, merchant_reference=asked.reference) if named else event

    def _announce(self, event: Event, references: References) -> None:
        self.events.announce(event, references)

    def _enter(self, record: str, asked: Modification) -> None:
        self.journal.enter(
            record, asked.payment, asked.amount, psp_reference=asked.psp_reference, reference=asked.reference
        )

    def _book(self, movement: Movement, payment: Payment, amount: int) -> None:
        self._move(movement, payment.references, payment, amount)

    def _move(self, movement: Movement, references: References, payment: Payment, amount: int) -> None:
        self.ledger.move(movement, references, amount=amount, currency=payment.currency)
