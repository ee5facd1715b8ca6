"""`paygate trigger`: an event of each type on purpose, through the API and PSPs' magic test values."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass

import click

from gateway import cli_client
from gateway.api.events import LATEST
from gateway.cli_client import Client, Json, api_key_option, base_url_option
from gateway.cli_terminal import json_option, waiting
from gateway.transactions import representation

WAIT_SECONDS = 30.0
"""PSPs tell of disputes and some refunds by notification."""
POLL_SECONDS = 1.0
TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A payment with a magic token, and what is asked of it after that: paths under it, and their bodies."""

    provider: str = "stripe"
    token: str
    capture: str = "automatic"
    then: Mapping[str, Json]

    @property
    def told(self) -> str:
        holds = ["", ", held"][self.capture == "manual"]
        return ", then ".join([f"charge {self.token} at {self.provider}{holds}", *self.then])


VISA = "pm_card_visa"


def _charge(token: str = VISA, **members: str) -> Cause:
    return Cause(token=token, then={}, **members)


def _refund(token: str = VISA, *, provider: str = "stripe", **body: str) -> Cause:
    return Cause(provider=provider, token=token, then={"refunds": {**body, "reason": "requested_by_customer"}})


CAUSES: Mapping[str, Cause] = {
    "transaction.created": _charge(),
    "transaction.processing": _charge("ada/PENDING", provider="adyen"),
    "transaction.requires_action": _charge("pm_card_threeDSecure2Required"),
    "transaction.authorized": _charge(capture="manual"),
    "transaction.completed": _charge(),
    "transaction.failed": _charge("pm_card_visa_chargeDeclined"),
    "transaction.cancelled": Cause(token=VISA, capture="manual", then={"cancel": {}}),
    "transaction.partially_refunded": _refund(amount="5.00"),
    "transaction.refunded": _refund(),
    "transaction.needs_review": _charge("ada/PARTIALLY_APPROVED", provider="adyen"),
    "refund.created": _refund(),
    "refund.completed": _refund(),
    "refund.failed": _refund("ada/REFUND_FAILED", provider="adyen"),
    "dispute.opened": _charge("pm_card_createDispute"),
    "dispute.won": _charge("ada/CHARGEBACK_REVERSED", provider="adyen"),
    "dispute.lost": _charge("ada/SECOND_CHARGEBACK", provider="adyen"),
}
PING = "ping"
IMPOSSIBLE: Mapping[str, str] = {
    "transaction.duplicate_compensated": "a PSP must take money for a payment that is over already",
    "endpoint.disabled": "an endpoint of yours must fail for a day, or answer 410",
    "endpoint.enabled": "an endpoint that was disabled for failing must answer again",
    "endpoint.manifest": "a day must be over",
}


@dataclass(slots=True)
class Trigger:
    api: Client
    event_type: str

    async def cause(self) -> Json:
        """What was done, and the events that came of it, the wanted one last."""
        begin = (await self.api.feed(LATEST))["next_cursor"]
        if self.event_type == PING:
            subject, did = await self._ping()
        else:
            subject, did = await self._pay(CAUSES[self.event_type])
        return {
            "object": "triggered",
            "type": self.event_type,
            "did": did,
            "events": [{"id": event["id"], "type": event["type"]} for event in await self._events(begin, subject)],
        }

    async def _pay(self, cause: Cause) -> tuple[str, list[str]]:
        path = "/v1/transactions"
        body = {
            "amount": "20.00",
            "currency": "EUR",
            "capture": cause.capture,
            "payment_method": {"type": "card", "tokens": {cause.provider: cause.token}},
            "reference": f"trigger {self.event_type}",
            "return_url": "https://shop.example/return",
        }
        made = await self.api.post(path, body)
        did = [f"POST {path} with {cause.token}: {made['id']} {made['status']}"]
        for name, asked in cause.then.items():
            answered = await self.api.post(f"{path}/{made['id']}/{name}", asked)
            did.append(f"POST {path}/{made['id']}/{name}: {answered['id']} {answered['status']}")
        return made["id"], did

    async def _ping(self) -> tuple[str, list[str]]:
        found = (await self.api.get("/v1/webhook-endpoints"))["data"]
        enabled = [endpoint for endpoint in found if endpoint["status"] == "enabled"]
        if not enabled:
            raise click.ClickException("a ping goes to a webhook endpoint, and there is none that is enabled")
        path = f"/v1/webhook-endpoints/{enabled[0]['id']}/ping"
        await self.api.post(path, {})
        return enabled[0]["id"], [f"POST {path}"]

    async def _events(self, cursor: str | None, subject: str) -> list[Json]:
        caused: list[Json] = []
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while True:
                    page = await self.api.feed(cursor)
                    for event in page["data"]:
                        caused += [event] if subject in _subjects(event["data"]) else []
                        if caused and caused[-1]["type"] == self.event_type:
                            return caused
                    cursor = page["next_cursor"]
                    if not page["has_more"]:
                        await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            heard = ", ".join(event["type"] for event in caused) or "nothing"
            raise click.ClickException(
                f"{subject} brought {heard} within {WAIT_SECONDS:.0f} s: does the PSP reach this gateway with its"
                " notifications, and does a worker run?"
            ) from None


def _subjects(data: Json) -> set[object]:
    return {data.get(name) for name in ("id", "transaction_id", "endpoint_id")}


def _known(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if value in IMPOSSIBLE:
        raise click.BadParameter(
            f"cannot be caused on purpose: {IMPOSSIBLE[value]}. What can: {', '.join(_possible())}"
        )
    if value not in representation.EVENT_TYPES:
        raise click.BadParameter(f"is no type of event. What can be caused: {', '.join(_possible())}")
    return value


def _possible() -> list[str]:
    return [*CAUSES, PING]


def _list(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's callback
    if not value or context.resilient_parsing:
        return
    for name, cause in CAUSES.items():
        click.echo(f"{name:<34}{cause.told}")
    click.echo(f"{PING:<34}ping the first enabled webhook endpoint")
    for name, why in IMPOSSIBLE.items():
        click.echo(f"{name:<34}not on purpose: {why}")
    context.exit()


@click.command()
@click.argument("event_type", callback=_known)
@base_url_option
@api_key_option
@click.option("--list", "listing", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="All types.")
@json_option
@waiting
async def trigger(*, event_type: str, base_url: str, api_key: str, as_json: bool) -> None:
    """Make an event happen in test mode, by doing what causes it, and show its id."""
    async with cli_client.opened(base_url, api_key, tries=TRIES) as api:
        told = await Trigger(api, event_type).cause()
    if as_json:
        click.echo(json.dumps(told))
        return
    for line in told["did"]:
        click.echo(line)
    for event in told["events"]:
        click.echo(f"{event['type']:<34}{event['id']}")
