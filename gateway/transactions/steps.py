"""A change as rows: what `journal_write` takes, with every text that partners will read. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from db import ids, shapes
from db.audit import Act
from db.provider_calls import CallPurpose, ProviderCall
from db.records import Attempt, TransactionEvent
from gateway.runtime import Runtime
from gateway.transactions import changes, representation
from gateway.transactions.changes import Change, Snapshot
from gateway.transactions.commands import Caller


def rows(runtime: Runtime, after: Snapshot, change: Change, *, actor: str) -> dict[str, Any]:
    """The change as rows, the way `journal_write` takes them."""
    step: dict[str, Any] = {
        "transaction": shapes.row(change.transaction),
        "attempts": [shapes.row(attempt) for attempt in change.attempts],
        "history": [shapes.row(event) for event in _history(after, change, actor)],
    }
    if change.attempts:
        step["attempts"][0]["check_in_seconds"] = change.check_in_seconds
    if change.dispute is not None:
        step["dispute"] = shapes.row(change.dispute)
    if change.refund is not None:
        step["refund"] = shapes.row(change.refund)
    if entries := list(_entries(change)):
        step["entries"] = entries
    texts = _Texts(runtime, after, change)
    if published := list(_published(texts, change)):
        step["published"] = published
    if answer := _answer(texts, change):
        step["answer"] = answer
    return step


def call(runtime: Runtime, attempt: Attempt, purpose: CallPurpose) -> ProviderCall:
    """An answer of a PSP that changed nothing."""
    assert attempt.outcome is not None
    return ProviderCall(
        partner_id=attempt.partner_id,
        id=ids.new(),
        transaction_id=attempt.transaction_id,
        attempt_id=attempt.id,
        purpose=purpose,
        outcome=attempt.outcome,
        called_at=runtime.clock(),
    )


def audit(caller: Caller, after: Snapshot) -> Act:
    """The line of audit that goes with what a caller begins."""
    refund = after.refund
    return Act(
        partner_id=caller.scope.partner_id,
        actor=caller.actor,
        action=f"transaction.{after.attempt.operation}",
        resource_type="refund" if refund else "transaction",
        resource_id=ids.encode("rfd", refund.id) if refund else ids.encode("txn", after.transaction.id),
        ip_address=caller.ip_address,
        user_agent=caller.user_agent,
        request_id=caller.request_id,
        changes={"amount": str(after.attempt.amount), "currency": after.transaction.currency},
    )


def lasting_answer(runtime: Runtime, snapshot: Snapshot) -> tuple[int, str]:
    """Status and body that the attempt's key gets once its outcome is known."""
    return _Texts(runtime, snapshot).lasting_answer()


def transaction_text(runtime: Runtime, snapshot: Snapshot) -> str:
    """The transaction as the API shows it."""
    return _Texts(runtime, snapshot).transaction


def _numbered(change: Change) -> Iterator[tuple[int, changes.Happened]]:
    """Each line of history with its sequence; the last one's is the transaction's version."""
    first = change.transaction.version - len(change.happened) + 1
    return enumerate(change.happened, first)


def _history(after: Snapshot, change: Change, actor: str) -> Iterator[TransactionEvent]:
    for sequence, line in _numbered(change):
        yield TransactionEvent(
            partner_id=change.transaction.partner_id,
            transaction_id=change.transaction.id,
            sequence=sequence,
            event_type=line.event_type,
            status=line.status,
            attempt_id=after.attempt_id,
            refund_id=after.attempt.refund_id,
            data=line.data,
            created_by=actor,
            created_at=change.transaction.updated_at,
        )


def _entries(change: Change) -> Iterator[dict[str, Any]]:
    for sequence, line in _numbered(change):
        for entry in line.entries:
            yield {
                "partner_id": change.transaction.partner_id,
                "transaction_id": change.transaction.id,
                "sequence": sequence,
                "account": entry.account,
                "currency": change.transaction.currency,
                "amount": entry.amount,
                "id": ids.new(),
                "livemode": change.transaction.livemode,
                "created_at": change.transaction.updated_at,
            }


def _published(texts: _Texts, change: Change) -> Iterator[dict[str, Any]]:
    names = [name for line in change.happened for name in line.published]
    first = change.transaction.published - len(names) + 1
    at = change.transaction.updated_at
    for sequence, name in enumerate(names, first):
        event_id = ids.new()
        yield {
            "id": event_id,
            "livemode": change.transaction.livemode,
            "type": name,
            "transaction_id": change.transaction.id,
            "sequence": sequence,
            "body": representation.event_text(event_id, name, at=at, sequence=sequence, data=texts.about(name)),
            "created_at": at,
        }


def _answer(texts: _Texts, change: Change) -> dict[str, Any] | None:
    key = change.attempts[0].idempotency_key if change.attempts else None
    if key is None or not (change.final or change.release):
        return None
    answer: dict[str, Any] = {"livemode": change.transaction.livemode, "key": key}
    if change.release:
        return answer | {"release": True}
    status, body = texts.lasting_answer()
    return answer | {"status": status, "body": body}


class _Texts:
    """What a step is about, as the API shows it: each thing is put into JSON once, however often it is told."""

    def __init__(self, runtime: Runtime, snapshot: Snapshot, change: Change | None = None) -> None:
        self._runtime, self._snapshot, self._change = runtime, snapshot, change

    def about(self, event_type: str) -> str:
        """The object an event is about."""
        match event_type.partition(".")[0]:
            case "refund":
                return self.refund
            case "dispute":
                return self.dispute
            case _:
                return self.transaction

    def lasting_answer(self) -> tuple[int, str]:
        match self._snapshot.attempt.operation:
            case "refund":
                return 201, self.refund
            case "charge":
                return 201, self.transaction
            case _:
                return 200, self.transaction

    @cached_property
    def transaction(self) -> str:
        shown = self._snapshot.transaction
        places = self._runtime.places(shown.currency)
        return representation.encode(representation.transaction_body(shown, self._snapshot.attempts, places=places))

    @cached_property
    def refund(self) -> str:
        shown = self._snapshot.refund
        assert shown is not None
        return representation.encode(representation.refund_body(shown, places=self._runtime.places(shown.currency)))

    @cached_property
    def dispute(self) -> str:
        shown = self._change.dispute if self._change else None
        assert shown is not None
        return representation.encode(representation.dispute_body(shown, places=self._runtime.places(shown.currency)))
