"""The whole house with a proxy on each of its wires, and a client that insists."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import httpx

from tests.acceptance.steps import calls, leases_run_out, until
from tests.house import House, Json, Partner, new_key
from tests.proxy import Proxy, proxied_url

ONE_SALE: Json = {"charges": (1, 1999), "captures": (1, 1999)}
MOVED: dict[str, Json] = {
    "charge": ONE_SALE,
    "capture": ONE_SALE,
    "refund": ONE_SALE | {"refunds": (1, 1999)},
    "cancel": {"charges": (1, 1999), "voids": (1, 1999)},
}


@dataclass(frozen=True, slots=True)
class Wires:
    house: House
    front: Proxy
    """Between a partner and the API."""
    front_url: str
    database: Proxy
    """Between API or worker and PostgreSQL; `house.owner` looks past it."""
    psp: Proxy
    """Between the gateway and Stripe's simulator; `house.oracle` looks past it."""
    subscriber: Proxy
    """Between the worker and the partner's webhook endpoint."""

    def heal(self) -> None:
        for proxy in (self.front, self.database, self.psp, self.subscriber):
            proxy.clear()
            proxy.counts.clear()

    async def at_the_psp(self, operation: str, reference: str) -> None:
        """Until the PSP has been asked."""

        async def ask() -> int:
            return (await calls(self.house, reference)).get(operation, 0)

        await until(ask, bool)

    async def psp_goes_on(self) -> None:
        """Calls that a fault holds back are answered now; faults that were ordered are forgotten."""
        answer = await self.house.http.delete(f"{self.house.simulators['stripe']}/_simulator/faults")
        assert answer.status_code == 204


@asynccontextmanager
async def wired(database_url: str) -> AsyncIterator[Wires]:
    async with (
        proxied_url(database_url) as (database, url),
        House.opened(url) as house,
        proxied_url(house.base_url) as (front, front_url),
        proxied_url(house.simulators["stripe"]) as (psp, psp_url),
        proxied_url(house.receiver_url) as (subscriber, house.receiver_url),
    ):
        house.owner = await asyncpg.connect(database_url)
        await house.owner.execute(
            "UPDATE provider_accounts SET base_url = $1, priority = 1, version = version + 1 WHERE provider = 'stripe'",
            psp_url,
        )
        await house.silence()  # so that only answers, repeats and look-ups can tell what happened
        wires = Wires(house, front, front_url, database, psp, subscriber)
        try:
            yield wires
        finally:
            wires.heal()
            await house.owner.close()


class Order:
    """One operation on money under one key, to be asked for as often as it takes."""

    def __init__(self, wires: Wires, partner: Partner, operation: str, reference: str) -> None:
        self.wires, self.partner, self.operation, self.reference = wires, partner, operation, reference
        self.key, self.path = new_key(), "/v1/transactions"

    async def prepared(self) -> Order:
        """The transaction that the operation needs to be there."""
        if self.operation != "charge":
            capture = "automatic" if self.operation == "refund" else "manual"
            made = (await self.partner.charge(reference=self.reference, capture=capture)).json()
            ends = {"capture": "captures", "refund": "refunds", "cancel": "cancel"}
            self.path = f"/v1/transactions/{made['id']}/{ends[self.operation]}"
        return self

    async def ask(self) -> httpx.Response:
        if self.operation == "charge":
            return await self.partner.charge(key=self.key, reference=self.reference)
        return await self.partner.post(self.path, key=self.key)

    async def insist(self) -> httpx.Response:
        """As a client should: again under the same key, for as long as the answer says that this is safe."""

        async def again() -> httpx.Response:
            await leases_run_out(self.wires.house.owner)
            return await self.ask()

        return await until(again, lambda answer: answer.status_code in {200, 201})
