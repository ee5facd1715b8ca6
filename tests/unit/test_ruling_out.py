"""What a technical cancel proves of a charge: never more than the payment shows."""

from __future__ import annotations

import pytest

from providers import contract, ruling_out
from providers.contract import Absent, Approved, Declined, DeclineKind, NotSent, NotSentReason, Pending, Unknown


def declined(code: str) -> Declined:
    return Declined(
        code=code, kind=DeclineKind.HARD, may_fail_over=False, provider_code=None, message="No.", provider_id="p_1"
    )


HELD = Approved(provider_id="p_1", captured=False)
CANCELLED = declined("cancelled")
RULED_OUT = contract.ruled_out("p_1")


def test_a_cancelled_payment_is_ruled_out_and_may_be_tried_elsewhere() -> None:
    assert ruling_out.concluded(before=HELD, after=CANCELLED) == RULED_OUT
    assert ruling_out.settled(CANCELLED) == RULED_OUT
    assert (RULED_OUT.code, RULED_OUT.may_fail_over, RULED_OUT.provider_id) == ("ruled_out", True, "p_1")


def test_a_payment_that_was_refused_before_keeps_its_refusal() -> None:
    assert ruling_out.concluded(before=declined("stolen_card"), after=CANCELLED) == declined("stolen_card")


@pytest.mark.parametrize(
    "after",
    [
        Approved(provider_id="p_1"),
        Pending(provider_id="p_1"),
        declined("stolen_card"),
        Absent(),
        Unknown(reason="no_answer", provider_id="p_1"),
    ],
)
def test_what_is_over_or_not_known_is_told_as_it_is(after: contract.Outcome) -> None:
    assert ruling_out.concluded(before=HELD, after=after) == after
    assert ruling_out.settled(after) == after


@pytest.mark.parametrize(
    "after",
    [
        HELD,
        contract.ActionRequired(provider_id="p_1", url="https://psp.test"),
        NotSent(reason=NotSentReason.THROTTLED),
        contract.Rejected(provider_code="not_found", message="No."),
    ],
)
def test_what_is_still_open_or_was_not_reached_is_unknown(after: contract.Outcome) -> None:
    assert ruling_out.concluded(before=HELD, after=after) == Unknown(reason="not_cancelled", provider_id="p_1")


def test_a_payment_that_was_seen_is_named_though_the_cancel_has_no_answer() -> None:
    after = Unknown(reason="http_500")

    assert ruling_out.concluded(before=HELD, after=after) == Unknown(reason="http_500", provider_id="p_1")
