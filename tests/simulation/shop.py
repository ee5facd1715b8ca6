"""What partners and their customers do: orders of every kind at every PSP, with clients that repeat, race and give up.

Every answer is kept; what it says about money is held against the PSPs' own books as soon as it is there.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from providers.simulator.ledger import Movement
from tests.simulation.town import Json, Partner, Town

ORDERS = (12, 24)
REPEATS_MAX = 30

TOKENS: dict[str, dict[str, str]] = {
    "stripe": {
        "approved": "pm_card_visa",
        "declined": "pm_card_visa_chargeDeclinedInsufficientFunds",
        "challenged": "pm_card_threeDSecure2Required",
        "refund_pends": "pm_card_pendingRefund",
        "refund_fails": "pm_card_refundFail",
        "disputed": "pm_card_createDispute",
    },
    "adyen": {
        "approved": "ada/APPROVED",
        "declined": "ada/NOT_ENOUGH_BALANCE",
        "challenged": "ada/CHALLENGE",
        "capture_fails": "ada/CAPTURE_FAILED",
        "refund_fails": "ada/REFUND_FAILED",
    },
    "paypal": {
        "approved": "vault_card_visa",
        "declined": "vault_CCREJECT-IF",
        "challenged": "vault_3ds",
        "capture_pends": "vault_pendingCapture",
        "refund_pends": "vault_pendingRefund",
        "refund_fails": "vault_refundFail",
    },
}
FINAL = frozenset({"completed", "partially_refunded", "refunded", "failed", "cancelled"})


@dataclass(slots=True)
class History:
    """What clients were told."""

    answers: dict[tuple[str, str], list[tuple[int, bytes]]] = field(default_factory=dict)
    """By partner and key, what is lasting."""
    violations: list[str] = field(default_factory=list)

    def keep(self, partner: Partner, key: str, answer: httpx.Response) -> None:
        told = self.answers.setdefault((str(partner.id), key), [])
        if told and told[0] != (answer.status_code, answer.content):
            self.violations.append(f"key {key} got two answers: {told[0]} and {answer.status_code} {answer.text}")
        told.append((answer.status_code, answer.content))


@dataclass(slots=True)
class Client:
    """One partner's side of one order."""

    town: Town
    history: History
    partner: Partner
    chance: random.Random
    psp: str
    kind: str
    """Of the customer's card."""
    reference: str

    async def insist(self, path: str, body: Json, key: str) -> Json | None:
        """Repeat until there is a lasting answer or a refusal; None where patience ended before."""
        pause = 2.0
        for _ in range(REPEATS_MAX):
            if self.chance.random() < 0.1:
                self.town.begin(self._once(path, body, key))
            answer = await self._once(path, body, key)
            if answer is not None and answer.status_code not in {202, 409, 429, 500, 503}:
                return _read(answer)
            if answer is not None and answer.status_code == 409 and "in_progress" not in answer.text:
                return None
            if self.chance.random() < 0.05:
                return None
            await asyncio.sleep(pause * self.chance.uniform(0.8, 1.2))
            pause = min(pause * 2, 1_800.0)
        return None

    async def _once(self, path: str, body: Json, key: str) -> httpx.Response | None:
        patience = self.chance.choice((60.0, 60.0, 5.0))
        answer = await self.town.ask(self.town.request(self.partner, "POST", path, body, key=key), patience=patience)
        if answer is None:
            return None
        if answer.status_code in {200, 201}:
            self.history.keep(self.partner, key, answer)
        if not answer.is_success:
            self._believe_problem(path, answer)
        elif "idempotent-replayed" not in answer.headers:  # a replay says what was true when it was said first
            self.believe(answer.json())
        return answer

    async def look(self, transaction_id: str) -> Json | None:
        request = self.town.request(self.partner, "GET", f"/v1/transactions/{transaction_id}")
        answer = await self.town.ask(request)
        if answer is None or answer.status_code != 200:
            return None
        shown: Json = answer.json()
        self.believe(shown)
        return shown

    async def until(self, transaction_id: str, *statuses: str) -> Json | None:
        """Ask again and again, for some hours."""
        pause = 20.0
        for _ in range(REPEATS_MAX):
            shown = await self.look(transaction_id)
            if shown is not None and shown["status"] in statuses:
                return shown
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 1_800.0)
        return None

    def believe(self, shown: Json) -> None:
        """`no` and `failed` must be true now; what is true at the end, the verdict asks."""
        if shown["object"] != "transaction":
            return
        taken = self.taken()
        if shown["money_moved"] == "no" and taken:
            self._lied(f"{shown['id']} is {shown['status']}, money_moved no, but {taken} was taken")
        # A capture that was approved and fails days later moved by the PSP's word, though not in its books.
        if shown["money_moved"] == "yes" and not taken and self.kind not in {"capture_fails", "capture_pends"}:
            self._lied(f"{shown['id']} is {shown['status']}, money_moved yes, but nothing was taken")

    def _believe_problem(self, path: str, answer: httpx.Response) -> None:
        """What is refused did nothing; what could not be done now must not have been done before, under its key."""
        problem, taken = answer.json(), self.taken()
        takes = path.endswith(("/transactions", "/captures"))
        asked_again = problem["safe_to_retry"] or path.endswith("/transactions")
        if takes and asked_again and problem["money_moved"] == "no" and taken:
            self._lied(f"{problem['code']} says money_moved no, but {taken} was taken")

    def _lied(self, what: str) -> None:
        self.history.violations.append(f"{self.town.loop.time():.3f} {self.reference}: {what}")

    def taken(self) -> int:
        """What the PSP's books hold as captured under this order."""
        account = self.town.psps[self.psp].ledger.merchant.get(self.reference)
        return account.amounts[Movement.CAPTURE] if account else 0


def _read(answer: httpx.Response) -> Json | None:
    body: Json = answer.json()
    return body if answer.is_success else None


async def open_for_business(town: Town, history: History) -> None:
    """All orders of the run, in bursts with quiet spans between them; returns when the last has begun."""
    chance = random.Random(f"{town.seed}/shop")
    count, number = chance.randint(*ORDERS), 0
    while number < count:
        moments = sorted(chance.uniform(0, 120) for _ in range(min(chance.randint(1, 6), count - number)))
        began = town.loop.time()
        for moment in moments:
            await asyncio.sleep(max(0.0, began + moment - town.loop.time()))
            town.begin(order(town, history, number))
            number += 1
        await asyncio.sleep(chance.expovariate(1 / (town.weather.calm_at / count)))


async def order(town: Town, history: History, number: int) -> None:
    chance = random.Random(f"{town.seed}/order/{number}")
    psp = chance.choice(list(TOKENS))
    kinds = TOKENS[psp]
    kind = chance.choices(list(kinds), weights=[6 if name == "approved" else 1 for name in kinds])[0]
    client = Client(town, history, chance.choice(town.partners), chance, psp, kind, f"order-{number}")
    currency = chance.choice(("USD", "EUR", "JPY"))
    minor = chance.randint(100, 90_000)
    body: Json = {
        "amount": str(minor) if currency == "JPY" else f"{minor // 100}.{minor % 100:02}",
        "currency": currency,
        "payment_method": {"type": "card", "tokens": {psp: kinds[kind]}},
        "capture": chance.choice(("automatic", "automatic", "manual")),
        "reference": client.reference,
        "return_url": f"https://shop.example/back/{number}",
    }
    made = await client.insist("/v1/transactions", body, f"charge-{number:06}")
    if made is None:
        return
    shown: Json | None = made
    if made["status"] == "requires_action":
        shown = await _authenticate(client, made)
    elif made["status"] == "processing":
        shown = await client.until(made["id"], "authorized", *FINAL)
    if shown is not None and shown["status"] == "authorized":
        shown = await _decide(client, shown)
    # A capture that fails while its refund is under way is for a person to sort out, and no person lives here.
    if shown is not None and shown["status"] == "completed" and kind != "capture_fails":
        await _give_back(client, shown)


async def _authenticate(client: Client, shown: Json) -> Json | None:
    """The customer is at the PSP's page: approves, refuses, closes the window, or approves and never comes back."""
    action = client.chance.choices(("approve", "refuse", None), weights=(6, 2, 2))[0]
    await asyncio.sleep(client.chance.lognormvariate(3.5, 1.2))
    if action is not None:
        url = urlsplit(shown["next_action"]["url"])
        path = f"{url.path}?{url.query}" if url.query else url.path
        left = await client.town.at_psp(client.town.psps[client.psp], "POST", path, action=action)
        back = left.headers.get("location", "")
        if back.startswith(client.town.url) and client.chance.random() < 0.8:
            await client.town.ask(httpx.Request("GET", back))
    return await client.until(shown["id"], "authorized", *FINAL)


async def _decide(client: Client, shown: Json) -> Json | None:
    """Capture all or a part, cancel, both at once, or forget about it."""
    await asyncio.sleep(client.chance.lognormvariate(5.0, 2.0))
    path, number = f"/v1/transactions/{shown['id']}", client.reference
    capture = client.insist(f"{path}/captures", _part(client, shown["amount"]), f"capture-{number}")
    cancel = client.insist(f"{path}/cancel", {}, f"cancel-{number}")
    match client.chance.choices(("capture", "cancel", "both", None), weights=(5, 2, 1, 1))[0]:
        case "capture":
            cancel.close()
            await capture
        case "cancel":
            capture.close()
            await cancel
        case "both":
            await asyncio.gather(capture, cancel)
        case _:
            capture.close()
            cancel.close()
            return None
    return await client.until(shown["id"], *FINAL)


async def _give_back(client: Client, shown: Json) -> None:
    """Up to three refunds at once, together perhaps more than there is."""
    await asyncio.sleep(client.chance.lognormvariate(6.0, 2.0))
    path = f"/v1/transactions/{shown['id']}/refunds"
    bodies = [_part(client, shown["amount_captured"]) for _ in range(client.chance.choice((0, 0, 1, 2, 3)))]
    await asyncio.gather(
        *(client.insist(path, body, f"refund-{client.reference}-{place}") for place, body in enumerate(bodies))
    )
    await client.look(shown["id"])


def _part(client: Client, amount: str) -> Json:
    """Of an amount: all of it, without saying so, or any share."""
    if client.chance.random() < 0.4:
        return {}
    whole, _, cents = amount.partition(".")
    minor = client.chance.randint(1, int(whole + cents))
    return {"amount": f"{minor // 100}.{minor % 100:02}" if cents else str(minor)}
