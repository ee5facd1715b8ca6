"""The far end of every adapter: its simulator served over real HTTP, and how to say there what a test needs."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from providers import PROVIDERS, contract, http
from providers.contract import Approved, DeclineKind
from providers.simulator import adyen as adyen_simulator
from providers.simulator import paypal as paypal_simulator
from providers.simulator import stripe as stripe_simulator

DECLINES_BY_KIND = tuple(DeclineKind)
RECEIVED = "/received"


@dataclass(frozen=True, slots=True)
class Notice:
    """A notification as it arrives: header names in lower case, and the bytes."""

    headers: Mapping[str, str]
    body: bytes


def forged_anywhere(random: Random, notice: Notice, signed_headers: tuple[str, ...] = ()) -> Notice:
    """The notice with one change to its body or to one of the headers that sign it."""
    name = random.choice(("", *signed_headers))
    if not name:
        return replace(notice, body=_changed(random, notice.body))
    header = _changed(random, notice.headers[name].encode("latin-1")).decode("latin-1")
    return replace(notice, headers={**notice.headers, name: header})


def _changed(random: Random, genuine: bytes) -> bytes:
    """Bits flipped, or something cut out, cut off, put in or put at the end: never the same."""
    at = random.randrange(len(genuine))
    before, byte, after = genuine[:at], genuine[at], genuine[at + 1 :]
    changed = random.choice(
        (
            before + bytes([byte ^ random.randrange(1, 256)]) + after,
            before + after,
            before,
            before + bytes([byte, random.randrange(256)]) + after,
            genuine + bytes([byte]),
        )
    )
    return changed if changed != genuine else genuine[:-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class FarEnd:
    """One PSP's words: credentials, magic tokens, how its notifications are signed."""

    app: Starlette
    credentials: Mapping[str, object]
    wrong_credentials: Mapping[str, object]
    secrets: tuple[str, ...]
    approved: str
    needs_customer: str
    unheard_of: str
    refund_pends: str
    declines: Mapping[DeclineKind, tuple[str, str]]
    """Per kind: a token, and the code the decline must have with us."""
    key_header: str
    forge: Callable[[Random, Notice], Notice]
    """Changes something that the signature covers."""
    window_seconds: float | None
    """How far from now a notification's signed time may be; None where it has none."""
    rotating: Mapping[str, object] | None
    """Credentials with the secret in use as the second one; None where the PSP knows no such thing."""
    disputed: str | None
    """A token whose payment the payer contests at once."""
    reads: bool = True
    """Whether it can be asked what became of a request; else an answer tells, or a notification."""
    beyond: Mapping[str, str] = field(default_factory=lambda: {"amount": "0.01"})
    """What makes a charge that only this PSP cannot take."""
    uncapturable: str = "expired_authorization"
    """The code of a refused capture of a cancelled authorization."""
    signs_in_at: str | None = None
    """Where a client fetches its token: a call of the client's, about no payment, that is not recorded."""


def stripe_far_end() -> FarEnd:
    return FarEnd(
        app=stripe_simulator.create(api_key="sk_test_right", webhook_secret="whsec_quiet"),
        credentials={"api_key": "sk_test_right", "webhook_secrets": ["whsec_quiet"]},
        wrong_credentials={"api_key": "sk_test_wrong"},
        secrets=("sk_test_right", "sk_test_wrong", "whsec_quiet"),
        approved="pm_card_visa",
        needs_customer="pm_card_threeDSecure2Required",
        unheard_of="pm_card_unheardOf",
        refund_pends="pm_card_pendingRefund",
        declines={
            DeclineKind.SOFT: ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
            DeclineKind.HARD: ("pm_card_visa_chargeDeclinedStolenCard", "stolen_card"),
            DeclineKind.FIX_DATA: ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
            DeclineKind.AUTHENTICATION: ("pm_card_authenticationRequired", "authentication_required"),
            DeclineKind.RISK: ("pm_card_radarBlock", "suspected_fraud"),
        },
        key_header="Idempotency-Key",
        forge=partial(forged_anywhere, signed_headers=("stripe-signature",)),
        window_seconds=300,
        rotating={"api_key": "sk_test_right", "webhook_secrets": ["whsec_retired", "whsec_quiet"]},
        disputed="pm_card_createDispute",
    )


def adyen_far_end() -> FarEnd:
    right: dict[str, object] = {"api_key": "AQE_right", "merchant_account": "PaygateTest", "hmac_keys": ["ab" * 32]}
    right |= {"report_api_key": "AQE_reports"}
    return FarEnd(
        app=adyen_simulator.create(api_key="AQE_right", report_api_key="AQE_reports", hmac_key="ab" * 32),
        credentials=right,
        wrong_credentials=right
        | {"api_key": "AQE_wrong", "report_api_key": "AQE_wrong_reports", "hmac_keys": ["cd" * 32]},
        secrets=("AQE_right", "AQE_wrong", "AQE_reports", "AQE_wrong_reports", "ab" * 32, "cd" * 32),
        approved="shopper_1/APPROVED",
        needs_customer="shopper_1/CHALLENGE",
        unheard_of="shopper_1/UNHEARDOF",
        refund_pends="shopper_1/REFUND_WAITS",
        declines={
            DeclineKind.SOFT: ("shopper_1/NOT_ENOUGH_BALANCE", "insufficient_funds"),
            DeclineKind.HARD: ("shopper_1/RESTRICTED_CARD", "restricted_card"),
            DeclineKind.FIX_DATA: ("shopper_1/CARD_EXPIRED", "expired_card"),
            DeclineKind.AUTHENTICATION: ("shopper_1/CHALLENGE", "authentication_required"),
            DeclineKind.RISK: ("shopper_1/FRAUD", "risk_blocked"),
        },
        key_header="Idempotency-Key",
        forge=forged_adyen_item,
        window_seconds=None,
        rotating=right | {"hmac_keys": ["cd" * 32, "ab" * 32]},
        disputed="shopper_1/CHARGEBACK",
        reads=False,
        beyond={"token": "shopper_1/NOT_CONFIGURED"},
        uncapturable="capture_refused",
    )


def forged_adyen_item(random: Random, notice: Notice) -> Notice:
    """Adyen signs eight fields of an item and nothing else; `live` is compared with the account."""
    body = json.loads(notice.body)
    item = body["notificationItems"][0]["NotificationRequestItem"]
    holders = {
        "live": body,
        "hmacSignature": item["additionalData"],
        "value": item["amount"],
        "currency": item["amount"],
    }
    names = ("pspReference", "originalReference", "merchantAccountCode", "merchantReference", "eventCode", "success")
    name = random.choice((*names, *holders))
    holder = holders.get(name, item)
    genuine = holder.get(name, "")
    if isinstance(genuine, int):
        holder[name] = genuine + random.randrange(1, 1_000)
    else:
        holder[name] = _changed(random, genuine.encode()).decode("latin-1") if genuine else "X"
    return replace(notice, body=json.dumps(body).encode())


def paypal_far_end() -> FarEnd:
    right: dict[str, object] = {
        "client_id": "client_right",
        "client_secret": "secret_right",
        "webhook_id": paypal_simulator.WEBHOOK_ID,
        "webhook_age_seconds_max": 300,
    }
    return FarEnd(
        app=paypal_simulator.create(client=("client_right", "secret_right")),
        credentials=right,
        wrong_credentials=right | {"client_secret": "secret_wrong", "webhook_id": "ANOTHERWEBHOOK"},
        secrets=("secret_right", "secret_wrong", "A21AA"),
        approved="vault_card_visa",
        needs_customer="vault_3ds",
        unheard_of="vault_unheardOf",
        refund_pends="vault_pendingRefund",
        declines={
            DeclineKind.SOFT: ("vault_CCREJECT-IF", "insufficient_funds"),
            DeclineKind.HARD: ("vault_CCREJECT-LS", "lost_card"),
            DeclineKind.FIX_DATA: ("vault_CCREJECT-EC", "expired_card"),
            DeclineKind.AUTHENTICATION: ("vault_3ds", "authentication_required"),
            DeclineKind.RISK: ("vault_uncaptured_refuse-TRANSACTION_REFUSED", "risk_blocked"),
        },
        key_header="PayPal-Request-Id",
        forge=partial(
            forged_anywhere,
            signed_headers=("paypal-transmission-id", "paypal-transmission-time", "paypal-transmission-sig"),
        ),
        window_seconds=300,
        rotating=None,
        disputed="vault_dispute",
        beyond={"token": "vault_refuse-PAYEE_ACCOUNT_RESTRICTED"},
        signs_in_at="/v1/oauth2/token",
    )


FAR_ENDS: Mapping[str, Callable[[], FarEnd] | None] = {
    "adyen": adyen_far_end,
    "manual": None,
    "paypal": paypal_far_end,
    "stripe": stripe_far_end,
}
"""Every adapter's far end; None for one that speaks to nobody."""


WITH_FAR_END = sorted(name for name, made in FAR_ENDS.items() if made)


def far_end(name: str) -> FarEnd:
    made = FAR_ENDS[name]
    assert made is not None, f"{name} has no far end"
    return made()


class Recorder(http.AiohttpTransport):
    """The real transport; remembers what passed, but for how a client signs in."""

    def __init__(self, signs_in_at: str | None = None) -> None:
        super().__init__()
        self.requests: list[httpx.Request] = []
        self._signs_in_at = signs_in_at

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != self._signs_in_at:
            self.requests.append(request)
        return await super().handle_async_request(request)


@dataclass(slots=True)
class Line:
    """A served simulator, and adapters and an oracle that reach it."""

    name: str
    far_end: FarEnd
    base_url: str
    recorder: Recorder
    doorway: http.Doorway
    control: httpx.AsyncClient
    received: list[Notice]

    def adapter(
        self,
        *,
        doorway: http.Doorway | None = None,
        base_url: str | None = None,
        credentials: Mapping[str, object] | None = None,
    ) -> contract.Provider:
        return PROVIDERS[self.name].open(
            credentials or self.far_end.credentials,
            base_url=base_url or self.base_url,
            livemode=False,
            doorway=doorway or self.doorway,
        )

    async def order(self, kind: str, **fault: object) -> None:
        answer = await self.control.post("/_simulator/faults", json={"kind": kind} | fault)
        answer.raise_for_status()

    async def release(self) -> None:
        (await self.control.delete("/_simulator/faults")).raise_for_status()

    async def moved(self, reference: str, movement: str) -> tuple[int, int]:
        """Count and amount that really moved under our reference."""
        booked = await self._booked(reference)
        entry = booked.get(movement, {"count": 0, "amount": 0})
        return entry["count"], entry["amount"]

    async def calls(self, reference: str, operation: str) -> int:
        counted: int = (await self._booked(reference)).get("calls", {}).get(operation, 0)
        return counted

    async def sees_call(self, reference: str, operation: str) -> None:
        while await self.calls(reference, operation) == 0:
            pass  # each look is a round trip, so the sender gets its turns

    async def _booked(self, reference: str) -> dict[str, Any]:
        ledger = (await self.control.get("/_simulator/ledger")).json()
        booked: dict[str, Any] = ledger["gateway_references"].get(reference, {})
        return booked

    async def customer_decides(self, url: str, action: str) -> httpx.Response:
        return await self.control.post(url, data={"action": action})

    async def notices(self) -> list[Notice]:
        """Everything the PSP has posted, once it has nothing more to post."""
        await self.far_end.app.state.notifier.settled()
        return list(self.received)

    async def settled(self, adapter: contract.Provider, ask: contract.Ask, *, key: str) -> contract.Outcome:
        """Send, and wait for the notification where the answer is only that it was received."""
        prepared = adapter.prepare(ask)
        outcome = await adapter.send(prepared, key=key)
        if self.far_end.reads or not isinstance(outcome, contract.Pending):
            return outcome
        return await self._learned(prepared, outcome.provider_id)

    async def found(
        self, adapter: contract.Provider, prepared: contract.Prepared, *, provider_id: str | None = None
    ) -> contract.Outcome:
        """What can be learned of a request whose answer was lost: by a look-up, or from a notification."""
        if self.far_end.reads:
            return await adapter.look_up(prepared, provider_id=provider_id)
        return await self._learned(prepared, provider_id)

    async def _learned(self, prepared: contract.Prepared, provider_id: str | None) -> contract.Outcome:
        """A charge is told under its reference, the rest under its own id or else that of its payment."""
        for told in reversed(await self.told()):
            if not isinstance(told, contract.AttemptTold) or told.operation is not prepared.operation:
                continue
            if told.reference == prepared.reference or (told.provider_id == provider_id and provider_id):
                return told.outcome
            names_payment = told.reference is None and str(told.provider_transaction_id) in prepared.path
            if provider_id is None and names_payment and told.amount in (prepared.amount, None):
                return told.outcome
        return contract.Absent()

    async def told(self) -> list[contract.Told]:
        adapter, notices = self.adapter(), await self.notices()
        return [told for notice in notices for told in await read(adapter, notice)]


async def read(adapter: contract.Provider, notice: Notice) -> list[contract.Told]:
    items = await adapter.verify_webhook(notice.headers, notice.body, now=time.time())
    return [adapter.read_webhook(item.body) for item in items]


@dataclass(slots=True)
class Switchboard:
    """One served address for the whole session; each test plugs in a simulator, whose notifications come here too."""

    base_url: str = ""
    app: ASGIApp | None = None
    received: list[Notice] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        app = self._receive if scope["path"] == RECEIVED else self.app
        await app(scope, receive, send)

    async def _receive(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.received.append(Notice(dict(request.headers), await request.body()))
        await Response(status_code=200)(scope, receive, send)


@asynccontextmanager
async def line_to(name: str, switchboard: Switchboard) -> AsyncIterator[Line]:
    end = far_end(name)
    notifier = end.app.state.notifier
    switchboard.app, switchboard.received = end.app, []
    notifier.url = f"{switchboard.base_url}{RECEIVED}"
    recorder = Recorder(end.signs_in_at)
    async with (
        http.Doorway(transport=recorder) as doorway,
        httpx.AsyncClient(base_url=switchboard.base_url, trust_env=False) as control,
    ):
        line = Line(name, end, switchboard.base_url, recorder, doorway, control, switchboard.received)
        yield line
        await line.release()
        await notifier.aclose()


@asynccontextmanager
async def serve(app: ASGIApp) -> AsyncIterator[str]:
    """On a free loopback port, in the running loop."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, lifespan="off", log_level="critical", timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn tells it by this flag only
            await asyncio.sleep(0)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def a_charge(token: str, reference: str, *, amount: str = "10.99", **changed: Any) -> contract.Charge:
    fields: dict[str, Any] = {"currency": "EUR", "method": "card", "capture": True, "merchant_reference": "order-1"}
    return contract.Charge(reference=reference, token=token, amount=Decimal(amount), **fields | changed)


async def an_authorization(line: Line, reference: str = "at_1") -> str:
    adapter = line.adapter()
    prepared = adapter.prepare(a_charge(line.far_end.approved, reference, capture=False))
    outcome = await adapter.send(prepared, key=f"key-{reference}")
    assert isinstance(outcome, Approved)
    assert not outcome.captured
    return outcome.provider_id


async def a_sale(line: Line, token: str, reference: str = "at_1") -> str:
    adapter = line.adapter()
    outcome = await adapter.send(adapter.prepare(a_charge(token, reference)), key=f"key-{reference}")
    assert isinstance(outcome, Approved)
    assert outcome.captured
    return outcome.provider_id


def a_refund(payment: str, reference: str = "rf_1", amount: str = "10.99") -> contract.Refund:
    return contract.Refund(
        reference=reference, provider_transaction_id=payment, amount=Decimal(amount), currency="EUR", reason="other"
    )


def a_capture(payment: str, amount: str = "10.99") -> contract.Capture:
    return contract.Capture(reference="cp_1", provider_transaction_id=payment, amount=Decimal(amount), currency="EUR")


def a_cancel(payment: str) -> contract.Cancel:
    return contract.Cancel(reference="cn_1", provider_transaction_id=payment, amount=Decimal("10.99"), currency="EUR")
