"""Deliver what is due: claim, sign, post, judge, record. Two loops side by side, each with one transaction at a time.

    claim:   sweep ─ look for queues ─ claim for the free places ─ commit ─ start a try for each
    tries:   one task each, no connection held; each ends as a result
    record:  write what ended ─ tell partners whose endpoint that disabled or enabled ─ commit

What is not recorded (a crash, a lost database, a stop that took too long) is sent again with the same webhook-id.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any
from uuid import UUID

from db import deliveries, endpoints, failpoints, ids, outbox
from db.database import CommitUncertain, Connection, Database, Unavailable
from db.deliveries import ClaimedDelivery, Queue, Result
from db.records import DeliveryState, Endpoint, PublishedEvent
from db.vault import CannotOpen, Vault
from webhooks import message, schedule
from webhooks.keyring import Keyring
from webhooks.places import Allotment
from webhooks.posting import Answer, Failed, Poster
from webhooks.schedule import Verdict

SWEEP_SECONDS = 30.0
LOOK_SECONDS = 0.02
BATCH_MAX = 256  # half of what may be under way: one half is tried while the other is claimed
SLICE = 32  # of a batch: tries that are started before anybody else has their turn
SECRETS_REMEMBERED = 1_024  # opened: unsealing one takes as long as signing
PROBES_MAX = 10  # of one sweep
RELEASED_MAX = 1_000  # deliveries of one sweep: short transactions, and what is due stays ahead of what was held
FINAL_RECORDS_MAX = 2  # the first may meet a connection that died unnoticed
OUR_RETRY_SECONDS = 60.0
OUR_FAILURES_MAX = 200
"""Tries given back for failures of our own: some three hours of them, then they use up the schedule like any other."""

_log = logging.getLogger("paygate.webhooks")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is under way and how long things may take; the defaults serve one worker process."""

    in_flight_max: int = 512  # a try that waits costs a socket and little else
    slow_max: int = 256  # of those, to endpoints that are slow, silent or unknown
    per_endpoint_max: int = 32
    lease_seconds: float = 60.0  # the posting deadline, a turn, and time to wait out a short loss of the database
    poll_min_seconds: float = 0.05
    poll_max_seconds: float = 0.25
    breath_seconds: float = 0.01
    stop_seconds: float = 5.0  # half of what the process has to stop


DEFAULT_LIMITS = Limits()

Announce = Callable[[Endpoint], PublishedEvent]
"""The event that tells of an endpoint that was just disabled or enabled."""
Observe = Callable[[ClaimedDelivery, Result], None]
"""Told of every try when it ends; for metrics."""


def _ignore(_delivery: ClaimedDelivery, _result: Result) -> None: ...


class Deliverer:
    """Any number of them may run, in one process or many: leases keep a delivery with one at a time."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        poster: Poster,
        *,
        announce: Announce,
        observe: Observe = _ignore,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._database, self._vault, self._poster = database, vault, poster
        self._announce, self._observe, self._clock, self._chance = announce, observe, clock, chance
        self._limits = limits
        self._keyring = Keyring(vault)
        self._open_secret = lru_cache(SECRETS_REMEMBERED)(partial(endpoints.open_secret, vault))
        self._allotment = Allotment(total=limits.in_flight_max, slow=limits.slow_max, each=limits.per_endpoint_max)
        self._claimed = deque[ClaimedDelivery]()
        self._tries: set[asyncio.Task[DeliveryState]] = set()
        self._results: list[Result] = []
        self._to_claim, self._to_record = asyncio.Event(), asyncio.Event()
        self._pause_seconds = limits.poll_min_seconds
        self._queues: list[Queue] = []
        self._news = True
        self._look_at = self._sweep_at = 0.0

    def wake(self) -> None:
        """Something was published by this process: look at once. Other processes' events are met by polling."""
        self._news = True
        self._to_claim.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then what is under way ends, within a bound, and is recorded."""
        waker = asyncio.create_task(self._wake_at(stop))
        try:
            async with asyncio.TaskGroup() as loops:
                loops.create_task(self._repeat(self._claim, self._to_claim, stop))
                loops.create_task(self._repeat(self._record, self._to_record, stop))
            await self._finish()
        finally:
            self._claimed.clear()
            await _cancel(waker, *self._tries)

    async def _repeat(self, turn: Callable[[], Awaitable[float]], awake: asyncio.Event, stop: asyncio.Event) -> None:
        """`turn` after `turn`: when `awake` is set, or the seconds are over that the last one gave."""
        lost = False
        while not stop.is_set():
            awake.clear()
            try:
                seconds, awaited, lost = await turn(), awake, False
            except (Unavailable, CommitUncertain) as loss:
                if not lost:
                    _log.warning("database lost", extra={"fields": {"reason": type(loss).__name__}})
                seconds, awaited, lost = self._limits.poll_max_seconds, stop, True  # nothing else to wake up for
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await awaited.wait()

    async def _claim(self) -> float:
        """Start what is due, as far as places are free. Claims that are lost with their transaction are leased out."""
        await failpoints.reach("turn")
        if self._free <= 0:
            return self._limits.poll_max_seconds
        now = _now()
        if now < self._look_at and not (self._queues or self._news):
            return self._look_at - now
        async with self._database.as_system(deliveries.PLANNING) as connection:
            released, probed = await self._sweep(connection)
            claimed = [*probed, *await self._claim_due(connection)]
            if any(delivery.ed25519 for delivery in claimed):
                await self._keyring.read(connection)
        self._start_all(claimed)
        if released or claimed:
            self._pause_seconds = self._limits.poll_min_seconds
            if len(claimed) < BATCH_MAX // 2:
                await asyncio.sleep(self._limits.breath_seconds)  # what is due meanwhile is one batch
        else:
            self._pause_seconds = min(2 * self._pause_seconds, self._limits.poll_max_seconds)
        return self._pause_seconds

    @property
    def _free(self) -> int:
        """Places for more tries; none while what ended cannot be recorded."""
        return self._allotment.free if len(self._results) < self._limits.in_flight_max else 0

    async def _sweep(self, connection: Connection) -> tuple[int, list[ClaimedDelivery]]:
        now = _now()
        if now < self._sweep_at:
            return 0, []
        released = await deliveries.release(connection, RELEASED_MAX)
        probed = await deliveries.probe(connection, limit=PROBES_MAX, lease_seconds=self._limits.lease_seconds)
        self._sweep_at = now if released == RELEASED_MAX else now + SWEEP_SECONDS
        return released, probed

    async def _claim_due(self, connection: Connection) -> list[ClaimedDelivery]:
        await self._look(connection)
        shares = self._allotment.share(self._queues, _now())
        if not shares:
            return []
        claimed = await deliveries.claim(
            connection,
            shares,
            limit=min(self._allotment.free, BATCH_MAX),
            lease_seconds=self._limits.lease_seconds,
            delays_seconds=schedule.DELAYS_SECONDS,
        )
        found = Counter(delivery.endpoint_id for delivery in claimed)
        self._queues = [queue for queue in self._queues if found[queue.endpoint_id]]
        return claimed

    async def _look(self, connection: Connection) -> None:
        """The queues that have something due. Where they are many, less often: a tenth of the time is for this."""
        began = _now()
        if began < self._look_at and not self._news:
            return
        self._news = False  # before the look: what is announced while it runs is looked for again
        self._queues = await deliveries.waiting(connection)
        ended = _now()
        self._look_at = ended + max(LOOK_SECONDS, 9 * (ended - began))

    async def _record(self) -> float:
        """Write what ended. What cannot be written stays: recording it twice changes nothing."""
        results = tuple(self._results)
        if results:
            await self._write(results)
            del self._results[: len(results)]
            self._to_claim.set()  # what waited for these in its transaction's order
            if len(results) < BATCH_MAX // 2:
                await asyncio.sleep(self._limits.breath_seconds)  # what ends meanwhile is one batch
        return self._limits.poll_max_seconds

    async def _write(self, results: Sequence[Result]) -> None:
        async with self._database.as_system(deliveries.PLANNING) as connection:
            recorded = await deliveries.record(connection, results)
            for endpoint in recorded.changed:
                await outbox.publish(connection, self._announce(endpoint))
        if recorded.fenced:
            _log.warning("results of lost leases dropped", extra={"fields": {"count": recorded.fenced}})
        for endpoint in recorded.changed:
            self._sweep_at = 0.0  # what was held for one that is back is released
            _log.warning(f"endpoint {endpoint.state}", extra=_fields(endpoint.id, reason=endpoint.disabled_reason))

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._to_claim.set()
        self._to_record.set()

    async def _finish(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.stop_seconds):
                while self._tries:
                    await asyncio.wait(self._tries)
        results = tuple(self._results)
        if not results:
            return
        for _ in range(FINAL_RECORDS_MAX):
            with contextlib.suppress(Unavailable, CommitUncertain):
                await self._write(results)
                return
        _log.warning("stopped without recording tries", extra={"fields": {"count": len(results)}})

    def _start_all(self, claimed: Sequence[ClaimedDelivery]) -> None:
        now = _now()
        for delivery in claimed:
            self._allotment.take(delivery.endpoint_id, _place(delivery), now)
        self._claimed.extend(claimed)
        self._start_some()

    def _start_some(self) -> None:
        """A few at a time: whoever waits for the database meanwhile need not wait for all of them."""
        for _ in range(min(len(self._claimed), SLICE)):
            self._start(self._claimed.popleft())
        if self._claimed:
            asyncio.get_running_loop().call_soon(self._start_some)

    def _start(self, delivery: ClaimedDelivery) -> None:
        attempt = asyncio.create_task(self._try(delivery))
        self._tries.add(attempt)
        attempt.add_done_callback(partial(self._ended, delivery))

    def _ended(self, delivery: ClaimedDelivery, attempt: asyncio.Task[DeliveryState]) -> None:
        self._tries.discard(attempt)
        error = asyncio.CancelledError() if attempt.cancelled() else attempt.exception()
        delivered = error is None and attempt.result() is DeliveryState.DELIVERED
        self._allotment.give_back(delivery.endpoint_id, _place(delivery), _now(), delivered=delivered)
        self._to_claim.set()
        self._to_record.set()
        if isinstance(error, Exception):
            # A defect of ours. The claim has counted the try, so the delivery waits its turn and ends as exhausted.
            _log.error("a try ended without a result", exc_info=error, extra=_fields(delivery.endpoint_id, delivery.id))

    async def _try(self, delivery: ClaimedDelivery) -> DeliveryState:
        started_at, began = self._clock(), time.perf_counter()
        outcome = await self._send(delivery, int(started_at))
        seconds = time.perf_counter() - began
        result = conclude(delivery, outcome, started_at=started_at, seconds=seconds, chance=self._chance())
        self._results.append(result)
        if result.error is not None:
            _log.info(
                "delivery failed",
                extra=_fields(
                    delivery.endpoint_id,
                    delivery.id,
                    status=result.status_code,
                    count=delivery.attempts,
                    reason=result.error,
                ),
            )
        self._observe(delivery, result)
        return result.state

    async def _send(self, delivery: ClaimedDelivery, timestamp: int) -> Answer | Failed:
        body = delivery.body.encode()
        try:
            headers = self._headers(delivery, timestamp, body)
        except CannotOpen:
            return Failed("our signing key is not available", ours=True)
        await failpoints.reach("post.sending")
        answer = await self._poster.post(delivery.url, headers, body)
        await failpoints.reach("post.answered")
        return answer

    def _headers(self, delivery: ClaimedDelivery, timestamp: int, body: bytes) -> dict[str, str]:
        """Raises `CannotOpen`."""
        vault, partner_id, endpoint_id = self._vault, delivery.partner_id, delivery.endpoint_id
        return message.headers(
            message.Signed(ids.encode("evt", delivery.event_id), timestamp, body),
            secrets=[
                self._open_secret(sealed, partner_id=partner_id, endpoint_id=endpoint_id) for sealed in delivery.secrets
            ],
            private_keys=self._keyring.private_keys() if delivery.ed25519 else (),
            own=endpoints.open_headers(vault, delivery.headers, partner_id=partner_id, endpoint_id=endpoint_id),
        )


def _now() -> float:
    return asyncio.get_running_loop().time()


def _place(delivery: ClaimedDelivery) -> tuple[UUID, int]:
    """What takes up a place: a claim. A process that slept beyond a lease may claim again what it is trying."""
    return delivery.id, delivery.epoch


def conclude(
    delivery: ClaimedDelivery, outcome: Answer | Failed, *, started_at: float, seconds: float, chance: float
) -> Result:
    """What an outcome means for its delivery and its endpoint."""
    ours = isinstance(outcome, Failed) and outcome.ours
    given_back = ours and delivery.epoch <= OUR_FAILURES_MAX
    state, retry_seconds = _next(delivery, outcome, now=started_at + seconds, chance=chance)
    if given_back:
        state, retry_seconds = DeliveryState.PENDING, schedule.jittered(OUR_RETRY_SECONDS, chance)
    return Result(
        partner_id=delivery.partner_id,
        delivery_id=delivery.id,
        epoch=delivery.epoch,
        state=state,
        retry_seconds=retry_seconds,
        counts=not ours,
        given_back=given_back,
        started_at=datetime.fromtimestamp(started_at, UTC),
        duration_ms=int(seconds * 1000),
        status_code=outcome.status if isinstance(outcome, Answer) else None,
        error=_error(outcome),
        response_excerpt=outcome.excerpt if isinstance(outcome, Answer) else None,
    )


def _next(
    delivery: ClaimedDelivery, outcome: Answer | Failed, *, now: float, chance: float
) -> tuple[DeliveryState, float | None]:
    asked = 0.0
    if isinstance(outcome, Answer):
        match schedule.judge(outcome.status):
            case Verdict.DELIVERED:
                return DeliveryState.DELIVERED, None
            case Verdict.GONE:
                return DeliveryState.HELD, None
            case Verdict.RETRY:
                asked = schedule.retry_after_seconds(outcome.retry_after, now=now)
    wait = schedule.delay_seconds(delivery.attempts, chance, retry_after=asked)
    return (DeliveryState.EXHAUSTED if wait is None else DeliveryState.PENDING), wait


def _error(outcome: Answer | Failed) -> str | None:
    match outcome:
        case Failed(reason=reason):
            return reason
        case Answer(status=status) if 300 <= status < 400:  # noqa: PLR2004 - redirections, RFC 9110
            return "redirects are not followed"
        case Answer(status=status):
            return None if schedule.judge(status) is Verdict.DELIVERED else f"answered {status}"


def _fields(endpoint_id: UUID, delivery_id: UUID | None = None, **more: object) -> dict[str, object]:
    """Log fields (their names are the gateway's): ids and numbers, never a URL, a body or a secret."""
    delivery = {} if delivery_id is None else {"delivery_id": ids.encode("whd", delivery_id)}
    return {"fields": {"endpoint_id": ids.encode("whe", endpoint_id), **delivery, **more}}


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
