"""Every benchmark, or the named ones, with the versions and the machine they ran on. Prints figures, asserts nothing.

    python -m tests.benchmarks [charges] [cold_start] [routing] [deliveries] [search] [psp_client] [delivery_client]

Figures of one machine at one moment: read the ratios, each measured side by side in one run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping

from tests.benchmarks import charges, cold_start, deliveries, machine, pgbench, routing, search

PSP_CALLS = 1_600
DELIVERIES = 3_200


def main(names: list[str]) -> None:
    if unknown := set(names) - set(BENCHMARKS):
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    print(machine.versions(pgbench.postgresql_version()))
    print(machine.line())
    for name, run in BENCHMARKS.items():
        if not names or name in names:
            _print(name, run)


def _print(name: str, run: Callable[[], None]) -> None:
    print(f"\n── {name} {'─' * (76 - len(name))}", flush=True)
    began = time.perf_counter()
    try:
        run()
    except Exception:  # noqa: BLE001 - the other benchmarks still have something to tell
        traceback.print_exc(file=sys.stdout)
    print(f"  ({time.perf_counter() - began:.0f} s)", flush=True)


def _psp_client() -> None:
    """In a process of its own: its CPU alone is what is counted."""
    _script("psp_client", str(PSP_CALLS))


def _delivery_client() -> None:
    _script("delivery_client", str(DELIVERIES))


def _script(name: str, *arguments: str, **environment: str) -> None:
    command = [sys.executable, "-m", f"tests.benchmarks.{name}", *arguments]
    subprocess.run(command, env=os.environ | environment, check=True, timeout=120)


BENCHMARKS: Mapping[str, Callable[[], None]] = {
    "charges": charges.main,
    "cold_start": cold_start.main,
    "routing": routing.main,
    "deliveries": deliveries.main,
    "search": search.main,
    "psp_client": _psp_client,
    "delivery_client": _delivery_client,
}


if __name__ == "__main__":
    main(sys.argv[1:])
