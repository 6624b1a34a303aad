"""The runs that succeed: every command on every kind of input, and every option that changes what is written."""

from pathlib import Path

import inputs
from recorder import Recorder, copied, folder_of, result

ONE = ("--threads", "1")  # the estimate that is printed depends on how many there are


def run_all(recorder: Recorder) -> None:
    """Do all of them; some read what earlier ones wrote."""
    for kind, file in inputs.KINDS.items():
        on_every_input(recorder, kind, f"in/{file}")
    impute_options(recorder)
    formats(recorder)
    settings(recorder)
    batches(recorder)
    records_and_reports(recorder)
    evaluations(recorder)
    benchmarks(recorder)
    simulations(recorder)
    processes(recorder)


def on_every_input(recorder: Recorder, kind: str, source: str) -> None:
    """Impute with every method into both formats, and do what else takes any input."""
    top = ("--n-top-genes", "200")
    recorder.run(f"{kind}/sccr", "impute", source, "@/out.h5ad", *top, *ONE, "--provenance", "@/run.json")
    recorder.run(f"{kind}/scfp", "impute", source, "@/out.h5ad", "--method", "scfp", *ONE)
    recorder.run(f"{kind}/scbfp", "impute", source, "@/out.zarr", "--method", "scbfp", *top, *ONE)
    recorder.run(f"{kind}/both", "impute", source, "@/out.zarr", "--write", "both", "--genes", "all", *ONE)
    recorder.run(f"{kind}/dry run", "impute", source, "@/out.h5ad", "--dry-run", *ONE)
    recorder.run(f"{kind}/mask", "evaluate", "mask", source, "@/out.h5ad", *top, "--seed", "4")
    recorder.run(f"{kind}/relations", "evaluate", "relations", source, *top, *ONE, "--json", "@/out.json")


def impute_options(recorder: Recorder) -> None:
    """Impute with every option that changes the result or how it is written."""
    some = ("--n-top-genes", "150")
    options = {
        "recovered": ("--write", "recovered", *some),
        "both": ("--write", "both", *some),
        "embedding": ("--write", "embedding", *some),
        "embedding scfp": ("--write", "embedding", "--method", "scfp"),
        "all genes": ("--genes", "all"),
        "gene file": ("--genes", "in/genes_some.txt"),
        "highly variable": ("--genes", "highly-variable"),
        "depth of all": ("--normalize-by", "all", *some),
        "depth of all, recovered": ("--normalize-by", "all", "--write", "recovered", "--n-top-genes", "40"),
        "target sum": ("--target-sum", "10000", *some),
        "layer": ("--layer", "dense", "--input-scale", "counts", *some),
        "layer csc": ("--layer", "columns", *some),
        "key": ("--key-added", "mine.v-2", "--write", "both", *some),
        "gzip": ("--compression", "gzip", *some),
        "none": ("--compression", "none", *some),
        "no signs": ("--no-dissociating", *some),
        "no standardize": ("--no-standardize", *some),
        "no symmetry": ("--no-symmetrize-final", *some),
        "all three": ("--no-dissociating", "--no-standardize", "--no-symmetrize-final", "--write", "both"),
        "signs": ("--dissociating", "--standardize", "--symmetrize-final", *some),
        "numbers": tuple("--k-cell 5 --k-gene 4 --n-iterations 7 --n-gene-iterations 9 --n-components 7".split()),
        "weights": tuple("--alpha 0.2 --beta 0.9 --gamma 0.1 --write both".split()),
        "scfp numbers": tuple("--method scfp --k-cell 500 --n-iterations 3 --beta 0.5".split()),
        "scbfp numbers": tuple("--method scbfp --k-cell 8 --k-gene 3 --n-iterations 3 --n-gene-iterations 2".split()),
        "many genes": ("--n-top-genes", "5000", "--n-components", "1000"),
        "one gene": ("--n-top-genes", "1"),
        "batches": ("--batch-key", "batch", "--write", "both", *some),
        "batches of numbers": ("--batch-key", "level", "--method", "scbfp"),
        "quiet": ("--quiet", *some),
        "json log": ("--log-format", "json", *some),
    }
    for name, given in options.items():
        recorder.run(f"options/{name}", "impute", "in/rich.h5ad", "@/out.h5ad", *given, *ONE)
    logs = {
        "logs": ("--input-scale", "log1p"),
        "logs as found": (),
        "logs, all genes": ("--genes", "all", "--write", "both"),
        "logs, counts layer": ("--layer", "counts", "--normalize-by", "all"),
    }
    for name, given in logs.items():
        recorder.run(f"options/{name}", "impute", "in/logs.h5ad", "@/out.h5ad", *given, *ONE)
    asked = ("--input-scale", "counts", *ONE)
    recorder.run("options/fractions", "impute", "in/fractions.h5ad", "@/out.h5ad", *asked)
    # The result does not depend on the threads.
    for threads in ("1", "2"):
        for name, file, given in (
            ("counts", "counts.h5ad", ()),
            ("both", "dense.h5ad", ("--write", "both", "--compression", "gzip")),
            ("batches", "batches.h5ad", ("--batch-key", "sample", "--method", "scbfp")),
        ):
            arguments = ("impute", f"in/{file}", "@/out.h5ad", "--threads", threads, *given)
            recorder.run(f"threads/{name} {threads}", *arguments)


def formats(recorder: Recorder) -> None:
    """Read and write every pair of formats, and write over what is there."""
    for source, ending in (
        ("rich.h5ad", "h5ad"),
        ("rich_plain.h5ad", "zarr"),
        ("v2.zarr", "zarr"),
        ("v2.zarr", "h5ad"),
        ("v3.zarr", "zarr"),
        ("v3.zarr", "h5ad"),
        ("tenx.h5", "h5ad"),
        ("tenx.h5", "zarr"),
        ("tenx_gz", "zarr"),
        ("legacy.h5ad", "h5ad"),
        ("legacy.h5ad", "zarr"),
    ):
        for compression in ("auto", "gzip", "none"):
            name = f"formats/{source} to {ending}, {compression}"
            given = ("--compression", compression, "--n-top-genes", "100", *ONE)
            recorder.run(name, "impute", f"in/{source}", f"@/out.{ending}", *given)
    # A result of one method is replaced by another's, which writes fewer keys: none of the old ones may stay.
    for ending in ("h5ad", "zarr"):
        first = f"overwrite/first, {ending}"
        recorder.run(first, "impute", "in/rich_plain.h5ad", f"@/out.{ending}", "--write", "both", *ONE)
        old = result(first, f"out.{ending}")
        again = ("--overwrite-keys", "--method", "scfp", "--compression", "none", *ONE)
        recorder.run(f"overwrite/again, {ending}", "impute", old, f"@/out.{ending}", *again)
        beside = ("--key-added", "second", *ONE)
        recorder.run(f"overwrite/beside, {ending}", "impute", old, f"@/out.{ending}", *beside)
        imputed = ("--layer", "sccr", "--key-added", "twice", *ONE)
        recorder.run(f"overwrite/twice, {ending}", "impute", old, f"@/out.{ending}", *imputed)
    # A store that exists is written over only where that is asked for; nothing old may stay in it.
    recorder.run("overwrite/force", "impute", "in/counts.h5ad", "@/counts.h5ad", "--force", *ONE, before=_existing)
    recorder.run("overwrite/force zarr", "impute", "in/v3.zarr", "@/old.zarr", "--force", *ONE, before=_existing)


def _existing(folder: Path) -> None:
    (folder / "counts.h5ad").write_text("old")
    (folder / "old.zarr").mkdir()
    (folder / "old.zarr" / "zarr.json").write_text("{}")
    (folder / "old.zarr" / "left").write_text("old")


def settings(recorder: Recorder) -> None:
    """Give the parameters by config file and environment, and see which comes first."""
    source = ("impute", "in/counts.h5ad", "@/out.h5ad", *ONE)
    Path("run.yaml").write_text("method: scfp\nn_top_genes: 120\nk_cell: 6\ncompression: none\nwrite: embedding\n")
    Path("run.json").write_text('{"n_top_genes": 120, "standardize": false, "target_sum": 800, "key_added": "conf"}')
    Path("genes.yaml").write_text("genes: in/genes_some.txt\nquiet: true\n")
    Path("nothing.yaml").write_text("# no parameter at all\n")
    recorder.run("settings/yaml", *source, "--config", "run.yaml")
    recorder.run("settings/json", *source, "--config", "run.json")
    recorder.run("settings/gene file", *source, "--config", "genes.yaml")
    recorder.run("settings/nothing", *source, "--config", "nothing.yaml")
    recorder.run("settings/variables", *source, SCCR_METHOD="scbfp", SCCR_K_GENE="5", SCCR_QUIET="yes")
    recorder.run("settings/precedence", *source, "--config", "run.yaml", "--k-cell", "4", SCCR_N_TOP_GENES="130")
    recorder.run("settings/unknown variable", *source, SCCR_TOP_GENES="5")
    recorder.run("settings/empty variable", *source, SCCR_METHOD="")


def batches(recorder: Recorder) -> None:
    """Impute in batches in one run and in parts, which must come to the same."""
    source = "in/batches.h5ad"
    variants = {
        "counts": ((), ()),
        "both": (("--n-top-genes", "150", "--normalize-by", "all"), ("--write", "both", "--normalize-by", "all")),
        "scbfp": (("--genes", "in/genes_some.txt", "--target-sum", "700"), ("--method", "scbfp", "--k-cell", "6")),
        "logs": (("--layer", "logs"), ("--layer", "logs", "--method", "scfp")),
    }
    for name, (preparation, imputation) in variants.items():
        key = ("--batch-key", "sample")
        # An option of both, such as --layer, is given once.
        pairs = [pair for options in (preparation, imputation) for pair in zip(*[iter(options)] * 2, strict=True)]
        given = [word for pair in dict.fromkeys(pairs) for word in pair]
        recorder.run(f"batches/{name}/split", "split", source, "--outdir", "@/parts", *key, *preparation)
        split = folder_of(f"batches/{name}/split") / "parts"
        depth = split / "target_sum.txt"
        shared = ["--genes", str(split / "genes.txt")]
        if depth.exists():
            shared += ["--target-sum", depth.read_text().strip()]
        imputed = []
        for part in sorted(path.name for path in split.glob("*.h5ad")):
            run = f"batches/{name}/{part}"
            recorder.run(run, "impute", str(split / part), "@/out.h5ad", *shared, *imputation, *ONE)
            imputed.append(result(run))
        for ending in ("h5ad", "zarr"):
            recorder.run(f"batches/{name}/one run, {ending}", "impute", source, f"@/out.{ending}", *key, *given, *ONE)
            record = ("--provenance", "@/run.json")
            arguments = ("gather", source, f"@/out.{ending}", *reversed(imputed), *record, *ONE)
            recorder.run(f"batches/{name}/gather, {ending}", *arguments)
    recorder.run("batches/components", "gather", source, "@/out.h5ad", *_imputed("counts"), "--n-components", "5", *ONE)
    for kind, key in (("zarr-v3", "batch"), ("legacy", "louvain"), ("rich", "batch")):
        source = f"in/{inputs.KINDS[kind]}"
        recorder.run(f"batches/split {kind}", "split", source, "--batch-key", key, "--outdir", "@/parts")
    # zarr lists what is in a group in no fixed order, and so the parts are written: only their bytes differ.
    recorder.without_order("batches/split zarr-v3")


def _imputed(name: str) -> list[str]:
    split = folder_of(f"batches/{name}/split") / "parts"
    return [result(f"batches/{name}/{part.name}") for part in sorted(split.glob("*.h5ad"))]


def records_and_reports(recorder: Recorder) -> None:
    """Write records, pages and MultiQC content, in the run and after it."""
    beside = ("--provenance", "@/run.json", "--report", "@/page.html", "--multiqc", "@/multiqc", *ONE)
    runs = {
        "sccr": ("in/counts.h5ad", ("--label-key", "cell_type")),
        "both": ("in/rich.h5ad", ("--write", "both", "--key-added", "mine")),
        "batches": ("in/batches.h5ad", ("--batch-key", "sample", "--label-key", "cell_type")),
        "scfp": ("in/v3.zarr", ("--method", "scfp")),
        "embedding": ("in/logs.h5ad", ("--write", "embedding")),
        "recovered": ("in/tenx_gz", ("--write", "recovered")),
    }
    for name, (source, given) in runs.items():
        ending = "zarr" if source.endswith("zarr") else "h5ad"
        recorder.run(f"report/run {name}", "impute", source, f"@/out.{ending}", *given, *beside)
    done = result("report/run sccr")
    Path("bench.tsv").write_text("task\tmethod\trate\tseed\tmae\trmse\nrecovery\tsccr\t0.2\t0\t0.123456\t0.2\n")
    Path("score.json").write_text('{"candidate": "a.h5ad", "layer": "X", "rmse": 0.5, "mae": 0.25, "cosine": null}')
    scores = ("--scores", "bench.tsv", "--scores", "score.json")
    labels = ("--label-key", "cell_type", "--batch-key", "batch")
    record = ("--provenance", result("report/run sccr", "run.json"))
    recorder.run("report/plain", "report", done, "-o", "@/page.html")
    recorder.run("report/all", "report", done, "-o", "@/page.html", *labels, *scores, *record, "--multiqc", "@/multiqc")
    recorder.run("report/multiqc", "report", done, "--multiqc", "@/multiqc", "--quiet")
    recorder.run("report/key", "report", result("report/run both"), "-o", "@/page.html", "--key-added", "mine")
    recorder.run("report/zarr", "report", result("report/run scfp", "out.zarr"), "-o", "@/page.html", *labels)
    recorder.run("report/gathered", "report", result("batches/both/gather, h5ad"), "-o", "@/page.html")
    written = copied(done)
    recorder.run("report/force", "report", done, "-o", "@/out.h5ad", "--force", *labels, before=written)


def evaluations(recorder: Recorder) -> None:
    """Mask, score, cluster and relate, with every way to write the tables."""
    tables = ("--output", "@/table.tsv", "--json", "@/table.json")
    recorder.run("evaluate/mnar", "evaluate", "mask", "in/counts.h5ad", "@/out.h5ad", "--mechanism", "mnar")
    recorder.run("evaluate/rate", "evaluate", "mask", "in/logs.h5ad", "@/out.h5ad", "--rate", "0.8", "--seed", "9")
    masked = result("counts/mask")
    recorder.run("evaluate/imputed", "impute", masked, "@/out.h5ad", "--write", "both", "--genes", "all", *ONE)
    imputed = result("evaluate/imputed")
    recorder.run("evaluate/score", "evaluate", "score", masked, imputed, "--layer", "sccr")
    recorder.run("evaluate/score files", "evaluate", "score", masked, imputed, "--layer", "sccr_recovered", *tables)
    recorder.run("evaluate/score X", "evaluate", "score", masked, masked, "--json", "@/table.json")
    recorder.run("evaluate/score counts", "evaluate", "score", masked, imputed, "--layer", "counts")
    done, label = result("report/run sccr"), ("--label-key", "cell_type")
    few = ("--seeds", "0,1", "--n-restarts", "3")
    recorder.run("evaluate/cluster", "evaluate", "cluster", "in/counts.h5ad", *label, *few)
    recorder.run("evaluate/cluster layer", "evaluate", "cluster", done, *label, "--layer", "sccr", *few, *tables)
    recorder.run("evaluate/cluster obsm", "evaluate", "cluster", done, *label, "--obsm", "X_sccr", *few, *tables)
    numbers = tuple("--seeds 7 --n-restarts 2 --n-neighbors 8 --resolution 0.5 --n-components 6 --genes all".split())
    recorder.run("evaluate/cluster numbers", "evaluate", "cluster", done, *label, "--layer", "sccr", *numbers)
    pairs = ("--pairs", "@/pairs.tsv", *ONE)
    recorder.run("evaluate/stored graph", "evaluate", "relations", done, *pairs, *tables)
    recorder.run("evaluate/stored graph, few", "evaluate", "relations", done, "--n-pairs", "3", *pairs)
    named = result("report/run both")
    recorder.run("evaluate/named graph", "evaluate", "relations", named, "--key", "mine", *pairs)
    recorder.run("evaluate/built graph", "evaluate", "relations", "in/logs.h5ad", "--genes", "all", *pairs, *tables)
    scbfp = ("--method", "scbfp", "--layer", "counts")
    recorder.run("evaluate/built graph, scbfp", "evaluate", "relations", "in/logs.h5ad", *scbfp, *pairs)
    old = copied(done)
    recorder.run("evaluate/force", "evaluate", "relations", done, "-o", "@/out.h5ad", "--force", *ONE, before=old)


def benchmarks(recorder: Recorder) -> None:
    """Compare two methods once, with and without clusters."""
    small = ("--methods", "none,sccr", "--rates", "0.4", "--seeds", "0", "--n-restarts", "2", *ONE)
    recorder.run("benchmark/recovery", "benchmark", "in/counts.h5ad", *small, "--mechanism", "mnar")
    tables = ("--output", "@/table.tsv", "--json", "@/table.json")
    some = ("--n-top-genes", "200", "--label-key", "cell_type")
    recorder.run("benchmark/clusters", "benchmark", "in/counts.h5ad", *small, *some, *tables)


def simulations(recorder: Recorder) -> None:
    """Simulate data sets, and print every schema."""
    recorder.run("simulate/default", "simulate", "@/out.h5ad", "--n-cells", "50", "--n-genes", "60")
    numbers = "--n-cells 40 --n-genes 70 --n-types 2 --n-batches 4 --depth 200 --dropout 0 --seed 11".split()
    recorder.run("simulate/numbers", "simulate", "@/out.h5ad", *numbers)
    recorder.run("simulate/one cell", "simulate", "@/out.h5ad", "--n-cells", "1", "--n-types", "1", "--n-genes", "1")
    recorder.run("schema", "schema")
    # The refusal names all schemas.
    recorder.run("schema/unknown", "schema", "nosuch")
    names = "".join(recorder.runs["schema/unknown"]["stderr"]).partition("choose one of ")[2].split(", ")
    for name in names:
        recorder.run(f"schema/{name}", "schema", name)
    recorder.run("version", "--version")


def processes(recorder: Recorder) -> None:
    """Run the command as a process: the record holds its command line, and the bytes are the same."""
    arguments = ("impute", "in/counts.h5ad", "@/out.h5ad", "--provenance", "@/run.json", *ONE)
    recorder.process("process/impute", "-m", "sccr_node", *arguments)
    recorder.process("process/no command", "-m", "sccr_node")
    recorder.process(
        "process/stdout", "-m", "sccr_node", "evaluate", "score", result("counts/mask"), result("counts/mask")
    )
