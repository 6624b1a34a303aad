"""A real Galaxy server from its wheels, with this repository's tools: started, used and stopped by the tests."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.support import REPOSITORY

TOOLS = REPOSITORY / "galaxy"

ADMIN = "admin@example.org"
CONTAINER_USER = "container@example.org"
"""Jobs of this user run in the container; those of everybody else run on the server itself."""
CONTAINER_IMAGE = "localhost/sccr-node:in-galaxy"
ADMIN_KEY = "bootstrapkey0123456789"
PASSWORD = "only-for-this-test"  # of every user; galaxy_client.py makes them

START_SECONDS = 400


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class GalaxyServer:
    """One server in one folder; use it as a context manager."""

    def __init__(self, folder: Path, home: Path, *, workers: int = 3) -> None:
        self.folder = folder
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.workers = workers
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> GalaxyServer:
        self._write_configuration()
        path = os.pathsep.join([str(self.home / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        log = (self.folder / "galaxy.log").open("wb")
        # A group of its own: its jobs end with it; and it ends with the tests, should those be killed.
        serve = ["setpriv", "--pdeathsig", "TERM", str(self.home / "bin" / "galaxy-web")]
        self.process = subprocess.Popen(
            [*serve, "-c", str(self.folder / "galaxy.yml"), "-b", f"127.0.0.1:{self.port}"],
            env={**os.environ, "PATH": path, "PYTHONPATH": str(self.folder / "rules")},
            cwd=self.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        log.close()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.url}/api/version", timeout=5) as answer:
                    json.load(answer)
                    return self
            except (urllib.error.URLError, OSError, ValueError):
                time.sleep(1)
        tail = self.log()[-4000:]
        self.stop()
        raise RuntimeError(f"the Galaxy server did not start; the end of its log:\n{tail}")

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server and its jobs."""
        if self.process is None:
            return
        for ending, seconds in ((signal.SIGTERM, 20), (signal.SIGKILL, 20)):
            try:
                os.killpg(self.process.pid, ending)
            except ProcessLookupError:
                break
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                continue
        self.process = None

    def use_containers(self, command: str, environment: dict[str, str]) -> None:
        """Say what runs containers: a program that speaks docker's language, and the variables that it needs."""
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
        shim = self.folder / "docker"
        shim.write_text(f'#!/bin/sh\n{exports}exec {command} "$@"\n')
        shim.chmod(0o755)

    def log(self) -> str:
        return (self.folder / "galaxy.log").read_text(errors="replace")

    def get(self, path: str) -> Any:
        """Return the answer of the server's API to the administrator."""
        request = urllib.request.Request(f"{self.url}{path}", headers={"x-api-key": ADMIN_KEY})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def put(self, path: str) -> None:
        request = urllib.request.Request(f"{self.url}{path}", method="PUT", headers={"x-api-key": ADMIN_KEY})
        with urllib.request.urlopen(request, timeout=60):
            pass

    def _write_configuration(self) -> None:
        """Write the server's files; the ways are those of the wheels, without Galaxy's own launcher."""
        data = self.folder / "data"
        rules = self.folder / "rules"
        for folder in (data, rules / "sccr_rules"):
            folder.mkdir(parents=True, exist_ok=True)
        (data / "shed_tool_conf.xml").write_text(f'<toolbox tool_path="{data}"/>\n')
        (data / "tool_data_table_conf.xml").write_text("<tables></tables>\n")
        tools = "".join(f'<tool file="{path}"/>' for path in sorted(TOOLS.glob("sccr_*.xml")))
        (self.folder / "tool_conf.xml").write_text(
            f'<toolbox><section id="getext" name="Get Data"><tool file="data_source/upload.xml"/></section>'
            f'<section id="sccr" name="Single Cell">{tools}</section></toolbox>\n'
        )
        (rules / "sccr_rules" / "__init__.py").touch()
        (rules / "sccr_rules" / "places.py").write_text(
            "def by_user(user_email, tool_id):\n"
            f'    ours = user_email == "{CONTAINER_USER}" and tool_id.startswith("sccr_")\n'
            '    return "container" if ours else "local"\n'
        )
        environments = {
            "local": {"runner": "local", "env": [{"name": "GALAXY_MEMORY_MB", "value": "4096"}]},
            "container": {
                "runner": "local",
                "docker_enabled": True,
                "docker_sudo": False,
                "docker_net": "none",
                "docker_volumes": "$defaults",
                "docker_cmd": str(self.folder / "docker"),
                "require_container": True,
                "container_override": [{"type": "docker", "identifier": CONTAINER_IMAGE, "shell": "/bin/sh"}],
            },
            "by_user": {"runner": "dynamic", "type": "python", "function": "by_user", "rules_module": "sccr_rules"},
        }
        jobs = {
            "runners": {"local": {"load": "galaxy.jobs.runners.local:LocalJobRunner", "workers": self.workers}},
            "execution": {"default": "by_user", "environments": environments},
        }
        # JSON is YAML.
        (self.folder / "job_conf.yml").write_text(json.dumps(jobs, indent=2))
        settings = {
            "data_dir": str(data),
            "config_dir": str(self.folder),
            "managed_config_dir": str(data),
            "database_connection": f"sqlite:///{data}/universe.sqlite?isolation_level=IMMEDIATE",
            "tool_config_file": str(self.folder / "tool_conf.xml"),
            "shed_tool_config_file": str(data / "shed_tool_conf.xml"),
            "job_config_file": str(self.folder / "job_conf.yml"),
            "tool_test_data_directories": str(TOOLS / "test-data"),
            "tool_data_table_config_path": str(data / "tool_data_table_conf.xml"),
            "builds_file_path": "/dev/null",
            "admin_users": ADMIN,
            "bootstrap_admin_api_key": ADMIN_KEY,
            "id_secret": "only-for-this-test",
            "allow_path_paste": True,
            "conda_auto_init": False,
            "conda_auto_install": False,
            "enable_mulled_containers": False,
            "enable_celery_tasks": False,
            "metadata_strategy": "directory",
            "check_migrate_tools": False,
            "watch_tools": False,
            # What waits for a job looks more often than a big server would.
            "job_handler_monitor_sleep": 0.2,
            "job_runner_monitor_sleep": 0.2,
        }
        (self.folder / "galaxy.yml").write_text(json.dumps({"galaxy": settings}, indent=2))
