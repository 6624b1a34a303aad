#!/usr/bin/env bash
# Update the lock files: one for every Python and platform, with hashes.
#
# A package whose newest versions no longer support the oldest Pythons has a line for each, with a marker: every Python
# gets the newest versions that it can have, and there is still one file, one command, and one change to review.
#
# requirements.lock        what the image and the environments of the tests install (extras "full" and "cloud")
# requirements-build.lock  what builds the wheel and the editable installation
# requirements-test.lock   what the tests and the development tools add, at versions that agree with requirements.lock
# requirements-docs.lock   what the documentation site adds, likewise
#
# Requires uv (on PATH). Locked versions are kept if they still fit; --upgrade uses the newest ones.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

lock() {
  local file=$1
  shift
  uv pip compile --quiet --universal --fork-strategy requires-python --generate-hashes --no-annotate --python-version 3.11 \
    --custom-compile-command "make lock" "${upgrade[@]}" --output-file "$file" "$@"
}

upgrade=("$@")
lock requirements.lock --extra full --extra cloud pyproject.toml
# hatchling asks for editables only when it makes an editable installation, which the tests' environment is.
python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], "editables", sep="\n")' |
  lock requirements-build.lock -
lock requirements-test.lock --extra full --extra cloud --extra test --extra dev --constraints requirements.lock pyproject.toml
lock requirements-docs.lock --extra full --extra docs --constraints requirements.lock pyproject.toml
