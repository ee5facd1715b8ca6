"""The four-way equality at the end of a soak: what clients were told = rows = ledger = what moved at the simulators.

Everything here is pure: facts in, sentences about what is wrong out. There may be none.
"""

from __future__ import annotations

import signal
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from tests.soak.history import PLACES, Json, Operation, Order, Request
from tests.soak.receiver import Receipt
from tests.soak.stage import Exit

MAY_BE_REFUSED: Mapping[Operation, frozenset[str]] = {
    Operation.CHARGE: frozenset(),
    Operation.CAPTURE: frozenset({"invalid_state"}),
    Operation.CANCEL: frozenset({"invalid_state"}),
    Operation.REFUND: frozenset({"invalid_state", "refund_exceeds_captured"}),
}
"""What the orders provoke: a capture beside a cancel, refunds of more than there is."""
NEVER_TOLD = frozenset({"wrong_amount", "wrong_currency"})
"""Misfortunes after which a person must look: a PSP that says something else than what was asked for."""
OPEN = frozenset({"created", "sending", "waiting", "unknown", "resolving"})


@dataclass(frozen=True, slots=True)
class Books:
    """What one of the four knows of an order's money."""

    captured: Decimal = Decimal(0)
    refunded: Decimal = Decimal(0)

    def __str__(self) -> str:
        return f"{self.captured} captured, {self.refunded} refunded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A transaction in the database, with its ledger's sums; `shown` is what the API's list told of it."""

    id: str
    reference: str
    key: str | None
    status: str
    needs_review: bool
    books: Books
    ledger: Books
    shown: Json | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """`moved`: how often money moved at the PSP under the attempt's own reference."""

    id: str
    transaction_id: str
    operation: str
    state: str
    key: str | None
    moved: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that is compared."""

    orders: Sequence[Order]
    rows: Sequence[Row]
    refunds: Mapping[str, str]
    """Status by id."""
    attempts: Sequence[Attempt]
    oracle: Mapping[str, Json]
    """The simulators' books by provider."""
    events: Mapping[str, bytes]
    """Digest of the body by id, of every event that was published to an endpoint."""
    receipts: Mapping[str, Receipt]
    exits: Sequence[Exit] = ()
    transaction_ids: set[str] = field(default_factory=set, init=False)
    rows_by_reference: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list), init=False)
    attempts_by_key: dict[str, list[Attempt]] = field(default_factory=lambda: defaultdict(list), init=False)

    def __post_init__(self) -> None:
        self.transaction_ids.update(row.id for row in self.rows)
        for row in self.rows:
            self.rows_by_reference[row.reference].append(row)
        for attempt in self.attempts:
            if attempt.key is not None:
                self.attempts_by_key[attempt.key].append(attempt)


def violations(facts: Facts) -> list[str]:
    """Each begins with the order's reference, the event's or the process's name."""
    return [
        *(f"{order.reference}: {wrong}" for order in facts.orders for wrong in _of_order(facts, order)),
        *(f"{row.reference}: {wrong}" for row in facts.rows for wrong in _of_row(row)),
        *_open_ends(facts),
        *_of_events(facts),
        *_of_exits(facts.exits),
    ]


def _of_order(facts: Facts, order: Order) -> Iterator[str]:
    for request in order.requests:
        for wrong in _of_request(facts, request):
            yield f"{request.operation} under {request.key}: {wrong}"
    yield from _unequal(facts, order)
    yield from _needlessly_reviewed(facts, order)


def _of_request(facts: Facts, request: Request) -> Iterator[str]:
    answers = {one.body for one in request.tries if one.is_success}
    if len(answers) > 1:
        yield f"answered in {len(answers)} ways: {sorted(answers)}"
    for told in (one.told for one in request.tries if one.is_success or one.status == 202):
        if told["object"] == "refund" and told["id"] not in facts.refunds:
            yield f"acknowledged refund {told['id']} is lost"
        if told["object"] == "transaction" and told["id"] not in facts.transaction_ids:
            yield f"acknowledged transaction {told['id']} is lost"
    yield from (f"answered 500: {one.body.decode()}" for one in request.tries if one.status == 500)
    attempts = facts.attempts_by_key.get(request.key, [])
    if (times := sum(attempt.moved for attempt in attempts)) > 1:
        yield f"money moved {times} times"
    if (answer := request.answer) is not None and not answer.is_success:
        if answer.told["code"] not in MAY_BE_REFUSED[request.operation]:
            yield f"refused: {answer.told}"
        if request.is_settled and (times or any(attempt.state in OPEN for attempt in attempts)):
            yield f"refused as {answer.told['code']}, but was sent"


def _needlessly_reviewed(facts: Facts, order: Order) -> Iterator[str]:
    """A person is for what no PSP will ever tell: it must not hide what we have lost."""
    strikes = order.misfortune
    # Adyen keeps its 500 under the key, has no call to read a refund, and its notification does not name ours.
    never_told = strikes and (
        strikes.kind in NEVER_TOLD or (order.provider == "adyen" and strikes.kind == "error_after_acting")
    )
    if not never_told and any(row.needs_review for row in facts.rows_by_reference.get(order.reference, [])):
        yield "a person is called, though the PSP can tell"


def _unequal(facts: Facts, order: Order) -> Iterator[str]:
    rows = facts.rows_by_reference.get(order.reference, [])
    if not order.requests:
        return
    unsettled = [request for request in order.requests if not request.is_settled]
    if unsettled:
        if not any(row.needs_review for row in rows):
            yield f"no final answer to {', '.join(f'{one.operation} under {one.key}' for one in unsettled)}"
        return
    told = told_books(order)
    moved = oracle_books(facts.oracle, order)
    for name, books in (
        ("the database", _sum(row.books for row in rows)),
        ("the ledger", _sum(row.ledger for row in rows)),
        ("the API", _sum(_shown(row) for row in rows)),
        ("the PSP", moved),
    ):
        if books != told:
            yield f"the client was told {told}, {name} says {books}"
    yield from _not_as_it_ended(facts, order, rows)


def told_books(order: Order) -> Books:
    """What the answers say, in the amounts that were asked for."""
    captured = refunded = Decimal(0)
    for request in order.requests:
        answer = request.answer
        if answer is None or not answer.is_success:
            continue
        status = answer.told["status"]
        match request.operation:
            case Operation.CHARGE if status == "completed":
                captured += order.amount
            case Operation.CAPTURE:
                captured += Decimal(request.body["amount"])
            case Operation.REFUND if status == "completed":
                refunded += Decimal(request.body["amount"])
            case _:
                pass
    return Books(captured, refunded)


def oracle_books(oracle: Mapping[str, Json], order: Order) -> Books:
    """What moved at the PSP under the order's own number, whatever the gateway calls it."""
    account = oracle[order.provider]["merchant_references"].get(order.reference)
    if account is None:
        return Books()
    places = PLACES[order.currency]
    captured, refunded = (Decimal(account[name]["amount"]).scaleb(-places) for name in ("captures", "refunds"))
    return Books(captured, refunded)


def _not_as_it_ended(facts: Facts, order: Order, rows: list[Row]) -> Iterator[str]:
    """What is failed or cancelled holds nothing at the PSP; what was cancelled was not captured."""
    account = facts.oracle[order.provider]["merchant_references"].get(order.reference)
    held = account["charges"]["count"] - account["voids"]["count"] if account else 0
    statuses = {row.status for row in rows}
    if statuses <= {"failed", "cancelled"} and held > 0:
        yield f"{held} charges are held at the PSP, though it is {statuses}"
    if not statuses <= {"failed", "cancelled"} and held < 1:
        yield f"nothing is held at the PSP, though it is {statuses}"
    done = {one.operation for one in order.requests if one.answer is not None and one.answer.is_success}
    if {Operation.CAPTURE, Operation.CANCEL} <= done:
        yield "captured and cancelled"


def _of_row(row: Row) -> Iterator[str]:
    if row.shown is None:
        yield f"{row.id} is not shown by the API"
    elif row.shown["status"] != row.status:
        yield f"{row.id} is shown as {row.shown['status']}, stored as {row.status}"
    if row.status in ("failed", "cancelled") and row.books != Books():
        yield f"{row.id} is {row.status}, with {row.books}"


def _open_ends(facts: Facts) -> Iterator[str]:
    reviewed = {row.id for row in facts.rows if row.needs_review}
    for attempt in facts.attempts:
        if attempt.state in OPEN and attempt.transaction_id not in reviewed:
            yield f"{attempt.transaction_id}: {attempt.operation} {attempt.id} is still {attempt.state}"


def _of_events(facts: Facts) -> Iterator[str]:
    for event_id, digest in facts.events.items():
        receipt = facts.receipts.get(event_id)
        if receipt is None or not receipt.taken:
            yield f"{event_id}: never delivered"
        elif receipt.digest != digest:
            yield f"{event_id}: delivered with another body than the stored one"
    for event_id, receipt in facts.receipts.items():
        if receipt.differing:
            yield f"{event_id}: repeated with another body, or to another partner"
        if event_id not in facts.events:
            yield f"{event_id}: delivered, but not in the database"


def _of_exits(exits: Iterable[Exit]) -> Iterator[str]:
    for one in exits:
        if one.asked is None and one.had_begun:
            yield f"{one.name}: ended by itself with status {one.status}, see {one.log}"
        if one.asked is signal.SIGTERM and one.status != 0:
            yield f"{one.name}: ended with status {one.status} when told to stop, see {one.log}"


def _shown(row: Row) -> Books:
    if row.shown is None:
        return Books()
    return Books(Decimal(row.shown["amount_captured"]), Decimal(row.shown["amount_refunded"]))


def _sum(books: Iterable[Books]) -> Books:
    every = list(books)
    return Books(sum((one.captured for one in every), Decimal(0)), sum((one.refunded for one in every), Decimal(0)))
