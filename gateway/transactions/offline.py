"""Offline payments: support records what people told it. The same journal, with a person in the PSP's place."""

from __future__ import annotations

from uuid import UUID

from db import audit, ids, transactions
from db.records import Attempt, AttemptOperation, CaptureMode
from gateway.runtime import Runtime
from gateway.transactions import journal, states
from gateway.transactions.changes import Snapshot
from gateway.transactions.commands import NotFound
from providers import PROVIDERS
from providers.contract import Approved, Declined, DeclineKind, Outcome

REJECTED = Declined(
    code="unknown",
    kind=DeclineKind.HARD,
    may_fail_over=False,
    provider_code="rejected_by_support",
    message="Support recorded that the payment was not made.",
)


class NotOffline(Exception):
    """A PSP decides this payment, not a person."""


class Busy(Exception):
    """The payment is being looked into at this moment."""


class NothingOpen(Exception):
    """There is nothing to confirm or reject: no charge, capture or refund without an outcome."""


async def decide(
    runtime: Runtime, transaction_id: UUID, *, approved: bool, refund_id: UUID | None, actor: str, note: str
) -> Snapshot:
    """Record that a payment (or, with `refund_id`, a refund) was made or was not.

    As `Role.WORKER`. Raises `NotFound`, `NotOffline`, `NothingOpen`, `Busy`.
    """
    async with runtime.database.as_system() as connection:
        partner_id = await transactions.owner_of_open(connection, transaction_id)
    if partner_id is None:
        raise NotFound
    async with runtime.database.as_partner(partner_id) as connection:
        attempts = await transactions.attempts(connection, partner_id, [transaction_id])
        attempt = _open(attempts, refund_id)
        taken, snapshot = await journal.take(runtime, connection, partner_id, transaction_id, attempt.id)
        if taken is None:
            raise Busy
        act = audit.Act(
            actor=actor,
            action="payment.confirmed" if approved else "payment.rejected",
            resource_type="refund" if refund_id else "transaction",
            resource_id=ids.encode("rfd", refund_id) if refund_id else ids.encode("txn", transaction_id),
            partner_id=partner_id,
            changes={"note": note},
        )
        await audit.append(connection, act)
    outcome: Outcome = _approved(snapshot) if approved else REJECTED
    recorded = await journal.record(runtime, snapshot, outcome, actor=actor)
    return recorded.snapshot


def _open(attempts: list[Attempt], refund_id: UUID | None) -> Attempt:
    live = [one for one in attempts if one.state in states.LIVE_ATTEMPTS and one.refund_id == refund_id]
    if not live:
        raise NothingOpen
    attempt = live[-1]
    if not PROVIDERS[attempt.provider].capabilities.offline:
        raise NotOffline
    return attempt


def _approved(snapshot: Snapshot) -> Approved:
    attempt = snapshot.attempt
    authorizes = attempt.operation is AttemptOperation.CHARGE and snapshot.transaction.capture is CaptureMode.MANUAL
    return Approved(provider_id=attempt.provider_id or str(attempt.id), captured=not authorizes)
