#!/usr/bin/env bash
# nf-core's own tools, in an environment of their own.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

nfcore_tools() {
  # At its last place: the programs of an environment name its folder.
  rm -rf "$SCCR_PLATFORMS"/nfcore-tools-*
  python3 -m venv "$SCCR_PLATFORMS/nfcore-tools-$nfcore_key"
  nice -n 10 "$SCCR_PLATFORMS/nfcore-tools-$nfcore_key/bin/pip" -q install 'nf-core>=4.2,<4.3'
}

debian_packages git
nfcore_key=$(key_of)
keep nfcore "$nfcore_key" nfcore_tools
echo "SCCR_NFCORE=$SCCR_PLATFORMS/nfcore-tools-$nfcore_key/bin/nf-core"
