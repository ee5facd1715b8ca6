"""Where webhooks may go: which URLs can be registered and which addresses can be dialled. Pure; no name is resolved.

The same check runs at registration and at every send; what a name resolves to is checked where it is dialled.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass

import idna

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Refused(Exception):
    """No webhook may go there; the sentence tells a partner what to change."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What an installation allows beyond https to public addresses on port 443. Strict unless told otherwise."""

    allow_loopback_http: bool = False
    """http://localhost and http://127.0.0.1 on any port: for the demo and for tests."""
    extra_ports: frozenset[int] = frozenset()
    extra_networks: tuple[Network, ...] = ()
    """Networks that are not public and yet hold partners' servers (a VPN); reached by name and https like any other."""


STRICT = AddressPolicy()
URL_MAX = 2048
_HOST_MAX = 253
_PORT_MAX = 65_535
_DEFAULT_PORTS = {"https": 443, "http": 80}
_LOOPBACK_HOSTS = ("localhost", "127.0.0.1")

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>[^#]*)(?P<fragment>#.*)?")
_AUTHORITY = re.compile(r"(?P<host>[^:@\[\]%]+)(?::(?P<port>[0-9]{1,5}))?")
_REST = re.compile(r"(?:[A-Za-z0-9._~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029]")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")

_INSIDE_NAMES = frozenset(
    {"alt", "arpa", "corp", "home", "internal", "intranet", "invalid", "lan"}
    | {"local", "localdomain", "localhost", "onion", "private", "test"}
)
"""Top labels that no public name has (RFC 6761, RFC 8375, RFC 9476, ICANN): only an inner resolver answers them.

`.example` is let in, as documents and tests are written with it; what it resolves to is checked like anything else.
"""

# Written out, not `is_private`: Python lets multicast, NAT64, 6to4 and others through, and its answer has changed
# between patch releases. For version 6 the one block of public unicast is allowed, less what is carved out of it.
_REFUSED_V4 = [
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's metadata host: a public address that answers inside
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
]
_ALLOWED_V6 = ipaddress.IPv6Network("2000::/3")
_REFUSED_V6 = [
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # IETF protocols: Teredo, benchmarking, ORCHID
        "2001:db8::/32",
        "2002::/16",  # 6to4 carries a version 4 address
        "2620:4f:8000::/48",
        "3fff::/20",
    )
]


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be used, in the one spelling that is stored and sent."""

    scheme: str
    host: str
    port: int
    path: str
    """With the query."""

    @property
    def authority(self) -> str:
        return self.host if self.port == _DEFAULT_PORTS[self.scheme] else f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        return self.origin + self.path


def check_url(url: str, policy: AddressPolicy = STRICT) -> Target:
    """Raises `Refused`."""
    parts = _split(_bounded(url))
    authority = _AUTHORITY.fullmatch(parts["authority"])
    if authority is None:
        raise Refused(_authority_refusal(parts["authority"]))
    scheme, host = parts["scheme"].lower(), authority["host"]
    port = int(authority["port"] or _DEFAULT_PORTS.get(scheme, 0))
    if policy.allow_loopback_http and scheme == "http" and host in _LOOPBACK_HOSTS:
        allowed_ports: Container[int] = range(1, _PORT_MAX + 1)
    elif scheme == "https":
        host = _public_host(host)
        allowed_ports = {443, *policy.extra_ports}
    else:
        raise Refused("the URL must begin with https://")
    if port not in allowed_ports:
        raise Refused("the URL's port is not allowed; leave it out to use 443")
    target = Target(scheme, host, port, _path(parts["rest"]))
    _bounded(target.url)
    return target


def check_answers(host: str, answers: Sequence[str], policy: AddressPolicy = STRICT) -> None:
    """Every address that `host` resolved to must be allowed, so that none can be reached by chance or by retrying.

    Raises `Refused`, without the address: what our resolver knows about inner names is not the partner's to learn.
    """
    local = policy.allow_loopback_http and host in _LOOPBACK_HOSTS
    for answer in answers:
        address = ipaddress.ip_address(answer)
        if not (address.is_loopback if local else _may_dial(address, policy)):
            raise Refused("the host name resolves to an address that is not public")


def _may_dial(address: Address, policy: AddressPolicy) -> bool:
    if any(address in network for network in policy.extra_networks):
        return True
    if isinstance(address, ipaddress.IPv4Address):
        refused = any(address in network for network in _REFUSED_V4)
    else:
        refused = address not in _ALLOWED_V6 or any(address in network for network in _REFUSED_V6)
    # Python's own table as well: it may learn of a new block before this one does.
    return not refused and address.is_global and not address.is_multicast


def _bounded(url: str) -> str:
    if len(url) > URL_MAX:
        raise Refused(f"the URL is longer than {URL_MAX} characters")
    return url


def _split(url: str) -> re.Match[str]:
    if _UNPRINTABLE.search(url):
        raise Refused("the URL contains a space, a backslash or a control character")
    parts = _URL.fullmatch(url)
    if parts is None:
        raise Refused("the URL must be absolute and begin with https://")
    if parts["fragment"]:
        raise Refused("the URL must not contain a fragment (#…): it would never be sent")
    if _REST.fullmatch(parts["rest"]) is None:
        raise Refused("the URL's path or query contains characters that must be percent-encoded")
    return parts


def _authority_refusal(authority: str) -> str:
    if "@" in authority:
        return "the URL must not contain a user name or password"
    if "[" in authority or authority.count(":") > 1:
        return "the URL must name a host, not an IP address"
    return "the URL's host or port is not valid"


def _path(rest: str) -> str:
    return rest if rest.startswith("/") else f"/{rest}"


def _public_host(spelled: str) -> str:
    """The host in its one ASCII spelling; anything a resolver or a parser could read as an address is refused."""
    try:
        host = idna.encode(spelled, uts46=True, std3_rules=True).decode()
        top = idna.decode(host.rpartition(".")[2])
    except (idna.IDNAError, UnicodeError):
        raise Refused("the URL's host is not a valid name") from None
    labels = host.split(".")
    if len(host) > _HOST_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        raise Refused("the URL's host is not a valid name")
    # Whatever inet_aton reads as an address (127.1, 0x7f.1, 0177.0.0.1, 2130706433) has a last part in digits; and to
    # some readers, such as Python's own int(), those of any script are digits.
    if top[0].isdigit():
        raise Refused("the URL must name a host, not an IP address")
    if len(labels) == 1 or labels[-1] in _INSIDE_NAMES:
        raise Refused("the URL's host must be a public name")
    return host
