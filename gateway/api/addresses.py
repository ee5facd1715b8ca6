"""Who is calling: the client's address, seen through the proxies we trust and no others. Pure."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from gateway.config import Network

HOPS_MAX = 20


def client(peer: str | None, forwarded: bytes | None, trusted: tuple[Network, ...]) -> str | None:
    """The last address that no trusted proxy vouches for; what stands left of it anybody could have written."""
    if not trusted or forwarded is None or peer is None or not _is_trusted(peer, trusted):
        return peer
    for hop in reversed(forwarded.decode("latin-1").split(",")[-HOPS_MAX:]):
        address = _parse(hop.strip())
        if address is None:
            return peer
        peer = str(address)
        if not _is_trusted(peer, trusted):
            return peer
    return peer


@lru_cache(maxsize=10_000)
def neighbourhood(address: str) -> str:
    """What is limited as one client: an IPv4 address, or an IPv6 /64, of which one client has 2⁶⁴ addresses."""
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, 64), strict=False))
    return address


@lru_cache(maxsize=10_000)
def _is_trusted(address: str, trusted: tuple[Network, ...]) -> bool:
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in trusted)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
