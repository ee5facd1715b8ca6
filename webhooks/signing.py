"""Standard Webhooks signatures (standardwebhooks.com) over `id.timestamp.body`.

`v1` is HMAC-SHA256 with the endpoint's secret; `v1a` is ed25519, which proves to anyone that we sent it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_PREFIX = "whsec_"
_PUBLIC_PREFIX = "whpk_"
_SECRET_BYTES = 32  # the specification asks for 24 to 64
TOLERANCE_SECONDS = 300
"""How far a timestamp may lie from the verifier's clock, in both directions."""


def new_secret() -> str:
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def sign(signing_secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header: one signature for each secret, in their order (the newest first)."""
    return " ".join(_signature(secret, message_id, timestamp, body) for secret in signing_secrets)


def sign_publicly(private_keys: Sequence[Ed25519PrivateKey], message_id: str, timestamp: int, body: bytes) -> str:
    """The same with `v1a`: what it gives goes behind the others in the header, after a space."""
    signed = _signed(message_id, timestamp, body)
    return " ".join("v1a," + base64.b64encode(key.sign(signed)).decode() for key in private_keys)


def public_text(public_key: bytes) -> str:
    """How a public key is published."""
    return _PUBLIC_PREFIX + base64.b64encode(public_key).decode()


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
    digest = hmac.digest(_key(secret), _signed(message_id, timestamp, body), hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()


def _signed(message_id: str, timestamp: int, body: bytes) -> bytes:
    return b"%s.%d.%s" % (message_id.encode(), timestamp, body)


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("a signing secret is whsec_ and base64") from None
