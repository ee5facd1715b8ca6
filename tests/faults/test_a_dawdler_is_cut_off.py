"""Promise: who sends too slowly or too much is cut off by a bound, and keeps nobody else waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from gateway import listener
from gateway.api import body
from tests.acceptance.steps import listed
from tests.faults.wires import Wires
from tests.house import WAIT_SECONDS, Partner

SHORT_SECONDS = 0.3
"""In place of the 10 s for a header and the 20 s for a body."""
DRIP_SECONDS = 0.02
GIANT = 1_000_000_000


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "HEADER_SECONDS", SHORT_SECONDS)
    monkeypatch.setattr(body, "BODY_SECONDS", SHORT_SECONDS)


async def until_cut_off(wires: Wires, partner: Partner, pieces: Iterator[bytes], *, drip: float = 0.0) -> bytes:
    """Send for as long as the server takes it; what it answered. Others are served meanwhile."""
    parts = urlsplit(wires.house.base_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)

    async def send() -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(drip)

    sending = asyncio.create_task(send())
    async with asyncio.timeout(WAIT_SECONDS):
        assert (await partner.get("/v1/balance")).status_code == 200
        answer = bytearray()
        with suppress(ConnectionError):
            while piece := await reader.read(65_536):
                answer += piece
    sending.cancel()
    with suppress(ConnectionError, asyncio.CancelledError):
        await sending
    writer.transport.abort()
    return bytes(answer)


def request(partner: Partner, *fields: str) -> bytes:
    lines = (
        "POST /v1/transactions HTTP/1.1",
        "Host: api.test",
        f"Authorization: Bearer {partner.api_key}",
        "Content-Type: application/json",
        "Idempotency-Key: a-dawdlers-key",
        *fields,
    )
    return "".join(f"{line}\r\n" for line in lines).encode()


def endless(start: bytes, piece: bytes) -> Iterator[bytes]:
    yield start
    while True:
        yield piece


@pytest.mark.parametrize("drip", [True, False])
async def test_a_header_that_does_not_end_in_time(wires: Wires, partner: Partner, drip: bool) -> None:
    pieces = endless(request(partner), b"X" if drip else b"")
    assert await until_cut_off(wires, partner, pieces, drip=DRIP_SECONDS) == b""


async def test_a_second_header_on_the_same_connection_that_does_not_end(wires: Wires, partner: Partner) -> None:
    first = b"GET /healthz HTTP/1.1\r\nHost: api.test\r\n\r\n"
    answer = await until_cut_off(wires, partner, endless(first + b"GET /heal", b""), drip=DRIP_SECONDS)
    assert answer.count(b"HTTP/1.1 200 OK") == 1


@pytest.mark.parametrize("field", [b"X-Many: 1\r\n", b"X" * 1_000], ids=["100 000 of them", "one without an end"])
async def test_headers_without_an_end(wires: Wires, partner: Partner, field: bytes) -> None:
    assert await until_cut_off(wires, partner, endless(request(partner), field * 100_000)) == b""


@pytest.mark.parametrize("drip", [True, False])
async def test_a_body_that_does_not_end_in_time(wires: Wires, partner: Partner, drip: bool) -> None:
    head = request(partner, "Content-Length: 60000") + b"\r\n{"
    answer = await until_cut_off(wires, partner, endless(head, b" " if drip else b""), drip=DRIP_SECONDS)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()
    assert await listed(partner) == []


@pytest.mark.parametrize(
    ("fields", "piece"),
    [
        (f"Content-Length: {GIANT}", b" " * 60_000),
        ("Transfer-Encoding: chunked", b"ea60\r\n" + b" " * 60_000 + b"\r\n"),
    ],
    ids=["announced", "in chunks"],
)
async def test_a_body_without_an_end(wires: Wires, partner: Partner, fields: str, piece: bytes) -> None:
    answer = await until_cut_off(wires, partner, endless(request(partner, fields) + b"\r\n", piece))
    # Who goes on sending may miss the answer: the reset that its bytes meet overtakes it.
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413 ")
    assert await listed(partner) == []
