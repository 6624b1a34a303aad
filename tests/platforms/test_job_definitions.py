"""The job definitions in the eyes of the providers' own clients, of Kubernetes' schema and of shellcheck."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from container_tools import set_up

from tests.support import REPOSITORY

pytestmark = pytest.mark.platform

BATCH = REPOSITORY / "containers" / "batch"

AWS = """
import json, sys
import botocore.session
from botocore.validate import ParamValidator

shape = botocore.session.get_session().get_service_model("batch").operation_model("RegisterJobDefinition").input_shape
definition = json.load(sys.stdin)
print(ParamValidator().validate(definition, shape).generate_report())

# The validator does not look at enumerations.
def walk(value, shape, where):
    if shape.type_name == "structure":
        for name, member in value.items():
            if name in shape.members:
                walk(member, shape.members[name], f"{where}.{name}")
    elif shape.type_name == "list":
        for number, member in enumerate(value):
            walk(member, shape.member, f"{where}[{number}]")
    elif getattr(shape, "enum", None) and str(value) not in shape.enum:
        # Actions of retries are compared without regard to case; ours have the case of the pages.
        if str(value).lower() not in [each.lower() for each in shape.enum]:
            print(f"{where}: {value} is none of {shape.enum}")

walk(definition, shape, "")
"""

GOOGLE = """
import sys
from google.cloud import batch_v1

job = batch_v1.Job.from_json(sys.stdin.read(), ignore_unknown_fields=False)
policy = job.task_groups[0].task_spec.lifecycle_policies[0]
print(policy.action.name, *policy.action_condition.exit_codes)
"""

AZURE = """
import json, sys
from azure.batch import models

NAMES = {
    "containerSettings": models.BatchTaskContainerSettings, "userIdentity": models.UserIdentity,
    "autoUser": models.AutoUserSpecification, "constraints": models.BatchTaskConstraints,
    "exitConditions": models.ExitConditions, "exitCodes": models.ExitCodeMapping, "exitOptions": models.ExitOptions,
    "default": models.ExitOptions, "environmentSettings": models.EnvironmentSetting,
}

def names(kind):
    fields = kind.__new__(kind)._attr_to_rest_field  # made with the first object
    return {field._rest_name: attribute for attribute, field in fields.items()}

# Given one dictionary a model accepts anything, and does not look at what is nested: every object is made by keywords.
def made(kind, value, where):
    known = names(kind)
    if unknown := value.keys() - known.keys():
        print(f"{where}: {kind.__name__} has no {sorted(unknown)}")
    given = {}
    for name, each in value.items():
        inner = NAMES.get(name)
        if inner and isinstance(each, list):
            each = [made(inner, one, f"{where}.{name}") for one in each]
        elif inner:
            each = made(inner, each, f"{where}.{name}")
        elif isinstance(each, dict):
            print(f"{where}.{name} is not checked")
        if name in known:
            given[known[name]] = each
    return kind(**given)

ENUMS = {
    "workingDirectory": models.ContainerWorkingDirectory, "scope": models.AutoUserScope,
    "elevationLevel": models.ElevationLevel, "jobAction": models.BatchJobActionKind,
    "dependencyAction": models.DependencyAction,
}

def enums(value, where):
    for name, each in value.items() if isinstance(value, dict) else enumerate(value):
        if name in ENUMS and each not in [member.value for member in ENUMS[name]]:
            print(f"{where}.{name}: {each} is none of {[member.value for member in ENUMS[name]]}")
        if isinstance(each, (dict, list)):
            enums(each, f"{where}.{name}")

for task in json.load(sys.stdin):
    made(models.BatchTaskCreateOptions, task, task.get("id", "?"))
    enums(task, task.get("id", "?"))
"""


@pytest.fixture(scope="module")
def checked():
    """Run a check in the environment of the clients, with a definition on standard input; gives what it says."""
    clients = set_up("cloud")["CLOUD_CLIENTS"]

    def check(code: str, text: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": clients, "AWS_EC2_METADATA_DISABLED": "true"}
        return subprocess.run(
            [sys.executable, "-c", code], input=text, env=environment, capture_output=True, text=True, check=False
        )

    return check


def read(name: str) -> str:
    return (BATCH / name).read_text(encoding="utf-8")


def changed(name: str, old: str, new: str) -> str:
    assert old in read(name)
    return read(name).replace(old, new)


def both(name: str) -> pytest.MarkDecorator:
    """Run a test for the definition for a shared disk, and for that for an object store."""
    stem, suffix = name.split(".")
    return pytest.mark.parametrize("name", [name, f"{stem}-store.{suffix}"])


@both("aws.json")
def test_aws(checked, name: str) -> None:
    done = checked(AWS, read(name))
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr
    for old, new in (
        ('"jobDefinitionName"', '"jobName"'),
        ('"attempts": 4', '"attempts": "four"'),
        ('"action": "EXIT"', '"action": "AGAIN"'),
        ('"type": "container"', '"type": "pod"'),
        ('"type": "VCPU"', '"type": "CPU"'),
    ):
        assert checked(AWS, changed(name, old, new)).stdout.strip(), new


@both("google.json")
def test_google(checked, name: str) -> None:
    done = checked(GOOGLE, read(name))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ["RETRY_TASK", "75"]
    for old, new in (("RETRY_TASK", "RETRY"), ("maxRetryCount", "maxRetries"), ('"SPOT"', '"CHEAP"')):
        assert checked(GOOGLE, changed(name, old, new)).returncode != 0, new


@both("azure.json")
def test_azure(checked, name: str) -> None:
    done = checked(AZURE, read(name))
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr
    for old, new in (
        ("commandLine", "command"),
        ("maxTaskRetryCount", "retries"),
        ("nonadmin", "root"),
        ("containerImageDefault", "image"),
        ('"block"', '"wait"'),
    ):
        assert checked(AZURE, changed(name, old, new)).stdout.strip(), new


KUBERNETES = "import sys; from kubernetes_validate.__main__ import main; sys.exit(main())"


@both("kubernetes.yaml")
def test_kubernetes(checked, name: str, tmp_path: Path) -> None:
    def valid(text: str) -> bool:
        file = tmp_path / "job.yaml"
        file.write_text(text)
        code = f"import sys; sys.argv = ['kubernetes-validate', '--strict', {str(file)!r}]\n{KUBERNETES}"
        done = checked(code, "")
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode == 0

    assert valid(read(name))
    assert not valid(changed(name, "backoffLimitPerIndex: 3", "backoffLimitPerIndices: 3"))
    assert not valid(changed(name, "completions: 4", "completions: four"))


@both("slurm.sh")
def test_the_script(checked, name: str) -> None:
    clients = set_up("cloud")["CLOUD_CLIENTS"]
    subprocess.run([Path(clients) / "bin" / "shellcheck", "--severity=style", BATCH / name], check=True)


def test_the_definitions_are_as_written() -> None:
    for path in BATCH.glob("*.json"):
        assert json.dumps(json.loads(read(path.name)), indent=2) + "\n" == read(path.name)
