"""The headers of a delivery: ours, the signatures, and what the partner asked to have sent along. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from webhooks import signing

USER_AGENT = "Paygate-Webhooks/1"
OWN_MAX, NAME_MAX, VALUE_MAX = 10, 100, 1024

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # a token of RFC 9110
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?", re.ASCII)
_OURS = frozenset(
    {
        *("accept-encoding", "connection", "expect", "host", "http2-settings", "keep-alive", "te", "trailer"),
        *("transfer-encoding", "upgrade", "user-agent"),
    }
)
_OUR_FAMILIES = ("content-", "proxy-", "webhook-")


@dataclass(frozen=True, slots=True)
class Signed:
    """What the signatures cover."""

    message_id: str
    timestamp: int
    body: bytes


def headers(
    signed: Signed, *, secrets: Sequence[str], private_keys: Sequence[Ed25519PrivateKey], own: Mapping[str, str]
) -> dict[str, str]:
    """`own`: the partner's; they never take the place of one of ours."""
    covered = signed.message_id, signed.timestamp, signed.body
    signatures = [signing.sign(secrets, *covered), signing.sign_publicly(private_keys, *covered)]
    return {
        **own,
        "accept-encoding": "identity",
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "webhook-id": signed.message_id,
        "webhook-timestamp": str(signed.timestamp),
        "webhook-signature": " ".join(filter(None, signatures)),
    }


def check_name(name: str) -> str:
    """Whether a partner may have this header sent; raises `ValueError` with the reason."""
    if not _NAME.fullmatch(name):
        raise ValueError("is no name of a header")
    if name.lower() in _OURS or name.lower().startswith(_OUR_FAMILIES):
        raise ValueError("is a header that we set, or that is not the sender's to set")
    return name


def check_value(value: str) -> str:
    """The same for what it says."""
    if not _VALUE.fullmatch(value):
        raise ValueError("must be printable ASCII on one line, without a space at either end")
    return value
