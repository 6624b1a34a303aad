#!/bin/sh
# Make the environment of both images: /opt/sccr, from the lock file, with hashes checked and without pip.
#
# Usage: dependencies.sh REQUIREMENTS.LOCK. pip itself is in /opt/tools, which is not shipped.
set -eu
python3 -m venv /opt/tools
python3 -m venv --without-pip /opt/sccr
/opt/tools/bin/pip --python /opt/sccr/bin/python install --disable-pip-version-check --no-cache-dir --no-compile \
  --require-hashes --only-binary :all: -r "$1"
# The packages' own tests are a large part of the files, and no command imports them.
find /opt/sccr/lib -depth -type d -name tests -exec rm -r {} +
# botocore describes 400 services of AWS; needed are the object store and those that credentials come from.
find /opt/sccr/lib/python*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
  ! -name s3 ! -name sts ! -name 'sso*' ! -name signin -exec rm -r {} +
# Compiled here, because a read-only image cannot keep what Python compiles later.
/opt/sccr/bin/python -m compileall -q -j 2 --invalidation-mode unchecked-hash /opt/sccr/lib
