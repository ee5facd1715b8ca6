"""From a host name to addresses that may be dialled: what is checked is what the caller gets, in numbers."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence

from webhooks import addresses
from webhooks.addresses import AddressPolicy

LOOK_UP_SECONDS = 10.0  # within the posting deadline, so that silent name servers are told from silent endpoints
LOOK_UPS_MAX = 64  # a look-up cannot be interrupted: those of dead name servers outlive their deadline
TRUST_SECONDS = 60.0
"""For so long after any name was answered, a look-up that fails is the name's fault and not our resolver's."""

_RESOLVER_ERRORS = frozenset({socket.EAI_AGAIN, socket.EAI_SYSTEM, socket.EAI_MEMORY, socket.EAI_FAIL})

LookUp = Callable[[str, int], Awaitable[list[str]]]


class Unresolved(Exception):
    """No address. `ours`: our resolver failed, not the name."""

    def __init__(self, *, ours: bool) -> None:
        self.ours = ours
        super().__init__("our name resolution failed" if ours else "the host name cannot be resolved")


class Names:
    def __init__(self, look_up: LookUp, policy: AddressPolicy) -> None:
        self._look_up, self._policy = look_up, policy
        self._answered_at = float("-inf")

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Addresses that all passed. Raises `Unresolved` or `addresses.Refused`."""
        found = [host] if _is_number(host) else await self._found(host, port)
        if not found:
            raise Unresolved(ours=False)
        addresses.check_answers(host, found, self._policy)
        return found

    async def _found(self, host: str, port: int) -> list[str]:
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                found = await self._look_up(host, port)
        except TimeoutError:
            raise Unresolved(ours=self._is_ours(socket.EAI_AGAIN)) from None
        except OSError as error:
            unresolved = Unresolved(ours=self._is_ours(error.errno))
            if error.errno == socket.EAI_NONAME:
                self._answered_at = now()
            raise unresolved from error
        self._answered_at = now()
        return found

    def _is_ours(self, code: int | None) -> bool:
        silent_for = asyncio.get_running_loop().time() - self._answered_at
        return code in _RESOLVER_ERRORS and silent_for > TRUST_SECONDS


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


def _is_number(host: str) -> bool:
    """Only a policy that opens loopback lets one come so far."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _get_addresses(host: str, port: int) -> list[str] | OSError:
    # The final dot keeps search domains out: a name is looked up as it was registered.
    absolute = f"{host}." if "." in host else host
    try:
        found = socket.getaddrinfo(absolute, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return error
    return [str(sockaddr[0]) for *_, sockaddr in found]
