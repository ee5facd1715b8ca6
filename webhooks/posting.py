"""One POST to a partner's server: resolve, check, dial what was checked, send, read, all within one deadline.

No redirect, no cookie, no proxy from the environment, no decompression, no retry. A failure leaves as a value that
says whose it is: the endpoint's, or ours (our resolver, our network, our limits).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import socket
import ssl
import threading
import unicodedata
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from webhooks import addresses
from webhooks.addresses import AddressPolicy

DEADLINE_SECONDS = 15.0
KEEPALIVE_SECONDS = 15.0  # below what common servers keep: a reused connection that dies costs a try
ANSWER_BYTES_MAX = 65_536
EXCERPT_CHARACTERS_MAX = 1024
URLS_REMEMBERED = 4_096
LOOK_UP_SECONDS = 10.0  # within the deadline, so that silent name servers are told from silent endpoints
LOOK_UPS_MAX = 64  # a look-up cannot be interrupted: those of dead name servers outlive their deadline
RESOLVER_TRUST_SECONDS = 60.0
"""For so long after any name was answered, a look-up that fails is the name's fault and not our resolver's."""

_REASON_MAX = 100
_UNUSUAL = re.compile("[^ -~]+")  # what most answers consist of needs no look at each character
_OUR_ERRNOS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.ENETUNREACH}
)
_RESOLVER_ERRORS = frozenset({socket.EAI_AGAIN, socket.EAI_SYSTEM, socket.EAI_MEMORY, socket.EAI_FAIL})

LookUp = Callable[[str, int], Awaitable[list[str]]]


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
        self._resolver = _CheckedResolver(look_up or SystemLookUp(), policy)
        self._tls = tls or httpx.create_ssl_context(trust_env=False)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=self._resolver,
                use_dns_cache=False,  # the resolver checks what is dialled, so it is asked for every new connection
                ssl=self._tls,
                limit=0,  # the caller bounds what is in flight
                keepalive_timeout=KEEPALIVE_SECONDS,
            ),
            timeout=aiohttp.ClientTimeout(total=None),  # the deadline below covers more than aiohttp's would
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer | Failed:
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await self._exchange(url, headers, body)
        except addresses.Refused as refusal:
            return Failed(str(refusal)[:_REASON_MAX])
        except TimeoutError:
            return Failed(f"no whole answer within {self._deadline_seconds:g} seconds")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return self._explain(error)

    async def _exchange(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        assert self._session is not None, "open the poster with `async with`"
        checked = _checked(url, self._policy)
        async with self._session.post(checked, headers=headers, data=body, allow_redirects=False) as answer:
            received = bytearray()
            async for chunk in answer.content.iter_any():
                received += chunk
                if len(received) >= ANSWER_BYTES_MAX:
                    answer.close()
                    break
            return Answer(answer.status, excerpt(bytes(received)), answer.headers.get("retry-after"))

    def _explain(self, error: Exception) -> Failed:
        match error:
            case aiohttp.ClientConnectorDNSError():
                return self._resolver.explain(error.os_error)
            case aiohttp.ClientSSLError() | ssl.SSLError() | aiohttp.ServerFingerprintMismatch():
                return Failed(f"TLS failed: {_detail(error)}"[:_REASON_MAX])
            case aiohttp.ClientConnectorError():
                return Failed(f"cannot connect: {_detail(error.os_error)}"[:_REASON_MAX], _is_ours(error.os_error))
            case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
                return Failed("the answer is not valid HTTP")
            case OSError() if _is_ours(error):
                return Failed(f"cannot connect: {_detail(error)}"[:_REASON_MAX], ours=True)
            case _:
                return Failed("the connection was closed before a whole answer")


class SystemLookUp:
    """The system's resolver, in daemon threads: a look-up that hangs delays neither other names nor the exit."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(LOOK_UPS_MAX)

    async def __call__(self, host: str, port: int) -> list[str]:
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[list[str]] = loop.create_future()

        def settle(found: list[str] | OSError) -> None:
            self._free.release()
            if answered.done():  # the deadline has passed meanwhile
                return
            if isinstance(found, OSError):
                answered.set_exception(found)
            else:
                answered.set_result(found)

        def ask() -> None:
            found = _get_addresses(host, port)
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, found)

        threading.Thread(target=ask, name="webhook-look-up", daemon=True).start()
        return await answered


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


class _CheckedResolver(AbstractResolver):
    """Hands to the connector only addresses that passed, in numbers: what is checked is what is dialled."""

    def __init__(self, look_up: LookUp, policy: AddressPolicy) -> None:
        self._look_up = look_up
        self._policy = policy
        self._answered_at = float("-inf")

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - the interface's: both families are checked
    ) -> list[ResolveResult]:
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                found = await self._look_up(host, port)
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer") from None
        self._answered_at = asyncio.get_running_loop().time()
        addresses.check_answers(host, found, self._policy)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in found
        ]

    async def close(self) -> None:
        return None

    def explain(self, error: OSError) -> Failed:
        silent_for = asyncio.get_running_loop().time() - self._answered_at
        if error.errno in _RESOLVER_ERRORS and silent_for > RESOLVER_TRUST_SECONDS:
            return Failed("our name resolution failed", ours=True)
        if error.errno == socket.EAI_NONAME:
            self._answered_at = asyncio.get_running_loop().time()
        return Failed("the host name cannot be resolved")


@lru_cache(maxsize=URLS_REMEMBERED)
def _checked(url: str, policy: AddressPolicy) -> URL:
    """Pure, and asked for the same few URLs again and again. Raises `addresses.Refused`, which is not remembered."""
    target = addresses.check_url(url, policy)
    parsed = URL(target.url, encoded=True)
    if (parsed.raw_host, parsed.port) != (target.host, target.port):  # two parsers must not read two addresses
        raise addresses.Refused("the URL can be read in two ways")
    return parsed


def _get_addresses(host: str, port: int) -> list[str] | OSError:
    # The final dot keeps search domains out: a name is looked up as it was registered.
    absolute = f"{host}." if "." in host else host
    try:
        found = socket.getaddrinfo(absolute, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return error
    return [str(sockaddr[0]) for *_, sockaddr in found]


def _is_ours(error: OSError) -> bool:
    return error.errno in _OUR_ERRNOS


def _detail(error: Exception) -> str:
    """What went wrong without addresses or paths: the certificate's fault or the system's word for the errno."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _detail(error.certificate_error)
    if isinstance(
        error, aiohttp.ClientConnectorError
    ):  # one of them calls itself an SSLError and has none of its words
        return _detail(error.os_error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return error.reason or "handshake"
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return errno.errorcode[error.errno]
    return type(error).__name__
