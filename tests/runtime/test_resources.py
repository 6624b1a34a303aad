"""Memory and CPU limits are read from cgroups of both versions, at whatever level they are set."""

import os
import subprocess
import sys

import pytest

from sccr_node.numerics import Workspace
from sccr_node.runtime.resources import machine_memory, memory_limit, peak_memory, readable_bytes, usable_cpus
from sccr_node.storage.store import Appender


def write(root, files):
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1000000\n"}, 1_000_000),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, None),
        (
            {
                "proc/self/cgroup": "0::/slurm/job\n",
                "sys/fs/cgroup/slurm/job/memory.max": "max\n",
                "sys/fs/cgroup/slurm/memory.max": "2000000\n",
                "sys/fs/cgroup/memory.max": "3000000\n",
            },
            2_000_000,
        ),
        # In a container without a cgroup namespace the path is the host's, and the limit stands at the mount.
        ({"proc/self/cgroup": "0::/docker/abc\n", "sys/fs/cgroup/memory.max": "4000000\n"}, 4_000_000),
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/a\n9:memory:/job\n",
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "5000000\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            5_000_000,
        ),
        (
            {
                "proc/self/cgroup": "9:memory:/job\n",
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "9223372036854771712\n",
            },
            None,
        ),
    ],
)
def test_the_tightest_limit_counts(tmp_path, files, limit):
    write(tmp_path, files)
    assert memory_limit(tmp_path) == (machine_memory() if limit is None else limit)


ALLOWED = 8


@pytest.fixture
def eight_cpus(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(ALLOWED)), raising=False)


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, ALLOWED),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, ALLOWED),
        # Rounded up, so that no time is lost, and never to 0.
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "1000 100000\n"}, 1),
        # More time than the CPUs that the process may run on can give.
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "6400000 100000\n"}, ALLOWED),
        (
            {
                "proc/self/cgroup": "0::/kubepods/pod/container\n",
                "sys/fs/cgroup/kubepods/pod/container/cpu.max": "max 100000\n",
                "sys/fs/cgroup/kubepods/pod/cpu.max": "150000 50000\n",
                "sys/fs/cgroup/kubepods/cpu.max": "400000 100000\n",
            },
            3,
        ),
        # In a container without a cgroup namespace the path is the host's, and the quota stands at the mount.
        ({"proc/self/cgroup": "0::/docker/abc\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4),
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/slurm/job\n9:memory:/job\n",
                "sys/fs/cgroup/cpu,cpuacct/slurm/job/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/slurm/job/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu,cpuacct/slurm/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu,cpuacct/slurm/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        # The same controllers, mounted under the first one's name only.
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/job\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        # cpuset and cpuacct are other controllers; a quota without its period says nothing.
        (
            {
                "proc/self/cgroup": "4:cpuset:/job\n5:cpuacct:/job\n6:cpu:/job\n",
                "sys/fs/cgroup/cpuset/job/cpu.cfs_quota_us": "100000\n",
                "sys/fs/cgroup/cpuset/job/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "200000\n",
            },
            ALLOWED,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "\n"}, ALLOWED),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 0\n"}, ALLOWED),
    ],
)
def test_the_tightest_quota_counts(tmp_path, eight_cpus, files, cpus):
    write(tmp_path, files)
    assert usable_cpus(tmp_path) == cpus


def test_without_affinity_every_cpu_of_the_machine_counts(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cpus(tmp_path) == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cpus(tmp_path) == 1


def test_cpus_are_counted_in_one_place(tmp_path):
    assert Workspace().threads == Appender(tmp_path)._threads == usable_cpus()


def test_the_real_machine_has_figures():
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)
    assert 0 < memory_limit() <= machine_memory()
    assert 10_000_000 < peak_memory() < machine_memory()


@pytest.mark.parametrize(("size", "text"), [(1.44e9, "1.4 GB"), (2.5e10, "25.0 GB"), (3e6, "3 MB"), (999e6, "999 MB")])
def test_sizes_are_written_as_people_write_them(size, text):
    assert readable_bytes(size) == text


@pytest.mark.parametrize("megabytes", [300, 500, 700])
def test_too_little_address_space_is_refused_before_the_libraries_are_loaded(tmp_path, megabytes):
    """OpenBLAS would loop for ever, deaf to signals, or end the process with 1."""
    words = f"ulimit -v {megabytes * 1000}; exec {sys.executable} -m sccr_node simulate {tmp_path / 'd.h5ad'}"
    ended = subprocess.run(["bash", "-c", words], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 75
    assert "the address space is limited to" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
