#!/usr/bin/env bash
# What checks packages before they are uploaded: twine, check-wheel-contents, validate-pyproject (all from PyPI).
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

python=${SCCR_PLATFORMS_PYTHON:?that of the tests}
checks=(twine==7.0.0 check-wheel-contents==0.6.3 "validate-pyproject[all]==0.27")

# By --target, because an environment does not survive that the folder gets its name when it is finished.
install() {
  nice -n 10 "$python" -m pip install --quiet --disable-pip-version-check --target "$1" "${checks[@]}"
}

keep packages "$(key_of "$("$python" --version)" "${checks[@]}")" install
echo "PACKAGE_CHECKS=$kept"
