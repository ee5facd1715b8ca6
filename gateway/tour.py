"""The demo's tour, as its partner would take it: over HTTP with a key, and a receiver that verifies every webhook."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO

import click
import httpx
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

WEBHOOK_SECONDS = 20.0
CALL_SECONDS = 30.0
Json = dict[str, Any]


class Screen:
    """Lines for a person: steps, and what belongs to them. Colour only on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._coloured = stream.isatty()
        self._began = time.perf_counter()

    def say(self, title: str, *facts: str) -> None:
        seconds = f"{time.perf_counter() - self._began:5.1f}s"
        self.text(f"{self._dim(seconds)}  {self._bold(title)}{''.join(f'  {fact}' for fact in facts)}")

    def detail(self, text: str) -> None:
        self.text(f"        {self._dim(text)}")

    def text(self, text: str = "") -> None:
        click.echo(text, file=self._stream)

    def _bold(self, text: str) -> str:
        return f"\033[1m{text}\033[0m" if self._coloured else text

    def _dim(self, text: str) -> str:
        return f"\033[2m{text}\033[0m" if self._coloured else text


class Receiver:
    """A partner's web server: a webhook endpoint that verifies with the published library, and a page to return to."""

    def __init__(self) -> None:
        self.app = Starlette(
            routes=[
                Route("/webhooks", self._receive, methods=["POST"]),
                Route("/thanks", self._thank, methods=["GET"]),
            ]
        )
        self._webhook: Webhook | None = None
        self._events: list[Json] = []
        self._came = asyncio.Condition()

    def trust(self, secret: str) -> None:
        self._webhook = Webhook(base64.b64decode(secret.removeprefix("whsec_")))

    async def told(self, screen: Screen, event_type: str, subject: str) -> None:
        """Wait for the event of this type about this object, its signature verified. Raises `TimeoutError`."""

        def wanted(event: Json) -> bool:
            return bool(event["type"] == event_type and event["data"]["id"] == subject)

        async with asyncio.timeout(WEBHOOK_SECONDS), self._came:
            await self._came.wait_for(lambda: any(map(wanted, self._events)))
        event = next(filter(wanted, self._events))
        screen.detail(f"webhook {event['id']}  {event_type}  signature verified")

    async def _thank(self, _request: Request) -> Response:
        return Response("Thank you.", media_type="text/plain")

    async def _receive(self, request: Request) -> Response:
        body = await request.body()
        if self._webhook is None:
            return Response(status_code=503)
        try:
            self._webhook.verify(body, dict(request.headers))
        except WebhookVerificationError:
            return Response(status_code=400)
        async with self._came:
            self._events = [*self._events[-999:], json.loads(body)]
            self._came.notify_all()
        return Response(status_code=204)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """The partner of the tour: its web server, and cards (provider → token) that the simulators know."""

    url: str
    receiver: Receiver
    cards: Mapping[str, str]
    declined_card: tuple[str, str]
    wallet: str | None
    """The PSP whose wallet customers are sent to."""


async def direct_notifications(base_url: str, simulators: Mapping[str, str], accounts: Mapping[str, str]) -> None:
    """Tell each simulated PSP where its account's notifications go."""
    async with httpx.AsyncClient(timeout=CALL_SECONDS, trust_env=False) as client:
        for name, url in simulators.items():
            address = f"{base_url}/webhooks/{name}/{accounts[name]}"
            (await client.post(f"{url}/_simulator/webhooks", json={"url": address})).raise_for_status()


async def register(base_url: str, api_key: str, url: str, endpoint_id: str) -> Json:
    """The endpoint with this id pointed at `url`, or a new one (whose answer holds the secret)."""
    async with _client(base_url, api_key) as client:
        if endpoint_id:
            answer = await client.patch(f"/v1/webhook-endpoints/{endpoint_id}", json={"url": url})
            if answer.is_success:
                found: Json = answer.json()
                return found
        return await _post(client, "/v1/webhook-endpoints", {"url": url, "description": "the demo's receiver"})


async def walk(base_url: str, api_key: str, shop: Shop, screen: Screen) -> Json:
    """A card at each PSP, a wallet by redirect, a decline, a refund, and the signed webhook of each.

    Returns the first charge's transaction.
    """
    async with _client(base_url, api_key) as client:
        charged = [await _pay_by_card(client, shop, screen, name, token) for name, token in shop.cards.items()]
        await _pay_by_wallet(client, shop, screen)
        await _be_declined(client, shop, screen)
        await _refund(client, shop, screen, charged[0])
        return charged[0]


async def _pay_by_card(client: httpx.AsyncClient, shop: Shop, screen: Screen, provider: str, token: str) -> Json:
    charged = await _charge(client, f"order-{provider}", {"type": "card", "tokens": {provider: token}})
    screen.say(f"Charged a card at {provider}", _line(charged))
    await shop.receiver.told(screen, "transaction.completed", charged["id"])
    await _show_timeline(client, screen, charged)
    return charged


async def _pay_by_wallet(client: httpx.AsyncClient, shop: Shop, screen: Screen) -> None:
    """The customer is sent to the PSP's page, approves there, and comes back through the gateway to the shop."""
    if shop.wallet is None:
        return
    asked = await _charge(
        client, "order-wallet", {"type": "e_wallet"}, provider=shop.wallet, return_url=f"{shop.url}/thanks"
    )
    screen.say(f"Sent a customer to {shop.wallet}", _line(asked))
    screen.detail(f"page {asked['next_action']['url']}")
    async with httpx.AsyncClient(timeout=CALL_SECONDS, trust_env=False, follow_redirects=True) as browser:
        shown = await browser.post(asked["next_action"]["url"], data={"action": "approve"})
    screen.detail(f"approved; back at {shown.url}")
    await shop.receiver.told(screen, "transaction.completed", asked["id"])
    await _show_timeline(client, screen, asked)


async def _be_declined(client: httpx.AsyncClient, shop: Shop, screen: Screen) -> None:
    provider, token = shop.declined_card
    declined = await _charge(client, "order-declined", {"type": "card", "tokens": {provider: token}})
    failure = declined["failure"]
    screen.say("A card was declined", _line(declined), f"{failure['decline_code']} → {failure['advice']}")
    await shop.receiver.told(screen, "transaction.failed", declined["id"])


async def _refund(client: httpx.AsyncClient, shop: Shop, screen: Screen, charged: Json) -> None:
    path = f"/v1/transactions/{charged['id']}/refunds"
    refund = await _post(client, path, {"amount": "5.00", "reason": "requested_by_customer"})
    screen.say("Refunded a part", f"{refund['id']}  {refund['amount']} {refund['currency']}  {refund['status']}")
    await shop.receiver.told(screen, "refund.completed", refund["id"])
    await shop.receiver.told(screen, "transaction.partially_refunded", charged["id"])


async def _show_timeline(client: httpx.AsyncClient, screen: Screen, transaction: Json) -> None:
    events = (await client.get(f"/v1/transactions/{transaction['id']}/events")).json()["data"]
    steps = (f"{event['sequence']} {event['type']} by {event['created_by'].partition(':')[0]}" for event in events)
    screen.detail("  →  ".join(steps))


def invite(
    screen: Screen,
    base_url: str,
    api_key: str,
    simulators: Mapping[str, str],
    charged: Json,
    console: tuple[str, str, str],
) -> None:
    """`console`: its address, user and password."""
    body = json.dumps(
        {
            "amount": "12.50",
            "currency": "EUR",
            "payment_method": {"type": "card", "tokens": {"stripe": "pm_card_mastercard"}},
        }
    )
    screen.text()
    screen.say("Ready", f"{base_url}/docs  describes the API")
    screen.say("Support console", "{}  sign in as {} with {}".format(*console))
    for name, url in simulators.items():
        screen.detail(
            f"simulated {name} at {url}: order misbehaviour at /_simulator/faults, see its books at /_simulator/ledger"
        )
    screen.text(f"""
Charge a card yourself:

  curl -s {base_url}/v1/transactions \\
    -H 'Authorization: Bearer {api_key}' \\
    -H "Idempotency-Key: $(date +%s)-$RANDOM" \\
    -H 'Content-Type: application/json' \\
    -d '{body}'

  and look at the first one:

  curl -s '{base_url}/v1/transactions/{charged["id"]}?expand=events,refunds,ledger,deliveries' \\
    -H 'Authorization: Bearer {api_key}'

`paygate listen --forward-to URL` posts the events to your own server, `paygate trigger TYPE` makes them happen.
Ctrl-C stops everything.""")


async def _charge(client: httpx.AsyncClient, reference: str, method: Json, **members: str) -> Json:
    body = {
        "amount": "19.99",
        "currency": "USD",
        "payment_method": method,
        "reference": reference,
        "customer": {"email": "ada@example.com", "name": "Ada"},
    }
    return await _post(client, "/v1/transactions", body | members)


async def _post(client: httpx.AsyncClient, path: str, body: Json) -> Json:
    answer = await client.post(path, json=body, headers={"Idempotency-Key": secrets.token_hex(16)})
    if not answer.is_success:
        raise RuntimeError(f"POST {path} was answered {answer.status_code}: {answer.text}")
    answered: Json = answer.json()
    return answered


def _line(transaction: Json) -> str:
    method = transaction["payment_method"]
    card = f"{method['brand']} ····{method['last4']}" if method["brand"] else method["type"]
    return f"{transaction['id']}  {transaction['amount']} {transaction['currency']}  {card}  {transaction['status']}"


def _client(base_url: str, api_key: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {api_key}"}
    return httpx.AsyncClient(base_url=base_url, headers=headers, timeout=CALL_SECONDS, trust_env=False)
