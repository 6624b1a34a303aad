"""The sets of versions that tests are run on, with a uv and with Pythons that write down their calls."""

import re
import stat
import sys
from pathlib import Path

import pytest
import yaml

from tests.support import REPOSITORY
from tools import versions

PYTHON = """#!/bin/sh
case "$*" in
  *releaselevel*) echo {level}; exit {code};;
  --version) echo Python 3.{minor}.0;;
  "-m pytest"*) echo "$0 $*" >> {calls}; exit {tests};;
esac
"""
UV = """#!/bin/sh
shift 2
echo "$*" >> {calls}
case "$*" in
  "{refused}"*) exit 2;;
  venv*) for folder; do :; done; mkdir -p "$folder/bin"; cp "$5" "$folder/bin/python";;
  "pip list"*) echo '[{{"name": "numpy", "version": "2.9"}}, {{"name": "six", "version": "1"}}]';;
esac
"""


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A checkout with nothing but its names, and a machine without any Python: a function that puts some on it."""
    (tmp_path / "checkout").mkdir()
    project = '[project]\nrequires-python = ">=3.11"\ndependencies = ["numpy>=1.26"]\n'
    (tmp_path / "checkout" / "pyproject.toml").write_text(project)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/nowhere:/usr/bin:/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    # Debian's own Pythons stay out of it.
    found = Path.glob
    monkeypatch.setattr(
        Path, "glob", lambda self, *a: iter(()) if str(self) in ("/usr/bin", "/bin") else found(self, *a)
    )

    def put(*minors, folder="bin", level="final", code=0, tests=0, refused="nothing"):
        calls = tmp_path / "calls"
        for minor in minors:
            text = PYTHON.format(level=level, code=code, minor=minor, calls=calls, tests=tests)
            program(tmp_path / folder / f"python3.{minor}", text)
        program(tmp_path / "uv", UV.format(calls=calls, refused=refused))
        monkeypatch.setattr(sys, "executable", str(tmp_path / "uv"))
        return tmp_path / "checkout"

    return put


def calls(checkout):
    """Return what was called, with the folder of the environment as ENV."""
    text = (checkout.parent / "calls").read_text()
    return re.sub(rf"{re.escape(str(checkout))}/\.venv-versions/\w+", "ENV", text).splitlines()


def test_the_newest_python_is_a_released_one_that_runs(machine, tmp_path):
    machine(11, 12)
    machine(15, level="alpha")
    machine(13, folder="pyenv/versions/3.13.0/bin")
    machine(11, folder="pyenv/versions/3.11.7/bin")
    # A shim of pyenv, for a version that is not chosen.
    program(tmp_path / "bin" / "python3.13", "#!/bin/sh\nexit 127\n")
    program(tmp_path / "bin" / "python3.14t", "#!/bin/sh\necho final\n")
    program(tmp_path / "bin" / "python3.14-config", "#!/bin/sh\necho final\n")
    assert versions.pythons() == {
        11: tmp_path / "bin" / "python3.11",
        12: tmp_path / "bin" / "python3.12",
        13: tmp_path / "pyenv" / "versions" / "3.13.0" / "bin" / "python3.13",
    }


PROJECT = "--editable .[full,cloud,test,dev] --python ENV/bin/python"
INSTALLATIONS = {
    "locked": [
        "pip install --require-hashes -r requirements-test.lock --python ENV/bin/python",
        "pip install --no-deps --editable . --python ENV/bin/python",
    ],
    "newest": [f"pip install {PROJECT}"],
    "lowest": [
        "pip compile --quiet --resolution lowest-direct --output-file ENV/lowest.txt --extra full --extra cloud "
        "pyproject.toml --python ENV/bin/python",
        f"pip install --constraints ENV/lowest.txt {PROJECT}",
    ],
    "prereleases": [f"pip install --prerelease allow {PROJECT}"],
}


@pytest.mark.parametrize(("name", "installed"), INSTALLATIONS.items())
def test_each_set_is_installed_checked_and_tested(name, installed, machine, capsys):
    checkout = machine(11, 13)
    assert versions.run([name], ["-x"], checkout) == 0
    python = checkout.parent / "bin" / ("python3.13" if name in ("newest", "prereleases") else "python3.11")
    assert calls(checkout) == [
        f"venv --quiet --clear --python {python} ENV",
        *installed,
        "pip check --python ENV/bin/python",
        "pip list --format json --python ENV/bin/python",
        "ENV/bin/python -m pytest -m not platform -n auto --dist loadfile -x",
    ]
    said = capsys.readouterr().out.splitlines()[-1]
    minor = 13 if name in ("newest", "prereleases") else 11
    assert said == f"{name}: passed in 0 minutes: Python 3.{minor}.0, numpy 2.9"


def test_what_fails_does_not_keep_the_others_from_their_turn(machine, capsys):
    checkout = machine(11, tests=1)
    machine(13)
    assert versions.run(["locked", "newest"], (), checkout) == 1
    said = capsys.readouterr().out.splitlines()[-2:]
    assert said[0].startswith("locked: failed (pytest ended with 1) in 0 minutes: Python 3.11.0")
    assert said[1].startswith("newest: passed")


def test_what_cannot_be_installed_or_does_not_agree_is_not_tested(machine, capsys):
    checkout = machine(11, refused="pip check")
    assert versions.run(["lowest"], (), checkout) == 1
    assert capsys.readouterr().out == "lowest: not tried: uv pip check failed (2)\n"
    assert not any(" -m pytest" in call for call in calls(checkout))
    machine(11, refused="venv")
    assert versions.run(["lowest"], (), checkout) == 1
    assert capsys.readouterr().out == "lowest: not tried: uv venv failed (2)\n"


def test_a_python_that_is_not_there_is_named(machine, capsys):
    checkout = machine(12)
    assert versions.run(["locked", "newest"], (), checkout) == 1
    said = capsys.readouterr().out.splitlines()
    assert "locked: not tried: Python 3.11 is needed, and neither PATH nor pyenv has it; install it" in said
    assert said[-1].startswith("newest: passed")
    (checkout.parent / "bin" / "python3.12").unlink()
    machine(10)
    assert versions.run(["newest"], (), checkout) == 1
    assert "newest: not tried: Python 3.11 or newer is needed" in capsys.readouterr().out


def test_the_words_after_two_dashes_are_for_pytest(monkeypatch):
    given = []
    monkeypatch.setattr(versions, "run", lambda *arguments: given.append(arguments) or 0)
    assert versions.main(["locked", "lowest", "--", "-k", "pca"]) == 0
    assert versions.main(["newest"]) == 0
    assert given == [(["locked", "lowest"], ["-k", "pca"]), (["newest"], [])]


@pytest.mark.parametrize("arguments", [[], ["latest"], ["--", "newest"]])
def test_sets_that_do_not_exist_are_refused(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        versions.main(arguments)
    assert "usage: python -m tools.versions" in capsys.readouterr().err


def test_the_oldest_python_is_that_of_the_project_and_of_its_tools():
    assert versions._oldest(REPOSITORY) == 11
    assert "--python-version 3.11 " in (REPOSITORY / "containers" / "lock.sh").read_text()


def test_every_set_is_run_every_week():
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "versions.yml").read_text())
    assert sorted(workflow["jobs"]["versions"]["strategy"]["matrix"]["set"]) == sorted(versions.SETS)
