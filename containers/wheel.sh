#!/bin/sh
# Build the project's wheel with the locked build tools: wheel.sh SOURCES REQUIREMENTS-BUILD.LOCK FOLDER. Requires gcc.
set -eu
[ -x /opt/tools/bin/pip ] || python3 -m venv /opt/tools
/opt/tools/bin/pip install --disable-pip-version-check --no-cache-dir --require-hashes --only-binary :all: -r "$2"
/opt/tools/bin/pip wheel --disable-pip-version-check --no-cache-dir --no-deps --no-build-isolation --no-index \
  --wheel-dir "$3" "$1"
