"""The parameters of all commands that impute: the batches, the method, its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from sccr_node.contract.fields import DATA, METHOD, NUMBERS, extra_of, flag, parameter
from sccr_node.contract.methods import CLUSTERED_FROM, COMMON_SETTINGS, DEFAULT_METHOD, METHODS, NeighborSearch, Value
from sccr_node.contract.shared import RunningParameters

DEFAULT_RANK = 20
"""Of the low-rank share, where it is asked for without one."""

RELATING = tuple(name for name, method in METHODS.items() if method.relation is not None)
"""The methods that build a gene graph."""


if TYPE_CHECKING:
    MethodName = str
    RelatingMethodName = str
else:  # pydantic must know which methods exist, the type checker need not
    MethodName = Literal[tuple(METHODS)]
    RelatingMethodName = Literal[RELATING]


def published_for(setting: str) -> dict[str, Value]:
    """Return the published default of a setting per method that has it."""
    return {name: method.defaults[setting] for name, method in METHODS.items() if setting in method.defaults}


def followed_by(setting: str) -> str:
    """Return the setting whose value another one takes unless it is given."""
    return next(method.follows[setting] for method in METHODS.values() if setting in method.follows)


def _described() -> str:
    """Return the methods in one sentence: the first, then the related ones."""
    first, *others = (f"{method.title} ({method.summary})" for method in METHODS.values())
    return f"{first}, or a related method: {', '.join(others[:-1])} or {others[-1]}."


class MethodParameters(RunningParameters):
    """Parameters of all commands that impute: which cells together, by which method, with which numbers."""

    # --- input
    batch_key: str | None = parameter(
        None,
        title="Batch column",
        description=(
            "Column of obs with each cell's batch or sample. Each batch is imputed separately: no expression crosses "
            "from one to another. Genes and target depth are chosen once, over all cells."
        ),
        group=DATA,
        metavar="COLUMN",
        min_length=1,
    )

    # --- method
    method: MethodName = parameter(
        DEFAULT_METHOD,
        title="Method",
        description=_described(),
        group=METHOD,
    )
    low_rank_share: float | None = parameter(
        None,
        title="Share of principal components",
        description=(
            "Weight of the low-rank (PCA) reconstruction of the observed expression in the denoised output; the "
            "remainder comes from the method (default: 0, the published method alone). sccr tune finds the best weight."
        ),
        group=METHOD,
        ge=0,
        le=1,
    )
    low_rank: int | None = parameter(
        None,
        title="Number of components in the blend",
        description=f"Number of principal components for --low-rank-share (default: {DEFAULT_RANK}).",
        group=METHOD,
        ge=1,
    )
    neighbor_search: NeighborSearch = parameter(
        COMMON_SETTINGS["neighbor_search"],
        title="Neighbour search",
        description=(
            "How the nearest cells are found: exact compares all cells with each other; clustered compares only those "
            "of similar groups, finds about 99% of the nearest cells, and records the share; auto is exact for fewer "
            f"than {CLUSTERED_FROM:,} cells (in a batch), otherwise clustered."
        ),
        group=METHOD,
    )
    k_cell: int | None = parameter(
        None,
        title="Neighbours per cell",
        description="Number of nearest neighbours per cell.",
        group=NUMBERS,
        published=published_for("k_cell"),
        ge=1,
    )
    k_gene: int | None = parameter(
        None,
        title="Neighbours per gene",
        description="Number of nearest neighbours per gene.",
        group=NUMBERS,
        published=published_for("k_gene"),
        ge=1,
    )
    k_denoising: int | None = parameter(
        None,
        title="Neighbours for denoising",
        description="Number of nearest neighbours per cell in the cell graph used for denoising.",
        group=NUMBERS,
        follows=followed_by("k_denoising"),
        ge=1,
    )
    n_iterations: int | None = parameter(
        None,
        title="Iterations on cell graphs",
        description="Number of propagation steps over each cell graph. The published number is part of the method.",
        group=NUMBERS,
        published=published_for("n_iterations"),
        ge=1,
    )
    n_gene_iterations: int | None = parameter(
        None,
        title="Iterations on the gene graph",
        description="Number of propagation steps over the gene graph.",
        group=NUMBERS,
        published=published_for("n_gene_iterations"),
        ge=1,
    )
    n_denoising_iterations: int | None = parameter(
        None,
        title="Iterations for denoising",
        description="Number of propagation steps over the cell graph used for denoising.",
        group=NUMBERS,
        follows=followed_by("n_denoising_iterations"),
        ge=1,
    )
    alpha: float | None = parameter(
        None,
        title="Weight of the pre-imputation (alpha)",
        description=(
            "Weight of the values after the first cell graph in the recovered expression; the rest comes through "
            "the gene graph."
        ),
        group=NUMBERS,
        published=published_for("alpha"),
        ge=0,
        le=1,
    )
    beta: float | None = parameter(
        None,
        title="Smoothing (beta)",
        description="Weight of the neighbours in each denoising step; the rest is the cell's own expression.",
        group=NUMBERS,
        published=published_for("beta"),
        ge=0,
        le=1,
    )
    gamma: float | None = parameter(
        None,
        title="Weight of the recovered expression (gamma)",
        description="Weight of the recovered expression (before denoising) in the denoised output.",
        group=NUMBERS,
        published=published_for("gamma"),
        ge=0,
        le=1,
    )
    symmetrize_final: bool | None = parameter(
        None,
        title="Symmetrise the last cell graph",
        description=(
            "Make the last cell graph symmetric before denoising. The paper does so for three of its data sets, but "
            "not for Baron Mouse, Zeisel and Worm Neuron."
        ),
        group=NUMBERS,
        published=published_for("symmetrize_final"),
    )
    dissociating: bool | None = parameter(
        None,
        title="Dissociating gene relations",
        description="Also connect negatively correlated genes (the paper's signed relations).",
        group=NUMBERS,
        published=published_for("dissociating"),
    )
    standardize: bool | None = parameter(
        None,
        title="Standardise genes",
        description="Standardise each gene before relating genes, so that their similarity is Pearson's correlation.",
        group=NUMBERS,
        published=published_for("standardize"),
    )

    def contradictions(self) -> Iterator[str]:
        """Yield the numbers that the method does not have."""
        yield from super().contradictions()
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        for name, methods in methods_by_setting().items():
            if name in given and self.method not in methods:
                having = " or ".join(methods)
                yield f"{flag(name)} requires --method {having}: {self.method} does not have it"
        if "low_rank" in given and self.low_rank_share is None and not self._tunes:
            yield "--low-rank requires --low-rank-share"

    @property
    def _tunes(self) -> bool:
        """Whether numbers that are not given are tuned."""
        return False

    def method_parameters(self) -> dict[str, Value]:
        """Return the method's parameters: those given, and the defaults of the rest."""
        method = METHODS[self.method]
        return method.complete({name: getattr(self, name) for name in method.settings})

    def blend_parameters(self) -> dict[str, Any]:
        """Return the share of principal components and their number; empty without a share."""
        if not self.low_rank_share:
            return {}
        return {"low_rank_share": self.low_rank_share, "low_rank": self.low_rank or DEFAULT_RANK}

    def _only_follows(self, name: str) -> bool:
        """Return whether a parameter was not given and takes the value of another, which is recorded."""
        return "follows" in extra_of(type(self).model_fields[name]) and getattr(self, name) is None


def methods_by_setting() -> dict[str, list[str]]:
    """Return, for every method parameter, the names of the methods that have it."""
    settings = dict.fromkeys(setting for method in METHODS.values() for setting in method.settings)
    return {setting: [name for name, method in METHODS.items() if setting in method.settings] for setting in settings}
