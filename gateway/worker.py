"""The worker: delivers webhooks, settles open attempts, keeps house. Any number may run beside any number of APIs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from db import (
    audit_verifications,
    failpoints,
    feed,
    idempotency,
    ids,
    inbox,
    outbox,
    partitions,
    search,
    signing_keys,
    support_sessions,
    transactions,
)
from db.database import CommitUncertain, Role, Unavailable
from db.deliveries import ClaimedDelivery, Result
from db.records import Endpoint, PublishedEvent
from gateway import counting, doctor, listener, manifests, metrics, replays, runtime, sealing, telemetry
from gateway.api.webhooks import endpoint_body
from gateway.config import Settings
from gateway.runtime import Runtime
from gateway.transactions import followups, gaps, provider_events, reconciler, recovery, representation, watchdog
from gateway.transactions.lanes import Lanes
from webhooks.outbound import Deliverer
from webhooks.posting import Poster

RESOLVE_SECONDS = 1.0
EXPIRE_SECONDS = 3.0
NOTIFIED_SECONDS = 1.0
GAPS_SECONDS = 10.0
RECONCILE_SECONDS = 10.0
REPLAY_SECONDS = 1.0
MANIFEST_SECONDS = 60.0
WATCH_SECONDS = 60.0
SEAL_SECONDS = 60.0
VERIFY_SECONDS = 60.0
COUNT_SECONDS = 30.0
MERGE_SECONDS = 1.0
GAUGE_SECONDS = 5.0
HOUSE_SECONDS = 3600.0
MONTHS_AHEAD = 3
"""Partitions are made this long before they are needed: a worker may be down for weeks."""
FORGET_MAX = 1_000

Job = Callable[[Runtime], Awaitable[object]]


@asynccontextmanager
async def deliverer(opened: Runtime) -> AsyncIterator[Deliverer]:
    async with Poster(opened.address_policy, look_up=opened.look_up) as poster:
        yield Deliverer(opened.database, opened.vault, poster, announce=_announce_with(opened), observe=_observed)


async def work(opened: Runtime, delivering: Deliverer, stop: asyncio.Event) -> None:
    """Every loop of the worker, until `stop` is set; what is under way is finished."""
    async with asyncio.TaskGroup() as group:
        group.create_task(delivering.run(stop))
        group.create_task(_apply_notifications(opened, stop))
        for job, seconds in jobs():
            group.create_task(_every(seconds, job, opened, stop))


def jobs() -> tuple[tuple[Job, float], ...]:
    """What is done again and again, and the seconds between two rounds."""
    lanes = Lanes()

    async def resolve(runtime: Runtime) -> None:
        await recovery.begin_due(runtime, lanes)

    return (
        (resolve, RESOLVE_SECONDS),
        (followups.expire_due, EXPIRE_SECONDS),
        (gaps.fill_due, GAPS_SECONDS),
        (reconciler.reconcile_due, RECONCILE_SECONDS),
        (replays.replay_due, REPLAY_SECONDS),
        (manifests.close_due, MANIFEST_SECONDS),
        (recovery.flag_overdue, WATCH_SECONDS),
        (watchdog.Rounds().watch, WATCH_SECONDS),
        (sealing.Sealer().seal_due, SEAL_SECONDS),
        (sealing.verify_due, VERIFY_SECONDS),
        (counting.count_due, COUNT_SECONDS),
        (_merge_words, MERGE_SECONDS),
        (_gauge, GAUGE_SECONDS),
        (_keep_house, HOUSE_SECONDS),
    )


async def serve(settings: Settings) -> None:
    """Until SIGTERM or SIGINT. Raises `doctor.Unfit`."""
    async with runtime.opened(settings, Role.WORKER) as opened, deliverer(opened) as delivering:
        await doctor.refuse_if_unfit(opened)
        opened.wake_deliverer = delivering.wake
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        telemetry.log("working")
        async with asyncio.TaskGroup() as group:
            group.create_task(work(opened, delivering, stop))
            group.create_task(_metrics(settings, stop))


def run(settings: Settings) -> int:
    """`paygate worker`."""
    telemetry.configure_logging(settings.log_level)
    failpoints.arm_process(settings.failpoints)
    listener.run_loop(serve(settings))
    return 0


async def _every(
    seconds: float, job: Job, opened: Runtime, stop: asyncio.Event, awake: asyncio.Event | None = None
) -> None:
    """Again and again, also after a failure: the next round finds what this one left. `awake` ends a pause early."""
    awaited = awake or stop
    while not stop.is_set():
        if awake is not None:
            awake.clear()
        try:
            await failpoints.reach(f"round.{job.__qualname__.rpartition('.')[2].strip('_')}")
            await job(opened)
        except (Unavailable, CommitUncertain) as loss:
            telemetry.log("database lost", level=logging.WARNING, reason=type(loss).__name__)
        except Exception as error:  # noqa: BLE001 - logged; a loop that ends would leave its work undone for good
            telemetry.log("job failed", level=logging.ERROR, error=error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await awaited.wait()


async def _apply_notifications(opened: Runtime, stop: asyncio.Event) -> None:
    """At once where this process stores them too, else by looking every second."""
    lanes = Lanes()

    async def apply(runtime: Runtime) -> None:
        while await provider_events.begin_due(runtime, lanes) == provider_events.BATCH:
            pass

    async def wake() -> None:
        await stop.wait()
        opened.notified.set()

    waking = asyncio.create_task(wake())
    await _every(NOTIFIED_SECONDS, apply, opened, stop, opened.notified)
    await waking


async def _merge_words(opened: Runtime) -> None:
    """What waits is read by every search, and merged by a charge if by nobody else."""
    async with opened.database.statement() as connection:
        await search.merge(connection)


async def _gauge(opened: Runtime) -> None:
    async with opened.database.as_system() as connection:
        due, age = await outbox.backlog(connection)
        attempts = await transactions.open_attempts(connection)
        reviews = await transactions.reviews_open(connection)
        notifications = await inbox.backlog(connection)
        lag = await feed.lag_seconds(connection)
        history = await audit_verifications.states(connection)
    telemetry.deliveries_due.set(due)
    telemetry.deliveries_age.set(age)
    telemetry.feed_lag.set(lag)
    telemetry.reviews_open.set(reviews)
    for one in history:
        telemetry.history_unsealed.labels(one.table_name).set(one.unsealed_seconds or 0)
        telemetry.history_unverified.labels(one.table_name).set(one.unverified_seconds or 0)
        telemetry.history_broken.labels(one.table_name).set(one.broken)
    telemetry.notifications_open.clear()
    for provider, state, count in notifications:
        telemetry.notifications_open.labels(provider, state).set(count)
    telemetry.attempts_open.clear()
    telemetry.attempts_age.clear()
    for provider, state, count, oldest in attempts:
        telemetry.attempts_open.labels(provider, state).set(count)
        telemetry.attempts_age.labels(provider, state).set(oldest)


async def _keep_house(opened: Runtime) -> None:
    async with opened.database.as_system() as connection:
        await partitions.create(connection, MONTHS_AHEAD)
    async with opened.database.as_system() as connection:
        await signing_keys.ensure(connection, opened.vault)
    forgotten = FORGET_MAX
    while forgotten == FORGET_MAX:
        async with opened.database.as_system() as connection:
            forgotten = await idempotency.forget_expired(connection, FORGET_MAX)
    forgotten = FORGET_MAX
    while forgotten == FORGET_MAX:
        async with opened.database.as_system() as connection:
            forgotten = await support_sessions.forget(connection, FORGET_MAX)


async def _metrics(settings: Settings, stop: asyncio.Event) -> None:
    server = metrics.server(settings, metrics.WORKER_PORT)
    if server is None:
        return
    async with asyncio.TaskGroup() as group:
        group.create_task(listener.run([server]))
        await stop.wait()
        server.should_exit = True


def _announce_with(opened: Runtime) -> Callable[[Endpoint], PublishedEvent]:
    def announce(endpoint: Endpoint) -> PublishedEvent:
        event_id, at, kind = ids.new(), opened.clock(), f"endpoint.{endpoint.state}"
        return PublishedEvent(
            partner_id=endpoint.partner_id,
            id=event_id,
            livemode=endpoint.livemode,
            type=kind,
            transaction_id=None,
            sequence=None,
            body=representation.event_text(
                event_id, kind, at=at, sequence=None, data=representation.encode(endpoint_body(endpoint))
            ),
            created_at=at,
        )

    return announce


def _observed(_delivery: ClaimedDelivery, result: Result) -> None:
    telemetry.deliveries.labels(result.state).inc()
    telemetry.delivery_seconds.observe(result.duration_ms / 1000)
