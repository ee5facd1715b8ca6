"""The session's cookie. `__Host-`: sent to this host only, over TLS only (browsers count loopback as that)."""

from __future__ import annotations

import hashlib
import secrets

from starlette.responses import Response

NAME = "__Host-paygate-console"
TOKEN_BYTES = 32


def fresh() -> str:
    return secrets.token_urlsafe(TOKEN_BYTES)


def hashed(token: str) -> bytes:
    """What the database keeps. The token is random, so that a plain hash suffices."""
    return hashlib.sha256(token.encode()).digest()


def give(response: Response, token: str) -> None:
    response.set_cookie(NAME, token, path="/", secure=True, httponly=True, samesite="lax")


def take_back(response: Response) -> None:
    response.delete_cookie(NAME, path="/", secure=True, httponly=True, samesite="lax")
