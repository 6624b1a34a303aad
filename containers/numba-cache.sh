#!/bin/sh
# Compile, while an image is built, what numba would compile on a user's first run: sccr_node/runtime/numba_cache.py uses it.
#
# The functions are compiled for any CPU of the architecture (NUMBA_CPU_NAME, which the images set too), because
# numba's cache is keyed by the CPU, and the image is not built on the machine that runs it. numba is used by the
# evaluation's neighbour graphs; imputation and reports use none.
set -eu
export PATH=/opt/sccr/bin:$PATH NUMBA_CPU_NAME=generic NUMBA_CACHE_DIR=/opt/sccr/share/sccr-node/numba
work=$(mktemp -d)
export MPLCONFIGDIR="$work" HOME="$work" PYTHONDONTWRITEBYTECODE=1
sccr simulate --quiet --n-cells 300 --n-genes 200 "$work/counts.h5ad"
sccr evaluate cluster --quiet --label-key cell_type --seeds 0 --n-restarts 1 "$work/counts.h5ad" >/dev/null
rm -r "$work"
