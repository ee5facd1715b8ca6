"""The command line, as an operator's shell runs it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
from typing import Any

from gateway.config import Settings


def paygate(settings: Settings, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    known = {
        "PATH": os.environ["PATH"],
        "PAYGATE_DATABASE_URL": settings.database_url,
        "PAYGATE_SECRET_KEYS": "1:" + base64.b64encode(settings.secret_keys[1]).decode(),
    }
    command = [sys.executable, "-c", "from gateway.cli import main; main()", *arguments]
    return subprocess.run(command, env=known | environ, capture_output=True, text=True, check=False, timeout=60)


async def told(settings: Settings, *arguments: str) -> Any:
    done = await asyncio.to_thread(paygate, settings, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    return json.loads(line)
