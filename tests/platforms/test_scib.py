"""The tests that need scib-metrics, run where it is installed."""

import subprocess
import sys
from pathlib import Path

import pytest
from container_tools import set_up

from tests.support import REPOSITORY

pytestmark = pytest.mark.platform

TESTS = Path("tests", "evaluation", "analyses", "test_scib.py")


def test_none_of_them_is_skipped(monkeypatch):
    monkeypatch.setenv("SCCR_PLATFORMS_PYTHON", sys.executable)
    python = set_up("scib")["SCCR_SCIB_PYTHON"]
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", TESTS]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "skipped" not in done.stdout, done.stdout
