from __future__ import annotations

import pytest

from providers.adyen_declines import DECLINES, by_reason, classify
from providers.contract import DeclineKind
from tests.unit.test_stripe_declines import OURS

SOFT, HARD, FIX_DATA = DeclineKind.SOFT, DeclineKind.HARD, DeclineKind.FIX_DATA
AUTHENTICATION, RISK = DeclineKind.AUTHENTICATION, DeclineKind.RISK
LISTED = {2, *range(3, 13), *range(14, 30), *range(31, 43), 46, 50}
"""Adyen's codes of a refusal; 13 is pending, 30 a partial approval."""


def test_the_table_is_whole() -> None:
    assert {int(code) for code in DECLINES} == LISTED


def test_every_code_has_a_name_of_ours() -> None:
    assert {code for code, _, _ in DECLINES.values()} <= OURS | {"shopper_cancelled"}


@pytest.mark.parametrize("code", sorted(DECLINES))
def test_only_a_soft_no_or_an_unsupported_card_may_be_tried_elsewhere(code: str) -> None:
    ours, kind, may_fail_over = classify(code, result="Refused", advice=None)

    assert not may_fail_over or kind is SOFT or ours == "card_not_supported"


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("2", ("generic_decline", SOFT, True)),
        ("10", ("card_not_supported", FIX_DATA, True)),
        ("11", ("authentication_failed", AUTHENTICATION, False)),
        ("12", ("insufficient_funds", SOFT, False)),
        ("16", ("shopper_cancelled", HARD, False)),
        ("20", ("risk_blocked", RISK, False)),
        ("31", ("suspected_fraud", HARD, False)),
        ("38", ("authentication_required", AUTHENTICATION, False)),
        ("46", ("do_not_honor", HARD, False)),
        ("0", ("unknown", SOFT, False)),
        ("never heard of", ("unknown", SOFT, False)),
        (None, ("unknown", SOFT, False)),
    ],
)
def test_codes_are_told_apart(code: str | None, meaning: tuple[str, DeclineKind, bool]) -> None:
    assert classify(code, result="Refused", advice=None) == meaning


@pytest.mark.parametrize(
    ("code", "advice", "kind", "may_fail_over"),
    [
        ("2", "03 : Do not try again", HARD, False),
        ("2", "01 : New account information available", FIX_DATA, False),
        ("2", "02 : Try again later", SOFT, True),
        ("2", "99", SOFT, True),
        ("2", "", SOFT, True),
        ("777", "21", HARD, False),
        ("20", "02", RISK, False),
        ("38", "03", AUTHENTICATION, False),
    ],
)
def test_the_schemes_advice_overrides_the_kind(code: str, advice: str, kind: DeclineKind, may_fail_over: bool) -> None:
    assert classify(code, result="Refused", advice=advice)[1:] == (kind, may_fail_over)


@pytest.mark.parametrize(
    ("reason", "code", "ours"),
    [
        ("Not enough balance", "12", "insufficient_funds"),
        ("FRAUD", "20", "risk_blocked"),
        ("Cvc Declined", "24", "invalid_cvc"),
        ("Insufficient Funds:0619", None, "generic_decline"),
        ("null", None, "generic_decline"),
        (None, None, "generic_decline"),
    ],
)
def test_a_reason_in_words_advises_and_never_lets_fail_over(reason: str | None, code: str | None, ours: str) -> None:
    found, (meaning, _, may_fail_over) = by_reason(reason)

    assert (found, meaning, may_fail_over) == (code, ours, False)
