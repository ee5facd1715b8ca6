"""A PSP that approves every charge at once, or after a while: Stripe's wire shape, as little HTTP as clients need.

python -m tests.benchmarks.psp_stub [delay in ms]      prints its port
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from typing import cast
from urllib.parse import parse_qsl

import uvloop

_PAYMENT = {
    "id": "pi_bench%d",
    "object": "payment_intent",
    "amount": "%d",
    "amount_received": "%d",
    "currency": "%s",
    "status": "succeeded",
    "metadata": {"gateway_reference": "%s"},
    "latest_charge": {"id": "ch_1", "payment_method_details": {"card": {"brand": "visa", "last4": "4242"}}},
    # About as long as a real one.
    **{f"field_{number}": None for number in range(60)},
}
BODY = json.dumps(_PAYMENT).replace('"%d"', "%d")
HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nRequest-Id: req_1\r\nContent-Length: %d\r\n\r\n"
_numbers = itertools.count(1)


class Stub(asyncio.Protocol):
    delay = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._received = cast(asyncio.Transport, transport), b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
            if len(rest) < length:
                return
            self._received = rest[length:]
            answer = _answer(rest[:length])
            if self.delay:
                asyncio.get_running_loop().call_later(self.delay, self._write, answer)
            else:
                self._write(answer)

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


def _answer(form: bytes) -> bytes:
    asked = dict(parse_qsl(form.decode()))
    amount, reference = int(asked["amount"]), asked["metadata[gateway_reference]"]
    body = BODY % (next(_numbers), amount, amount, asked["currency"], reference)
    return (HEAD % len(body) + body).encode()


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    Stub.delay = int(sys.argv[1]) / 1000 if len(sys.argv) > 1 else 0.0
    uvloop.run(_serve())
