"""What the gateway may ask of a payment service provider (PSP), and everything a PSP may answer.

Pure values. An *ask* is built into a `Prepared` request, which is stored before anything is sent and is all that a
later process needs to send the same bytes again; every road back (answer, look-up, notification) ends as one `Outcome`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar, Protocol


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
class Trace:
    """What support may see of an exchange: no token, no credential, no personal datum."""

    http_status: int | None = None
    provider_request_id: str | None = None
    provider_status: str | None = None
    provider_code: str | None = None
    message: str | None = None


NO_TRACE = Trace()


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a receipt may show of the instrument, as the PSP names it."""

    brand: str | None = None
    last4: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """The PSP did what was asked and its amount, currency and reference agree with ours.

    For a charge `captured` tells a sale from a mere authorization; for the other operations it is True.
    `provider_id` is the payment's id at the PSP, or for a refund the refund's.
    """

    provider_id: str
    captured: bool = True
    card: Card | None = None
    trace: Trace = NO_TRACE


class DeclineKind(StrEnum):
    """Why a payment was refused, as far as it decides what may follow (retry, failover, advice)."""

    SOFT = "soft"
    HARD = "hard"
    FIX_DATA = "fix_data"
    AUTHENTICATION = "authentication"
    RISK = "risk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """The PSP or the issuer said no: no money moved and none will. `code` is ours, `provider_code` the PSP's own."""

    code: str
    kind: DeclineKind
    may_fail_over: bool
    provider_code: str | None
    message: str
    provider_id: str | None = None
    card: Card | None = None
    trace: Trace = NO_TRACE


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRequired:
    """The customer must act at `url` (3-D Secure, wallet approval) before the PSP can decide."""

    provider_id: str
    url: str
    trace: Trace = NO_TRACE


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """The PSP accepted the request and will tell the result later."""

    provider_id: str
    trace: Trace = NO_TRACE


class NotSentReason(StrEnum):
    """Why it is certain that the PSP executed nothing."""

    UNREACHABLE = "unreachable"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    CREDENTIALS = "credentials"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSent:
    """Proven: nothing was executed (no connection, 429, refused credentials), so another try is safe."""

    reason: NotSentReason
    retry_after_seconds: int | None = None
    trace: Trace = NO_TRACE


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The PSP refused the request as invalid (unknown token, unsupported combination): nothing was executed."""

    provider_code: str | None
    message: str
    may_fail_over: bool = False
    trace: Trace = NO_TRACE


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """The PSP may or may not have acted (no answer, 5xx, answer that cannot be believed): only it can tell, later."""

    reason: str
    provider_id: str | None = None
    trace: Trace = NO_TRACE


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """Only from a look-up: the PSP knows nothing of it now. It may still arrive, so this is no proof of absence."""

    trace: Trace = NO_TRACE


Outcome = Approved | Declined | ActionRequired | Pending | NotSent | Rejected | Unknown | Absent


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One verified item of a PSP's notification: what makes it the same at a repeat, and its own bytes."""

    dedupe_key: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptTold:
    """A notification about something we asked for, found by our `reference` or by the PSP's ids.

    `outcome` is what it means for that attempt. A notification is a hint about money, never its proof: `amount` and
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


class Forged(Exception):
    """The notification's signature, time or addressee is wrong: refuse it, store nothing."""


class CannotVerify(Exception):
    """What is needed to verify (a certificate, the PSP's verify call) cannot be had now: let the PSP send again."""


class Unreadable(Exception):
    """A verified notification that makes no sense to this adapter: it is parked for a person."""


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

    async def verify_webhook(self, headers: Mapping[str, str], body: bytes, *, now: float) -> list[Received]:
        """The verified items of a notification (header names in lower case). Raises `Forged` or `CannotVerify`."""
        ...

    def read_webhook(self, body: bytes) -> Told:
        """What one verified item says; pure. Raises `Unreadable`."""
        ...
