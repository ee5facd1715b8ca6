"""Every way in which a request for money can end, as one table, and a request that can be made to end so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from db import failpoints
from db.database import Unavailable
from gateway.api import body as request_body
from gateway.app import create_app
from gateway.transactions import journal
from providers import http
from tests.acceptance.steps import leases_run_out, until
from tests.house import House, Json, Partner, new_key

OPERATIONS = ("charge", "authorize", "capture", "cancel", "refund")
CALLS = {"authorize": "charge"}
"""What the PSP calls an operation, where it has another name for it."""
MOVEMENTS = {
    "charge": "captures",
    "authorize": "charges",
    "capture": "captures",
    "cancel": "voids",
    "refund": "refunds",
}
"""What the PSP's books hold after it."""
MONEY = frozenset({"charge", "capture", "refund"})
"""Where that is money; the others hold it or let it go."""
AGAIN_AFTER = frozenset({"idempotency_in_progress", "rate_limited", "temporarily_unavailable"})
NO_DATABASE = "no database for the outcome"
NOT_OF_MONEY = {"method_not_allowed"}
"""No method but POST moves money."""
PATIENCE_SECONDS = 0.01
"""Of a server that waits for a body."""
CARD = "4242424242424242"


@dataclass(slots=True, kw_only=True)
class Request:
    """One request for money, to be sent as often as one likes."""

    house: House
    partner: Partner
    operation: str
    reference: str
    path: str
    body: Json
    key: str
    before: int = 0
    """How often the PSP had done such a thing for the order already."""

    @classmethod
    async def made(cls, house: House, operation: str) -> Request:
        """With what must have happened before."""
        partner = await house.partner(rate_limit=30)
        reference, key = f"{operation} {new_key()}", new_key()
        mode = "automatic" if operation in {"charge", "refund"} else "manual"
        sale = {
            "amount": "10.00",
            "currency": "USD",
            "payment_method": {"type": "card", "tokens": {"stripe": "pm_card_visa"}},
            "capture": mode,
            "reference": reference,
        }
        path, body = "/v1/transactions", sale
        if operation not in {"charge", "authorize"}:
            transaction = (await partner.post(path, sale)).json()
            path = f"{path}/{transaction['id']}/{operation if operation == 'cancel' else f'{operation}s'}"
            body = {} if operation == "cancel" else {"amount": "4.00"}
        return cls(
            house=house, partner=partner, operation=operation, reference=reference, path=path, body=body, key=key
        )

    async def send(self, headers: Json | None = None, **otherwise: Any) -> httpx.Response:
        """`otherwise`: than it should be."""
        given: Json = {"Idempotency-Key": self.key, "Content-Type": "application/json"} | (headers or {})
        kept = {name: value for name, value in given.items() if value is not None}
        sent = {"method": "POST", "url": self.path, "content": json.dumps(self.body)} | otherwise
        return await self.partner.client.request(**sent, headers=kept)

    async def insist(self, **otherwise: Any) -> httpx.Response:
        """Again and again while the answer asks for it."""

        async def ask() -> httpx.Response:
            await leases_run_out(self.house.owner)
            return await self.send(**otherwise)

        return await until(ask, lambda answer: answer.status_code != 202 and not again_is_safe(answer))

    async def books(self) -> Json:
        account: Json = (await self.house.oracle())["merchant_references"].get(self.reference, {"calls": {}})
        return account

    async def done(self) -> int:
        """How often the PSP did it."""
        count: int = (await self.books()).get(MOVEMENTS[self.operation], {"count": 0})["count"]
        return count - self.before

    async def moved(self) -> int:
        return await self.done() if self.operation in MONEY else 0

    async def transaction(self) -> Json:
        """As a list shows it: without asking the PSP."""
        (shown,) = (await self.partner.get("/v1/transactions", reference=self.reference)).json()["data"]
        found: Json = shown
        return found

    async def asked(self) -> int:
        """How often the PSP was called about this order, whatever for."""
        return sum((await self.books())["calls"].values())

    async def is_open(self) -> bool:
        attempts = "SELECT FROM attempts a JOIN transactions t ON t.id = a.transaction_id AND a.finished_at IS NULL"
        found = f"SELECT EXISTS ({attempts} WHERE t.reference = $1)"
        return bool(await self.house.owner.fetchval(found, self.reference))


def again_is_safe(answer: httpx.Response) -> bool:
    return bool(answer.json().get("safe_to_retry"))


Trouble = Callable[[Request], AbstractAsyncContextManager[Json]]
"""While it lasts the request ends in a certain way. Gives what of the request is otherwise than it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """`says`: the error's code, or the answer's status. `done`: how often the PSP has done it when all is over."""

    says: str | int
    trouble: Trouble
    name: str = ""
    operations: tuple[str, ...] = OPERATIONS
    done: int = 1
    same: bool = False
    """The request itself is as it should be, so it may repeat one that was carried out."""

    @property
    def may_be_sent(self) -> bool:
        """The request gets as far as the PSP: something is left to be found out."""
        return isinstance(self.says, int) or self.says in {"idempotency_in_progress", "internal_error"}

    def __str__(self) -> str:
        return self.name or str(self.says)


# --- What can be wrong with a request, with who sends it, with the PSP and with us ---


def sent(**otherwise: Any) -> Trouble:
    @asynccontextmanager
    async def trouble(_request: Request) -> AsyncIterator[Json]:
        yield otherwise

    return trouble


def with_body(**members: Any) -> Trouble:
    @asynccontextmanager
    async def trouble(request: Request) -> AsyncIterator[Json]:
        yield {"content": json.dumps(request.body | members)}

    return trouble


def psp(kind: str, *, times: int = 2, operation: str | None = None) -> Trouble:
    """It misbehaves at the operation asked for, unless another is named."""

    @asynccontextmanager
    async def trouble(request: Request) -> AsyncIterator[Json]:
        struck = operation or CALLS.get(request.operation, request.operation)
        await request.house.fault(kind, operation=struck, reference=request.reference, times=times)
        yield {}
        await request.house.calm()

    return trouble


class Strike:
    """A failpoint's plan: raises where a name ends like this, from the first time `since` was passed."""

    def __init__(self, at: str, error: Exception, since: str | None = None) -> None:
        self._at, self._error, self._since = at, error, since

    async def reached(self, name: str) -> None:
        if self._since is not None and name.endswith(self._since):
            self._since = None
        if self._since is None and name.endswith(self._at):
            raise self._error


def struck(at: str, error: Exception, since: str | None = None) -> Trouble:
    @asynccontextmanager
    async def trouble(_request: Request) -> AsyncIterator[Json]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(journal, "RETRY_SECONDS", ())
            patch.setattr(failpoints, "_everywhere", Strike(at, error, since))
            yield {}

    return trouble


@asynccontextmanager
async def without_the_scope(request: Request) -> AsyncIterator[Json]:
    poor = await request.house.key_of(request.partner.id, scopes=("transactions:read",))
    yield {"headers": {"Authorization": f"Bearer {poor.api_key}"}}


@asynccontextmanager
async def inactive(request: Request) -> AsyncIterator[Json]:
    activate = "UPDATE partners SET is_active = $2 WHERE id = $1"
    for active in (False, True):
        await request.house.owner.execute(activate, request.partner.id, active)
        request.house.app = create_app(request.house.runtime)  # a process that has not read the key yet
        if not active:
            yield {}


@asynccontextmanager
async def too_often(request: Request) -> AsyncIterator[Json]:
    async def call() -> int:
        return (await request.partner.get("/v1/balance")).status_code

    await until(call, lambda status: status == 429)
    yield {}
    request.house.app = create_app(request.house.runtime)  # a minute later: the window is empty


@asynccontextmanager
async def slowly(_request: Request) -> AsyncIterator[Json]:
    async def half() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(10 * PATIENCE_SECONDS)  # one loop, two timers: the server's is the earlier

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request_body, "BODY_SECONDS", PATIENCE_SECONDS)
        yield {"content": half()}


@asynccontextmanager
async def key_of_another_request(request: Request) -> AsyncIterator[Json]:
    taken = new_key()
    await request.partner.charge(key=taken, reference="another")
    yield {"headers": {"Idempotency-Key": taken}}


@asynccontextmanager
async def while_the_first_is_at_work(request: Request) -> AsyncIterator[Json]:
    operation = CALLS.get(request.operation, request.operation)
    before = await request.asked()
    await request.house.fault("answer_late", operation=operation, reference=request.reference, seconds=60)
    first = asyncio.create_task(request.send())
    await until(request.asked, lambda count: count > before)
    yield {}
    await request.house.calm()
    assert (await first).status_code in {200, 201}


@asynccontextmanager
async def after_it_was_done(request: Request) -> AsyncIterator[Json]:
    """Under another key: all that there is is captured, cancelled or given back."""
    verb = request.path.rpartition("/")[2]
    whole = {} if verb == "cancel" else {"amount": "10.00"}
    assert (await request.partner.post(request.path, whole)).status_code in {200, 201}
    request.before = await request.done()
    yield {}


def to_card(token: str, **members: Any) -> Trouble:
    return with_body(payment_method={"type": "card", "tokens": {"stripe": token}}, **members)


@asynccontextmanager
async def expired_at_the_psp(request: Request) -> AsyncIterator[Json]:
    payment_id = (await request.transaction())["provider_transaction_id"]
    url = f"{request.house.simulators['stripe']}/_simulator/payments/{payment_id}/expire"
    assert (await request.house.http.post(url)).status_code == 200
    yield {}


@asynccontextmanager
async def given_back_at_the_psp(request: Request) -> AsyncIterator[Json]:
    """By the merchant, in the PSP's own dashboard."""
    given = {"payment_intent": (await request.transaction())["provider_transaction_id"]}
    merchant, url = {"Authorization": "Bearer sk_test_simulated"}, f"{request.house.simulators['stripe']}/v1/refunds"
    assert (await request.house.http.post(url, data=given, headers=merchant)).status_code == 200
    request.before = await request.done()
    yield {}


WRONG = {"Authorization": "Bearer nonsense"}
ENDINGS = (
    # The request is not one
    Ending(says="malformed_json", trouble=sent(content=b"{")),
    Ending(says="unsupported_media_type", trouble=sent(headers={"Content-Type": "text/plain"}, content=b"amount=1")),
    Ending(says="payload_too_large", trouble=sent(content=b" " * 70_000)),
    Ending(says="idempotency_key_missing", trouble=sent(headers={"Idempotency-Key": None})),
    Ending(says="idempotency_key_invalid", trouble=sent(headers={"Idempotency-Key": "short"})),
    Ending(says="key_in_url", trouble=sent(params={"key": "sk_test_12345678"})),
    Ending(says="invalid_host", trouble=sent(headers={"Host": "other.example"})),
    Ending(says="invalid_request", trouble=with_body(surprise=1)),
    Ending(says="card_data_refused", trouble=with_body(note=CARD)),
    Ending(
        says="not_found",
        trouble=sent(url="/v1/transactions/txn_00000000000000000000000000/cancel", content=b"{}"),
        operations=("capture", "cancel", "refund"),
    ),
    # It may not be made, or not now
    Ending(says="unauthenticated", trouble=sent(headers=WRONG), same=True),
    Ending(says="insufficient_scope", trouble=without_the_scope, same=True),
    Ending(says="partner_inactive", trouble=inactive, same=True),
    Ending(says="rate_limited", trouble=too_often, same=True),
    Ending(says="request_timeout", trouble=slowly),
    Ending(says="idempotency_key_reused", trouble=key_of_another_request),
    Ending(says="idempotency_in_progress", trouble=while_the_first_is_at_work),
    # It cannot be carried out
    Ending(says="currency_not_supported", trouble=with_body(currency="XXX"), operations=("charge", "authorize")),
    Ending(
        says="no_eligible_provider",
        trouble=with_body(payment_method={"type": "card", "tokens": {"manual": "x"}}),
        operations=("charge", "authorize"),
    ),
    Ending(says="invalid_state", trouble=after_it_was_done, operations=("capture", "cancel", "refund"), done=0),
    Ending(says="capture_exceeds_authorized", trouble=with_body(amount="10.01"), operations=("capture",)),
    Ending(says="refund_exceeds_captured", trouble=with_body(amount="10.01"), operations=("refund",)),
    # The PSP
    Ending(says=201, name="success", trouble=sent(), operations=("charge", "authorize", "refund"), same=True),
    Ending(says=200, name="success", trouble=sent(), operations=("capture", "cancel"), same=True),
    Ending(
        says=201,
        name="declined",
        trouble=to_card("pm_card_visa_chargeDeclined"),
        operations=("charge", "authorize"),
        done=0,
    ),
    Ending(says=201, name="declined", trouble=given_back_at_the_psp, operations=("refund",), done=0),
    Ending(
        says=201,
        name="the customer must act",
        trouble=to_card("pm_card_threeDSecure2Required", return_url="https://shop.example/"),
        operations=("charge", "authorize"),
        done=0,
    ),
    Ending(says=200, name="expired", trouble=expired_at_the_psp, operations=("capture",), done=0),
    Ending(says=503, name="throttled", trouble=psp("throttle"), operations=OPERATIONS[:4], same=True),
    Ending(says=202, name="throttled", trouble=psp("throttle"), operations=("refund",), same=True),
    *(
        Ending(says=202, name=name, trouble=psp(kind), same=True)
        for name, kind in (
            ("silent before it acted", "lose_request"),
            ("silent after it acted", "act_then_lose_answer"),
            ("half an answer", "truncate"),
            ("garbage", "garbage"),
            ("failed after it acted", "error_after_acting"),
            ("failed before it acted", "error_without_acting"),
        )
    ),
    Ending(
        says=202,
        name="wrong amount",
        trouble=psp("wrong_amount"),
        operations=("charge", "authorize", "capture", "refund"),
        same=True,
    ),
    Ending(
        says=503,
        name="unreachable",
        trouble=struck("psp.sending", http.Unreachable("refused")),
        operations=OPERATIONS[:4],
        same=True,
    ),
    Ending(
        says=202,
        name="unreachable",
        trouble=struck("psp.sending", http.Unreachable("refused")),
        operations=("refund",),
        same=True,
    ),
    # We
    Ending(says="temporarily_unavailable", trouble=struck("acquiring", Unavailable("away")), same=True),
    Ending(
        says=202,
        name=NO_DATABASE,
        trouble=struck("acquiring", Unavailable("away"), since="psp.answered"),
    ),
    Ending(says="internal_error", trouble=struck("journal_write.sending", RuntimeError("ours"))),
    Ending(says="internal_error", name="a mistake after it was sent", trouble=struck("psp.answered", RuntimeError())),
)
