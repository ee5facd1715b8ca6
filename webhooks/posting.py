"""One POST to a partner's server: resolve, check, dial what was checked, send, read, all within one deadline.

No redirect, no cookie, no proxy from the environment, no decompression, no retry. A failure leaves as a value that
says whose it is: the endpoint's, or ours (our resolver, our network, our limits).
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import aiohappyeyeballs
import httpx

from webhooks import addresses, wire
from webhooks.addresses import AddressPolicy, Target
from webhooks.names import LookUp, Names, SystemLookUp, Unresolved

DEADLINE_SECONDS = 15.0
NEXT_ADDRESS_SECONDS = 0.25  # RFC 8305: the next address is tried beside one that does not answer
EXCERPT_CHARACTERS_MAX = 1024
URLS_REMEMBERED = 4_096

_REASON_MAX = 100
_UNUSUAL = re.compile("[^ -~]+")  # what most answers consist of needs no look at each character
_OUR_ERRNOS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.ENETUNREACH}
)


@dataclass(frozen=True, slots=True)
class Answer:
    """Whatever the status: the whole exchange took place."""

    status: int
    excerpt: str
    retry_after: str | None


@dataclass(frozen=True, slots=True)
class Failed:
    """No whole answer. `reason` is for the partner to read; `ours` where the endpoint has no part in it."""

    reason: str
    ours: bool = False


class Poster:
    """One per process; open it inside the running loop."""

    def __init__(
        self,
        policy: AddressPolicy = addresses.STRICT,
        *,
        look_up: LookUp | None = None,
        tls: ssl.SSLContext | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        self._policy = policy
        self._deadline_seconds = deadline_seconds
        self._names = Names(look_up or SystemLookUp(), policy)
        self._tls = tls or httpx.create_ssl_context(trust_env=False)
        self._idle = wire.Idle()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        self._idle.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer | Failed:
        try:
            return await self._exchange(_checked(url, self._policy), headers, body)
        except TimeoutError:
            return Failed(f"no whole answer within {self._deadline_seconds:g} seconds")
        except (addresses.Refused, Unresolved, wire.Malformed, wire.Cut, OSError) as error:
            return _explained(error)

    async def _exchange(self, target: Target, headers: Mapping[str, str], body: bytes) -> Answer:
        deadline = asyncio.get_running_loop().time() + self._deadline_seconds
        request = wire.request(target.authority, target.path, headers, body)
        connection = self._idle.take(target.origin)
        if connection is None:
            async with asyncio.timeout_at(deadline):
                connection = await self._dial(target)
        response = await connection.post(request, deadline)
        self._idle.keep(target.origin, connection)
        return Answer(response.status, excerpt(response.body), response.retry_after)

    async def _dial(self, target: Target) -> wire.Connection:
        """The addresses that were checked, and no other; the name serves for TLS alone."""
        dialled = await aiohappyeyeballs.start_connection(
            [_numeric(address, target.port) for address in await self._names.resolve(target.host, target.port)],
            happy_eyeballs_delay=NEXT_ADDRESS_SECONDS,
        )
        secure = target.scheme == "https"
        _, connection = await asyncio.get_running_loop().create_connection(
            wire.Connection,
            sock=dialled,
            ssl=self._tls if secure else None,
            server_hostname=target.host if secure else None,
        )
        return connection


def excerpt(body: bytes) -> str:
    """The beginning of an answer as harmless text: no control characters, nothing that reorders what surrounds it."""
    text = body[: 4 * EXCERPT_CHARACTERS_MAX].decode("utf-8", "replace")
    return _UNUSUAL.sub(_harmless, text)[:EXCERPT_CHARACTERS_MAX]


def _harmless(found: re.Match[str]) -> str:
    shown = (
        " " if character.isspace() else "" if unicodedata.category(character)[0] == "C" else character
        for character in found[0]
    )
    return "".join(shown)


@lru_cache(maxsize=URLS_REMEMBERED)
def _checked(url: str, policy: AddressPolicy) -> Target:
    """Pure, and asked for the same few URLs again and again. Raises `addresses.Refused`, which is not remembered."""
    return addresses.check_url(url, policy)


def _numeric(address: str, port: int) -> aiohappyeyeballs.AddrInfoType:
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)


def _explained(error: Exception) -> Failed:
    match error:
        case Unresolved():
            return Failed(str(error), error.ours)
        case ssl.SSLError():
            return Failed(f"TLS failed: {_detail(error)}"[:_REASON_MAX])
        case OSError():
            return Failed(f"cannot connect: {_detail(error)}"[:_REASON_MAX], error.errno in _OUR_ERRNOS)
        case _:
            return Failed(str(error)[:_REASON_MAX])


def _detail(error: OSError) -> str:
    """What went wrong without addresses or paths: the certificate's fault or the system's word for the errno."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return error.reason or "handshake"
    return errno.errorcode.get(error.errno or 0, type(error).__name__)
