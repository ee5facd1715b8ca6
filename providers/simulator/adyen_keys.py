"""Adyen's idempotency: a key remembers the first answer for the company, whatever is sent under it later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from providers.simulator.adyen_wire import Refusal
from providers.simulator.faults import Reply

KEY_MAX = 64


@dataclass(slots=True)
class Keys:
    """`running` holds the keys whose first answer has not left yet."""

    kept: dict[str, Reply] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)

    @contextmanager
    def running_alone(self, key: str | None) -> Iterator[None]:
        if key is None:
            yield
            return
        if len(key) > KEY_MAX:
            raise Refusal(422, "702", "The idempotency key is too long")
        if key in self.running:
            raise Refusal(422, "704", "Request already processed or in progress", transient=True)
        self.running.add(key)
        try:
            yield
        finally:
            self.running.discard(key)

    def once(self, key: str | None, perform: Callable[[], Reply]) -> Reply:
        if key is not None and key in self.kept:
            return self.kept[key]
        try:
            reply = perform()
        except Refusal as refusal:
            if refusal.transient:
                raise
            reply = refusal.reply
        if key is not None:
            reply = replace(reply, headers=reply.headers | {"Idempotency-Key": key})
            self.kept[key] = reply
        return reply
