"""The table of statuses."""

from __future__ import annotations

import pytest

from db.records import TransactionStatus
from gateway.transactions import states

RANK = ["pending", "processing", "requires_action", "authorized", "completed", "partially_refunded", "refunded"]


def test_every_status_has_its_row() -> None:
    assert set(states.TRANSITIONS) == set(TransactionStatus)


@pytest.mark.parametrize("status", TransactionStatus)
def test_nothing_leads_backwards(status: TransactionStatus) -> None:
    for to in states.TRANSITIONS[status]:
        if to in {"failed", "cancelled"} or (status, to) == ("requires_action", "processing"):
            continue
        assert RANK.index(to) > RANK.index(status)


@pytest.mark.parametrize("status", ["completed", "partially_refunded", "refunded"])
def test_money_that_was_taken_is_never_called_failed_or_cancelled(status: str) -> None:
    assert not states.TRANSITIONS[TransactionStatus(status)] & {TransactionStatus.FAILED, TransactionStatus.CANCELLED}


@pytest.mark.parametrize("current", TransactionStatus)
@pytest.mark.parametrize("to", TransactionStatus)
def test_the_ways_back_are_few_and_never_ways_forward(current: TransactionStatus, to: TransactionStatus) -> None:
    back = {
        ("completed", "failed"),
        ("partially_refunded", "completed"),
        ("refunded", "partially_refunded"),
        ("refunded", "completed"),
    }
    if current == to or (current, to) in back:
        assert states.go_back(current, to) is to
        assert to not in states.TRANSITIONS[current]
    else:
        with pytest.raises(states.InvalidState):
            states.go_back(current, to)


def test_an_impossible_step_names_where_the_transaction_stands() -> None:
    with pytest.raises(states.InvalidState) as caught:
        states.advance(TransactionStatus.REFUNDED, TransactionStatus.COMPLETED)
    assert caught.value.status is TransactionStatus.REFUNDED
    assert caught.value.message == str(caught.value) == "a refunded transaction cannot become completed"


def test_an_impossible_way_back_names_where_the_transaction_stands() -> None:
    with pytest.raises(states.InvalidState) as caught:
        states.go_back(TransactionStatus.FAILED, TransactionStatus.COMPLETED)
    assert caught.value.status is TransactionStatus.FAILED
    assert caught.value.message == "a failed transaction cannot go back to completed"
