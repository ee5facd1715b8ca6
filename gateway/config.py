"""Every setting, read once from `PAYGATE_*` variables. Nothing below `gateway.runtime` sees this module.

`PAYGATE_X_FILE` names a file that holds the value of `PAYGATE_X`, so that secrets need not be in the environment.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from db import failpoints

Network = IPv4Network | IPv6Network

SECRET_KEY_BYTES = 32
DISTINCT_BYTES_MIN = 16
"""Of 32 random bytes about 30 differ (fewer than 16: once in 10¹³); a typed or repeated "secret" has few."""
_PUBLISHED_KEYS = frozenset(
    hashlib.sha256(example).hexdigest()
    for example in (
        bytes(range(32)),
        bytes(range(1, 33)),
        b"0123456789abcdef0123456789abcdef",
        b"abcdefghijklmnopqrstuvwxyz012345",
    )
)


class Invalid(Exception):
    """The configuration cannot be used; `problems` names each variable and what is wrong with it, never its value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a process was told. `read` fills it from the environment; the demo and tests build it themselves."""

    database_url: str = field(repr=False)
    secret_keys: Mapping[int, bytes] = field(repr=False)
    redis_url: str | None = field(default=None, repr=False)
    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str | None = None
    """How customers and PSPs reach this API from outside; the host and port above where not set."""
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    """None: 9090 for the API, 9091 for the worker. 0: no metrics server."""
    allowed_hosts: frozenset[str] = frozenset()
    """Names clients may call this server by, without port; empty: any."""
    trusted_proxies: tuple[Network, ...] = ()
    """Whose `X-Forwarded-For` is believed; empty: nobody's."""
    console_host: str = "127.0.0.1"
    console_port: int = 8081
    console_second_factor: bool = True
    """Off: whoever has a password is in. For a developer's machine only."""
    refund_approval_above: Decimal = Decimal(100)
    """Major units of any currency: what the console refunds above this needs a second person."""
    failed_auth_per_minute: int = 50
    """Per client address, below the default 100 requests a minute of a partner that does hold a key."""
    webhook_allow_loopback: bool = False
    """Webhook endpoints at http://localhost and http://127.0.0.1: for a developer's machine only."""
    lease_seconds: int = 45
    """How long an attempt belongs to the process that took it: a PSP's 25 s, and time to write the outcome."""
    action_seconds: int = 86_400
    """How long a payment waits for its customer (3-D Secure, wallet approval) before it is given up."""
    shutdown_seconds: int = 30
    log_level: str = "INFO"
    security_contact: str | None = None
    """Where `/.well-known/security.txt` sends reports: an https: or mailto: address."""
    failpoints: tuple[failpoints.Rule, ...] = ()
    """Where this process is to crash or pause itself: for rehearsals on a machine of one's own."""


def read(environ: Mapping[str, str]) -> Settings:
    """Raises `Invalid` with every problem found, not just the first."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, parse in _VARIABLES.items():
        variable = f"PAYGATE_{name.upper()}"
        try:
            text = _text(environ, variable)
            if text is not None:
                values[name] = parse(text)
        except ValueError as error:
            problems.append(f"{variable} {error}")
    for name in ("database_url", "secret_keys"):
        if name not in values and not any(f"PAYGATE_{name.upper()} " in problem for problem in problems):
            problems.append(f"PAYGATE_{name.upper()} is not set")
    if problems:
        raise Invalid(problems)
    return Settings(**values)


def _text(environ: Mapping[str, str], variable: str) -> str | None:
    text = environ.get(variable, "").strip()
    path = environ.get(f"{variable}_FILE", "").strip()
    if path and not text:
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot be read from the file {variable}_FILE names: {type(error).__name__}") from error
    return text or None


def parse_secret_keys(text: str) -> Mapping[int, bytes]:
    """`1:BASE64,2:BASE64`: 32-byte keys by version; the first seals, all open. Raises `ValueError`."""
    keys: dict[int, bytes] = {}
    for part in text.split(","):
        version, separator, encoded = part.strip().partition(":")
        if not separator or not version.isascii() or not version.isdigit() or not 1 <= int(version) <= 255:  # noqa: PLR2004 - one byte
            raise ValueError("must look like 1:BASE64,2:BASE64 with versions from 1 to 255")
        if int(version) in keys:
            raise ValueError(f"names version {int(version)} twice")
        keys[int(version)] = _secret_key(encoded, int(version))
    return keys


def _secret_key(encoded: str, version: int) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise ValueError(f"version {version} is not base64") from None
    if len(key) != SECRET_KEY_BYTES:
        raise ValueError(
            f"version {version} has {len(key)} bytes, not {SECRET_KEY_BYTES}; make one: openssl rand -base64 32"
        )
    if len(set(key)) < DISTINCT_BYTES_MIN or hashlib.sha256(key).hexdigest() in _PUBLISHED_KEYS:
        raise ValueError(f"version {version} is not random; make one: openssl rand -base64 32")
    return key


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if urlsplit(text).scheme not in schemes:
            raise ValueError(f"must begin with {' or '.join(f'{scheme}:' for scheme in schemes)}")
        return text

    return parse


def _public_url(text: str) -> str:
    return _url("https", "http")(text).rstrip("/")


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return parse


def _amount(text: str) -> Decimal:
    if not re.fullmatch(r"\d{1,15}(\.\d{1,4})?", text, re.ASCII):
        raise ValueError("must be an amount such as 100 or 99.50")
    return Decimal(text)


def _flag(text: str) -> bool:
    match text.lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
        case _:
            raise ValueError("must be true or false")


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip().lower() for name in text.split(",") if name.strip())


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        raise ValueError("must be addresses or networks such as 10.0.0.0/8, separated by commas") from None


def _level(text: str) -> str:
    if text.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
    return text.upper()


_VARIABLES: Mapping[str, Callable[[str], Any]] = {
    "database_url": _url("postgresql", "postgres"),
    "secret_keys": parse_secret_keys,
    "redis_url": _url("redis", "rediss", "unix"),
    "host": str,
    "port": _whole(1, 65535),
    "public_url": _public_url,
    "metrics_host": str,
    "metrics_port": _whole(0, 65535),
    "allowed_hosts": _names,
    "trusted_proxies": _networks,
    "console_host": str,
    "console_port": _whole(0, 65535),
    "console_second_factor": _flag,
    "refund_approval_above": _amount,
    "failed_auth_per_minute": _whole(1, 10_000),
    "webhook_allow_loopback": _flag,
    "lease_seconds": _whole(30, 600),
    "action_seconds": _whole(60, 604_800),
    "shutdown_seconds": _whole(1, 600),
    "log_level": _level,
    "security_contact": _url("https", "mailto"),
    "failpoints": failpoints.parse,
}
