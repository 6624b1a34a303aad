"""What the workflow's tests share: running a real Nextflow, and reading its results."""

import csv
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from container_tools import host_sccr

from tests.support import REPOSITORY

NEXTFLOW = REPOSITORY / "nextflow"
TEST_DATA = NEXTFLOW / "assets" / "test"
PARSERS = ("v1", "v2")
"""The parser that 25.04 has by default and the strict one that 26.04 has by default."""


@dataclass(frozen=True)
class Run:
    """One finished run of Nextflow."""

    returncode: int
    log: str
    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def published(self) -> set[str]:
        """The published files, without Nextflow's own reports (their names hold the time)."""
        found = (path.relative_to(self.results) for path in self.results.rglob("*") if path.is_file())
        return {str(path) for path in found if not path.name.startswith(("execution_", "pipeline_dag_"))}

    @property
    def tasks(self) -> list[dict[str, str]]:
        """The tasks of the newest run in the folder, as the published trace tells them."""
        newest = max(self.results.glob("pipeline_info/execution_trace_*.txt"))
        with newest.open() as file:
            return list(csv.DictReader(file, delimiter="\t"))

    def statuses(self) -> dict[str, str]:
        """The last status of every task, by the end of its name: ``SCCR_IMPUTE (first)``."""
        return {task["name"].split(":")[-1]: task["status"] for task in self.tasks}

    def exits(self, name: str) -> list[str]:
        """The exit codes of one task's attempts, in their order."""
        attempts = sorted(self.tasks, key=lambda task: int(task["attempt"]))
        return [task["exit"] for task in attempts if task["name"].split(":")[-1] == name]


@dataclass(frozen=True)
class Nextflow:
    """A real Nextflow."""

    command: str
    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, folder: Path, *arguments: object, parser: str = "v1") -> Run:
        """Run a subcommand in a folder, with the tests' own ``sccr`` on the path."""
        path = f"{Path(host_sccr()).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, **self.environment}
        environment |= {"NXF_HOME": str(self.home), "NXF_OFFLINE": "true", "NXF_ANSI_LOG": "false"}
        environment |= {"NXF_SYNTAX_PARSER": parser, "NXF_DISABLE_CHECK_LATEST": "true"}
        done = subprocess.run(
            [self.command, *map(str, arguments)],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        # The language library that Maven Central has knows no selectors and warns of each.
        lines = [line for line in done.stdout.splitlines() if "Unrecognized config option" not in line]
        return Run(done.returncode, "\n".join(lines), folder)

    def workflow(self, folder: Path, *arguments: object, parser: str = "v1") -> Run:
        """Run the workflow."""
        return self(folder, "run", self.sources(parser), *arguments, parser=parser)

    def sources(self, parser: str) -> Path:
        """Return the workflow's folder; a changed copy for a strict parser that is older than the workflow requires.

        The language library that Maven Central has is that of 25.04.0. Until 25.04.3 the strict parser refused the
        inputs of a process in the configuration (``meta``), so that they are spelled in a way which it does not see.
        """
        libraries = Path(self.command).resolve().parents[1] / "lib"
        if parser == "v1" or not list(libraries.glob("nf-lang-25.04.0.jar")):
            return NEXTFLOW
        copy = self.home / "strict"
        if not copy.exists():
            shutil.copytree(NEXTFLOW, copy)
            config = copy / "conf" / "parameters.config"
            config.write_text(re.sub(r"\bmeta\.", "task.getBinding().meta.", config.read_text()))
        return copy


def samplesheet(folder: Path, *rows: str, header: str = "sample,path") -> Path:
    """Write a samplesheet."""
    sheet = folder / "samplesheet.csv"
    sheet.write_text("\n".join((header, *rows)) + "\n")
    return sheet
