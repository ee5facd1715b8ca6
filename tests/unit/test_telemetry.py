"""Promise: a log line holds what was meant to be logged, on one line, and nothing else."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from gateway import telemetry

CANARY = "sk_test_canary"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    loggers = [logging.getLogger(name) for name in (None, "uvicorn", "uvicorn.error", "uvicorn.access")]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    sink = telemetry._sink.stream, telemetry._sink.level
    stream = io.StringIO()
    telemetry.configure_logging("INFO", stream)
    yield stream
    logging.captureWarnings(capture=False)
    telemetry._sink.stream, telemetry._sink.level = sink
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.level, logger.propagate = handlers, level, propagate


def only(stream: io.StringIO) -> dict[str, object]:
    (line,) = stream.getvalue().splitlines()
    read: dict[str, object] = json.loads(line)
    return read


def test_a_line_is_one_json_object_with_the_fields_given(lines: io.StringIO) -> None:
    telemetry.log("request answered", status=201, request_id="req_1", partner_id=None)
    line = only(lines)
    assert (line["event"], line["status"], line["request_id"], line["level"]) == (
        "request answered",
        201,
        "req_1",
        "info",
    )
    assert "partner_id" not in line


def test_a_field_nobody_named_is_dropped(lines: io.StringIO) -> None:
    telemetry.log("request answered", body=CANARY, authorization=CANARY, status=200)
    assert CANARY not in lines.getvalue()


def test_nothing_can_forge_a_second_line(lines: io.StringIO) -> None:
    telemetry.log("request answered", reason='x\n{"event": "forged"}\r\x1b[2J\u2028')
    assert len(lines.getvalue().splitlines()) == 1
    assert lines.getvalue().isascii()


def fail() -> None:
    try:
        raise ValueError(CANARY)  # noqa: TRY301 - a cause is wanted
    except ValueError as error:
        raise RuntimeError(CANARY) from error


def test_an_exception_is_logged_without_what_it_says(lines: io.StringIO) -> None:
    try:
        fail()
    except RuntimeError as error:
        telemetry.log("request failed", level=logging.ERROR, error=error)
    line = only(lines)
    assert CANARY not in lines.getvalue()
    assert isinstance(line["exception"], list)
    assert [link["type"] for link in line["exception"]] == ["builtins.RuntimeError", "builtins.ValueError"]
    assert "test_telemetry.py" in line["exception"][0]["frames"][0]


@pytest.mark.parametrize("name", ["httpx", "asyncpg", "asyncio", "uvicorn.error", "stripe"])
def test_a_librarys_arguments_are_not_logged(lines: io.StringIO, name: str) -> None:
    logging.getLogger(name).error("request to %s failed\n%s", CANARY, CANARY, exc_info=ValueError(CANARY))
    assert only(lines)["event"] == "request to %s failed"
    assert CANARY not in lines.getvalue()


def test_time_at_psps_is_counted_for_the_request_that_spent_it() -> None:
    stopwatch = telemetry.start_stopwatch()
    telemetry.psp_exchanged("psp.example", 0.25)
    telemetry.psp_exchanged("psp.example", 0.5)
    assert stopwatch.seconds == 0.75
