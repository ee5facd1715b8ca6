"""What a key that was used before is worth: the answer it got, a refusal, or the attempt it belongs to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from uuid import UUID

from db import idempotency
from db.database import Connection
from gateway.runtime import Runtime
from gateway.transactions.commands import Caller

ACCEPTED = 202
ASK_AGAIN_SECONDS = 5.0
"""At most: most first requests end within a second, though their lease is longer."""


class KeyReused(Exception):
    """The key came with another request before."""


class InProgress(Exception):
    """The first request with this key is still at work; ask again in `retry_after_seconds`."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__("the first request with this key is still in progress")
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A use case's result as HTTP will tell it: `body` is final text. `replayed` where it is an earlier answer."""

    status: int
    body: str
    replayed: bool = False
    location: str | None = None
    retry_after_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """The key was used, its attempt has no lasting answer yet and nobody works on it at the moment."""

    transaction_id: UUID
    attempt_id: UUID


async def lasting(runtime: Runtime, caller: Caller, answered: Answered) -> Answered:
    """What the key got for good, where somebody else concluded its attempt: every repeat will be told that."""
    if answered.status == ACCEPTED or caller.key is None:
        return answered
    async with runtime.database.as_partner(caller.scope.partner_id) as connection:
        found = await idempotency.find(connection, caller.scope, caller.key)
    if found is None or found.response_status is None:
        return answered
    return Answered(status=found.response_status, body=found.response_body or "", replayed=True)


async def earlier(connection: Connection, caller: Caller) -> Answered | Unanswered | None:
    """What the key of this call led to before, None where it is new. Raises `KeyReused` and `InProgress`."""
    found = await idempotency.find(connection, caller.scope, caller.key) if caller.key is not None else None
    if found is None:
        return None
    if found.fingerprint != caller.fingerprint:
        raise KeyReused
    if found.response_status is not None:
        return Answered(status=found.response_status, body=found.response_body or "", replayed=True)
    assert found.transaction_id is not None
    assert found.attempt_id is not None
    if found.lease_left_seconds:
        raise InProgress(math.ceil(min(found.lease_left_seconds, ASK_AGAIN_SECONDS)))
    return Unanswered(transaction_id=found.transaction_id, attempt_id=found.attempt_id)
