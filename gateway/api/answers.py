"""A use case's answer as HTTP tells it."""

from __future__ import annotations

from gateway import telemetry
from gateway.api.calls import Answer
from gateway.transactions.idempotency import Answered


def answered(result: Answered) -> Answer:
    headers: dict[str, str] = {}
    if result.replayed:
        telemetry.replays.inc()
        headers["Idempotent-Replayed"] = "true"
    if result.location is not None:
        headers["Location"] = result.location
    if result.retry_after_seconds is not None:
        headers["Retry-After"] = str(result.retry_after_seconds)
    return Answer(status=result.status, body=result.body.encode(), headers=headers)
