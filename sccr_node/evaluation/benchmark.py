"""Every method, rate and seed in one table: each run in a process of its own, each finished run kept."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sccr_node.contract.benchmark import BenchmarkParameters
from sccr_node.contract.methods import METHODS, Task
from sccr_node.contract.shared import Mechanism
from sccr_node.errors import InputProblem, NotEnoughResources, OutputProblem
from sccr_node.evaluation.clustering import compare
from sccr_node.evaluation.masks import mask_expression
from sccr_node.evaluation.metrics import recovery
from sccr_node.methods import Expression, load
from sccr_node.numerics import Workspace
from sccr_node.runtime.console import Console
from sccr_node.runtime.resources import MEGABYTE, peak_memory, usable_cpus

COLUMNS = (
    "task",
    "method",
    "mechanism",
    "rate",
    "seed",
    "n_entries",
    "rmse",
    "mae",
    "median_ae",
    "cosine",
    "algorithm",
    "n_clusters",
    "ari",
    "nmi",
    "accuracy",
    "silhouette",
    "silhouette_types",
    "seconds",
    "peak_mb",
)

Row = dict[str, Any]
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Run:
    """One imputation: with masked entries to recover, or of the whole data to cluster."""

    task: Task
    method: str
    mechanism: Mechanism | None = None
    rate: float | None = None
    seed: int | None = None
    seeds: tuple[int, ...] = ()

    @property
    def title(self) -> str:
        """What it is, for people."""
        method = "none" if self.method == "none" else METHODS[self.method].title
        if self.task == "clustering":
            return f"{method}, clustering"
        return f"{method}, {self.rate:.0%} dropped ({self.mechanism}), seed {self.seed}"


def planned_runs(params: BenchmarkParameters, *, clustering: bool) -> list[Run]:
    """Return the runs of a benchmark, in the order of the table."""
    runs = [
        Run("recovery", method, params.mechanism, rate, seed)
        for rate in params.rate_list()
        for seed in params.seed_list()
        for method in params.method_list()
    ]
    if clustering:
        runs += [Run("clustering", method, seeds=tuple(params.seed_list())) for method in params.method_list()]
    return runs


class Journal:
    """The finished runs of a benchmark, one line each, so that an interrupted benchmark goes on where it stopped.

    Parameters
    ----------
    path
        The file; None keeps nothing.
    fingerprint
        What all runs depend on: they are not mixed with runs of other data or other parameters.
    force
        Whether a journal of another benchmark may be replaced.

    Raises
    ------
    OutputProblem
        The file is the journal of another benchmark.
    """

    def __init__(self, path: Path | None, fingerprint: Row, *, force: bool) -> None:
        self._path = path
        self._begun = False
        self.finished: dict[Run, list[Row]] = {}
        if path is None:
            return
        self._header = json.dumps(fingerprint, sort_keys=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        if lines and lines[0] != self._header and not force:
            raise OutputProblem(
                f"{path} holds the finished runs of a benchmark of other data or with other parameters: "
                "remove it, or give --force to begin anew"
            )
        if lines and lines[0] == self._header:
            for line in lines[1:]:
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:
                    break  # the line that was being written when the benchmark was killed
                run = Run(**{**entry["run"], "seeds": tuple(entry["run"]["seeds"])})
                self.finished[run] = entry["rows"]

    def add(self, run: Run, rows: list[Row]) -> None:
        """Keep the rows of a finished run."""
        self.finished[run] = rows
        if self._path is None:
            return
        lines = [self._line(run, rows)]
        if not self._begun:  # what is there may end in a line that was cut off, or be of another benchmark
            lines = [self._header, *(self._line(*entry) for entry in self.finished.items())]
        with self._path.open("a" if self._begun else "w", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        self._begun = True

    def remove(self) -> None:
        """Remove the file, once the table stands."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    @staticmethod
    def _line(run: Run, rows: list[Row]) -> str:
        return json.dumps({"run": asdict(run), "rows": rows})


def run_benchmark(
    expression: sparse.csr_matrix,
    types: NDArray[np.int64] | None,
    params: BenchmarkParameters,
    journal: Journal,
    console: Console,
) -> list[Row]:
    """Do the runs that are not finished yet, and return the rows of all.

    Parameters
    ----------
    expression
        Cells x genes, prepared.
    types
        The type of each cell, -1 where it has none; None leaves clustering out.
    params
        Methods, rates, seeds and the numbers of the clustering.
    journal
        Where finished runs are kept.
    console
        Where it says how far it is.

    Raises
    ------
    SccrError
        A run failed; the finished ones are kept.
    """
    runs = planned_runs(params, clustering=types is not None)
    kept = sum(run in journal.finished for run in runs)
    if kept:
        console.say(f"{kept} of {len(runs)} runs are finished already, from an earlier benchmark that was interrupted")
    with tempfile.TemporaryDirectory(prefix="sccr-benchmark-") as folder:
        for number, run in enumerate(runs, 1):
            if run in journal.finished:
                continue
            where = f"[{number}/{len(runs)}] {run.title}"

            def progress(stage: str, fraction: float, where: str = where) -> None:
                console.progress(f"{where}: {stage}", fraction)

            _lay_out(run, expression, types, Path(folder))
            journal.add(run, _in_own_process(run, Path(folder), params, progress))
            console.close_bar()
            console.say(f"{where}: {_summary(journal.finished[run])}")
    return [row for run in runs for row in journal.finished[run]]


def _lay_out(run: Run, expression: sparse.csr_matrix, types: NDArray[np.int64] | None, folder: Path) -> None:
    """Write what the process of a run reads: masking there would count in its peak memory."""
    if run.task == "recovery":
        assert run.mechanism is not None and run.rate is not None and run.seed is not None
        try:
            masked = mask_expression(expression, run.rate, run.mechanism, run.seed)
        except ValueError as problem:
            raise InputProblem(f"{run.title}: {problem}") from problem
        sparse.save_npz(folder / "expression.npz", masked.expression, compressed=False)
        sparse.save_npz(folder / "truth.npz", masked.truth, compressed=False)
    else:
        assert types is not None
        sparse.save_npz(folder / "expression.npz", expression, compressed=False)
        np.save(folder / "types.npy", types)


def _summary(rows: list[Row]) -> str:
    first = rows[0]
    took = f"{first['seconds']:.1f} s, {first['peak_mb']:.0f} MB"
    if first["task"] == "recovery":
        return f"mae {first['mae']:.4f}, median_ae {first['median_ae']:.4f}, cosine {first['cosine']:.4f}; {took}"
    means = [
        f"{algorithm} ari {np.mean([row['ari'] for row in rows if row['algorithm'] == algorithm]):.3f}"
        for algorithm in dict.fromkeys(row["algorithm"] for row in rows)
    ]
    return f"{', '.join(means)}; {took}"


def _in_own_process(run: Run, folder: Path, params: BenchmarkParameters, progress: Progress) -> list[Row]:
    """Do one run in a new process: its peak memory is then its own, and a failure ends only it."""
    with _child(run, folder, params) as (process, receiver):
        while True:
            try:
                kind, *content = receiver.recv()
            except EOFError:
                process.join()
                raise NotEnoughResources(
                    f"{run.title}: the run was ended from outside (exit {process.exitcode}), most often for want of "
                    "memory; finished runs are kept: the same command goes on from here"
                ) from None
            if kind == "progress":
                progress(*content)
            elif kind == "rows":
                return list(content[0])
            elif kind == "memory":
                raise NotEnoughResources(f"{run.title}: out of memory; finished runs are kept")
            else:
                raise RuntimeError(f"{run.title}: {content[0]}")


@contextmanager
def _child(
    run: Run, folder: Path, params: BenchmarkParameters
) -> Iterator[tuple[multiprocessing.process.BaseProcess, Connection]]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_do, args=(sender, run, folder, params), daemon=True)
    process.start()
    sender.close()
    try:
        yield process, receiver
    finally:
        receiver.close()
        process.terminate()
        process.join()


def _do(sender: Connection, run: Run, folder: Path, params: BenchmarkParameters) -> None:
    # An interrupt from the keyboard reaches the whole group: the parent answers it, and ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def progress(stage: str, fraction: float) -> None:
        sender.send(("progress", stage, fraction))

    try:
        sender.send(("rows", rows_of(run, folder, params, progress)))
    except MemoryError:
        sender.send(("memory",))
    except BrokenPipeError:
        pass  # the parent has gone
    except Exception as failure:  # noqa: BLE001 - told to the parent, which raises it
        sender.send(("failed", f"{type(failure).__name__}: {failure}"))


def rows_of(run: Run, folder: Path, params: BenchmarkParameters, progress: Progress) -> list[Row]:
    """Do one run in this process, on what was laid out for it.

    Parameters
    ----------
    run
        Which.
    folder
        Where its expression, and its truth or its types, lie.
    params
        The numbers of the clustering, and the threads.
    progress
        Called with a stage's name and the finished fraction.
    """
    expression = sparse.csr_matrix(sparse.load_npz(folder / "expression.npz"))
    imputed, seconds = _imputed(run.method, expression, params, progress, run.task)
    about = {"task": run.task, "method": run.method}
    took = {"seconds": seconds, "peak_mb": peak_memory() / MEGABYTE}
    if run.task == "recovery":
        truth = sparse.coo_matrix(sparse.load_npz(folder / "truth.npz"))
        found = recovery(truth.data, np.asarray(imputed[truth.row, truth.col]).ravel())
        return [{**about, "mechanism": run.mechanism, "rate": run.rate, "seed": run.seed, **asdict(found), **took}]
    types = np.load(folder / "types.npy")
    labelled = types >= 0
    comparisons = compare(
        _dense(imputed[labelled]),
        types[labelled],
        seeds=list(run.seeds),
        n_restarts=params.n_restarts,
        n_neighbors=params.n_neighbors,
        resolution=params.resolution,
        n_components=params.n_components,
        threads=params.threads or usable_cpus(),
        progress=progress,
    )
    return [{**about, **asdict(found), **took} for found in comparisons]


def _imputed(
    method: str, expression: sparse.csr_matrix, params: BenchmarkParameters, progress: Progress, task: Task
) -> tuple[Any, float]:
    """Return the output that a method's authors evaluated for a task, cells x genes, and the seconds it took."""
    begin = time.monotonic()
    if method == "none":
        return expression, 0.0
    output = METHODS[method].scored[task]
    work = Workspace(params.threads, progress)
    result = load(method).impute(Expression.of(expression), work, [output], METHODS[method].complete({}))
    return getattr(result, output), time.monotonic() - begin


def _dense(matrix: Any) -> NDArray[np.float32]:
    return np.asarray(matrix if isinstance(matrix, np.ndarray) else matrix.toarray(), dtype=np.float32)
