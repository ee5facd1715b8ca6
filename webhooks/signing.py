"""Standard Webhooks signatures (standardwebhooks.com, symmetric `v1`): HMAC-SHA256 over `id.timestamp.body`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence

_PREFIX = "whsec_"
_SECRET_BYTES = 32  # the specification asks for 24 to 64
TOLERANCE_SECONDS = 300
"""How far a timestamp may lie from the verifier's clock, in both directions."""


def new_secret() -> str:
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def sign(signing_secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header: one signature for each secret, in their order (the newest first)."""
    return " ".join(_signature(secret, message_id, timestamp, body) for secret in signing_secrets)


def verify(secret: str, headers: dict[str, str], body: bytes, *, now: float) -> bool:
    """Whether `body` was signed with `secret` near `now`. Partners use a published library; this serves our tools."""
    timestamp = headers.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit()) or abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    expected = _signature(secret, headers.get("webhook-id", ""), int(timestamp), body).encode()
    offered = headers.get("webhook-signature", "").split(" ")
    matches = [hmac.compare_digest(expected, candidate.encode()) for candidate in offered]
    return any(matches)  # a list first: every candidate is compared, the time taken does not tell which one matched


def _signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode()


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("a signing secret is whsec_ and base64") from None
