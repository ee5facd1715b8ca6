"""Promise: a soak's verdict sees each way in which the four books can differ, and nothing else."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tests.soak import history, verdict
from tests.soak.history import Json, Misfortune, Operation, Order, Request, Try
from tests.soak.receiver import Receipt
from tests.soak.stage import Exit
from tests.soak.verdict import Attempt, Books, Facts, Row

SHOWN = {"status": "partially_refunded", "amount_captured": "100.00", "amount_refunded": "30.00"}
EVENT = hashlib.sha256(b"{}").digest()


def order() -> Order:
    """A sale of which a part was given back."""
    made = history.draw(1, 1, partners=1)
    made.provider, made.amount, made.currency, made.misfortune = "stripe", Decimal("100.00"), "USD", None
    sold = {"object": "transaction", "id": "txn_1", "reference": made.reference, "status": "completed"}
    back = {"object": "refund", "id": "rfd_1", "transaction_id": "txn_1", "status": "completed"}
    made.requests += [
        request(Operation.CHARGE, "charge-key", made.charge_body, 201, sold),
        request(Operation.REFUND, "refund-key", {"amount": "30.00"}, 201, back),
    ]
    return made


def request(operation: Operation, key: str, body: Json, status: int, told: Json) -> Request:
    answer = Try(began=0.0, ended=1.0, status=status, body=json.dumps(told).encode())
    return Request(operation=operation, partner=0, path="/", body=body, key=key, tries=[answer])


def facts() -> Facts:
    """Everything agrees."""
    sale, books = order(), Books(Decimal(100), Decimal(30))
    row = Row(
        id="txn_1",
        reference=sale.reference,
        key="charge-key",
        status="partially_refunded",
        needs_review=False,
        books=books,
        ledger=books,
        shown=SHOWN,
    )
    moves = {"charges": (1, 10000), "captures": (1, 10000), "refunds": (1, 3000), "voids": (0, 0)}
    account = {name: {"count": count, "amount": amount} for name, (count, amount) in moves.items()}
    return Facts(
        orders=[sale],
        rows=[row],
        refunds={"rfd_1": "completed"},
        attempts=[
            Attempt(
                id="att_1", transaction_id="txn_1", operation="charge", state="succeeded", key="charge-key", moved=1
            ),
            Attempt(
                id="att_2", transaction_id="txn_1", operation="refund", state="succeeded", key="refund-key", moved=1
            ),
        ],
        oracle={"stripe": {"merchant_references": {sale.reference: account}}},
        events={"evt_1": EVENT},
        receipts={"evt_1": Receipt(partner=0, digest=EVENT, times=2, taken=True)},
        exits=[Exit("serve-1", signal.SIGKILL, -9, True, "3-serve.log"), Exit("worker-1", signal.SIGTERM, 0, True, "")],
    )


def test_books_that_agree_are_left_alone() -> None:
    assert verdict.violations(facts()) == []


def account(found: Facts) -> Any:
    return found.oracle["stripe"]["merchant_references"][found.orders[0].reference]


def refund_moved_twice(found: Facts) -> Facts:
    account(found)["refunds"] = {"count": 2, "amount": 6000}
    return found


def charge_made_again(found: Facts) -> Facts:
    return replace(found, attempts=[*found.attempts, replace(found.attempts[0], id="att_3")])


def charge_never_made(found: Facts) -> Facts:
    found.oracle["stripe"]["merchant_references"].clear()
    return found


def row_lost(found: Facts) -> Facts:
    return replace(found, rows=[])


def refund_lost(found: Facts) -> Facts:
    return replace(found, refunds={})


def row_says_less(found: Facts) -> Facts:
    return replace(found, rows=[replace(found.rows[0], books=Books(Decimal(100), Decimal(0)))])


def ledger_says_less(found: Facts) -> Facts:
    return replace(found, rows=[replace(found.rows[0], ledger=Books(Decimal(0), Decimal(30)))])


def api_says_less(found: Facts) -> Facts:
    return replace(found, rows=[replace(found.rows[0], shown=SHOWN | {"amount_refunded": "0.00"})])


def api_shows_another_status(found: Facts) -> Facts:
    return replace(found, rows=[replace(found.rows[0], shown=SHOWN | {"status": "completed"})])


def other_answer_to_the_same_key(found: Facts) -> Facts:
    told = found.orders[0].requests[0].tries
    told.append(Try(began=2.0, ended=3.0, status=201, body=told[0].body + b" "))
    return found


def server_error(found: Facts) -> Facts:
    found.orders[0].requests[0].tries.insert(0, Try(began=-1.0, ended=-0.5, status=500, body=b"{}"))
    return found


def refused_though_it_moved(found: Facts) -> Facts:
    told = json.dumps({"code": "refund_exceeds_captured"}).encode()
    found.orders[0].requests[1].tries = [Try(began=0.0, ended=1.0, status=409, body=told)]
    return found


def refused_without_reason(found: Facts) -> Facts:
    told = json.dumps({"code": "no_eligible_provider"}).encode()
    found.orders[0].requests.append(
        Request(
            operation=Operation.CHARGE,
            partner=0,
            path="/",
            body={},
            key="another-key",
            tries=[Try(began=0.0, ended=1.0, status=422, body=told)],
        )
    )
    return found


def called_failed_though_it_moved(found: Facts) -> Facts:
    sale = found.orders[0].requests[0]
    sale.tries[0].body = json.dumps(sale.tries[0].told | {"status": "failed"}).encode()
    return found


def never_answered(found: Facts) -> Facts:
    found.orders[0].requests[1].tries[0].status = 202
    return found


def attempt_still_open(found: Facts) -> Facts:
    return replace(found, attempts=[found.attempts[0], replace(found.attempts[1], state="unknown")])


def person_called_for_nothing(found: Facts) -> Facts:
    return replace(found, rows=[replace(found.rows[0], needs_review=True)])


def event_never_delivered(found: Facts) -> Facts:
    return replace(found, receipts={})


def event_only_refused(found: Facts) -> Facts:
    found.receipts["evt_1"].taken = False
    return found


def event_with_another_body(found: Facts) -> Facts:
    return replace(found, events={"evt_1": b"another"})


def event_repeated_differently(found: Facts) -> Facts:
    found.receipts["evt_1"].differing = True
    return found


def event_of_nobody(found: Facts) -> Facts:
    return replace(found, events={})


def process_ended_by_itself(found: Facts) -> Facts:
    return replace(found, exits=[Exit("worker-1", None, 1, True, "5-worker.log")])


def process_stopped_in_disorder(found: Facts) -> Facts:
    return replace(found, exits=[Exit("worker-1", signal.SIGTERM, 1, True, "5-worker.log")])


@pytest.mark.parametrize(
    ("spoiled", "sentence"),
    [
        (
            refund_moved_twice,
            "the client was told 100.00 captured, 30.00 refunded, the PSP says 100.00 captured, 60.00",
        ),
        (charge_made_again, "money moved 2 times"),
        (charge_never_made, "the PSP says 0 captured"),
        (row_lost, "acknowledged transaction txn_1 is lost"),
        (refund_lost, "acknowledged refund rfd_1 is lost"),
        (row_says_less, "the database says 100 captured, 0 refunded"),
        (ledger_says_less, "the ledger says 0 captured, 30 refunded"),
        (api_says_less, "the API says 100.00 captured, 0.00 refunded"),
        (api_shows_another_status, "is shown as completed, stored as partially_refunded"),
        (other_answer_to_the_same_key, "answered in 2 ways"),
        (server_error, "answered 500"),
        (refused_though_it_moved, "refused as refund_exceeds_captured, but was sent"),
        (refused_without_reason, "refused: {'code': 'no_eligible_provider'}"),
        (called_failed_though_it_moved, "the client was told 0 captured"),
        (never_answered, "no final answer to refund under refund-key"),
        (attempt_still_open, "refund att_2 is still unknown"),
        (person_called_for_nothing, "a person is called, though the PSP can tell"),
        (event_never_delivered, "evt_1: never delivered"),
        (event_only_refused, "evt_1: never delivered"),
        (event_with_another_body, "evt_1: delivered with another body"),
        (event_repeated_differently, "evt_1: repeated with another body"),
        (event_of_nobody, "evt_1: delivered, but not in the database"),
        (process_ended_by_itself, "worker-1: ended by itself with status 1"),
        (process_stopped_in_disorder, "worker-1: ended with status 1 when told to stop"),
    ],
)
def test_what_does_not_agree_is_named(spoiled: Callable[[Facts], Facts], sentence: str) -> None:
    assert any(sentence in wrong for wrong in verdict.violations(spoiled(facts())))


def test_what_waits_for_a_person_may_be_open() -> None:
    found = never_answered(facts())
    found.orders[0].misfortune = Misfortune(kind="wrong_amount", operation="refund", times=1, seconds=0.0)
    assert verdict.violations(replace(found, rows=[replace(found.rows[0], needs_review=True)])) == []


def test_a_refusal_counts_only_once_no_earlier_try_can_still_arrive() -> None:
    refused = refused_though_it_moved(facts()).orders[0].requests[1]
    refused.tries.insert(0, Try(began=-1.0))
    assert not refused.is_settled
    refused.calm(now=2.0)
    refused.tries.append(replace(refused.tries[-1], began=3.0, ended=4.0))
    assert refused.is_settled


def test_the_same_seed_draws_the_same_orders() -> None:
    assert [history.draw(7, n, partners=4) for n in range(50)] == [history.draw(7, n, partners=4) for n in range(50)]
