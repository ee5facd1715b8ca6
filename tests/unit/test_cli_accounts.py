"""What the commands about accounts refuse before they reach a database."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from gateway.cli_accounts import accounts

ACCOUNT = f"pac_{'0' * 26}"


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--none", "--percent", "1"],
        ["--none", "--fixed", "EUR=1"],
        ["--percent", "100"],
        ["--percent", "-1"],
        ["--percent", "NaN"],
        ["--percent", "much"],
        ["--fixed", "EUR=0"],
        ["--fixed", "0.25"],
    ],
)
def test_fees_that_are_none_are_refused_in_one_line(options: list[str]) -> None:
    done = CliRunner().invoke(accounts, ["fees", ACCOUNT, *options])
    assert done.exit_code == 2
    assert "Error: " in done.output


@pytest.mark.parametrize("arguments", [["ajar", "--reason", "x"], ["open"]])
def test_a_breaker_is_set_to_a_state_and_for_a_reason(arguments: list[str]) -> None:
    assert CliRunner().invoke(accounts, ["breaker", ACCOUNT, *arguments]).exit_code == 2
