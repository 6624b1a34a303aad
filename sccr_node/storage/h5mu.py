"""One modality of a MuData file, ``.h5mu``: AnnData in a group of an HDF5 file, beside others that stay as they are.

Read without the package mudata: a modality is stored as an .h5ad file is, in the group ``mod/NAME``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sccr_node.storage.hdf5 import H5adFormat, Hdf5Appender
from sccr_node.storage.store import Appender, StoreFormat, quiet

MODALITIES = "mod"
"""The group of the modalities."""


class H5muFormat(H5adFormat):
    """MuData in an HDF5 file.

    Parameters
    ----------
    modality
        The one that is read, and that a result is appended to; None until it is known.
    """

    name = "h5mu"
    suffix = ".h5mu"
    precedence = 1  # an .h5mu file is an HDF5 file, too
    only_from_itself = True

    def __init__(self, modality: str | None = None) -> None:
        self.modality = modality

    def matches(self, path: Path) -> bool:
        """Return whether this is an HDF5 file with modalities."""
        if not super().matches(path):
            return False
        with self.opened(path) as root:
            return MODALITIES in root and "X" not in root

    def modalities(self, root: Any) -> list[str]:
        """Return the names of the modalities."""
        return sorted(str(name) for name in root[MODALITIES])

    def of_modality(self, name: str, root: Any) -> tuple[StoreFormat, Any]:
        """Return the format of one modality, and its group."""
        return H5muFormat(name), root[MODALITIES][name]

    def not_anndata(self, path: Path) -> str:
        """Return the error message for a modality without obs and var."""
        return f"the modality {self.modality!r} of {path} is not AnnData (no obs and var): choose another --modality"

    def appender(self, path: Path, compression: str, threads: int | None, *, new: bool = False) -> Appender:
        """Open the modality for appending."""
        return Hdf5Appender(path, compression, threads, new=new, within=f"{MODALITIES}/{self.modality}")

    def read(self, path: Path) -> Any:
        """Read the modality as AnnData."""
        from anndata.io import read_elem

        with self.opened(path) as root, quiet():
            return read_elem(root[MODALITIES][self.modality])


FORMAT = H5muFormat()
