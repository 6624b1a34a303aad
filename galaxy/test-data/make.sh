#!/bin/sh
# Make the test data: simulated data sets, which are small, free to share and the same every time.
set -eu
cd "$(dirname "$0")"
rm -f simulated.h5ad prepared.h5ad masked.h5ad imputed.h5ad training.h5ad predicted.h5ad genes.txt foreign_genes.txt

# Counts in X; obs has cell_type and batch.
sccr simulate --n-cells 120 --n-genes 200 --n-types 3 --n-batches 2 --depth 800 --seed 6 simulated.h5ad

# The same cells after the usual preparation with scanpy: log values in X, counts in a layer, variable genes marked.
python3 - <<'PYTHON'
import scanpy

data = scanpy.read_h5ad("simulated.h5ad")
data.layers.clear()
data.uns.clear()
data.layers["counts"] = data.X.copy()
scanpy.pp.normalize_total(data)
scanpy.pp.log1p(data)
scanpy.pp.highly_variable_genes(data, n_top_genes=60)
data.write_h5ad("prepared.h5ad", compression="gzip")
PYTHON

seq 1 4 160 | while read -r number; do printf 'gene_%03d\n' "$number"; done > genes.txt
printf 'Actb\nGapdh\ngene_001\n' > foreign_genes.txt

# Hidden values, and scCR's imputation of the rest.
sccr evaluate mask --rate 0.3 simulated.h5ad masked.h5ad
sccr impute --write both --n-components 20 masked.h5ad imputed.h5ad

# Held-out molecules of a few genes, and what another tool would return for the training half: log values, nothing else.
sccr evaluate split-molecules --n-top-genes 40 simulated.h5ad training.h5ad
sccr impute training.h5ad predicted.h5ad
python3 - <<'PYTHON'
import anndata

imputed = anndata.read_h5ad("predicted.h5ad")
predicted = anndata.AnnData(imputed.layers["sccr"], imputed.obs[[]], imputed.var[[]])
predicted.write_h5ad("predicted.h5ad", compression="gzip")
PYTHON
