"""What the operators' commands refuse before they reach a database."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from gateway.cli_operators import partners


@pytest.mark.parametrize(
    "limit", ["EUR", "EUR=", "eur=5", "EURO=5", "EUR=0", "EUR=-1", "EUR=NaN", "EUR=sNaN", "EUR=Infinity"]
)
def test_an_amount_limit_that_is_none_is_refused_in_one_line(limit: str) -> None:
    done = CliRunner().invoke(partners, ["create", "--name", "B", "--email", "b@example.com", "--amount-limit", limit])
    assert done.exit_code == 2
    assert "must look like EUR=5000" in done.output


@pytest.mark.parametrize("options", [[], ["--review-above", "EUR=5", "--no-review-above"], ["--review-above", "EUR"]])
def test_what_is_of_high_value_is_told_in_one_way(options: list[str]) -> None:
    done = CliRunner().invoke(partners, ["update", "prt_" + "0" * 26, *options])
    assert done.exit_code == 2
