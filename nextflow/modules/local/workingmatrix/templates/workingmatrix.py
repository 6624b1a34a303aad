#!/usr/bin/env python3
"""Make the imputed layer the working matrix: X moves to layers['unimputed'], and the layer becomes X."""

import shutil
import sys

source, target, layer = "${anndata}", "${output}", "${layer}"

if source.endswith(".zarr"):
    import anndata

    data = anndata.read_zarr(source)
    if layer not in data.layers:
        sys.exit(f"cannot make layer {layer!r} the working matrix: not in {source}; use --write denoised or both")
    data.layers["unimputed"] = data.X
    data.X = data.layers.pop(layer)
    data.write_zarr(target)
else:
    import h5py

    # Renaming inside the file costs no memory, however large the matrices are.
    shutil.copyfile(source, target)
    # Shared file systems may refuse locks; nobody else knows this copy.
    with h5py.File(target, "r+", locking=False) as file:
        if f"layers/{layer}" not in file:
            sys.exit(f"cannot make layer {layer!r} the working matrix: not in {source}; use --write denoised or both")
        if "X" in file:
            file.move("X", "layers/unimputed")
        file.move(f"layers/{layer}", "X")
