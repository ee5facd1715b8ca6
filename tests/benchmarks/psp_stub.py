"""A PSP that approves every charge at once, or after a while: Stripe's wire shape, as little HTTP as clients need.

python -m tests.benchmarks.psp_stub [delay in ms]      prints its port
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from urllib.parse import parse_qsl

import uvloop

from tests.benchmarks.far_end import FarEnd

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


class Stub(FarEnd):
    delay = 0.0

    def arrived(self, _head: bytes, body: bytes) -> None:
        answer = _answer(body)
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self.write, answer)
        else:
            self.write(answer)


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
