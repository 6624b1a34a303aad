"""Writes the job definitions of ``containers/batch/``: one array of jobs, each of which imputes one row of a manifest.

There are two for each scheduler: for files on a disk that all machines share, and for files in an object store. What
they have in common is derived: which exit codes are worth another attempt (``errors.py``), the version, and what the
resources are estimated to be. What an operator has to fill in is in capitals.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from sccr_node import __version__
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.methods import DEFAULT_METHOD, METHODS
from sccr_node.errors import INTERRUPTED, KILLED, SccrError
from sccr_node.methods import Shape
from sccr_node.pipeline.needs import estimate
from sccr_node.storage.places.address import is_remote

IMAGE = f"ghcr.io/sccr-node/sccr-node:{__version__}"
FOLDER = "containers/batch"

N_ROWS = 4
"""Rows of the manifest in the examples."""

N_CELLS, N_GENES, PER_CELL = 50_000, 20_000, 1_500
"""The data set that the resources are for: cells, genes, and genes that a cell expresses."""

THREADS = 4
ROOM = 1.5
"""Memory beyond the estimate, which a job is refused below: data sets that are somewhat larger fit, too."""

SECONDS_AT_LEAST, SLOWER = 3600, 20
"""A job is ended after so long, or so many times the estimate: machines and disks differ."""

ATTEMPTS = 4

BY_TERMINALS = (129, 130)
"""Exit codes of commands that a terminal ended: where rules are few, those for them are left out."""

USER = 1000

DATA = "/data"
"""Where the shared disk is mounted."""

STORE = "-store"
"""What the names of the definitions for an object store have."""


@dataclass(frozen=True)
class Files:
    """Where the files of a job are.

    Attributes
    ----------
    root
        What the manifest and the checkpoints are in: a folder, or an address in an object store.
    scratch
        The folder for temporary files.
    """

    root: str
    scratch: str

    @property
    def in_store(self) -> bool:
        """Whether they are in an object store."""
        return is_remote(self.root)


DISK = Files(DATA, f"{DATA}/scratch")
"""Scratch is on the shared disk too: a machine may have no other."""


def for_good() -> list[int]:
    """Return the exit codes after which another attempt ends the same."""
    problems: list[type[SccrError]] = [SccrError, *SccrError.__subclasses__()]
    return sorted(problem.exit_code for problem in problems if not problem.passing)


def worth_another_attempt() -> list[int]:
    """Return the exit codes after which another attempt can succeed."""
    passing = [problem.exit_code for problem in SccrError.__subclasses__() if problem.passing]
    return sorted([*passing, *INTERRUPTED, KILLED])


def resources() -> tuple[int, int]:
    """Return the memory (GiB) and the time (seconds) of a job for the data set that the definitions are for."""
    method = METHODS[DEFAULT_METHOD]
    # As a run estimates it from the header of its input: any value may be one of the selected genes'.
    n_selected = min(N_GENES, ImputeParameters.model_fields["n_top_genes"].default)
    shape = Shape(N_CELLS, n_selected, N_CELLS * min(PER_CELL, n_selected))
    estimated = estimate(DEFAULT_METHOD, [shape], method.complete({}), ["denoised"], THREADS)
    seconds = max(SECONDS_AT_LEAST, math.ceil(estimated.seconds * SLOWER / 3600) * 3600)
    return math.ceil(estimated.memory * ROOM / 2**30), seconds


def command(files: Files) -> list[str]:
    """Return the command of a job, word by word: a shell that is given a list of commands swallows SIGTERM."""
    return [
        "sccr", "batch", "--manifest", f"{files.root}/samples.csv", "--threads", str(THREADS),
        "--work-dir", files.scratch, "--checkpoint-dir", f"{files.root}/checkpoints", "--log-format", "json",
    ]  # fmt: skip


def aws(files: Files) -> dict[str, Any]:
    """Return a job definition for AWS Batch (RegisterJobDefinition)."""
    memory, seconds = resources()
    if files.in_store:
        reached: dict[str, Any] = {
            "jobRoleArn": "arn:aws:iam::ACCOUNT:role/JOB_ROLE",
            "environment": [{"name": "AWS_DEFAULT_REGION", "value": "REGION"}],
            # A volume of Docker's, on the machine's disk: as /tmp is in the image, everybody can write to it.
            "volumes": [{"name": "scratch", "host": {}}],
            "mountPoints": [{"sourceVolume": "scratch", "containerPath": files.scratch, "readOnly": False}],
        }
    else:
        share = {"fileSystemId": "FILE_SYSTEM_ID", "transitEncryption": "ENABLED"}
        reached = {
            "linuxParameters": {"tmpfs": [{"containerPath": "/tmp", "size": 512, "mountOptions": ["rw", "nosuid"]}]},
            "volumes": [{"name": "data", "efsVolumeConfiguration": share}],
            "mountPoints": [{"sourceVolume": "data", "containerPath": DATA, "readOnly": False}],
        }
    # Five rules are the most. What no rule matches would be retried: hence the last one.
    again = [code for code in worth_another_attempt() if code not in BY_TERMINALS]
    return {
        "jobDefinitionName": f"sccr-node{STORE if files.in_store else ''}-{__version__.replace('.', '_')}",
        "type": "container",
        "platformCapabilities": ["EC2"],
        "containerProperties": {
            "image": IMAGE,
            "command": command(files),
            "user": f"{USER}:{USER}",
            "privileged": False,
            "readonlyRootFilesystem": True,
            "resourceRequirements": [
                {"type": "VCPU", "value": str(THREADS)},
                {"type": "MEMORY", "value": str(memory * 1024)},
            ],
            **reached,
        },
        "retryStrategy": {
            "attempts": ATTEMPTS,
            "evaluateOnExit": [
                {"onStatusReason": "Host EC2*", "action": "RETRY"},
                *({"onExitCode": str(code), "action": "RETRY"} for code in again),
                {"onReason": "*", "action": "EXIT"},
            ],
        },
        "timeout": {"attemptDurationSeconds": seconds},
    }


def container_options(files: Files) -> str:
    """Return what gives a container the least privilege, for providers that pass options on to Docker.

    For an object store it has a network, and a volume on the machine's disk for scratch: as /tmp is in the image,
    everybody can write to it.
    """
    given = f"--mount type=volume,destination={files.scratch}" if files.in_store else "--tmpfs /tmp --network none"
    return f"--user {USER}:{USER} --read-only {given} --cap-drop all --security-opt no-new-privileges"


GOOGLE_PREEMPTED = (50001, 50002, 50003, 50004, 50006)
"""Google's own codes for a machine that was taken away, did not answer, was rebooted, hung, or was made again."""


def google(files: Files) -> dict[str, Any]:
    """Return a job for Google Batch."""
    memory, seconds = resources()
    words = command(files)
    container: dict[str, Any] = {"imageUri": IMAGE, "entrypoint": words[0], "commands": words[1:]}
    share: dict[str, Any] = {}
    if not files.in_store:
        mounted = "/mnt/disks/data"
        container["volumes"] = [f"{mounted}:{DATA}:rw"]
        share["volumes"] = [{"nfs": {"server": "SERVER_ADDRESS", "remotePath": "/SHARE"}, "mountPath": mounted}]
    return {
        "taskGroups": [
            {
                "taskCount": str(N_ROWS),
                "parallelism": str(N_ROWS),
                "taskSpec": {
                    "computeResource": {"cpuMilli": str(THREADS * 1000), "memoryMib": str(memory * 1024)},
                    "maxRunDuration": f"{seconds}s",
                    "maxRetryCount": ATTEMPTS - 1,
                    # What is not listed gets the opposite action: it fails.
                    "lifecyclePolicies": [
                        {
                            "action": "RETRY_TASK",
                            "actionCondition": {"exitCodes": [*worth_another_attempt(), *GOOGLE_PREEMPTED]},
                        }
                    ],
                    **share,
                    "runnables": [{"container": {**container, "options": container_options(files)}}],
                },
            }
        ],
        "allocationPolicy": {
            "instances": [{"policy": {"provisioningModel": "SPOT"}}],
            "serviceAccount": {"email": "SERVICE_ACCOUNT"},
        },
        "logsPolicy": {"destination": "CLOUD_LOGGING"},
    }


def azure(files: Files) -> list[dict[str, Any]]:
    """Return the tasks of a job for Azure Batch, one per row: it has no arrays, and no index in the environment."""
    _, seconds = resources()
    options = f"--rm {container_options(files)}"
    environment: dict[str, Any] = {}
    if files.in_store:
        named = {"AZURE_STORAGE_ACCOUNT": "STORAGE_ACCOUNT", "AZURE_CLIENT_ID": "CLIENT_ID_OF_THE_IDENTITY"}
        environment["environmentSettings"] = [{"name": name, "value": value} for name, value in named.items()]
    else:
        options += f" --volume /mnt/batch/tasks/fsmounts/data:{DATA}"
    return [
        {
            "id": f"row-{row}",
            "commandLine": " ".join([*command(files), "--index", str(row)]),
            **environment,
            "containerSettings": {
                "imageName": IMAGE,
                "containerRunOptions": options,
                "workingDirectory": "containerImageDefault",
            },
            "userIdentity": {"autoUser": {"scope": "task", "elevationLevel": "nonadmin"}},
            "constraints": {"maxTaskRetryCount": ATTEMPTS - 1, "maxWallClockTime": f"PT{seconds}S"},
            "requiredSlots": 1,
            "exitConditions": {
                # Azure retries whatever the code is. This is what tasks that depend on a row learn from it.
                "exitCodes": [
                    {"code": code, "exitOptions": {"jobAction": "none", "dependencyAction": "block"}}
                    for code in for_good()
                ],
                "default": {"jobAction": "none", "dependencyAction": "block"},
            },
        }
        for row in range(N_ROWS)
    ]


def kubernetes(files: Files) -> dict[str, Any]:
    """Return an indexed Job for Kubernetes 1.29 or later."""
    memory, seconds = resources()
    volumes: list[dict[str, Any]] = [{"name": "scratch", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]
    mounts = {"scratch": files.scratch, "tmp": "/tmp"}
    account: dict[str, Any] = {}
    if files.in_store:
        account["serviceAccountName"] = "sccr"
    else:
        volumes.insert(0, {"name": "data", "persistentVolumeClaim": {"claimName": "sccr-data"}})
        mounts = {"data": DATA, **mounts}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "sccr", "labels": {"app.kubernetes.io/name": "sccr-node"}},
        "spec": {
            "completionMode": "Indexed",
            "completions": N_ROWS,
            "parallelism": N_ROWS,
            "backoffLimitPerIndex": ATTEMPTS - 1,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailIndex",
                        "onExitCodes": {"containerName": "sccr", "operator": "In", "values": for_good()},
                    },
                ]
            },
            "template": {
                "metadata": {"labels": {"app.kubernetes.io/name": "sccr-node"}},
                "spec": {
                    "restartPolicy": "Never",
                    # Of a pod: that of the Job would end all rows, however many there are, when so much has passed.
                    "activeDeadlineSeconds": seconds,
                    "terminationGracePeriodSeconds": 30,
                    **account,
                    # A token for Kubernetes' own interface; those for an object store come by other ways.
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": USER,
                        "runAsGroup": USER,
                        "fsGroup": USER,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [
                        {
                            "name": "sccr",
                            "image": IMAGE,
                            "command": command(files),
                            "resources": {
                                "requests": {"cpu": str(THREADS), "memory": f"{memory}Gi"},
                                "limits": {"memory": f"{memory}Gi"},
                            },
                            "securityContext": {
                                "readOnlyRootFilesystem": True,
                                "allowPrivilegeEscalation": False,
                                "capabilities": {"drop": ["ALL"]},
                            },
                            "volumeMounts": [{"name": name, "mountPath": path} for name, path in mounts.items()],
                        }
                    ],
                    "volumes": volumes,
                },
            },
        },
    }


_DISK_OF_SLURM = """\
# The folder with samples.csv, scratch/ and checkpoints/; and the image, as docs/containers.md builds it.
: "${SCCR_DATA:=$PWD}" "${SCCR_IMAGE:=$PWD/sccr-node.sif}"
"""

_STORE_OF_SLURM = """\
# A folder for temporary files on the node's own disk; and the image, as docs/containers.md builds it.
: "${SCCR_SCRATCH:=/tmp}" "${SCCR_IMAGE:=$PWD/sccr-node.sif}"
# How the store is reached: of the environment, Apptainer passes on what is named so. (What follows --env, all can see.)
for name in "${!AWS_@}" "${!GOOGLE_@}" "${!AZURE_@}"; do export "APPTAINERENV_$name=${!name}"; done
"""


def slurm(files: Files) -> str:
    """Return a script for sbatch."""
    memory, seconds = resources()
    hours, rest = divmod(seconds, 3600)
    words = " ".join(command(files))
    name = f"slurm{STORE if files.in_store else ''}.sh"
    inside = files.scratch if files.in_store else DATA
    bound = f"{'$SCCR_SCRATCH' if files.in_store else '$SCCR_DATA'}:{inside}"
    return f"""#!/bin/bash
# {_written()}
# Submit it with: sbatch {name}
#
#SBATCH --job-name=sccr
#SBATCH --array=0-{N_ROWS - 1}
#SBATCH --cpus-per-task={THREADS}
#SBATCH --mem={memory}G
#SBATCH --time={hours:02}:{rest // 60:02}:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=sccr-%A_%a.log
set -euo pipefail
{_STORE_OF_SLURM if files.in_store else _DISK_OF_SLURM}\
# A step of srun's is sent SIGTERM; a batch script is not. exec, so that no shell stands between the two.
# Apptainer sets no limit to memory of its own: sccr is told Slurm's.
exec srun --kill-on-bad-exit=1 \\
  apptainer exec --containall --no-home --bind "{bound}" --pwd {inside} \\
  --env "SLURM_ARRAY_TASK_ID=$SLURM_ARRAY_TASK_ID" "$SCCR_IMAGE" \\
  {words} \\
  ${{SLURM_MEM_PER_NODE:+--max-memory "${{SLURM_MEM_PER_NODE}}MiB"}}
"""


def _written() -> str:
    size = f"{N_CELLS:,} cells x {N_GENES:,} genes, {PER_CELL:,} of them per cell"
    return f"Written by make faces (tools/faces/batch.py), for {size}."


def _in_json(definition: object) -> str:
    return json.dumps(definition, indent=2) + "\n"


def _in_yaml(definition: object) -> str:
    return f"# {_written()}\n" + yaml.safe_dump(definition, sort_keys=False)


def derived_texts() -> Mapping[str, str]:
    """Return the text of every definition by its path."""
    near = Files(DATA, "/scratch")
    s3 = "s3://BUCKET/FOLDER"
    texts = {
        "aws.json": _in_json(aws(DISK)),
        "google.json": _in_json(google(DISK)),
        "azure.json": _in_json(azure(DISK)),
        "kubernetes.yaml": _in_yaml(kubernetes(near)),
        "slurm.sh": slurm(DISK),
        f"aws{STORE}.json": _in_json(aws(Files(s3, "/tmp"))),
        f"google{STORE}.json": _in_json(google(Files("gs://BUCKET/FOLDER", "/tmp"))),
        f"azure{STORE}.json": _in_json(azure(Files("az://CONTAINER/FOLDER", "/tmp"))),
        f"kubernetes{STORE}.yaml": _in_yaml(kubernetes(Files(s3, near.scratch))),
        f"slurm{STORE}.sh": slurm(Files(s3, near.scratch)),
    }
    return {f"{FOLDER}/{name}": text for name, text in texts.items()}
