"""What the stored values are: counts or logarithms, and to which base; decided from the evidence in the values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sccr_node.data.dataset import Dataset
from sccr_node.data.summary import LARGEST_VALUE, MatrixSummary, SampledCells
from sccr_node.errors import InputProblem
from sccr_node.runtime.words import quantity

Scale = Literal["counts", "log1p"]

# log1p of 3.3 million counts: no cell has more of one gene.
LARGEST_LOG = 15.0
# exp(30) counts of one gene: no logarithm of counts, to any base above sqrt(e), is that large.
IMPOSSIBLE_LOG = 30.0

_LOG1P = "log1p"

# --- the evidence: what the values would be if they had been made in one way or another

_ONE_DEPTH = 0.01
"""Relative spread (5th to 95th percentile) of the cells' totals up to which the cells have one depth."""

_CLEARLY = 0.2
"""A transformation explains the totals clearly better than another if its spread is this share of the other's."""

_SAME = 1e-6
"""Totals of float32 values that agree to this are the same."""

_FEWEST_CELLS = 10
"""Fewer cells prove nothing: their totals could agree by chance."""

_LARGEST_MULTIPLE = 10
_SHARE_OF_MULTIPLES, _SHARE_OF_CELLS = 0.95, 0.8
_MULTIPLE_WITHIN = 1e-4
"""In a cell of scaled counts, every value is a multiple of that of one count: float32 keeps this to 1e-6."""


def _power(base: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    return lambda values: np.expm1(values * math.log(base))


class Kind(NamedTuple):
    """What values can be: in words, the function that returns them to a linear scale, and what to do about it."""

    words: str
    undone: str
    undo: Callable[[NDArray[Any]], NDArray[Any]]
    way_out: str


_AS_THEY_ARE = "--input-scale log1p to use them as they are"

_KINDS = (
    Kind(
        "natural logarithms", "undone,", np.expm1, "correct uns['log1p']['base'], or give --log-base 2.718281828459045"
    ),
    *(
        Kind(f"logarithms to base {base}", "undone,", _power(base), f"give --log-base {base}, or {_AS_THEY_ARE}")
        for base in (2, 10)
    ),
    Kind(
        "depth-normalised values without a logarithm",
        "as they are,",
        np.asarray,
        "give --input-scale counts to normalise them and take the logarithm",
    ),
    Kind(
        "logarithms that were taken twice",
        "both undone,",
        lambda values: np.expm1(np.expm1(values)),
        f"choose another matrix with --layer, or give {_AS_THEY_ARE}",
    ),
    Kind("square roots", "squared,", np.square, f"choose another matrix with --layer, or give {_AS_THEY_ARE}"),
)


class Support(NamedTuple):
    """How well a transformation explains the values of the sampled cells.

    Attributes
    ----------
    spread
        Relative spread of the totals of the cells on the linear scale; infinite if there are too few cells.
    multiples
        Whether the values of a cell are multiples of its smallest, as those of scaled counts are.
    """

    spread: float
    multiples: bool

    @property
    def given(self) -> bool:
        """Whether there is any support."""
        return self.multiples or self.spread <= _ONE_DEPTH

    def clearly_above(self, other: Support) -> bool:
        """Return whether this is the better explanation by far."""
        if self.spread <= _ONE_DEPTH and max(self.spread, _SAME) <= _CLEARLY * other.spread:
            return True
        return self.given and not other.given

    @property
    def words(self) -> str:
        """Describe the evidence."""
        if self.spread <= _ONE_DEPTH:
            return "the totals of all cells are equal"
        return "the values of each cell are multiples of its smallest"


def support(cells: SampledCells, undo: Callable[[NDArray[Any]], NDArray[Any]]) -> Support:
    """Return how well the values of some cells are explained by what ``undo`` returns to a linear scale."""
    values, starts = cells.values, cells.starts
    if len(starts) < _FEWEST_CELLS:
        return Support(math.inf, False)
    with np.errstate(over="ignore"):
        linear = undo(values)
    if not np.isfinite(linear).all():
        return Support(math.inf, False)
    totals = np.add.reduceat(linear, starts)
    low, middle, high = np.quantile(totals, [0.05, 0.5, 0.95])
    smallest = np.minimum.reduceat(linear, starts)
    n_values = np.diff(starts, append=len(values))
    multiple = linear / np.repeat(np.maximum(smallest, np.finfo(float).tiny), n_values)
    # The smallest itself proves nothing, and large multiples are less exact.
    tested = (multiple > 1 + _MULTIPLE_WITHIN) & (multiple <= _LARGEST_MULTIPLE)
    fits = tested & (np.abs(multiple - np.rint(multiple)) <= _MULTIPLE_WITHIN)
    n_tested, n_fitting = np.add.reduceat(tested, starts, dtype=int), np.add.reduceat(fits, starts, dtype=int)
    telling = n_tested >= 3
    fitting = n_fitting[telling] >= _SHARE_OF_MULTIPLES * n_tested[telling]
    multiples = telling.sum() >= _FEWEST_CELLS and fitting.mean() >= _SHARE_OF_CELLS
    return Support(float((high - low) / middle), bool(multiples))


# --- the decision


@dataclass(frozen=True)
class Scaling:
    """What stored values are, and how they become counts or natural logarithms.

    Attributes
    ----------
    scale
        Counts or logarithms.
    reason
        Why, without the file's name: equal inputs must give equal results wherever they are.
    rounded
        Whether the values are counts that float arithmetic moved off the integers.
    base
        The base of the logarithms; None for e.
    warnings
        What speaks against it, one sentence each.
    """

    scale: Scale
    reason: str = ""
    rounded: bool = False
    base: float | None = None
    warnings: tuple[str, ...] = ()

    @property
    def as_stored(self) -> bool:
        """Whether values are used as they are stored."""
        return not self.rounded and self.base is None

    def convert(self, block: Any) -> Any:
        """Turn the stored values of a CSR block that is ours into counts or natural logarithms."""
        if self.rounded:
            np.rint(block.data, out=block.data)
        elif self.base is not None:
            block.data = block.data * math.log(self.base)
        return block

    def noted(self) -> dict[str, Any]:
        """Return the entries of ``uns`` from which ``recorded_scaling`` makes the same again."""
        return {
            "scale": self.scale,
            **({"rounded": True} if self.rounded else {}),
            **({} if self.base is None else {"log_base": self.base}),
        }


def recorded_scaling(noted: Mapping[str, Any]) -> Scaling:
    """Return the scaling of a result from its ``uns`` entry."""
    base = noted.get("log_base")
    scale: Scale = "log1p" if str(noted["scale"]) == "log1p" else "counts"
    return Scaling(scale, rounded=bool(noted.get("rounded")), base=None if base is None else float(base))


class LogMark(NamedTuple):
    """What ``uns['log1p']`` says of X: whether it is there, and the base (None for e), as scanpy writes it."""

    found: bool = False
    base: float | None = None


def log_mark(data: Dataset) -> LogMark:
    """Read scanpy's note that X was log-transformed.

    Raises
    ------
    InputProblem
        It names a base that is not a number above 1.
    """
    if not data.has_key("uns", _LOG1P):
        return LogMark()
    noted = data.element("uns", _LOG1P) if data.is_stored else data.root.uns[_LOG1P]
    base = noted.get("base") if isinstance(noted, Mapping) else None
    if base is None:
        return LogMark(True)
    try:
        number = float(base)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 1):
        raise InputProblem(
            f"uns['log1p']['base'] of {data.path} is {base!r}, which is not the base of a logarithm: correct it, or "
            "give --log-base"
        )
    return LogMark(True, None if math.isclose(number, math.e, rel_tol=1e-6) else number)


def decide_scale(
    summary: MatrixSummary,
    input_scale: Literal["auto", "counts", "log1p"],
    *,
    mark: LogMark = LogMark(),  # noqa: B008 -- immutable
    log_base: float | None = None,
    any_scale: bool = False,
) -> Scaling:
    """Decide whether the values are counts or logarithms.

    Parameters
    ----------
    summary
        From ``scan``.
    input_scale
        The scale given by the user, or "auto".
    mark
        What the file says about its X.
    log_base
        The base of the logarithms given by the user.
    any_scale
        With "auto", use values that are neither counts nor logs as they are (as logs), including negative ones, and
        refuse nothing for what it seems to be.

    Raises
    ------
    InputProblem
        The matrix contains NaN, infinite or negative values, only zeros, or values that contradict the scale or leave
        it unclear.
    """
    if any_scale and input_scale == "auto":
        refuse_not_finite(summary)
        if summary.negative.n or (not summary.all_integers and summary.maximum > LARGEST_LOG):
            negative = f"{summary.negative.n:,} of them negative"
            return Scaling("log1p", f"values up to {summary.maximum:g}, {negative}; used as they are")
    _refuse_impossible(summary)
    if input_scale == "counts" or (input_scale == "auto" and summary.near_integers):
        return _counts(summary, mark)
    base = mark.base if log_base is None else None if math.isclose(log_base, math.e, rel_tol=1e-6) else log_base
    if input_scale == "log1p":
        return _requested_logs(summary, base)
    return _found_logs(summary, mark, base, log_base is not None, any_scale)


def _counts(summary: MatrixSummary, mark: LogMark) -> Scaling:
    largest = f"{summary.maximum:g}"
    if summary.all_integers:
        return Scaling("counts", f"non-negative integers up to {largest}")
    if summary.near_integers:
        return Scaling("counts", f"integers up to {largest}, off by float rounding; rounded", rounded=True)
    warnings = []
    if mark.found and summary.is_x:
        warnings.append("uns['log1p'] says that X is log-transformed, but counts were requested")
    else:
        seems = _seem(summary, Support(math.inf, False))
        if seems is not None and seems.kind.undo is not np.asarray:
            warnings.append(f"counts were requested, but the values look like {seems.words}")
    return Scaling("counts", f"as requested; fractional values up to {largest}", warnings=tuple(warnings))


def _requested_logs(summary: MatrixSummary, base: float | None) -> Scaling:
    what, largest = summary.source, f"{summary.maximum:g}"
    if summary.all_integers:
        raise InputProblem(
            f"{what} contains only integers (up to {largest}): these are counts, not log1p values; leave out "
            "--input-scale log1p, or choose another matrix with --layer"
        )
    natural = summary.maximum * math.log(base or math.e)
    if natural > IMPOSSIBLE_LOG:
        raise InputProblem(
            f"{what} contains values up to {largest}, too large for log1p of counts: give --input-scale counts if they "
            "are fractional counts, or choose another matrix with --layer"
        )
    to_base = "" if base is None else f" to base {base:g}, converted to natural logarithms"
    reason = f"as requested{to_base}; values up to {largest}"
    if natural > LARGEST_LOG:
        reason = f"as requested{to_base}, although values up to {largest} are too large for log1p of counts"
    seems = _seem(summary, support(summary.sample, _power(base or math.e)))
    if seems is None:
        return Scaling("log1p", reason, base=base)
    warning = f"log1p values were requested, but the values look like {seems.words}"
    return Scaling("log1p", reason, base=base, warnings=(warning,))


def _found_logs(
    summary: MatrixSummary, mark: LogMark, base: float | None, base_given: bool, any_scale: bool
) -> Scaling:
    what, largest = summary.source, f"{summary.maximum:g}"
    own = support(summary.sample, _power(base or math.e))
    seems = _seem(summary, own)
    too_large = summary.maximum * math.log(base or math.e) > LARGEST_LOG
    if seems is not None and (too_large or not any_scale):
        raise InputProblem(f"{what} contains values up to {largest} that look like {seems.words}: {seems.kind.way_out}")
    if too_large:
        raise InputProblem(
            f"{what} contains fractional values up to {largest}, neither counts nor logarithms: give --input-scale "
            "counts if they are fractional counts (ambient RNA removed) or depth-normalised, or choose another matrix "
            "with --layer"
        )
    used = "used as they are"
    if base is not None:
        source = "as requested" if base_given else "from uns['log1p']"
        used = f"to base {base:g} ({source}), made natural logarithms"
    reason = f"fractional values up to {largest}, already log-normalised, {used}"
    if seems is not None:
        return Scaling("log1p", reason, base=base, warnings=(f"the values look like {seems.words}",))
    if own.given:
        return Scaling("log1p", f"{reason}; undone, {own.words}", base=base)
    if base_given or mark.base is not None:
        return Scaling("log1p", reason, base=base)
    if mark.found and summary.is_x:
        return Scaling("log1p", f"{reason}; uns['log1p'] says so", base=base)
    doubt = (
        "the fractional values are taken as log1p values, but nothing confirms it: if they are counts, give "
        "--input-scale counts"
    )
    return Scaling("log1p", reason, base=base, warnings=(doubt,))


class Seeming(NamedTuple):
    """What values look like, and the evidence."""

    kind: Kind
    found: Support

    @property
    def words(self) -> str:
        """Describe both."""
        return f"{self.kind.words} ({self.kind.undone} {self.found.words})"


def _seem(summary: MatrixSummary, own: Support) -> Seeming | None:
    """Return what explains the values clearly better than what they are taken for; None if nothing does."""
    best: Seeming | None = None
    for kind in _KINDS:
        found = support(summary.sample, kind.undo)
        if found.clearly_above(own) and (best is None or found.clearly_above(best.found)):
            best = Seeming(kind, found)
    return best


def refuse_not_finite(summary: MatrixSummary) -> None:
    """Refuse NaN and infinite values, naming the first cell and gene.

    Raises
    ------
    InputProblem
        The matrix contains one.
    """
    for kind, name in ((summary.nan, "NaN"), (summary.infinite, "infinite")):
        if kind.n:
            raise InputProblem(
                f"{summary.source} contains {quantity(kind.n, f'{name} value')} (first: cell {kind.cell!r}, gene "
                f"{kind.gene!r}): every value must be a finite number"
            )


def _refuse_impossible(summary: MatrixSummary) -> None:
    kinds = [
        (summary.nan, "NaN"),
        (summary.infinite, "infinite"),
        (summary.negative, "negative"),
    ]
    found = [
        f"{quantity(kind.n, f'{name} value')} (first: cell {kind.cell!r}, gene {kind.gene!r})"
        for kind, name in kinds
        if kind.n
    ]
    if found:
        looks = "; it looks scaled (z-scored)" if summary.negative.n else ""
        raise InputProblem(
            f"{summary.source} contains {' and '.join(found)}{looks}: give raw counts or log1p values, for example "
            "another matrix with --layer"
        )
    if summary.maximum > LARGEST_VALUE:
        raise InputProblem(
            f"{summary.source} contains values up to {summary.maximum:g}, too large for counts: give raw counts or "
            "log1p values, for example another matrix with --layer"
        )
    if not summary.n_nonzeros or not summary.cell_totals.any():
        raise InputProblem(f"{summary.source} contains only zeros: choose another matrix with --layer")
