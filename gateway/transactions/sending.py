"""One attempt's exchange with its PSP. No database connection is held here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime

from db import ids
from db.records import Attempt
from gateway import telemetry
from gateway.transactions import outcomes
from providers.contract import NotSent, Outcome, Prepared, Provider, Rejected, Unknown

TOTAL_SECONDS = 25.0
"""How long a caller waits for a PSP in all; a lease outlives it by enough to write the outcome."""
SECOND_TRY_SECONDS = 8.0
"""With this much left, a lost answer is asked for once more under the same key: most losses are of the moment."""
CHECKS_OF_THE_FIRST_HOUR = 5
"""See `changes.CHECK_SECONDS`."""


async def send(adapter: Provider, attempt: Attempt, *, within: float = TOTAL_SECONDS) -> Outcome:
    """Send for the first time; on a lost answer once more under the same key, if `within` leaves the time."""
    clock = asyncio.get_running_loop().time
    until = clock() + within
    try:
        async with asyncio.timeout(within):
            outcome = await _exchange(adapter, attempt)
    except TimeoutError:
        return Unknown(reason="no answer in time")
    left = until - clock()
    if not isinstance(outcome, Unknown) or left < SECOND_TRY_SECONDS:
        return outcome
    try:
        async with asyncio.timeout(left):
            second = await send_again(adapter, attempt)
    except TimeoutError:
        return outcome
    return outcome if isinstance(second, Unknown) else second


async def send_again(adapter: Provider, attempt: Attempt) -> Outcome:
    """The same bytes under the same key, to learn what the first send did."""
    return believed(await _exchange(adapter, attempt))


async def look_up(adapter: Provider, attempt: Attempt) -> Outcome:
    """Ask the PSP what became of the attempt, sending nothing that could move money."""
    outcome = await adapter.look_up(
        Prepared.from_json(attempt.request), provider_id=attempt.provider_id, sent_at=_sent_at(attempt)
    )
    _count(attempt, outcome)
    return believed(outcome)


async def proceed(adapter: Provider, attempt: Attempt, returned: Mapping[str, str]) -> Outcome:
    """Carry on a charge that the customer may have approved."""
    outcome = await adapter.proceed(
        Prepared.from_json(attempt.request),
        key=attempt.provider_key,
        provider_id=attempt.provider_id,
        returned=returned,
    )
    _count(attempt, outcome)
    return believed(outcome)


async def rule_out(adapter: Provider, attempt: Attempt, key: str) -> Outcome:
    """Make sure that nothing comes of a charge any more; `key` is its own, not the charge's."""
    outcome = await adapter.rule_out(
        Prepared.from_json(attempt.request), key=key, provider_id=attempt.provider_id, sent_at=_sent_at(attempt)
    )
    _count(attempt, outcome)
    return believed(outcome)


def believed(outcome: Outcome) -> Outcome:
    """Of a later exchange: that *it* was not executed says nothing about the first one."""
    if isinstance(outcome, NotSent | Rejected):
        reason = outcome.reason.value if isinstance(outcome, NotSent) else f"refused: {outcome.provider_code}"
        return Unknown(reason=f"asked again: {reason}", trace=outcome.trace)
    return outcome


async def _exchange(adapter: Provider, attempt: Attempt) -> Outcome:
    outcome = await adapter.send(Prepared.from_json(attempt.request), key=attempt.provider_key)
    _count(attempt, outcome)
    return outcome


def _sent_at(attempt: Attempt) -> datetime | None:
    """When it was sent. Later resends may be what the PSP executed: then it lies anywhere between the first and now."""
    return attempt.created_at if attempt.checks <= CHECKS_OF_THE_FIRST_HOUR else None


def _count(attempt: Attempt, outcome: Outcome) -> None:
    account, told = ids.encode("pac", attempt.account_id), outcomes.NAMES[type(outcome)]
    telemetry.psp_calls.labels(attempt.provider, account, attempt.operation, told).inc()
