from __future__ import annotations

import csv
import io
import tracemalloc
from contextlib import nullcontext
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from starlette.requests import ClientDisconnect

from gateway.console import export
from gateway.console.export import Batches, Download
from gateway.console.progress import Progress

HOSTILE = {
    '=HYPERLINK("https://evil.example")': '\'=HYPERLINK("https://evil.example")',
    "+1": "'+1",
    "-1": "-1",
    "-12.50": "-12.50",
    "-1+1": "'-1+1",
    "@SUM(A1)": "'@SUM(A1)",
    "\t=1": "'\t=1",
    "\r=1": "'\r=1",
    'she said "no", then\nleft': 'she said "no", then\nleft',
    "＝1+1": "'＝1+1",
    "Zoë – 漢字": "Zoë – 漢字",
    "'quoted": "'quoted",
    "": "",
}


def test_no_cell_runs_and_every_cell_reads_back_as_it_was_written() -> None:
    written = export.lines([list(HOSTILE)]).decode("utf-8")
    assert written.endswith("\r\n")
    (row,) = csv.reader(io.StringIO(written, newline=""))
    assert row == list(HOSTILE.values())


def test_values_are_written_as_machines_read_them() -> None:
    at = datetime(2026, 11, 28, 7, 30, tzinfo=UTC)
    row = [None, True, Decimal("-0.0000100"), at, 12]
    assert export.lines([row]) == b",true,-0.0000100,2026-11-28T07:30:00Z,12\r\n"


async def file_of(batches: Batches, progress: Progress, *, fails: bool = False) -> tuple[int, list[int]]:
    """How many bytes came, and how many rows were told at the end, each time the end was told."""
    told: list[int] = []
    size = 0

    async def ended(progress: Progress) -> None:
        told.append(progress.rows)

    async def receive() -> dict[str, object]:
        return {"type": "http.request"}

    async def send(message: dict[str, object]) -> None:
        nonlocal size
        body = message.get("body", b"")
        assert isinstance(body, bytes)
        size += len(body)
        if fails and size > 1_000:
            raise OSError

    download = Download(["a", "b"], batches, progress, name="x.csv", ended=ended)
    scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
    with pytest.raises(ClientDisconnect) if fails else nullcontext():
        await download(scope, receive, send)  # type: ignore[arg-type]
    return size, told


def a_progress() -> Progress:
    return Progress(listing="x", person_id=UUID(int=1), about=None)


async def rows(batches: int) -> Batches:
    for _ in range(batches):
        yield [("x" * 100, "y" * 100)] * export.BATCH


async def test_a_file_of_any_length_takes_the_memory_of_a_batch() -> None:
    tracemalloc.start()
    size, told = await file_of(rows(400), progress := a_progress())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 40_000_000
    assert peak < 4_000_000
    assert (told, progress.complete, progress.ended) == ([200_000], True, True)


async def test_a_file_ends_at_its_most_rows_and_says_so() -> None:
    _, told = await file_of(rows(export.ROWS_MAX // export.BATCH + 1), progress := a_progress())
    assert (told, progress.complete) == ([export.ROWS_MAX], False)


async def test_a_file_that_nobody_takes_is_ended_once() -> None:
    _, told = await file_of(rows(10), progress := a_progress(), fails=True)
    assert len(told) == 1
    assert (progress.complete, progress.ended) == (False, True)
