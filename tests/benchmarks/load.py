"""The load: kept-alive connections that each send their next request when the last one is answered.

A process of its own, told what to send as JSON on standard input and telling what came as JSON on standard output,
so that its CPU is not counted as anybody else's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import cast

import uvloop

WARM_UP_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    port: int
    path: str
    headers: Mapping[str, str]
    body: str
    seconds: float
    connections: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`answered` and `latencies` (seconds, sorted) are of the time after the warm-up, the rest of all."""

    answered: int
    seconds: float
    latencies: list[float] = field(repr=False)
    sent: int
    statuses: dict[str, int]
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        return self.answered / self.seconds

    def percentile(self, share: float) -> float:
        return self.latencies[min(int(len(self.latencies) * share), len(self.latencies) - 1)]


def run(order: Order) -> Report:
    """In a process of its own, to its end."""
    command = [sys.executable, "-m", "tests.benchmarks.load"]
    done = subprocess.run(command, input=json.dumps(asdict(order)), capture_output=True, text=True, check=True)
    return Report(**json.loads(done.stdout))


class _Load:
    def __init__(self, order: Order) -> None:
        fields = {"Host": "localhost", **order.headers, "Content-Length": str(len(order.body.encode()))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._head = f"POST {order.path} HTTP/1.1\r\n{lines}".encode()
        self._rest = b"\r\n" + order.body.encode()
        self._run_id, self._sent = secrets.token_hex(8), 0
        self._measures_at = time.perf_counter() + WARM_UP_SECONDS
        self.stops_at = self._measures_at + order.seconds
        self.latencies: list[float] = []
        self.statuses: Counter[str] = Counter()

    def request(self) -> bytes | None:
        """The next one; None where it is time to stop."""
        if time.perf_counter() >= self.stops_at:
            return None
        self._sent += 1
        key = f"Idempotency-Key: {self._run_id}-{self._sent}\r\n".encode()
        return self._head + key + self._rest

    def answered(self, status: str, began: float) -> None:
        now = time.perf_counter()
        self.statuses[status] += 1
        if now >= self._measures_at and now < self.stops_at:
            self.latencies.append(now - began)

    def report(self, order: Order) -> Report:
        return Report(
            answered=len(self.latencies),
            seconds=order.seconds,
            latencies=sorted(self.latencies),
            sent=self._sent,
            statuses=dict(self.statuses),
            cpu_seconds=time.process_time(),
        )


class _Connection(asyncio.Protocol):
    def __init__(self, load: _Load) -> None:
        self._load, self._received = load, b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(rest) >= length:
            self._received = b""
            self._load.answered(head[9:12].decode(), self._began)
            self._next()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.done.done():
            self._load.statuses["lost"] += 1
            self.done.set_result(None)

    def _next(self) -> None:
        request = self._load.request()
        if request is None:
            self.done.set_result(None)
            self._transport.close()
        else:
            self._began = time.perf_counter()
            self._transport.write(request)


async def _main(order: Order) -> Report:
    load, loop = _Load(order), asyncio.get_running_loop()
    pairs = [
        await loop.create_connection(lambda: _Connection(load), "127.0.0.1", order.port)
        for _ in range(order.connections)
    ]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(order.seconds + WARM_UP_SECONDS + 10):
            await asyncio.gather(*(connection.done for _, connection in pairs))
    return load.report(order)


if __name__ == "__main__":
    given = Order(**json.load(sys.stdin))
    json.dump(asdict(uvloop.run(_main(given))), sys.stdout)
