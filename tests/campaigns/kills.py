"""Ends every command at random moments with every signal, and looks for what must never be there.

``python -m tests.campaigns.kills 1000`` ends a thousand runs and prints how they ended; it exits with 1 if any of them
left a partial file, a temporary (after anything but SIGKILL), a traceback, a crash, a process that heard nothing, or a
lost input. After SIGKILL the next run must leave nothing but its output.
"""

import argparse
import collections
import hashlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL)
SHOWN_EVERY = 50
DEAF_SECONDS = 12.0
"""Longer than the grace that a command gives itself."""


def sccr(*words, cwd, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "sccr_node", *map(str, words)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **options,
    )


def run(*words, cwd):
    process = sccr(*words, cwd=cwd)
    said = process.communicate()[0]
    assert process.returncode == 0, said
    return said


def inputs(folder):
    """Make what the commands read, once."""
    run("simulate", "data.h5ad", "--n-cells", "400", "--n-genes", "800", "--n-batches", "3", cwd=folder)
    run("impute", "data.h5ad", "data.zarr", "--key-added", "first", cwd=folder)
    run("split", "data.h5ad", "--batch-key", "batch", "--outdir", "parts", cwd=folder)
    depth = (folder / "parts" / "target_sum.txt").read_text().strip()
    for part in sorted((folder / "parts").glob("*.h5ad")):
        options = ("--genes", "parts/genes.txt", "--target-sum", depth)
        run("impute", part, folder / f"imputed_{part.name}", *options, cwd=folder)
    run("evaluate", "mask", "data.h5ad", "masked.h5ad", cwd=folder)
    run("evaluate", "split-molecules", "data.h5ad", "train.h5ad", cwd=folder)
    rows = ["data.h5ad,out/b0.h5ad,5", "data.zarr,out/b1.zarr,", "data.h5ad,out/b2.h5ad,"]
    (folder / "batch.csv").write_text("\n".join(["input,output,k_cell", *rows]) + "\n")


BATCH = {f"{output}{suffix}" for output in ("b0.h5ad", "b1.zarr", "b2.h5ad") for suffix in ("", ".record.json")}
"""What a batch writes; the rows that are finished stay when it is ended."""

STEADY = {"o.h5ad", "o.zarr", "c.yaml"}
"""Outputs with the same bytes in every run: there are times in the table of a benchmark and in a record."""

RESUMED = ("batch", "array")
"""Commands that go on where they were ended when they are run again."""


def commands(folder, out):
    """Return every kind of command, its words and the outputs that it may leave."""
    parts = sorted(str(path) for path in folder.glob("imputed_*.h5ad"))
    tables = ("-o", out / "t.tsv", "--json", out / "t.json")
    kept = ("--checkpoint-dir", out / "kept")
    side = ("--provenance", out / "p.json", "--multiqc", out / "mq")
    return {
        "impute h5ad": (("impute", "data.h5ad", out / "o.h5ad", *side), {"o.h5ad", "p.json", "mq"}),
        "impute zarr": (("impute", "data.zarr", out / "o.zarr"), {"o.zarr"}),
        "convert": (("impute", "data.h5ad", out / "o.zarr", "--batch-key", "batch"), {"o.zarr"}),
        "split": (("split", "data.h5ad", "--batch-key", "batch", "--outdir", out / "s"), {"s"}),
        "gather": (("gather", "data.h5ad", out / "g.h5ad", *parts), {"g.h5ad"}),
        "promote": (("promote", parts[0], out / "x.h5ad"), {"x.h5ad"}),
        "export": (("export", parts[0], out / "e", "--all-genes"), {"e"}),
        "copy": (("copy", "data.zarr", out / "y.zarr"), {"y.zarr"}),
        "report": (("report", "data.zarr", "-o", out / "r.html", "--multiqc", out / "mq"), {"r.html", "mq"}),
        "mask": (("evaluate", "mask", "data.h5ad", out / "m.h5ad"), {"m.h5ad"}),
        "split-molecules": (("evaluate", "split-molecules", "data.zarr", out / "h.h5ad"), {"h.h5ad"}),
        "score": (("evaluate", "score", "train.h5ad", "train.h5ad", *tables), {"t.tsv", "t.json"}),
        "tune": (("tune", "data.h5ad", "-o", out / "c.yaml", "--report", out / "r.html"), {"c.yaml", "r.html"}),
        "tuned": (("impute", "data.h5ad", out / "o.zarr", "--tune", "--report", out / "r.html"), {"o.zarr", "r.html"}),
        "simulate": (("simulate", out / "d.h5ad", "--n-cells", "800", "--n-genes", "2000"), {"d.h5ad"}),
        "relations": (("evaluate", "relations", "data.h5ad", *tables), {"t.tsv", "t.json"}),
        "resumed h5ad": (("impute", "data.h5ad", out / "o.h5ad", *kept), {"o.h5ad", "kept"}),
        "resumed zarr": (("impute", "data.zarr", out / "o.zarr", "--batch-key", "batch", *kept), {"o.zarr", "kept"}),
        "resumed tune": (("tune", "data.h5ad", "-o", out / "c.yaml", *kept), {"c.yaml", "kept"}),
        "resumed benchmark": (("benchmark", "data.h5ad", "--rates", "0.4", "--seeds", "0", "--methods", "sccr,scfp",
                               "-o", out / "b.tsv", *kept), {"b.tsv", "b.tsv.runs.jsonl", "kept"}),
        "benchmark": (("benchmark", "data.h5ad", "--rates", "0.4", "--seeds", "0", "-o", out / "b.tsv"),
                      {"b.tsv", "b.tsv.runs.jsonl"}),
        "batch": (("batch", "--manifest", "batch.csv"), BATCH),
        "array": (("batch", "--manifest", "batch.csv", "--index", "1"), {"b1.zarr", "b1.zarr.record.json"}),
    }  # fmt: skip


def resumed(words, folder, out, whole):
    """Run a command again that was ended; return what is wrong with what it leaves then, or nothing."""
    again = sccr(*words, cwd=folder)
    said = again.communicate()[0]
    if again.returncode != 0:
        return [f"the same command again ended with {again.returncode}: {said[-300:]}"]
    there = {path.name for path in out.iterdir()}
    outputs = {name for name in whole if not name.endswith(".json")}
    wrong = [f"not the same bytes: {name}" for name in outputs if contents(out / name) != whole[name]]
    return wrong + ([f"left {sorted(there)}"] if there != set(whole) else [])


def contents(path):
    """Return the bytes of a file, or of all files of a folder by their names."""
    if not path.is_dir():
        return path.read_bytes()
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def digest(folder):
    """Return a digest of all inputs."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "out" not in path.relative_to(folder).parts)
    return hashlib.sha256(b"".join(str(path).encode() + path.read_bytes() for path in files)).hexdigest()


def one(folder, out, name, generator, seconds, whole):
    """End one run; return the signal, how the run ended, and what is wrong with it, or nothing.

    ``whole`` is what the command leaves when nobody ends it.
    """
    words, allowed = commands(folder, out)[name]
    number = generator.choice(SIGNALS)
    process = sccr(*words, cwd=folder)
    time.sleep(generator.uniform(0.0, seconds))
    finished = process.poll() is not None
    process.send_signal(number)
    try:
        said = process.communicate(timeout=DEAF_SECONDS)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return number.name, "deaf", f"{name}: deaf to {number.name}"
    wrong = []
    code = process.returncode
    expected = {0, -9} if number == signal.SIGKILL else {0, 128 + number}
    # Before Python itself is ready a signal ends it as usual.
    expected |= {-number}
    # Python itself is still starting: it dies of SIGINT, or could not load its own modules, and ends with 1.
    by_python = "sccr_node" not in said
    interrupted = number == signal.SIGINT and said.rstrip().endswith("KeyboardInterrupt")
    before_we_watch = interrupted and (code == -signal.SIGINT or by_python)
    if before_we_watch and by_python:
        expected |= {1}
    if code not in expected:
        wrong.append(f"exit {code} after {number.name}")
    if ("Traceback" in said or "bug" in said) and not before_we_watch:
        wrong.append("traceback: " + said)
    there = {path.name for path in out.iterdir()}
    if number != signal.SIGKILL:
        if any(item.startswith(".") for item in there):
            wrong.append(f"left {sorted(there)} after {number.name}, exit {code}")
        elif code == 0 and not finished and not there & allowed:
            wrong.append("exit 0 without an output")
        elif code != 0 and there - {"b.tsv.runs.jsonl", "kept"} - (BATCH if name == "batch" else set()):
            wrong.append(f"exit {code}, yet there are {sorted(there)}")
        if any(path.name.startswith(".") for path in (out / "kept").glob("*")):
            wrong.append(f"half a checkpoint after {number.name}, exit {code}")
    if name in RESUMED:
        wrong += resumed(words, folder, out, whole)
    elif number == signal.SIGKILL or "--checkpoint-dir" in words:
        again = sccr(*words, "--force", cwd=folder)
        said = again.communicate()[0]
        there = {path.name for path in out.iterdir()}
        if again.returncode != 0 or there - allowed:
            wrong.append(
                f"after {number.name} the next run ended with {again.returncode}, left {sorted(there)}: {said[-200:]}"
            )
    if "--checkpoint-dir" in words:
        if changed := [name for name in STEADY & set(whole) if contents(out / name) != whole[name]]:
            wrong.append(f"other bytes of {changed} after {number.name} and another attempt")
        if (out / "kept").exists() and any((out / "kept").iterdir()):
            wrong.append(f"checkpoints are left: {sorted(path.name for path in (out / 'kept').iterdir())}")
    if code == 0:
        outcome = "complete"
    else:
        outcome = "ended by itself" if code > 0 else "ended by the system"
    return number.name, outcome, "; ".join(f"{name}: {what}" for what in wrong)


def main():
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n", type=int, help="how many runs to end")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="end only commands whose name contains this")
    arguments = parser.parse_args()
    generator = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="kills-") as place:
        folder = Path(place)
        inputs(folder)
        before = digest(folder)
        out = folder / "out"
        begun = time.monotonic()
        problems = collections.Counter()
        outcomes = collections.Counter()
        names = [name for name in commands(folder, out) if arguments.only is None or arguments.only in name]
        seconds, whole = {}, {}
        for command in names:  # how long each takes when nobody ends it
            out.mkdir()
            begin = time.monotonic()
            run(*commands(folder, out)[command][0], cwd=folder)
            seconds[command] = 1.1 * (time.monotonic() - begin)
            whole[command] = {path.name: contents(path) for path in out.iterdir()}
            shutil.rmtree(out)
        for number in range(arguments.n):
            out.mkdir()
            command = names[number % len(names)]
            name, outcome, problem = one(folder, out, command, generator, seconds[command], whole[command])
            outcomes[f"{name}\t{outcome}"] += 1
            if problem:
                problems[problem] += 1
                print(f"{number}: {problem}", flush=True)
            shutil.rmtree(out)
            if (number + 1) % SHOWN_EVERY == 0:
                took = time.monotonic() - begun
                print(
                    f"{number + 1} of {arguments.n} runs in {took:.0f} s, {sum(problems.values())} problems", flush=True
                )
        if digest(folder) != before:
            problems["an input changed"] += 1
    for row in sorted(outcomes):
        print(f"{row}\t{outcomes[row]}")
    print(f"{arguments.n} runs ended, {sum(problems.values())} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
