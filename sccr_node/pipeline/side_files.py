"""The files written beside an output: the run record, the report, the MultiQC content."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from sccr_node import __version__
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.record import (
    InputRecord,
    PreparationRecord,
    ResourcesRecord,
    ResultRecord,
    RunRecord,
)
from sccr_node.data.dataset import Dataset
from sccr_node.data.guard import one_line
from sccr_node.data.output import StagedOutput
from sccr_node.numerics import level
from sccr_node.pipeline.plan import Plan
from sccr_node.results import Imputation, Result
from sccr_node.runtime.console import Clock, Console
from sccr_node.runtime.resources import peak_memory
from sccr_node.runtime.standins import as_shown, identity_of
from sccr_node.storage.copying import size_on_disk
from sccr_node.storage.formats import format_of_output
from sccr_node.storage.targets import Target

PACKAGES = ("anndata", "h5py", "numpy", "pandas", "pydantic", "scipy", "zarr")


@dataclass(frozen=True)
class SideFiles:
    """The side files that were asked for.

    Attributes
    ----------
    record, report
        The files; None if not asked for.
    multiqc
        The folder, which samples can share; None if not asked for.
    label_key, batch_key
        Columns of obs that colour the cells in the report.
    """

    record: Path | None = None
    report: Path | None = None
    multiqc: Path | None = None
    label_key: str | None = None
    batch_key: str | None = None

    @classmethod
    def of(cls, asked: ImputeParameters) -> SideFiles:
        """Return the side files that the parameters ask for."""
        record, report, multiqc = (
            None if name is None else Path(name) for name in (asked.provenance, asked.report, asked.multiqc)
        )
        return cls(record, report, multiqc, asked.label_key, asked.batch_key)

    @property
    def paths(self) -> list[Path]:
        """Their paths."""
        return [path for path in (self.record, self.report, self.multiqc) if path is not None]

    def targets(self, output: Path) -> list[Target]:
        """Return their targets, for the check before any work."""
        files: list[Target] = [Target(path) for path in (self.record, self.report) if path is not None]
        if self.multiqc is None:
            return files
        from sccr_node.reports.multiqc import multiqc_target
        from sccr_node.reports.reading import sample_name

        return [*files, multiqc_target(sample_name(output), self.multiqc)]

    def compose(
        self, output: Path, record: RunRecord, result: Result, console: Console, clock: Clock
    ) -> dict[Path, str]:
        """Return the text of every file that was asked for; the record has the time that they took too.

        A finished imputation is not thrown away for a picture: what cannot be composed is replaced by a short text that
        says why, with one warning, which the record contains too.
        """
        # First in place: what it is the record of, and what else a killed run left, can then be told by it.
        texts: dict[Path, str] = {} if self.record is None else {self.record: ""}
        if self.report is not None or self.multiqc is not None:
            try:
                texts |= self._shown(output, record, result, console, clock)
            except Exception as failure:  # noqa: BLE001 - whatever it is, the data are sound
                console.close_bar()
                problem = (
                    f"cannot compose the report or the MultiQC content: {one_line(failure)}; the data are complete"
                )
                console.warn(problem)
                record.messages.append(problem)
                texts |= self._excused(output, problem)
        if self.record is not None:
            texts[self.record] = record.as_json()
        return texts

    def _shown(
        self, output: Path, record: RunRecord, result: Result, console: Console, clock: Clock
    ) -> dict[Path, str]:
        # Only now: a run without a report needs neither templates nor plots.
        from sccr_node.pipeline.report import report_texts
        from sccr_node.reports.reading import content_of, resources_of

        with clock.stage("report"):
            content = content_of(
                result,
                shown_as=output,
                record=record,
                label_key=self.label_key,
                batch_key=self.batch_key,
                with_cells=self.report is not None,
                progress=console.progress,
            )
        console.close_bar()
        # The page itself is the only thing that its time cannot include.
        take_time(record, clock)
        return report_texts(replace(content, resources=resources_of(record)), self.report, self.multiqc)

    def _excused(self, output: Path, problem: str) -> dict[Path, str]:
        """Return a page and a MultiQC section that say what failed: a workflow's declared outputs then exist."""
        from sccr_node.reports.excuse import excuse_page, excuse_section

        texts = {} if self.report is None else {self.report: excuse_page(output.name, problem)}
        if self.multiqc is not None:
            texts |= {self.multiqc / name: text for name, text in excuse_section(output, problem).items()}
        return texts


def make_record(
    plan: Plan,
    imputation: Imputation,
    *,
    source: Dataset,
    copy: StagedOutput,
    written: str | None,
    command: Sequence[str],
    clock: Clock,
) -> RunRecord:
    """Return the record of a run.

    Parameters
    ----------
    plan, imputation
        The plan and its result.
    source
        The input.
    copy, written
        The finished output, and its SHA-256 if it was computed.
    command
        The command line; empty if called from Python.
    clock
        The seconds so far.
    """
    preparation = plan.preparation
    summary = preparation.summary
    entries = summary.n_cells * len(preparation.genes)
    relations = imputation.relations
    is_counts = preparation.scale == "counts"
    return RunRecord(
        version=__version__,
        command=list(command),
        method=plan.method,
        params={name: as_shown(value) if isinstance(value, str) else value for name, value in plan.params.items()},
        input=InputRecord(
            path=as_shown(source.path),
            format=source.format,
            sha256=copy.sha256,
            bytes=size_on_disk(source.path),
            identity=identity_of(source.path),
            layer=source.layer,
            scale=preparation.scale,
            scale_reason=preparation.scaling.reason,
            n_cells=summary.n_cells,
            n_genes=summary.n_genes,
            n_nonzero=summary.n_nonzeros,
        ),
        preparation=PreparationRecord(
            genes_choice=preparation.genes_choice,
            n_genes_imputed=len(preparation.genes),
            genes_sha256=plan.listed_sha256,
            normalize_by=preparation.normalize_by if is_counts else None,
            target_sum=imputation.normalization.target_sum,
            n_empty_cells=summary.n_cells - imputation.n_cells_used,
            n_empty_genes=len(preparation.genes) - imputation.n_genes_used,
        ),
        batches=list(imputation.batches),
        searches=list(imputation.searches),
        result=ResultRecord(
            path=as_shown(copy.target),
            format=format_of_output(copy.target).name,
            bytes=copy.bytes,
            sha256=written,
            keys=["/".join(key) for key in plan.keys.all()],
            zeros_before=1 - imputation.expression.nnz / entries,
            zeros_after=_zeros_after(plan, imputation, entries),
            n_relations_associating=None if relations is None else int((relations.data > 0).sum()) // 2,
            n_relations_dissociating=None if relations is None else int((relations.data < 0).sum()) // 2,
        ),
        resources=ResourcesRecord(
            threads=plan.needs.threads,
            vector_instructions=level(),
            seconds=_rounded(clock.seconds),
            total_seconds=round(clock.elapsed, 3),
            peak_memory_bytes=peak_memory(),
            estimated_memory_bytes=plan.needs.memory,
            memory_limit_bytes=plan.needs.memory_limit,
        ),
        software={"python": platform.python_version()} | {name: installed_version(name) for name in PACKAGES},
        started=clock.started.isoformat(timespec="seconds"),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        messages=[finding.text for finding in imputation.findings],
        tuning=_tuning(plan, imputation),
    )


def _tuning(plan: Plan, imputation: Imputation) -> dict[str, Any] | None:
    if imputation.tuning is not None:
        return dict(imputation.tuning)
    return None if plan.tuned_before is None else plan.tuned_before.noted()


def take_time(record: RunRecord, clock: Clock) -> None:
    """Note in a record what has been done until now, and the memory that it took."""
    took = record.resources
    took.seconds, took.total_seconds = _rounded(clock.seconds), round(clock.elapsed, 3)
    took.peak_memory_bytes = peak_memory()
    record.finished = datetime.now(UTC).isoformat(timespec="seconds")


def _zeros_after(plan: Plan, imputation: Imputation, entries: int) -> float | None:
    if not plan.keys.layers:
        return None
    return 1 - imputation.n_nonzero[plan.keys.layers[0]] / entries


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {stage: round(value, 3) for stage, value in seconds.items()}
