#!/bin/bash
# scib-metrics with JAX, which are too large for the environment of the other tests, on top of that environment.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

python=${SCCR_PLATFORMS_PYTHON:?that of the tests}
below=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
lock=$setup_dir/../../../requirements-test.lock
requirement=scib-metrics==0.5.10

environment() {
  local constraints=$1/constraints.txt
  "$python" -m venv "$1"
  sed -nE 's/^([A-Za-z0-9_.-]+==.*) \\$/\1/p' "$lock" >"$constraints"
  echo "$below" >"$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/below.pth"
  nice -n 10 "$1/bin/python" -m pip install --quiet --disable-pip-version-check -c "$constraints" "$requirement"
  rm -rf "$1"/lib/python3*/site-packages/tests  # one of its dependencies installs its tests under this name
}

keep scib "$(key_of "$("$python" --version)" "$below" "$lock" "$requirement")" environment
echo "SCCR_SCIB_PYTHON=$kept/bin/python"
