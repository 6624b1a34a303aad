"""A short slice of the campaign of kills: every command once or twice."""

import subprocess
import sys


def test_a_slice_of_the_campaign():
    ended = subprocess.run(
        [sys.executable, "-m", "tests.campaigns.kills", "24", "--seed", "7"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
