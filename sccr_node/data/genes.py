"""Which genes are imputed: the most variable ones, those that the data mark, all, or a list of names."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from sccr_node.contract.shared import GENE_CHOICES
from sccr_node.data.dataset import Dataset
from sccr_node.data.guard import listing
from sccr_node.data.scale import Scale
from sccr_node.data.summary import MatrixSummary
from sccr_node.errors import InputMissing, InputProblem, UsageProblem
from sccr_node.runtime.console import Finding
from sccr_node.runtime.texts import read_small
from sccr_node.runtime.words import plural, quantity

ListedGene = tuple[str, int | None]
"""A name, and which of the genes of that name (from 1); None for all of them."""


_OCCURRENCE = re.compile(r"[0-9]{1,9}")

_SEPARATORS = re.compile(r"""[\s,;|\[\](){}'"]+""")
"""What stands between names that are all on one line: a row of a table, a list in JSON or Python."""

_ENSEMBL = re.compile(r"ENS[A-Z]*\d{6,}(\.\d+)?$")


class GeneChoice(NamedTuple):
    """Sorted column indices of the genes to impute, and what there is to say about the choice."""

    columns: np.ndarray
    findings: list[Finding]


def variance_ranking(summary: MatrixSummary) -> np.ndarray:
    """Rank the counted columns by decreasing variance over non-empty cells; ties go to the lower column.

    Returns
    -------
    numpy.ndarray
        Column indices, the most variable first.
    """
    n = summary.n_cells - summary.n_empty_cells
    # n² times the variance: exact for counts, so that equal variances tie exactly.
    spread = n * summary.gene_sums_of_squares - summary.gene_sums**2
    columns = np.flatnonzero(summary.counted)
    return columns[np.argsort(-spread[columns], kind="stable")]


def choose_genes(
    data: Dataset,
    summary: MatrixSummary,
    *,
    genes: str = "top-variance",
    n_top_genes: int = 2000,
    scale: Scale = "counts",
    listed: Sequence[ListedGene] | None = None,
    missing: Literal["error", "skip"] = "error",
) -> GeneChoice:
    """Choose the genes to impute among the counted features.

    Parameters
    ----------
    data
        Where names and ``var['highly_variable']`` come from.
    summary
        From ``scan``.
    genes
        "top-variance", "highly-variable", "all", or what the list of genes is called in messages.
    n_top_genes
        Number of genes, for "top-variance".
    scale
        The scale of the values, for the message.
    listed
        The genes, if they are listed.
    missing
        Whether listed genes that are not in the data are an error or skipped.

    Raises
    ------
    InputProblem
        A name is not in the data, or ``highly_variable`` is missing or incomplete.
    """
    named = genes_by_name(data, summary.counted, genes=genes, listed=listed, missing=missing)
    return _top_variance(summary, n_top_genes, scale) if named is None else named


def genes_by_name(
    data: Dataset,
    counted: np.ndarray,
    *,
    genes: str,
    listed: Sequence[ListedGene] | None,
    missing: Literal["error", "skip"],
) -> GeneChoice | None:
    """Choose the genes for which no value is needed; None if the values decide. As :func:`choose_genes`."""
    if listed is not None:
        return _listed(data, counted, listed, genes, missing)
    if genes == "all":
        return GeneChoice(np.flatnonzero(counted), [])
    if genes == "highly-variable":
        return _highly_variable(data, counted)
    return None


def _top_variance(summary: MatrixSummary, n_top_genes: int, scale: Scale) -> GeneChoice:
    ranking = variance_ranking(summary)
    findings = []
    if n_top_genes > len(ranking):
        few = f"{n_top_genes:,} genes were requested, but there are only {len(ranking):,}: all are imputed"
        findings.append(Finding(few, fields={"n_genes_requested": n_top_genes, "n_genes": len(ranking)}))
    elif scale == "log1p":
        findings.append(
            Finding("genes were selected by the variance of their log1p values, because the input contains logarithms")
        )
    return GeneChoice(np.sort(ranking[:n_top_genes]), findings)


def _highly_variable(data: Dataset, counted: np.ndarray) -> GeneChoice:
    column = data.var_column("highly_variable")
    where = f"var['highly_variable'] of {data.path}"
    n_missing = int(column.isna().sum())
    if n_missing:
        first = column.index[column.isna()][0]
        raise InputProblem(
            f"{where} has {quantity(n_missing, 'missing value')} (first: gene {str(first)!r}): fill in what is missing "
            "or use --genes top-variance"
        )
    if not column.isin([True, False]).all():
        raise InputProblem(
            f"{where} contains values other than true and false: use --genes top-variance, all or a FILE"
        )
    marked = column.astype(bool).to_numpy()
    columns = np.flatnonzero(marked & counted)
    if not len(columns):
        raise InputProblem(f"{where} marks no genes: use --genes top-variance, all or a FILE")
    n_left = int(marked.sum()) - len(columns)
    if not n_left:
        return GeneChoice(columns, [])
    what = f"{quantity(n_left, 'highly variable feature')} {plural(n_left, 'is', 'are')} excluded by feature type"
    return GeneChoice(columns, [Finding(what)])


def read_gene_list(path: Path, from_config: bool = False) -> list[ListedGene]:
    """Read gene names, one per line, from the first column of a file.

    ``name<TAB>n``, as ``sccr split`` writes it, is the n-th gene of that name, if the name is repeated in the data.
    Other columns are ignored.

    Raises
    ------
    InputMissing
        The file does not exist or cannot be read.
    InputProblem
        It is not a text file, or contains no names.
    """
    try:
        # Not splitlines: a name could contain the other line breaks that it recognises.
        lines = read_small(path).decode("utf-8-sig").split("\n")
    except (FileNotFoundError, NotADirectoryError) as error:
        if from_config:
            raise InputMissing(f"{path}, the gene file named in the config file, does not exist") from error
        raise InputMissing(
            f"--genes {path} is neither one of {', '.join(GENE_CHOICES)} nor an existing file"
        ) from error
    except PermissionError as error:
        raise InputMissing(f"cannot read {path}: permission denied") from error
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            raise UsageProblem(
                f"--genes {str(path)[:40]}... is too long for a file name: write the genes to a file, one per line"
            ) from error
        raise InputProblem(f"{path} is not a text file with one gene name per line") from error
    names: list[ListedGene] = []
    for line in lines:
        name, _, number = line.strip().partition("\t")
        if name:
            names.append((name.strip(), int(number) if _OCCURRENCE.fullmatch(number) else None))
    if not names:
        raise InputProblem(f"{path} contains no gene names: write one per line")
    return names


def digest_of_list(listed: Sequence[ListedGene]) -> str:
    """Return the SHA-256 of a list of genes, as hexadecimal digits."""
    lines = (name if number is None else f"{name}\t{number}" for name, number in listed)
    return sha256("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")).hexdigest()


def _listed(
    data: Dataset,
    counted: np.ndarray,
    wanted: Sequence[ListedGene],
    source: str,
    missing: Literal["error", "skip"],
) -> GeneChoice:
    columns_of: dict[str, list[int]] = {}
    for column, name in enumerate(data.gene_names.tolist()):
        columns_of.setdefault(name, []).append(column)
    findings = []
    if any(number is not None and len(columns_of.get(name, ())) == 1 for name, number in wanted):
        # sccr split numbers only repeated names: this is a table with some other number in its second column.
        wanted = [(name, None) for name, _ in wanted]
    distinct = list(dict.fromkeys(wanted))
    if len(distinct) < len(wanted):
        n = len(wanted) - len(distinct)
        findings.append(Finding(f"the gene list contains {quantity(n, 'repeated name')}; each gene is imputed once"))
    found = [(name, number) for name, number in distinct if 1 <= (number or 1) <= len(columns_of.get(name, ()))]
    if len(found) < len(distinct):
        there = set(found)
        lost = [gene for gene in distinct if gene not in there]
        unknown = [name if number is None else f"{name} (number {number})" for name, number in lost]
        n_unknown = f"{len(unknown):,} of the {quantity(len(distinct), 'gene')}"
        hint = _why_unknown(data, [name for name, _ in lost], columns_of)
        if missing == "error" or not found:
            way_out = "; give --genes-missing skip to use the others" if found else ""
            raise InputProblem(
                f"{n_unknown} in {source} {plural(len(unknown), 'is', 'are')} not in {data.path}: "
                f"{listing(unknown, 5)}{hint}{way_out}"
            )
        # Without paths: equal inputs must give equal results wherever they are.
        skipped = (
            f"{n_unknown} in the gene list "
            f"{plural(len(unknown), 'is', 'are')} not in the data and skipped: {listing(unknown, 5)}{hint}"
        )
        findings.append(Finding(skipped, warning=True, fields={"n_genes_skipped": len(unknown)}))
    chosen: list[int] = []
    n_ambiguous = 0
    for name, number in found:
        columns = columns_of[name]
        if number is not None:
            chosen.append(columns[number - 1])
        else:
            chosen.extend(columns)
            n_ambiguous += len(columns) > 1
    if n_ambiguous:
        what = f"{quantity(n_ambiguous, 'name')} in the gene list {plural(n_ambiguous, 'matches', 'match')}"
        findings.append(Finding(f"{what} more than one gene; all matching genes are imputed"))
    others = [column for column in chosen if not counted[column]]
    if others:
        raise InputProblem(
            f"{quantity(len(others), 'name')} in {source} {plural(len(others), 'is', 'are')} excluded by feature type: "
            f"{listing([data.gene_names[column] for column in others], 5)}"
        )
    return GeneChoice(np.unique(np.asarray(chosen, dtype=np.intp)), findings)


def _why_unknown(data: Dataset, unknown: Sequence[str], columns_of: Mapping[str, Sequence[int]]) -> str:
    """Return the likely reason why names are unknown, as the end of a message; empty if there is none."""
    names = list(columns_of)
    for name in unknown:
        if name in columns_of:
            return f"; {name!r} is there only {quantity(len(columns_of[name]), 'time')}"
    if any(len(columns_of.keys() & _SEPARATORS.split(name)) > 1 for name in unknown):
        return "; write one name per line"
    for what, alike in (
        ("in another case", str.casefold),
        ("with or without a version", lambda name: re.sub(r"\.\d+$", "", name)),
        ("without the quotes", lambda name: name.strip("'\"")),
    ):
        known = {alike(name): name for name in names}
        matching = [(name, known[alike(name)]) for name in unknown if alike(name) in known]
        if matching:
            first, theirs = matching[0]
            return f"; the data have {len(matching):,} of them {what} ({first!r} is {theirs!r} there)"
    for column in data.keys("var"):
        values = data.var_column(column)
        if values.dtype == object or str(values.dtype) in ("category", "string", "str"):
            n = int(values.astype(str).isin(unknown).sum())
            if n:
                return f"; var[{column!r}] has {n:,} of them, but genes are known by the index of var"
    ids_listed, ids_stored = (sum(bool(_ENSEMBL.match(name)) for name in some) for some in (unknown, names))
    if ids_listed > len(unknown) / 2 and ids_stored < len(names) / 2:
        return "; the list has Ensembl identifiers, and the data other names"
    if ids_listed < len(unknown) / 2 and ids_stored > len(names) / 2:
        return "; the data have Ensembl identifiers, and the list other names"
    return ""


def gene_list_lines(gene_names: np.ndarray, columns: np.ndarray) -> list[str]:
    """Return the lines of a gene file that selects exactly these columns, even if names are duplicated."""
    for name in gene_names[columns].tolist():
        if name != name.strip() or not name or any(mark in name for mark in "\t\n\r"):
            raise InputProblem(
                f"cannot write the gene name {name!r} to a gene file: it is empty, or has outer spaces, tabs or line "
                "breaks; rename the gene"
            )
    occurrence: dict[str, int] = {}
    numbers = []
    for name in gene_names.tolist():
        occurrence[name] = occurrence.get(name, 0) + 1
        numbers.append(occurrence[name])
    return [
        str(gene_names[column]) + (f"\t{numbers[column]}" if occurrence[str(gene_names[column])] > 1 else "")
        for column in columns
    ]
