"""What a partner may believe of its payments: what each was asked to do, and so may be. Nothing of how it is done.

A payment stands as it was last shown. Every ask without a final answer may have had its effect since, or may have it
yet: what is shown next must be `reachable`, and narrows what may come after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from tests.house import Json

ZERO = Decimal(0)
OPEN = frozenset({"processing", "requires_action"})
ANSWERS = {200: "done", 201: "done", 202: "open", 503: "unavailable"}
"""What an answer says of the ask; of a problem its code does."""


class State(NamedTuple):
    """How a payment may stand; refunds are counted apart."""

    status: str
    captured: Decimal = ZERO


PROCESSING, FAILED, CANCELLED = State("processing"), State("failed"), State("cancelled")


@dataclass(eq=False, slots=True, kw_only=True)
class Ask:
    """Something a payment was asked to do, under a key where the partner asked. `amount` None: all there is."""

    verb: str
    path: str = ""
    body: Json = field(default_factory=dict, repr=False)
    key: str = ""
    amount: Decimal | None = None
    asked: bool = False
    """The gateway may hold the key for this; `claimed`: it does."""
    claimed: bool = False
    open: bool = False
    """It may still have its effect."""
    final: bytes | None = field(default=None, repr=False)
    """The answer that every repeat gets."""
    refund_id: str | None = None

    def answered(self, said: str, content: bytes, body: Json) -> None:
        match said:
            case "done" | "open":
                self.asked = self.claimed = self.open = True  # also where the one before it gave the key back
                self.final = content if said == "done" else None
                self.refund_id = body["id"] if self.verb == "refund" else None
            case "idempotency_in_progress":
                self.claimed = True
            case _:  # refused, or given back
                self.asked = self.claimed = self.claimed and said == "invalid_state"
                self.open = False


@dataclass(eq=False, slots=True, kw_only=True)
class Payment:
    """`verdict` is what its PSP will say of the charge, as the magic token tells: authorized, completed, failed, …"""

    owner: int
    provider: str
    amount: Decimal
    taken: State
    """Once it is approved: authorized or completed."""
    verdict: State
    asks: list[Ask]
    state: State = PROCESSING
    id: str | None = None
    next_action: str | None = None
    refunds: dict[str, Json] = field(default_factory=dict)
    needs_review: bool = False

    def refundable(self, state: State) -> Decimal:
        return state.captured - sum(Decimal(r["amount"]) for r in self.refunds.values() if r["status"] != "failed")

    def reachable(self) -> set[State]:
        found: set[State] = set()
        fresh = {self.state}
        while fresh:
            found |= fresh
            fresh = {after for state in fresh for ask in self.asks if ask.open for after in self._after(state, ask)}
            fresh -= found
        return found

    def _after(self, state: State, ask: Ask) -> set[State]:
        challenged = self.verdict.status == "requires_action"
        leads: dict[tuple[str, str], set[State]] = {
            ("charge", "processing"): {self.verdict},
            ("approve", "requires_action"): {PROCESSING, self.taken},
            ("approve", "processing"): {self.taken} if challenged else set(),
            ("refuse", "requires_action"): {FAILED},
            ("expire", "requires_action"): {FAILED},
            ("rule out", "processing"): {FAILED},
            ("cancel", "authorized"): {CANCELLED},
            ("cancel", "requires_action"): {CANCELLED},
            ("capture", "authorized"): {State("completed", ask.amount or self.amount)},
        }
        return leads.get((ask.verb, state.status), set())

    def may_answer(self, ask: Ask, *, disturbed: bool) -> set[str]:
        """What the answer to `ask` may say. `disturbed`: the PSP was told to misbehave."""
        repeated = {"done", "open", "idempotency_in_progress"} if ask.asked else set()
        if ask.claimed:
            return repeated | (set() if ask.verb == "charge" else {"invalid_state"})
        allowed = repeated.union(*(self._answers(ask, state) for state in self.reachable()))
        if "done" in allowed:
            allowed |= {"open", "unavailable"} if disturbed else {"open"} if self.provider == "adyen" else set()
        return allowed

    def _answers(self, ask: Ask, state: State) -> set[str]:
        others = any(other.open and other is not ask and other.verb in {"capture", "cancel"} for other in self.asks)
        acted = any(other.verb in {"approve", "refuse"} for other in self.asks)
        hindered = {"invalid_state"} if others else set()
        exceeds = ask.amount is not None and ask.amount > self.amount
        suits: dict[tuple[str, str], set[str]] = {
            ("charge", "processing"): {"done"},
            ("capture", "authorized"): hindered | ({"capture_exceeds_authorized"} if exceeds else {"done"}),
            ("cancel", "authorized"): hindered | {"done"},
            ("cancel", "requires_action"): hindered | {"done"} | ({"invalid_state"} if acted else set()),
            ("refund", "completed"): self._refund_answers(ask, state),
        }
        return suits.get((ask.verb, state.status), {"invalid_state"})

    def _refund_answers(self, ask: Ask, state: State) -> set[str]:
        refundable = self.refundable(state)
        if state.captured and refundable == ZERO:
            # All of it is refunded, or may be: what is pending is asked about first.
            return {"invalid_state"} | ({"refund_exceeds_captured"} if self._pending() else set())
        amount = refundable if ask.amount is None else ask.amount
        return {"done"} if ZERO < amount <= refundable else {"refund_exceeds_captured"}

    def _pending(self) -> Decimal:
        rows = self.refunds.values()
        return sum((Decimal(row["amount"]) for row in rows if row["status"] not in {"completed", "failed"}), ZERO)

    def shown(self, row: Json, refunds: dict[str, Json]) -> None:
        """Compare what the API shows with what may be, and believe it."""
        given = sum((Decimal(one["amount"]) for one in refunds.values() if one["status"] == "completed"), ZERO)
        state = State("completed" if "refunded" in row["status"] else row["status"], Decimal(row["amount_captured"]))
        assert state in self.reachable(), (state, self)
        assert self.id in {None, row["id"]}, "a second payment for one request"
        assert Decimal(row["amount_refunded"]) == given <= state.captured, row
        if state.status == "completed":
            expected = "refunded" if given == state.captured else "partially_refunded" if given else "completed"
            assert row["status"] == expected, row
        self.id, self.state, self.needs_review = row["id"], state, row["needs_review"]
        self.next_action = row["next_action"] and row["next_action"]["url"]
        for ask in self.asks:
            ask.open &= state.status in OPEN if ask.verb == "charge" else ask.final is None
        for refund_id, refund in refunds.items():
            self._refund_shown(refund_id, refund)
        assert refunds.keys() >= self.refunds.keys(), "a refund was forgotten"
        self.refunds = refunds
        assert Decimal(row["amount_refundable"]) == self.refundable(self.state), row

    def _refund_shown(self, refund_id: str, refund: Json) -> None:
        before = self.refunds.get(refund_id, refund)["status"]
        assert before in {"pending", "processing", refund["status"]}, "an outcome was taken back"
        mine = [ask for ask in self.asks if ask.verb == "refund" and ask.refund_id == refund_id]
        unnamed = (a for a in self.asks if a.verb == "refund" and a.open and a.refund_id is None)
        ask = mine[0] if mine else next(a for a in unnamed if a.amount in {None, Decimal(refund["amount"])})
        ask.refund_id, ask.claimed = refund_id, True
        ask.open = refund["status"] not in {"completed", "failed"}
