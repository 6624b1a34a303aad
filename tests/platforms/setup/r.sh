#!/bin/bash
# R with Seurat and SingleCellExperiment, as Debian has them: what docs/tutorials/r.md is run with.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

debian_packages r-base-core r-cran-matrix r-cran-seurat r-bioc-rhdf5 r-bioc-singlecellexperiment
echo "SCCR_RSCRIPT=$(command -v Rscript)"
