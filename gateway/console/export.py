"""A list as a CSV file, written while it is read: batches in short transactions of their own, never all of it at once.

RFC 4180 in UTF-8 with a byte order mark, as spreadsheets want it. They would also run a cell that looks like a formula:
such a cell begins with an apostrophe here.
"""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from decimal import Decimal

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from gateway.console.progress import Progress

BATCH = 500
ROWS_MAX = 1_000_000
Row = Sequence[object]
Batches = AsyncGenerator[Sequence[Row]]
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def cell(value: object) -> str:
    """One value as text that no spreadsheet runs."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, Decimal):
        return f"{value:f}"
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def lines(rows: Iterable[Row]) -> bytes:
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerows([cell(value) for value in row] for row in rows)
    return written.getvalue().encode("utf-8", "replace")


class Download(StreamingResponse):
    """The file, as it is written. `ended` is called once, however it ended: read to the end, given up, or failed."""

    def __init__(
        self,
        columns: Sequence[str],
        batches: Batches,
        progress: Progress,
        *,
        name: str,
        ended: Callable[[Progress], Awaitable[None]],
    ) -> None:
        super().__init__(
            _written(columns, batches, progress),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
        )
        self._progress = progress
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._progress.ended, self._progress.touched = True, time.monotonic()
            await self._ended(self._progress)


async def _written(columns: Sequence[str], batches: Batches, progress: Progress) -> AsyncIterator[bytes]:
    yield b"\xef\xbb\xbf" + lines([columns])
    async with aclosing(batches) as read:
        async for batch in read:
            left = ROWS_MAX - progress.rows
            yield lines(batch[:left])
            progress.rows += len(batch[:left])
            if len(batch) > left:
                return
    progress.complete = True
