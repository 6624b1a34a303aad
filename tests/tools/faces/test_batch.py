"""The job definitions: what each provider does with each exit code, and what a job may do."""

import fnmatch
import json
import re
import subprocess
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import yaml

from sccr_node import __version__
from sccr_node.__main__ import main
from sccr_node.contract.impute import ImputeParameters
from sccr_node.errors import InputMissing, InputProblem, NotEnoughResources, OutputProblem, SccrError, UsageProblem
from sccr_node.runtime import signals
from sccr_node.storage.places.address import Address, is_remote
from sccr_node.storage.places.bucket import ANSWER_SECONDS_OF_A_STORE
from sccr_node.storage.places.transfer import WAITS
from tests.support import REPOSITORY
from tools.faces import batch

FOR_GOOD = [2, 65, 66, 70, 73]
AGAIN = [75, 129, 130, 137, 143]


@pytest.fixture(params=["", batch.STORE], ids=["disk", "store"])
def text(request):
    """Return the text of a definition by its name: of the one for a shared disk, or of that for an object store."""

    def texts(name):
        stem, suffix = name.split(".")
        return (REPOSITORY / "containers" / "batch" / f"{stem}{request.param}.{suffix}").read_text()

    return texts


@pytest.fixture
def read(text):
    """Return a definition by its name."""
    return lambda name: json.loads(text(name)) if name.endswith(".json") else yaml.safe_load(text(name))


@pytest.mark.parametrize("path", batch.derived_texts())
def test_the_checked_in_file_is_what_make_faces_writes(path):
    assert (REPOSITORY / path).read_text(encoding="utf-8") == batch.derived_texts()[path]


def test_exit_codes_are_those_of_the_program():
    assert batch.for_good() == FOR_GOOD and batch.worth_another_attempt() == AGAIN
    problems = (UsageProblem, InputProblem, InputMissing, SccrError, OutputProblem)
    assert sorted(problem.exit_code for problem in problems) == FOR_GOOD
    assert {NotEnoughResources.exit_code, *(signals.Interrupted(number).exit_code for number in signals.ENDING)} < {
        *AGAIN
    }
    # The table of the documentation says the same.
    page = (REPOSITORY / "docs" / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d, ]+) \| [^|]+ \| ([^|]*) \|$", page, re.MULTILINE)
    told = {int(code): retry.strip() for codes, retry in rows for code in codes.split(",")}
    assert {code for code, retry in told.items() if retry == "no"} == set(FOR_GOOD)
    assert {code for code, retry in told.items() if retry not in ("", "no")} == set(AGAIN) - {137}
    # That of batch, too; a code that stands for several failures names all of them.
    of_batch = (REPOSITORY / "docs" / "batch.md").read_text(encoding="utf-8")
    (passing,) = re.findall(r"^\| 75 \| .*$", page, re.MULTILINE)
    assert passing in of_batch and all(what in passing for what in ("memory", "disk", "file system", "store"))


def test_how_long_a_store_is_waited_for_is_what_the_docs_say():
    page = " ".join((REPOSITORY / "docs" / "reliability.md").read_text(encoding="utf-8").split())
    silent = (len(WAITS) + 1) * ANSWER_SECONDS_OF_A_STORE + sum(WAITS)
    assert (len(WAITS) + 1, sum(WAITS), ANSWER_SECONDS_OF_A_STORE, round(silent / 60, 1)) == (6, 31, 60, 6.5)
    assert "after six attempts for each stage: half a minute if it refuses, six and a half minutes if it" in page


def aws_action(strategy, exit_code, status=""):
    """Return what AWS Batch does: the first rule all of whose conditions match; without one, it tries again."""
    for rule in strategy["evaluateOnExit"]:
        told = {"onExitCode": str(exit_code), "onStatusReason": status, "onReason": "anything"}
        if all(fnmatch.fnmatchcase(told[name], rule[name]) for name in told if name in rule):
            return rule["action"]
    return "RETRY"


def test_aws_tries_again_what_is_worth_it(read):
    strategy = read("aws.json")["retryStrategy"]
    assert 1 <= strategy["attempts"] <= 10 and len(strategy["evaluateOnExit"]) <= 5
    for rule in strategy["evaluateOnExit"]:
        assert rule["action"] in ("RETRY", "EXIT")
        assert re.fullmatch(r"\d+\*?", rule.get("onExitCode", "0"))
    for code in [*FOR_GOOD, 1, 126, 127]:
        assert aws_action(strategy, code) == "EXIT", code
    for code in (75, 137, 143):
        assert aws_action(strategy, code) == "RETRY", code
    # A machine that is gone has no exit code.
    assert aws_action(strategy, "", "Host EC2 (instance i-0123) terminated.") == "RETRY"
    name = read("aws.json")["jobDefinitionName"]
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", name) and __version__.replace(".", "_") in name


def test_google_tries_again_what_is_listed(read):
    (group,) = read("google.json")["taskGroups"]
    spec = group["taskSpec"]
    (policy,) = spec["lifecyclePolicies"]
    assert policy["action"] == "RETRY_TASK"  # and what is not listed fails
    listed = policy["actionCondition"]["exitCodes"]
    assert set(AGAIN) < set(listed) and not set(listed) & {*FOR_GOOD, 1, 126, 127, 50005}
    assert 0 <= spec["maxRetryCount"] <= 10


def test_azure_has_a_task_per_row_and_names_what_fails_for_good(read):
    tasks = read("azure.json")
    assert [task["id"] for task in tasks] == ["row-0", "row-1", "row-2", "row-3"]
    for row, task in enumerate(tasks):
        assert task["commandLine"].endswith(f" --index {row}")
        assert [each["code"] for each in task["exitConditions"]["exitCodes"]] == FOR_GOOD


ACTIONS = {"FailJob", "FailIndex", "Ignore", "Count"}


def faults_of(job):
    """Return what Kubernetes would refuse although its schema allows it."""
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    rules = spec["podFailurePolicy"]["rules"]
    found = []
    if pod["restartPolicy"] != "Never":
        found.append("podFailurePolicy requires restartPolicy Never")
    if len(rules) > 20:
        found.append("more than 20 rules")
    for rule in rules:
        if rule["action"] not in ACTIONS:
            found.append(f"action {rule['action']}")
        if ("onExitCodes" in rule) == ("onPodConditions" in rule):
            found.append("a rule has one of onExitCodes and onPodConditions")
        codes = rule.get("onExitCodes")
        if codes:
            if codes["operator"] not in ("In", "NotIn"):
                found.append(f"operator {codes['operator']}")
            if codes["operator"] == "In" and 0 in codes["values"]:
                found.append("0 with In")
            if codes["values"] != sorted(set(codes["values"])) or not 1 <= len(codes["values"]) <= 255:
                found.append("values are not sorted, or too many")
            if codes.get("containerName") not in {None, *(each["name"] for each in pod["containers"])}:
                found.append("no such container")
        per_index = "backoffLimitPerIndex" in spec and spec.get("completionMode") == "Indexed"
        if rule["action"] == "FailIndex" and not per_index:
            found.append("FailIndex requires backoffLimitPerIndex and Indexed")
    if spec.get("maxFailedIndexes", 0) > spec["completions"] or spec["completions"] > 100_000:
        found.append("too many indexes")
    return found


def rows_that_are_run(job, outcomes):
    """Return how many rows a Job comes to, one after the other, with the seconds that each takes and its exit code."""
    spec, seconds, failed = job["spec"], 0, 0
    for row, (took, exit_code) in enumerate(outcomes):
        seconds += min(took, spec["template"]["spec"].get("activeDeadlineSeconds", took))
        if seconds > spec.get("activeDeadlineSeconds", seconds):
            return row
        failed += exit_code != 0
        if failed > spec.get("maxFailedIndexes", failed):
            return row + 1
    return len(outcomes)


def kubernetes_action(job, exit_code, *, disrupted=False):
    """Return what happens to a failed pod: the first rule that matches, or else it counts."""
    for rule in job["spec"]["podFailurePolicy"]["rules"]:
        if "onPodConditions" in rule:
            matches = disrupted and {"type": "DisruptionTarget", "status": "True"} in rule["onPodConditions"]
        else:
            codes = rule["onExitCodes"]
            matches = (exit_code in codes["values"]) == (codes["operator"] == "In")
        if matches:
            return rule["action"]
    return "Count"


def test_kubernetes_gives_up_a_row_but_not_the_job(read):
    job = read("kubernetes.yaml")
    assert faults_of(job) == []
    for code in FOR_GOOD:
        assert kubernetes_action(job, code) == "FailIndex"
    for code in AGAIN:
        assert kubernetes_action(job, code) == "Count"
        assert kubernetes_action(job, code, disrupted=True) == "Ignore"


@pytest.mark.parametrize("n_rows", [2, 100])
def test_nothing_but_the_number_of_rows_depends_on_the_number_of_rows(read, n_rows):
    job = read("kubernetes.yaml")
    job["spec"].update(completions=n_rows, parallelism=1)
    assert faults_of(job) == []
    # However many rows there are, each has its time, and none ends the others.
    limit = job["spec"]["template"]["spec"]["activeDeadlineSeconds"]
    assert limit == batch.resources()[1]
    assert rows_that_are_run(job, [(limit, 66)] * n_rows) == n_rows
    # A pod whose time is over is ended by SIGTERM, or else SIGKILL; it counts, and its row is tried again.
    assert {kubernetes_action(job, code) for code in (143, 137)} == {"Count"}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda job: job["spec"]["template"]["spec"].update(restartPolicy="OnFailure"), "restartPolicy Never"),
        (lambda job: job["spec"].pop("backoffLimitPerIndex"), "FailIndex requires"),
        (lambda job: job["spec"].update(completionMode="NonIndexed"), "FailIndex requires"),
        (lambda job: job["spec"]["podFailurePolicy"]["rules"][0].update(action="Explode"), "action Explode"),
        (lambda job: job["spec"]["podFailurePolicy"]["rules"][1]["onExitCodes"]["values"].insert(0, 0), "0 with In"),
        (lambda job: job["spec"]["podFailurePolicy"]["rules"][1]["onExitCodes"].update(containerName="x"), "no such"),
    ],
)
def test_our_own_check_of_kubernetes_sees_faults(read, change, fault):
    job = read("kubernetes.yaml")
    change(job)
    assert any(fault in each for each in faults_of(job))


def test_all_jobs_run_one_command_without_a_shell(read, text):
    google = read("google.json")["taskGroups"][0]["taskSpec"]["runnables"][0]["container"]
    container = read("kubernetes.yaml")["spec"]["template"]["spec"]["containers"][0]
    script = text("slurm.sh")
    commands = [
        read("aws.json")["containerProperties"]["command"],
        [google["entrypoint"], *google["commands"]],
        *(task["commandLine"].split(" ")[:-2] for task in read("azure.json")),
        container["command"],
        next(line for line in script.splitlines() if line.startswith("  sccr ")).removesuffix(" \\").split(),
    ]
    for words in commands:
        assert words[:3] == ["sccr", "batch", "--manifest"]
        flags = {word for word in words if word.startswith("--")}
        assert {"--work-dir", "--checkpoint-dir", "--threads"} < flags
        names = {"--" + name.replace("_", "-") for name in ImputeParameters.model_fields}
        assert flags <= names | {"--manifest"}
    # The shell of the script is replaced by what it starts.
    assert "\nexec srun " in script and not re.search(r"^(?!exec|  |#|set|:|for).+", script, re.MULTILINE)


def test_a_job_may_do_no_more_than_it_must(read):
    aws = read("aws.json")["containerProperties"]
    assert aws["readonlyRootFilesystem"] and not aws["privileged"] and aws["user"] == "1000:1000"
    assert {each["name"] for each in aws.get("environment", ())} <= {"AWS_DEFAULT_REGION"} and "secrets" not in aws
    google = read("google.json")["taskGroups"][0]["taskSpec"]["runnables"][0]["container"]["options"]
    for options in (google, *(task["containerSettings"]["containerRunOptions"] for task in read("azure.json"))):
        for wanted in ("--read-only", "--cap-drop all", "--security-opt no-new-privileges", "--user 1000:1000"):
            assert wanted in options
    for task in read("azure.json"):
        assert task["userIdentity"]["autoUser"]["elevationLevel"] == "nonadmin"
    pod = read("kubernetes.yaml")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    for path, text in batch.derived_texts().items():
        assert not re.search(r"(?i)secret|password|access.?key|credential", text), path


def placed(path):
    """Return the manifest, the checkpoints and the scratch that a definition names."""
    words = re.findall(r"[^\s\"',]+", batch.derived_texts()[path].replace("\n", " ").replace(" - ", " "))
    return [words[words.index(flag) + 1] for flag in ("--manifest", "--checkpoint-dir", "--work-dir")]


@pytest.mark.parametrize(
    ("name", "store"),
    [
        ("aws.json", "s3://BUCKET/FOLDER"),
        ("google.json", "gs://BUCKET/FOLDER"),
        ("azure.json", "az://CONTAINER/FOLDER"),
        ("kubernetes.yaml", "s3://BUCKET/FOLDER"),
        ("slurm.sh", "s3://BUCKET/FOLDER"),
    ],
)
def test_files_are_on_the_disk_or_in_the_store_of_the_provider(name, store):
    stem, suffix = name.split(".")
    manifest, checkpoints, scratch = placed(f"containers/batch/{stem}.{suffix}")
    assert (manifest, checkpoints) == ("/data/samples.csv", "/data/checkpoints")
    manifest, checkpoints, scratch = placed(f"containers/batch/{stem}-store.{suffix}")
    assert (manifest, checkpoints) == (f"{store}/samples.csv", f"{store}/checkpoints")
    assert Address.of(manifest).can_be_written and not is_remote(scratch)


def test_what_reaches_a_store_has_a_network_an_identity_and_scratch_and_no_disk():
    def read(name):
        return yaml.safe_load(batch.derived_texts()[f"containers/batch/{name}"])

    aws = read("aws-store.json")["containerProperties"]
    assert aws["jobRoleArn"].startswith("arn:aws:iam::") and "FILE_SYSTEM_ID" not in str(aws)
    assert [mount["containerPath"] for mount in aws["mountPoints"]] == ["/tmp"] and "linuxParameters" not in aws
    google, tasks = read("google-store.json"), read("azure-store.json")
    (group,) = google["taskGroups"]
    container = group["taskSpec"]["runnables"][0]["container"]
    assert "volumes" not in group["taskSpec"] and "volumes" not in container
    assert google["allocationPolicy"]["serviceAccount"] == {"email": "SERVICE_ACCOUNT"}
    for options in (container["options"], *(task["containerSettings"]["containerRunOptions"] for task in tasks)):
        assert (
            "--network" not in options and "--mount type=volume,destination=/tmp" in options and "/data" not in options
        )
    for task in tasks:
        assert {each["name"] for each in task["environmentSettings"]} == {"AZURE_STORAGE_ACCOUNT", "AZURE_CLIENT_ID"}
    pod = read("kubernetes-store.yaml")["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "sccr" and all("emptyDir" in volume for volume in pod["volumes"])
    for name in ("google.json", "azure.json"):  # and what reaches none has none
        assert "--network none" in str(read(name))


def test_the_script_passes_on_how_the_store_is_reached_and_nothing_else(tmp_path):
    """In the places of srun and Apptainer, scripts that show what they are given."""
    for name, does in (("srun", 'shift; exec "$@"'), ("apptainer", 'echo "$@"; env')):
        (tmp_path / name).write_text(f"#!/bin/bash\n{does}\n")
        (tmp_path / name).chmod(0o755)
    given = {"AWS_ACCESS_KEY_ID": "some key", "AWS_SESSION_TOKEN": "a'b", "AZURE_STORAGE_ACCOUNT": "lab", "OTHER": "x"}
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "2", "SLURM_MEM_PER_NODE": "4096"}
    script = REPOSITORY / "containers" / "batch" / "slurm-store.sh"
    done = subprocess.run(
        ["bash", script], env=environment | given, cwd=tmp_path, check=True, capture_output=True, text=True
    )
    command, *passed = done.stdout.splitlines()
    assert "--bind /tmp:/scratch" in command and "--env SLURM_ARRAY_TASK_ID=2" in command
    assert command.endswith("--max-memory 4096MiB") and not any(value in command for value in ("some key", "a'b"))
    told = {line for line in passed if line.startswith("APPTAINERENV_")}
    assert told == {f"APPTAINERENV_{name}={value}" for name, value in given.items() if name != "OTHER"}


def header_only(path, n_cells, n_genes, per_cell):
    """Write a file that says that it has so many values, which take no room: nobody has written any."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        x = file.create_group("X")
        x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [n_cells, n_genes]})
        for name, kind in (("data", "f4"), ("indices", "i4")):
            x.create_dataset(name, (n_cells * per_cell,), kind, chunks=(2**20,))
        x["indptr"] = np.arange(n_cells + 1, dtype="i8") * per_cell
        for name, length in (("obs", n_cells), ("var", n_genes)):
            names = pd.DataFrame(index=[f"{name}{number}" for number in range(length)])
            ad.io.write_elem(file, name, names)


def test_a_usual_data_set_fits_into_the_memory_of_a_job(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    header_only(tmp_path / "usual.h5ad", 50_000, 20_000, 1_500)
    rows = ("usual.h5ad,plain.h5ad,,", "usual.h5ad,tuned.h5ad,true,", "usual.h5ad,shown.h5ad,true,shown.html")
    (tmp_path / "rows.csv").write_text("\n".join(["input,output,tune,report", *rows, ""]))
    memory, _ = batch.resources()
    check = ["batch", "--manifest", "rows.csv", "--check", "--threads", str(batch.THREADS), "--max-memory"]
    assert main([*check, f"{memory}GiB"]) == 0, capsys.readouterr().err
    assert main([*check, f"{memory / 2}GiB"]) == 75


def test_resources_are_those_of_the_estimate(read):
    memory, seconds = batch.resources()
    assert 1 <= memory <= 16 and seconds >= 3600
    assert {"type": "MEMORY", "value": str(memory * 1024)} in read("aws.json")["containerProperties"][
        "resourceRequirements"
    ]
    assert all(f"#SBATCH --mem={memory}G" in text for path, text in batch.derived_texts().items() if "slurm" in path)
    page = (REPOSITORY / "docs" / "cloud" / "README.md").read_text(encoding="utf-8")
    size = f"{batch.N_CELLS:,} cells × {batch.N_GENES:,} genes of which a cell expresses {batch.PER_CELL:,}"
    assert size in page and f"{memory} GiB" in page


def test_the_script_is_bash(text):
    subprocess.run(["bash", "-n"], input=text("slurm.sh"), text=True, check=True)


def test_every_definition_has_a_page():
    for name in batch.derived_texts():
        page = REPOSITORY / "docs" / "cloud" / f"{Path(name).stem.removesuffix(batch.STORE)}.md"
        assert name in page.read_text(), page


def test_the_policy_for_s3_allows_what_is_needed_and_no_more():
    page = (REPOSITORY / "docs" / "cloud" / "aws.md").read_text(encoding="utf-8")
    policy = json.loads(page.partition("```json\n")[2].partition("```")[0])
    allowed = {action.removeprefix("s3:") for rule in policy["Statement"] for action in rule["Action"]}
    addresses = (REPOSITORY / "docs" / "cloud" / "addresses.md").read_text(encoding="utf-8")
    needed = addresses.partition("needs these permissions: S3 ")[2].partition(" to write.")[0]
    assert allowed == set(re.findall(r"`(\w+)`", needed))
