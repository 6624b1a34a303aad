#!/usr/bin/env bash
# Podman and buildah, with a configuration that works as root without systemd, and a Debian base image with Python.
#
# The image is the test's stand-in for the Dockerfile's default base, which comes from a registry that a test machine
# may not reach; it is made from Debian's own packages.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

debian_packages podman buildah runc mmdebstrap ca-certificates

containers_conf() {
  cat >"$1/containers.conf" <<'CONF'
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF
}

base_rootfs() {
  nice -n 10 mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$1/base.tar"
}

keep podman "$(key_of)" containers_conf
export CONTAINERS_CONF=$kept/containers.conf

keep base "$(key_of)" base_rootfs
base_image=localhost/sccr-node-base:${kept##*-}
podman image exists "$base_image" || podman import --quiet "$kept/base.tar" "$base_image" >&2

echo "CONTAINERS_CONF=$CONTAINERS_CONF"
echo "SCCR_BASE_IMAGE=$base_image"
