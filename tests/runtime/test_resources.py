"""The memory limit is read from cgroups of both versions, wherever the limit stands."""

import pytest

from sccr_node.runtime.resources import machine_memory, memory_limit, peak_memory, readable_bytes


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


def test_the_real_machine_has_figures():
    assert 0 < memory_limit() <= machine_memory()
    assert 10_000_000 < peak_memory() < machine_memory()


@pytest.mark.parametrize(("size", "text"), [(1.44e9, "1.4 GB"), (2.5e10, "25.0 GB"), (3e6, "3 MB"), (999e6, "999 MB")])
def test_sizes_are_written_as_people_write_them(size, text):
    assert readable_bytes(size) == text
