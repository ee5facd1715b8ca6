"""Deliveries under `kill -9`: workers die at random moments under load; afterwards every event must have arrived.

python -m tests.deliveries --kills 100 --seed 1 --json deliveries.json
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from gateway import listener
from tests.deliveries.campaign import Campaign
from tests.soak.__main__ import Diary


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.deliveries")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the report")
    told = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="paygate-deliveries-"))
    folder.chmod(0o755)  # PostgreSQL may run as another user
    diary = Diary(told.seed, told.json)
    print(f"database and logs: {folder}", file=sys.stderr)
    diary.tell("setting up")
    report = listener.run_loop(Campaign(kills=told.kills, seed=told.seed).run(folder, progress=diary.tell))
    print(diary.write(report))
    if not report["violations"]:
        shutil.rmtree(folder)
    return 1 if report["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
