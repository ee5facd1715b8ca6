"""A partner's business with the gateway as a state machine: what can happen, in any order, to money in many hands.

Each rule is one event: a request, a notification, a fault, a crash, time. The worker's jobs are events too, so that
nothing happens between two steps. After each step our books, the model and the PSPs' own books must agree.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio import Runner
from collections import Counter
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from tests import invariants
from tests.acceptance.steps import refused
from tests.house import Json, new_key
from tests.stateful.model import ANSWERS, Ask, Payment, State
from tests.stateful.world import PATIENCE, PROVIDERS, World

T = TypeVar("T")

TOKENS = {
    ("stripe", "approved"): "pm_card_visa",
    ("stripe", "declined"): "pm_card_visa_chargeDeclined",
    ("stripe", "challenged"): "pm_card_threeDSecure2Required",
    ("adyen", "approved"): "ada/APPROVED",
    ("adyen", "declined"): "ada/NOT_ENOUGH_BALANCE",
    ("adyen", "challenged"): "ada/CHALLENGE",
    ("paypal", "approved"): "vault_card_visa",
    ("paypal", "declined"): "vault_CCREJECT-IF",
    ("paypal", "challenged"): "vault_3ds",
}
OPERATIONS = ("cancel", "capture", "charge", "look_up", "refund")
"""As the simulators call them."""
HELD = ("act_late", "answer_late")
PATHS = {"capture": "captures", "refund": "refunds", "cancel": "cancel"}
FAULTS = (
    "act_then_lose_answer",
    "error_after_acting",
    "error_without_acting",
    "garbage",
    "lose_request",
    "throttle",
    "truncate",
    "wrong_amount",
)
AMOUNT = Decimal("10.00")
SILENCE = timedelta(hours=4, minutes=48)
"""Nothing here is beyond the gateway, so no payment needs a person before its PSP was silent for this long: until the
one that forgets first may have forgotten our key.
"""

payments = Bundle[Payment]("payments")
asks = Bundle[tuple[Payment, Ask]]("asks")
providers = st.sampled_from(PROVIDERS)
tokens = st.sampled_from([*TOKENS, *[name for name in TOKENS if name[1] == "approved"] * 3])
amounts = st.sampled_from([None, "1.00", "4.00", "6.00", "11.00"])
apt = st.sampled_from([True, True, True, False])
"""Whether a payment is chosen that the request suits, if there is one; else it is likely refused."""
manners = st.sampled_from(["once"] * 7 + ["twice"] * 2 + [*HELD] * 3 + [*FAULTS])
"""How a request is sent: once, twice at once, with a crash before or after its PSP acts, or to one that misbehaves."""
first_verbs = st.sampled_from(["capture", "capture", "cancel"])
first_manners = st.sampled_from(["once"] * 4 + [*HELD] * 3 + [*FAULTS])


class Business(RuleBasedStateMachine):
    def __init__(self, runner: Runner, database: AbstractAsyncContextManager[str], seen: Counter[str]) -> None:
        super().__init__()
        self.runner, self.seen = runner, seen
        self.seen["lives"] += 1
        self.stack = AsyncExitStack()
        self.world: World = self._run(self.stack.enter_async_context(World.opened(database)))
        self.payments: dict[str, Payment] = {}
        """By the partner's own order number."""
        self.answers: dict[str, Json] = {}
        """What the step's answer said of a transaction: the lists must say the same."""

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self._run(self.world.drain())
                self.the_books_agree()
        finally:
            self._run(self.stack.aclose())

    # --- A partner's requests ---

    @initialize(target=payments, provider=providers, verb=first_verbs, manners=st.tuples(*[first_manners] * 3))
    def one_of_each(self, provider: str, verb: str, manners: tuple[str, str, str]) -> Any:
        """And what may follow each: rules alone would seldom come to it in a short life."""
        approved, challenged = (provider, "approved"), (provider, "challenged")
        sale, held = (self._charged(0, approved, manual=manual, manner="once") for manual in (False, True))
        self.the_books_agree()  # which shows the ids that what follows needs
        self._follow_up(held, verb, None, manners[0])
        self._follow_up(sale, "refund", "4.00", manners[1])
        return multiple(sale, held, self._charged(0, challenged, manual=False, manner=manners[2]))

    @rule(target=payments, owner=st.integers(0, 1), token=tokens, manual=st.booleans(), manner=manners)
    def charge(self, owner: int, token: tuple[str, str], *, manual: bool, manner: str) -> Payment:
        return self._charged(owner, token, manual=manual, manner=manner)

    @rule(target=asks, payment=payments, apt=apt, amount=amounts, manner=manners)
    def capture(self, payment: Payment, amount: str | None, manner: str, *, apt: bool) -> Any:
        return self._follow_up(self._rather(payment, "authorized", apt=apt), "capture", amount, manner)

    @rule(target=asks, payment=payments, apt=apt, manner=manners)
    def cancel(self, payment: Payment, manner: str, *, apt: bool) -> Any:
        return self._follow_up(self._rather(payment, "authorized", apt=apt), "cancel", None, manner)

    @rule(target=asks, payment=payments, apt=apt, amount=amounts, manner=manners)
    def refund(self, payment: Payment, amount: str | None, manner: str, *, apt: bool) -> Any:
        return self._follow_up(self._rather(payment, "completed", apt=apt), "refund", amount, manner)

    @rule(payment=payments, manner=manners)
    def repeat_charge(self, payment: Payment, manner: str) -> None:
        self._ask(payment, payment.asks[0], manner)

    @rule(asked=asks, manner=manners)
    def repeat_follow_up(self, asked: tuple[Payment, Ask], manner: str) -> None:
        self._ask(*asked, manner)

    @rule(payment=payments)
    def same_key_other_body(self, payment: Payment) -> None:
        for ask in [ask for ask in payment.asks if ask.claimed][-1:]:
            answer = self._run(self._send(payment, ask, amount="9.99"))
            refused(answer, 422, "invalid_request" if ask.verb == "cancel" else "idempotency_key_reused")
            self.seen["same key, other body: refused"] += 1

    @rule(payment=payments)
    def look(self, payment: Payment) -> None:
        if payment.id is not None:
            path = f"/v1/transactions/{payment.id}"
            self.answers[payment.id] = self._run(self.world.partners[payment.owner].get(path)).json()

    @rule(payment=payments, verb=st.sampled_from(sorted(PATHS)))
    def another_partner_tries(self, payment: Payment, verb: str) -> None:
        if payment.id is not None:
            stranger, path = self.world.partners[1 - payment.owner], f"/v1/transactions/{payment.id}"
            refused(self._run(stranger.get(path)), 404, "not_found")
            refused(self._run(stranger.post(f"{path}/{PATHS[verb]}")), 404, "not_found")

    @rule(owner=st.integers(0, 1))
    def key_is_revoked(self, owner: int) -> None:
        self._run(self.world.change_key(owner))

    # --- What customers and PSPs do ---

    @rule(payment=payments, action=st.sampled_from(["approve", "approve", "refuse"]), back=st.booleans())
    def customer_acts(self, payment: Payment, action: str, *, back: bool) -> None:
        payment = self._rather(payment, "requires_action", apt=True)
        if payment.next_action is not None:
            payment.asks.append(Ask(verb=action, open=True))
            self._run(self.world.act(payment.next_action, action, back=back))

    @rule(provider=providers, index=st.integers(0, 20), applied=st.booleans())
    def notification_arrives(self, provider: str, index: int, *, applied: bool) -> None:
        """Any that there was: in any order, again, or never."""
        self.seen["notification"] += self._run(self.world.notify(provider, index))
        if applied:
            self._run(self.world.apply_notifications())

    @rule(
        provider=providers,
        operation=st.sampled_from(OPERATIONS),
        kind=st.sampled_from([None, *FAULTS]),
        times=st.sampled_from([1, 3, 9]),
    )
    def provider_changes(self, provider: str, operation: str, kind: str | None, times: int) -> None:
        if kind is None:
            self._run(self.world.recover(provider))
        else:
            self._run(self.world.fail(provider, operation=operation, kind=kind, times=times))

    # --- What befalls the gateway ---

    @rule()
    def crash(self) -> None:
        self._run(self.world.house.crash())

    @rule(seconds=st.sampled_from([6, 40, 40, 600, 5 * 3600, 23 * 3600, 23 * 3600]))
    def time_passes(self, seconds: int) -> None:
        self._run(self.world.pass_time(timedelta(seconds=seconds)))
        if timedelta(seconds=seconds) > PATIENCE:
            for payment in self.payments.values():
                payment.asks.append(Ask(verb="rule out", open=True))  # no PSP keeps a key for ever

    @rule(provider=providers, operation=st.sampled_from(["capture", "charge", "refund"]), manner=manners)
    def worker_finds_out(self, provider: str, operation: str, manner: str) -> None:
        self._run(self.world.apply_notifications())
        finding_out = self.world.find_out()
        self._run(self.world.cut_short(provider, operation, manner, finding_out) if manner in HELD else finding_out)

    @rule()
    def worker_gives_up_on_customers(self) -> None:
        for payment in self.payments.values():
            payment.asks.append(Ask(verb="expire", open=True))
        self._run(self.world.give_up_on_customers())

    # --- What must hold after every step ---

    @invariant()
    def the_books_agree(self) -> None:
        world = self.world
        self.seen["steps"] += 1
        oracles = self._run(world.oracles({payment.provider for payment in self.payments.values()}))
        self._run(invariants.check(world.house.owner, oracles))
        for owner in {payment.owner for payment in self.payments.values()}:
            rows = self._run(world.list(owner, "/v1/transactions"))
            refunds = self._run(world.list(owner, "/v1/refunds"))
            for row in rows:
                mine = {refund["id"]: refund for refund in refunds if refund["transaction_id"] == row["id"]}
                self._shown(row, mine, oracles[row["provider"]]["merchant_references"].get(row["reference"]))
        self.answers.clear()
        assert '"level": "error"' not in world.log.getvalue(), world.log.getvalue()

    def _shown(self, row: Json, refunds: dict[str, Json], books: Json | None) -> None:
        self.seen[row["status"]] += 1
        if row["failure"] and row["failure"]["code"] == "provider_unavailable":
            assert (row["status"], row["money_moved"]) == ("failed", "no")  # a try that gave its key back
            return
        payment = self.payments[row["reference"]]
        assert self.answers.get(row["id"], row) == row
        was_unknown = payment.id is not None and payment.state.status == "processing"
        payment.shown(row, refunds)
        self.seen["unknown settled"] += was_unknown and row["status"] != "processing"
        self.seen["needs_review"] += row["needs_review"]
        assert not row["needs_review"] or self.world.clock.ahead >= SILENCE
        if books is not None:
            _moved(row, refunds, books)

    # --- Asking ---

    def _charged(self, owner: int, token: tuple[str, str], *, manual: bool, manner: str) -> Payment:
        payment = self._ordered(owner, token, manual=manual)
        self._ask(payment, payment.asks[0], manner)
        return payment

    def _ordered(self, owner: int, token: tuple[str, str], *, manual: bool) -> Payment:
        provider, verdict = token
        reference = f"order-{len(self.payments) + 1}"
        body = {
            "amount": str(AMOUNT),
            "currency": "USD",
            "payment_method": {"type": "card", "tokens": {provider: TOKENS[token]}},
            "capture": "manual" if manual else "automatic",
            "reference": reference,
            "return_url": "https://shop.example/return",
        }
        taken = State("authorized") if manual else State("completed", AMOUNT)
        payment = self.payments[reference] = Payment(
            owner=owner,
            provider=provider,
            amount=AMOUNT,
            taken=taken,
            verdict={"approved": taken, "declined": State("failed"), "challenged": State("requires_action")}[verdict],
            asks=[Ask(verb="charge", path="/v1/transactions", body=body, key=new_key())],
        )
        return payment

    def _rather(self, payment: Payment, status: str, *, apt: bool) -> Payment:
        """The next in line of that status, counted from the one drawn."""
        line = list(self.payments.values())
        at = line.index(payment)
        suitable = (one for one in line[at:] + line[:at] if one.state.status == status)
        return next(suitable, payment) if apt else payment

    def _follow_up(self, payment: Payment, verb: str, amount: str | None, manner: str) -> Any:
        if payment.id is None:
            return multiple()
        path = f"/v1/transactions/{payment.id}/{PATHS[verb]}"
        body = {} if amount is None else {"amount": amount}
        ask = Ask(verb=verb, path=path, body=body, key=new_key(), amount=Decimal(amount) if amount else None)
        payment.asks.append(ask)
        self._ask(payment, ask, manner)
        return payment, ask

    def _ask(self, payment: Payment, ask: Ask, manner: str) -> None:
        if manner in FAULTS:
            self._run(self.world.fail(payment.provider, operation=ask.verb, kind=manner, times=3))
        allowed = payment.may_answer(ask, disturbed=payment.provider in self.world.armed)
        ask.asked = ask.open = True
        if manner in HELD:
            sending = self._send(payment, ask)
            answer = self._run(self.world.cut_short(payment.provider, ask.verb, manner, sending))
            answers = [] if answer is None else [answer]
            self.seen[f"{ask.verb}: cut short"] += answer is None
        else:
            answers = self._run(self._send_at_once(payment, ask, 2 if manner == "twice" else 1))
        allowed |= {"idempotency_in_progress"} if manner == "twice" else set()
        for answer in answers:
            self._answered(payment, ask, answer, allowed)
        if manner == "twice":
            self.answers.clear()  # each was true when it was given

    async def _send(self, payment: Payment, ask: Ask, **other: str) -> httpx.Response:
        return await self.world.partners[payment.owner].post(ask.path, ask.body | other, key=ask.key)

    async def _send_at_once(self, payment: Payment, ask: Ask, copies: int) -> list[httpx.Response]:
        """In the order in which they were executed: what met the key held, what gave it back, what took it, replays."""
        answers = await asyncio.gather(*(self._send(payment, ask) for _ in range(copies)))
        return sorted(answers, key=_executed)

    def _answered(self, payment: Payment, ask: Ask, answer: httpx.Response, allowed: set[str]) -> None:
        body = json.loads(answer.content)
        said = ANSWERS.get(answer.status_code) or body["code"]
        self.seen[f"{ask.verb}: {said}"] += 1
        if ask.final is not None and said != "idempotency_in_progress":
            assert (answer.content, answer.headers["idempotent-replayed"]) == (ask.final, "true")
            return
        assert said in allowed, (said, allowed, payment, self.world.log.getvalue())
        ask.answered(said, answer.content, body)
        if said in {"done", "open"} and ask.verb != "refund" and "idempotent-replayed" not in answer.headers:
            self.answers[body["id"]] = body

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)


def _executed(answer: httpx.Response) -> tuple[bool, int, bool]:
    met_it_held = b"idempotency_in_progress" in answer.content
    return (not met_it_held, -answer.status_code, "idempotent-replayed" in answer.headers)


def _moved(row: Json, refunds: dict[str, Json], books: Json) -> None:
    """`money_moved` is true of the payment and of its refunds, by the PSP's books."""
    taken, given = books["captures"]["count"], books["refunds"]["count"]
    assert taken in {"no": {0}, "yes": {1}, "unknown": {0, 1}}[row["money_moved"]], (row, books)
    moved = Counter(refund["money_moved"] for refund in refunds.values())
    assert moved["yes"] <= given <= moved["yes"] + moved["unknown"], (row, refunds, books)
