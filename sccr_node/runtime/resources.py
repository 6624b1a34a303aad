"""How much memory the process may use (cgroup v1 and v2, else the machine's), and has used."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

MEGABYTE = 1_000_000
GIGABYTE = 1_000_000_000

_UNLIMITED = 1 << 60
"""cgroup v1 writes a number near 2^63 where there is no limit."""


def machine_memory() -> int:
    """Return the bytes of physical memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def memory_limit(root: Path = Path("/")) -> int:
    """Return the bytes of memory that the process may use: the tightest cgroup limit, or the machine's memory.

    Parameters
    ----------
    root
        The folder that holds ``proc`` and ``sys``; another one in tests.
    """
    limits = [limit for limit in _cgroup_limits(root) if 0 < limit < _UNLIMITED]
    return min([machine_memory(), *limits])


def _cgroup_limits(root: Path) -> list[int]:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, file = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mount, file = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        # A group is bound by every group above it. In a container the path may be the host's and not exist here;
        # the group's own files are then at the mount itself.
        group = mount / path.strip("/")
        for folder in (group, *group.parents):
            if (limit := _number(folder / file)) is not None:
                limits.append(limit)
            if folder == mount:
                break
    return limits


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # "max", or no such file
        return None


def peak_memory() -> int:
    """Return the bytes of the largest resident set that the process has had."""
    # Linux hands ru_maxrss down from whoever started the process; the high-water mark is the process's own.
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def readable_bytes(size: float) -> str:
    """Return a size as people write it, such as ``1.4 GB``."""
    if size >= GIGABYTE:
        return f"{size / GIGABYTE:.1f} GB"
    return f"{size / MEGABYTE:.0f} MB"
