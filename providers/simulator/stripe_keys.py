"""Stripe's idempotency layer: a key remembers the first answer its request got once it was executed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from providers.simulator.faults import Reply
from providers.simulator.stripe_wire import Refusal, error_reply


@dataclass(frozen=True, slots=True)
class Kept:
    fingerprint: str
    reply: Reply


@dataclass(slots=True)
class Keys:
    """Per API key. `running` holds the keys whose first answer has not left yet."""

    kept: dict[str, Kept] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)

    @contextmanager
    def running_alone(self, key: str) -> Iterator[None]:
        if key in self.running:
            message = "There is currently another in-progress request using this Idempotent Key."
            error: dict[str, object] = {
                "type": "idempotency_error",
                "code": "idempotency_key_in_use",
                "message": message,
            }
            raise Refusal(409, error, executed=False)
        self.running.add(key)
        try:
            yield
        finally:
            self.running.discard(key)

    def once(self, key: str, perform: Callable[[], Reply], *, fingerprint: str, request_id: str) -> Reply:
        kept = self.kept.get(key)
        if kept is None:
            reply = _executed(perform)
            reply = replace(reply, headers=reply.headers | {"Original-Request": request_id})
            self.kept[key] = Kept(fingerprint, reply)
            return reply
        if kept.fingerprint != fingerprint:
            message = "Keys for idempotent requests can only be used with the same parameters as at first."
            raise Refusal(400, {"type": "idempotency_error", "message": message}, executed=False)
        return replace(kept.reply, headers=kept.reply.headers | {"Idempotent-Replayed": "true"})


def _executed(perform: Callable[[], Reply]) -> Reply:
    try:
        return perform()
    except Refusal as refusal:
        if not refusal.executed:
            raise
        return error_reply(refusal)
