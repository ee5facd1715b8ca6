"""The public halves of the keys that sign webhooks, for whoever verifies: without an API key, so at little cost."""

from __future__ import annotations

import asyncio
import json
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from db import ids, signing_keys
from db.signing_keys import SigningKey
from gateway.runtime import Runtime
from gateway.transactions import representation
from webhooks import signing

AGE_SECONDS = 10.0
_CACHED = {"Cache-Control": "public, max-age=300"}  # far less than the 24 hours for which two keys sign


class WebhookSigningKey(TypedDict):
    id: str
    object: Literal["webhook_signing_key"]
    algorithm: Literal["ed25519"]
    public_key: str
    created_at: str
    retires_at: str | None


class SigningKeys:
    """One look at the database serves everyone who asks within `AGE_SECONDS`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._looking = asyncio.Lock()
        self._body = b""
        self._stale_at = 0.0

    async def show(self, _request: Request) -> Response:
        async with self._looking:
            if asyncio.get_running_loop().time() >= self._stale_at:
                await self._look()
        return Response(self._body, media_type="application/json", headers=_CACHED)

    async def _look(self) -> None:
        async with self._runtime.database.as_system() as connection:
            found = await signing_keys.in_use(connection)
        listed = {"data": [key_body(key) for key in found], "has_more": False, "next_cursor": None}
        self._body = json.dumps(listed).encode()
        self._stale_at = asyncio.get_running_loop().time() + AGE_SECONDS


def key_body(key: SigningKey) -> WebhookSigningKey:
    return {
        "id": ids.encode("wsk", key.id),
        "object": "webhook_signing_key",
        "algorithm": "ed25519",
        "public_key": signing.public_text(key.public_key),
        "created_at": representation.instant(key.created_at),
        "retires_at": representation.time(key.retires_at),
    }
