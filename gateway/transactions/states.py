"""The life of a transaction, as one table.

    pending ─► processing ─► authorized ─► completed ─► partially_refunded ─► refunded
       │           │  ▲          │             └──────────────────────────────►┘
       │           ▼  │          ├─► cancelled
       │    requires_action ─────┼─► failed
       └──────────────────────── ┘

Nothing moves backwards, but where a PSP takes back what it had confirmed (`RETURNS`): the books follow the money.
`failed` and `cancelled` say that no money was taken.
"""

from __future__ import annotations

from collections.abc import Mapping

from db.records import AttemptState, TransactionStatus

S = TransactionStatus

TRANSITIONS: Mapping[TransactionStatus, frozenset[TransactionStatus]] = {
    S.PENDING: frozenset({S.PROCESSING, S.FAILED, S.CANCELLED}),
    S.PROCESSING: frozenset({S.REQUIRES_ACTION, S.AUTHORIZED, S.COMPLETED, S.FAILED, S.CANCELLED}),
    S.REQUIRES_ACTION: frozenset({S.PROCESSING, S.AUTHORIZED, S.COMPLETED, S.FAILED, S.CANCELLED}),
    S.AUTHORIZED: frozenset({S.COMPLETED, S.CANCELLED, S.FAILED}),
    S.COMPLETED: frozenset({S.PARTIALLY_REFUNDED, S.REFUNDED}),
    S.PARTIALLY_REFUNDED: frozenset({S.REFUNDED}),
    S.REFUNDED: frozenset(),
    S.FAILED: frozenset(),
    S.CANCELLED: frozenset(),
}

RETURNS: Mapping[TransactionStatus, frozenset[TransactionStatus]] = {
    S.COMPLETED: frozenset({S.FAILED}),
    S.PARTIALLY_REFUNDED: frozenset({S.COMPLETED}),
    S.REFUNDED: frozenset({S.PARTIALLY_REFUNDED, S.COMPLETED}),
}
"""The ways back: a booked capture or refund that failed after all. Each goes with a reversing posting."""

CAPTURABLE = frozenset({S.AUTHORIZED})
CANCELLABLE = frozenset({S.AUTHORIZED, S.REQUIRES_ACTION})
PENDING_OFFLINE = frozenset({S.PROCESSING})
REFUNDABLE = frozenset({S.COMPLETED, S.PARTIALLY_REFUNDED})

LIVE_ATTEMPTS = frozenset(
    {AttemptState.CREATED, AttemptState.SENDING, AttemptState.WAITING, AttemptState.UNKNOWN, AttemptState.RESOLVING}
)
"""States in which a PSP may still act on an attempt."""
GIVEN_BACK = frozenset({AttemptState.LATE_SUCCESS, AttemptState.COMPENSATING, AttemptState.COMPENSATED})
"""States of a charge whose success came when it was over: our books know of it, though not as a success."""


class InvalidState(Exception):
    """The transaction's status does not allow what was asked. Nothing was sent."""

    def __init__(self, status: TransactionStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def advance(current: TransactionStatus, to: TransactionStatus) -> TransactionStatus:
    """The next status, or `InvalidState`. Staying (a second partial refund) is no transition and always allowed."""
    if to != current and to not in TRANSITIONS[current]:
        raise InvalidState(current, f"a {current} transaction cannot become {to}")
    return to


def go_back(current: TransactionStatus, to: TransactionStatus) -> TransactionStatus:
    """The status after a PSP took back what it had confirmed, or `InvalidState`. Staying is always allowed."""
    if to != current and to not in RETURNS.get(current, frozenset()):
        raise InvalidState(current, f"a {current} transaction cannot go back to {to}")
    return to
