"""Promise: a run of the tests that several processes share cannot lose one of them and pass."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIES = """
import os

def test_passes():
    pass

def pytest_sessionfinish(session):
    if hasattr(session.config, "workerinput"):
        os._exit(0)
"""


def test_a_process_that_dies_between_tests_fails_the_run(tmp_path: Path) -> None:
    (tmp_path / "test_dies.py").write_text(DIES, encoding="utf-8")
    plugins = [option for name in ("xdist.plugin", "tests.shared_run", "test_dies") for option in ("-p", name)]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", tmp_path, *plugins, "-n", "1", tmp_path],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in ran.stdout, ran.stdout + ran.stderr
    assert ran.returncode == pytest.ExitCode.INTERNAL_ERROR
