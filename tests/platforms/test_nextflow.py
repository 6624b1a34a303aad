"""The workflow and its modules in a real Nextflow: local and in containers, both parsers, good input and bad."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pytest
import yaml
from container_tools import Apptainer, Podman, folder_for_everybody, host_sccr, set_up
from nextflow_tools import NEXTFLOW, PARSERS, TEST_DATA, Nextflow, Run, samplesheet
from store_servers import SeaweedFS

from sccr_node import __version__
from tests.support import REPOSITORY

pytestmark = pytest.mark.platform

FIRST, SECOND, BAD = (TEST_DATA / name for name in ("first.h5ad", "second.h5ad", "not_anndata.h5ad"))
WHEN = "    when:\n    task.ext.when == null || task.ext.when\n\n"
ENGINES = ("docker", "podman", "singularity", "apptainer", "charliecloud", "conda")
PROFILES = {
    "test,conda": ("local", "conda"),
    "slurm,apptainer": ("slurm", "apptainer"),
    "awsbatch,docker": ("awsbatch", "docker"),
    "googlebatch,podman": ("google-batch", "podman"),
    "azurebatch,charliecloud": ("azurebatch", "charliecloud"),
    "k8s,singularity": ("k8s", "singularity"),
    "docker,wave,debug": ("local", "docker"),
    "podman,arm64": ("local", "podman"),
}
"""Every profile once: the executor and the engine that each pair chooses."""

SETTINGS = {
    "wave": ("wave.enabled = true", "wave.freeze = true", "wave.strategy = ['conda', 'container']"),
    "arm64": ("process.arch = 'arm64'", "wave.enabled = true"),
    "debug": ("dumpHashes = true", "cleanup = false", "process.beforeScript = 'echo $HOSTNAME'"),
    "test": ("process.resourceLimits.cpus = 2", "process.resourceLimits.time = '1h'", "params.n_top_genes = 200"),
}
"""What profiles do that choose neither."""


@pytest.fixture(scope="module")
def nextflow(tmp_path_factory: pytest.TempPathFactory) -> Nextflow:
    return Nextflow(set_up("nextflow")["SCCR_NEXTFLOW"], tmp_path_factory.mktemp("home"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def host_run(output: Path, *arguments: object) -> str:
    """Return the checksum of what the command itself makes."""
    subprocess.run([host_sccr(), "impute", "--quiet", *map(str, arguments), output], check=True)
    return sha256(output)


# --- what needs no task


def test_lint_finds_nothing(nextflow: Nextflow, tmp_path: Path) -> None:
    for script in NEXTFLOW.rglob("*.nf"):
        copy = tmp_path / script.relative_to(NEXTFLOW)
        copy.parent.mkdir(parents=True, exist_ok=True)
        # nf-core requires the section; the linter of 25.04 calls it outdated, and stumbles when it has only warnings.
        copy.write_text(script.read_text().replace(WHEN, ""))
    scripts = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.nf"))
    assert len(scripts) >= 12
    run = nextflow(tmp_path, "lint", *scripts)
    assert run.returncode == 0, run.log
    assert f"{len(scripts)} files had no errors" in run.log
    assert "Warn" not in run.log


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("profiles", PROFILES)
def test_every_profile_parses(nextflow: Nextflow, tmp_path: Path, profiles: str, parser: str) -> None:
    run = nextflow(tmp_path, "config", "-flat", "-profile", profiles, nextflow.sources(parser), parser=parser)
    if parser == "v2" and "Plugin with id nf-" in run.log:
        return  # it was read; the strict parser then asks for the cloud's plugin, which cannot be had without a network
    assert run.returncode == 0, run.log
    executor, chosen = PROFILES[profiles]
    assert re.findall(r"^process.executor = '(.+)'", run.log, re.MULTILINE) == (
        [] if executor == "local" else [executor]
    )
    # Whichever engine is chosen, the others are off.
    for engine in ENGINES:
        assert f"{engine}.enabled = {'true' if engine == chosen else 'false'}" in run.log
    # The two parsers print a map differently.
    flat = run.log.replace(
        "process.resourceLimits = [cpus:2, memory:'4 GB', time:'1h']",
        "process.resourceLimits.cpus = 2\nprocess.resourceLimits.time = '1h'",
    )
    for setting in (each for profile in profiles.split(",") for each in SETTINGS.get(profile, ())):
        assert setting in flat.splitlines()


def refused(nextflow: Nextflow, folder: Path, *arguments: object, parser: str = "v1") -> list[str]:
    """Return the lines that a refused run says beyond its greeting; no task may have run."""
    run = nextflow.workflow(folder, *arguments, parser=parser)
    assert run.returncode != 0
    assert "Submitted process" not in run.log
    assert not (folder / "work").exists() or not any((folder / "work").iterdir())
    said = [line.removeprefix("ERROR ~ ") for line in run.log.splitlines() if line.strip()]
    return [line for line in said if not line.startswith(("N E X T", "Launching", " -- Check", "WARN", "Nextflow "))]


@pytest.mark.parametrize("parser", PARSERS)
def test_wrong_parameters_are_named_before_any_task(nextflow: Nextflow, tmp_path: Path, parser: str) -> None:
    wrong = ("--scatter", "maybe", "--alpha", 7, "--beta", "much", "--write", "all", "--target_sum", "mean")
    assert refused(nextflow, tmp_path, "--input", "nowhere.csv", *wrong, parser=parser) == [
        "--target_sum mean: must be median or a number",
        "--alpha 7: must be at most 1",
        "--beta much: must be a number",
        "--write all: must be one of denoised, recovered, both, embedding",
        "--scatter maybe: must be true or false",
        "--input nowhere.csv: no such file",
    ]


SITE = """
params {
    config_profile_description = 'A cluster'
    config_profile_contact     = 'Somebody (@somebody)'
    config_profile_url         = 'https://example.org'
    custom_config_base         = 'https://example.org/configs'
    custom_config_version      = 'master'
    hostnames                  = [cluster: ['.example.org']]
    igenomes_base              = '/genomes'
    igenomes_ignore            = true
    schema_ignore_params       = 'genomes,hostnames'
    project_id                 = 'lab'
    max_memory                 = 2.TB
    max_cpus                   = 1
    max_time                   = '71hours 59minutes'
    queue                      = ''
}
"""
"""What institutions' configuration files set, for all pipelines of a site."""


def test_misspelt_parameters_are_told_and_a_sites_own_are_not(nextflow: Nextflow, tmp_path: Path) -> None:
    (tmp_path / "site.config").write_text(SITE)
    misspelt = ("--kcell", 3, "--k-gene", 3, "--alhpa", 7, "--imputaton", "scfp", "--colour", "red")
    run = nextflow.workflow(tmp_path, "-c", tmp_path / "site.config", *misspelt)
    assert run.returncode != 0
    said = [line for line in run.log.splitlines() if line.startswith("WARN: --")]
    assert said == [
        f"WARN: --{name} is not a parameter and has no effect: did you mean --{meant}?"
        for name, meant in (("kcell", "k_cell"), ("kGene", "k_gene"), ("alhpa", "alpha"), ("imputaton", "imputation"))
    ]
    problems = [line for line in run.log.splitlines() if "--" in line and line not in said and "Check" not in line]
    assert [line.removeprefix("ERROR ~ ") for line in problems] == [
        "--input is missing: give a samplesheet, a CSV file with the columns sample and path"
    ]


@pytest.mark.parametrize("parser", PARSERS)
def test_help_and_version_answer_whatever_else_is_given(nextflow: Nextflow, tmp_path: Path, parser: str) -> None:
    (tmp_path / "site.config").write_text(SITE)
    asked = {"v1": "--help", "v2": "--version"}[parser]
    run = nextflow.workflow(tmp_path, "-c", tmp_path / "site.config", asked, "--alpha", 7, parser=parser)
    assert run.returncode == 0, run.log
    if asked == "--version":
        assert f"sccr-node/sccr-node {__version__}" in run.log.splitlines()
        return
    sections = json.loads((NEXTFLOW / "nextflow_schema.json").read_text())["$defs"].values()
    listed = re.findall(r"^  --(\w+) +\S", run.log, re.MULTILINE)
    assert listed == [name for part in sections for name, body in part["properties"].items() if "hidden" not in body]
    assert not run.results.exists()


def test_a_missing_column(nextflow: Nextflow, tmp_path: Path) -> None:
    sheet = samplesheet(tmp_path, f"first,{FIRST}", header="name,path")
    (line,) = refused(nextflow, tmp_path, "--input", sheet)
    assert line == "samplesheet.csv: column sample is missing (available: name, path)"


def test_wrong_samples(nextflow: Nextflow, tmp_path: Path) -> None:
    # Nextflow's own scripts name files without quotes: a shell would make something else of these.
    names = {"braces": "a{1,2}.h5ad", "dollar": "a$1.h5ad", "brackets": "a[12].h5ad"}
    for name in (*names.values(), "a1.h5ad"):
        shutil.copy(FIRST, tmp_path / name)
    sheet = samplesheet(
        tmp_path,
        f"first,{FIRST},",
        f"first,{SECOND},",
        "lost,no/such/file.h5ad,",
        f"a b,{FIRST},",
        f",{FIRST},",
        f"magic,{FIRST},magic",
        f"perhaps,{FIRST},,perhaps",
        f"{'x' * 101},{FIRST},",
        *(f'{sample},"{name}",' for sample, name in names.items()),
        header="sample,path,imputation,imputed_integration",
    )
    assert refused(nextflow, tmp_path, "--input", sheet) == [
        "samplesheet.csv, sample lost: path no/such/file.h5ad does not exist",
        "samplesheet.csv, sample a b: sample a b must begin with a letter or digit; "
        "only letters, digits and _ . - may follow, up to 100 in all",
        "samplesheet.csv, sample in row 5: sample is missing",
        "samplesheet.csv, sample magic: imputation magic must be one of none, sccr, scfp, scbfp",
        "samplesheet.csv, sample perhaps: imputed_integration perhaps must be true or false",
        f"samplesheet.csv, sample {'x' * 101}: sample {'x' * 101} must begin with a letter or digit; "
        "only letters, digits and _ . - may follow, up to 100 in all",
        "samplesheet.csv, sample braces: path a{1,2}.h5ad contains {1,2}, which Nextflow cannot pass to a task; "
        "rename it, or give a link to it",
        "samplesheet.csv, sample dollar: path a$1.h5ad contains $, which Nextflow cannot pass to a task; "
        "rename it, or give a link to it",
        "samplesheet.csv, sample brackets: path a[12].h5ad is a pattern that also fits a1.h5ad, and Nextflow might "
        "pass that to a task; rename it, or give a link to it",
        "samplesheet.csv, sample first: 2 samples have this name",
    ]


def test_contradictions_between_parameters_and_samples(nextflow: Nextflow, tmp_path: Path) -> None:
    sheet = samplesheet(tmp_path, f"first,{FIRST},scfp", f"second,{SECOND},", header="sample,path,imputation")
    assert refused(nextflow, tmp_path, "--input", sheet, "--alpha", "0.1", "--scatter", "--genes", "lost.txt") == [
        "--genes lost.txt: not top-variance, highly-variable, all, or an existing file"
    ]
    assert refused(nextflow, tmp_path, "--input", sheet, "--alpha", "0.1", "--scatter") == [
        "--alpha requires the imputation sccr: sample first has scfp",
        "--scatter requires a batch_key (in the samplesheet, or --batch_key): no sample has one",
    ]
    batches = ("--batch_key", "batch", "--scatter", "--imputation", "sccr")
    earlier = tmp_path / "results" / "imputed" / "second_imputed.h5ad"
    earlier.parent.mkdir(parents=True)
    (tmp_path / "link.h5ad").symlink_to(shutil.copy(SECOND, earlier))
    # What is not imputed replaces nothing.
    kept = earlier.with_name("third_imputed.h5ad")
    shutil.copy(SECOND, tmp_path / "counts.h5")
    rows = ("second,link.h5ad,", f"third,{shutil.copy(SECOND, kept)},none", "fourth,counts.h5,")
    sheet = samplesheet(tmp_path, *rows, header="sample,path,imputation")
    replaced = f"sample second: its result would replace {earlier}, the input of sample second; give another --outdir, "
    for written in ("recovered", "embedding"):
        arguments = ("--input", sheet, *batches, "--imputed_integration", "--write", written)
        assert refused(nextflow, tmp_path, *arguments) == [
            "sample fourth: --scatter requires .h5ad or .zarr, not counts.h5",
            f"--scatter requires the denoised expression: --write denoised or both, not {written}",
            f"--imputed_integration requires the denoised expression: --write denoised or both, not {written}",
            replaced + "or name the sample otherwise",
        ]
    assert sha256(earlier) == sha256(SECOND)


# --- stub runs


@pytest.mark.parametrize("parser", PARSERS)
def test_a_stub_run_publishes_everything(nextflow: Nextflow, tmp_path: Path, parser: str) -> None:
    arguments = ("-profile", "test", "-stub", "--benchmark", "--scatter", "--imputed_integration")
    # The strict parser of 25.04 shows configuration files no parameter of the command line.
    mode = {"v1": "move", "v2": "copy"}[parser]
    run = nextflow.workflow(tmp_path, *arguments, "--publish_dir_mode", mode, parser=parser)
    assert run.returncode == 0, run.log
    left = {path.name for path in tmp_path.glob("work/*/*/*")}
    assert {"first_imputed.h5ad", "second_imputed.h5ad", "second_imputed_multiqc"} <= left  # other tasks read them
    assert ("second_imputed.html" in left) == ("first_working.h5ad" in left) == (mode == "copy")
    assert run.published == {
        "imputed/first_imputed.h5ad",
        "imputed/first_imputed.provenance.json",
        "imputed/first_working.h5ad",
        "imputed/second_imputed.h5ad",
        "imputed/second_imputed.provenance.json",
        "imputed/second_working.h5ad",
        *(f"imputed/batches/first_batch_{batch}_imputed.provenance.json" for batch in (1, 2)),
        *(f"benchmark/{sample}_benchmark.{kind}" for sample in ("first", "second") for kind in ("tsv", "json")),
        "reports/second_imputed.html",
        "multiqc/second_imputed_multiqc/sccr_mqc.json",
        "pipeline_info/software_versions.yml",
    }
    versions = yaml.safe_load((run.results / "pipeline_info/software_versions.yml").read_text())
    assert versions["SCCR_IMPUTE"] == {"sccr": __version__} == versions["SCCR_GATHER"] == versions["SCCR_BENCHMARK"]
    assert set(versions["Workflow"]) == {"sccr-node/sccr-node", "Nextflow"}
    for kind in ("report", "timeline", "trace"):
        assert any((run.results / "pipeline_info").glob(f"execution_{kind}_*"))
    assert any((run.results / "pipeline_info").glob("pipeline_dag_*.html"))


# --- real runs


def unsuitable(folder: Path) -> Path:
    """Write a valid h5ad whose matrix holds no counts: a negative value."""
    data = anndata.read_h5ad(SECOND)
    matrix = data.X.toarray() if hasattr(data.X, "toarray") else np.array(data.X)
    matrix[3, 5] = -1
    data.X = matrix
    data.write_h5ad(folder / "negative.h5ad")
    return folder / "negative.h5ad"


@pytest.fixture(scope="module")
def with_multiqc(nextflow: Nextflow, tmp_path_factory: pytest.TempPathFactory) -> Nextflow:
    """Nextflow with the real MultiQC on the path."""
    tools = tmp_path_factory.mktemp("bin")
    (tools / "multiqc").write_text(f'#!/bin/sh\nexec {set_up("report")["SCCR_REPORT_PYTHON"]} -m multiqc "$@"\n')
    (tools / "multiqc").chmod(0o755)
    path = f"{tools}:{Path(host_sccr()).parent}:{os.environ['PATH']}"
    return Nextflow(nextflow.command, nextflow.home, {"PATH": path})


@pytest.fixture(scope="module")
def mixed(with_multiqc: Nextflow, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run over good samples and one that the step refuses, scattered where there are batches."""
    folder = tmp_path_factory.mktemp("mixed")
    sheet = samplesheet(
        folder,
        f"bad,{unsuitable(folder)},,,",
        f"first,{FIRST},batch,,true",
        f"second,{SECOND},,scfp,",
        f"third,{SECOND},,none,",
        header="sample,path,batch_key,imputation,imputed_integration",
    )
    return with_multiqc.workflow(folder, "-profile", "test", "--input", sheet, "--scatter", "--multiqc")


def test_one_bad_sample_fails_alone_and_says_why(mixed: Run) -> None:
    assert mixed.returncode != 0
    (line,) = [line for line in mixed.log.splitlines() if "failed with exit status" in line]
    assert "SCCR_IMPUTE (bad) failed with exit status 65: sccr: error:" in line
    assert "negative" in line
    assert mixed.exits("SCCR_IMPUTE (bad)") == ["65"]  # bad data are not tried again
    assert "imputed/second_imputed.h5ad" in mixed.published
    assert "imputed/first_imputed.h5ad" in mixed.published
    assert not [name for name in mixed.published if "bad" in name]
    assert "Traceback" not in mixed.log


def test_the_results_are_the_commands_own_byte_for_byte(mixed: Run, tmp_path: Path) -> None:
    second = host_run(tmp_path / "second.h5ad", "--method", "scfp", "--n-top-genes", 200, SECOND)
    assert sha256(mixed.results / "imputed/second_imputed.h5ad") == second
    record = json.loads((mixed.results / "imputed/second_imputed.provenance.json").read_text())
    assert record["method"] == "scfp"
    assert "</html>" in (mixed.results / "reports/second_imputed.html").read_text()
    assert any((mixed.results / "multiqc/second_imputed_multiqc").iterdir())


def test_scattered_batches_gather_to_the_file_of_one_run(mixed: Run, tmp_path: Path) -> None:
    assert mixed.statuses()["SCCR_IMPUTE_BATCH (first_batch_1)"] == "COMPLETED"
    assert mixed.statuses()["SCCR_IMPUTE_BATCH (first_batch_2)"] == "COMPLETED"
    whole = host_run(tmp_path / "first.h5ad", "--batch-key", "batch", "--n-top-genes", 200, FIRST)
    assert sha256(mixed.results / "imputed/first_imputed.h5ad") == whole


def test_batches_of_a_folder_with_names_in_other_scripts_arrive(nextflow: Nextflow, tmp_path: Path) -> None:
    """Java passes on only the characters of its locale; others become question marks, and their files are lost."""
    data = anndata.read_h5ad(FIRST)
    data.obs["batch"] = [("患者一", "Пациент", "été")[cell % 3] for cell in range(data.n_obs)]
    data.write_zarr(tmp_path / "scripts.zarr")
    sheet = samplesheet(tmp_path, "scripts,scripts.zarr,batch", header="sample,path,batch_key")
    within = replace(nextflow, environment={"LC_ALL": "C"})
    run = within.workflow(tmp_path, "-profile", "test", "--input", sheet, "--scatter")
    assert run.returncode == 0, run.log
    batches = {f"SCCR_IMPUTE_BATCH (scripts_{name})" for name in ("HuanZheYi", "Patsient", "ete")}
    assert {name for name, status in run.statuses().items() if status == "COMPLETED"} >= batches
    options = ("--n-top-genes", "200", "--batch-key", "batch", "--quiet")
    subprocess.run([host_sccr(), "impute", *options, "scripts.zarr", "one.zarr"], cwd=tmp_path, check=True)
    gathered, whole = (
        {path.relative_to(store): path.read_bytes() for path in store.rglob("*") if path.is_file()}
        for store in (run.results / "imputed/scripts_imputed.zarr", tmp_path / "one.zarr")
    )
    assert gathered == whole


def test_the_result_becomes_the_working_matrix_where_asked(mixed: Run) -> None:
    imputed = anndata.read_h5ad(mixed.results / "imputed/first_imputed.h5ad")
    working = anndata.read_h5ad(mixed.results / "imputed/first_working.h5ad")
    dense = [m.toarray() if hasattr(m, "toarray") else m for m in (working.X, imputed.layers["sccr"])]
    np.testing.assert_array_equal(*dense)
    counts = [m.toarray() if hasattr(m, "toarray") else m for m in (working.layers["unimputed"], imputed.X)]
    np.testing.assert_array_equal(*counts)
    assert "sccr" not in working.layers
    assert not (mixed.results / "imputed/second_working.h5ad").exists()


def test_multiqc_gathers_the_samples_the_parameters_and_the_versions(mixed: Run) -> None:
    page = (mixed.results / "multiqc/multiqc_report.html").read_text()
    assert "second" in page
    assert re.search(r"Workflow summary", page) and "<dt>n_top_genes</dt><dd><samp>200</samp></dd>" in page
    assert "<dt>publish_dir_mode</dt>" not in page  # as by default
    sections = [
        page.index(f'href="#{name}"') for name in ("sccr_values", "multiqc_software_versions", "sccr_node_summary")
    ]
    assert sections == sorted(sections)  # what the run was comes last
    versions = (mixed.results / "multiqc/multiqc_report_data/multiqc_software_versions.txt").read_text()
    assert "SCCR_IMPUTE" in versions and __version__ in versions
    assert "multiqc" in yaml.safe_load((mixed.results / "pipeline_info/software_versions.yml").read_text())["MULTIQC"]


def test_a_resumed_run_takes_what_is_done(with_multiqc: Nextflow, mixed: Run) -> None:
    arguments = ("-profile", "test", "--input", mixed.folder / "samplesheet.csv", "--scatter", "--multiqc")
    again = with_multiqc.workflow(mixed.folder, "-resume", *arguments)
    statuses = again.statuses()
    assert statuses.pop("SCCR_IMPUTE (bad)") == "FAILED"
    assert len(statuses) >= 6
    assert set(statuses.values()) == {"CACHED"}


def test_the_strict_parser_runs_it_for_real(nextflow: Nextflow, mixed: Run, tmp_path: Path) -> None:
    run = nextflow.workflow(tmp_path, "-profile", "test", "--report", "false", parser="v2")
    assert run.returncode == 0, run.log
    assert sha256(run.results / "imputed/second_imputed.h5ad") == sha256(mixed.results / "imputed/second_imputed.h5ad")
    assert sha256(run.results / "imputed/first_imputed.h5ad") == sha256(mixed.results / "imputed/first_imputed.h5ad")


def test_tuned_numbers_go_to_every_batch_and_are_published(nextflow: Nextflow, tmp_path: Path) -> None:
    sheet = samplesheet(
        tmp_path,
        f"first,{FIRST},batch,",
        f"second,{SECOND},,",
        f"third,{SECOND},,scfp",
        header="sample,path,batch_key,imputation",
    )
    arguments = ("-profile", "test", "--input", sheet, "--tune", "--scatter", "--tune_seed", 3, "--k_cell", 12)
    run = nextflow.workflow(tmp_path, *arguments)
    assert run.returncode == 0, run.log
    tuned = {f"tuned/{name}_tuned.{kind}" for name in ("first", "second") for kind in ("yaml", "tsv", "json")}
    assert tuned | {"reports/first_tuned.html", "reports/second_tuned.html"} <= run.published
    assert not [name for name in run.published if "third_tuned" in name]
    config = tmp_path / "first.yaml"
    command = [host_sccr(), "tune", FIRST, "--batch-key", "batch", "--n-top-genes", "200", "--seed", "3"]
    subprocess.run([*command, "--k-cell", "12", "--quiet", "-o", config], check=True)
    assert yaml.safe_load((run.results / "tuned/first_tuned.yaml").read_text()) == yaml.safe_load(config.read_text())
    options = ("--config", config, "--batch-key", "batch", "--n-top-genes", 200)
    assert sha256(run.results / "imputed/first_imputed.h5ad") == host_run(tmp_path / "one.h5ad", *options, FIRST)
    again = nextflow.workflow(tmp_path, "-resume", *arguments)
    assert {status for name, status in again.statuses().items() if "SCCR_" in name} == {"CACHED"}


def test_too_little_memory_is_tried_again_with_more(nextflow: Nextflow, tmp_path: Path) -> None:
    limits = tmp_path / "limits.config"
    limits.write_text("process { withName: 'SCCR_IMPUTE' { memory = { 160.MB * (2 ** (task.attempt - 1)) } } }\n")
    sheet = samplesheet(tmp_path, f"second,{SECOND}")
    run = nextflow.workflow(tmp_path, "-c", limits, "-profile", "test", "--input", sheet, "--report", "false")
    assert run.returncode == 0, run.log
    exits = run.exits("SCCR_IMPUTE (second)")
    assert exits[-1] == "0"
    assert exits[:-1] == ["75"] * len(exits[:-1])
    assert 1 <= len(exits[:-1]) <= 3
    assert "imputed/second_imputed.h5ad" in run.published


@pytest.fixture(scope="module")
def one_bad_sample_of_each_kind(nextflow: Nextflow, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in which one sample fails at each step, for a site, with the names that people give to files."""
    folder = tmp_path_factory.mktemp("bad kinds")
    data = folder / "my [data]"
    data.mkdir()
    shutil.copy(FIRST, data / "pbmc[v1] {a}*?.h5ad")
    shutil.copy(SECOND, data / "second_imputed.h5ad")
    unsuitable(data)
    first = anndata.read_h5ad(FIRST)
    empty = first.copy()
    empty.X = empty.X.multiply((empty.obs["batch"] != "batch_1").to_numpy()[:, None]).tocsr()
    empty.write_h5ad(data / "empty_batch.h5ad")
    shutil.copy(FIRST, data / "plain.h5ad")
    taken = first.copy()
    taken.layers["unimputed"] = taken.X
    taken.write_h5ad(data / "taken.h5ad")
    (data / "genes [1].txt").write_text("\n".join(first.var_names[:60]))
    # As a spreadsheet program may save it, with a blank line before all.
    rows = (
        "",
        " ",
        "sample,path,batch_key,imputed_integration",
        "split,my [data]/negative.h5ad,batch,no",
        "part,my [data]/empty_batch.h5ad,batch,F",
        "gather,my [data]/plain.h5ad,batch,0",
        "working,my [data]/taken.h5ad,,T",
        "",
        "first,my [data]/pbmc[v1] {a}*?.h5ad,batch,TRUE",
        "second,my [data]/second_imputed.h5ad,,",
    )
    (data / "sheet [1].csv").write_bytes(("\ufeff" + "\r\n".join(rows)).encode())
    lost = "process { withName: 'SCCR_BENCHMARK' { beforeScript = 'no_such_module load' } }\n"
    # What is wrong with a data set is found before; only another name for the result is left for the last step.
    other = "process { withName: 'SCCR_GATHER' { ext.args = { meta.id == 'gather' ? '--key-added other' : '' } } }\n"
    limits = "process.resourceLimits = [cpus: 1, memory: 4.GB, time: 71.h]\n"
    (folder / "site.config").write_text(SITE + lost + other + limits)
    names = ("--input", data / "sheet [1].csv", "--genes", data / "genes [1].txt")
    options = ("--scatter", "--benchmark", "--report", "false", "--publish_dir_mode", "move")
    return nextflow.workflow(folder, "-c", folder / "site.config", *names, *options)


def test_one_bad_sample_of_each_kind_fails_alone(one_bad_sample_of_each_kind: Run) -> None:
    run = one_bad_sample_of_each_kind
    assert run.returncode != 0
    assert "Exception" not in (run.folder / ".nextflow.log").read_text().replace("ProcessFailedException", ""), run.log
    failed = re.findall(r"ERROR ~ \S+:(\w+ \(\w+\)) failed with exit status 65: sccr: error:", run.log)
    assert sorted(failed) == [
        "SCCR_GATHER (gather)",
        "SCCR_IMPUTE_BATCH (part_batch_1)",
        "SCCR_PROMOTE (working)",
        "SCCR_SPLIT (split)",
    ]
    assert {name for name in run.published if name.endswith(".h5ad")} == {
        "imputed/first_imputed.h5ad",
        "imputed/first_working.h5ad",
        "imputed/second_imputed.h5ad",
        "imputed/working_imputed.h5ad",
    }
    assert "WARN: --" not in run.log


def test_what_the_workflow_itself_reads_is_not_moved_away(one_bad_sample_of_each_kind: Run) -> None:
    run = one_bad_sample_of_each_kind
    kept = {path.name for path in (run.folder / "work").glob("*/*/*.provenance.json")}
    published = {Path(name).name for name in run.published if name.endswith(".provenance.json")}
    assert len(kept) >= 4
    assert kept == published


def test_a_task_that_never_came_to_its_command_says_why(one_bad_sample_of_each_kind: Run) -> None:
    said = [line for line in one_bad_sample_of_each_kind.log.splitlines() if "SCCR_BENCHMARK (first) failed" in line]
    assert len(said) == 1
    assert "no_such_module: command not found" in said[0]


def test_names_with_brackets_and_the_results_own_name(one_bad_sample_of_each_kind: Run, tmp_path: Path) -> None:
    run = one_bad_sample_of_each_kind
    genes = run.folder / "my [data]" / "genes [1].txt"
    second = host_run(tmp_path / "second.h5ad", "--genes", genes, SECOND)
    assert sha256(run.results / "imputed/second_imputed.h5ad") == second
    first = host_run(tmp_path / "first.h5ad", "--genes", genes, "--batch-key", "batch", FIRST)
    assert sha256(run.results / "imputed/first_imputed.h5ad") == first
    working = anndata.read_h5ad(run.results / "imputed/first_working.h5ad")
    imputed = anndata.read_h5ad(tmp_path / "first.h5ad")
    assert (working.X != imputed.layers["sccr"]).nnz == 0


def test_in_containers_of_the_shipped_image(nextflow: Nextflow, podman: Podman, tmp_path: Path) -> None:
    hardened = tmp_path / "container.config"
    # No --tmpfs /tmp: a checkout below /tmp has Nextflow mount that, and podman itself makes one over a read-only root.
    options = "--user 0:0 --network none --read-only --cap-drop all --security-opt no-new-privileges"
    hardened.write_text(
        f"process {{ withName: 'SCCR_.*' {{ container = '{podman.image}' }} }}\npodman.runOptions = '{options}'\n"
    )
    environment = {"CONTAINERS_CONF": podman.environment["CONTAINERS_CONF"]}
    within = Nextflow(nextflow.command, nextflow.home, environment)
    run = within.workflow(tmp_path, "-c", hardened, "-profile", "test,podman", "--imputed_integration", "--scatter")
    assert run.returncode == 0, run.log
    assert {"imputed/first_working.h5ad", "imputed/second_imputed.h5ad", "reports/second_imputed.html"} <= run.published
    assert "podman run" in next((tmp_path / "work").glob("*/*/.command.run")).read_text()
    record = json.loads((run.results / "imputed/second_imputed.provenance.json").read_text())
    assert record["version"] == __version__


def test_in_containers_of_the_shipped_definition(nextflow: Nextflow, apptainer: Apptainer) -> None:
    with folder_for_everybody() as folder:  # the containers' user is not the one who launches here
        sheet = samplesheet(folder, f"second,{shutil.copy(SECOND, folder)}")
        (folder / "container.config").write_text(
            f"process {{ withName: 'SCCR_.*' {{ container = '{apptainer.image}' }} }}\n"
            "process.beforeScript = 'chmod 0777 \"$PWD\"; umask 0000'\n"
            "apptainer.runOptions = '--containall --no-home'\n"
        )
        path = f"{Path(apptainer.command).parent}:{os.environ['PATH']}"
        within = Nextflow(nextflow.command, nextflow.home, {"PATH": path})
        arguments = ("-c", folder / "container.config", "-profile", "test,apptainer", "--input", sheet)
        run = within.workflow(folder, *arguments, "--report", "false")
        assert run.returncode == 0, run.log
        assert "imputed/second_imputed.h5ad" in run.published
        assert "apptainer exec" in next((folder / "work").glob("*/*/.command.run")).read_text()


# --- samples in an object store


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """An S3 server with the samples, one of them as a folder."""
    server = SeaweedFS(Path(set_up("stores")["SCCR_STORES"]), tmp_path_factory.mktemp("s3") / "server")
    server.start()
    try:
        server.put("cohort/first.h5ad", FIRST.read_bytes())
        server.put("cohort/second$.h5ad", SECOND.read_bytes())
        store = tmp_path_factory.mktemp("zarr") / "second.zarr"
        anndata.read_h5ad(SECOND).write_zarr(store)
        for path in (path for path in store.rglob("*") if path.is_file()):
            server.put(f"cohort/second.zarr/{path.relative_to(store)}", path.read_bytes())
        yield server
    finally:
        server.kill()


def in_reach_of(nextflow: Nextflow, server: SeaweedFS, secret: str = "testsecret") -> Nextflow:
    """Nextflow with the server's credentials in the environment, and no others."""
    found = {**server.environment(secret=secret), "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    return replace(nextflow, environment={**nextflow.environment, **found})


def test_samples_in_a_store_give_what_local_ones_give(nextflow: Nextflow, s3: SeaweedFS, tmp_path: Path) -> None:
    sheet = samplesheet(
        tmp_path,
        f"first,{s3.address('cohort/first.h5ad')},batch,true",
        f"second,{s3.address('cohort/second$.h5ad')},,",
        f"folder,{s3.address('cohort/second.zarr')},,",
        f"here,{SECOND},,",
        f"lost,{s3.address('cohort/lost.h5ad')},,",
        header="sample,path,batch_key,imputed_integration",
    )
    arguments = ("-profile", "test", "--input", sheet, "--fetch", "--scatter", "--report", "false")
    run = in_reach_of(nextflow, s3).workflow(tmp_path, *arguments)
    assert run.returncode != 0
    (line,) = [line for line in run.log.splitlines() if "failed with exit status" in line]
    assert "FETCH (lost) failed with exit status 66: sccr: error: cannot read s3://bucket/cohort/lost.h5ad" in line
    assert "testsecret" not in run.log
    second = host_run(tmp_path / "second.h5ad", "--n-top-genes", 200, SECOND)
    assert sha256(run.results / "imputed/second_imputed.h5ad") == second
    assert sha256(run.results / "imputed/here_imputed.h5ad") == second
    first = host_run(tmp_path / "first.h5ad", "--n-top-genes", 200, "--batch-key", "batch", FIRST)
    assert sha256(run.results / "imputed/first_imputed.h5ad") == first
    assert "imputed/first_working.h5ad" in run.published
    folder = anndata.read_zarr(run.results / "imputed/folder_imputed.zarr")
    imputed = anndata.read_h5ad(tmp_path / "second.h5ad")
    layers = [
        layer.toarray() if hasattr(layer, "toarray") else layer
        for layer in (folder.layers["sccr"], imputed.layers["sccr"])
    ]
    np.testing.assert_array_equal(*layers)
    assert not [name for name in run.published if "lost" in name]
    again = in_reach_of(nextflow, s3).workflow(tmp_path, "-resume", *arguments)
    statuses = again.statuses()
    assert statuses.pop("FETCH (lost)") == "FAILED"
    assert set(statuses.values()) == {"CACHED"}


def test_samples_that_may_not_be_read_fail_before_any_imputation(
    nextflow: Nextflow, s3: SeaweedFS, tmp_path: Path
) -> None:
    sheet = samplesheet(tmp_path, f"first,{s3.address('cohort/first.h5ad')}")
    run = in_reach_of(nextflow, s3, secret="wrong").workflow(tmp_path, "--input", sheet, "--fetch")
    assert run.returncode != 0
    assert re.search(r"FETCH \(first\) failed with exit status 66: sccr: error: cannot read s3://", run.log)
    assert set(run.statuses()) == {"FETCH (first)"}
    assert not (run.results / "imputed").exists()


@pytest.mark.parametrize("parser", PARSERS)
def test_addresses_without_the_plugin_and_without_fetch(nextflow: Nextflow, tmp_path: Path, parser: str) -> None:
    sheet = samplesheet(tmp_path, "first,s3://bucket/first.h5ad", f"second,{SECOND}")
    said = refused(nextflow, tmp_path, "--input", sheet, parser=parser)
    # Nextflow itself says before that it looks for its plugin.
    (line,) = [line for line in said if line.startswith("samplesheet.csv")]
    assert line.startswith("samplesheet.csv, sample first: path s3://bucket/first.h5ad cannot be read by Nextflow (")
    assert line.endswith("); with --fetch, sccr reads it")


def test_a_stub_run_fetches_nothing(nextflow: Nextflow, tmp_path: Path) -> None:
    sheet = samplesheet(tmp_path, "first,s3://bucket/a.h5ad", "second,gs://bucket/b.zarr", "third,https://host/c?key=1")
    run = nextflow.workflow(tmp_path, "-profile", "test", "--input", sheet, "--fetch", "-stub", parser="v2")
    assert run.returncode == 0, run.log
    assert {f"imputed/{name}_imputed.{kind}" for name, kind in (("first", "h5ad"), ("third", "h5ad"))} <= run.published
    assert {path.name for path in tmp_path.glob("work/*/*/fetched/*")} == {"first.h5ad", "second.zarr", "third"}


# --- the modules by themselves: the assertions of their nf-test files


MODULES_ALONE = """
include { SCCR_TUNE      } from '%(modules)s/tune'
include { SCCR_IMPUTE    } from '%(modules)s/impute'
include { SCCR_PROMOTE   } from '%(modules)s/promote'
include { SCCR_BENCHMARK } from '%(modules)s/benchmark'

workflow {
    data = file(params.data)
    SCCR_TUNE([[id: 'test'], data, []])
    SCCR_IMPUTE([[id: 'test'], data, [], []], params.with_report)
    SCCR_PROMOTE(SCCR_IMPUTE.out.anndata)
    SCCR_BENCHMARK([[id: 'test'], data])
    SCCR_IMPUTE.out.versions_sccr
        .mix(SCCR_TUNE.out.versions_sccr, SCCR_PROMOTE.out.versions_sccr, SCCR_BENCHMARK.out.versions_sccr)
        .view { version -> "versions ${version}" }
    SCCR_IMPUTE.out.anndata
        .mix(SCCR_IMPUTE.out.provenance, SCCR_IMPUTE.out.report, SCCR_IMPUTE.out.multiqc)
        .mix(SCCR_TUNE.out.config, SCCR_TUNE.out.table, SCCR_TUNE.out.json, SCCR_TUNE.out.report)
        .mix(SCCR_PROMOTE.out.anndata, SCCR_BENCHMARK.out.tsv, SCCR_BENCHMARK.out.json)
        .view { meta, path -> "output ${meta.id} ${path}" }
}
"""


MODULES_CONFIG = """
params.with_report = true
process {
    cpus          = 1
    memory        = 2.GB
    errorStrategy = 'ignore'
    withName: 'SCCR_TUNE|SCCR_IMPUTE' { ext.args = '--n-top-genes 100 --batch-key batch' }
    withName: 'SCCR_PROMOTE'          { ext.args = '--former counts' }
    withName: 'SCCR_BENCHMARK'        { ext.args = '--n-top-genes 100 --methods none,sccr --rates 0.4 --seeds 0' }
}
workflow.failOnIgnore = true
"""


def modules_alone(nextflow: Nextflow, folder: Path, data: Path, *arguments: object) -> tuple[Run, dict[str, Path]]:
    (folder / "main.nf").write_text(MODULES_ALONE % {"modules": NEXTFLOW / "modules" / "sccr"})
    (folder / "nextflow.config").write_text(MODULES_CONFIG)
    run = nextflow(folder, "run", "main.nf", "--data", data, *arguments)
    found = (Path(path) for path in re.findall(r"^output test (\S+)$", run.log, re.MULTILINE))
    return run, {path.name: path for path in found}


NAMES = {
    *(f"test_tuned.{kind}" for kind in ("yaml", "tsv", "json", "html")),
    "test_imputed.h5ad",
    "test_imputed.provenance.json",
    "test_imputed.html",
    "test_imputed_multiqc",
    "test_working.h5ad",
    "test_benchmark.tsv",
    "test_benchmark.json",
}


def test_the_modules_alone(nextflow: Nextflow, tmp_path: Path) -> None:
    # The input may have the name of the output.
    run, outputs = modules_alone(nextflow, tmp_path, Path(shutil.copy(FIRST, tmp_path / "test_imputed.h5ad")))
    assert run.returncode == 0, run.log
    assert set(outputs) == NAMES
    keys = anndata.read_h5ad(outputs["test_imputed.h5ad"])
    assert "sccr" in keys.layers and "X_sccr" in keys.obsm
    assert json.loads(outputs["test_imputed.provenance.json"].read_text())["method"] == "sccr"
    assert "</html>" in outputs["test_imputed.html"].read_text()
    assert any(outputs["test_imputed_multiqc"].iterdir())
    assert set(anndata.read_h5ad(outputs["test_working.h5ad"]).layers) == set(keys.layers) - {"sccr"} | {"counts"}
    table = outputs["test_benchmark.tsv"].read_text().splitlines()
    assert len(table) > 2 and any("sccr" in line for line in table)
    assert json.loads(outputs["test_benchmark.json"].read_text())
    for process in ("SCCR_TUNE", "SCCR_IMPUTE", "SCCR_PROMOTE", "SCCR_BENCHMARK"):
        assert f"versions [{process}, sccr, {__version__}]" in run.log


def test_the_modules_on_a_folder_without_a_report(nextflow: Nextflow, tmp_path: Path) -> None:
    run, outputs = modules_alone(nextflow, tmp_path, TEST_DATA / "third.zarr", "--with_report=false")
    assert run.returncode == 0, run.log
    made = NAMES - {"test_imputed.html", "test_imputed_multiqc"}
    assert set(outputs) == {name.replace(".h5ad", ".zarr") for name in made}
    assert "sccr" in anndata.read_zarr(outputs["test_imputed.zarr"]).layers
    assert "counts" in anndata.read_zarr(outputs["test_working.zarr"]).layers


@pytest.mark.parametrize("with_report", ["true", "false"])
def test_the_modules_stubs(nextflow: Nextflow, tmp_path: Path, with_report: str) -> None:
    run, outputs = modules_alone(nextflow, tmp_path, FIRST, "-stub", f"--with_report={with_report}")
    assert run.returncode == 0, run.log
    assert set(outputs) == NAMES - ({"test_imputed.html", "test_imputed_multiqc"} if with_report == "false" else set())
    for process in ("SCCR_TUNE", "SCCR_IMPUTE", "SCCR_PROMOTE", "SCCR_BENCHMARK"):
        assert f"versions [{process}, sccr, {__version__}]" in run.log


def test_the_modules_fail_on_what_is_not_anndata(nextflow: Nextflow, tmp_path: Path) -> None:
    run, outputs = modules_alone(nextflow, tmp_path, BAD)
    assert run.returncode != 0
    assert run.log.count("terminated with an error exit status (65)") == 3
    assert not outputs
    assert not list(tmp_path.glob("work/*/*/test_*"))


SUBWORKFLOW_ALONE = """
include { H5AD_IMPUTE_SCCR } from '%s/subworkflows/local/h5ad_impute_sccr'

workflow {
    samples = channel.of(
        [[id: 'first', batch_col: 'batch'], file(params.first)],
        [[id: 'second', imputation: 'none'], file(params.second)],
        [[id: 'third', imputation: false], file(params.second)],
        [[id: 'fourth', imputation: true], file(params.second)]
    )
    H5AD_IMPUTE_SCCR(samples, 'scfp', false, [], false, false, false)
    H5AD_IMPUTE_SCCR.out.anndata.view { meta, path -> "sample ${meta} ${path.name}" }
    H5AD_IMPUTE_SCCR.out.imputed.view { meta, path -> "imputed ${meta.id} ${path.name}" }
}
"""


@pytest.mark.parametrize("parser", PARSERS)
def test_the_subworkflow_alone(nextflow: Nextflow, tmp_path: Path, parser: str) -> None:
    (tmp_path / "main.nf").write_text(SUBWORKFLOW_ALONE % NEXTFLOW)
    run = nextflow(tmp_path, "run", "main.nf", "-stub", "--first", FIRST, "--second", SECOND, parser=parser)
    assert run.returncode == 0, run.log
    said = {line for line in run.log.splitlines() if line.startswith(("sample", "imputed"))}
    # Callers get their meta back as they gave it.
    assert said == {
        "sample [id:first, batch_col:batch] first_imputed.h5ad",
        "sample [id:second, imputation:none] second.h5ad",
        "sample [id:third, imputation:false] second.h5ad",
        "sample [id:fourth, imputation:true] fourth_imputed.h5ad",
        "imputed first first_imputed.h5ad",
        "imputed fourth fourth_imputed.h5ad",
    }


INTEGRATE = """
%(include)s

workflow INTEGRATE {
    take:
    ch_h5ad // channel: [ merged, h5ad ]
    methods // list of string

    main:
    ch_integrations = channel.empty()

%(lines)s

    emit:
    integrations = ch_integrations
}

workflow {
    INTEGRATE(channel.of([[id: 'merged'], file(params.first)]), ['scvi', 'sccr'])
    INTEGRATE.out.integrations.view { meta, path -> "integration ${meta.integration} ${path}" }
}
"""
"""What nf-core/scdownstream has around the lines of docs/nextflow.md, with its names."""


def test_after_a_merge_as_in_scdownstream(nextflow: Nextflow, tmp_path: Path) -> None:
    """One more embedding of the merged cells, counts untouched."""
    page = (REPOSITORY / "docs" / "nextflow.md").read_text()
    patch, config = re.findall(
        r"^```groovy\n(.*?)^```", page.split("### nf-core/scdownstream")[1], re.DOTALL | re.MULTILINE
    )[:2]
    include, lines = patch.split("\n\n")
    assert len([*include.splitlines(), *lines.splitlines()]) == 5
    there = str(NEXTFLOW / "subworkflows" / "local" / "h5ad_impute_sccr")
    script = INTEGRATE % {"include": include.replace("../h5ad_impute_sccr", there), "lines": lines}
    (tmp_path / "main.nf").write_text(script)
    parameters = "params { outdir = 'results'; publish_dir_mode = 'copy' }\n"
    (tmp_path / "nextflow.config").write_text(f"{parameters}process {{\n    cpus = 1\n    memory = 2.GB\n{config}}}\n")
    run = nextflow(tmp_path, "run", "main.nf", "--first", FIRST)
    assert run.returncode == 0, run.log
    (path,) = re.findall(r"^integration sccr (\S+)$", run.log, re.MULTILINE)
    made, before = anndata.read_h5ad(path), anndata.read_h5ad(FIRST)
    assert {"X_emb"} <= set(made.obsm)
    assert made.uns["emb"]["params"]["batch_key"] == "batch"
    assert (made.X != before.X).nnz == 0
    published = [each.name for each in (tmp_path / "results").rglob("*") if each.is_file()]
    assert published == [Path(path).name]
    assert "emb" in anndata.read_h5ad(tmp_path / "results" / "imputation" / published[0]).layers


ANOTHER_METHOD = """
include { H5AD_IMPUTE_SCCR } from '%s/subworkflows/local/h5ad_impute_sccr'

workflow {
    H5AD_IMPUTE_SCCR(channel.of([[id: 'merged'], file(params.first)]), 'scfp', false, [], false, false, false)
}
"""


def test_a_method_that_the_configuration_does_not_hand_on(nextflow: Nextflow, tmp_path: Path) -> None:
    (tmp_path / "main.nf").write_text(ANOTHER_METHOD % NEXTFLOW)
    (tmp_path / "nextflow.config").write_text("process { cpus = 1; memory = 2.GB; ext.args = '--n-top-genes 50' }\n")
    run = nextflow(tmp_path, "run", "main.nf", "--first", FIRST)
    assert run.returncode != 0
    assert "merged was to be imputed by scfp, but was by sccr: add --method ${meta.sccr_method}" in run.log


# --- what people paste


def test_the_example_with_scanpy(nextflow: Nextflow, tmp_path: Path) -> None:
    run = nextflow(tmp_path, "run", NEXTFLOW / "examples" / "scanpy", "--input", FIRST)
    assert run.returncode == 0, run.log
    clustered = anndata.read_h5ad(run.results / "first_clustered.h5ad")
    assert {"X_sccr", "X_umap"} <= set(clustered.obsm)
    assert clustered.uns["neighbors"]["params"]["use_rep"] == "X_sccr"
    assert clustered.obs["leiden"].nunique() > 1


# --- nf-core


@pytest.fixture(scope="module")
def as_submitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of a repository like nf-core/modules, with modules and subworkflows where a submission puts them."""
    home = tmp_path_factory.mktemp("nf-core") / "modules"
    shutil.copytree(REPOSITORY / "tests" / "platforms" / "nf-core", home)
    shutil.copytree(NEXTFLOW / "modules" / "sccr", home / "modules" / "nf-core" / "sccr")
    for subworkflow in (NEXTFLOW / "subworkflows" / "local").glob("h5ad_*"):
        script = shutil.copytree(subworkflow, home / "subworkflows" / "nf-core" / subworkflow.name) / "main.nf"
        text = re.sub(r"'(\.\./\.\./\.\./modules)/(sccr/\w+)'", r"'\1/nf-core/\2/main'", script.read_text())
        script.write_text(re.sub(r"'(\.\./h5ad_\w+)'", r"'\1/main'", text))
    (home / "tests" / "config").mkdir(parents=True)
    engines = "profiles { docker { docker.enabled = true }\n singularity { singularity.enabled = true } }\n"
    (home / "tests" / "config" / "nextflow.config").write_text("params { outdir = 'results' }\n" + engines)
    (home / ".nf-core.yml").write_text("repository_type: modules\norg_path: nf-core\n")
    git = ["git", "-c", "user.email=t@example.org", "-c", "user.name=t"]
    for command in (["init", "-q", "-b", "master"], ["add", "-A"], ["commit", "-q", "-m", "modules"]):
        subprocess.run([*git, *command], cwd=home, check=True)
    bare, clone = home.with_name("modules.git"), home.with_name("clone")
    subprocess.run(["git", "clone", "-q", "--bare", home, bare], check=True)
    subprocess.run(["git", "clone", "-q", bare, clone], check=True)
    return clone


def nf_core(nextflow: Nextflow, folder: Path, *arguments: object) -> str:
    """Return what nf-core's tools say, which must find nothing that fails."""
    tools = f"{Path(nextflow.command).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": tools, "NXF_HOME": str(nextflow.home), "NXF_OFFLINE": "true", "COLUMNS": "200"}
    done = subprocess.run(
        [set_up("nfcore_lint")["SCCR_NFCORE"], *map(str, arguments)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    sys.stdout.write(done.stdout)
    assert done.returncode == 0
    return done.stdout


def lint_of(nextflow: Nextflow, clone: Path, kind: str) -> tuple[str, int]:
    """Return what the linter says of all modules or subworkflows, and how many warnings it counts."""
    said = nf_core(nextflow, clone, kind, "--git-remote", clone, "--branch", "master", "lint", "--all")
    assert re.search(r"0 Tests? Failed", said)
    warnings = re.search(r"(\d+) Test Warnings?", said)
    passed = re.search(r"(\d+) Tests? Passed", said)
    assert warnings is not None and passed is not None and int(passed[1]) > 20
    return said, int(warnings[1])


def test_nf_core_finds_nothing_to_ask_for_in_the_modules(nextflow: Nextflow, as_submitted: Path) -> None:
    said, warnings = lint_of(nextflow, as_submitted, "modules")
    # docs/nextflow.md explains the one warning: the package is not published before the first release.
    assert warnings == said.count("bioconda_version") == len(list((NEXTFLOW / "modules" / "sccr").iterdir()))


def test_nf_core_finds_nothing_to_ask_for_in_the_subworkflows(nextflow: Nextflow, as_submitted: Path) -> None:
    _, warnings = lint_of(nextflow, as_submitted, "subworkflows")
    assert warnings == 0


def test_nf_core_accepts_the_schema_of_the_parameters(nextflow: Nextflow) -> None:
    said = nf_core(nextflow, NEXTFLOW, "pipelines", "schema", "lint", NEXTFLOW / "nextflow_schema.json")
    assert "Pipeline schema looks valid" in said
