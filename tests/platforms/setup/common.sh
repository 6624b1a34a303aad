# What the set-up scripts share: where heavy set-ups are kept, under which key, and how Debian packages get in.
#
# Each NAME.sh beside this file sources it, sets its platform up unless that is done already, says what it does on
# stderr and prints the variables that the tests need on stdout, one NAME=value a line (conftest.py reads them).
set -euo pipefail

setup_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export SCCR_PLATFORMS=${SCCR_PLATFORMS:-${XDG_CACHE_HOME:-$HOME/.cache}/sccr-node-platforms}
mkdir -p "$SCCR_PLATFORMS"

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; }

# debian_packages NAME...: install those that are missing. The archives go to a folder of ours, because the clean-up
# of another apt-get on the same machine would empty the usual one between download and unpacking.
debian_packages() {
  local missing=() name archives=$SCCR_PLATFORMS/debs
  for name in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  mkdir -p "$archives/partial"
  (
    flock 9
    export DEBIAN_FRONTEND=noninteractive
    apt=(apt-get -qq -o DPkg::Lock::Timeout=600 -o APT::Sandbox::User=root -o Dir::Cache::archives="$archives")
    "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}" && "${apt[@]}" clean
  ) 9>"$SCCR_PLATFORMS/apt.lock" >&2
}

# key_of WORD|FILE...: a short key of what a set-up is made from: the contents of files, the words themselves, this
# script and the one that sources it, the release and the machine type.
key_of() {
  local item
  {
    . /etc/os-release
    echo "${ID:-} ${VERSION_ID:-} $(uname -m)"
    cat "${BASH_SOURCE[0]}" "$0"
    for item in "$@"; do if [ -f "$item" ]; then cat "$item"; else printf '%s\n' "$item"; fi; done
  } | sha256sum | cut -c1-12
}

# keep NAME KEY COMMAND...: run COMMAND with a new folder as its last argument, unless NAME-KEY is there already. What
# fails is not kept, and sets that nothing has used for two weeks go. The folder is in $kept afterwards.
keep() {
  local name=$1 key=$2 started=$SECONDS
  shift 2
  kept=$SCCR_PLATFORMS/$name-$key
  exec 8>"$SCCR_PLATFORMS/$name.lock"
  flock 8
  if [ ! -d "$kept" ]; then
    say "making $name-$key"
    find "$SCCR_PLATFORMS" -mindepth 1 -maxdepth 1 -name "$name-*" -mtime +14 -exec rm -rf --one-file-system {} +
    rm -rf --one-file-system "$kept.partial"
    mkdir -p "$kept.partial"
    # no "if" or "||" around the command: bash would then ignore its set -e
    (set -e; "$@" "$kept.partial") >&2 8>&-
    mv "$kept.partial" "$kept"
    say "$name-$key made in $((SECONDS - started)) s"
  fi
  touch "$kept"
  exec 8>&-
}
