"""The runs that must be refused: the exit code, the one line on standard error, and that nothing was written."""

from collections.abc import Callable
from pathlib import Path

from good_calls import ONE
from recorder import Recorder, copied, folder_of, result


def run_all(recorder: Recorder) -> None:
    """Do all of them, after those that succeed: some read what these wrote."""
    inputs_that_are_none(recorder)
    usage(recorder)
    settings(recorder)
    outputs(recorder)
    other_commands(recorder)


def inputs_that_are_none(recorder: Recorder) -> None:
    """Impute what is missing, damaged, or holds what cannot be imputed."""
    files = {
        "missing": "none.h5ad",
        "truncated": "spoilt/truncated.h5ad",
        "text": "spoilt/text.h5ad",
        "empty file": "spoilt/empty.h5ad",
        "folder": "spoilt/folder",
        "other HDF5": "spoilt/other.h5",
        "MuData": "spoilt/multimodal.h5mu",
        "damaged 10x": "spoilt/damaged_tenx",
        "no X": "spoilt/no_x.h5ad",
        "no cells": "spoilt/no_cells.h5ad",
        "no genes": "spoilt/no_genes.h5ad",
        "NaN": "spoilt/nan.h5ad",
        "infinite": "spoilt/infinite.h5ad",
        "negative": "spoilt/negative.h5ad",
        "scaled": "spoilt/scaled.h5ad",
        "zeros": "spoilt/zeros.h5ad",
        "unclear scale": "spoilt/unclear.h5ad",
        "huge": "spoilt/huge.h5ad",
        "key exists": "spoilt/key_taken.h5ad",
        "device": "/dev/null",
    }
    for name, file in files.items():
        recorder.run(f"bad input/{name}", "impute", file, "@/out.h5ad", *ONE)
    given = {
        "missing layer": ("in/counts.h5ad", "--layer", "spliced"),
        "layer of 10x": ("in/tenx.h5", "--layer", "counts"),
        "missing batch column": ("in/counts.h5ad", "--batch-key", "donor"),
        "batches with gaps": ("spoilt/lost_batches.h5ad", "--batch-key", "sample"),
        "missing label column": ("in/counts.h5ad", "--label-key", "donor", "--report", "@/page.html"),
        "unknown genes": ("in/counts.h5ad", "--genes", "in/genes_other.txt"),
        "no genes in the file": ("in/counts.h5ad", "--genes", "in/genes_none.txt"),
        "no text": ("in/counts.h5ad", "--genes", "in/dense.h5ad"),
        "no highly variable": ("in/counts.h5ad", "--genes", "highly-variable"),
        "none highly variable": ("spoilt/labels.h5ad", "--genes", "highly-variable"),
        "integers as logs": ("in/counts.h5ad", "--input-scale", "log1p"),
        "too large for logs": ("spoilt/unclear.h5ad", "--input-scale", "log1p"),
        "memory": ("in/counts.h5ad", "--max-memory", "1MB"),
        "memory with batches": ("in/batches.h5ad", "--batch-key", "sample", "--max-memory", "300MB"),
        "memory, dry run": ("in/counts.h5ad", "--dry-run", "--max-memory", "1MB"),
        "as JSON": ("none.h5ad", "--log-format", "json"),
        "as JSON, equals": ("none.h5ad", "--log-format=json"),
        "quiet": ("none.h5ad", "--quiet"),
    }
    for name, (file, *options) in given.items():
        recorder.run(f"bad input/{name}", "impute", file, "@/out.h5ad", *ONE, *options)


def usage(recorder: Recorder) -> None:
    """Give options that do not exist, do not fit, or contradict each other."""
    given = {
        "unknown option": "--no-such-flag",
        "misspelt option": "--n-top-gene 5",
        "no value": "--layer",
        "k 0": "--k-cell 0",
        "k a word": "--k-cell many",
        "k endless": "--k-gene 99999999999999999999",
        "alpha": "--alpha 1.5",
        "beta NaN": "--beta nan",
        "threads": "--threads 0",
        "target sum": "--target-sum -1",
        "target sum a word": "--target-sum mean",
        "target sum endless": "--target-sum 1e31",
        "memory": "--max-memory 6.GB",
        "method": "--method magic",
        "write": "--write all",
        "compression": "--compression zip",
        "scale": "--input-scale log2",
        "empty layer": "--layer=",
        "another method's": "--method scfp --gamma 0.1",
        "another method's switch": "--method scbfp --no-standardize",
        "both of scfp": "--method scfp --write both",
        "number without choice": "--genes all --n-top-genes 5",
        "depth of logs": "--input-scale log1p --target-sum 10",
        "depth of logs, by": "--input-scale log1p --normalize-by all",
        "key": "--key-added a/b",
        "key is the layer": "--layer sccr",
        "gene file": "--genes top-varience",
        "two faults": "--k-cell 0 --alpha 3",
    }
    for name, options in given.items():
        recorder.run(f"bad usage/{name}", "impute", "in/counts.h5ad", "@/out.h5ad", *ONE, *options.split(" "))
    recorder.run("bad usage/no command")
    recorder.run("bad usage/unknown command", "imputate")
    recorder.run("bad usage/unknown option of none", "--verbose")
    recorder.run("bad usage/no arguments", "impute")
    recorder.run("bad usage/one argument", "impute", "in/counts.h5ad")
    recorder.run("bad usage/three arguments", "impute", "in/counts.h5ad", "@/out.h5ad", "@/more.h5ad")
    recorder.run("bad usage/no part of evaluate", "evaluate")
    recorder.run("bad usage/unknown part of evaluate", "evaluate", "mark")


def settings(recorder: Recorder) -> None:
    """Give config files and variables that cannot be taken."""
    texts = {
        "unknown key.yaml": "n_top_gene: 3\n",
        "strange key.yaml": "colour: red\n",
        "bad value.yaml": "k_cell: 0\n",
        "yes for a number.yaml": "k_cell: yes\n",
        "missing gene file.yaml": "genes: none.txt\n",
        "list.yaml": "- 1\n- 2\n",
        "broken.yaml": "a: [1\n",
        "broken.json": '{"a": \n',
        "file of another.yaml": "batch_key: sample\noutdir: parts\n",
    }
    source = ("impute", "in/counts.h5ad", "@/out.h5ad", *ONE)
    for name, text in texts.items():
        file = f"config {name}".replace(" ", "_")
        Path(file).write_text(text)
        recorder.run(f"bad config/{name}", *source, "--config", file)
    recorder.run("bad config/missing", *source, "--config", "none.yaml")
    recorder.run("bad config/folder", *source, "--config", "spoilt/folder")
    recorder.run("bad config/binary", *source, "--config", "in/dense.h5ad")
    recorder.run("bad config/variable", *source, SCCR_K_CELL="many")
    recorder.run("bad config/variable of a switch", *source, SCCR_STANDARDIZE="perhaps")
    recorder.run("bad config/variable and flag", *source, "--n-top-genes", "5", SCCR_GENES="all")
    recorder.run("bad config/JSON by variable", "impute", "none.h5ad", "@/out.h5ad", SCCR_LOG_FORMAT="json")


def outputs(recorder: Recorder) -> None:
    """Name outputs that exist, are inputs, or cannot be written."""

    def linked(kind: str) -> Callable[[Path], None]:
        def link(folder: Path) -> None:
            source = Path("in/counts.h5ad").resolve()
            if kind == "hard":
                (folder / "out.h5ad").hardlink_to(source)
            else:
                (folder / "out.h5ad").symlink_to(Path("../..", "in", "counts.h5ad"))

        return link

    def existing(folder: Path) -> None:
        for name in ("out.h5ad", "run.json", "page.html"):
            (folder / name).write_text('"precious"\n')
        (folder / "out.zarr").mkdir()
        (folder / "multiqc").mkdir()
        (folder / "multiqc" / "new.sccr_general_mqc.json").write_text('"precious"\n')

    source = ("impute", "in/counts.h5ad")
    recorder.run("bad output/the input", *source, "in/counts.h5ad", "--force", *ONE)
    recorder.run("bad output/a link to the input", *source, "@/out.h5ad", "--force", *ONE, before=linked("soft"))
    recorder.run("bad output/the input's other name", *source, "@/out.h5ad", "--force", *ONE, before=linked("hard"))
    recorder.run("bad output/exists", *source, "@/out.h5ad", *ONE, before=existing)
    recorder.run("bad output/zarr exists", *source, "@/out.zarr", *ONE, before=existing)
    recorder.run("bad output/folder in its place", *source, "@/multiqc", *ONE, before=existing)
    recorder.run("bad output/record", *source, "@/new.h5ad", "--provenance", "@/run.json", *ONE, before=existing)
    recorder.run("bad output/page", *source, "@/new.h5ad", "--report", "@/page.html", *ONE, before=existing)
    recorder.run("bad output/MultiQC", *source, "@/new.h5ad", "--multiqc", "@/multiqc", *ONE, before=existing)
    recorder.run("bad output/MultiQC is a file", *source, "@/a.h5ad", "--multiqc", "@/run.json", *ONE, before=existing)
    recorder.run("bad output/named twice", *source, "@/out.h5ad", "--provenance", "@/out.h5ad", *ONE)
    recorder.run("bad output/record is the page", *source, "@/o.h5ad", "--provenance", "@/a", "--report", "@/a", *ONE)
    recorder.run("bad output/no folder", *source, "@/none/out.h5ad", *ONE)
    recorder.run("bad output/no folder for the record", *source, "@/out.h5ad", "--provenance", "@/none/run.json", *ONE)
    recorder.run("bad output/format", *source, "@/out.csv", *ONE)
    recorder.run("bad output/in the input", "impute", "in/v3.zarr", "in/v3.zarr/out.zarr", *ONE)


def other_commands(recorder: Recorder) -> None:
    """Refuse what the other commands cannot do."""
    batches = "in/batches.h5ad"
    split = folder_of("batches/counts/split") / "parts"
    parts = [result(f"batches/counts/{part.name}") for part in sorted(split.glob("*.h5ad"))]
    others = [result(f"batches/both/{part.name}") for part in sorted(split.glob("*.h5ad"))]
    gather = ("gather", batches, "@/out.h5ad")
    recorder.run("bad gather/no parts", *gather)
    recorder.run("bad gather/missing part", *gather, *parts[1:])
    recorder.run("bad gather/part that does not exist", *gather, *parts[1:], "none.h5ad")
    recorder.run("bad gather/part twice", *gather, *parts, parts[0], *ONE)
    recorder.run("bad gather/foreign part", *gather, *parts[1:], result("counts/sccr"))
    recorder.run("bad gather/part of another split", *gather, *parts[1:], others[0])
    recorder.run("bad gather/of another data set", "gather", "in/counts.h5ad", "@/out.h5ad", *parts)
    recorder.run("bad gather/not imputed", *gather, *map(str, sorted(split.glob("*.h5ad"))))
    recorder.run("bad gather/another name", *gather, *parts, "--key-added", "mine")
    recorder.run("bad gather/exists", *gather, *parts, before=copied(result("simulate/default")))
    recorder.run("bad gather/memory", *gather, *parts, "--max-memory", "1MB", *ONE)
    wrong = ("--n-top-genes", "100", *ONE)
    recorder.run("bad gather/wrongly imputed", "impute", str(split / "big.h5ad"), "@/out.h5ad", *wrong)
    recorder.run("bad gather/imputed otherwise", *gather, result("bad gather/wrongly imputed"))

    recorder.run("bad split/no column", "split", batches, "--outdir", "@/parts")
    recorder.run("bad split/no folder", "split", batches, "--batch-key", "sample")
    recorder.run("bad split/missing column", "split", batches, "--batch-key", "site", "--outdir", "@/parts")
    recorder.run("bad split/exists", "split", batches, "--batch-key", "sample", "--outdir", "spoilt/folder")

    done = result("report/run sccr")
    recorder.run("bad report/no result", "report", "in/counts.h5ad", "-o", "@/page.html")
    recorder.run("bad report/missing", "report", "none.h5ad", "-o", "@/page.html")
    recorder.run("bad report/nowhere", "report", done)
    recorder.run("bad report/scores of nothing", "report", done, "--multiqc", "@/m", "--scores", "bench.tsv")
    recorder.run("bad report/exists", "report", done, "-o", "run.yaml")
    recorder.run("bad report/the result", "report", done, "-o", done, "--force")
    recorder.run("bad report/no record", "report", done, "-o", "@/page.html", "--provenance", "run.yaml")
    recorder.run("bad report/missing record", "report", done, "-o", "@/page.html", "--provenance", "none.json")
    recorder.run("bad report/missing scores", "report", done, "-o", "@/page.html", "--scores", "none.tsv")
    recorder.run("bad report/no scores", "report", done, "-o", "@/page.html", "--scores", "in/dense.h5ad")
    recorder.run("bad report/missing label", "report", done, "-o", "@/page.html", "--label-key", "donor")
    recorder.run("bad report/missing key", "report", done, "-o", "@/page.html", "--key-added", "mine")
    record = ("--provenance", result("report/run batches", "run.json"))
    recorder.run("bad report/another's record", "report", done, "-o", "@/page.html", *record)

    masked = result("counts/mask")
    recorder.run("bad evaluate/not masked", "evaluate", "score", done, done)
    recorder.run("bad evaluate/other cells", "evaluate", "score", masked, result("10x-h5/sccr"), "--layer", "sccr")
    recorder.run("bad evaluate/other genes", "evaluate", "score", masked, result("rich/sccr"), "--layer", "sccr")
    recorder.run("bad evaluate/missing layer", "evaluate", "score", masked, masked, "--layer", "sccr")
    recorder.run("bad evaluate/table is the input", "evaluate", "score", masked, masked, "-o", masked)
    recorder.run("bad evaluate/tables are one", "evaluate", "score", masked, masked, "-o", "@/a", "--json", "@/a")
    mask = ("evaluate", "mask", "in/counts.h5ad")
    recorder.run("bad evaluate/masked zarr", *mask, "@/out.zarr")
    recorder.run("bad evaluate/rate", *mask, "@/out.h5ad", "--rate", "1")
    recorder.run("bad evaluate/mechanism", *mask, "@/out.h5ad", "--mechanism", "mar")
    cluster = ("evaluate", "cluster", "spoilt/labels.h5ad")
    recorder.run("bad evaluate/no label column", *cluster)
    recorder.run("bad evaluate/missing label column", *cluster, "--label-key", "donor")
    recorder.run("bad evaluate/one label", *cluster, "--label-key", "one")
    recorder.run("bad evaluate/measurements", *cluster, "--label-key", "measured")
    recorder.run("bad evaluate/two matrices", *cluster, "--label-key", "cell_type", "--layer", "a", "--obsm", "b")
    recorder.run("bad evaluate/missing obsm", *cluster, "--label-key", "cell_type", "--obsm", "X_pca")
    recorder.run("bad evaluate/seeds", *cluster, "--label-key", "cell_type", "--seeds", "1,1")
    recorder.run("bad evaluate/relations of scfp", "evaluate", "relations", "in/counts.h5ad", "--method", "scfp")

    recorder.run("bad benchmark/methods", "benchmark", "in/counts.h5ad", "--methods", "magic")
    recorder.run("bad benchmark/rates", "benchmark", "in/counts.h5ad", "--rates", "0.2,1.5")
    recorder.run("bad benchmark/rate 0", "benchmark", "in/counts.h5ad", "--rates", "0.0")
    recorder.run("bad benchmark/rate twice", "benchmark", "in/counts.h5ad", "--rates", "0.2,.2")
    recorder.run("bad benchmark/label", "benchmark", "in/counts.h5ad", "--label-key", "donor")

    recorder.run("bad simulate/zarr", "simulate", "@/out.zarr")
    recorder.run("bad simulate/exists", "simulate", "in/counts.h5ad")
    recorder.run("bad simulate/types", "simulate", "@/out.h5ad", "--n-cells", "3")
    recorder.run("bad simulate/depth", "simulate", "@/out.h5ad", "--depth", "1e9")
    recorder.run("bad simulate/dropout", "simulate", "@/out.h5ad", "--dropout", "1")
    recorder.run("bad simulate/memory", "simulate", "@/out.h5ad", "--n-cells", "10000000", "--n-genes", "100000")
