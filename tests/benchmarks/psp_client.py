"""What one call to a PSP costs in CPU, client by client. Prints figures, asserts nothing.

    python -m tests.benchmarks.psp_client [calls]

A stub in another process answers every request with one Stripe payment over loopback; `IN_FLIGHT` calls run at a time,
on uvloop as in production. Only this process's CPU counts. Read the ratios.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from multiprocessing.connection import Connection
from typing import cast

import aiohttp
import httpx
import httpx_aiohttp
import uvloop

from providers import contract, http, stripe

IN_FLIGHT = 16
CALLS = 4_000
HEADERS = {"Authorization": "Bearer sk_test_x", "Content-Type": "application/x-www-form-urlencoded"}
FORM = "amount=1099&currency=eur&confirm=true&payment_method=pm_card_visa&metadata[gateway_reference]=at_1"
PAYMENT = {
    "id": "pi_1",
    "object": "payment_intent",
    "amount": 1099,
    "amount_received": 1099,
    "currency": "eur",
    "status": "succeeded",
    "metadata": {"gateway_reference": "at_1"},
    "latest_charge": {"id": "ch_1", "payment_method_details": {"card": {"brand": "visa", "last4": "4242"}}},
    # About as long as a real one.
    **{f"field_{number}": None for number in range(60)},
}

Call = Callable[[], Awaitable[object]]


class _Stub(asyncio.Protocol):
    """Answers each complete request on a kept-alive connection; as little HTTP as a client needs."""

    body = json.dumps(PAYMENT).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nRequest-Id: req_1\r\nContent-Length: %d\r\n\r\n" % (
        len(body)
    )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._received = cast(asyncio.Transport, transport), b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length")
                ),
                0,
            )
            if len(rest) < length:
                return
            self._received = rest[length:]
            self._transport.write(self.answer + self.body)


def _serve(tell: Connection) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(_Stub, "127.0.0.1", 0)
        tell.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


async def _measure(name: str, call: Call, calls: int) -> None:
    async def one_after_another() -> None:
        for _ in range(calls // IN_FLIGHT):
            await call()

    for _ in range(2 * IN_FLIGHT):
        await call()
    best_cpu, best_wall = float("inf"), float("inf")
    for _ in range(3):
        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.gather(*(one_after_another() for _ in range(IN_FLIGHT)))
        best_cpu = min(best_cpu, (time.process_time() - cpu) / calls)
        best_wall = min(best_wall, (time.perf_counter() - wall) / calls)
    print(f"{name:<52} {best_cpu * 1e6:7.0f} µs CPU  {best_wall * 1e6:7.0f} µs wall")


async def _compare(base_url: str, calls: int) -> None:
    url = f"{base_url}/v1/payment_intents"

    def request() -> httpx.Request:
        return httpx.Request("POST", url, headers=HEADERS, content=FORM)

    async def through_aiohttp() -> None:
        async with session.post(url, headers=HEADERS, data=FORM, skip_auto_headers={"User-Agent"}) as answer:
            await answer.read()

    async with (
        httpx.AsyncClient() as plain,
        httpx.AsyncClient(transport=httpx_aiohttp.AiohttpTransport()) as bridged,
        aiohttp.ClientSession() as session,
        http.Doorway(transport=httpx.AsyncHTTPTransport()) as httpcore_doorway,
        http.Doorway() as doorway,
    ):
        adapter = stripe.Stripe.open({"api_key": "sk_test_x"}, base_url=base_url, livemode=False, doorway=doorway)
        prepared = adapter.prepare(_charge())
        assert isinstance(await adapter.send(prepared, key="k"), contract.Approved)
        for name, call in (
            ("httpx.AsyncClient", lambda: plain.post(url, headers=HEADERS, content=FORM)),
            ("httpx.AsyncClient over httpx-aiohttp", lambda: bridged.post(url, headers=HEADERS, content=FORM)),
            ("aiohttp alone", through_aiohttp),
            ("Doorway over httpx's transport", lambda: httpcore_doorway.send(request())),
            ("Doorway", lambda: doorway.send(request())),
            ("Stripe.send (SDK, reader) through the Doorway", lambda: adapter.send(prepared, key="k")),
        ):
            await _measure(name, call, calls)
        await _measure_building(adapter, calls)


async def _measure_building(adapter: stripe.Stripe, calls: int) -> None:
    async def prepare() -> None:
        adapter.prepare(_charge())

    await _measure("Stripe.prepare", prepare, calls)


def _charge() -> contract.Charge:
    return contract.Charge(
        reference="at_1",
        amount=Decimal("10.99"),
        currency="EUR",
        method="card",
        token="pm_card_visa",
        capture=True,
        merchant_reference="order-1",
    )


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS
    listen, tell = multiprocessing.Pipe(duplex=False)
    stub = multiprocessing.get_context("spawn").Process(target=_serve, args=(tell,), daemon=True)
    stub.start()
    uvloop.run(_compare(f"http://127.0.0.1:{listen.recv()}", calls))
    stub.terminate()


if __name__ == "__main__":
    main()
