"""The Python API: impute an AnnData object in memory, tune for one, report on one, by the conventions of scverse."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from anndata import AnnData

from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.keys import possible_keys
from sccr_node.contract.report import ReportParameters
from sccr_node.contract.settings import merge
from sccr_node.contract.shared import GENE_CHOICES, WritingParameters
from sccr_node.contract.tune import TuneParameters
from sccr_node.data.dataset import Dataset, wrap_anndata
from sccr_node.data.genes import ListedGene
from sccr_node.data.guard import listing
from sccr_node.data.output import check_keys
from sccr_node.errors import SccrError, UsageProblem
from sccr_node.evaluation.verdicts import Tuning
from sccr_node.pipeline.needs import check_needs
from sccr_node.pipeline.plan import (
    batches_of,
    decide_and_show,
    listed_genes,
    make_plan,
    opened_checkpoints,
    with_checkpoints,
)
from sccr_node.pipeline.remote import fetched
from sccr_node.pipeline.run import run_plan
from sccr_node.pipeline.tune import check_before_tuning, tune_opened, tuned
from sccr_node.pipeline.tuned_before import note_of, take_tuning_before, with_tuning_before
from sccr_node.results import InMemory, result_in, write
from sccr_node.runtime import scratch
from sccr_node.runtime.console import Clock, Console
from sccr_node.runtime.words import shortened
from sccr_node.storage.files import write_text_atomically
from sccr_node.storage.places.address import Address, is_remote
from sccr_node.storage.targets import Target, check_targets

if TYPE_CHECKING:
    from sccr_node.reports.page import Page

Asked = TypeVar("Asked", bound=WritingParameters)
Preparing = TypeVar("Preparing", ImputeParameters, TuneParameters)


def impute(
    adata: AnnData,
    *,
    layer: str | None = None,
    key_added: str = "sccr",
    batch_key: str | None = None,
    method: str = "sccr",
    feature_type: str | None = None,
    input_scale: Literal["auto", "counts", "log1p"] = "auto",
    log_base: float | Literal["e"] | None = None,
    genes: str | os.PathLike[str] | Iterable[str] = "top-variance",
    genes_missing: Literal["error", "skip"] = "error",
    n_top_genes: int = 2000,
    normalize_by: Literal["selected", "all"] = "selected",
    target_sum: float | Literal["median"] = "median",
    tune: bool = False,
    low_rank_share: float | None = None,
    low_rank: int | None = None,
    neighbor_search: Literal["auto", "exact", "clustered"] = "auto",
    k_cell: int | None = None,
    k_gene: int | None = None,
    k_denoising: int | None = None,
    n_iterations: int | None = None,
    n_gene_iterations: int | None = None,
    n_denoising_iterations: int | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    gamma: float | None = None,
    symmetrize_final: bool | None = None,
    dissociating: bool | None = None,
    standardize: bool | None = None,
    write: Literal["denoised", "recovered", "both", "embedding"] = "denoised",
    n_components: int = 50,
    output_scale: Literal["log1p", "normalized", "counts"] = "log1p",
    overwrite_keys: bool = False,
    threads: int | None = None,
    max_memory: int | str | None = None,
    work_dir: str | os.PathLike[str] | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    config: str | os.PathLike[str] | None = None,
    quiet: bool = False,
    copy: bool = False,
) -> AnnData | None:
    """Impute expression with scCR, scFP or scBFP and attach the result.

    Parameters
    ----------
    adata
        Cells x genes: counts, or log-normalised expression. X, the layers and everything else stay as they are.
    layer
        Layer that contains the matrix to impute (default: X).
    key_added
        Name of the result.
    batch_key
        Column of ``obs`` with each cell's batch or sample; each batch is imputed separately.
    method
        scCR, or a related method: scFP (cell graphs only) or scBFP (a gene graph, then a cell graph).
    feature_type
        Labels in ``var['feature_types']`` of the features to impute, separated by commas (default: the usual labels of
        gene expression).
    input_scale
        Whether the matrix contains counts, which are normalised first, or log-normalised values; ``"auto"`` decides
        from the values.
    log_base
        Base of the logarithm in log-normalised input (default: ``uns['log1p']['base']``, or e). The result is in
        natural logarithms.
    genes
        Genes to impute: ``"top-variance"``, ``"highly-variable"`` (``var['highly_variable']``), ``"all"``, their names,
        or the path to a file with one name per line.
    genes_missing
        Whether listed genes that are not in the data are an error or skipped.
    n_top_genes
        Number of genes with the highest variance, for ``"top-variance"``.
    normalize_by
        Genes that make up a cell's sequencing depth: the genes to impute (``"selected"``) or ``"all"``.
    target_sum
        Depth to which each cell's counts are normalised: the median over non-empty cells, or a number.
    tune
        Find ``beta``, ``n_denoising_iterations``, ``low_rank_share`` and ``low_rank`` on held-out molecules first (see
        :func:`tune`); requires counts.
    low_rank_share, low_rank
        Weight of the observed expression's leading principal components in the denoised output (default: 0), and
        their number (default: 20). Not part of the published methods.
    neighbor_search
        How the nearest cells are found: compare every cell with every other (``"exact"``), or the cells of similar
        groups (``"clustered"``); ``"auto"`` decides by the number of cells in each batch.
    k_cell, k_gene, k_denoising
        Number of nearest neighbours per cell, per gene, and per cell in the last cell graph (default: as ``k_cell``).
    n_iterations, n_gene_iterations, n_denoising_iterations
        Number of propagation steps over each cell graph, over the gene graph, and in the last stage (default: as
        ``n_iterations``).
    alpha
        Weight of the pre-imputed values in the recovered expression.
    beta
        Weight of the neighbours in each denoising step.
    gamma
        Weight of the recovered expression in the denoised output.
    symmetrize_final
        Whether the last cell graph is made symmetric.
    dissociating
        Whether genes are also related by negative correlation.
    standardize
        Whether genes are standardised before they are related.
    write
        Layers to attach; ``"embedding"`` attaches none.
    n_components
        Number of principal components of the imputed genes.
    output_scale
        Scale of the layers: ``"log1p"``, ``"normalized"`` counts, or ``"counts"`` at each cell's own depth. All else is
        computed on logarithms, also by what reads the layers again.
    overwrite_keys
        Replace an earlier result of the same name.
    threads
        Number of threads (default: all available CPUs). Does not affect the result.
    max_memory
        Do not start if the run would need more memory than this, e.g. ``"8GB"`` (default: the container's or machine's
        limit).
    work_dir
        Folder for temporary files (default: ``TMPDIR``). If it is given and memory does not suffice, the largest
        matrices are kept there: the same result, but slower.
    checkpoint_dir
        Folder in which every finished stage is kept until the function has succeeded: called again after the process
        was killed, it goes on from there, to the same result.
    config
        Config file of the command, such as ``sccr tune`` writes (JSON or YAML). Keywords take precedence, unless they
        have their default value.
    quiet
        Show only warnings.
    copy
        Return a copy with the result instead of changing ``adata``.

    Returns
    -------
    None, or the copy if ``copy`` is true. With the default ``key_added``, ``"sccr"``, these are set:

    ``layers['sccr']``, ``layers['sccr_recovered']``
        Denoised and recovered expression (float32, cells x all genes, on the scale ``output_scale``), depending on
        ``write``; genes that were not imputed keep their values.
    ``obsm['X_sccr']``
        Principal components of the denoised, imputed genes.
    ``varp['sccr_relations']``
        The gene graph (not with ``batch_key``, and not for scFP).
    ``var['sccr_imputed']``
        Which genes were imputed.
    ``obs['sccr_size_factor']``
        By what normalised values are multiplied to become each cell's counts (only with ``output_scale="counts"``).
    ``uns['sccr']``
        Version, parameters and findings; ``searches``, if cells were compared by groups.

    Raises
    ------
    sccr_node.errors.SccrError
        The parameters or the data are invalid, or there is not enough memory; ``adata`` is left unchanged.

    Notes
    -----
    Method parameters left at None take the published values. Messages go to the logger ``sccr_node`` if it, or the
    root logger, has a handler, and to standard error otherwise.

    Examples
    --------
    >>> import scanpy as sc, sccr_node
    >>> adata = sc.read_h5ad("after_quality_control.h5ad")  # doctest: +SKIP
    >>> sccr_node.impute(adata, batch_key="sample")  # doctest: +SKIP
    >>> sc.pp.neighbors(adata, use_rep="X_sccr")  # doctest: +SKIP
    """
    given = {name: value for name, value in locals().items() if name not in ("adata", "copy")}
    with _messages_in_python(given):
        return _impute(adata, given, copy=copy)


def tune(
    adata: AnnData,
    *,
    layer: str | None = None,
    batch_key: str | None = None,
    feature_type: str | None = None,
    input_scale: Literal["auto", "counts", "log1p"] = "auto",
    genes: str | os.PathLike[str] | Iterable[str] = "top-variance",
    genes_missing: Literal["error", "skip"] = "error",
    n_top_genes: int = 2000,
    normalize_by: Literal["selected", "all"] = "selected",
    target_sum: float | Literal["median"] = "median",
    low_rank_share: float | None = None,
    low_rank: int | None = None,
    neighbor_search: Literal["auto", "exact", "clustered"] = "auto",
    k_cell: int | None = None,
    k_gene: int | None = None,
    k_denoising: int | None = None,
    n_iterations: int | None = None,
    n_gene_iterations: int | None = None,
    n_denoising_iterations: int | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    gamma: float | None = None,
    symmetrize_final: bool | None = None,
    dissociating: bool | None = None,
    standardize: bool | None = None,
    max_cells: int = 20_000,
    seed: int = 0,
    threads: int | None = None,
    max_memory: int | str | None = None,
    work_dir: str | os.PathLike[str] | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    config: str | os.PathLike[str] | None = None,
    quiet: bool = False,
) -> Tuning:
    """Tune scCR's parameters for a data set, and say whether imputing it helps, without labels.

    Half of every cell's molecules are held out; ``beta``, ``n_denoising_iterations``, ``low_rank_share`` and
    ``low_rank`` are chosen so that the other half, imputed, predicts them best.

    Parameters
    ----------
    adata
        Cells x genes, whole counts; not changed.
    layer, batch_key, feature_type, input_scale, genes, genes_missing, n_top_genes, normalize_by, target_sum
        As for :func:`impute`. With ``batch_key``, one set of parameters is chosen for all batches.
    low_rank_share, low_rank, beta, n_denoising_iterations
        Kept if given; otherwise tuned.
    neighbor_search, k_cell, k_gene, k_denoising, n_iterations, n_gene_iterations
        As for :func:`impute`.
    alpha, gamma, symmetrize_final, dissociating, standardize
        As for :func:`impute`.
    max_cells
        Maximum number of cells to tune on, sampled at random in proportion to batch size (0: all).
    seed
        Which cells, molecules and genes are drawn.
    threads, max_memory, work_dir, checkpoint_dir, config, quiet
        As for :func:`impute`.

    Returns
    -------
    The parameters (``.parameters``, keywords for :func:`impute`), the verdicts in words (``.verdicts``), and all
    settings tried (``.rows()``, for a data frame).

    Raises
    ------
    sccr_node.errors.SccrError
        The parameters or the data are invalid, or there is not enough memory.

    Examples
    --------
    >>> import scanpy as sc, sccr_node
    >>> adata = sc.read_h5ad("after_quality_control.h5ad")  # doctest: +SKIP
    >>> tuning = sccr_node.tune(adata)  # doctest: +SKIP
    >>> sccr_node.impute(adata, **tuning.parameters)  # doctest: +SKIP
    """
    given = {name: value for name, value in locals().items() if name != "adata"}
    with _messages_in_python(given):
        return _tune(adata, given)


def report(
    adata: AnnData,
    output: str | os.PathLike[str] | None = None,
    *,
    key_added: str | None = None,
    label_key: str | None = None,
    batch_key: str | None = None,
    tuning: Tuning | None = None,
    config: str | os.PathLike[str] | None = None,
    sample: str = "AnnData object",
    force: bool = False,
    quiet: bool = False,
) -> Page:
    """Report on the imputation of an AnnData object: the page that ``sccr report`` writes.

    Parameters
    ----------
    adata
        An object that :func:`impute` was called with, or that was read from an output of ``sccr impute``; not changed.
    output
        File for the page; None to return it only.
    key_added
        Name of the result (default: the only one).
    label_key
        Column of ``obs`` that colours the cells and groups the markers, e.g. cell type (default: clusters computed for
        the report).
    batch_key
        Column of ``obs`` for a second colouring of the cells, e.g. sample.
    tuning
        What :func:`tune` returned: the page has its verdicts if these are the data and the parameters that it is about.
    config
        Config file of the command. With the one that ``sccr tune`` wrote, the page has its verdicts, as with
        ``tuning``.
    sample
        What the page calls the data.
    force
        Replace ``output`` if it exists.
    quiet
        Show only warnings.

    Returns
    -------
    The page (``.html``), which notebooks show.

    Raises
    ------
    sccr_node.errors.SccrError
        There is no such result or column, or the file cannot be written.

    Examples
    --------
    >>> import scanpy as sc, sccr_node
    >>> adata = sc.read_h5ad("after_quality_control.h5ad")  # doctest: +SKIP
    >>> tuning = sccr_node.tune(adata)  # doctest: +SKIP
    >>> sccr_node.impute(adata, **tuning.parameters)  # doctest: +SKIP
    >>> sccr_node.report(adata, tuning=tuning, label_key="cell_type")  # doctest: +SKIP
    """
    given = {name: value for name, value in locals().items() if name not in ("adata", "output", "sample", "tuning")}
    with _messages_in_python(given):
        return _report(adata, output, sample, tuning, given)


@contextmanager
def _messages_in_python(given: Mapping[str, Any]) -> Iterator[None]:
    try:
        yield
    except SccrError as failure:
        failure.args = (shortened(in_python(str(failure), given)),)
        raise


_FLAG = re.compile(r"(give )?--([a-z]+(?:-[a-z]+)*)(?: ([^\s;,:()]+(?:,\.\.\.)?)(?= |[;,:()]|$))?")
"""A flag in a message, and the word after it, which may be its value."""


def in_python(message: str, given: Mapping[str, Any] = MappingProxyType({})) -> str:
    """Return a message with keyword arguments where it has the command's flags.

    Parameters
    ----------
    message
        What the command would say.
    given
        The values of the keywords, which the message may repeat.

    Examples
    --------
    >>> in_python("give --input-scale counts, or choose another matrix with --layer")
    "give input_scale='counts', or choose another matrix with layer"
    >>> in_python("give --log-base 2.5, or give --overwrite-keys to replace it")
    'give log_base=2.5, or give overwrite_keys=True to replace it'
    """

    def keyword(found: re.Match[str]) -> str:
        give, name, value = found[1] or "", found[2].replace("-", "_"), found[3]
        field = ImputeParameters.model_fields.get(name, TuneParameters.model_fields.get(name))
        if field is None:
            return found[0]
        after = "" if value is None else f" {value}"
        if field.annotation is bool or value is None:
            return f"{give}{name}{'=True' * (field.annotation is bool and bool(give))}{after}"
        choices = (*get_args(field.annotation), *(GENE_CHOICES if name == "genes" else ()), str(given.get(name)))
        is_text = field.annotation in (str, str | None)
        # A word after a name that could be any text is its value only if the sentence does not go on with it.
        ends = not message[found.end() :].startswith(" ")
        if value in choices or (is_text and (ends or value.isupper())):
            return f"{give}{name}={value!r}"
        is_number = not is_text and re.fullmatch(r"[\d.]+(e[+-]?\d+)?", value)
        return f"{give}{name}{'=' if is_number else ' '}{value}"

    return _FLAG.sub(keyword, message)


def _is_anndata(adata: object, doing: str, command: str) -> AnnData:
    """Return the object if it is one of AnnData."""
    if isinstance(adata, AnnData):
        return adata
    given, way_out = "an AnnData object", "put the matrix into one"
    modalities = getattr(adata, "mod", None)
    if isinstance(adata, str | os.PathLike):
        way_out = f"read the file first, or use the command {command}"
    elif isinstance(modalities, Mapping):  # MuData, which need not be installed
        first = "rna" if "rna" in modalities else next(iter(modalities), "rna")
        given, way_out = f"one of its modalities, such as mdata[{first!r}]", f"it has {listing(list(modalities))}"
    raise UsageProblem(f"cannot {doing} an object of type {type(adata).__name__}: give {given}; {way_out}")


def _checked(given: object, copy: bool) -> AnnData:
    """Return the object if it is one that can be imputed."""
    adata = _is_anndata(given, "impute", "sccr impute")
    if copy and adata.isbacked:
        raise UsageProblem("cannot copy an AnnData object in backed mode: give copy=False, or adata.to_memory()")
    if adata.isbacked and adata.is_view:
        raise UsageProblem(
            "cannot attach a result to a view of an AnnData object in backed mode: give view.to_memory()"
        )
    return adata


def _names(genes: object) -> list[ListedGene]:
    """Return a list of gene names from whatever iterable they come in."""
    try:
        names = list(genes)  # type: ignore[call-overload]
    except TypeError:  # not iterable, or an array of no dimensions, which only seems to be
        names = [genes]
    listed: list[ListedGene] = [(name, None) for name in names if isinstance(name, str)]
    if not listed or len(listed) < len(names):
        wrong = [name for name in names if not isinstance(name, str)]
        given = repr(wrong[0]) if wrong else "no names"
        raise UsageProblem(f"genes should be names of genes, or {', '.join(map(repr, GENE_CHOICES))} (given: {given})")
    return listed


def _opened(
    adata: AnnData, given: Mapping[str, Any], model: type[Preparing]
) -> tuple[Preparing, Dataset, Sequence[ListedGene] | None, Console]:
    """Return the validated parameters, the opened data, the genes, if they are listed, and the console."""
    listed: Sequence[ListedGene] | None = None
    for folder in ("work_dir", "checkpoint_dir"):
        if isinstance(given[folder], os.PathLike):
            given = {**given, folder: os.fspath(given[folder])}
    if isinstance(given["genes"], os.PathLike):
        path = os.fsdecode(given["genes"])
        given = {**given, "genes": os.path.join(os.curdir, path) if path in GENE_CHOICES else path}
    if not isinstance(given["genes"], str):
        listed = _names(given["genes"])
        given = {**given, "genes": "the list"}
    asked, console = _asked(given, model)
    if listed is None:
        with scratch.work_dir(asked.work_dir):
            listed = listed_genes(asked)
    return asked, wrap_anndata(adata, asked.layer), listed, console


def _asked(given: Mapping[str, Any], model: type[Asked]) -> tuple[Asked, Console]:
    """Return the parameters, of the keywords before those of the config file, and the console that they ask for."""
    folder = given.get("work_dir")  # not checked yet
    with scratch.work_dir(folder if isinstance(folder, str) else None), _near_config(given["config"]) as config:
        read = merge(model, {}, config=config, environ={})
    fields = model.model_fields
    # Values at their default count as not given: n_top_genes=2000 does not contradict genes="all".
    keywords = {name: value for name, value in given.items() if name in fields and value != fields[name].default}
    sources = {name: source for name, source in read.sources.items() if name not in keywords}
    asked = replace(read, values=read.values | keywords, sources=sources).validated()
    asked.refuse_without_effect(fields.keys() - given.keys(), "it is about the files and the log of the command")
    console = Console(quiet=asked.quiet, redirectable=True)
    for warning in read.warnings:
        console.warn(warning)
    return asked, console


def _near_config(config: object) -> AbstractContextManager[Path | None]:
    if config is None:
        return nullcontext()
    return fetched(Address.of(config) if isinstance(config, str) and is_remote(config) else _path(config, "config"))


def _impute(adata: AnnData, given: Mapping[str, Any], *, copy: bool) -> AnnData | None:
    adata = _checked(adata, copy)
    asked, data, listed, console = _opened(adata, given, ImputeParameters)
    with scratch.work_dir(asked.work_dir):
        return _imputed(adata, data, asked, listed, console, copy=copy)


def _imputed(
    adata: AnnData,
    data: Dataset,
    asked: ImputeParameters,
    listed: Sequence[ListedGene] | None,
    console: Console,
    *,
    copy: bool,
) -> AnnData | None:
    check_keys(data, possible_keys(asked.key_added), overwrite=asked.overwrite_keys)
    plan = with_tuning_before(make_plan(data, asked, console, listed=listed), asked, console)
    if asked.tune:
        check_before_tuning(plan.data, plan.preparation, plan.batches)
    check_needs(plan.needs, console)
    plan = with_checkpoints(plan, _of_object, console)
    if asked.tune:
        plan = tuned(plan, asked, console, Clock(), listed=listed)
    imputation = run_plan(plan, console, Clock())
    if plan.checkpoints is not None:
        plan.checkpoints.summarise()
    made = InMemory()
    write(imputation, plan.keys, data, made, console.progress)
    console.close_bar()
    # Only now that everything is ready is the object touched.
    target = adata.copy() if copy else adata
    made.attach(target, asked.key_added)
    if plan.checkpoints is not None:
        plan.checkpoints.remove()
    return target if copy else None


def _tune(adata: AnnData, given: Mapping[str, Any]) -> Tuning:
    asked, data, listed, console = _opened(_is_anndata(adata, "tune on", "sccr tune"), given, TuneParameters)
    with scratch.work_dir(asked.work_dir):
        batches = batches_of(data, asked.batch_key)
        preparation = decide_and_show(data, console, **asked.preparation(), listed=listed)
        checkpoints = opened_checkpoints(asked.checkpoint_dir, _of_object, console)
        tuning = tune_opened(
            data,
            preparation,
            batches,
            asked,
            console,
            Clock(),
            listed=listed,
            max_cells=asked.max_cells,
            seed=asked.seed,
            checkpoints=checkpoints,
        )
        if checkpoints is not None:
            checkpoints.summarise()
            checkpoints.remove()
        return replace(tuning, note=note_of(tuning, data, preparation, batches, asked))


def _report(
    adata: AnnData,
    output: str | os.PathLike[str] | None,
    sample: str,
    tuning: Tuning | None,
    given: Mapping[str, Any],
) -> Page:
    from sccr_node.pipeline.report import report_page  # neither templates nor plots are needed to impute
    from sccr_node.reports.page import Page

    asked, console = _asked(given, ReportParameters)
    if tuning is not None and not isinstance(tuning, Tuning):
        kind = type(tuning).__name__
        raise UsageProblem(f"tuning: expected what sccr_node.tune returned, not an object of type {kind}")
    if tuning is not None and tuning.note is None:
        raise UsageProblem("tuning: it does not say which data it is about, as that of another version: tune again")
    page = None if output is None else _path(output, "output")
    if page is not None:
        check_targets([Target(page)], asked.files_read(), force=asked.force)
    result = result_in(_is_anndata(adata, "report on", "sccr report"), asked.key_added)
    take_tuning_before(result, asked.tuned_before if tuning is None else tuning.note, console)
    html = report_page(result, sample=sample, label_key=asked.label_key, batch_key=asked.batch_key, console=console)
    if page is not None:
        write_text_atomically(page, html, replace=asked.force)
    return Page(html)


def _path(given: object, name: str) -> Path:
    try:
        return Path(given)  # type: ignore[arg-type]
    except TypeError:
        raise UsageProblem(f"{name}: expected a path, not an object of type {type(given).__name__}") from None


def _of_object() -> str:
    """Return what stands for the digest of a file: the key of a stage has the digest of its values anyway."""
    return "AnnData object"
