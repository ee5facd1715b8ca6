"""How an act that moves money ended, in one sentence. What has no outcome is never called failed, nor done."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from db.database import CommitUncertain, Unavailable
from db.transactions import RefundsStopped
from gateway.api.errors import Problem
from gateway.console.visits import Visit
from gateway.transactions import representation
from gateway.transactions.charge import ProviderUnavailable
from gateway.transactions.followups import AmountExceeded, Refused
from gateway.transactions.idempotency import ACCEPTED, Answered, InProgress, KeyReused
from gateway.transactions.states import InvalidState

Body = Mapping[str, Any]

OPEN = (
    "There is no outcome yet: assume neither that the money moved nor that it did not. The page shows it once it is"
    " known."
)
REASON_MAX = 300
"""Of a provider's own words: what is told after an act has room for a sentence."""
REFUSALS: Mapping[type[Exception], Callable[[Any], str]] = {
    InvalidState: lambda error: f"Nothing was sent: {error.message}.",
    AmountExceeded: lambda error: (
        f"Nothing was sent: only {representation.money(error.available, error.places)} {error.currency} is available."
    ),
    Refused: lambda _: "The provider refused. The payment stands as it did.",
    ProviderUnavailable: lambda _: "The provider could not be reached, and nothing was sent to it. Try again later.",
    InProgress: lambda _: f"This is being carried out at the moment. {OPEN}",
    KeyReused: lambda _: (
        "Nothing was sent: this form was sent before with other values. Look at the page as it is now."
    ),
    RefundsStopped: lambda _: (
        "Nothing was sent: refunds of this partner are stopped while a mistake in the books is looked into."
    ),
}


async def carried_out(visit: Visit, work: Coroutine[Any, Any, Answered], done: Callable[[Body], str]) -> str:
    """Do it to the end, whoever goes away meanwhile, and say how it ended; `done` tells of a lasting answer."""
    try:
        answered = await visit.console.acting.carry_out(work)
    except tuple(REFUSALS) as error:
        return REFUSALS[type(error)](error)
    except (Unavailable, CommitUncertain):
        # Not a page of the payment: its forms would be new ones, and send a second refund.
        raise Problem(
            "temporarily_unavailable",
            "Whether this was done is not known. Load this very page again: it is sent once more and never done twice.",
        ) from None
    return OPEN if answered.status == ACCEPTED else done(json.loads(answered.body))


def refunded(body: Body) -> str:
    amount = f"{body['amount']} {body['currency']}"
    if body["status"] == "completed":
        return f"{amount} was refunded."
    if body["status"] == "failed":
        return f"The refund of {amount} was declined, and no money moved: {_because(body)}"
    return OPEN


def captured(body: Body) -> str:
    if body["status"] == "authorized":
        return OPEN
    return f"{body['amount_captured']} {body['currency']} was captured."


def cancelled(body: Body) -> str:
    if body["status"] == "cancelled":
        return "The payment was cancelled. Nothing was charged."
    return OPEN if body["money_moved"] == "unknown" else f"The payment is {body['status']} now."


def _because(body: Body) -> str:
    failure = body["failure"] or {}
    return str(failure.get("message") or failure.get("code") or "the provider gave no reason.")[:REASON_MAX]
