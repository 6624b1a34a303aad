"""Build hook: compiles the kernels, one library per level of CPU instructions, and the watchdog into the package."""

import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FLAGS = ["-std=gnu11", "-O3", "-fPIC", "-shared", "-ffp-contract=fast", "-fno-math-errno", "-s"]
X86_LEVELS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx2", "-mfma", "-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq"],
}


ON_X86 = platform.machine().lower() in ("x86_64", "amd64")


def compiler() -> list[str] | None:
    """Return the available C compiler ($CC first) with the flag for any CPU of this architecture, or None."""
    name = os.environ.get("CC") or next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    return [*shlex.split(name), *(["-march=x86-64"] if ON_X86 else [])] if name else None


def compiler_from_pypi() -> list[str]:
    """Return zig's C compiler, which would compile for the CPU at hand if it were not told otherwise."""
    return [sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline"]


class KernelsHook(BuildHookInterface):  # type: ignore[misc]
    """Compile kernels.c and watchdog.c for wheels and for editable installs."""

    def dependencies(self) -> list[str]:
        """Request a compiler from PyPI if the machine has none."""
        return [] if compiler() else ["ziglang"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and tag the wheel: any Python 3, this platform."""
        package = Path(self.root, "sccr_node")
        for level, flags in X86_LEVELS.items() if ON_X86 else [("baseline", [])]:
            library = package / "numerics" / f"_kernels_{level}.so"
            self._compile(package / "numerics" / "kernels.c", library, [*flags, "-lm"])
        self._compile(package / "runtime" / "watchdog.c", package / "runtime" / "_watchdog.so", ["-pthread"])
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{self._platform()}"
        build_data["artifacts"] += ["sccr_node/numerics/_kernels_*.so", "sccr_node/runtime/_watchdog.so"]

    @staticmethod
    def _compile(source: Path, library: Path, flags: list[str]) -> None:
        command = compiler() or compiler_from_pypi()
        partial = library.with_suffix(".partial")
        # Renamed at the end: a process that has the old library open keeps it.
        subprocess.run([*command, *FLAGS, str(source), "-o", str(partial), *flags], check=True)
        partial.replace(library)

    @staticmethod
    def _platform() -> str:
        from packaging.tags import platform_tags

        return next(iter(platform_tags()))
