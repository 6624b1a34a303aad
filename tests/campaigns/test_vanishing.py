"""A short slice of the campaign of vanishing stores: every kind of store twice."""

import subprocess
import sys

import pytest


@pytest.mark.platform
def test_a_slice_of_the_campaign():
    ended = subprocess.run(
        [sys.executable, "-m", "tests.campaigns.vanishing", "6", "--seed", "3"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
