from __future__ import annotations

import pytest

from providers import paypal_declines
from providers.contract import DeclineKind
from providers.paypal_declines import ISSUES, PROCESSOR_CODES, of_processor

OURS = frozenset(
    {
        "account_closed",
        "action_expired",
        "authentication_failed",
        "authentication_required",
        "avs_failed",
        "card_not_supported",
        "compliance",
        "do_not_honor",
        "duplicate_transaction",
        "expired_card",
        "generic_decline",
        "insufficient_funds",
        "invalid_cvc",
        "invalid_number",
        "issuer_unavailable",
        "limit_exceeded",
        "lost_card",
        "pickup_card",
        "processing_error",
        "restricted_card",
        "revoked",
        "risk_blocked",
        "suspected_fraud",
        "transaction_not_permitted",
        "velocity_exceeded",
    }
)


def test_every_code_has_a_name_of_ours() -> None:
    assert {code for code, _, _ in (*ISSUES.values(), *PROCESSOR_CODES.values())} == OURS


@pytest.mark.parametrize("table", [ISSUES, PROCESSOR_CODES])
def test_only_a_soft_no_or_an_unsupported_card_may_be_tried_elsewhere(
    table: dict[str, paypal_declines.Meaning],
) -> None:
    for ours, kind, may_fail_over in table.values():
        assert not may_fail_over or kind is DeclineKind.SOFT or ours == "card_not_supported"


def test_no_issue_means_two_things() -> None:
    meanings = [
        frozenset(ISSUES),
        paypal_declines.CAPABILITY_ISSUES,
        paypal_declines.CUSTOMER_ISSUES,
        paypal_declines.SETTLED_ISSUES,
        paypal_declines.EXPIRED_ISSUES,
    ]

    assert sum(len(one) for one in meanings) == len(frozenset().union(*meanings))


def test_what_proves_nothing_is_no_decline() -> None:
    assert not paypal_declines.UNPROVEN_PROCESSOR_CODES & PROCESSOR_CODES.keys()


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("0500", ("do_not_honor", DeclineKind.SOFT, True)),
        ("5120", ("insufficient_funds", DeclineKind.SOFT, False)),
        ("9520", ("lost_card", DeclineKind.HARD, False)),
        ("00N7", ("invalid_cvc", DeclineKind.FIX_DATA, False)),
        ("5650", ("authentication_required", DeclineKind.AUTHENTICATION, False)),
        ("never heard of", ("unknown", DeclineKind.SOFT, False)),
        (None, ("unknown", DeclineKind.SOFT, False)),
    ],
)
def test_processor_codes_are_told_apart(code: str | None, meaning: paypal_declines.Meaning) -> None:
    assert of_processor(code, advice=None) == meaning


@pytest.mark.parametrize(
    ("code", "advice", "kind", "may_fail_over"),
    [
        ("0500", "01", DeclineKind.FIX_DATA, False),
        ("0500", "02", DeclineKind.SOFT, True),
        ("0500", "03", DeclineKind.HARD, False),
        ("0500", "21", DeclineKind.HARD, False),
        ("0500", "99", DeclineKind.SOFT, True),
        ("9520", "02", DeclineKind.SOFT, False),
        ("5650", "03", DeclineKind.AUTHENTICATION, False),
        ("never heard of", "03", DeclineKind.HARD, False),
    ],
)
def test_the_networks_advice_overrides_the_kind(
    code: str, advice: str, kind: DeclineKind, *, may_fail_over: bool
) -> None:
    assert of_processor(code, advice=advice)[1:] == (kind, may_fail_over)
