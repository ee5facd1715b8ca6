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
    print(f"database and logs: {folder}", file=sys.stderr)
    report = listener.run_loop(_run(campaign, folder))
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    if told.json is not None:
        told.json.write_text(text, encoding="utf-8")
    print(text if len(report["violations"]) <= VIOLATIONS_SHOWN else f"{len(report['violations'])} violations")
    if not report["violations"] and not told.keep:
        shutil.rmtree(folder)
    return 1 if report["violations"] else 0


async def _run(campaign: Campaign, folder: Path) -> Json:
    """SIGTERM ends it in order too: nothing that it started goes on without it."""
    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    return await campaign.run(folder, progress=_tell)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
