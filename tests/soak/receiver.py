"""The partners' webhook endpoint in a soak: verifies every delivery with the public library, and is not always well."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from dataclasses import dataclass
from random import Random

from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

UNWELL = 0.02
SLOW_SECONDS = 1.0


@dataclass(slots=True)
class Receipt:
    """One event as it arrived. `digest` is its body's SHA-256."""

    partner: int
    digest: bytes
    times: int = 0
    taken: bool = False
    differing: bool = False
    """A repeat came with another body."""


class Receiver:
    def __init__(self, seed: int) -> None:
        self.app = Starlette(routes=[Route("/hooks/{partner:int}", self._receive, methods=["POST"])])
        self.secrets: list[str] = []
        """By partner."""
        self.receipts: dict[str, Receipt] = {}
        """By webhook-id."""
        self.answered: Counter[int] = Counter()
        self.forged = 0
        self.well = False
        self._chance = Random(seed)

    @property
    def duplicates(self) -> int:
        return sum(receipt.times - 1 for receipt in self.receipts.values())

    async def _receive(self, request: Request) -> Response:
        partner = request.path_params["partner"]
        try:
            body = await request.body()
        except ClientDisconnect:  # the wire was cut
            return Response(status_code=400)
        try:
            Webhook(self.secrets[partner]).verify(body, dict(request.headers))
        except WebhookVerificationError:
            self.forged += 1
            return Response(status_code=401)
        status = await self._mood()
        digest = hashlib.sha256(body).digest()
        receipt = self.receipts.setdefault(request.headers["webhook-id"], Receipt(partner, digest))
        receipt.times += 1
        receipt.taken |= status == 204
        receipt.differing |= receipt.digest != digest or receipt.partner != partner
        self.answered[status] += 1
        return Response(status_code=status)

    async def _mood(self) -> int:
        if self.well or self._chance.random() >= UNWELL:
            return 204
        if self._chance.random() < 0.5:
            await asyncio.sleep(SLOW_SECONDS)
            return 204
        return 500
