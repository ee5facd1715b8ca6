"""The partner's endpoints: verify with the public library, and write down what came, when, and what was answered."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from random import Random

from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

UNWELL = 0.05


@dataclass(frozen=True, slots=True)
class Arrival:
    number: int
    """In the order in which they came."""
    digest: bytes
    taken: bool


class Receiver:
    def __init__(self, seed: int, *, unwell: AbstractSet[int]) -> None:
        self.app = Starlette(routes=[Route("/hooks/{endpoint:int}", self._receive, methods=["POST"])])
        self.secrets: list[str] = []
        """By endpoint."""
        self.arrivals: dict[tuple[int, str], list[Arrival]] = defaultdict(list)
        """By endpoint and webhook-id."""
        self.answered: Counter[int] = Counter()
        self.forged = 0
        self.well = False
        self._unwell = unwell
        self._numbers = itertools.count(1)
        self._chance = Random(seed)

    async def _receive(self, request: Request) -> Response:
        endpoint = request.path_params["endpoint"]
        try:
            body = await request.body()
        except ClientDisconnect:  # its sender was killed
            return Response(status_code=400)
        try:
            Webhook(self.secrets[endpoint]).verify(body, dict(request.headers))
        except WebhookVerificationError:
            self.forged += 1
            return Response(status_code=401)
        fails = not self.well and endpoint in self._unwell and self._chance.random() < UNWELL
        status = 500 if fails else 204
        arrival = Arrival(next(self._numbers), hashlib.sha256(body).digest(), taken=status == 204)
        self.arrivals[endpoint, request.headers["webhook-id"]].append(arrival)
        self.answered[status] += 1
        return Response(status_code=status)
