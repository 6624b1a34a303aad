#!/bin/bash
# Put a real Galaxy server, its web client, planemo and a headless browser into the cache; print where each one is.
#
# usage: galaxy.sh [server] [planemo] [browser]      (all three where none is named)
#
# Everything comes from PyPI and from Debian's packages. Each part has a folder named after its versions and the Python
# that runs it, and a stamp that is written last: a part that was interrupted is built again, one that stands is used.
# Output: lines NAME=FOLDER, for the caller to read.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

GALAXY_VERSION=26.1.2
PLANEMO_VERSION=0.75.47
PLAYWRIGHT_VERSION=1.65.2
# gxformat2's linter of workflows comes with planemo.

cache=$SCCR_PLATFORMS
python="${SCCR_PLATFORMS_PYTHON:-python3}"
tag="py$("$python" -c 'import sys; print("%d%d" % sys.version_info[:2])')"

# build NAME REQUIREMENT...: a virtual environment at $cache/NAME, made once. (keep would rename it after building, and
# the programs of a virtual environment have its name written into them.)
build() {
    local folder="$cache/$1"
    shift
    (
        # Two test processes may ask at the same time: the second waits and finds the stamp.
        flock 9
        if [ ! -e "$folder/.complete" ]; then
            say "making $(basename "$folder")"
            rm -rf "$folder"
            "$python" -m venv "$folder" >&2
            # A mirror may be slow for a moment; one repetition costs nothing where the first attempt succeeds.
            nice -n 10 "$folder/bin/pip" install --quiet --disable-pip-version-check "$@" >&2 ||
                nice -n 10 "$folder/bin/pip" install --quiet --disable-pip-version-check "$@" >&2
            touch "$folder/.complete"
        fi
    ) 9>"$folder.lock"
}

server() {
    build "galaxy-$GALAXY_VERSION-$tag" "galaxy-web-apps==$GALAXY_VERSION" "galaxy-web-client==$GALAXY_VERSION"
    echo "GALAXY_SERVER=$cache/galaxy-$GALAXY_VERSION-$tag"
}

planemo() {
    build "planemo-$PLANEMO_VERSION-$tag" "planemo==$PLANEMO_VERSION"
    echo "GALAXY_PLANEMO=$cache/planemo-$PLANEMO_VERSION-$tag"
}

browser() {
    debian_packages chromium fonts-dejavu-core
    build "browser-$PLAYWRIGHT_VERSION-$tag" "playwright==$PLAYWRIGHT_VERSION"
    echo "GALAXY_BROWSER=$cache/browser-$PLAYWRIGHT_VERSION-$tag"
}

[ $# -gt 0 ] || set -- server planemo browser
for part in "$@"; do
    case $part in
        server | planemo | browser) "$part" ;;
        *)
            echo "galaxy.sh: no part is called '$part' (there are: server, planemo, browser)" >&2
            exit 2
            ;;
    esac
done
