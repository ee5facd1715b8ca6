"""What the clients of a soak want and what they are told: orders drawn from a seed, every answer to every try."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from random import Random
from typing import Any

Json = dict[str, Any]

CARDS: Mapping[str, tuple[str, str]] = {
    "stripe": ("pm_card_visa", "pm_card_visa_chargeDeclinedInsufficientFunds"),
    "paypal": ("vault_card_visa", "vault_CCREJECT-IF"),
    "adyen": ("soak/APPROVED", "soak/NOT_ENOUGH_BALANCE"),
}
"""At each PSP's simulator a token that is approved and one that is declined."""
PLACES: Mapping[str, int] = {"USD": 2, "EUR": 2, "JPY": 0}
"""Decimal places, in our books and at these PSPs alike."""
AGAIN = frozenset({202, 408, 429, 500, 502, 503, 504})
"""Repeat the request under the same key."""


class Operation(StrEnum):
    CHARGE = "charge"
    CAPTURE = "capture"
    CANCEL = "cancel"
    REFUND = "refund"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A follow-up; `share` of what there is to capture or refund."""

    operation: Operation
    share: Decimal = Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfortune:
    """A fault of the PSP's simulator that strikes one order."""

    kind: str
    operation: str
    times: int
    seconds: float


@dataclass(slots=True)
class Try:
    """One time a request was sent. `status` None: nothing usable came back, it may or may not have arrived."""

    began: float
    ended: float = math.inf
    """When it was answered; where it was not, it may be on its way for ever, until the drain knows better."""
    status: int | None = None
    body: bytes = b""

    @property
    def told(self) -> Json:
        answer: Json = json.loads(self.body)
        return answer

    @property
    def is_lasting(self) -> bool:
        """Whether a good client stops here: done or definitely refused."""
        if self.status is None or self.status in AGAIN:
            return False
        return self.is_success or self.told.get("code") != "idempotency_in_progress"

    @property
    def is_success(self) -> bool:
        return self.status in (200, 201)


@dataclass(slots=True, kw_only=True)
class Request:
    """One thing asked for, under one key, as often as it takes."""

    operation: Operation
    partner: int
    path: str
    body: Json
    key: str
    tries: list[Try] = field(default_factory=list)

    @property
    def answer(self) -> Try | None:
        """What the client goes by in the end."""
        lasting = [one for one in self.tries if one.is_lasting]
        return next((one for one in lasting if one.is_success), lasting[-1] if lasting else None)

    @property
    def is_settled(self) -> bool:
        """Done, or refused with no earlier try left that could still be on its way."""
        answer = self.answer
        if answer is None or answer.is_success:
            return answer is not None
        return all(one is answer or one.ended <= answer.began for one in self.tries)

    def calm(self, now: float) -> None:
        """Every process was at work for a while: what was sent before has had its effect."""
        for one in self.tries:
            one.ended = min(one.ended, now)


@dataclass(slots=True, kw_only=True)
class Order:
    """What one shopper buys, through all its requests."""

    reference: str
    partner: int
    provider: str
    token: str
    amount: Decimal
    currency: str
    manual: bool
    twice: bool
    """The charge is sent to both servers at once, as after a double click."""
    follow_ups: tuple[tuple[Step, ...], ...]
    """Groups, one after the other; what stands in one group is asked for at the same time."""
    misfortune: Misfortune | None
    requests: list[Request] = field(default_factory=list)

    @property
    def charge_body(self) -> Json:
        return {
            "amount": str(self.amount),
            "currency": self.currency,
            "payment_method": {"type": "card", "tokens": {self.provider: self.token}},
            "capture": "manual" if self.manual else "automatic",
            "reference": self.reference,
        }

    def share(self, of: Decimal, share: Decimal) -> Decimal:
        return max((of * share).quantize(Decimal(1).scaleb(-PLACES[self.currency])), self.smallest)

    @property
    def smallest(self) -> Decimal:
        return Decimal(1).scaleb(-PLACES[self.currency])


DECLINED = 0.1
MANUAL = 0.35
TWICE = 0.08
UNFORTUNATE = 0.25
OF_THE_PSP = (
    "lose_request",
    "throttle",
    "error_without_acting",
    "act_late",
    "error_after_acting",
    "act_then_lose_answer",
    "truncate",
    "answer_late",
    "slow_drip",
    "garbage",
    "wrong_amount",
    "wrong_currency",
)
OF_NOTIFICATIONS = ("webhook_duplicate", "webhook_late", "webhook_reorder", "webhook_drop")


def draw(seed: int, number: int, *, partners: int) -> Order:
    """The same for the same seed and number, whatever else happens."""
    chance = Random(f"{seed}/{number}")
    provider = chance.choices(list(CARDS), weights=[4, 3, 3])[0]
    currency = chance.choice(list(PLACES))
    manual = chance.random() < MANUAL
    follow_ups = _follow_ups(chance, manual=manual)
    return Order(
        reference=f"soak-{seed}-{number}",
        partner=chance.randrange(partners),
        provider=provider,
        token=CARDS[provider][chance.random() < DECLINED],
        amount=Decimal(chance.randint(5_000, 50_000)).scaleb(-PLACES[currency]),
        currency=currency,
        manual=manual,
        twice=chance.random() < TWICE,
        follow_ups=follow_ups,
        misfortune=_misfortune(chance, provider, follow_ups) if chance.random() < UNFORTUNATE else None,
    )


def _follow_ups(chance: Random, *, manual: bool) -> tuple[tuple[Step, ...], ...]:
    capture = Step(operation=Operation.CAPTURE, share=Decimal(chance.choice(["1", "1", "0.5"])))
    cancel = Step(operation=Operation.CANCEL)
    ends: list[tuple[tuple[Step, ...], ...]] = [((capture,),), ((cancel,),), ((capture, cancel),), ()]
    first = chance.choices(ends, weights=[60, 20, 15, 5])[0] if manual else ()
    # The last two ask for more than there is: some of them must be refused, whichever comes first.
    shares = chance.choice([(), (), ("0.3",), ("1",), ("0.3", "0.3", "0.3"), ("0.6", "0.6"), ("1", "0.5", "0.5")])
    refunds = tuple(Step(operation=Operation.REFUND, share=Decimal(share)) for share in shares)
    return (*first, refunds) if refunds else first


def _misfortune(chance: Random, provider: str, follow_ups: tuple[tuple[Step, ...], ...]) -> Misfortune:
    operations = [Operation.CHARGE, *(step.operation for group in follow_ups for step in group)]
    kind = chance.choice(OF_THE_PSP + OF_NOTIFICATIONS)
    if kind == "webhook_drop" and provider == "adyen":
        kind = "webhook_late"  # its notifications are the only word of a capture: it sends them again for days
    operation = "webhook" if kind in OF_NOTIFICATIONS else chance.choice(operations)
    # Rarely longer than anybody waits for a PSP.
    seconds = 28.0 if kind == "answer_late" and chance.random() < 0.1 else chance.uniform(0.2, 2.0)
    return Misfortune(kind=kind, operation=operation, times=chance.randint(1, 3), seconds=seconds)
