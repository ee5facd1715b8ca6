"""Mutate the pure core in every place (mutmut) and name each mutant that its unit tests let live.

python -m tests.planted.mutants [--json FILE]

What is mutated, and which tests judge: [tool.mutmut] in pyproject.toml. Afterwards `mutmut browse` looks at the
mutants. Tables outside of functions are not mutated; bugs are planted in them instead (bugs.py). Exit status 1 where
a mutant lives that `equivalent.py` does not explain, or an explanation there fits none any more.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.planted.campaign import ROOT
from tests.planted.equivalent import EQUIVALENT, Equivalent

_MUTMUT = str(Path(sys.executable).with_name("mutmut"))
_KILLED = frozenset({"killed", "timeout", "caught by type check"})
"""A mutant that never comes to an end has been noticed, too."""


@dataclass(frozen=True, slots=True)
class Living:
    """A mutant that no test has noticed."""

    name: str
    function: str
    removed: str
    added: str

    def explained_by(self, known: Equivalent) -> bool:
        return (self.function, self.removed, self.added) == (known.function, known.removed, known.added)


def main(report: Path | None) -> int:
    ran = subprocess.run([_MUTMUT, "run"], cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True)
    if ran.returncode:
        print(ran.stdout[-4000:])
        return ran.returncode
    results = dict(re.findall(r"^ +(\S+): (.+)$", _told("results", "--all", "true"), re.MULTILINE))
    living = [_living(name) for name, verdict in results.items() if verdict not in _KILLED]
    explained = [one for one in living if any(map(one.explained_by, EQUIVALENT))]
    stale = [known for known in EQUIVALENT if not any(one.explained_by(known) for one in living)]
    for one in living:
        if one not in explained:
            print(f"{one.name} ({results[one.name]})\n  - {one.removed}\n  + {one.added}")
    for known in stale:
        print(f"explained, but not among the living: {known.function}\n  - {known.removed}\n  + {known.added}")
    killed, judged = len(results) - len(living), len(results) - len(explained)
    print(f"{killed} of {judged} mutants killed; {len(explained)} more are equivalent")
    if report is not None:
        section = {"total": len(results), "killed": killed, "equivalent": len(explained)}
        report.write_text(json.dumps({"mutants": section | {"by": Counter(map(_module, results))}}, indent=2) + "\n")
    return 0 if results and killed == judged and not stale else 1


def _living(name: str) -> Living:
    diff = _told("show", name).splitlines()
    removed = [line[1:].strip() for line in diff if re.match(r"-(?!--)", line)]
    added = [line[1:].strip() for line in diff if re.match(r"\+(?!\+\+)", line)]
    return Living(name, _function(name), " ".join(removed), " ".join(added))


def _function(name: str) -> str:
    """`package.module.x_function__mutmut_7` or `….xǁClassǁmethod__mutmut_7` as Python would call it."""
    module, _, mangled = name.partition("__mutmut_")[0].rpartition(".")
    return f"{module}.{mangled.removeprefix('x_').removeprefix('xǁ').replace('ǁ', '.')}"


def _module(name: str) -> str:
    return name.partition("__mutmut_")[0].rpartition(".")[0]


def _told(*command: str) -> str:
    return subprocess.run([_MUTMUT, *command], cwd=ROOT, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.planted.mutants")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found")
    sys.exit(main(parser.parse_args().json))
