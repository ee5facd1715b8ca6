"""A refusal in words: each says what happened, whether anything was charged, and what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from db.records import Failure
from gateway.transactions import failures
from providers.contract import Declined, DeclineKind, NotSent, NotSentReason, Rejected, Trace, ruled_out

DECLINED = Declined(
    code="issuer_unavailable", kind=DeclineKind.SOFT, may_fail_over=True, provider_code="91", message=""
)
REJECTED = Rejected(provider_code="bad_request", message="What?")
NOT_SENT = NotSent(reason=NotSentReason.THROTTLED, trace=Trace(provider_code="429"))


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        (DeclineKind.SOFT, "retry_later"),
        (DeclineKind.HARD, "do_not_retry"),
        (DeclineKind.FIX_DATA, "try_another_card"),
        (DeclineKind.AUTHENTICATION, "try_another_card"),
        (DeclineKind.RISK, "do_not_retry"),
    ],
)
def test_the_advice_follows_from_the_kind(kind: DeclineKind, advice: str) -> None:
    assert failures.of_charge(replace(DECLINED, kind=kind), "card").advice == advice


@pytest.mark.parametrize("code", ["insufficient_funds", "limit_exceeded", "velocity_exceeded", "card_not_supported"])
def test_where_waiting_helps_less_another_card_is_advised(code: str) -> None:
    assert failures.of_charge(replace(DECLINED, code=code), "card").advice == "try_another_card"


@pytest.mark.parametrize(("method", "code"), [("card", "card_declined"), ("e_wallet", "payment_declined")])
def test_a_decline_keeps_all_codes(method: str, code: str) -> None:
    assert failures.of_charge(DECLINED, method) == Failure(
        error_code=code,
        error_message="The card's bank cannot be reached at the moment.",
        decline_code="issuer_unavailable",
        advice="retry_later",
        provider_code="91",
    )


@pytest.mark.parametrize("code", ["lost_card", "stolen_card", "suspected_fraud", "generic_decline", "anything_else"])
def test_what_a_customer_must_not_learn_is_told_as_any_decline(code: str) -> None:
    assert failures.of_charge(replace(DECLINED, code=code), "card").error_message == "The payment was declined."


def test_a_refused_request_is_for_support() -> None:
    assert failures.of_charge(REJECTED, "card") == Failure(
        error_code="provider_rejected",
        error_message="The payment service provider refused the request as invalid.",
        advice="contact_support",
        provider_code="bad_request",
    )


def test_what_was_not_sent_charged_nothing() -> None:
    assert failures.of_charge(NOT_SENT, "card") == Failure(
        error_code="provider_unavailable",
        error_message="The payment service provider could not be reached. Nothing was charged.",
        advice="retry_later",
        provider_code="429",
    )


@pytest.mark.parametrize(
    ("code", "error_code"),
    [("action_expired", "action_expired"), (failures.ABSENT_CODE, "payment_not_made")],
)
def test_what_ended_without_the_bank_is_no_decline_of_the_card(code: str, error_code: str) -> None:
    failure = failures.of_charge(replace(DECLINED, code=code), "card")
    assert (failure.error_code, failure.advice, failure.decline_code) == (error_code, "retry_later", None)
    assert failure.error_message is not None
    assert failure.error_message.endswith("othing was charged.")


def test_what_was_ruled_out_charged_nothing() -> None:
    failure = failures.of_charge(ruled_out("p_1"), "card")
    assert (failure.error_code, failure.advice) == ("payment_ruled_out", "retry_later")


@pytest.mark.parametrize(
    ("outcome", "decline_code", "provider_code"),
    [(DECLINED, "issuer_unavailable", "91"), (REJECTED, None, "bad_request")],
)
def test_a_refused_refund_is_for_support(
    outcome: Declined | Rejected, decline_code: str | None, provider_code: str
) -> None:
    assert failures.of_refund(outcome) == Failure(
        error_code="refund_refused",
        error_message="The payment service provider refused the refund.",
        decline_code=decline_code,
        advice="contact_support",
        provider_code=provider_code,
    )


def test_an_authorization_that_ran_out_took_nothing() -> None:
    assert failures.expired(DECLINED) == Failure(
        error_code="authorization_expired",
        error_message="The authorization expired before it was captured. No money was taken.",
        advice="try_another_card",
        provider_code="91",
    )
