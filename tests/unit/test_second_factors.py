"""Promise: a code counts in its own half minute and one to either side, as RFC 6238 has it."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest

from gateway.second_factors import SecondFactor

RFC = SecondFactor(b"12345678901234567890")


@pytest.mark.parametrize(
    ("at", "code"), [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")]
)
def test_codes_are_those_of_the_standard(at: int, code: str) -> None:
    """Appendix B, the last six digits."""
    assert RFC.code(at) == code
    assert RFC.step(code, at) == at // 30


@pytest.mark.parametrize(("seconds", "counts"), [(-31, False), (-30, True), (0, True), (59, True), (60, False)])
def test_a_clock_may_be_a_step_off(seconds: int, counts: bool) -> None:
    began = 1_800_000_000
    assert RFC.step(RFC.code(began), began + seconds) == (began // 30 if counts else None)


@pytest.mark.parametrize("code", ["", "28708", "2870820", "28708２", "abcdef", "é" * 6])
def test_what_is_no_code_opens_nothing(code: str) -> None:
    assert RFC.step(code, 59) is None


def test_secrets_are_random_and_shown_as_apps_take_them() -> None:
    assert len({SecondFactor.fresh().secret for _ in range(100)}) == 100
    assert re.fullmatch("[A-Z2-7]{32}", SecondFactor.fresh().text)
    assert RFC.text == "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    assert "12345678901234567890" not in repr(RFC)


def test_the_picture_is_an_image_that_needs_no_style() -> None:
    picture = unquote(RFC.picture("a'b<\"@shop.example"))
    assert picture.startswith("data:image/svg+xml")
    assert "style=" not in picture
    assert "@shop.example" not in picture
