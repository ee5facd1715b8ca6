"""A soak: real processes under load, killed, stopped, paused and cut off; in the end every book must agree.

python -m tests.soak --transactions 20000 --kills 200 --seed 1 --json soak.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from gateway import listener
from tests.soak.campaign import Campaign
from tests.soak.history import Json

VIOLATIONS_SHOWN = 50


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--transactions", type=int, default=20_000)
    parser.add_argument(
        "--kills", type=int, default=200, help="kill −9 of servers and workers; other faults come on top"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=40, help="that buy at the same time")
    parser.add_argument("--drain-seconds", type=float, default=900.0, help="until everything must be settled")
    parser.add_argument("--keep", action="store_true", help="database and logs, also where nothing was found")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the report")
    told = parser.parse_args()
    campaign = Campaign(
        transactions=told.transactions,
        kills=told.kills,
        seed=told.seed,
        clients=told.clients,
        drain_seconds=told.drain_seconds,
    )
    folder = Path(tempfile.mkdtemp(prefix="paygate-soak-"))
    folder.chmod(0o755)  # PostgreSQL may run as another user
    diary = Diary(campaign.seed, told.json)
    print(f"database and logs: {folder}", file=sys.stderr)
    diary.tell("setting up")
    report = listener.run_loop(_run(campaign, folder, diary))
    text = diary.write(report)
    print(text if len(report["violations"]) <= VIOLATIONS_SHOWN else f"{len(report['violations'])} violations")
    if not report["violations"] and not told.keep:
        shutil.rmtree(folder)
    return 1 if report["violations"] else 0


@dataclass(frozen=True, slots=True)
class Diary:
    """How far it is, on standard error. Until the report is there, its file says that nothing is proven."""

    seed: int
    file: Path | None
    _began: float = field(default_factory=time.monotonic)

    def tell(self, line: str) -> None:
        print(f"{time.monotonic() - self._began:6.0f} s  {line}", file=sys.stderr, flush=True)
        self.write({"seed": self.seed, "violations": [f"cut off, nothing is proven; last heard: {line}"]})

    def write(self, report: Json) -> str:
        text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
        if self.file is not None:
            self.file.write_text(text, encoding="utf-8")
        return text


async def _run(campaign: Campaign, folder: Path, diary: Diary) -> Json:
    """SIGTERM ends it in order too: nothing that it started goes on without it."""
    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    return await campaign.run(folder, progress=diary.tell)


if __name__ == "__main__":
    sys.exit(main())
