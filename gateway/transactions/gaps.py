"""The gap filler: what a PSP lists as told and we never heard goes into the inbox, as if its notification had come.

What came before is recognised as the same; what has no list (Adyen) is met by the attempts' own checks only.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from itertools import islice

from db import account_readings, inbox, provider_accounts
from db.account_readings import Due, Reading
from db.database import CommitUncertain, Unavailable
from gateway import telemetry
from gateway.runtime import Runtime
from providers import PROVIDERS
from providers.contract import CannotList, Received

AGAIN_SECONDS = 300.0
OVERLAP = timedelta(minutes=10)
"""Read again each time: a PSP may list an event later than one that happened after it."""
READING_SECONDS = 60.0
ACCOUNTS_MAX = 20
BATCH = 100


async def fill_due(runtime: Runtime) -> int:
    """One round of the worker; the number of accounts read."""
    providers = [name for name, adapter in PROVIDERS.items() if adapter.capabilities.events_kept_seconds is not None]
    async with runtime.database.as_system() as connection:
        await account_readings.begin(connection, providers)
        due = await account_readings.take_due(
            connection, Reading.EVENTS, providers, again_seconds=AGAIN_SECONDS, limit=ACCOUNTS_MAX
        )
    for one in due:
        try:
            async with asyncio.timeout(READING_SECONDS):
                await fill(runtime, one)
        except (CannotList, TimeoutError) as error:  # the next round begins where this one did
            telemetry.log("events not listed", provider=one.provider, account_id=one.account_id, error=error)
        except (Unavailable, CommitUncertain):
            raise
        except Exception as error:  # noqa: BLE001 - one account must not keep the others from being read
            telemetry.log("events not read", level=logging.ERROR, account_id=one.account_id, error=error)
    return len(due)


async def fill(runtime: Runtime, due: Due) -> None:
    """Store every event that the account's PSP lists since it was read. Raises `CannotList`."""
    began = runtime.clock()
    async with runtime.database.as_system() as connection:
        row = await provider_accounts.find(connection, due.account_id)
    assert row is not None
    adapter = runtime.accounts.opened(row)
    kept = timedelta(seconds=adapter.capabilities.events_kept_seconds or 0)
    since = max(due.until - OVERLAP, began - kept)
    found: list[Received] = [item async for item in adapter.missed(since=since)]
    remaining = iter(found)
    while batch := list(islice(remaining, BATCH)):
        async with runtime.database.as_system() as connection:
            for item in batch:
                await inbox.store(connection, row, dedupe_key=item.dedupe_key, headers={}, body=item.body)
    async with runtime.database.as_system() as connection:
        await account_readings.read_until(connection, Reading.EVENTS, due.account_id, began)
    if found:
        runtime.notified.set()
