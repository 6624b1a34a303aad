"""Damages manifests, records and outputs in random ways and runs ``sccr batch``: failures stay with their rows.

``python -m tests.campaigns.manifests 2000`` prints how the runs ended; it exits with 1 if any of them crashed, hung,
ended with an exit code that it should not, did not say once how it ended, wrote something that no row names, or changed
what it reads. ``--first N`` continues a campaign, and ``--only N`` repeats one run and shows its lines.
"""

import contextlib
import json
import os
import random
import re
import resource
import shutil
import sys
from pathlib import Path
from unittest import mock

from sccr_node.contract.batch import INDEX_VARIABLES
from sccr_node.contract.impute import ImputeParameters
from tests.campaigns.mutations import CODES, campaign, digest, flip_bytes, good, odd_json, sccr

READ = ("a.h5ad", "b.zarr", "genes.txt")
"""What no row may change."""

FINISHED = ("o0.h5ad", "o1.zarr")
"""Outputs of an earlier batch, with their records."""

CELLS = (
    "", "0", "-1", "1.5", "nan", "true", "no", "x" * 400, "x" * 70_000, "é", "\U0001f9ec", "\0", "a\nb", 'a"b', "a,b",
    "a\tb", "=1+1", " ", ".", "..", "/", "/dev/null", "/dev/zero", "/dev/full.h5ad", "fifo", "fifo.h5ad", "loop.h5ad",
    "dangling.h5ad", "folder", "folder.zarr", "folder/o.h5ad", "none/o.h5ad", "a.h5ad", "b.zarr", "b.zarr/o.h5ad",
    "m.csv", "o0.h5ad", "./o0.h5ad", "o0.h5ad.record.json", "s3://bucket/a.h5ad", "https://host/a.h5ad", "9" * 5000,
    "--force", "genes.txt", "8GB", "1e400",
)  # fmt: skip
"""What may be in a cell."""


def make_inputs(folder):
    """Make inputs, and what a finished batch leaves."""
    good("simulate", folder / "a.h5ad", "--n-cells", 30, "--n-genes", 40, "--n-batches", 2)
    good("impute", folder / "a.h5ad", folder / "b.zarr", "--key-added", "first")
    import anndata

    (folder / "genes.txt").write_text("\n".join(anndata.read_h5ad(folder / "a.h5ad").var_names[:20]) + "\n")
    with contextlib.chdir(folder):
        Path("m.csv").write_text("input,output,k_cell\na.h5ad,o0.h5ad,5\nb.zarr,o1.zarr,\n")
        good("batch", "--manifest", "m.csv")


def table(chance):
    """Return a header and rows that are right, with a few parameters."""
    columns = chance.sample(
        ["k_cell", "batch_key", "n_top_genes", "report", "multiqc", "write", "provenance", "quiet"], 2
    )
    values = {
        "k_cell": ("5", ""),
        "batch_key": ("batch", ""),
        "n_top_genes": ("10", ""),
        "report": ("r{}.html", ""),
        "multiqc": ("mq", ""),
        "write": ("both", "embedding", ""),
        "provenance": ("p{}.json", ""),
        "quiet": ("true", ""),
    }
    rows = [
        [chance.choice(["a.h5ad", "b.zarr"]), f"o{number}{chance.choice(['.h5ad', '.zarr'])}"]
        + [chance.choice(values[name]).format(number) for name in columns]
        for number in range(chance.choice([1, 2, 2, 3]))
    ]
    if chance.random() < 0.5:  # the first rows as they were finished
        columns, rows = (
            ["k_cell"],
            [["a.h5ad", "o0.h5ad", "5"], ["b.zarr", "o1.zarr", ""]] + [r[:2] + [""] for r in rows[2:]],
        )
    return [["input", "output", *columns], *rows]


def damage_cells(cells, chance):
    """Change cells, columns or rows of a table; return what was done."""
    how = chance.choice(
        ["cell", "cell", "cell", "cell", "name", "add", "drop", "swap", "row", "blank", "cut", "longer"]
    )
    row = chance.randrange(1, len(cells)) if len(cells) > 1 else 0
    column = chance.randrange(len(cells[0]))
    if how == "cell" and column < len(cells[row]):
        cells[row][column] = chance.choice(CELLS)
    elif how == "name":
        cells[0][column] = chance.choice(
            ["", "Input", "k-cell", "--k-cell", "index", "manifest", *ImputeParameters.model_fields]
        )
    elif how == "add":
        name = chance.choice([*ImputeParameters.model_fields])
        # A list of genes that comes through a pipe is waited for, as others do.
        odd = [cell for cell in CELLS if not (name == "genes" and cell.startswith(("fifo", "/dev")))]
        for number, line in enumerate(cells):
            line.append(name if not number else chance.choice(odd))
        return f"add {name}"
    elif how == "drop":
        for line in cells:
            del line[column : column + 1]
    elif how == "swap":
        for line in cells:
            line.reverse()
    elif how == "row":
        cells.insert(row, list(cells[row]))
    elif how == "blank":
        cells.insert(row, [""] * chance.choice([0, 1, 9]))
    elif how == "cut":
        del cells[row][column:]
    else:
        cells[row] += chance.choice([[""], ["more"], [""] * 5_000])
    return how


def text_of_table(cells, chance):
    """Return a table as some program writes it, and under which name."""
    right, wrong = [(".csv", ","), (".tsv", "\t")], [(".csv", ";"), (".tsv", ",")]
    suffix, separator = chance.choice(right * 9 + wrong)
    quote = chance.random() < 0.3

    def written(cell):
        return '"' + cell.replace('"', '""') + '"' if quote or separator in cell or "\n" in cell else cell

    text = chance.choice(["\n", "\n", "\r\n", "\r"]).join(separator.join(map(written, line)) for line in cells)
    coded = chance.choice(["utf-8"] * 10 + ["utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
    return f"m{suffix}", text.encode(coded, "replace")


def special(path, chance):
    """Put something in a file's place that is not a regular file."""
    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
    kind = chance.choice(["fifo", "dangling", "loop", "folder", "zero", "null", "empty", "missing"])
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind != "missing":
        path.symlink_to({"dangling": "nowhere", "loop": path.name, "zero": "/dev/zero", "null": "/dev/null"}[kind])
    return kind


def damage_finished(place, chance):
    """Damage an output of an earlier batch, or its record; return what was done."""
    path = place / chance.choice([name + suffix for name in FINISHED for suffix in ("", ".record.json")])
    if chance.random() < 0.3:
        return f"{path.name}: {special(path, chance)}"
    if path.suffix == ".json" and chance.random() < 0.6:
        path.write_text(json.dumps(odd_json(json.loads(path.read_text()), chance)))
        return f"{path.name}: JSON changed"
    file = path if path.is_file() else chance.choice(sorted(part for part in path.rglob("*") if part.is_file()))
    return f"{path.name}: {flip_bytes(file, chance)}"


def one(number, inputs, work):
    """Damage a manifest, or what it finds, and run it; return the record of the run."""
    chance = random.Random(number)
    place = work / "place"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    place.mkdir()
    for name in READ:
        (shutil.copytree if (inputs / name).is_dir() else shutil.copy2)(inputs / name, place / name)
    what = []
    if chance.random() < 0.4:
        for name in (*FINISHED, *(f"{name}.record.json" for name in FINISHED)):
            (shutil.copytree if (inputs / name).is_dir() else shutil.copy2)(inputs / name, place / name)
        if chance.random() < 0.7:
            what.append(damage_finished(place, chance))
    for name in ("fifo", "fifo.h5ad"):
        os.mkfifo(place / name)
    (place / "loop.h5ad").symlink_to("loop.h5ad")
    (place / "dangling.h5ad").symlink_to("nowhere")
    (place / "folder").mkdir()
    (place / "folder.zarr").mkdir()
    cells = table(chance)
    what += [damage_cells(cells, chance) for _ in range(chance.choice([0, 0, 1, 1, 1, 2]))]
    name, content = text_of_table(cells, chance)
    manifest = place / name
    manifest.write_bytes(content)
    if chance.random() < 0.1:
        what.append(flip_bytes(manifest, chance))
    elif chance.random() < 0.05:
        what.append(special(manifest, chance))
    options = [option for option in ("--check", "--force", "--dry-run") if chance.random() < 0.15]
    if chance.random() < 0.2:
        options += ["--index", chance.choice(["0", "0", "1", "9", "-1", "x"])]
    environ = {
        INDEX_VARIABLES[chance.randrange(4)]: chance.choice(["0", "1", "7", "x", ""])
        for _ in range(chance.choice([0, 0, 0, 1, 2]))
    }
    before = {path: digest(path) for path in place.iterdir() if path.name in READ or path == manifest}
    there = names_in(work)
    with contextlib.chdir(place), mock.patch.dict(os.environ, environ):
        code, said = sccr("batch", "--manifest", name, *options)
    return {
        "number": number,
        "command": " ".join(options) + f" {environ or ''}",
        "damage": "; ".join(what),
        "code": code,
        "said": said.splitlines()[-1][:400] if said else "",
        "wrong": [
            *wrong_with_words(code, said),
            *wrong_with_files(work, place, manifest, before, there, code, options),
        ],
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def names_in(folder):
    """Return the paths of everything in a folder."""
    return {path for path in folder.rglob("*") if ".zarr/" not in str(path)}


def wrong_with_words(code, said):
    """Return what is wrong with what a run said."""
    wrong = [] if code in CODES else [f"exit {code}"]
    lines = said.splitlines()
    if "Traceback" in said or "internal error" in said:
        wrong.append("internal error")
    noise = [line for line in lines if not line.startswith(("sccr: ", "[ ", "{"))]
    if noise:
        wrong.append(f"noise {noise[0][:80]!r}")
    if any(len(line) > 2500 for line in lines):
        wrong.append("a line that nobody reads to its end")
    errors = [line for line in lines if line.startswith(("sccr: error: ", '{"level": "error"'))]
    if code and not errors:
        wrong.append("no error said")
    ends = [line for line in lines if re.search(r"\d+ rows? in m\.[ct]sv: \d+ ", line) or "nothing was run" in line]
    single = any(re.search(r"of \d+ rows? in m\.", line) for line in lines)
    before_rows = code in (2, 66) and len(errors) == 1 and not re.search(r"error: row \d", errors[0])
    if len(ends) != 1 and not (not ends and (single or before_rows)):
        wrong.append(f"{len(ends)} summaries")
    return wrong


def wrong_with_files(work, place, manifest, before, there, code, options):
    """Return what is wrong with what a run left."""
    wrong = [f"changed {path.name}" for path, was in before.items() if os.path.lexists(path) and digest(path) != was]
    wrong += [f"removed {path.name}" for path in before if not os.path.lexists(path)]
    made = names_in(work) - there
    told = manifest.read_bytes() if manifest.is_file() else b""
    text = (
        told.decode("utf-16", "replace") if told[:2] in (b"\xff\xfe", b"\xfe\xff") else told.decode("utf-8", "replace")
    )
    for path in made:
        name = path.name.removesuffix(".record.json")
        # What MultiQC reads is named by its folder.
        named = path.parent.name in text if name.endswith("_mqc.json") else "mq" in path.parts or name in text
        if path.name.startswith(".") or not named:
            wrong.append(f"wrote {path.relative_to(work)}")
    if made and ({"--check", "--dry-run"} & set(options)) and "dry_run" not in text:
        wrong.append(f"wrote {len(made)} files without running")
    return wrong


if __name__ == "__main__":
    sys.exit(campaign(__doc__, "tests.campaigns.manifests", make_inputs, one))
