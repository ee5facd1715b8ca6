"""PayPal's idempotency: a request id leads to what its first request made, as that stands now.

What was refused is not remembered, and a body is not compared: another request under the id gets the first one's thing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from providers.simulator.faults import Reply
from providers.simulator.paypal_wire import Refusal

ORDERS_SECONDS = 6 * 3600
PAYMENTS_SECONDS = 45 * 86_400

Show = Callable[[], Reply]
"""The answer with the thing as it is at that time."""


@dataclass(frozen=True, slots=True)
class Made:
    until: float
    show: Show


@dataclass(slots=True)
class Keys:
    """Per account. `running` holds the request ids whose first answer has not left yet."""

    clock: Callable[[], float]
    made: dict[str, Made] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)

    @contextmanager
    def running_alone(self, key: str) -> Iterator[None]:
        if key in self.running:
            raise Refusal("PREVIOUS_REQUEST_IN_PROGRESS")
        self.running.add(key)
        try:
            yield
        finally:
            self.running.discard(key)

    def once(self, key: str, perform: Callable[[], tuple[Reply, Show]], *, seconds: float) -> Reply:
        made = self.made.get(key)
        if made is not None and self.clock() < made.until:
            return made.show()
        reply, show = perform()
        self.made[key] = Made(self.clock() + seconds, show)
        return reply
