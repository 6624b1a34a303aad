"""What the stored values are: counts or logarithms, and to which base; decided from the evidence in the values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sccr_node.data.dataset import Dataset
from sccr_node.data.summary import MatrixSummary, SampledCells
from sccr_node.errors import InputProblem
from sccr_node.runtime.words import quantity

Scale = Literal["counts", "log1p"]

# log1p of 3.3 million counts: no cell has more of one gene.
LARGEST_LOG = 15.0
# exp(30) counts of one gene: no logarithm of counts, to any base above sqrt(e), is that large.
IMPOSSIBLE_LOG = 30.0
# The largest value of any cell: even of shares of the cells' totals, logarithms are larger. As small as this, a value
# and its logarithm are nearly equal, so that the evidence cannot tell them apart.
SMALLEST_LOG = 1e-3

_LOG1P = "log1p"

# --- the evidence: what the values would be if they had been made in one way or another

_ONE_DEPTH = 0.01
"""Relative spread (5th to 95th percentile) of the cells' totals up to which the cells have one depth."""

_OTHER_DEPTH = 2.0
"""If the others have one depth, a cell whose total is this many times larger or smaller was not made as they were."""

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

_MOSTLY = 0.75
"""Above one count, more than this share of a cell's values are integers in counts, but not in logarithms of them."""

_FEW = 0.01
"""A smaller share of cells may agree with something else by chance."""

_SOME_INTEGERS, _MOST_INTEGERS = 0.2, 0.5
"""Shares of integers among values: logarithms of counts have none (to base 2, only those of 1, 3, 7 … counts)."""


def _power(base: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    return lambda values: np.expm1(values * math.log(base))


class Kind(NamedTuple):
    """What values can be: in words, the function that returns them to a linear scale, and what to do about it."""

    words: str
    undone: str
    undo: Callable[[NDArray[Any]], NDArray[Any]]
    way_out: str


_AS_THEY_ARE = "--input-scale log1p to use them as they are"

_NO_LOGARITHM = Kind(
    "depth-normalised values without a logarithm",
    "as they are,",
    np.asarray,
    "give --input-scale counts to normalise them and take the logarithm",
)

_COUNTS = Kind(
    "counts with some fractions",
    "as they are,",
    np.asarray,
    "give --input-scale counts to normalise them and take the logarithm",
)

_RESCALED = Kind(
    "logarithms that were normalised once more (proportional fitting, log1p, proportional fitting)",
    "as they are,",
    np.asarray,
    f"give {_AS_THEY_ARE}",
)

_WITH_OR_WITHOUT = Kind(
    "depth-normalised values without a logarithm, or logarithms that were normalised once more",
    "as they are,",
    np.asarray,
    f"give --input-scale counts if no logarithm was taken, else {_AS_THEY_ARE}",
)

_KINDS = (
    Kind(
        "natural logarithms",
        "with the logarithm undone,",
        np.expm1,
        "correct uns['log1p']['base'], or give --log-base e",
    ),
    *(
        Kind(
            f"logarithms to base {base}",
            "with the logarithm undone,",
            _power(base),
            f"give --log-base {base}, or {_AS_THEY_ARE}",
        )
        for base in (2, 10)
    ),
    _NO_LOGARITHM,
    Kind(
        "logarithms that were taken twice",
        "with both undone,",
        lambda values: np.expm1(np.expm1(values)),
        f"choose another matrix with --layer, or give {_AS_THEY_ARE}",
    ),
    Kind("square roots", "squared,", np.square, f"choose another matrix with --layer, or give {_AS_THEY_ARE}"),
)


class Multiples(NamedTuple):
    """Which cells' values are multiples of the smallest, as those of scaled counts are.

    Attributes
    ----------
    telling
        Whether a cell has enough values to tell.
    fit
        Whether they are multiples.
    mostly
        Whether most of them are.
    smallest
        The smallest value: that of one count.
    """

    telling: NDArray[np.bool_]
    fit: NDArray[np.bool_]
    mostly: NDArray[np.bool_]
    smallest: NDArray[Any]

    @property
    def integers(self) -> NDArray[np.bool_]:
        """Whether they are integers, or most of them."""
        nearest = np.maximum(np.rint(self.smallest), 1)
        return np.asarray(self.mostly & (np.abs(self.smallest - nearest) <= _MULTIPLE_WITHIN))

    @property
    def counts(self) -> NDArray[np.bool_]:
        """Whether they are multiples, and the smallest is 1: counts that were not scaled."""
        return np.asarray(self.fit & (np.abs(self.smallest - 1) <= _MULTIPLE_WITHIN))


@dataclass(frozen=True)
class Support:
    """How well a transformation explains the values of the sampled cells.

    Attributes
    ----------
    spread
        Relative spread of the totals of the cells on the linear scale; infinite if there are too few cells.
    totals
        The totals, divided by the middle one.
    multiples
        Which cells' values are multiples on the linear scale; None if there are too few cells.
    proving
        Which of them prove something: integers do not prove that they were logarithms, although, to base 2, they
        become other integers.
    """

    spread: float = math.inf
    totals: NDArray[Any] | None = None
    multiples: Multiples | None = None
    proving: NDArray[np.bool_] | None = None

    @property
    def by_totals(self) -> bool:
        """Whether the cells have one depth."""
        return self.spread <= _ONE_DEPTH

    @property
    def by_multiples(self) -> bool:
        """Whether the values of nearly all cells are multiples."""
        if self.multiples is None or self.proving is None:
            return False
        n_telling = int(self.multiples.telling.sum())
        return n_telling >= _FEWEST_CELLS and int(self.proving.sum()) >= _SHARE_OF_CELLS * n_telling

    @property
    def given(self) -> bool:
        """Whether there is any support."""
        return self.by_totals or self.by_multiples

    def clearly_above(self, other: Support) -> bool:
        """Return whether this is the better explanation by far."""
        if self.by_totals and max(self.spread, _SAME) <= _CLEARLY * other.spread:
            return True
        return self.given and not other.given

    @property
    def words(self) -> str:
        """Describe the evidence, and in how many cells it was found."""
        if self.by_totals and self.totals is not None:
            same = np.abs(self.totals - 1) <= _ONE_DEPTH
            return f"{_of_all(int(same.sum()), len(same))} have the same total"
        assert self.multiples is not None and self.proving is not None
        cells = _of_all(int(self.proving.sum()), int(self.multiples.telling.sum()))
        return f"the values of a cell are 1, 2, 3 … times its smallest, as those of counts are, in {cells}"


_NO_SUPPORT = Support()


def _of_all(n: int, n_all: int) -> str:
    return "all cells examined" if n == n_all else f"{n:,} of {n_all:,} cells examined"


def support(cells: SampledCells, undo: Callable[[NDArray[Any]], NDArray[Any]]) -> Support:
    """Return how well the values of some cells are explained by what ``undo`` returns to a linear scale."""
    if len(cells.starts) < _FEWEST_CELLS:
        return _NO_SUPPORT
    with np.errstate(over="ignore"):
        linear = undo(cells.values)
    if not np.isfinite(linear).all():
        return _NO_SUPPORT
    totals = np.add.reduceat(linear, cells.starts)
    low, middle, high = np.quantile(totals, [0.05, 0.5, 0.95])
    found = multiples_in(SampledCells(linear, cells.starts))
    stored = found if undo is np.asarray else multiples_in(cells)
    proving = found.fit if undo is np.asarray else found.fit & ~stored.integers
    return Support(float((high - low) / middle), totals / middle, found, proving)


def multiples_in(cells: SampledCells) -> Multiples:
    """Return in which cells the values are multiples of the smallest."""
    values, starts = cells.values, cells.starts
    smallest = np.minimum.reduceat(values, starts)
    n_values = np.diff(starts, append=len(values))
    multiple = values / np.repeat(np.maximum(smallest, np.finfo(float).tiny), n_values)
    # The smallest itself proves nothing, and large multiples are less exact.
    tested = (multiple > 1 + _MULTIPLE_WITHIN) & (multiple <= _LARGEST_MULTIPLE)
    fits = tested & (np.abs(multiple - np.rint(multiple)) <= _MULTIPLE_WITHIN)
    n_tested, n_fitting = np.add.reduceat(tested, starts, dtype=int), np.add.reduceat(fits, starts, dtype=int)
    telling = n_tested >= 3
    fit = telling & (n_fitting >= _SHARE_OF_MULTIPLES * n_tested)
    return Multiples(telling, fit, telling & (n_fitting >= _MOSTLY * n_tested), smallest)


def _normalised_again(cells: SampledCells) -> bool:
    """Return whether the values are logarithms of scaled counts, times a factor that differs from cell to cell.

    The ratio of the logarithms of 2 counts and of 1 tells how the counts of a cell were scaled, and with it every
    other value is known.
    """
    undone = []
    for values in np.split(cells.values, cells.starts[1:]):
        distinct = np.unique(values)
        larger = distinct[distinct > distinct[0] * (1 + _MULTIPLE_WITHIN)]
        if len(larger) < 3 or not distinct[0] * 1.01 < larger[0] < distinct[0] * 1.99:
            continue
        low, high = -7.0, 7.0
        for _ in range(50):
            scale = 10 ** ((low + high) / 2)
            above = math.log1p(2 * scale) / math.log1p(scale) > larger[0] / distinct[0]
            low, high = (math.log10(scale), high) if above else (low, math.log10(scale))
        with np.errstate(over="ignore"):
            multiple = np.expm1(values / distinct[0] * math.log1p(scale)) / scale
        # The two smallest fit in any case.
        tested = multiple[(multiple > 2.5) & (multiple <= _LARGEST_MULTIPLE)]
        off = np.abs(tested - np.rint(tested))
        undone.append(len(tested) > 0 and np.mean(off <= 10 * _MULTIPLE_WITHIN) >= _SHARE_OF_MULTIPLES)
    return len(undone) >= _FEWEST_CELLS and float(np.mean(undone)) >= _SHARE_OF_CELLS


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
    if base is None or str(base) == "e":
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
    return LogMark(True, _unless_e(number))


def _unless_e(base: float | Literal["e"]) -> float | None:
    return None if base == "e" or math.isclose(base, math.e, rel_tol=1e-6) else base


def decide_scale(
    summary: MatrixSummary,
    input_scale: Literal["auto", "counts", "log1p"],
    *,
    mark: LogMark = LogMark(),  # noqa: B008 -- immutable
    log_base: float | Literal["e"] | None = None,
    any_scale: bool = False,
    is_result: bool = False,
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
    is_result
        With "auto", take the values for logarithms: sccr impute wrote them.

    Raises
    ------
    InputProblem
        The matrix contains NaN, infinite or negative values, only zeros, or values that contradict the scale or leave
        it unclear.
    """
    if is_result and input_scale == "auto" and log_base is None:
        refuse_not_finite(summary)
        return Scaling("log1p", f"a result of sccr impute, up to {summary.maximum:g}")
    if any_scale and input_scale == "auto":
        refuse_not_finite(summary)
        _refuse_too_large(summary)
        if summary.negative.n or (not summary.all_integers and summary.maximum > LARGEST_LOG):
            negative = f"{summary.negative.n:,} of them negative"
            return Scaling("log1p", f"values up to {summary.maximum:g}, {negative}; used as they are")
    _refuse_impossible(summary)
    if _are_integers(summary):
        return _integers(summary, input_scale, mark, log_base)
    if input_scale == "counts":
        return _requested_counts(summary, mark)
    base = mark.base if log_base is None else _unless_e(log_base)
    if input_scale == "log1p":
        return _requested_logs(summary, base)
    return _found_logs(summary, mark, base, log_base is not None, any_scale)


def _are_integers(summary: MatrixSummary) -> bool:
    # Float rounding moves counts a little, but does not make a count of nothing: smaller values are fractions.
    return summary.all_integers or (summary.near_integers and summary.maximum >= 0.5)


def _integers(summary: MatrixSummary, input_scale: str, mark: LogMark, log_base: float | str | None) -> Scaling:
    largest = f"{summary.maximum:g}"
    flags = "--input-scale log1p" if input_scale == "log1p" else "--log-base" if log_base is not None else None
    if flags is not None:
        raise InputProblem(
            f"{summary.source} contains only integers (up to {largest}): these are counts, not logarithms; leave out "
            f"{flags}, or choose another matrix with --layer"
        )
    warnings = []
    if input_scale == "auto" and mark.found and summary.is_x:
        warnings.append(
            "uns['log1p'] says that X is log-transformed, but X contains only integers, and is treated as counts; if "
            "they are rounded logarithms, choose another matrix with --layer"
        )
    if summary.all_integers:
        return Scaling("counts", f"non-negative integers up to {largest}", warnings=tuple(warnings))
    reason = f"integers up to {largest}, off by float rounding; rounded"
    return Scaling("counts", reason, rounded=True, warnings=tuple(warnings))


def _requested_counts(summary: MatrixSummary, mark: LogMark) -> Scaling:
    warnings = []
    if mark.found and summary.is_x:
        warnings.append("uns['log1p'] says that X is log-transformed, but counts were requested")
    else:
        seems = None if _is_too_small(summary, None) else _seem(summary, _NO_SUPPORT)
        if seems is not None and seems.kind not in (_COUNTS, _NO_LOGARITHM, _WITH_OR_WITHOUT):
            warnings.append(f"counts were requested, but the values look like {seems.words}")
        else:
            warnings.extend(_differing(summary, support(summary.sample, np.asarray), np.asarray))
    reason = f"as requested; fractional values up to {summary.maximum:g}"
    return Scaling("counts", reason, warnings=tuple(warnings))


def _requested_logs(summary: MatrixSummary, base: float | None) -> Scaling:
    what, largest = summary.source, f"{summary.maximum:g}"
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
    if _is_too_small(summary, base):
        warning = f"log1p values were requested, but {_too_small(summary)}"
        return Scaling("log1p", reason, base=base, warnings=(warning,))
    undo = _power(base or math.e)
    own = support(summary.sample, undo)
    seems = _seem(summary, own)
    if seems is None:
        return Scaling("log1p", reason, base=base, warnings=_mixed(summary, own, undo))
    if seems.kind is _RESCALED:
        return Scaling("log1p", reason, base=base)
    warning = f"log1p values were requested, but the values look like {seems.words}"
    return Scaling("log1p", reason, base=base, warnings=(warning,))


def _found_logs(
    summary: MatrixSummary, mark: LogMark, base: float | None, base_given: bool, any_scale: bool
) -> Scaling:
    what, largest = summary.source, f"{summary.maximum:g}"
    undo = _power(base or math.e)
    own = support(summary.sample, undo)
    seems = _seem(summary, own)
    if not any_scale:
        _refuse_some_integers(summary, own, seems, base)
    too_large = summary.maximum * math.log(base or math.e) > LARGEST_LOG
    if seems is not None and (too_large or not any_scale):
        raise InputProblem(f"{what} contains values up to {largest} that look like {seems.words}: {seems.kind.way_out}")
    if too_large:
        raise InputProblem(
            f"{what} contains fractional values up to {largest}, neither counts nor logarithms: give --input-scale "
            "counts if they are fractional counts (ambient RNA removed) or depth-normalised, or choose another matrix "
            "with --layer"
        )
    too_small = _is_too_small(summary, base)
    if too_small and not any_scale:
        raise InputProblem(
            f"{what}: {_too_small(summary)}: give --input-scale counts if they are counts that were divided, or give "
            f"{_AS_THEY_ARE}"
        )
    used = "used as they are"
    if base is not None:
        source = "as requested" if base_given else "from uns['log1p']"
        used = f"to base {base:g} ({source}), made natural logarithms"
    reason = f"fractional values up to {largest}, already log-normalised, {used}"
    if seems is not None:
        return Scaling("log1p", reason, base=base, warnings=(f"the values look like {seems.words}",))
    if too_small:
        return Scaling("log1p", reason, base=base, warnings=(_too_small(summary),))
    mixed = () if any_scale else _mixed(summary, own, undo)
    if own.given:
        return Scaling("log1p", f"{reason}; with the logarithm undone, {own.words}", base=base, warnings=mixed)
    if base_given or mark.base is not None:
        return Scaling("log1p", reason, base=base, warnings=mixed)
    if mark.found and summary.is_x:
        return Scaling("log1p", f"{reason}; uns['log1p'] says so", base=base, warnings=mixed)
    doubt = (
        "the fractional values are taken as log1p values, but nothing confirms it: if they are counts, give "
        "--input-scale counts"
    )
    return Scaling("log1p", reason, base=base, warnings=(doubt, *mixed))


def _is_too_small(summary: MatrixSummary, base: float | None) -> bool:
    return summary.maximum * math.log(base or math.e) < SMALLEST_LOG


def _too_small(summary: MatrixSummary) -> str:
    """Say that values are too small for logarithms, with the evidence for what else they are, if there is any."""
    linear = support(summary.sample, np.asarray)
    evidence = f" (as they are, {linear.words})" if linear.given else ""
    return f"the values, at most {summary.maximum:g}, are too small for logarithms of counts{evidence}"


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
    if best is None or best.kind is not _NO_LOGARITHM:
        return best
    if _share_of_integers(summary) >= _MOST_INTEGERS:
        return Seeming(_COUNTS, best.found)
    if best.found.by_multiples or summary.maximum > IMPOSSIBLE_LOG:
        return best
    # Equal totals alone: logarithms can be normalised, too.
    if _normalised_again(summary.sample):
        return Seeming(_RESCALED, best.found)
    return Seeming(_WITH_OR_WITHOUT, best.found) if summary.maximum <= LARGEST_LOG else best


# --- cells that were not all made in the same way


def _refuse_some_integers(summary: MatrixSummary, own: Support, seems: Seeming | None, base: float | None) -> None:
    """Refuse counts with some fractions, and counts of some cells among logarithms of others."""
    if seems is not None and seems.kind is not _COUNTS:
        return
    what = summary.source
    if _fractional_counts(summary, own):
        raise InputProblem(
            f"{what} contains many integers, up to {summary.maximum:g}, and also fractions (first: cell "
            f"{summary.fraction.cell!r}, gene {summary.fraction.gene!r}): give --input-scale counts if they are "
            "fractional counts (expected counts, ambient RNA removed), or choose another matrix with --layer"
        )
    if summary.integer_cells.n and base is None:
        raise InputProblem(
            f"{what} contains {_cells_of_integers(summary)}, but fractions in others (first: cell "
            f"{summary.fraction.cell!r}): counts and logarithms cannot be mixed; choose another matrix with --layer, "
            "or give --input-scale counts if all of them are counts"
        )


def _fractional_counts(summary: MatrixSummary, own: Support) -> bool:
    """Return whether many values are integers, also in the cells that contain fractions."""
    whole = _integers_per_cell(summary.sample)
    if own.given or len(whole) < _FEWEST_CELLS or _share_of_integers(summary) < _SOME_INTEGERS:
        return False
    # Cells of integers only and cells of fractions only: at least one of them was made in another way.
    partly = whole[whole < 1]
    return not len(partly) or float(np.median(partly)) >= _SOME_INTEGERS


def _share_of_integers(summary: MatrixSummary) -> float:
    values = summary.sample.values
    # Values may have been clipped at an integer: the maximum proves nothing.
    whole = (values == np.rint(values)) & (values < summary.maximum)
    return float(np.mean(whole)) if len(values) else 0.0


def _integers_per_cell(cells: SampledCells) -> NDArray[Any]:
    """Return the share of integers in each cell."""
    if not len(cells.starts):
        return np.empty(0)
    n_integers = np.add.reduceat(cells.values == np.rint(cells.values), cells.starts, dtype=int)
    return n_integers / np.diff(cells.starts, append=len(cells.values))


def _cells_of_integers(summary: MatrixSummary) -> str:
    found = summary.integer_cells
    return f"only integers in {found.n:,} of {summary.n_cells:,} cells (first: cell {found.cell!r})"


def _mixed(summary: MatrixSummary, own: Support, undo: Callable[[NDArray[Any]], NDArray[Any]]) -> tuple[str, ...]:
    """Return warnings about cells that do not seem to be logarithms as the others are."""
    if _fractional_counts(summary, own):
        return (f"the values look like {_COUNTS.words}: many of them are integers",)
    if summary.integer_cells.n:
        return (f"{summary.source} contains {_cells_of_integers(summary)}: they look like counts among logarithms",)
    return tuple(_differing(summary, own, undo))


def _differing(summary: MatrixSummary, own: Support, undo: Callable[[NDArray[Any]], NDArray[Any]]) -> list[str]:
    """Return a warning about sampled cells that another transformation explains."""
    if own.multiples is None or own.totals is None:
        return []
    telling = own.multiples.telling
    n_examined = len(telling)
    for kind in _KINDS:
        found = support(summary.sample, kind.undo)
        if found.multiples is None or found.proving is None:
            continue
        n_others = int((found.proving & ~own.multiples.fit).sum())
        if n_others > _FEW * n_examined:
            return [
                f"the cells do not seem to be on one scale: the values of {n_others:,} of {n_examined:,} cells "
                f"examined look like {kind.words}"
            ]
    if undo is np.asarray:
        return []
    if own.by_totals:
        n_others = int(((own.totals > _OTHER_DEPTH) | (own.totals < 1 / _OTHER_DEPTH)).sum())
        if n_others:
            return [
                f"the cells do not seem to be on one scale: with the logarithm undone, the totals of {n_others:,} of "
                f"{n_examined:,} cells examined differ from that of the others more than twofold"
            ]
    n_scaled, n_counts = int((own.multiples.fit & ~own.multiples.counts).sum()), int(own.multiples.counts.sum())
    if not own.by_totals and min(n_scaled, n_counts) > _FEW * n_examined:
        return [
            f"the cells do not seem to be on one scale: {n_counts:,} of {n_examined:,} cells examined look like "
            "logarithms of counts as they were, and others like logarithms of normalised counts"
        ]
    return []


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


def _refuse_too_large(summary: MatrixSummary) -> None:
    if summary.is_too_large:
        to = f"up to {summary.maximum:g}" if summary.maximum > -summary.minimum else f"down to {summary.minimum:g}"
        raise InputProblem(
            f"{summary.source} contains values {to}, too large for counts: give raw counts or log1p values, for "
            "example another matrix with --layer"
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
    _refuse_too_large(summary)
    if summary.n_nonzeros and summary.vanishes:
        raise InputProblem(
            f"{summary.source} contains values of at most {summary.maximum:g}, which vanish in results (float32): "
            "multiply them by a constant first, or choose another matrix with --layer"
        )
    if not summary.n_nonzeros or not summary.cell_totals.any():
        raise InputProblem(f"{summary.source} contains only zeros: choose another matrix with --layer")
