"""As little of an HTTP server as the benchmarks' clients need."""

from __future__ import annotations

import asyncio
from typing import cast


class FarEnd(asyncio.Protocol):
    """Hands each complete request of a kept-alive connection to `arrived`."""

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
            self.arrived(head, rest[:length])

    def arrived(self, head: bytes, body: bytes) -> None:
        raise NotImplementedError

    def write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)
