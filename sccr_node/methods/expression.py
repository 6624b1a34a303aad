"""The input and output of a method: expression without empty cells and genes, and the imputed arrays."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import get_args

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from sccr_node.contract.methods import NeighborSearch, Output, Value
from sccr_node.numerics import Workspace
from sccr_node.numerics._kernels import kernels
from sccr_node.numerics.neighbors import DenseRows, SearchSummary, buffer_size


@dataclass(frozen=True)
class Imputed:
    """The arrays that a method returns.

    Attributes
    ----------
    denoised
        Cells x genes, float32: the result. None if it was not asked for.
    recovered
        Cells x genes, float32: scCR's recovered expression, before denoising. None if it was not asked for, or the
        method does not have it.
    relations
        Genes x genes, float32, symmetric, no diagonal: Pearson's r (signed; for scBFP the cosine) of the pairs in the
        gene graph, before its rows are normalised. None for a method without a gene graph.
    seconds
        Seconds per stage.
    searches
        Per stage, what its search for the nearest cells left out; without stages that searched everything.
    """

    denoised: NDArray[np.float32] | None = None
    recovered: NDArray[np.float32] | None = None
    relations: sp.csr_matrix | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    searches: dict[str, SearchSummary] = field(default_factory=dict)


@dataclass(frozen=True)
class Expression:
    """The expression of non-empty cells and genes: `matrix` is CSR float32, `cells` and `genes` are their indices."""

    matrix: sp.csr_matrix
    cells: NDArray[np.int64]
    genes: NDArray[np.int64]
    shape: tuple[int, int]

    @classmethod
    def of(cls, expression: sp.csr_matrix | ArrayLike) -> "Expression":
        """Convert a sparse or dense matrix, cells x genes; the input is not changed, and copied only if necessary."""
        matrix = expression if sp.issparse(expression) else np.asarray(expression)
        if matrix.ndim != 2:
            raise ValueError(f"the expression has {matrix.ndim} dimensions: it must be a cells × genes matrix")
        csr = sp.csr_matrix(matrix, dtype=np.float32)
        if not csr.has_canonical_format or (csr.data == 0).any():
            csr = csr.copy()
            csr.sum_duplicates()
            csr.eliminate_zeros()
        cells = np.flatnonzero(np.diff(csr.indptr)).astype(np.int64)
        genes = np.flatnonzero(np.bincount(csr.indices, minlength=csr.shape[1])).astype(np.int64)
        used = csr
        if len(cells) < csr.shape[0] or len(genes) < csr.shape[1]:
            new_name = np.zeros(csr.shape[1], np.int32)
            new_name[genes] = np.arange(len(genes))
            starts = csr.indptr[np.concatenate([cells, [csr.shape[0]]])]  # an empty row ends where it starts
            used = sp.csr_matrix((csr.data, new_name[csr.indices], starts), shape=(len(cells), len(genes)))
        return cls(used, cells, genes, csr.shape)

    @property
    def passes_through(self) -> bool:
        """Whether there is nothing to learn from: at most one non-empty cell."""
        return len(self.cells) < 2

    @cached_property
    def digest(self) -> str:
        """What identifies this expression: the SHA-256 of its values and their positions."""
        summed = sha256(repr(self.shape).encode())
        csr = self.matrix
        for array in (self.cells, self.genes, csr.indptr.astype(np.int64), csr.indices.astype(np.int64), csr.data):
            summed.update(np.ascontiguousarray(array).data)
        return summed.hexdigest()

    def buffer(self, work: Workspace) -> NDArray[np.float32]:
        """Return a buffer for a matrix of cells x genes, large enough for the result and for whole panels of rows."""
        return work.buffer(max(buffer_size(*self.matrix.shape), self.shape[0] * self.shape[1]))

    def spread(self, rows: DenseRows, buffer: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a matrix with empty cells and genes reinserted as zeros; `buffer` may be that of `rows`."""
        if buffer is not rows.buffer:
            buffer[:] = rows.buffer
        if self.matrix.shape != self.shape:
            cells, genes = self.matrix.shape
            kernels().spread(buffer, self.cells, cells, self.genes, genes, *self.shape, np.empty(genes, np.float32))
        return buffer[: self.shape[0] * self.shape[1]].reshape(self.shape)

    def spread_relations(self, relations: sp.csr_matrix) -> sp.csr_matrix:
        """Return relations with empty genes reinserted as empty rows and columns."""
        pairs = relations.tocoo()
        n_genes = self.shape[1]
        names = self.genes.astype(np.int32)
        return sp.csr_matrix((pairs.data, (names[pairs.row], names[pairs.col])), shape=(n_genes, n_genes))

    def unchanged(self, outputs: Collection[Output], *, relations: bool) -> Imputed:
        """Return the values unchanged, which is the result for a single cell."""
        values = np.zeros(self.shape, np.float32)
        values[np.ix_(self.cells, self.genes)] = self.matrix.toarray()
        pairs = np.zeros(0, np.float32), (np.zeros(0, np.int32), np.zeros(0, np.int32))
        no_relations = sp.csr_matrix(pairs, shape=(self.shape[1], self.shape[1]))
        return Imputed(
            denoised=values if "denoised" in outputs else None,
            recovered=values.copy() if "recovered" in outputs else None,
            relations=no_relations if relations else None,
        )


def check_ranges(settings: Mapping[str, Value]) -> None:
    """Refuse settings out of range: numbers below 0 (neighbours: below 1), weights outside [0, 1], unknown searches."""
    for name, value in settings.items():
        if isinstance(value, str):
            if value not in get_args(NeighborSearch):
                raise ValueError(f"{name} is {value!r}: it must be one of {', '.join(get_args(NeighborSearch))}")
            continue
        if name.startswith("k_") and value < 1:
            raise ValueError(f"{name} is {value}: it must be at least 1")
        if name.startswith("n_") and value < 0:
            raise ValueError(f"{name} is {value}: it must not be negative")
        if name in ("alpha", "beta", "gamma") and not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}: it must be between 0 and 1")
