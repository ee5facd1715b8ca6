"""Why a transaction went where it went and what came of it, told to partners and support in one body. No I/O.

A companion of `representation`: what was asked is told without the body that was sent, for that holds tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from typing_extensions import TypedDict

from db import ids
from db.provider_calls import ProviderCall
from db.records import Attempt, AttemptOperation, AttemptState, Transaction, TransactionStatus
from gateway.transactions import representation
from providers.contract import Prepared

S = TransactionStatus


class CandidateBody(TypedDict):
    """Where learning decided: the `score` it got, its `approval_rate` so far, and of how many verdicts (decayed)."""

    account: str
    provider: str
    breaker: str
    score: str | None
    approval_rate: str | None
    observed: str | None


class ExclusionBody(TypedDict):
    account: str
    provider: str
    reason: str


class ShadowBody(TypedDict):
    rule: str | None
    version: int | None
    account: str | None
    agrees: bool


class DecisionBody(TypedDict):
    rule: str | None
    version: int | None
    way: str
    because: str
    candidates: list[CandidateBody]
    exclusions: list[ExclusionBody]
    passed_over: list[str]
    shadow: ShadowBody | None


class AskedBody(TypedDict):
    operation: str
    request: str
    amount: str
    currency: str
    reference: str


class LaterBody(TypedDict):
    purpose: str
    answered: Mapping[str, Any]
    called_at: str


class ExplainedAttempt(TypedDict):
    id: str
    number: int
    operation: str
    provider: str
    provider_account_id: str
    state: str
    because: str | None
    asked: AskedBody
    answered: Mapping[str, Any] | None
    asked_again: list[LaterBody]
    created_at: str
    finished_at: str | None


class ExplanationBody(TypedDict):
    object: Literal["explanation"]
    transaction_id: str
    status: str
    money_moved: representation.MoneyMoved
    summary: str
    decision: DecisionBody
    attempts: list[ExplainedAttempt]
    tell_the_customer: str
    next_step: str


def explanation(
    transaction: Transaction, attempts: Sequence[Attempt], calls: Sequence[ProviderCall], *, places: int
) -> ExplanationBody:
    """`attempts` from the first on; `calls` are what PSPs answered when they were asked again."""
    return {
        "object": "explanation",
        "transaction_id": ids.encode("txn", transaction.id),
        "status": transaction.status.value,
        "money_moved": representation.money_moved(transaction, attempts),
        "summary": _summary(transaction, attempts, places),
        "decision": _decision(attempts[0].routing or {}),
        "attempts": [_attempt(one, [call for call in calls if call.attempt_id == one.id]) for one in attempts],
        "tell_the_customer": _tell_the_customer(transaction),
        "next_step": _next_step(transaction),
    }


def _decision(told: Mapping[str, Any]) -> DecisionBody:
    return {
        "rule": told.get("rule"),
        "version": told.get("version"),
        "way": told.get("way", "priority"),
        "because": told.get("because", "the accounts' own priority decides"),
        "candidates": [_candidate(one) for one in told.get("candidates", ())],
        "exclusions": told.get("exclusions", []),
        "passed_over": told.get("passed_over", []),
        "shadow": told.get("shadow"),
    }


def _candidate(told: Mapping[str, Any]) -> CandidateBody:
    return {
        "account": told["account"],
        "provider": told["provider"],
        "breaker": told.get("breaker", "closed"),
        "score": _number(told, "score"),
        "approval_rate": _number(told, "approval_rate"),
        "observed": _number(told, "observed"),
    }


def _number(told: Mapping[str, Any], name: str) -> str | None:
    """As text, as every number that is no count."""
    return None if name not in told else str(told[name])


def _attempt(attempt: Attempt, calls: Iterable[ProviderCall]) -> ExplainedAttempt:
    asked = Prepared.from_json(attempt.request)
    routing = attempt.routing or {}
    return {
        "id": ids.encode("att", attempt.id),
        "number": attempt.number,
        "operation": attempt.operation.value,
        "provider": attempt.provider,
        "provider_account_id": ids.encode("pac", attempt.account_id),
        "state": attempt.state.value,
        "because": routing.get("because"),
        "asked": {
            "operation": asked.operation.value,
            "request": f"{asked.method} {asked.path}",
            "amount": str(asked.amount),
            "currency": asked.currency,
            "reference": asked.reference,
        },
        "answered": _answered(attempt.outcome) if attempt.outcome else None,
        "asked_again": [
            {
                "purpose": call.purpose.value,
                "answered": _answered(call.outcome),
                "called_at": representation.instant(call.called_at),
            }
            for call in calls
        ],
        "created_at": representation.instant(attempt.created_at),
        "finished_at": representation.time(attempt.finished_at),
    }


def _answered(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """What it came to first: the database keeps no order."""
    return {"outcome": told.get("outcome"), **told}


def _summary(transaction: Transaction, attempts: Sequence[Attempt], places: int) -> str:
    amount = f"{representation.money(transaction.amount, places)} {transaction.currency}"
    charges = [one for one in attempts if one.operation is AttemptOperation.CHARGE]
    before = [f"{one.provider} {_PASSED.get(one.state, 'declined')}" for one in charges[:-1]]
    tried = f", after {' and '.join(before)}" if before else ""
    return f"{amount} {_STANDS[transaction.status]} at {charges[-1].provider}{tried}."


_PASSED: Mapping[AttemptState, str] = {AttemptState.FAILED_NOT_SENT: "could not be reached"}
_STANDS: Mapping[TransactionStatus, str] = {
    S.PENDING: "is about to be sent",
    S.PROCESSING: "was sent and has no outcome yet",
    S.REQUIRES_ACTION: "waits for the customer",
    S.AUTHORIZED: "is authorized",
    S.COMPLETED: "was captured",
    S.PARTIALLY_REFUNDED: "was captured, and a part of it refunded,",
    S.REFUNDED: "was captured and refunded",
    S.FAILED: "was not taken",
    S.CANCELLED: "was cancelled",
}


def _tell_the_customer(transaction: Transaction) -> str:
    if transaction.status is S.FAILED and transaction.error_message:
        return transaction.error_message
    return _CUSTOMER[transaction.status]


_CUSTOMER: Mapping[TransactionStatus, str] = {
    S.PENDING: "Your payment is being processed. Please do not pay again.",
    S.PROCESSING: "Your payment is being processed. Please do not pay again: you will not be charged twice.",
    S.REQUIRES_ACTION: "Please confirm the payment on your bank's or wallet's page.",
    S.AUTHORIZED: "Your payment is approved. It is charged when your order is fulfilled.",
    S.COMPLETED: "Your payment was received.",
    S.PARTIALLY_REFUNDED: "Your payment was received, and a part of it was refunded.",
    S.REFUNDED: "Your payment was refunded. It may take some days until your bank shows it.",
    S.FAILED: "The payment failed. Nothing was charged.",
    S.CANCELLED: "The payment was cancelled. Nothing was charged.",
}


def _next_step(transaction: Transaction) -> str:
    if transaction.needs_review:
        return "People at the gateway look into it. Wait for the next webhook; do not charge again."
    if transaction.status is S.FAILED:
        return _ADVICE.get(transaction.advice or "", "Ask for another way to pay.")
    if transaction.status is S.PROCESSING and transaction.next_check_at is not None:
        return f"Nothing: the provider is asked again at {representation.instant(transaction.next_check_at)}."
    return _STEPS.get(transaction.status, "Nothing.")


_ADVICE: Mapping[str, str] = {
    "try_another_card": "Ask the customer for another card or way to pay.",
    "retry_later": "Charge again later, with a new Idempotency-Key.",
    "do_not_retry": "Do not charge this payment method again.",
    "contact_support": "Ask the gateway's support: the provider refused the request itself.",
}
_STEPS: Mapping[TransactionStatus, str] = {
    S.REQUIRES_ACTION: "Send the customer to next_action.url.",
    S.AUTHORIZED: "Capture it before the authorization expires, or cancel it.",
}
