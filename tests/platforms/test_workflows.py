"""GitHub's workflows, checked by actionlint and zizmor, and against this project's rules."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from container_tools import set_up

from tests.support import REPOSITORY

pytestmark = pytest.mark.platform

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))


@pytest.fixture(scope="module")
def linters() -> dict[str, str]:
    return set_up("workflows")


def test_actionlint_finds_nothing(linters: dict[str, str]) -> None:
    done = subprocess.run([linters["ACTIONLINT"], *WORKFLOWS], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_zizmor_finds_nothing(linters: dict[str, str]) -> None:
    done = subprocess.run(
        [linters["ZIZMOR"], "--offline", "--persona=auditor", *WORKFLOWS], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No findings to report" in done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_have_least_privilege_and_pinned_actions(path: Path) -> None:
    text = path.read_text()
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "timeout-minutes" in job
    used = re.findall(r"uses: (.+)", text)
    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_images_are_pinned() -> None:
    text = "\n".join(path.read_text() for path in WORKFLOWS)
    images = re.findall(r"\b(?:docker|quay)\.io/\S+", text)
    assert len(images) >= 3
    for image in images:
        assert re.fullmatch(r"[\w./-]+(:[\w.-]+)?@sha256:[0-9a-f]{64}", image), image


def test_secrets_are_githubs_own_token_only() -> None:
    for path in WORKFLOWS:
        assert set(re.findall(r"secrets\.(\w+)", path.read_text())) <= {"GITHUB_TOKEN"}
