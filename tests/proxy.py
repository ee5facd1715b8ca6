"""A TCP proxy that misbehaves to order, for the wires between the gateway and whatever it talks to.

It knows two things of what it carries: who asks and who answers, and (for PostgreSQL) when a commit is acknowledged.
Toxics are consulted oldest first; chance comes from the seed alone.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum, auto
from random import Random
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests import postgres_wire

HOST = "127.0.0.1"
PIECE_MAX = 65_536
SLICE_MAX = 8
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: closing sends RST


class ToxicKind(StrEnum):
    LATENCY = auto()
    """What is asked arrives `seconds` later."""
    RESET = auto()
    """Half of what is under way, in either direction, arrives; then both ends see a reset."""
    TIMEOUT = auto()
    """A black hole: the connection stays open, nothing passes any more; reset after `seconds` (0: at `clear`)."""
    SLICE = auto()
    """Bytes dribble in both directions, a few at a time, `seconds` apart."""
    DOWN = auto()
    """Nothing listens and every connection is reset, until `clear`; `times` and `probability` do not apply."""
    DROP_BEFORE = auto()
    """Nothing of what is asked arrives; both ends see a reset."""
    DROP_AFTER_REPLY = auto()
    """What was asked arrived and was answered; the answer is swallowed and both ends see a reset."""
    SWALLOW_COMMIT = auto()
    """The same, for PostgreSQL's word that a transaction, or a statement on its own, is committed."""


@dataclass(slots=True)
class Toxic:
    kind: ToxicKind
    seconds: float = 0
    times: int | None = None
    """How often it strikes; None: until `clear`."""
    probability: float = 1.0
    about: bytes = b""
    """Strikes only where these bytes are in what was asked; for PostgreSQL: in a statement of the transaction."""


class Proxy:
    """Made by `proxied`. `port` stays ours while DOWN: who connects then is refused."""

    def __init__(self, host: str, port: int, seed: int) -> None:
        self.upstream = (host, port)
        """Where connections go from now on: a server that moves is followed by setting it."""
        self.chance = Random(seed)
        self._toxics: list[Toxic] = []
        self._conversations: dict[asyncio.Task[None], _Conversation] = {}
        self._listening: socket.socket | None = None
        self._port_holder = socket.socket()
        self._port_holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._port_holder.bind((HOST, 0))
        self.port = int(self._port_holder.getsockname()[1])
        self.counts: Counter[ToxicKind] = Counter()
        self._listen()

    def add(self, toxic: Toxic) -> None:
        self._toxics.append(toxic)
        if toxic.kind is ToxicKind.DOWN:
            self.counts[toxic.kind] += 1
            self._refuse()
            self.cut()

    def clear(self) -> None:
        """All is well again. What a black hole has swallowed is lost, so its connections are reset."""
        self._toxics.clear()
        for conversation in filter(lambda one: one.dark, self._conversations.values()):
            conversation.reset()
        self._listen()

    def cut(self, about: bytes = b"") -> None:
        """Reset every connection now, or those whose last question holds these bytes."""
        for conversation in self._conversations.values():
            if about in conversation.asked:
                conversation.reset()

    def struck(self, kind: ToxicKind, asked: bytes) -> Toxic | None:
        for toxic in self._toxics:
            meant = toxic.kind is kind and toxic.times != 0 and toxic.about in asked
            if meant and self.chance.random() < toxic.probability:
                toxic.times = toxic.times and toxic.times - 1
                self.counts[kind] += 1
                return toxic
        return None

    async def aclose(self) -> None:
        self._refuse()
        self._port_holder.close()
        self.cut()
        for task in (tasks := list(self._conversations)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _listen(self) -> None:
        if self._listening is None:
            self._listening = socket.create_server((HOST, self.port), reuse_port=True)
            self._listening.setblocking(False)
            asyncio.get_running_loop().add_reader(self._listening, self._accept, self._listening)

    def _refuse(self) -> None:
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):  # who knocked has gone meanwhile
            client, _ = listening.accept()
            client.setblocking(False)
            conversation = _Conversation(self, client)
            task = asyncio.create_task(conversation.run(*self.upstream))
            self._conversations[task] = conversation
            task.add_done_callback(lambda ended: self._conversations.pop(ended).close())


class _Conversation:
    """One connection of a client and its counterpart upstream."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self._proxy, self._client = proxy, client
        self._writers: list[asyncio.StreamWriter] = []
        self._postgres: postgres_wire.Conversation | None = None
        self.asked, self._answered = b"", False  # what the client asked last, in however many pieces it came
        self.dark = False

    async def run(self, host: str, port: int) -> None:
        pumps: list[asyncio.Task[None]] = []
        try:
            asks, to_client = await asyncio.open_connection(sock=self._client)
            self._writers.append(to_client)
            answers, to_upstream = await _connect(host, port)
            self._writers.append(to_upstream)
            pumps += map(asyncio.create_task, (self._ask(asks, to_upstream), self._answer(answers, to_client)))
            ended, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.gather(*ended)
        except (OSError, RuntimeError):  # uvloop's word for a transport that was closed meanwhile
            self.reset()
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()
        if not self._writers:
            self._client.close()

    def reset(self) -> None:
        for writer in self._writers:
            if not writer.is_closing():
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                writer.transport.abort()

    async def _ask(self, asks: asyncio.StreamReader, upstream: asyncio.StreamWriter) -> None:
        while data := await asks.read(PIECE_MAX):
            self._note(data)
            if self.dark:
                continue
            if hole := self._struck(ToxicKind.TIMEOUT):
                self.dark = True
                if hole.seconds:
                    asyncio.get_running_loop().call_later(hole.seconds, self.reset)
            elif self._struck(ToxicKind.DROP_BEFORE):
                self.reset()
            else:
                if late := self._struck(ToxicKind.LATENCY):
                    await asyncio.sleep(late.seconds)
                await self._pass_on(data, upstream)

    async def _answer(self, answers: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while data := await answers.read(PIECE_MAX):
            self._answered = True
            for piece, committed in self._postgres.read(data) if self._postgres else [(data, False)]:
                if self.dark:
                    continue
                if self._struck(ToxicKind.DROP_AFTER_REPLY) or (committed and self._struck(ToxicKind.SWALLOW_COMMIT)):
                    self.reset()
                else:
                    await self._pass_on(piece, client)

    async def _pass_on(self, data: bytes, to: asyncio.StreamWriter) -> None:
        if self._struck(ToxicKind.RESET):
            to.write(data[: len(data) // 2])
            await to.drain()
            self.reset()
        elif drip := self._struck(ToxicKind.SLICE):
            while data:
                length = self._proxy.chance.randint(1, SLICE_MAX)
                to.write(data[:length])
                await to.drain()
                data = data[length:]
                await asyncio.sleep(drip.seconds)
        else:
            to.write(data)
            await to.drain()

    def _note(self, data: bytes) -> None:
        if not self.asked and postgres_wire.Conversation.begins(data):
            self._postgres = self._postgres or postgres_wire.Conversation()
        if self._postgres:
            self.asked = self._postgres.ask(data)
        else:
            self.asked = data if self._answered else self.asked + data
        self._answered = False

    def _struck(self, kind: ToxicKind) -> Toxic | None:
        return self._proxy.struck(kind, self.asked)


async def _connect(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if host.startswith("/"):
        return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
    return await asyncio.open_connection(host, port)


@asynccontextmanager
async def proxied(host: str, port: int, *, seed: int = 0) -> AsyncIterator[Proxy]:
    """A proxy on loopback. A `host` that begins with a slash is the folder of PostgreSQL's socket, as in libpq."""
    proxy = Proxy(host, port, seed)
    try:
        yield proxy
    finally:
        await proxy.aclose()


@asynccontextmanager
async def proxied_url(url: str, *, seed: int = 0) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy and the URL that leads through it to what `url` names."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    async with proxied(parts.hostname or query.pop("host"), parts.port or int(query.pop("port")), seed=seed) as proxy:
        user, at, _ = parts.netloc.rpartition("@")
        yield proxy, parts._replace(netloc=f"{user}{at}{HOST}:{proxy.port}", query=urlencode(query)).geturl()
