"""A process of a campaign: runs its share of the seeds, one line of JSON each.

Started by `tests.simulation.__main__`, with a fixed hash seed: the order of a set of strings is chance too.
"""

from __future__ import annotations

import json
import sys

from tests.simulation import run


def main(address: str, first: str, count: str, step: str, trace: str) -> None:
    """`address` of a database, where DATABASE stands for its name."""

    def urls(name: str) -> str:
        return address.replace("DATABASE", name)

    for seed in range(int(first), int(first) + int(count), int(step)):
        report = run.run(urls, seed, trace=trace == "trace")
        print(json.dumps(report.to_json()), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
