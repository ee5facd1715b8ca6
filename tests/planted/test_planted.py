"""The planted bugs fit the code as it is, and the campaign tells a caught one from a missed one.

The whole campaign takes the better part of an hour: python -m tests.planted
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.planted import campaign
from tests.planted.bug import Bug, Stale
from tests.planted.bugs import BUGS
from tests.planted.campaign import ROOT, Finding, Verdict

QUICK = (
    "no money moved, it is said, while nobody knows",
    "a refund without an answer gives its reservation back",
)
"""Judged by tests that need no database."""


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_bug_stands_where_the_code_is_and_is_code_itself(bug: Bug) -> None:
    source = (ROOT / bug.file).read_text(encoding="utf-8")
    planted = bug.planted_in(source)
    assert planted != source
    if bug.file.endswith(".py"):
        ast.parse(planted)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_tests_that_must_catch_a_bug_are_there(bug: Bug) -> None:
    for test in bug.tests:
        path, *names = test.split("::")
        defined = (ROOT / path).read_text(encoding="utf-8")
        assert all(re.search(rf"^\s*(async )?(def|class) {name}\b", defined, re.MULTILINE) for name in names), test


def test_each_bug_has_a_name_of_its_own_and_says_what_it_breaks() -> None:
    assert Counter(bug.name for bug in BUGS).most_common(1)[0][1] == 1
    assert all(re.match(r"(M[1-4]|A[12]|E[1-3]|U1|T1|S1|L1): .", bug.breaks) for bug in BUGS)


def test_what_the_code_has_moved_on_from_is_an_error() -> None:
    bug = replace(BUGS[0], text="no such text")
    with pytest.raises(Stale, match="0 times"):
        bug.planted_in("something else")
    with pytest.raises(Stale, match="2 times"):
        bug.planted_in("no such text, no such text")


async def test_a_caught_bug_is_told_from_a_missed_and_from_a_stale_one(tmp_path: Path) -> None:
    chosen = [bug for bug in BUGS if bug.name in QUICK]
    harmless = replace(chosen[0], name="harmless", becomes=f"{chosen[0].text}  # and a remark")
    stale = replace(chosen[0], name="stale", text="no such text")
    found: list[Finding] = [
        finding async for finding in campaign.findings([*chosen, harmless, stale], tmp_path, jobs=2)
    ]
    verdicts = {finding.bug.name: finding.verdict for finding in found}
    assert verdicts == dict.fromkeys(QUICK, Verdict.CAUGHT) | {
        "harmless": Verdict.MISSED,
        "stale": Verdict.NOT_JUDGED,
    }
    assert all(finding.detail.startswith(finding.bug.tests[0]) for finding in found if finding.bug.name in QUICK)
