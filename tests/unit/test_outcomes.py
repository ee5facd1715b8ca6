"""What history keeps of an outcome: its kind, its reasons and the trace, and nothing that is not there."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.transactions import outcomes
from providers.contract import (
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
)

TRACE = Trace(http_status=402, provider_request_id="req_1", provider_status="failed", message="No.")
TRACED = {"http_status": 402, "provider_request_id": "req_1", "provider_status": "failed", "message": "No."}


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Approved(provider_id="p_1", card=Card(brand="visa")), {"outcome": "approved", "provider_id": "p_1"}),
        (
            Declined(code="c", kind=DeclineKind.RISK, may_fail_over=True, provider_code="43", message="m", trace=TRACE),
            {"outcome": "declined", "code": "c", "kind": "risk", "provider_code": "43"} | TRACED,
        ),
        (ActionRequired(provider_id="p_1", url="u"), {"outcome": "requires_action", "provider_id": "p_1"}),
        (Pending(provider_id="p_1", trace=TRACE), {"outcome": "pending", "provider_id": "p_1"} | TRACED),
        (
            NotSent(reason=NotSentReason.THROTTLED, retry_after_seconds=7),
            {"outcome": "not_sent", "reason": "throttled", "retry_after_seconds": 7},
        ),
        (Rejected(provider_code="bad", message="m"), {"outcome": "rejected", "provider_code": "bad"}),
        (Unknown(reason="no_answer"), {"outcome": "unknown", "reason": "no_answer"}),
        (Absent(trace=Trace(provider_code="404")), {"outcome": "absent", "provider_code": "404"}),
    ],
    ids=lambda value: value.get("outcome") if isinstance(value, dict) else type(value).__name__,
)
def test_an_outcome_is_told_by_what_it_says(outcome: Outcome, told: dict[str, Any]) -> None:
    assert outcomes.told(outcome) == told


def test_the_code_of_the_exchange_wins_over_that_of_the_outcome() -> None:
    outcome = Rejected(provider_code="ours", message="m", trace=Trace(provider_code="as the PSP wrote it"))
    assert outcomes.told(outcome)["provider_code"] == "as the PSP wrote it"
