"""Records what the commands and the Python API do, print and write today: python tests/baseline/record.py OUT.json."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

# What could lead to another recording on the same machine.
for variable in [name for name in os.environ if name.startswith("SCCR_")]:
    del os.environ[variable]
os.environ |= {"COLUMNS": "112", "PYTHONWARNINGS": "ignore", "NO_COLOR": "1"}

import api  # noqa: E402
import bad_calls  # noqa: E402
import good_calls  # noqa: E402
import inputs  # noqa: E402
from recorder import Recorder, files_in  # noqa: E402

COMMANDS = (
    "impute",
    "evaluate",
    "evaluate mask",
    "evaluate split-molecules",
    "evaluate score",
    "evaluate cluster",
    "evaluate relations",
    "benchmark",
    "report",
    "split",
    "gather",
    "simulate",
    "schema",
)
SIMULATED = "--n-cells 120 --n-genes 300 --n-types 3 --n-batches 3 --depth 600 --seed 3".split()


def main() -> int:
    """Record everything in a temporary folder, and write the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="the JSON document to write")
    parser.add_argument("--keep", type=Path, help="work in this folder, which must not exist, and leave it")
    arguments = parser.parse_args()
    output = arguments.output.absolute()
    os.umask(0o022)
    begin = time.monotonic()
    if arguments.keep is not None:
        arguments.keep.mkdir()
        with chdir(arguments.keep):
            document = record()
    else:
        with tempfile.TemporaryDirectory(prefix="sccr-baseline-") as folder, chdir(folder):
            document = record()
    output.write_text(json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    seconds = time.monotonic() - begin
    print(
        f"{len(document['runs'])} runs, {len(document['api']['calls'])} calls of the API in {seconds:.0f} s: {output}"
    )
    return 0


def record() -> dict[str, object]:
    """Record everything in the working folder, which is empty."""
    recorder = Recorder()
    for folder in ("in", "spoilt"):
        Path(folder).mkdir()
    recorder.run("simulate/input", "simulate", "@/out.h5ad", *SIMULATED)
    inputs.make_all(Path("in"), Path("runs/simulate-input/out.h5ad"))
    inputs.make_spoilt(Path("spoilt"), Path("in/counts.h5ad"))
    made = {folder: files_in(Path(folder)) for folder in ("in", "spoilt")}
    for command in ("", *COMMANDS):
        recorder.run(f"help/{command}", *command.split(), "--help")
    timed("good calls", lambda: good_calls.run_all(recorder))
    timed("bad calls", lambda: bad_calls.run_all(recorder))
    left = {folder: files_in(Path(folder)) for folder in ("in", "spoilt")}
    calls: dict[str, object] = {}
    timed("Python API", lambda: calls.update(api.record()))
    return {
        "runs": recorder.runs,
        "api": calls,
        # Where these differ, so will everything: another anndata or h5py wrote the inputs.
        "inputs": made,
        "inputs unchanged": left == made,
        "working folder": sorted(os.listdir()),
        "same bytes": same_bytes(recorder),
    }


def timed(what: str, do: Callable[[], None]) -> None:
    """Do something, and say how long it took."""
    begin = time.monotonic()
    do()
    print(f"{what}: {time.monotonic() - begin:.0f} s", file=sys.stderr)


def same_bytes(recorder: Recorder) -> dict[str, bool]:
    """Return whether runs that should come to the same did: any number of threads, parts gathered, a process."""

    def result(name: str, file: str) -> object:
        return recorder.runs[name]["files"].get(file, name)

    pairs = {
        f"threads: {name}": [(f"threads/{name} {n}", "out.h5ad") for n in (1, 2)]
        for name in ("counts", "both", "batches")
    } | {
        f"gathered: {name}, {ending}": [
            (f"batches/{name}/{how}, {ending}", f"out.{ending}") for how in ("one run", "gather")
        ]
        for name in ("counts", "both", "scbfp", "logs")
        for ending in ("h5ad", "zarr")
    }
    pairs["process"] = [("process/impute", "out.h5ad"), ("settings/nothing", "out.h5ad")]
    return {name: result(*first) == result(*second) for name, (first, second) in pairs.items()}


if __name__ == "__main__":
    sys.exit(main())
