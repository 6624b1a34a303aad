"""The CPUs and memory that the process may use (cgroup v1 and v2, else the machine's), and the memory it has used."""

from __future__ import annotations

import ctypes
import math
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from sccr_node.errors import NotEnoughResources

MEGABYTE = 1_000_000
GIGABYTE = 1_000_000_000

_LIBRARIES, _LIBRARIES_PER_CPU = 700 * MEGABYTE, 80 * MEGABYTE
"""Address space that Python, HDF5, numpy and scipy take, and the buffers that two copies of OpenBLAS take per CPU."""

_UNLIMITED = 1 << 60
"""cgroup v1 writes a number near 2^63 if there is no limit."""


def machine_memory() -> int:
    """Return the bytes of physical memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def memory_limit(root: Path = Path("/")) -> int:
    """Return the bytes of memory that the process may use: the tightest cgroup limit, or the machine's memory.

    Parameters
    ----------
    root
        The folder that contains ``proc`` and ``sys``; another one in tests.
    """
    limits = []
    for group, version in _cgroups("memory", root):
        limit = _numbers(group / ("memory.max" if version == 2 else "memory.limit_in_bytes"))
        if limit and 0 < limit[0] < _UNLIMITED:
            limits.append(limit[0])
    return min([machine_memory(), *limits])


def check_address_space() -> None:
    """Refuse to load numpy and scipy where they would not fit: OpenBLAS then loops for ever, or ends the process.

    Raises
    ------
    NotEnoughResources
        The address space is limited (``ulimit -v``) to less than they take.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    needed = _LIBRARIES + _LIBRARIES_PER_CPU * (os.cpu_count() or 1)
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise NotEnoughResources(
            f"not enough memory: the address space is limited to {readable_bytes(limit)} (ulimit -v), and the "
            f"libraries alone take {readable_bytes(needed)}; raise the limit"
        )


def usable_cpus(root: Path = Path("/")) -> int:
    """Return the number of CPUs that the process may use: its affinity, or less if a cgroup's quota is tighter.

    A quota of 1.5 CPUs counts as 2: a single thread would waste a third of it.

    Parameters
    ----------
    root
        The folder that contains ``proc`` and ``sys``; another one in tests.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = []
    for group, version in _cgroups("cpu", root):
        if version == 2:
            time = _numbers(group / "cpu.max")
        else:
            time = _numbers(group / "cpu.cfs_quota_us") + _numbers(group / "cpu.cfs_period_us")
        # Microseconds of CPU time per period; cgroup v1 writes -1 if there is no quota.
        if len(time) == 2 and min(time) > 0:
            quotas.append(math.ceil(time[0] / time[1]))
    return min([allowed, *quotas])


def _cgroups(controller: str, root: Path) -> Iterator[tuple[Path, int]]:
    """Yield the folders of the process's cgroups with a given controller, each with its cgroup version.

    A group is bound by every group above it, so these follow.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, version = root / "sys/fs/cgroup", 2
        elif controller in controllers.split(","):
            # Mounted under all its names ("cpu,cpuacct"), with a link from each, which may be missing in a container.
            mounts = root / "sys/fs/cgroup"
            mount, version = mounts / (controllers if (mounts / controllers).is_dir() else controller), 1
        else:
            continue
        # In a container the path may be the host's and not exist here; the group's own files are then at the mount
        # point itself.
        group = mount / path.strip("/")
        for folder in (group, *group.parents):
            yield folder, version
            if folder == mount:
                break


def _numbers(file: Path) -> list[int]:
    """Return the numbers in a cgroup's file; none if there is no limit or no such file."""
    try:
        return [int(word) for word in file.read_text().split()]
    except (OSError, ValueError):  # no such file, or "max"
        return []


def peak_memory() -> int:
    """Return the process's peak resident set size in bytes."""
    # On Linux, ru_maxrss is inherited from the parent process; the high-water mark is the process's own.
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def free_bytes(folder: Path) -> int | None:
    """Return the bytes that can still be written to the disk of a folder; None if its file system has no size.

    Many that are not disks say 0 of 0, such as those in user space (FUSE) that were written without an answer.
    """
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize if disk.f_blocks else None


def release_memory() -> None:
    """Give freed memory back to the system: glibc keeps what was freed in small pieces, gigabytes after many blocks."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def readable_bytes(size: float) -> str:
    """Return a size in readable units, such as ``1.4 GB``."""
    if size >= GIGABYTE:
        return f"{size / GIGABYTE:.1f} GB"
    return f"{size / MEGABYTE:.0f} MB"
