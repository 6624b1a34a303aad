#!/bin/bash
# What the report is looked at with: Debian's chromium, driven by playwright, and the real MultiQC.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

requirements=(playwright==1.65.2 multiqc==1.35)
python="${SCCR_PLATFORMS_PYTHON:-python3}"

environment() {
  "$python" -m venv "$1"
  nice -n 10 "$1/bin/python" -m pip install --quiet --disable-pip-version-check "${requirements[@]}"
}

debian_packages chromium fonts-dejavu-core
keep report-tools "$(key_of "$("$python" --version)" "${requirements[@]}")" environment
echo "SCCR_REPORT_PYTHON=$kept/bin/python"
echo "SCCR_CHROMIUM=$(command -v chromium)"
