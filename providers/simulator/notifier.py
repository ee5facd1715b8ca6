"""How a simulated PSP posts its notifications: in order, again when refused, misbehaving on request.

Nothing runs while there is nothing to send: the posting task ends with its queue, or at the latest with `aclose`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field

import aiohttp

from providers.simulator.faults import FaultKind, Faults
from providers.simulator.ledger import Json, References

OPERATION = "webhook"
"""What faults call the posting of a notification."""

WAITS_SECONDS = (0.1, 0.4, 1.5, 5.0)  # a receiver may be restarting; a PSP's hours would outlast every test
POST_SECONDS = 10.0
REMEMBERED_MAX = 10_000  # the oldest are forgotten, sent or not

Headers = Mapping[str, str] | Callable[[float], Mapping[str, str]]
"""As they are, or made for each post from its time (seconds since the epoch)."""

NOBODY = References()


@dataclass(slots=True, kw_only=True, eq=False)
class Notification:
    id: str
    event: str
    body: bytes
    headers: Headers
    answers: list[int | None] = field(default_factory=list)
    """The status of each post so far; None where there was no answer."""
    dropped: bool = False
    """`webhook_drop` kept it from being posted: only the PSP's own list of events tells it."""

    @property
    def refused(self) -> bool:
        """It was posted, and nobody took it yet."""
        return bool(self.answers) and self.answers[-1] not in _ACCEPTED

    def to_json(self) -> Json:
        told: Json = {"id": self.id, "event": self.event, "answers": list(self.answers), "dropped": self.dropped}
        return told | {"body": self.body.decode()}


class Notifier:
    """One per simulator. Without a `url` notifications are only remembered, for `resend`."""

    def __init__(
        self,
        faults: Faults,
        *,
        url: str | None = None,
        clock: Callable[[], float] = time.time,
        waits_seconds: tuple[float, ...] = WAITS_SECONDS,
    ) -> None:
        self.url = url
        self.remembered: deque[Notification] = deque(maxlen=REMEMBERED_MAX)
        self._faults = faults
        self._clock = clock
        self._waits_seconds = waits_seconds
        self._queue: deque[Notification] = deque(maxlen=REMEMBERED_MAX)
        self._held: list[Notification] = []
        self._posting = False
        self._tasks: set[asyncio.Task[None]] = set()

    def notify(
        self, body: bytes, headers: Headers, *, event_id: str, event: str, references: References = NOBODY
    ) -> None:
        """Returns at once. `event` is the PSP's name of what happened; faults may ask for it or for a reference."""
        notification = Notification(id=event_id, event=event, body=body, headers=headers)
        self.remembered.append(notification)
        if self.url is None:
            return
        fault = self._faults.take(OPERATION, references, event=event)
        match fault.kind if fault else None:
            case FaultKind.WEBHOOK_REORDER:
                self._held.insert(0, notification)
                return
            case FaultKind.WEBHOOK_DROP:
                notification.dropped = True
            case FaultKind.WEBHOOK_LATE:
                assert fault
                self._start(self._enqueue_late(notification, fault.seconds))
            case FaultKind.WEBHOOK_DUPLICATE:
                self._enqueue(notification, notification)
            case _:
                self._enqueue(notification)
        self.release()

    def release(self) -> None:
        """Send what `webhook_reorder` holds back."""
        held, self._held = self._held, []
        self._enqueue(*held)

    def resend(self, *, refused_only: bool = False) -> int:
        """Everything remembered once more, dropped ones too, or only what nobody took; returns how many."""
        chosen = [one for one in self.remembered if one.refused or not refused_only]
        if not refused_only:
            self._held.clear()
        self._enqueue(*chosen)
        return len(chosen)

    def to_json(self) -> Json:
        notifications = [notification.to_json() for notification in self.remembered]
        return {"url": self.url, "settled": not self._tasks, "notifications": notifications}

    async def settled(self) -> None:
        """Until nothing is to be sent any more; what `webhook_reorder` holds back does not count."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def aclose(self) -> None:
        self._queue.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- Posting ---

    def _enqueue(self, *notifications: Notification) -> None:
        self._queue.extend(notifications)
        if self._queue and not self._posting:
            self._posting = True
            self._start(self._post_queue())

    async def _enqueue_late(self, notification: Notification, seconds: float) -> None:
        await self._faults.hold(seconds)
        self._enqueue(notification)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _post_queue(self) -> None:
        timeout = aiohttp.ClientTimeout(total=POST_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
            try:
                while self._queue:
                    await self._post(session, self._queue.popleft())
            finally:
                self._posting = False  # at once: closing the session takes a moment, in which more may come

    async def _post(self, session: aiohttp.ClientSession, notification: Notification) -> None:
        for wait in (0.0, *self._waits_seconds):
            await asyncio.sleep(wait)
            if self.url is None:
                return
            status = await self._status(session, self.url, notification)
            notification.answers.append(status)
            if not notification.refused:
                return

    async def _status(self, session: aiohttp.ClientSession, url: str, notification: Notification) -> int | None:
        made = notification.headers
        headers = made(self._clock()) if callable(made) else made
        try:
            async with session.post(url, data=notification.body, headers=headers, allow_redirects=False) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError):
            return None


_ACCEPTED = range(200, 300)
