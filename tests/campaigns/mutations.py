"""Damages inputs in random ways and runs commands on them: every failure must be one line with a meaningful exit code.

``python -m tests.campaigns.mutations 20000`` prints how the runs ended; it exits with 1 if any of them crashed, hung,
took more memory than the data explain, ended with an exit code or a line that it should not, left a file although it
failed, or changed its input. ``--first N`` continues a campaign, and ``--only N`` repeats one run and shows its lines.
"""

import argparse
import collections
import contextlib
import faulthandler
import gc
import gzip
import hashlib
import io
import json
import os
import random
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from unittest import mock

CODES = {0, 2, 65, 66, 73, 75}
"""Everything but 70, an internal error."""

RESUMED = "resumed.h5ad"
"""What every run with damaged checkpoints must make."""

SECONDS = 60.0
MEGABYTES = 1500
"""What one run may take: the inputs have a few thousand values."""


# --- the inputs


def sccr(*words):
    """Run a command in this process; return its exit code and what it said."""
    from sccr_node.__main__ import main

    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main([str(word) for word in words])
    return code, said.getvalue()


def good(*words):
    code, said = sccr(*words, "--quiet")
    assert code == 0, said


def make_inputs(folder):
    """Make what is damaged: every format, a part, results, hidden truths, a record, tables and small text files."""
    import anndata
    import numpy as np
    from scipy import sparse

    from tests.support.inputs import rich, write_ten_x_h5, write_zarr

    good("simulate", folder / "csr.h5ad", "--n-cells", 60, "--n-genes", 80, "--n-batches", 2)
    adata = anndata.read_h5ad(folder / "csr.h5ad")
    adata = adata[:, np.asarray(adata.X.sum(axis=0)).ravel() > 0].copy()
    adata.write_h5ad(folder / "csr.h5ad", compression="gzip")
    for name, make in (("csc", sparse.csc_matrix), ("dense", lambda matrix: matrix.toarray())):
        other = adata.copy()
        other.X = make(other.X)
        other.write_h5ad(folder / f"{name}.h5ad")
    rich().write_h5ad(folder / "rich.h5ad")
    write_zarr(folder / "v2.zarr", adata, 2)
    write_zarr(folder / "v3.zarr", adata, 3)
    features = [(f"ENSG{i:011d}", name, "Gene Expression") for i, name in enumerate(adata.var_names)]
    write_ten_x_h5(folder / "tenx.h5", adata.X.toarray().astype(int), features)
    write_mtx(folder / "mtx", adata)
    good("split", folder / "csr.h5ad", "--batch-key", "batch", "--outdir", folder / "parts")
    depth = (folder / "parts" / "target_sum.txt").read_text().strip()
    for number, part in enumerate(sorted((folder / "parts").glob("*.h5ad"))):
        options = ("--genes", folder / "parts" / "genes.txt", "--target-sum", depth)
        good("impute", part, folder / f"part{number}.h5ad", *options)
    good("impute", folder / "csr.h5ad", folder / "result.h5ad", "--provenance", folder / "record.json")
    good("evaluate", "mask", folder / "csr.h5ad", folder / "masked.h5ad")
    good("evaluate", "split-molecules", folder / "csr.h5ad", folder / "train.h5ad")
    good("impute", folder / "csr.h5ad", folder / "tuned.h5ad", "--tune")
    tables = ("-o", folder / "scores.tsv", "--json", folder / "scores.json")
    good("evaluate", "score", folder / "train.h5ad", folder / "train.h5ad", *tables)
    with mock.patch("sccr_node.storage.checkpoints.Checkpoints.remove"):  # as if it had been killed at its very end
        good("impute", folder / "csr.h5ad", folder / RESUMED, "--checkpoint-dir", folder / "kept")
    (folder / "config.yaml").write_text("n_top_genes: 30\nmethod: sccr\nbeta: 0.5\nbatch_key: batch\n")
    (folder / "genes.txt").write_text("\n".join(adata.var_names[:20]) + "\n")


def write_mtx(folder, adata):
    """Write a 10x folder."""
    folder.mkdir()
    matrix = adata.X.T.tocoo()
    lines = ["%%MatrixMarket matrix coordinate integer general", "%", f"{adata.n_vars} {adata.n_obs} {matrix.nnz}"]
    entries = zip(matrix.row, matrix.col, matrix.data, strict=True)
    lines += [f"{row + 1} {column + 1} {int(value)}" for row, column, value in entries]
    tables = {
        "matrix.mtx.gz": lines,
        "features.tsv.gz": [f"ENSG{i:011d}\t{name}\tGene Expression" for i, name in enumerate(adata.var_names)],
        "barcodes.tsv.gz": list(adata.obs_names),
    }
    for name, text in tables.items():
        (folder / name).write_bytes(gzip.compress(("\n".join(text) + "\n").encode()))


# --- the damage


def flip_bytes(path, chance):
    """Change, remove, repeat or cut bytes."""
    content = bytearray(path.read_bytes())
    if not content:
        return "empty"
    how = chance.choice(["flip", "flip", "zero", "cut", "remove", "repeat", "tail"])
    at, n = chance.randrange(len(content)), chance.choice([1, 4, 64, 1024])
    if how == "flip":
        for _ in range(chance.choice([1, 3, 20])):
            content[chance.randrange(len(content))] = chance.randrange(256)
    elif how == "zero":
        content[at : at + n] = bytes(len(content[at : at + n]))
    elif how == "cut":
        content = content[:at]
    elif how == "remove":
        del content[at : at + n]
    elif how == "repeat":
        content[at:at] = content[at : at + n]
    else:
        content += bytes(chance.randrange(256) for _ in range(n))
    path.write_bytes(bytes(content))
    return f"{how} at {at}"


def odd_value(chance):
    """Return a value that no reader expects."""
    import numpy as np

    return chance.choice(
        [
            lambda: 0,
            lambda: -1,
            lambda: 2**62,
            lambda: float("nan"),
            lambda: "",
            lambda: "csr_matrix",
            lambda: "dataframe",
            lambda: "é\n" * 3,
            lambda: b"\xff\xfe",
            lambda: "x" * chance.choice([10, 70_000]),
            lambda: np.arange(3),
            lambda: np.zeros((2, 2)),
            lambda: np.zeros((0,)),
            lambda: np.array(["a", "b"], dtype="S1"),
            lambda: True,
        ]
    )()


def restructure(path, chance):
    """Change one object or attribute of an HDF5 file."""
    import h5py
    import numpy as np

    with h5py.File(path, "r+") as file:
        names = ["/"]
        file.visit(lambda name: names.append(name) or None)
        name = chance.choice(names)
        target = file[name]
        if name == "/" or chance.random() < 0.3:
            keys = [*target.attrs, "encoding-type", "shape"]
            key = chance.choice(keys)
            if key in target.attrs and chance.random() < 0.4:
                del target.attrs[key]
                return f"{name}: attribute {key} removed"
            value = odd_value(chance)
            with contextlib.suppress(OSError, RuntimeError, ValueError, TypeError):
                target.attrs[key] = value
            return f"{name}: attribute {key} = {value!r:.60}"
        how = chance.choice(["delete", "rename", "odd", "group", "dangling", "external", "values", "values", "values"])
        attributes = dict(target.attrs)
        if how == "rename":
            file.move(name, f"{name}x")
            return f"{name}: renamed"
        values = target[()] if isinstance(target, h5py.Dataset) and how == "values" else None
        del file[name]
        if how == "group":
            file.create_group(name)
        elif how == "dangling":
            file[name] = h5py.SoftLink(chance.choice(["/nowhere", f"/{name}", "/"]))
        elif how == "external":
            file[name] = h5py.ExternalLink("nowhere.h5", "/x")
        elif how == "odd":
            file[name] = odd_value(chance)
        elif how == "values":
            if values is None or not isinstance(values, np.ndarray) or not values.size:
                return f"{name}: deleted"
            made, what = other_values(values, chance)
            with contextlib.suppress(TypeError, ValueError):
                file.create_dataset(name, data=made).attrs.update(attributes)
            return f"{name}: {what}"
        return f"{name}: {how}"


def other_values(values, chance):
    """Return an array that is like another one but for its values, type or shape."""
    import numpy as np

    how = chance.choice(["short", "long", "text", "float", "negative", "huge", "nan", "twice", "column", "shuffled"])
    if how == "short":
        return values[:-1], how
    if how == "long":
        return np.concatenate([values, values[-1:]]), how
    if how == "column":
        return values.reshape(-1, 1), how
    if how == "shuffled":
        return values[::-1].copy(), how
    if values.dtype.kind not in "iuf":
        return np.arange(len(values)), "numbers"
    made = values.astype(float)
    at = chance.randrange(made.size)
    if how == "text":
        return np.array([str(value) for value in values.ravel()], dtype="S"), how
    if how == "negative":
        made.flat[at] = -1
    elif how == "huge":
        made.flat[at] = 1e300
    elif how == "nan":
        made.flat[at] = np.nan
    elif how == "twice":
        made *= 2
    return (made if how in ("float", "nan", "huge") or values.dtype.kind == "f" else made.astype(np.int64)), how


def odd_json(content, chance):
    """Change one value somewhere in a JSON document."""
    places = []

    def walk(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    if isinstance(content, dict | list):
        walk(content)
    if not places:
        return []
    node, key = chance.choice(places)
    odd = [None, -1, 0, 10**12, 1.5, "", "x", "<f8", [], {}, [1, 2], True, "NaN", {"name": "zstd9"}]
    node[key] = chance.choice(odd)
    return content


def damage_file(path, chance):
    """Damage one file in some way that fits its kind."""
    if path.suffix in (".h5ad", ".h5") and chance.random() < 0.75:
        try:
            return restructure(path, chance)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            return f"could not restructure: {error}"
    if path.suffix == ".json" or path.name in (".zattrs", ".zarray", ".zgroup", ".zmetadata"):
        if chance.random() < 0.75:
            with contextlib.suppress(ValueError):
                path.write_text(json.dumps(odd_json(json.loads(path.read_text()), chance)))
                return "JSON changed"
    if path.suffix == ".gz" and chance.random() < 0.75:
        with contextlib.suppress(OSError, EOFError, zlib.error):
            plain = path.with_suffix("")
            plain.write_bytes(gzip.decompress(path.read_bytes()))
            what = flip_bytes(plain, chance)
            path.write_bytes(gzip.compress(plain.read_bytes()))
            plain.unlink()
            return f"packed {what}"
    if chance.random() < 0.15:
        return special_file(path, chance)
    return flip_bytes(path, chance)


def special_file(path, chance):
    """Put something in a file's place that is not a regular file."""
    path.unlink()
    kinds = ["dangling", "loop", "folder", "zero", "missing", "empty"]
    # What is a list or a record can come through a pipe: then the command waits for it, as others do.
    if path.name not in ("genes.txt", "config.yaml", "record.json", "scores.tsv", "scores.json"):
        kinds.append("fifo")
    kind = chance.choice(kinds)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "folder":
        path.mkdir()
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "empty":
        path.write_bytes(b"")
    return kind


def damage(path, chance):
    """Damage a file, or one to three files of a folder; return what was done."""
    if path.is_file():
        return damage_file(path, chance)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    chosen = chance.sample(files, min(len(files), chance.choice([1, 1, 1, 3])))
    return "; ".join(f"{file.relative_to(path)}: {damage_file(file, chance)}" for file in chosen)


# --- the runs


def commands(place, out):
    """Return what can be damaged, and the commands that read it."""

    def impute(name, *options):
        suffixes = (".h5ad", ".zarr")
        return [(("impute", place / name, out / f"o{suffix}", *options)) for suffix in suffixes]

    def split(name):
        return [("split", place / name, "--batch-key", "batch", "--outdir", out / "s")]

    stores = ("csr.h5ad", "csc.h5ad", "dense.h5ad", "v2.zarr", "v3.zarr")
    parts = [place / "part0.h5ad", place / "part1.h5ad"]
    made = {name: [*impute(name), *split(name)] for name in stores}
    for name in ("csr.h5ad", "v3.zarr"):
        made[name].append(("evaluate", "mask", place / name, out / "m.h5ad"))
        made[name].append(("evaluate", "relations", place / name, "-o", out / "t.tsv"))
        made[name].append(("evaluate", "split-molecules", place / name, out / "h.h5ad"))
        made[name].append(("tune", place / name, "-o", out / "c.yaml"))
    made["rich.h5ad"] = impute("rich.h5ad")
    made["tenx.h5"], made["mtx"] = impute("tenx.h5"), impute("mtx")
    made["part1.h5ad"] = [("gather", place / "csr.h5ad", out / "g.h5ad", *parts)]
    made["result.h5ad"] = [
        ("report", place / "result.h5ad", "-o", out / "r.html"),
        ("impute", place / "result.h5ad", out / "o.h5ad", "--overwrite-keys"),
        ("evaluate", "relations", place / "result.h5ad", "-o", out / "t.tsv"),
    ]
    made["result.h5ad"].append(("promote", place / "result.h5ad", out / "p.h5ad"))
    made["result.h5ad"].append(("export", place / "result.h5ad", out / "mtx"))
    made["tuned.h5ad"] = [("report", place / "tuned.h5ad", "-o", out / "r.html", "--multiqc", out / "mq")]
    candidate = ("--candidate", f"other={place / 'masked.h5ad'}", "--analyses", "recovery")
    made["masked.h5ad"] = [
        ("evaluate", "score", place / "masked.h5ad", place / "masked.h5ad", "-o", out / "t.tsv"),
        ("benchmark", place / "csr.h5ad", *candidate, "--methods", "none", "--seeds", "0", "-o", out / "b.tsv"),
    ]
    made["train.h5ad"] = [("evaluate", "score", place / "train.h5ad", place / "train.h5ad", "-o", out / "t.tsv")]
    for name in ("scores.tsv", "scores.json"):
        made[name] = [("report", place / "result.h5ad", "--scores", place / name, "-o", out / "r.html")]
    made["record.json"] = [
        ("report", place / "result.h5ad", "--provenance", place / "record.json", "-o", out / "r.html")
    ]
    made["config.yaml"] = [("impute", place / "csr.h5ad", out / "o.h5ad", "--config", place / "config.yaml")]
    made["kept"] = [("impute", place / "csr.h5ad", out / "o.h5ad", "--checkpoint-dir", place / "kept")]
    made["genes.txt"] = [("impute", place / "csr.h5ad", out / "o.h5ad", "--genes", place / "genes.txt")]
    return made


def digest(path):
    """Return a digest of the regular files in a path, and of what else is there."""
    found = hashlib.sha256()
    for file in [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]:
        found.update(str(file).encode())
        if file.is_file() and not file.is_symlink():
            found.update(file.read_bytes())
    return found.hexdigest()


def wrong_with_resumed(code, output, kept, reference):
    """Return what is wrong with a run that met damaged checkpoints: it must not matter."""
    if code:
        return [f"exit {code}, because of checkpoints"]
    left = [path.name for path in kept.glob("*") if path.is_file() and not path.is_symlink()]
    return [
        *(["other bytes than without checkpoints"] if output.read_bytes() != reference.read_bytes() else []),
        *([f"left {left} of the checkpoints"] if left else []),
    ]


def one(number, inputs, work, only=None):
    """Damage one input and run one command on it; return the record of the run."""
    chance = random.Random(number)
    place, out = work / "place", work / "out"
    for folder in (place, out):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    made = commands(place, out)
    name = only or chance.choice(sorted(made))
    words = chance.choice(made[name])
    for source in inputs.iterdir():
        if source.name == name or any(str(place / source.name) in str(word) for word in words):
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, place / source.name)
    what = "; ".join(
        damage(place / name, chance) for _ in range(chance.choice([1, 1, 1, 2])) if (place / name).exists()
    )
    before = digest(place / name) if os.path.lexists(place / name) else ""
    code, said = sccr(*words, "--quiet")
    wrong = []
    if code not in CODES:
        wrong.append(f"exit {code}")
    if "Traceback" in said or "internal error" in said:
        wrong.append("internal error")
    lines = said.splitlines()
    noise = [line for line in lines if not line.startswith("sccr: ")]
    if noise:
        wrong.append(f"noise {noise[0][:80]!r}")
    if any(len(line) > 2000 for line in lines):
        wrong.append("a line that nobody reads to its end")
    if code and sum(line.startswith("sccr: error: ") for line in lines) != 1:
        wrong.append("not one line")
    left = sorted(path.name for path in out.iterdir())
    if code and left:
        wrong.append(f"left {left}")
    if not code and (not left or any(item.startswith(".") for item in left)):
        wrong.append(f"exit 0 with {left}")
    if name == "kept":
        wrong += wrong_with_resumed(code, out / "o.h5ad", place / name, inputs / RESUMED)
    elif os.path.lexists(place / name) and digest(place / name) != before:
        wrong.append("changed its input")
    return {
        "number": number,
        "input": name,
        "command": " ".join(str(word) for word in words[:2])[:40].replace(str(place), ""),
        "damage": what,
        "code": code,
        "said": lines[-1][:400] if lines else "",
        "wrong": wrong,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def worker(inputs, one, options):
    """Run the numbers that arrive on standard input, one line each; ``one`` runs a single one."""
    from sccr_node.__main__ import silence_libraries

    silence_libraries()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="mutations-") as work:
        out = os.fdopen(os.dup(1), "w")
        for line in sys.stdin:
            record = one(int(line), inputs, Path(work), **options)
            # Iterators over attributes that an error left unfinished hold h5py's lock until this thread collects them.
            # A command ends with the error, but here another thread could wait for the lock for ever.
            gc.collect()
            print(json.dumps(record), file=out, flush=True)


class Worker:
    """A process that runs one damaged input after another, and is replaced when it dies or hangs."""

    def __init__(self, inputs, module, options):
        self._inputs, self._module, self._options = inputs, module, options
        self._said = tempfile.TemporaryFile("w+")
        self._start()

    def _start(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._module, "--worker", str(self._inputs)]
            + [word for only in self._options.values() for word in ("--input", only)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )

    def stacks(self):
        """Return where the threads of the process are."""
        self._said.truncate(0)
        self._process.send_signal(signal.SIGUSR1)
        time.sleep(1)
        self._said.seek(0)
        return self._said.read().replace("\0", "")

    def begin(self, number):
        """Hand over the next number."""
        self.number, self.since = number, time.monotonic()
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()

    @property
    def output(self):
        """What the process writes its records to."""
        return self._process.stdout

    def end(self):
        """Return the record of the run; start another process if this one cannot go on."""
        line = self._process.stdout.readline()
        if line:
            record = json.loads(line)
            if record["megabytes"] > MEGABYTES:
                record["wrong"].append(f"{record['megabytes']} MB")
                self.replace()
            return record
        code = self._process.wait()
        self._start()
        return {"number": self.number, "code": code, "wrong": [f"crashed with {code}"], "damage": "", "said": ""}

    def replace(self):
        """Start another process."""
        self._process.kill()
        self._process.wait()
        self._start()

    def close(self):
        """End the process."""
        self._process.stdin.close()
        self._process.wait()


def run_all(numbers, inputs, n_workers, module, options):
    """Yield the records of all runs, by workers that each run a module's campaign."""
    waiting = iter(numbers)
    busy = {}
    with selectors.DefaultSelector() as ready:

        def begin(each):
            number = next(waiting, None)
            if number is None:
                each.close()
                return
            each.begin(number)
            busy[each] = ready.register(each.output, selectors.EVENT_READ, each)

        for _ in range(n_workers):
            begin(Worker(inputs, module, options))
        while busy:
            for key, _ in ready.select(timeout=1.0):
                each = key.data
                ready.unregister(key.fileobj)
                del busy[each]
                yield each.end()
                begin(each)
            for each in [each for each in busy if time.monotonic() - each.since > SECONDS]:
                ready.unregister(busy.pop(each).fileobj)
                yield {"number": each.number, "code": None, "wrong": ["hung"], "damage": "", "said": each.stacks()}
                each.replace()
                begin(each)


def campaign(doc, module, make_inputs, one):
    """Run a campaign from the command line; return its exit code.

    Parameters
    ----------
    doc, module
        Docstring and name of the module, which workers run with ``--worker``.
    make_inputs
        Makes in a folder what is damaged.
    one
        Called with a number, the inputs and a folder to work in; returns the record of a run.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("n", type=int, nargs="?", default=0, help="how many inputs to damage")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int)
    parser.add_argument("--input", help="damage only this one, e.g. kept (the checkpoints)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    options = {} if arguments.input is None else {"only": arguments.input}
    if arguments.worker is not None:
        worker(arguments.worker, one, options)
        return 0
    outcomes, problems = collections.Counter(), 0
    with tempfile.TemporaryDirectory(prefix="mutations-inputs-") as inputs:
        make_inputs(Path(inputs))
        if arguments.only is not None:
            with tempfile.TemporaryDirectory(prefix="mutations-") as work:
                print(json.dumps(one(arguments.only, Path(inputs), Path(work), **options), indent=1))
            return 0
        numbers = range(arguments.first, arguments.first + arguments.n)
        began = time.monotonic()
        for done, record in enumerate(run_all(numbers, Path(inputs), arguments.workers, module, options), 1):
            if done % 500 == 0:
                print(f"{done} of {arguments.n} in {time.monotonic() - began:.0f} s, {problems} problems", flush=True)
            outcomes[record["code"]] += 1
            if record["wrong"]:
                problems += 1
                print(json.dumps(record), flush=True)
    for code, n in sorted(outcomes.items(), key=str):
        print(f"exit {code}\t{n}")
    print(f"{arguments.n} inputs damaged, {problems} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(campaign(__doc__, "tests.campaigns.mutations", make_inputs, one))
