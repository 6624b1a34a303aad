#!/usr/bin/env bash
# Apptainer from Debian sid in a trixie root file system, run by podman under an ordinary user, and a base image for it.
#
# Apptainer refuses to build as root without a user namespace of its own; as uid 1000 in a privileged container it works.
# Exit 69: the package cannot be installed at the moment (sid moves), so that the tests report the check as skipped.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

podman_variables=$(bash "$setup_dir/podman.sh")
eval "$podman_variables"
export CONTAINERS_CONF

apptainer_rootfs() {
  local mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  mirror=$(awk '/^URIs:/ {print $2; exit}' /etc/apt/sources.list.d/debian.sources)
  nice -n 10 mmdebstrap --quiet --variant=minbase --include=apptainer,ca-certificates,fuse-overlayfs,fuse3,squashfuse \
    --aptopt='APT::Default-Release "trixie"' --aptopt='APT::Install-Recommends "false"' \
    --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Check-Date "false"' \
    trixie "$1/rootfs" "deb [signed-by=$keyring] $mirror trixie main" "deb [signed-by=$keyring] $mirror sid main" || exit 69
  echo 'u:x:1000:1000::/tmp:/bin/bash' >>"$1/rootfs/etc/passwd"
  echo 'u:x:1000:' >>"$1/rootfs/etc/group"
  mknod "$1/fuse" c 10 229
  mkdir -p "$1/work/tmp" "$1/work/cache" "$1/bin"
  chmod 666 "$1/fuse"
  chmod 777 "$1/work" "$1/work/tmp" "$1/work/cache"
  # The folder gets its last name only when it is finished, so the shim finds it by its own place, and shows it inside
  # under another name, because uid 1000 may not be allowed to look into the cache's parents. Nextflow calls the shim
  # under a bare environment and passes variables of these names.
  cat >"$1/bin/apptainer" <<'SHIM'
#!/bin/bash
here=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
export CONTAINERS_CONF=$(cat "$here/containers-conf")
passed=()
while IFS='=' read -r name _; do
  case $name in APPTAINERENV_*|SINGULARITYENV_*|NXF_TASK_WORKDIR|NXF_DEBUG) passed+=(-e "$name") ;; esac
done < <(env)
exec podman run --rm -i --privileged --user 1000:1000 --network "${SCCR_APPTAINER_NETWORK:-none}" --pid host \
  -v "$here/fuse:/dev/fuse" -v "$here/work:/apptainer" -v "${TMPDIR:-/tmp}:${TMPDIR:-/tmp}" -v "$PWD:$PWD" \
  -v /etc/ssl/certs/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt:ro "${passed[@]}" \
  -e APPTAINER_TMPDIR=/apptainer/tmp -e APPTAINER_CACHEDIR=/apptainer/cache -e USER=u -e HOME=/tmp -e LC_ALL=C.UTF-8 \
  -w "$PWD" --rootfs "$here/rootfs" "/usr/bin/${0##*/}" "$@"
SHIM
  chmod 755 "$1/bin/apptainer"
  ln -s apptainer "$1/bin/singularity"
  echo "$CONTAINERS_CONF" >"$1/containers-conf"
}

base_archive() {
  podman save --quiet --format oci-archive -o "$1/base.oci.tar" "$SCCR_BASE_IMAGE"
}

keep apptainer "$(key_of "$CONTAINERS_CONF")" apptainer_rootfs
apptainer=$kept/bin/apptainer
keep apptainer-base "$(key_of "$SCCR_BASE_IMAGE")" base_archive

echo "SCCR_APPTAINER=$apptainer"
echo "SCCR_APPTAINER_BASE=$kept/base.oci.tar"
