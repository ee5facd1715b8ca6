"""A payment with all that is known of it, read in one transaction of the database, and what may be done with it now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from db import approvals, ids, inbox, ledger, notes, provider_calls, refunds, reviews, support_readings, transactions
from db.approvals import Approval
from db.audit import AuditLog
from db.database import Connection
from db.inbox import Notification
from db.notes import Note
from db.records import Attempt, AttemptOperation, Dispute, LedgerEntry, Refund, Scope, Transaction, TransactionEvent
from db.reviews import ReviewDecision
from db.support_readings import Sent
from db.support_users import SupportRole
from gateway.console import actors
from gateway.console.visits import Visit
from gateway.transactions import explanation, representation, states
from gateway.transactions.explanation import ExplanationBody
from providers import PROVIDERS

ENTRIES_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    transaction: Transaction
    partner: str
    places: int
    attempts: Sequence[Attempt]
    explanation: ExplanationBody
    events: Sequence[TransactionEvent]
    refunds: Sequence[Refund]
    disputes: Sequence[Dispute]
    entries: Sequence[LedgerEntry]
    """In the order they were written."""
    deliveries: Sequence[Sent]
    notifications: Sequence[Notification]
    approvals: Sequence[Approval]
    decisions: Sequence[ReviewDecision]
    notes: Sequence[Note]
    audit: Sequence[AuditLog]
    names: Mapping[str, str]
    """Actor → a person's name."""

    def money(self, amount: Decimal) -> str:
        return representation.money(amount, self.places)

    def who(self, actor: str) -> str:
        return self.names[actor]

    @property
    def open_attempts(self) -> list[Attempt]:
        return [one for one in self.attempts if one.state in states.LIVE_ATTEMPTS]

    @property
    def by_hand(self) -> list[Attempt]:
        """Those whose outcome a person records."""
        return [one for one in self.open_attempts if offline(one)]

    @property
    def balanced(self) -> bool:
        return sum(entry.amount for entry in self.entries) == 0


async def read(visit: Visit, connection: Connection, transaction: Transaction, partner: str) -> Dossier:
    places = visit.console.acting.places(transaction.currency)
    partner_id, of = transaction.partner_id, transaction.id
    attempts = await transactions.attempts(connection, partner_id, [of])
    calls = await provider_calls.of_transaction(connection, partner_id, of)
    events = await transactions.events(connection, partner_id, of)
    given_back = await refunds.of_transaction(connection, partner_id, of)
    decisions = await reviews.of_transaction(connection, partner_id, of)
    scope = Scope(partner_id, transaction.livemode)
    entries = await ledger.page(connection, scope, transaction_id=of, limit=ENTRIES_MAX)
    sent = await support_readings.deliveries(connection, partner_id, of)
    told = await inbox.of_transaction(connection, partner_id, of)
    resources = [
        ids.encode("txn", of),
        *(ids.encode("rfd", one.id) for one in given_back),
        *(ids.encode("whd", one.id) for one in sent),
        *(str(one.id) for one in told),
    ]
    lines = await support_readings.audit_lines(connection, partner_id, resources)
    acted = {line.actor for line in lines} | {event.created_by for event in events}
    acted |= {decision.requested_by for decision in decisions}
    acted |= {decision.approved_by for decision in decisions if decision.approved_by}
    return Dossier(
        transaction=transaction,
        partner=partner,
        places=places,
        attempts=attempts,
        explanation=explanation.explanation(transaction, attempts, calls, places=places),
        events=events,
        refunds=given_back,
        disputes=await support_readings.disputes(connection, partner_id, of),
        entries=entries[::-1],
        deliveries=sent,
        notifications=told,
        approvals=await approvals.of_transaction(connection, partner_id, of),
        decisions=decisions,
        notes=await notes.of_transaction(connection, partner_id, of),
        audit=lines,
        names=await actors.names(connection, acted),
    )


def offline(attempt: Attempt) -> bool:
    return PROVIDERS[attempt.provider].capabilities.offline


@dataclass(frozen=True, slots=True)
class Possible:
    """What this person may do with the payment as it stands: a button is shown where the answer is yes."""

    visit: Visit
    dossier: Dossier

    @property
    def _transaction(self) -> Transaction:
        return self.dossier.transaction

    @property
    def refund(self) -> bool:
        refundable = self._transaction.status in states.REFUNDABLE and self._transaction.amount_refundable > 0
        return refundable and self.visit.may(SupportRole.SUPPORT)

    @property
    def ask_again(self) -> bool:
        asked = any(not offline(one) for one in self.dossier.open_attempts)
        return asked and self.visit.may(SupportRole.SUPPORT)

    @property
    def write(self) -> bool:
        """Notes, webhooks and notifications once more."""
        return self.visit.may(SupportRole.SUPPORT)

    @property
    def capture(self) -> bool:
        return self._transaction.status in states.CAPTURABLE and self._finance_alone

    @property
    def cancel(self) -> bool:
        waits = self._transaction.status in states.PENDING_OFFLINE and bool(self.dossier.by_hand)
        return (self._transaction.status in states.CANCELLABLE or waits) and self._finance_alone

    @property
    def _finance_alone(self) -> bool:
        """No earlier capture or cancel is without an outcome."""
        operations = {AttemptOperation.CAPTURE, AttemptOperation.CANCEL}
        busy = any(one.operation in operations for one in self.dossier.open_attempts)
        return not busy and self.finance

    @property
    def finance(self) -> bool:
        return self.visit.may(SupportRole.FINANCE)

    @property
    def confirm(self) -> bool:
        return bool(self.dossier.by_hand) and self.finance

    @property
    def review(self) -> bool:
        return self._transaction.needs_review and self.visit.may(SupportRole.SUPPORT)

    @property
    def rule_out(self) -> bool:
        """Cancel the charge without an outcome at its PSP."""
        charges = [one for one in self.dossier.open_attempts if one.operation is AttemptOperation.CHARGE]
        return self._transaction.needs_review and bool(charges) and self.finance

    @property
    def decided(self) -> ReviewDecision | None:
        """What somebody decided and waits for a second person."""
        last = next(iter(self.dossier.decisions), None)
        if last is None or last.version != self._transaction.version or not self._transaction.needs_review:
            return None
        in_time = last.approved_at is not None or last.expires_at > self.visit.console.acting.clock()
        return last if in_time else None
