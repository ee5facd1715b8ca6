"""Who tests the tests? Each planted bug, and each rule of the schema left out in turn, must turn some test red.

python -m tests.planted [--only TEXT …] [--skip TEXT …] [--json FILE] [--jobs N]

Exit status 1 where a bug was missed, or the table does not fit the code any more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.planted import campaign, left_out
from tests.planted.bug import Bug
from tests.planted.bugs import BUGS
from tests.planted.campaign import Finding, Verdict


async def main(only: Sequence[str], skip: Sequence[str], report: Path | None, jobs: int) -> int:
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        rules = await left_out.bugs(Path(folder) / "catalogue")
        chosen = [bug for bug in (*BUGS, *rules) if _named(bug, only or [""]) and not _named(bug, skip)]
        found: list[Finding] = []
        async for finding in campaign.findings(chosen, Path(folder), jobs=jobs):
            found.append(finding)
            _print(finding)
    planted = [finding for finding in found if finding.bug in BUGS]
    schema = [finding for finding in found if finding.bug not in BUGS]
    for name, group in (("planted bugs", planted), ("rules of the schema left out", schema)):
        print(f"{name}: {_caught(group)} of {len(group)} caught")
    if report is not None:
        sections = {"planted_bugs": _section(planted), "schema_rules_left_out": _section(schema)}
        report.write_text(json.dumps(sections, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0 if found and _caught(found) == len(found) else 1


def _named(bug: Bug, texts: Sequence[str]) -> bool:
    return any(text in bug.name for text in texts)


def _print(finding: Finding) -> None:
    print(f"{finding.verdict:10} {finding.seconds:5.1f} s  {finding.bug.name}", flush=True)
    if finding.detail:
        print(f"{'':20}{finding.detail}", flush=True)


def _caught(found: Sequence[Finding]) -> int:
    return sum(finding.verdict is Verdict.CAUGHT for finding in found)


def _section(found: Sequence[Finding]) -> dict[str, object]:
    return {"total": len(found), "caught": _caught(found), "bugs": [_row(finding) for finding in found]}


def _row(finding: Finding) -> dict[str, str]:
    bug: Bug = finding.bug
    told = {"name": bug.name, "breaks": bug.breaks, "file": bug.file, "verdict": finding.verdict.value}
    return told | ({"by": finding.detail} if finding.verdict is Verdict.CAUGHT else {})


if __name__ == "__main__":
    # A shell's background job ignores Ctrl-C, and so would each pytest, which is stopped that way.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(prog="python -m tests.planted", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="bugs whose name holds this")
    parser.add_argument("--skip", action="append", default=[], metavar="TEXT", help="not those whose name holds this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="bugs judged at the same time")
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.only, given.skip, given.json, given.jobs)))
