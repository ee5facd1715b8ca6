"""What has become of a charge after its technical cancel, read from the payment before and after. Pure."""

from __future__ import annotations

from dataclasses import replace

from providers import contract
from providers.contract import Absent, Approved, Declined, Outcome, Pending, Unknown

CANCELLED = "cancelled"
"""The code under which an adapter reads a payment that is cancelled at its PSP."""


def settled(seen: Outcome) -> Outcome:
    """Of a payment that there was nothing to cancel of: it stands as it is."""
    if isinstance(seen, Declined) and seen.code == CANCELLED:
        return contract.ruled_out(seen.provider_id, seen.trace)
    return seen


def concluded(*, before: Outcome, after: Outcome) -> Outcome:
    """A cancelled payment was ruled out, unless it had been refused before: then that refusal says why it failed.

    Whatever is still open, or was not reached at all (throttled, refused), is as unknown as before.
    """
    known_id: str | None = getattr(after, "provider_id", None) or getattr(before, "provider_id", None)
    match after:
        case Declined(code="cancelled"):
            return before if isinstance(before, Declined) else settled(after)
        case Approved(captured=True) | Pending() | Declined() | Absent():
            return after
        case Unknown():
            return replace(after, provider_id=known_id)
        case _:
            return Unknown(reason="not_cancelled", provider_id=known_id, trace=after.trace)
