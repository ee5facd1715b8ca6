"""Promise: whoever leaves the second factor out where others reach the console is told."""

from __future__ import annotations

import pytest

from gateway import doctor
from gateway.config import Settings


@pytest.mark.parametrize(
    ("asked", "host", "ok"),
    [(True, "0.0.0.0", True), (False, "0.0.0.0", False), (False, "127.0.0.1", True), (False, "10.0.0.7", False)],
)
def test_a_console_without_second_factor_is_for_this_machine(asked: bool, host: str, ok: bool) -> None:
    settings = Settings(database_url="", secret_keys={}, console_host=host, console_second_factor=asked)
    finding = doctor._second_factor(settings)
    assert (finding.ok, finding.weight) == (ok, "advice")
