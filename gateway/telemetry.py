"""Every metric and every log field, by name. What is not named here cannot be logged.

A log line is one JSON object. Exceptions are logged as type and frames, without values: a message can hold a secret.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO
from urllib.parse import urlsplit

from prometheus_client import Counter, Gauge, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

# ── Metrics ─────────────────────────────────────────────────────────────────────────────────────────────────────

requests = Counter("paygate_http_requests_total", "Answered requests", ["route", "method", "status"])
request_seconds = Histogram("paygate_http_request_seconds", "Time to answer", ["route"], buckets=SECONDS)
auth_failures = Counter("paygate_auth_failures_total", "Refused keys", ["reason"])
rate_limited = Counter("paygate_rate_limited_total", "Requests refused with 429", ["limit"])
redis_fallbacks = Counter("paygate_redis_fallbacks_total", "Rate limits decided locally because Redis did not answer")
card_data_refused = Counter("paygate_card_data_refused_total", "Requests refused because they held card data")
psp_seconds = Histogram("paygate_psp_seconds", "Exchanges with a PSP's host", ["host"], buckets=SECONDS)
psp_calls = Counter(
    "paygate_psp_calls_total", "Calls to PSPs about attempts", ["provider", "account", "operation", "outcome"]
)
failovers = Counter(
    "paygate_failovers_total", "Charges that went on at another account", ["from_provider", "to_provider"]
)
transactions = Counter("paygate_transactions_total", "Transactions by the status they reached", ["status"])
replays = Counter("paygate_idempotent_replays_total", "Answers given from an idempotency key")
recoveries = Counter("paygate_recoveries_total", "Attempts settled by recovery", ["outcome"])
late_successes = Counter(
    "paygate_late_successes_total", "Charges that took money after they were over, and were given back", ["provider"]
)
breaches = Gauge("paygate_invariant_breaches", "Open findings of the watchdog and the reconciler", ["kind"])
reviews_open = Gauge("paygate_reviews_open", "Transactions that need a human")
notifications = Counter("paygate_notifications_total", "PSP notifications as they came in", ["provider", "outcome"])
notifications_open = Gauge("paygate_notifications_open", "Notifications not applied", ["provider", "state"])
provider_events = Counter("paygate_provider_events_total", "PSP notifications when applied", ["provider", "state"])
deliveries = Counter("paygate_webhook_deliveries_total", "Attempts to deliver a webhook", ["outcome"])
delivery_seconds = Histogram("paygate_webhook_seconds", "Webhook attempts", buckets=SECONDS)
deliveries_due = Gauge("paygate_webhook_deliveries_due", "Deliveries that wait for a worker")
deliveries_age = Gauge("paygate_webhook_deliveries_age_seconds", "For how long the oldest of them has been due")
feed_lag = Gauge("paygate_feed_lag_seconds", "For how long the oldest event that GET /v1/events holds back has waited")
attempts_open = Gauge("paygate_attempts_open", "Attempts whose outcome is not known", ["provider", "state"])
attempts_age = Gauge("paygate_attempts_open_age_seconds", "Age of the oldest of them", ["provider", "state"])
history_unsealed = Gauge("paygate_history_unsealed_seconds", "Age of the last seal's end", ["table"])
history_unverified = Gauge("paygate_history_unverified_seconds", "Since a pass over all seals was last over", ["table"])
history_broken = Gauge("paygate_history_broken_seals", "Seals that the last pass or this one found broken", ["table"])
connections_in_use = Gauge("paygate_database_connections_in_use", "Connections taken from the pool", ["role"])

_children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}


def observe_request(route: str, method: str, status: int, seconds: float) -> None:
    """`route` is a template and `method` a known one: the label sets are bounded, so their look-up may be kept."""
    children = _children.get((route, method, status))
    if children is None:
        children = requests.labels(route, method, str(status)), request_seconds.labels(route)
        _children[route, method, status] = children
    children[0].inc()
    children[1].observe(seconds)


# ── Time spent at PSPs, per request ─────────────────────────────────────────────────────────────────────────────


class Stopwatch:
    """Seconds spent at PSPs since the request began; shared by every task the request starts."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0


_stopwatch: ContextVar[Stopwatch | None] = ContextVar("psp_stopwatch", default=None)


def notification_received(provider: str, outcome: str) -> None:
    """To be given to `webhooks.inbound.Inbound`."""
    notifications.labels(provider, outcome).inc()


def start_stopwatch() -> Stopwatch:
    stopwatch = Stopwatch()
    _stopwatch.set(stopwatch)
    return stopwatch


def psp_exchanged(host: str, seconds: float) -> None:
    """To be given to `providers.http.Doorway(observe=…)`."""
    psp_seconds.labels(host).observe(seconds)
    stopwatch = _stopwatch.get()
    if stopwatch is not None:
        stopwatch.seconds += seconds


# ── Logs ────────────────────────────────────────────────────────────────────────────────────────────────────────

FIELDS = frozenset(
    {
        "account_id",
        "action",
        "attempt_id",
        "code",
        "count",
        "currency",
        "delivery_id",
        "duration_ms",
        "endpoint_id",
        "error",
        "event_id",
        "event_type",
        "head",
        "host",
        "ip_address",
        "key_id",
        "method",
        "next_attempt_at",
        "operation",
        "outcome",
        "partner_id",
        "pid",
        "port",
        "provider",
        "psp_ms",
        "reason",
        "request_id",
        "refund_id",
        "route",
        "sequence",
        "state",
        "status",
        "table",
        "transaction_id",
        "url_host",
        "version",
    }
)
TEXT_MAX = 300
FRAMES_MAX = 30

_ENCODER = json.JSONEncoder(ensure_ascii=True)  # escapes whatever could forge a line


class _Sink:
    """Where lines go. Our own do not pass through `logging`: a line per request then costs a third."""

    def __init__(self) -> None:
        self.stream: TextIO | None = None
        self.level = logging.WARNING

    def write(self, level: int, line: dict[str, object]) -> None:
        stream = self.stream or sys.stderr
        head = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "level": _LEVELS.get(level, "error")}
        stream.write(_ENCODER.encode(head | line) + "\n")
        stream.flush()


_LEVELS = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}
_sink = _Sink()


def log(event: str, *, level: int = logging.INFO, error: BaseException | None = None, **fields: object) -> None:
    """One line: `event` is a fixed name such as `"request answered"`; fields not in `FIELDS` are dropped."""
    if level < _sink.level:
        return
    line: dict[str, object] = {"event": event}
    for name, value in fields.items():
        if value is not None and name in FIELDS:
            line[name] = value if isinstance(value, bool | int | float) else str(value)[:TEXT_MAX]
    if error is not None:
        line["exception"] = describe(error)
    _sink.write(level, line)


def configure_logging(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Route every logger of the process, libraries included, to standard error in our form."""
    _sink.stream, _sink.level = stream, logging.getLevelNamesMapping()[level]
    root = logging.getLogger()
    root.handlers[:] = [_Libraries()]
    root.setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.setLevel(logging.WARNING)
        logger.propagate = name != "uvicorn.access"  # the gateway writes its own line for each request
    logging.captureWarnings(capture=True)


class _Libraries(logging.Handler):
    """Of a library's record only what cannot hold a value: its template without arguments, up to the line end."""

    def emit(self, record: logging.LogRecord) -> None:
        template = str(record.msg).partition("\n")[0][:TEXT_MAX]
        line: dict[str, object] = {"event": template, "logger": record.name}
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = describe(record.exc_info[1])
        _sink.write(record.levelno, line)


def describe(error: BaseException) -> list[dict[str, object]]:
    """The error and what caused it, innermost last: type and frames, neither message nor locals."""
    chain: list[dict[str, object]] = []
    current: BaseException | None = error
    while current is not None and len(chain) < 5:  # noqa: PLR2004 - deeper causes add nothing
        frames = traceback.extract_tb(current.__traceback__)[-FRAMES_MAX:]
        chain.append(
            {
                "type": f"{type(current).__module__}.{type(current).__qualname__}",
                "frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
            }
        )
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return chain


def host_of(url: str) -> str:
    """What of an address may be logged: its host."""
    return urlsplit(url).hostname or ""


def milliseconds_since(began: float) -> float:
    """`began` is a reading of `time.perf_counter()`."""
    return round((time.perf_counter() - began) * 1000, 2)
