"""What lies between the processes and the PSPs: calls that get lost, act late or lose their answers, and notifications.

The PSPs are the simulators, called in this process: whatever arrives there is carried out, whoever still waits for it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
from starlette.applications import Starlette

from providers.simulator import adyen, paypal, stripe
from providers.simulator.faults import Fault, FaultKind
from providers.simulator.ledger import Ledger
from providers.simulator.notifier import Notification, Notifier
from tests.simulation.weather import HOUR, Fate

if TYPE_CHECKING:
    from tests.simulation.town import Town

PSPS: Mapping[str, Any] = {"adyen": adyen.create, "paypal": paypal.create, "stripe": stripe.create}
SILENCE_SECONDS = 600.0
"""Longer than any deadline of ours."""
ACTS_LATE_HOURS = 6.0
TOLD_AGAIN_SECONDS = (30.0, 120.0, 600.0, 1_800.0, 7_200.0, 14_400.0, 28_800.0)
"""A PSP posts a notification that was refused again, after these pauses."""

AFTERWARDS: Mapping[str, str] = {
    "refund.created": "refunds/{id}/settle",
    "PAYMENT.REFUND.PENDING": "refunds/{id}/settle",
    "PAYMENT.CAPTURE.REFUNDED": "refunds/{id}/settle",
    "PAYMENT.CAPTURE.PENDING": "captures/{id}/settle",
}
"""What time brings, by the notification that tells of its beginning: what pends is settled, what is to fail fails."""

ONLY_TOLD = frozenset({"CAPTURE_FAILED", "REFUND_FAILED"})
"""Never dropped: what Adyen takes back can be learned in no other way."""

_ORDERED = {
    Fate.THROTTLED: FaultKind.THROTTLE,
    Fate.FAILED: FaultKind.ERROR_WITHOUT_ACTING,
    Fate.FAILED_AFTER_ACTING: FaultKind.ERROR_AFTER_ACTING,
    Fate.GARBAGE: FaultKind.GARBAGE,
    Fate.WRONG_AMOUNT: FaultKind.WRONG_AMOUNT,
}


@dataclass(slots=True)
class Psp:
    name: str
    app: Starlette
    account_id: str = ""
    told: int = 0
    """Notifications already on their way."""
    transport: httpx.ASGITransport = field(init=False)

    def __post_init__(self) -> None:
        self.transport = httpx.ASGITransport(self.app)

    @property
    def url(self) -> str:
        return f"http://{self.name}.simulated"

    @property
    def notifier(self) -> Notifier:
        made: Notifier = self.app.state.notifier
        return made

    @property
    def ledger(self) -> Ledger:
        """The oracle: what money really moved."""
        books: Ledger = self.app.state.ledger
        return books


class Wire(httpx.AsyncBaseTransport):
    """A process's way to the PSPs."""

    def __init__(self, town: Town) -> None:
        self._town = town

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        town, psp = self._town, self._town.psps[request.url.host.partition(".")[0]]
        if town.over:
            raise httpx.ConnectError("the run is over")
        fate = town.weather.fate(psp.name, town.loop.time())
        town.note("call", psp.name, request.method, request.url.path, fate.value, request.content)
        chance = town.weather.chance
        there, back = chance.lognormvariate(-2.5, 0.8), chance.lognormvariate(-1.5, 0.8)
        await asyncio.sleep(there)
        match fate:
            case Fate.REFUSED:
                raise httpx.ConnectError("refused")
            case Fate.LOST:
                await _silence()
            case Fate.RESET:
                raise httpx.ReadError("reset")
            case Fate.ACTS_LATE:
                seconds = ACTS_LATE_HOURS * HOUR * 1e-4 ** chance.random()
                town.begin(arrive(town, psp, request, fate, seconds))
                await _silence()
            case Fate.ANSWER_LATE:
                back += chance.uniform(1, 60)
            case _:
                pass
        # In a task of the town's: who gives up waiting does not stop a PSP.
        answer = await asyncio.shield(town.task(arrive(town, psp, request, fate)))
        match fate:
            case Fate.ANSWER_LOST:
                await _silence()
            case Fate.ANSWER_RESET:
                raise httpx.ReadError("reset")
            case Fate.WRONG_AMOUNT:
                town.falsified.append(await answer.aread())
            case _:
                pass
        await asyncio.sleep(back)
        return answer


async def _silence() -> None:
    await asyncio.sleep(SILENCE_SECONDS)
    raise httpx.ReadTimeout("no answer")


async def arrive(town: Town, psp: Psp, request: httpx.Request, fate: Fate, seconds: float = 0.0) -> httpx.Response:
    """The request is at the PSP: in `seconds`, where it was held up."""
    await asyncio.sleep(seconds)
    fault = Fault(kind=_ORDERED[fate]) if fate in _ORDERED else None
    ordered = psp.notifier._faults.ordered
    if fault is not None:
        ordered.append(fault)
    answer = await psp.transport.handle_async_request(request)
    if fault in ordered:
        ordered.remove(fault)
    town.note("answer", psp.name, request.url.path, str(answer.status_code))
    spread(town, psp)
    return answer


def spread(town: Town, psp: Psp) -> None:
    """Send what the PSP has to tell since the last time on its way."""
    news = list(psp.notifier.remembered)[psp.told :]
    psp.told += len(news)
    chance, weather, stormy = town.weather.chance, town.weather, town.stormy
    for notification in news:
        if notification.event in AFTERWARDS:
            town.begin(settle(town, psp, notification, 4 * HOUR * 1e-3 ** chance.random()))
        if stormy and chance.random() < weather.drop and notification.event not in ONLY_TOLD:
            weather.counts["notification_dropped"] += 1
            continue
        delay = chance.lognormvariate(0.0, 1.0)
        if stormy and chance.random() < weather.delay:
            weather.counts["notification_delayed"] += 1
            delay += 3 * HOUR * 1e-3 ** chance.random()
        town.begin(tell(town, psp, notification, delay))
        if stormy and chance.random() < weather.repeat:
            weather.counts["notification_repeated"] += 1
            town.begin(tell(town, psp, notification, delay + chance.lognormvariate(1.0, 2.0)))


async def settle(town: Town, psp: Psp, notification: Notification, delay: float) -> None:
    told = json.loads(notification.body)
    subject = told["resource"] if "resource" in told else told["data"]["object"]
    await asyncio.sleep(delay)
    path = f"/_simulator/{AFTERWARDS[notification.event].format(id=subject['id'])}"
    await arrive(town, psp, httpx.Request("POST", f"{psp.url}{path}"), Fate.ARRIVES)


async def tell(town: Town, psp: Psp, notification: Notification, delay: float) -> None:
    for pause in (delay, *TOLD_AGAIN_SECONDS):
        await asyncio.sleep(pause)
        made = notification.headers
        headers = {"Content-Type": "application/json", **(made(town.loop.wall()) if callable(made) else made)}
        path = f"/webhooks/{psp.name}/{psp.account_id}"
        answer = await town.ask(httpx.Request("POST", f"{town.url}{path}", headers=headers, content=notification.body))
        town.note("told", psp.name, notification.event, str(answer and answer.status_code))
        if answer is not None and answer.is_success:
            return
