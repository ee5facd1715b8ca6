from __future__ import annotations

import pytest

from providers.contract import DeclineKind
from providers.stripe_declines import DECLINES, classify

OURS = frozenset(
    {
        "account_closed",
        "authentication_failed",
        "authentication_required",
        "avs_failed",
        "card_not_supported",
        "currency_not_supported",
        "do_not_honor",
        "duplicate_transaction",
        "expired_authorization",
        "expired_card",
        "generic_decline",
        "insufficient_funds",
        "invalid_amount",
        "invalid_cvc",
        "invalid_number",
        "invalid_pin",
        "issuer_unavailable",
        "limit_exceeded",
        "lost_card",
        "pickup_card",
        "processing_error",
        "restricted_card",
        "revoked",
        "risk_blocked",
        "stolen_card",
        "suspected_fraud",
        "transaction_not_permitted",
        "unknown",
        "velocity_exceeded",
    }
)


def test_every_code_has_a_name_of_ours() -> None:
    assert {code for code, _, _ in DECLINES.values()} <= OURS


@pytest.mark.parametrize("code", sorted(DECLINES))
def test_only_a_soft_no_or_an_unsupported_card_may_be_tried_elsewhere(code: str) -> None:
    ours, kind, may_fail_over = classify(code, advice=None)

    assert not may_fail_over or kind is DeclineKind.SOFT or ours in ("card_not_supported", "currency_not_supported")


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("generic_decline", ("generic_decline", DeclineKind.SOFT, True)),
        ("insufficient_funds", ("insufficient_funds", DeclineKind.SOFT, False)),
        ("duplicate_transaction", ("duplicate_transaction", DeclineKind.HARD, False)),
        ("incorrect_zip", ("avs_failed", DeclineKind.FIX_DATA, False)),
        ("currency_not_supported", ("currency_not_supported", DeclineKind.FIX_DATA, True)),
        ("merchant_blacklist", ("risk_blocked", DeclineKind.RISK, False)),
        ("authentication_not_handled", ("authentication_required", DeclineKind.AUTHENTICATION, False)),
        ("never_heard_of", ("unknown", DeclineKind.SOFT, False)),
        (None, ("unknown", DeclineKind.SOFT, False)),
    ],
)
def test_codes_are_told_apart(code: str | None, meaning: tuple[str, DeclineKind, bool]) -> None:
    assert classify(code, advice=None) == meaning


@pytest.mark.parametrize(
    ("code", "advice", "kind", "may_fail_over"),
    [
        ("generic_decline", "do_not_try_again", DeclineKind.HARD, False),
        ("generic_decline", "confirm_card_data", DeclineKind.FIX_DATA, False),
        ("generic_decline", "try_again_later", DeclineKind.SOFT, True),
        ("lost_card", "try_again_later", DeclineKind.SOFT, False),
        ("card_not_supported", "confirm_card_data", DeclineKind.FIX_DATA, True),
        ("never_heard_of", "do_not_try_again", DeclineKind.HARD, False),
        ("generic_decline", "sing_a_song", DeclineKind.SOFT, True),
        ("fraudulent", "try_again_later", DeclineKind.RISK, False),
        ("authentication_required", "confirm_card_data", DeclineKind.AUTHENTICATION, False),
    ],
)
def test_advice_overrides_the_kind(code: str, advice: str, kind: DeclineKind, may_fail_over: bool) -> None:
    assert classify(code, advice=advice)[1:] == (kind, may_fail_over)
