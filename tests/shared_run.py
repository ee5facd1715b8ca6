"""A run of the tests that several processes share: one gathers what the others, the workers, find and tell."""

from __future__ import annotations

from typing import Any

import pytest

DIED = pytest.StashKey[bool]()
TOLD = pytest.StashKey[list[str]]()
"""Lines for the end of the run."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[DIED], config.stash[TOLD] = False, []


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker has ended; `error`: it died."""
    node.config.stash[DIED] |= bool(error)
    node.config.stash[TOLD] += getattr(node, "workeroutput", {}).get("told", [])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker that dies between tests has failed none of them, but the run."""
    if session.config.stash[DIED] and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["told"] = session.config.stash[TOLD]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in terminalreporter.config.stash[TOLD]:
        terminalreporter.write_line(line)
