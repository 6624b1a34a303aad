"""The runs of a benchmark: each is one imputation in its own process, plus the analyses of its output."""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sccr_node.contract.benchmark import EARLIEST, serves, title_of
from sccr_node.contract.methods import METHODS, Task
from sccr_node.contract.shared import Mechanism
from sccr_node.errors import InputProblem, NotEnoughResources
from sccr_node.evaluation.analyses import Case, Data, Row, load, names
from sccr_node.evaluation.baselines import FUNCTIONS
from sccr_node.evaluation.masks import mask_expression
from sccr_node.evaluation.molecules import HeldOut
from sccr_node.evaluation.permuted import permute_genes
from sccr_node.methods import Expression
from sccr_node.methods import load as load_method
from sccr_node.numerics import Progress, Workspace
from sccr_node.runtime import signals
from sccr_node.runtime.console import Console
from sccr_node.runtime.resources import MEGABYTE, peak_memory, usable_cpus
from sccr_node.storage.checkpoints import CheckpointPlace, Checkpoints

ABOUT_COLUMNS = ("task", "method", "mechanism", "rate", "seed")
COST_COLUMNS = ("seconds", "peak_mb")
RANK_COLUMN = "rank"

POLL_SECONDS = 0.1
"""How often to check for an interrupt while a run's process works."""


@dataclass(frozen=True)
class Mask:
    """How entries of the input are masked."""

    mechanism: Mechanism
    rate: float
    seed: int

    def __str__(self) -> str:
        """Return it as text for messages."""
        return f"{self.rate:.0%} dropped ({self.mechanism}), seed {self.seed}"


@dataclass(frozen=True)
class Split:
    """How the molecules of the input are halved."""

    seed: int

    def __str__(self) -> str:
        """Return it as text for messages."""
        return f"half of the molecules, seed {self.seed}"


@dataclass(frozen=True)
class Candidate:
    """A result of another tool.

    Attributes
    ----------
    name
        Its name in the table.
    digest
        What identifies it: a run is not resumed with another file.
    hidden
        What was hidden in the data that it was made from; None if it was made from the full data.
    read
        Returns its values: the input's cells x genes, dense or CSR.
    """

    name: str
    digest: str
    hidden: Mask | Split | None
    read: Callable[[], Any]

    @property
    def made_from(self) -> Data:
        """The kind of data that it was made from."""
        if self.hidden is None:
            return "full"
        return "masked" if isinstance(self.hidden, Mask) else "halved"


@dataclass(frozen=True)
class Run:
    """One imputation and the analyses of its output.

    Attributes
    ----------
    analyses
        Names of the analyses; all of them use the same output of the method.
    method
        The method, a baseline, or the name of a candidate.
    mechanism, rate, seed
        How entries are masked, or, only by the seed, genes permuted or molecules halved; None if the method gets the
        full data.
    seeds
        Seeds for analyses of the full data.
    candidate
        The digest of the candidate, which is not imputed but read; None for a method or a baseline.
    """

    analyses: tuple[str, ...]
    method: str
    mechanism: Mechanism | None = None
    rate: float | None = None
    seed: int | None = None
    seeds: tuple[int, ...] = ()
    candidate: str | None = None

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> Run:
        """Return a run from its fields as read from JSON."""
        lists = {"analyses": tuple(values["analyses"]), "seeds": tuple(values["seeds"])}
        return cls(**{**values, **lists})

    @property
    def data(self) -> Data:
        """What the method gets."""
        return load(self.analyses[0]).data

    @property
    def task(self) -> Task:
        """The task that the method is evaluated for."""
        return load(self.analyses[0]).task

    @property
    def title(self) -> str:
        """A title for log lines and messages."""
        method = title_of(self.method)
        if self.rate is not None:
            assert self.mechanism is not None and self.seed is not None
            return f"{method}, {Mask(self.mechanism, self.rate, self.seed)}"
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{method}, {', '.join(load(name).title for name in self.analyses)}{seed}"

    def summary(self, rows: Sequence[Row]) -> str:
        """Summarise the rows of the run in one line."""
        found = [load(name).summary([row for row in rows if row["task"] == name]) for name in self.analyses]
        cost = "" if self.candidate else f"; {rows[0]['seconds']:.1f} s, {rows[0]['peak_mb']:.0f} MB"
        return f"{', '.join(found)}{cost}"


@dataclass(frozen=True)
class Inputs:
    """The inputs that all runs of a benchmark share.

    Attributes
    ----------
    expression
        Cells x genes, log-normalised.
    types
        Type of each cell (-1: no type); None without labels.
    order
        Known order of each cell (NaN: not known); None without one.
    settings
        The parameters of the analyses, by name.
    threads
        Number of threads (None: all available CPUs).
    candidates
        Results of other tools.
    halves
        Returns both halves of the molecules for a seed; None if the values are no counts.
    checkpoints
        Where the stages of a run are kept until it is finished; None if nowhere.
    """

    expression: sparse.csr_matrix
    types: NDArray[np.int64] | None
    order: NDArray[np.float64] | None
    settings: Mapping[str, Any]
    threads: int | None
    candidates: Sequence[Candidate] = ()
    halves: Callable[[int], HeldOut] | None = None
    checkpoints: CheckpointPlace | None = None


def columns() -> tuple[str, ...]:
    """Return the columns of the table; those of analyses that were added later come last."""
    earliest = [column for name in EARLIEST for column in load(name).columns]
    later = [column for name in names() for column in (*load(name).appended, *load(name).columns)]
    return tuple(dict.fromkeys((*ABOUT_COLUMNS, *earliest, *COST_COLUMNS, RANK_COLUMN, *later)))


def planned_runs(
    analyses: Sequence[str],
    methods: Sequence[str],
    *,
    rates: Sequence[float],
    mechanism: Mechanism,
    seeds: Sequence[int],
    candidates: Sequence[Candidate] = (),
) -> list[Run]:
    """Return the runs of a benchmark, in the order of the table.

    Analyses of the same output of the same imputation share a run. A baseline has runs only for the tasks that it makes
    sense for, and a candidate only for the data that it was made from.
    """
    shared: dict[tuple[str, Task], list[str]] = {}
    for name in analyses:
        shared.setdefault((load(name).data, load(name).task), []).append(name)
    runs = []
    for (data, task), group in shared.items():
        served = [method for method in methods if serves(method, task)]
        scored = [given for given in candidates if given.made_from == data]
        if data == "masked":
            runs += [
                Run(tuple(group), method, mechanism, rate, seed)
                for rate in rates
                for seed in seeds
                for method in served
            ]
        elif data == "full":
            runs += [Run(tuple(group), method, seeds=tuple(seeds)) for method in served]
        else:
            runs += [Run(tuple(group), method, seed=seed) for seed in seeds for method in served]
        for given in scored:
            how = {"seeds": tuple(seeds)} if given.hidden is None else asdict(given.hidden)
            runs.append(Run(tuple(group), given.name, **how, candidate=given.digest))
    return runs


def run_apart(run: Run, inputs: Inputs, progress: Progress, console: Console | None = None) -> list[Row]:
    """Do one run in a new process, so that its peak memory is its own and a failure ends nothing else.

    Parameters
    ----------
    run
        The run.
    inputs
        The data, and the parameters of the analyses.
    progress
        Called with a stage's name and the finished fraction.
    console
        Shows what happens to checkpoints.

    Raises
    ------
    InputProblem
        The data cannot be masked at this rate.
    NotEnoughResources
        The run ran out of memory, or its process was killed.
    """
    with tempfile.TemporaryDirectory(prefix="sccr-benchmark-") as name:
        folder = Path(name)
        with (
            signals.temporary(folder),
            _child(run, _laid_out(run, inputs, folder), inputs) as (process, receiver),
        ):
            while True:
                while not receiver.poll(POLL_SECONDS):
                    signals.check()
                try:
                    kind, *content = receiver.recv()
                except EOFError:
                    process.join()
                    raise NotEnoughResources(
                        f"cannot finish the run ({run.title}): its process was killed (exit code {process.exitcode}), "
                        "most often because memory ran out; provide more memory, or use fewer genes (--n-top-genes)"
                    ) from None
                if kind == "progress":
                    progress(*content)
                elif kind in ("say", "warn"):
                    if console is not None:
                        (console.say if kind == "say" else console.warn)(*content)
                elif kind == "rows":
                    return list(content[0])
                elif kind == "memory":
                    raise NotEnoughResources(
                        f"cannot finish the run ({run.title}): out of memory; provide more, or use fewer genes "
                        "(--n-top-genes)"
                    )
                else:
                    raise RuntimeError(f"the run ({run.title}) failed: {content[0]}")


def _laid_out(run: Run, inputs: Inputs, folder: Path) -> Path:
    """Write what a run's process reads: masking in that process would count towards its peak memory."""
    expression = inputs.expression
    if run.data == "permuted":
        assert run.seed is not None
        expression = permute_genes(expression, run.seed)
    if run.data == "masked":
        assert run.rate is not None and run.mechanism is not None and run.seed is not None
        try:
            masked = mask_expression(expression, run.rate, run.mechanism, run.seed)
        except ValueError as problem:
            raise InputProblem(f"cannot do the run ({run.title}): {problem}; change --rates") from problem
        expression = masked.expression
        sparse.save_npz(folder / "truth.npz", masked.truth, compressed=False)
    if run.data == "halved":
        assert run.seed is not None and inputs.halves is not None
        halves = inputs.halves(run.seed)
        expression = halves.training
        sparse.save_npz(folder / "held_out.npz", halves.counts, compressed=False)
        np.savez(folder / "split.npz", factors=halves.factors, fraction=halves.fraction)
    sparse.save_npz(folder / "expression.npz", expression, compressed=False)
    if run.candidate is not None:
        (read,) = (given.read for given in inputs.candidates if given.digest == run.candidate)
        imputed = read()
        if isinstance(imputed, np.ndarray):
            np.save(folder / "imputed.npy", imputed)
        else:
            sparse.save_npz(folder / "imputed.npz", imputed, compressed=False)
    for name, known in (("types", inputs.types), ("order", inputs.order)):
        if known is not None:
            np.save(folder / f"{name}.npy", known)
    return folder


@contextmanager
def _child(run: Run, folder: Path, inputs: Inputs) -> Iterator[tuple[multiprocessing.process.BaseProcess, Connection]]:
    context = multiprocessing.get_context("spawn")
    how = dict(inputs.settings), inputs.threads, inputs.checkpoints
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_do, args=(sender, run, folder, *how), daemon=True)
    process.start()
    signals.block_again()
    sender.close()
    try:
        yield process, receiver
    finally:
        receiver.close()
        process.terminate()
        process.join()


def _do(
    sender: Connection,
    run: Run,
    folder: Path,
    settings: Mapping[str, Any],
    threads: int | None,
    place: CheckpointPlace | None,
) -> None:
    signals.unblock()
    # Ctrl-C reaches the whole process group: the parent handles it and ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def progress(stage: str, fraction: float) -> None:
        sender.send(("progress", stage, fraction))

    def say(text: str) -> None:
        sender.send(("say", text))

    def warn(text: str) -> None:
        sender.send(("warn", text))

    try:
        checkpoints = None if place is None else place.opened(say, warn)
        rows = table_rows(run, folder, settings, threads, progress, checkpoints)
        if checkpoints is not None:
            checkpoints.summarise()
        sender.send(("rows", rows))
    except MemoryError:
        sender.send(("memory",))
    except BrokenPipeError:
        pass  # the parent has exited
    except Exception as failure:  # noqa: BLE001 - sent to the parent, which raises it
        sender.send(("failed", f"{type(failure).__name__}: {failure}"))


def table_rows(
    run: Run,
    folder: Path,
    settings: Mapping[str, Any],
    threads: int | None,
    progress: Progress,
    checkpoints: Checkpoints | None = None,
) -> list[Row]:
    """Do one run in this process, with the files that the parent wrote for it.

    Parameters
    ----------
    run
        The run.
    folder
        Folder with its expression and, if there are any, the truth and the types.
    settings
        The parameters of the analyses, by name.
    threads
        Number of threads (None: all available CPUs).
    progress
        Called with a stage's name and the finished fraction.
    checkpoints
        Keeps finished stages of the imputation; None if nothing does.
    """
    expression = sparse.csr_matrix(sparse.load_npz(folder / "expression.npz"))
    took: Row = {}
    if run.candidate is not None:
        imputed = _read(folder)
    else:
        imputed, seconds = _imputed(run.method, expression, run.task, threads, progress, checkpoints)
        took = {"seconds": seconds, "peak_mb": peak_memory() / MEGABYTE}
    changed: Row = {}
    if run.data != "full":
        changed = {"mechanism": run.mechanism, "rate": run.rate, "seed": run.seed}
    rows = []
    for name in run.analyses:
        analysis = load(name)
        case = Case(
            expression=expression,
            imputed=imputed,
            truth=None if run.data != "masked" else sparse.csr_matrix(sparse.load_npz(folder / "truth.npz")),
            held_out=None if run.data != "halved" else _held_out(expression, folder),
            types=np.load(folder / "types.npy") if "label_key" in analysis.needs else None,
            order=np.load(folder / "order.npy") if "order_key" in analysis.needs else None,
            seeds=run.seeds if run.seed is None else (run.seed,),
            settings={setting: settings[setting] for setting in analysis.settings},
            threads=threads or usable_cpus(),
            progress=progress,
        )
        about = {"task": name, "method": run.method, **changed}
        rows += [{**about, **found, **took} for found in analysis.score(case)]
    return rows


def _held_out(training: sparse.csr_matrix, folder: Path) -> HeldOut:
    """Return both halves of the molecules."""
    counts = sparse.csr_matrix(sparse.load_npz(folder / "held_out.npz"))
    with np.load(folder / "split.npz") as split:
        return HeldOut(training, counts, split["factors"], float(split["fraction"]))


def _read(folder: Path) -> Any:
    """Return the values of a candidate."""
    dense = folder / "imputed.npy"
    return np.load(dense) if dense.exists() else sparse.csr_matrix(sparse.load_npz(folder / "imputed.npz"))


def _imputed(
    method: str,
    expression: sparse.csr_matrix,
    task: Task,
    threads: int | None,
    progress: Progress,
    checkpoints: Checkpoints | None = None,
) -> tuple[Any, float]:
    """Return the output that a method's authors evaluated for a task (cells x genes), and the seconds it took.

    A stage that was not repeated counts with the seconds that it took when it was done.
    """
    begin = time.monotonic()
    work = Workspace(threads, progress, checkpoints=checkpoints)
    if method in FUNCTIONS:
        return FUNCTIONS[method](expression, work), time.monotonic() - begin
    output = METHODS[method].scored[task]
    result = load_method(method).impute(Expression.of(expression), work, [output], METHODS[method].complete({}))
    seconds = time.monotonic() - begin
    return getattr(result, output), seconds + (0.0 if checkpoints is None else checkpoints.saved_seconds)
