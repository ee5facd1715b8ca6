"""Everything a PSP's answer can come to. Pure values; each says what is proven, and nothing more.

The public names are those of `providers.contract`, which everybody imports.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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


RULED_OUT = "ruled_out"
"""The code of a charge that can take no money any more, because the PSP has confirmed its cancellation."""


def ruled_out(provider_id: str | None, trace: Trace = NO_TRACE) -> Declined:
    """Proven: nothing was taken and nothing will be, so the same charge may be tried elsewhere."""
    return Declined(
        code=RULED_OUT,
        kind=DeclineKind.SOFT,
        may_fail_over=True,
        provider_code=None,
        message="The payment had no outcome and was cancelled. No money was taken.",
        provider_id=provider_id,
        trace=trace,
    )
