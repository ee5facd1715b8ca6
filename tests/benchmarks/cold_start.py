"""`paygate demo` on an empty folder, from the command to the first webhook whose signature was verified."""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks import machine

RUNS = 3
STOP_SECONDS = 20


def main() -> None:
    seconds = [_run() for _ in range(RUNS)]
    print(f"empty folder to the first verified webhook, {RUNS} runs: " + ", ".join(f"{run:.2f} s" for run in seconds))
    machine.goal("cold start, s (median)", statistics.median(seconds), "≤", 5, 1.5)


def _run() -> float:
    with tempfile.TemporaryDirectory(prefix="paygate-bench-") as directory:
        Path(directory).chmod(0o755)  # PostgreSQL may run as another user
        command = [sys.executable, "-c", "from gateway.cli import main; main()", "demo", "--port", "0"]
        began = time.perf_counter()
        demo = subprocess.Popen(
            [*command, "--data", f"{directory}/demo"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            assert demo.stdout is not None
            for line in demo.stdout:
                if "signature verified" in line:
                    return time.perf_counter() - began
            raise RuntimeError("the demo ended without a webhook")
        finally:
            demo.send_signal(signal.SIGINT)
            demo.communicate(timeout=STOP_SECONDS)
