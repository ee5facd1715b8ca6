"""What the gateway may ask of a payment service provider (PSP), and everything a PSP may answer.

Pure values. An *ask* is built into a `Prepared` request, which is stored before anything is sent and is all that a
later process needs to send the same bytes again; every road back (answer, look-up, notification) ends as one `Outcome`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar, Protocol

from providers.contract_outcomes import (
    NO_TRACE,
    RULED_OUT,
    Absent,
    ActionRequired,
    Approved,
    Card,
    Declined,
    DeclineKind,
    NotSent,
    NotSentReason,
    Outcome,
    Pending,
    Rejected,
    Trace,
    Unknown,
    ruled_out,
)

__all__ = [
    "NO_TRACE", "RULED_OUT", "Absent", "ActionRequired", "Approved", "Card", "DeclineKind", "Declined", "NotSent",
    "NotSentReason", "Outcome", "Pending", "Rejected", "Trace", "Unknown", "ruled_out",
]  # fmt: skip
"""What comes from `contract_outcomes`."""


class Operation(StrEnum):
    """What an attempt asks a PSP to do; also the values of the column `attempts.operation`."""

    CHARGE = "charge"
    CAPTURE = "capture"
    CANCEL = "cancel"
    REFUND = "refund"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """Take `amount` (major units) from the payer: at once (`capture`) or as a hold to capture later."""

    reference: str
    """Ours, unique per attempt, at most 57 characters: the PSP echoes it, so a notification finds its transaction."""
    amount: Decimal
    currency: str
    method: str
    token: str | None
    capture: bool
    return_url: str | None = None
    description: str | None = None
    statement_descriptor: str | None = None
    merchant_reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Take `amount` (major units) of an authorization; what is left of it is released."""

    reference: str
    provider_transaction_id: str
    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Release an authorization, or give up a payment that waits for the customer."""

    reference: str
    provider_transaction_id: str
    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """Give `amount` (major units) of a captured payment back to the payer."""

    reference: str
    provider_transaction_id: str
    amount: Decimal
    currency: str
    reason: str


Ask = Charge | Capture | Cancel | Refund


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One request to a PSP exactly as it will be sent, with what its answer must agree with.

    Stored with the attempt before the call. `headers` never hold credentials: the adapter adds those when it sends.
    """

    operation: Operation
    method: str
    path: str
    body: str
    reference: str
    amount: Decimal
    currency: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self) | {"amount": str(self.amount)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Prepared:
        stored = json.loads(text)
        return cls(**stored | {"operation": Operation(stored["operation"]), "amount": Decimal(stored["amount"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One verified item of a PSP's notification: what makes it the same at a repeat, and its own bytes."""

    dedupe_key: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptTold:
    """A notification about something we asked for, found by our `reference` or by the PSP's ids.

    `outcome` is what it means for that attempt; a cancel that no attempt of ours asked for is the end of the charge it
    names (`ruled_out`), if that has no outcome yet. A notification is a hint about money, never its proof: `amount` and
    `currency` (major units) must agree with ours, and where `ask` is set the PSP is asked before anything is believed.
    """

    operation: Operation
    reference: str | None
    provider_transaction_id: str | None
    provider_id: str | None
    """The refund's id for a refund, the modification's for a capture or cancel; else the payment's."""
    outcome: Outcome
    amount: Decimal | None = None
    currency: str | None = None
    ask: bool = False


class DisputeState(StrEnum):
    OPENED = "opened"
    WON = "won"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeTold:
    """A payer contests a captured payment. `funds_withdrawn`: the PSP took (True) or gave back (False) `amount` now."""

    dispute_id: str
    provider_transaction_id: str | None
    reference: str | None
    state: DisputeState
    reason: str | None
    amount: Decimal
    currency: str
    funds_withdrawn: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Irrelevant:
    """A notification that changes nothing here; `reason` is kept with it."""

    reason: str


Told = AttemptTold | DisputeTold | Irrelevant


class SeenState(StrEnum):
    """How a payment or refund stands at the PSP, as far as money goes."""

    OPEN = "open"
    AUTHORIZED = "authorized"
    MOVED = "moved"
    """The money was taken; of a refund: given back."""
    ENDED = "ended"
    """Declined, failed or cancelled: no money moved and none will."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One payment or refund as the PSP's own list shows it, whoever asked for it."""

    kind: Operation
    """CHARGE or REFUND."""
    reference: str | None
    """Ours, of the charge or of the refund; None where it carries none: then it was not made through this gateway."""
    provider_id: str
    """Of this very entry: the payment's or the refund's; at PayPal a capture's, as its list knows no orders."""
    provider_transaction_id: str | None
    """The payment's, where the list tells it."""
    state: SeenState
    amount: Decimal
    """What moved, else what is held, else what was asked for; major units, never negative."""
    currency: str
    refunded: Decimal | None
    """How much of a payment was given back so far, where the list tells it."""
    created_at: datetime


class Forged(Exception):
    """The notification's signature, time or addressee is wrong: refuse it, store nothing."""


class CannotVerify(Exception):
    """What is needed to verify (a certificate, the PSP's verify call) cannot be had now: let the PSP send again."""


class Unreadable(Exception):
    """A verified notification that makes no sense to this adapter: it is parked for a person."""


class CannotList(Exception):
    """A list of the PSP cannot be read now, or not to its end: what was yielded before is true, but not all of it."""


class Unsupported(Exception):
    """What is asked is beyond this PSP (currency, amount, method); nothing was sent. `field` names the input."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class BadCredentials(Exception):
    """An adapter cannot be opened with these credentials. `field` names the one at fault; no value is repeated."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an adapter can do at its PSP, for routing; `currencies` None means every active currency."""

    methods: frozenset[str]
    currencies: frozenset[str] | None
    tokenless_methods: frozenset[str]
    """Payment-method types that need no token, because the customer is redirected."""
    key_lifetime_seconds: int
    """How long the PSP remembers an idempotency key: a resend is allowed within 80 % of it."""
    partial_capture: bool = True
    offline: bool = False
    """Nobody is called: people tell the outcome, and support records it."""
    readable: bool = True
    """The PSP has a call that tells what became of a payment."""
    events_kept_seconds: int | None = None
    """How long the PSP lists its own events for `missed`; None: it has no such list."""
    payments_listed_after_seconds: int | None = None
    """How long it may take until `payments` shows what happened; None: the PSP has no such list."""
    payments_listed_every_seconds: int = 0
    """A shorter window than this is not worth reading: the PSP lists in batches."""


class Provider(Protocol):
    """One account at one PSP. No retry, no logging, no storage in here."""

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    credential_fields: ClassVar[frozenset[str]]
    """Every field its credentials may have; another is a slip of the pen."""

    def prepare(self, ask: Ask) -> Prepared:
        """Build the request; pure and deterministic. Raises `Unsupported` for what this PSP cannot represent."""
        ...

    async def send(self, prepared: Prepared, *, key: str) -> Outcome:
        """Send once under the PSP idempotency key `key` (at most 44 characters, the same at every resend)."""
        ...

    async def look_up(self, prepared: Prepared, *, provider_id: str | None, sent_at: datetime | None = None) -> Outcome:
        """Ask what became of an earlier send, by its id at the PSP if known, else by our reference near `sent_at`.

        A look-up that fails is `Unknown`: it proves nothing about the send.
        """
        ...

    async def proceed(
        self, prepared: Prepared, *, key: str, provider_id: str | None, returned: Mapping[str, str]
    ) -> Outcome:
        """Carry on a charge after the customer came back (or approved): `returned` is the query they came with.

        Idempotent under `key`. What the query says is never believed; the PSP is asked, or told to go on.
        """
        ...

    async def rule_out(
        self, prepared: Prepared, *, key: str, provider_id: str | None, sent_at: datetime | None = None
    ) -> Outcome:
        """Make sure that a charge whose outcome is unknown can take no money any more (the technical cancel).

        Idempotent under `key`, which is another than the charge's own (at most 44 characters). A PSP may only repeat
        its answer under a key: to ask once more after a cancel that came too early takes another key.

        - `Declined`: over, and no money was or will be taken. Its code is `RULED_OUT` where the PSP confirmed the
          cancellation, else it is the refusal that the charge had met before.
        - `Approved`: too late, the charge has succeeded and cannot be cancelled.
        - `Pending`: the PSP took note of the cancel, or still works on the charge, and tells the end by a notification.
        - `Absent`: nothing was found that could be cancelled, which proves nothing: it may still arrive.
        - `Unknown`: no answer, or one that proves nothing.
        """
        ...

    def missed(self, *, since: datetime, until: datetime | None = None) -> AsyncIterator[Received]:
        """What the PSP lists as told since then, sent or not: each item has the key and says what its webhook did.

        In no particular order. Raises `CannotList`, always where `events_kept_seconds` is None.
        """
        ...

    def payments(self, *, since: datetime, until: datetime) -> AsyncIterator[Seen]:
        """Every payment and refund that the PSP lists as created from `since` to `until`, ours or not.

        Windows that meet share the second between them. Raises `CannotList`, always where
        `payments_listed_after_seconds` is None.
        """
        ...

    async def verify_webhook(self, headers: Mapping[str, str], body: bytes, *, now: float) -> list[Received]:
        """The verified items of a notification (header names in lower case). Raises `Forged` or `CannotVerify`."""
        ...

    def read_webhook(self, body: bytes) -> Told:
        """What one verified item says; pure. Raises `Unreadable`."""
        ...
