"""Stripe's events: an envelope around an object as it is now, signed at each post. No rules about when."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from providers.simulator.ledger import References
from providers.simulator.notifier import Notifier
from providers.simulator.stripe_wire import Json

API_VERSION = "2026-10-28.endive"  # the account's, whatever version a request asks for
WEBHOOK_SECRET = "whsec_simulated"
KEPT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Cause:
    """The API request that made something happen; nothing is known of what customers and banks do."""

    request_id: str | None = None
    idempotency_key: str | None = None


BY_ITSELF = Cause()


@dataclass(slots=True)
class Events:
    notifier: Notifier
    secret: str
    clock: Callable[[], float]
    cause: Cause = field(default=BY_ITSELF)
    told: deque[Json] = field(default_factory=lambda: deque(maxlen=KEPT_MAX))
    """What `GET /v1/events` lists, oldest first."""

    def announce(self, event_type: str, subject: Json, references: References) -> None:
        event_id = f"evt_3{secrets.token_hex(12)}"
        event: Json = {
            "id": event_id,
            "object": "event",
            "api_version": API_VERSION,
            "created": int(self.clock()),
            "data": {"object": subject},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": self.cause.request_id, "idempotency_key": self.cause.idempotency_key},
            "type": event_type,
        }
        self.told.append(event)
        body = json.dumps(event, indent=2).encode()
        headers = partial(signed, body, self.secret)
        self.notifier.notify(body, headers, event_id=event_id, event=event_type, references=references)


def signed(body: bytes, secret: str, at: float) -> Mapping[str, str]:
    moment = int(at)
    signature = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json; charset=utf-8",
        "Stripe-Signature": f"t={moment},v1={signature}",
        "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
    }
