#!/usr/bin/env bash
# The two linters of GitHub's workflows: actionlint (a Go module) and zizmor (from PyPI).
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

actionlint=1.7.12
zizmor=1.32.0

linters() {
  GOBIN=$1/bin nice -n 10 go install "github.com/rhysd/actionlint/cmd/actionlint@v$actionlint"
  # By --target, because an environment does not survive that the folder gets its name when it is finished.
  nice -n 10 python3 -m pip install --quiet --disable-pip-version-check --target "$1/zizmor" "zizmor==$zizmor"
}

keep workflows "$(key_of)" linters

echo "ACTIONLINT=$kept/bin/actionlint"
echo "ZIZMOR=$kept/zizmor/bin/zizmor"
